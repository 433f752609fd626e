"""One result file for every recipe: rows, comparisons, protocol, machine and settings."""

import shlex
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dmth_fast import environment
from dmth_fast.atomic import write_json, write_text
from dmth_fast.trainconfig import dump_config

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = "dmth-fast-result-1"

Row = dict[str, Any]


def write_result(
    out_dir: Path,
    *,
    recipe: str,
    config: Any,
    protocol: str,
    metric: str,
    split: Mapping[str, Any],
    rows: Sequence[Row],
    comparisons: Sequence[Mapping[str, Any]],
    seconds: float,
    **extra: Any,
) -> dict[str, Any]:
    """Write ``result.json`` and ``config.toml`` (every default) and return the result."""
    result = {
        "format": FORMAT,
        "recipe": recipe,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "protocol": protocol,
        "metric": metric,
        "split": dict(split),
        **environment.describe(),
        "torch_threads": torch.get_num_threads(),
        "seconds": round(seconds, 1),
        "rows": list(rows),
        "comparisons": [dict(item) for item in comparisons],
        **extra,
        "config": dump_config(config),
    }
    write_text(out_dir / "config.toml", dump_config(config))
    write_json(out_dir / "result.json", result)
    return result


def over_seeds(rows: Iterable[Row], *, by: Sequence[str], columns: Sequence[str]) -> list[Row]:
    """Join rows that agree in ``by``: the mean of each column, and its deviation as ``<column>_sd``.

    >>> over_seeds([{"name": "a", "map": 0.5}, {"name": "a", "map": 0.7}], by=["name"], columns=["map"])
    [{'name': 'a', 'map': 0.6, 'map_sd': 0.1414, 'seeds': 2}]
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in by), []).append(row)
    joined = []
    for key, members in groups.items():
        mean: Row = dict(zip(by, key, strict=True))
        for column in columns:
            values = [float(member[column]) for member in members]
            mean[column] = round(statistics.fmean(values), 4)
            if len(values) > 1:
                mean[f"{column}_sd"] = round(statistics.stdev(values), 4)
        joined.append({**mean, "seeds": len(members)})
    return joined


def result_table(result: Mapping[str, Any]) -> "Table":
    """The rows of a result for a terminal: a line a method and width.

    >>> rows = [{"name": "isdh", "bits": 64, "map": 0.5, "map_sd": 0.01, "macs": 1_500_000, "seeds": 3}]
    >>> table = result_table({"recipe": "qiang", "protocol": "a toy", "metric": "mAP", "rows": rows})
    >>> [str(column.header) for column in table.columns]
    ['method', 'bits', 'map', 'macs']
    """
    from rich.table import Table

    rows = result["rows"]
    left_out = {"name", "bits", "seeds", "start", "loss"}
    keys = [key for key in rows[0] if key not in left_out and not key.endswith("_sd")]
    grid = Table(
        title=f"{result['recipe']}: {result['protocol']}",
        caption=result["metric"],
        title_justify="left",
        caption_justify="left",
    )
    grid.add_column("method")
    for key in ("bits", *keys):
        grid.add_column(key.replace("_", " "), justify="right")
    for row in rows:
        cells = (f"{row[key]:.3f}" if row[key] <= 1 else f"{row[key]:,.6g}" for key in keys)
        grid.add_row(str(row["name"]), str(row["bits"]), *cells)
    return grid
