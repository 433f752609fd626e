"""The table of multi-index hashing beside our scan, from a saved run of ``test_multi_index.py``."""

from collections.abc import Iterator
from typing import Any

from dmth_fast import environment


def table(result: dict[str, Any]) -> Iterator[str]:
    """A line for each kind of codes and k; times in microseconds a query."""
    measured = [item["extra_info"] for item in result["benchmarks"]]
    isas = list(measured[0]["hashed"])
    heads = [f"{name} {isa}" for isa in isas for name in ("scan", "mih", "auto")]
    lines = ["codes", "k", "radius", "candidates", *heads, *(f"mih over scan {isa}" for isa in isas)]
    lines.append("auto over the better")
    yield f"| {' | '.join(lines)} |"
    yield f"|---|{'---:|' * (len(lines) - 1)}"
    for item in measured:
        taken = item["seconds_per_query"]
        times = [f"{1e6 * taken[head]:,.1f}" for head in heads]
        ratios = [f"{taken[f'scan {isa}'] / taken[f'mih {isa}']:.1f}x" for isa in isas]
        auto = [taken[f"auto {isa}"] / min(taken[f"scan {isa}"], taken[f"mih {isa}"]) for isa in isas]
        cells = [item["codes"], str(item["k"]), f"{item['radius']:.0f}", f"{item['candidates']:,.0f}"]
        yield f"| {' | '.join([*cells, *times, *ratios, ' / '.join(f'{part:.2f}' for part in auto)])} |"
    first = measured[0]
    builds = sorted({item["build_seconds"] for item in measured})
    yield ""
    yield (
        f"{first['rows']:,} codes of {first['bits']} bits, {first['queries']} queries, one thread; "
        "microseconds of processor time a query, medians of alternating runs, each with queries of its own; "
        "answers compared first. "
        "Radius: how far the median query had to look; candidates: codes compared with a query, on "
        f"average. Building takes {builds[0]:.1f} to {builds[-1]:.1f} s of one thread. Made by "
        "`python -m pytest benchmarks/test_multi_index.py --benchmark-only` on "
        f"{environment.summary(result['machine_info']['dmth_fast'])}."
    )
