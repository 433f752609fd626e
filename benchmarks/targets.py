"""What search set out to reach, and what a saved run says of it.

The aims of the scan are what prototypes of the same technique reached on this processor (Zen 4, one core,
100 queries, random codes), as ratios to FAISS; ``AIMS`` says for how many codes.
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


@dataclass(frozen=True)
class Target:
    """A case with a number for each k, or for whatever the case lists."""

    case: str
    least: tuple[float, ...]
    measured: tuple[float, ...]
    parts: tuple[str, ...]
    """Of the run, that it was read from."""
    aim: tuple[float, ...] = ()
    """What prototypes reached, where they were tried."""
    unit: str = "x"
    at_most: bool = False
    """The target is an upper bound."""

    def verdicts(self) -> list[str]:
        """For each number: ``aim``, ``yes`` (the target, but not the prototype), or ``**no**``."""
        sign = -1 if self.at_most else 1
        aims = self.aim or (None,) * len(self.least)
        return [
            "aim" if aim is not None and got >= aim else "yes" if sign * got >= sign * least else "**no**"
            for got, least, aim in zip(self.measured, self.least, aims, strict=True)
        ]


Rows = list[dict[str, Any]]


def targets(result: dict[str, Any]) -> Iterator[Target]:
    """Every target of which the run holds the figures."""
    parts: dict[str, Rows] = {name: part["rows"] for name, part in result["parts"].items()}
    for size, part in ((MILLION, "million"), (TEN_MILLION, "ten-million")):
        yield from _scan(result, parts.get(part, []), size, part)
    for size, part in ((MILLION, "million"), (TEN_MILLION, "ten-million")):
        yield from _threads(parts.get(part, []), size, part)
        yield from _one_shot(parts.get(part, []), size, part)
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
                yield Target(case, wanted, measured, (part,), aim=AIMS[isa, size].get(bits, ()))


def _threads(rows: Rows, size: int, part: str) -> Iterator[Target]:
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
        yield Target(f"{case}: {name} width", least, tuple(choose(gain) for gain in gains), (part,))


def _one_shot(rows: Rows, size: int, part: str) -> Iterator[Target]:
    chosen = [row for row in rows if (row["queries"], row["threads"]) == (100, 1)]
    over: dict[int, list[float]] = {}
    for row in chosen:
        more = row["milliseconds"]["search"] / row["milliseconds"]["index"] - 1
        over.setdefault(row["k"], []).append(100 * more)
    if over:
        case = f"one-shot `search` over `Index.search`, 100 queries, {size / 1e6:g} M, k = {_slashed(over)}"
        for name, choose in (("median", median), ("highest", max)):
            measured = tuple(choose(values) for values in over.values())
            least = (10.0,) * len(over)
            yield Target(f"{case}: {name} width", least, measured, (part,), unit=" %", at_most=True)


def _memory(rows: Rows) -> Iterator[Target]:
    for size, least in ((TEN_MILLION, 0.8), (100_000_000, 0.9)):
        found = [row for row in rows if row["n"] == size]
        if found:
            measured = tuple(
                row["milliseconds"]["memory read"] / row["milliseconds"]["index"] for row in found
            )
            threads = _slashed(row["threads"] for row in found)
            case = f"one query, {size / 1e6:g} M x 64 bits, {threads} threads: share of a plain read"
            yield Target(case, (least,) * len(found), measured, ("memory",), unit="")


def kernels(result: dict[str, Any], isa: str) -> str:
    """The instruction set behind a contender's name, as it is spelt."""
    measured = next(iter(result["parts"].values()))["environment"]["hardware"]
    name = isa.strip() or measured["isa"]
    return {"avx512": "AVX-512", "avx2": "AVX2", "neon": "NEON"}.get(name, name)


def _slashed(numbers: Iterable[int]) -> str:
    return " / ".join(f"{number:,}" for number in numbers)
