"""Write the tables of README.md and docs/*.md from the saved results, so that no figure is typed by hand.

A document marks a place with ``<!-- table: NAME -->`` ... ``<!-- /table -->``; NAME is a file of
``benchmarks/results`` without its suffix, with ``.VIEW`` behind it where the file makes several tables.
``python benchmarks/tables.py`` fills every place, ``--check`` only compares and fails where a document and
its results differ.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine_code
import multiindextables
import searchtables
from aims import aims_table
from dmth_fast import environment, report
from dmth_fast.grid.document import grid_markdown
from dmth_fast.grid.table import FORMAT as GRID_FORMAT
from dmth_fast.learning.recipes import RECIPES
from dmth_fast.learning.recipes.results import result_markdown
from systemstable import recipe_command, systems_aims, systems_table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
EXPERIMENTS = ROOT / "benchmarks" / "experiments"
PLACE = re.compile(r"(<!-- table: (?P<name>[\w.-]+) -->\n)(?P<body>.*?)(<!-- /table -->)", re.DOTALL)


def documents() -> list[Path]:
    """The documents that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """The document with every marked place written anew."""
    return PLACE.sub(lambda place: f"{place[1]}{table(place['name'])}\n{place[4]}", text)


def table(name: str) -> str:
    """The Markdown of one saved result, with what is needed to make it again."""
    if name == "aims":
        return "\n".join(aims_table(saved))
    if name == "systems-aims":
        return "\n".join(systems_aims(saved))
    if name == "systems":
        return "\n".join(systems_table(saved))
    file, _, view = name.partition(".")
    result = saved(file)
    if result is None:
        return _not_run(file)
    if result.get("benchmark") == "machine code":
        return "\n".join(machine_code.table(result))
    if result.get("benchmark") == "search":
        return "\n".join(searchtables.table(result, view))
    if result.get("format") == GRID_FORMAT:
        return "\n".join(grid_markdown(result))
    if "recipe" in result:
        return "\n".join(result_markdown(result))
    if "epoch" in result:
        return "\n".join(epoch_table(result))
    if "benchmarks" not in result:
        return "\n".join(methods_table(result))
    if result["benchmarks"][0]["group"] == "multi-index":
        return "\n".join(multiindextables.table(result))
    return "\n".join(evaluation_table(result))


def saved(name: str) -> dict[str, Any] | None:
    """The saved result of a name; None where there is none."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def _not_run(name: str) -> str:
    """What stands in place of a grid or a recipe that was not run; any other result must be there."""
    path = EXPERIMENTS / f"{name}.toml"
    if not path.exists():
        raise FileNotFoundError(f"a document has a table {name}, but {RESULTS / name}.json does not exist")
    if name.startswith(RECIPES):
        return f"Not run so far: `{recipe_command(name)}`."
    return f"Not run so far: `dmth-fast grid benchmarks/experiments/{name}.toml --out runs/{name}`."


def epoch_table(result: dict[str, Any]) -> list[str]:
    """What measuring after an epoch takes, beside the epoch."""
    epoch, evaluation, encoding = (result[name] for name in ("epoch", "evaluation", "encoding"))
    shares = [f"{100 * evaluation[name]:.2f} %" for name in ("share_of_epoch", "share_of_processor_time")]
    sizes = f"{evaluation['queries']:,} queries against {evaluation['items']:,}"
    machine = f"{environment.summary(result['environment'])}, {result['threads']} threads"

    def line(words: str, part: dict[str, float], shares: Sequence[str] = ("", "")) -> str:
        taken = [f"{part[name]:.3g}" for name in ("seconds", "processor_seconds")]
        return f"| {words} | {taken[0]} | {shares[0]} | {taken[1]} | {shares[1]} |"

    return [
        "| | seconds | of the epoch | processor seconds | of the epoch's |",
        "|---|---:|---:|---:|---:|",
        line(f"an epoch of {epoch['backbone']}, {epoch['images']:,} images", epoch),
        line(f"evaluation, {sizes} codes of {evaluation['bits']} bits, every metric", evaluation, shares),
        line("mAP alone", evaluation["map_alone"]),
        line(f"encoding those {encoding['images']:,} images, apart", encoding),
        "",
        f"Made by `python {result['command']}` on {machine}.",
    ]


def evaluation_table(result: dict[str, Any]) -> list[str]:
    """Queries evaluated a second by each contestant, and how many times the NumPy loop's rate that is."""
    measured = [item["extra_info"] for item in result["benchmarks"] if item["group"] == "evaluation"]
    rates = {item["contestant"]: item["queries_per_second"] for item in measured}
    loop = rates["NumPy loop"]
    lines = ["| evaluation | queries/s | times the NumPy loop |", "|---|---:|---:|"]
    lines += [f"| {name} | {rate:,.0f} | {rate / loop:.1f}x |" for name, rate in rates.items()]
    first = measured[0]
    machine = environment.summary(result["machine_info"]["dmth_fast"])
    origin = (
        f"mAP over the whole database of {first['items']:,} codes of {first['bits']} bits; ours computes "
        "every metric of its default report. Rivals on one thread and fewer queries; answers compared first. "
        "Best of several rounds, histograms medians; the bare scan is the search for the 10 nearest on the "
        "same codes, MiB what the histograms held beside them at most. "
        f"Made by `{_command('test_evaluation.py')}` on {machine}."
    )
    beside = [item["extra_info"] for item in result["benchmarks"] if item["group"] == "histograms"]
    if beside:
        lines += [
            "",
            "| histograms: bits | queries x codes | threads | ns a pair | times the bare scan | MiB |",
        ]
        lines += ["|---:|---:|---:|---:|---:|---:|"]
    for item in beside:
        pair = item["seconds"]["histograms"] / item["queries"] / item["items"] * 1e9
        lines.append(
            f"| {item['bits']} | {item['queries']:,} x {item['items']:,} | {item['threads']} | {pair:.3f} "
            f"| {item['ratio']:.2f} | {item['mebibytes']:.0f} |"
        )
    return [*lines, "", origin]


def methods_table(result: dict[str, Any]) -> list[str]:
    """Rows of methods with accuracy, mAP and cost; below them the paired differences."""
    lines = [report.markdown(result["rows"]), ""]
    for item in result["comparisons"]:
        low, high = 100 * item["low"], 100 * item["high"]
        lines.append(
            f"- {item['first']} minus {item['second']}: {100 * item['difference']:+.1f} points of mAP "
            f"[{low:+.1f}, {high:+.1f}]"
        )
    seconds = result["seconds"]
    taken = seconds if isinstance(seconds, (int, float)) else sum(_stages(seconds))
    machine = environment.summary(result.get("environment", result))
    origin = (
        f"95 % intervals by paired bootstrap over queries; one seed ({result['seed']}). {_metric(result)}. "
        f"Made by `{result.get('command', 'dmth-fast demo')}` in {_duration(taken)} on {machine}."
    )
    return [*lines, "", *_protocol(result), origin]


def _protocol(result: dict[str, Any]) -> list[str]:
    """What a table cannot be read without, where the result says it in words."""
    protocol = result["protocol"]
    if isinstance(protocol, str):
        return []
    words = (protocol["data"], protocol["split"], protocol["training"], f"trivial: {protocol['trivial']}")
    return ["; ".join(words) + ".", ""]


def _command(name: str) -> str:
    return f"python -m pytest benchmarks/{name} --benchmark-only"


def _stages(seconds: dict[str, float]) -> list[float]:
    return [value for name, value in seconds.items() if not name.startswith("of which")]


def _metric(result: dict[str, Any]) -> str:
    metric = result["metric"] if "metric" in result else result["protocol"]["metric"]
    return str(metric[0].upper() + metric[1:] if not metric.startswith("mAP") else metric)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def write(check: bool = False) -> int:
    """Fill or compare every document; 0 if nothing is, or was, amiss."""
    stale = []
    for document in documents():
        old = document.read_text(encoding="utf-8")
        new = filled(old)
        if new != old:
            stale.append(document.relative_to(ROOT))
            if not check:
                document.write_text(new, encoding="utf-8")
    for document in stale:
        print(f"{document}: {'out of date' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fill the tables of the documents from benchmarks/results.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail where a table is out of date"
    )
    sys.exit(write(parser.parse_args().check))
