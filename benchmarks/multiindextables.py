"""The table of multi-index hashing beside our scan, from a saved run of ``test_multi_index.py``."""

from collections.abc import Iterator
from typing import Any

from dmth_fast import environment

# Times the AVX2 scan, of codes and k; and how much slower than the better of the two ``auto`` may be.
WANTED = {
    ("10,000 centres, p = .03", 10): 100,
    ("10,000 centres, p = .03", 100): 40,
    ("100 centres, p = .05", 10): 100,
    ("100 centres, p = .05", 100): 40,
    ("10,000 centres, p = .15", 10): 20,
}
SLOWER = 1.2


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
        if (aim := WANTED.get((item["codes"], item["k"]))) and "avx2" in isas:
            at = isas.index("avx2")
            met = taken["scan avx2"] / taken["mih avx2"] >= aim
            ratios[at] += f" ({aim}x asked: {'met' if met else 'missed'})"
        cells = [item["codes"], str(item["k"]), f"{item['radius']:.0f}", f"{item['candidates']:,.0f}"]
        yield f"| {' | '.join([*cells, *times, *ratios, ' / '.join(f'{part:.2f}' for part in auto)])} |"
    first = measured[0]
    builds = sorted({item["build_seconds"] for item in measured})
    yield ""
    yield (
        f"{first['rows']:,} codes of {first['bits']} bits, {first['queries']} queries, one thread; "
        "microseconds of processor time a query, medians of alternating runs, each with queries that had not "
        "been asked before; answers compared first. "
        f"`auto` is asked to be at most {SLOWER} times the better. "
        "Radius: how far the median query had to look; candidates: codes compared with a query, on "
        f"average. Building takes {builds[0]:.1f} to {builds[-1]:.1f} s of one thread. Made by "
        "`python -m pytest benchmarks/test_multi_index.py --benchmark-only` on "
        f"{environment.summary(result['machine_info']['dmth_fast'])}."
    )
