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
    """The rows of a result for a terminal: a line a method, its widths side by side.

    >>> rows = [{"name": "isdh", "bits": b, "map": b / 100, "map_sd": 0.01, "seeds": 3} for b in (16, 32)]
    >>> table = result_table({"recipe": "qiang", "protocol": "a toy", "metric": "mAP", "rows": rows})
    >>> [str(column.header) for column in table.columns]
    ['method', 'map']
    """
    from rich.table import Table

    bits = " / ".join(map(str, _widths(result)))
    grid = Table(
        title=f"{result['recipe']}: {result['protocol']}; {bits} bits",
        caption=result["metric"],
        title_justify="left",
        caption_justify="left",
    )
    keys = _keys(result)
    grid.add_column("method")
    for key in keys:
        grid.add_column(key.replace("_", " "), justify="right")
    for name, cells in _cells(result, keys):
        grid.add_row(name, *cells)
    return grid


def result_markdown(result: Mapping[str, Any]) -> list[str]:
    """The same as lines of a Markdown table, with the paired differences and how to make it again.

    >>> rows = [{"name": "isdh", "bits": b, "map": b / 100, "seeds": 3} for b in (16, 32)]
    >>> fields = {"protocol": "a toy", "metric": "mAP", "command": "train", "seconds": 9.0, "comparisons": []}
    >>> for line in result_markdown({"rows": rows, **fields, **environment.describe()})[:4]:
    ...     print(line)
    A toy; 16 / 32 bits.
    <BLANKLINE>
    | method | map |
    |---|---:|
    """
    keys = _keys(result)
    bits = " / ".join(map(str, _widths(result)))
    protocol = str(result["protocol"])
    lines = [f"{protocol[0].upper()}{protocol[1:]}; {bits} bits.", ""]
    lines += [
        f"| method | {' | '.join(key.replace('_', ' ') for key in keys)} |",
        "|---|" + "---:|" * len(keys),
    ]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in _cells(result, keys)]
    lines += _differences(result["comparisons"])
    seeds = {row.get("seeds", 1) for row in result["rows"]}
    part = "" if result.get("complete", True) else " Not all of the configured widths were run."
    made = f"Made by `{result['command']}` on {environment.summary(dict(result))}.{part}"
    return [*lines, "", f"{result['metric']}. Seeds: {max(seeds)}. {made}"]


def _differences(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a pair of methods, a column a metric, the widths side by side; clear ones are bold."""
    if not comparisons:
        return []
    metrics = list(dict.fromkeys(str(item["metric"]) for item in comparisons))
    cells: dict[tuple[str, str], dict[str, list[str]]] = {}
    for item in sorted(comparisons, key=lambda item: int(item["bits"])):
        row = cells.setdefault((item["first"], item["second"]), {})
        row.setdefault(item["metric"], []).append(_points(item))
    head = "".join(f" {metric.replace('_', ' ')} |" for metric in metrics)
    lines = ["", f"| difference in points |{head}", "|---|" + "---:|" * len(metrics)]
    for first, second in dict.fromkeys((item["first"], item["second"]) for item in comparisons):
        row = cells[first, second]
        columns = " | ".join(" / ".join(row.get(metric, ["-"])) for metric in metrics)
        lines.append(f"| {first} minus {second} | {columns} |")
    ratios = " In brackets the ratio." if "ratio" in comparisons[0] else ""
    note = f"Bold: the interval ({comparisons[0]['interval']}) excludes 0.{ratios}"
    return [*lines, "", note]


def _points(item: Mapping[str, Any]) -> str:
    text = f"{100 * item['difference']:+.1f}"
    if "ratio" in item:
        text += f" (x{item['ratio']:.2f})"
    return f"**{text}**" if item["low"] > 0 or item["high"] < 0 else text


def _widths(result: Mapping[str, Any]) -> list[int]:
    return sorted({int(row["bits"]) for row in result["rows"]})


def _keys(result: Mapping[str, Any]) -> list[str]:
    left_out = {"name", "bits", "seeds", "start", "loss"}
    first = result["rows"][0]
    return [key for key in first if key not in left_out and first[key] is not None and key[-3:] != "_sd"]


def _cells(result: Mapping[str, Any], keys: Sequence[str]) -> list[tuple[str, list[str]]]:
    """One entry a method: its name and, for each key, the values of all widths."""
    found = {(row["name"], row["bits"]): row for row in result["rows"]}
    entries = []
    for name in dict.fromkeys(str(row["name"]) for row in result["rows"]):
        rows = [found.get((name, bits)) for bits in _widths(result)]
        entries.append((name, [" / ".join(_show(row, key) for row in rows) for key in keys]))
    return entries


def _show(row: Row | None, key: str) -> str:
    if row is None or row.get(key) is None:
        return "-"
    value = float(row[key])
    if key in ("parameters", "macs"):
        return f"{value / 1e6:.3g} M"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"
