"""The result of a grid: rows over seeds, paired differences, and what is needed to make it again."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dmth_fast import environment, methods
from dmth_fast.atomic import write_json
from dmth_fast.comparison import paired_interval
from dmth_fast.grid.cells import queries, read
from dmth_fast.grid.config import BEST, Cell, Grid
from dmth_fast.grid.queue import folder_of
from dmth_fast.grid.workshop import Workshop
from dmth_fast.methods import Row
from dmth_fast.retrieval.codes import pack

__all__ = ["FORMAT", "gather"]

FORMAT = "dmth-fast-grid-1"

# Those of one place stay as the file has them; a trivial row stands below its student.
_KINDS = (("random",), ("teacher", "average"), ("fused", "untrained"), ("student", "trivial"))

_Place = tuple[str, int]
_Found = tuple[Cell, Mapping[str, Any]]


def gather(grid: Grid, out: Path, *, command: str, settings: str, speeds: bool = True) -> dict[str, Any]:
    """Put the cells that are done together, and write ``result.json``.

    Args:
        grid: whose cells.
        out: its folder.
        command: that makes the result.
        settings: the text of the grid's file.
        speeds: whether to time the networks, all now and one after another, so that they compare.

    Returns:
        The result: ``rows`` (means over seeds), ``comparisons``, splits, hardware and versions.

    Raises:
        ValueError: no cell is done.
    """
    found = [(cell, result) for cell in grid.cells if (result := read(folder_of(out, cell))) is not None]
    if not found:
        raise ValueError(f"no cell of the grid in {out} is done yet")
    result = {
        "format": FORMAT,
        "title": grid.title,
        "command": command,
        "metric": "mAP over the whole database, expected over ties",
        "cells": {"done": len(found), "all": len(grid.cells)},
        "missing": [cell.title for cell in grid.cells if read(folder_of(out, cell)) is None],
        "splits": _splits(found),
        "seeds": sorted({item["seed"] for _, item in found}),
        **environment.describe(),
        "seconds": round(sum(item["seconds"] for _, item in found), 1),
        "rows": _rows(found, _speeds(found, out) if speeds else {}),
        "comparisons": list(_differences(grid, found, out)),
        "config": settings,
    }
    write_json(out / "result.json", result)
    return result


def _splits(found: Sequence[_Found]) -> dict[str, Any]:
    """The split of each set and seed; of its arms, the one that saw most images without labels."""
    splits: dict[str, Any] = {}
    for _, item in found:
        name = f"{item['set'] or item['protocol']}, seed {item['seed']}"
        described = {"protocol": item["protocol"], **item["split"]}
        known = splits.setdefault(name, described)
        if described["unlabelled_images"] > known["unlabelled_images"]:
            splits[name] = described
    return splits


def _rows(found: Sequence[_Found], rates: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """One row for each set, width and name: means over seeds."""
    groups: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
    searches: dict[tuple[int, int], float] = {}
    for _, result in found:
        items = result["split"]["database_images"]
        for row in result["rows"]:
            # A search takes the time of its sizes, whatever the codes: timed now for all, not as cells ran.
            size = row["bits"], items
            if size not in searches:
                searches[size] = _search_microseconds(*size)
            row = {**row, "query_microseconds": searches[size]}
            groups[result["set"], result["bits"], row["name"]].append(row)
    rows = []
    for (set_name, bits, name), members in groups.items():
        # Each teacher is measured with every width, and its own code has none of them.
        methods.fill_rates(members, rates.get(set_name, {}))
        merged = {"set": set_name, "code_bits": bits, **members[0], "name": name, "seeds": len(members)}
        for key in ("mean_weights", "class_weights"):
            if key in merged:
                merged[key] = np.mean([row[key] for row in members], axis=0).tolist()
        for key in ("accuracy", "map", "mean_largest_weight", "shuffled_accuracy"):
            values = [row[key] for row in members if row.get(key) is not None]
            if values:
                merged[key] = float(np.mean(values))
            if key in ("accuracy", "map") and len(values) > 1:
                merged[f"{key}_deviation"] = float(np.std(values, ddof=1))
        rows.append(merged)
    order = {name: i for i, name in enumerate(dict.fromkeys(result["set"] for _, result in found))}
    return sorted(rows, key=lambda row: (order[row["set"]], row["code_bits"], _rank(row["kind"])))


def _search_microseconds(bits: int, items: int) -> float:
    rng = np.random.default_rng(0)
    queries, database = (pack(rng.random((rows, bits)) < 0.5) for rows in (31, items))
    return round(1e6 * methods.query_seconds(queries, database), 2)


def _rank(kind: str) -> int:
    return next(i for i, kinds in enumerate(_KINDS) if kind in kinds)


def _speeds(found: Iterable[_Found], out: Path) -> dict[str, dict[str, float]]:
    """Images a second of each network, by set."""
    workshop, rates = Workshop(out, progress=False), dict[str, dict[str, float]]()
    timed: dict[str, dict[str, float]] = {}
    for cell, result in found:
        known = rates.setdefault(cell.set_name, {})
        wanted = {name for row in result["rows"] for name in row.get("networks", ())}
        if wanted <= known.keys():
            continue
        split = workshop.images(cell.config).split
        # A student costs the same in every set; teachers are timed once a set: sizes of images may differ.
        students = [workshop.student(cell)] if cell.arm.kind == "student" else []
        scope = (
            f"{cell.config.protocol} {cell.config.backbone} {cell.config.bits}" if students else cell.set_name
        )
        if scope not in timed:
            teachers = [] if students else workshop.teachers(cell)
            timed[scope] = methods.rates(split, teachers, students)
        known |= timed[scope]
    return rates


def _differences(grid: Grid, found: Sequence[_Found], out: Path) -> Iterable[dict[str, Any]]:
    """Each comparison of the grid at each set and width, over the seeds that both have."""
    places: dict[_Place, dict[str, dict[int, dict[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    best: dict[_Place, dict[int, float]] = defaultdict(dict)
    for cell, result in found:
        for i, row in enumerate(result["rows"]):
            place, seed = (result["set"], result["bits"]), result["seed"]
            values = queries(folder_of(out, cell), i)
            places[place][row["name"]][seed] = values
            if row["kind"] == "teacher" and row["accuracy"] > best[place].get(seed, -1):
                best[place][seed] = row["accuracy"]
                places[place][BEST][seed] = values
    for place, rows in places.items():
        for first, second in grid.comparisons:
            seeds = sorted(rows.get(first, {}).keys() & rows.get(second, {}).keys())
            for metric in ("map", "accuracy"):
                pairs = [(rows[first][seed][metric], rows[second][seed][metric]) for seed in seeds]
                if not pairs or not all(left.size and left.shape == right.shape for left, right in pairs):
                    continue
                left, right = (np.stack([pair[side] for pair in pairs]) for side in (0, 1))
                yield {
                    "set": place[0],
                    "bits": place[1],
                    "first": first,
                    "second": second,
                    "metric": metric,
                    **paired_interval(left, right, seed=0),
                    "seeds": len(seeds),
                    "interval": "95 %, paired bootstrap over queries, "
                    + (f"Student's t over {len(seeds)} seeds" if len(seeds) > 1 else "one seed"),
                }
