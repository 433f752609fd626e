"""The picture of how the cost of a search grows, from a saved run of ``search.py``.

``python benchmarks/searchplot.py zen4`` writes ``docs/images/search-growth-zen4.png``.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from dmth_fast import environment, plots

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]


def panels(result: dict[str, Any]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """What grows to contender to points; milliseconds a query."""
    found = {name: part["rows"] for name, part in result["parts"].items()}
    growth = found["growth"]
    most = max(row["threads"] for row in growth)
    sizes = [row for row in growth if row["k"] == 10]
    chosen = {
        "codes": ("n", [row for row in sizes if _is(row, queries=100, threads=1)]),
        f"codes, {most} threads": ("n", [row for row in sizes if _is(row, queries=100, threads=most)]),
        "codes, one query": ("n", [row for row in sizes if _is(row, queries=1, threads=1)]),
        "neighbours k": ("k", [row for row in growth if _is(row, n=1_000_000, queries=100, threads=1)]),
        "bits": ("bits", found["widths"]),
        "queries a call": ("queries", [row for row in found["batch"] if row["bits"] == 64]),
    }
    return {label: _lines(key, rows) for label, (key, rows) in chosen.items()}


def _is(row: Row, **wanted: int) -> bool:
    return all(row[key] == value for key, value in wanted.items())


def _lines(key: str, rows: list[Row]) -> dict[str, list[tuple[float, float]]]:
    names = {"index": "dmth_fast", "index avx2": "dmth_fast, AVX2 kernels", "FAISS": "FAISS at its best"}
    lines: dict[str, dict[float, float]] = {}
    for row in sorted(rows, key=lambda row: float(row[key])):
        for name in names.keys() & row["milliseconds"].keys():
            lines.setdefault(names[name], {})[row[key]] = row["milliseconds"][name] / row["queries"]
    return {name: list(lines[name].items()) for name in names.values() if name in lines}


def draw(host: str) -> None:
    """From ``benchmarks/results/search-HOST.json`` to ``docs/images``."""
    result = json.loads((ROOT / f"benchmarks/results/search-{host}.json").read_text(encoding="utf-8"))
    machine = environment.summary(result["parts"]["growth"]["environment"]).partition(";")[0]
    plots.plot_growth(
        panels(result),
        ROOT / f"docs/images/search-growth-{host}.png",
        cost="milliseconds a query",
        title="What an exact search costs as the work grows",
        subtitle=f"1 M random codes of 64 bits, k = 10, 100 queries, one thread, but for the axis. {machine}",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw how the cost of a search grows.")
    parser.add_argument("host", help="of benchmarks/results/search-HOST.json")
    draw(parser.parse_args().host)
