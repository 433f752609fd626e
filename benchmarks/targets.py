"""What search set out to reach, and what a saved run says of it.

The targets of the scan are ratios to FAISS (one core, 100 queries, random codes). ``AIMS`` is what
prototypes of the same technique reached on Zen 4, for so many codes; ``LEAST`` what was asked before, for
AVX2 on another processor, and the target where there was no prototype.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

DEPTHS = (10, 100, 5000)
MILLION, TEN_MILLION = 1_000_000, 10_000_000

AIMS = {
    ("", MILLION): {
        32: (39, 28, 13),
        48: (86, 65, 30),
        64: (18.6, 17, 10),
        96: (43, 38, 21),
        128: (11, 11, 9),
        256: (7.9, 7.6, 8),
        512: (6, 6, 7),
    },
    ("", TEN_MILLION): {64: (24, 22, 14)},
    (" avx2", MILLION): {
        32: (22, 17, 11),
        48: (46, 42, 30),
        64: (10.4, 10.6, 7.5),
        96: (24, 21, 16),
        128: (6, 6, 6),
        256: (4.1, 4.2, 5.5),
        512: (3, 3.2, 4.4),
    },
    (" avx2", TEN_MILLION): {64: (12.7, 11.8, 9.9)},
}
_PORTS = (
    "Many queries: a block of 512 rows of 64 bits and a query take 37 loads and 57 ternary operations, "
    "which Zen 4 retires at one and two a cycle: at most 50 G/s at 3.65 GHz in cache, less the patterns made "
    "for each block, the rows within the bound (with k = 5,000 of 1 M codes they are most of the time) and "
    "the lines that come from memory (`csrc/cpu/tab.inl`, `sel.inl`, `selection.h`)."
)
_READ = "One query: reading the codes once; see the table beside the plain read."
_TRANSPOSE = (
    "One-shot search: rows are made bit planes in every call, which the queries share; the narrower the "
    "codes and the quicker their search, the more it shows."
)
LEAST = {
    "": {
        32: (13, 9, 8),
        48: (45, 33, 16),
        64: (9, 6, 7),
        96: (26, 18, 13),
        128: (7, 5.5, 6),
        256: (5.3, 5, 5),
        512: (5, 5, 4.4),
    },
    " avx2": {
        32: (7, 6, 7),
        48: (22, 20, 14),
        64: (4.5, 3.8, 5.5),
        96: (13, 11, 10),
        128: (3.5, 3.2, 4.2),
        256: (2.8, 2.7, 3.2),
        512: (2.6, 2.6, 2.7),
    },
}


MISSED = "**no**"


@dataclass(frozen=True)
class Target:
    """A case with a number for each k, or for whatever the case lists."""

    case: str
    wanted: tuple[float, ...]
    measured: tuple[float, ...]
    parts: tuple[str, ...]
    """Of the run, that it was read from."""
    least: tuple[float, ...] = ()
    """A lower bar, where there is one."""
    limit: str = ""
    """What bounds it, said where it is missed."""
    at_most: bool = False
    """The target is an upper bound."""

    def verdicts(self) -> list[str]:
        """For each number: ``yes``, ``least`` (the lower bar alone), or :data:`MISSED`."""
        sign = -1 if self.at_most else 1
        bars = self.least or self.wanted
        return [
            "yes" if sign * got >= sign * wanted else "least" if sign * got > sign * least else MISSED
            for got, wanted, least in zip(self.measured, self.wanted, bars, strict=True)
        ]


Rows = list[dict[str, Any]]


def targets(result: dict[str, Any]) -> Iterator[Target]:
    """Every target of which the run holds the figures."""
    parts: dict[str, Rows] = {name: part["rows"] for name, part in result["parts"].items()}
    for size, part in ((MILLION, "million"), (TEN_MILLION, "ten-million")):
        yield from _scan(result, parts.get(part, []), size, part)
    for size, part in ((MILLION, "million"), (TEN_MILLION, "ten-million")):
        yield from _threads(parts.get(part, []), parts.get("cores", []), size, part)
        yield from _one_shot(parts.get(part, []), size, part)
    yield from _one_shot_batches(parts.get("batch", []))
    yield from _memory(parts.get("memory", []))


def _scan(result: dict[str, Any], rows: Rows, size: int, part: str) -> Iterator[Target]:
    chosen = [row for row in rows if (row["queries"], row["threads"]) == (100, 1)]
    for isa, least in LEAST.items():
        for bits, wanted in least.items():
            found = {row["k"]: row["milliseconds"] for row in chosen if row["bits"] == bits}
            if all("index" + isa in found.get(k, ()) and "FAISS" in found[k] for k in DEPTHS):
                measured = tuple(found[k]["FAISS"] / found[k]["index" + isa] for k in DEPTHS)
                kernel = kernels(result, isa)
                case = f"{kernel}, {bits} bits, {size / 1e6:g} M, k = {_slashed(DEPTHS)}: times FAISS"
                aim = AIMS[isa, size].get(bits, wanted)
                yield Target(case, aim, measured, (part,), least=wanted, limit=_PORTS)


def _threads(rows: Rows, cores: Rows, size: int, part: str) -> Iterator[Target]:
    most = max((row["threads"] for row in rows), default=1)
    if most == 1:
        return
    times: dict[tuple[int, int, int], float] = {
        (row["bits"], row["k"], row["threads"]): row["milliseconds"]["index"]
        for row in rows
        if row["queries"] == 100
    }
    depths = sorted({k for _, k, _ in times})
    gains = [
        [
            time / times[bits, k, most]
            for (bits, k, threads), time in times.items()
            if (k, threads) == (depth, 1)
        ]
        for depth in depths
    ]
    case = f"{most} threads beside 1, 100 queries, {size / 1e6:g} M, k = {_slashed(depths)}"
    least = (0.9 * most,) * len(depths)
    for name, choose in (("median", median), ("lowest", min)):
        got = tuple(choose(gain) for gain in gains)
        yield Target(f"{case}: {name} width", least, got, (part,), limit=_gained(cores, most))


def _gained(cores: Rows, threads: int) -> str:
    gained = next((row["scaling"] for row in cores if row["threads"] == threads), None)
    known = f" In the same run arithmetic that touches no memory gained {gained:.2f}x." if gained else ""
    return (
        f"{threads} threads: what the other processors of this host give, the cache and memory that they "
        f"share, and what one thread does alone, which weighs in short calls.{known} With k = 5,000 of 10 M "
        "codes it is what a thread notes, fetches and merges (`Selector`, `extract`): lists of some 100 kB a "
        "query and rows read at random, out of a cache that two threads share."
    )


def _one_shot(rows: Rows, size: int, part: str) -> Iterator[Target]:
    chosen = [row for row in rows if (row["queries"], row["threads"]) == (100, 1)]
    over: dict[int, list[float]] = {}
    for row in chosen:
        more = row["milliseconds"]["search"] / row["milliseconds"]["index"] - 1
        over.setdefault(row["k"], []).append(100 * more)
    if over:
        case = (
            f"one-shot `search` over `Index.search` in %, 100 queries, {size / 1e6:g} M, k = {_slashed(over)}"
        )
        for name, choose in (("median", median), ("highest", max)):
            measured = tuple(choose(values) for values in over.values())
            least = (10.0,) * len(over)
            yield Target(f"{case}: {name} width", least, measured, (part,), limit=_TRANSPOSE, at_most=True)


def _one_shot_batches(rows: Rows) -> Iterator[Target]:
    over: dict[int, list[float]] = {}
    for row in rows:
        if row["queries"] > 100:
            more = row["milliseconds"]["search"] / row["milliseconds"]["index"] - 1
            over.setdefault(row["queries"], []).append(100 * more)
    if over:
        case = f"one-shot `search` over `Index.search` in %, {_slashed(over)} queries, 1 M: highest width"
        measured = tuple(max(values) for values in over.values())
        yield Target(case, (10.0,) * len(over), measured, ("batch",), limit=_TRANSPOSE, at_most=True)


def _memory(rows: Rows) -> Iterator[Target]:
    for size, least in ((TEN_MILLION, 0.8), (100_000_000, 0.9)):
        found = [row for row in rows if row["n"] == size]
        if found:
            measured = tuple(
                row["milliseconds"]["memory read"] / row["milliseconds"]["index"] for row in found
            )
            threads = _slashed(row["threads"] for row in found)
            case = f"one query, {size / 1e6:g} M x 64 bits, {threads} threads: share of a plain read"
            yield Target(case, (least,) * len(found), measured, ("memory",), limit=_READ)


def kernels(result: dict[str, Any], isa: str) -> str:
    """The instruction set behind a contender's name, as it is spelt."""
    measured = next(iter(result["parts"].values()))["environment"]["hardware"]
    name = isa.strip() or measured["isa"]
    return {"avx512": "AVX-512", "avx2": "AVX2", "neon": "NEON"}.get(name, name)


def _slashed(numbers: Iterable[int]) -> str:
    return " / ".join(f"{number:,}" for number in numbers)
