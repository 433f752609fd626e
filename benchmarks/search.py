"""Search beside its rivals, beside the memory, and as it grows: every figure of docs/benchmarks.md.

    python benchmarks/search.py --save HOST --documents  # all; HOST is a short name of the processor
    python benchmarks/search.py --save HOST --missing    # the parts that are not saved yet
    python benchmarks/search.py --only million,memory    # some, printed only

What is measured is written to ``benchmarks/results/search-HOST.json`` at once, beside the parts measured
before; a part that was interrupted begins anew. All contenders run in one process with equal threads and take
turns; answers are compared before anything is timed (``dmth_fast.bench`` and ``dmth_fast.rivals``, which
``dmth-fast bench`` uses, too). Besides the instruction set in force the one before it is measured, unless
``DMTH_FAST_ISA`` forces one.
"""

import argparse
import functools
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import codes
import filtered
import probes
import searchplot
import tables
from dmth_fast import bench, environment, hamming_distances
from dmth_fast.atomic import write_text
from dmth_fast.retrieval import native

RESULTS = Path(__file__).resolve().parent / "results"
WIDTHS = (32, 48, 64, 96, 128, 256, 512)
DEPTHS = (10, 100, 5000)
THREADS = tuple(sorted({1, native.thread_count()}))
SEED = 0

Row = dict[str, Any]
Part = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Every combination of what is listed, database after database."""

    codes: str = "random"
    """``random``, ``student``, or ``clustered CENTRES P``, see ``codes.py``."""
    n: tuple[int, ...] = (1_000_000,)
    bits: tuple[int, ...] = (64,)
    k: tuple[int, ...] = (10,)
    queries: tuple[int, ...] = (100,)
    threads: tuple[int, ...] = (1,)
    rivals: tuple[str, ...] = ("FAISS",)
    rounds: int = 5
    pairs: float = 1e9
    """Distances a turn and thread after which FAISS is given no more queries; its rate does not change."""

    def rows(self, small: bool) -> Iterator[Row]:
        """Measure; ``small`` keeps the kinds of work and leaves out their size."""
        sizes = tuple(sorted({min(n, _SMALL) for n in self.n})) if small else self.n
        for n, bits in itertools.product(
            sizes, self.bits[:: len(self.bits) - 1 or 1] if small else self.bits
        ):
            contest, size = _contest(self.codes, n, bits, max(self.queries), self.rivals)
            for threads, queries, k in itertools.product(self.threads, self.queries, self.k):
                if k > size or (small and queries > 100):
                    continue
                rounds = 1 if small else self.rounds
                most = {"FAISS": self.pairs * threads}
                case = {"codes": self.codes, "n": size, "bits": bits, "k": k, "queries": queries}
                case |= {"threads": threads, "rounds": rounds, "seed": SEED}
                yield case | contest.measure(k, queries, threads, rounds, most_pairs=most)


_SMALL = 3000


@functools.lru_cache(maxsize=1)
def _contest(
    kind: str,
    n: int,
    bits: int,
    queries: int,
    rivals: tuple[str, ...],
    methods: tuple[tuple[str, str], ...] = (("index", "scan"),),
) -> tuple[bench.Contest, int]:
    """Everybody's index over one database, and its size; the last one is kept."""
    database, asked = _sample(kind, n, bits, queries)
    return bench.Contest(database, asked, bits, rivals=rivals, methods=dict(methods), isas=_isas()), len(
        database
    )


def _sample(kind: str, n: int, bits: int, queries: int) -> codes.Sample:
    if kind == "student":
        database, asked = codes.student_codes()
        return codes.Sample(database, asked[:queries])
    if kind == "random":
        both = codes.random_codes(n + queries, bits, SEED)
        return codes.Sample(both[:n], both[n:])
    _, centres, p = kind.split()
    return codes.clustered_codes(n, bits, int(centres), float(p), SEED, queries=queries)


def _isas() -> tuple[str, ...]:
    """The best vector instruction set below the one in force, where none is forced."""
    if os.environ.get("DMTH_FAST_ISA"):
        return ()
    return tuple(isa for isa in native.isas()[:-1] if isa != "portable")[-1:]


def sweeps(*every: Sweep) -> Callable[[bool], Iterator[Row]]:
    """One after the other."""
    return lambda small: itertools.chain.from_iterable(sweep.rows(small) for sweep in every)


def memory_read(small: bool) -> Iterator[Row]:
    """One query over many codes beside a read of as many bytes, by the same number of threads."""
    for n in (_SMALL,) if small else (10_000_000, 100_000_000):
        contest, _ = _contest("random", n, 64, 1, ())
        every = contest.codes.reshape(-1)
        for threads in THREADS:
            rounds = 1 if small else 9
            others = {
                "memory read": lambda threads=threads, every=every: native.read_probe(every, threads=threads)
            }
            case = {"codes": "random", "n": n, "bits": 64, "k": 10, "queries": 1, "threads": threads}
            yield (
                case
                | {"rounds": rounds, "seed": SEED}
                | contest.measure(10, 1, threads, rounds, others=others)
            )


def arithmetic(small: bool) -> Iterator[Row]:
    """What all threads together do of the work of one, in arithmetic without memory."""
    for threads in THREADS:
        rounds = 1 if small else 9
        scaling = probes.arithmetic_scaling(threads, rounds)
        cores = probes.physical_cores()
        yield {"threads": threads, "rounds": rounds, "scaling": scaling, "physical_cores": cores}


def matrix(small: bool) -> Iterator[Row]:
    """All distances, without selection, beside NumKong, which has none."""
    n, queries, rounds = (_SMALL, 2, 1) if small else (1_000_000, 10, 5)
    for bits in WIDTHS[-1:] if small else WIDTHS:
        database, asked = _sample("random", n, bits, queries)
        contenders: dict[str, Callable[[], Any]] = {
            "hamming_distances": lambda a=asked, d=database: hamming_distances(d, a, threads=1)
        }
        absent = {}
        try:
            import numkong
        except ImportError:
            absent["NumKong"] = "not installed (pip install numkong)"
        else:
            packed = numkong.hammings_pack(database)
            contenders["NumKong"] = lambda a=asked, p=packed: np.asarray(numkong.hammings_packed(a, p))
            if not np.array_equal(contenders["NumKong"](), contenders["hamming_distances"]()):
                raise AssertionError("NumKong and dmth_fast give different distances; nothing was timed")
        taken = bench.alternate(contenders, rounds)
        milliseconds = {name: round(1e3 * median(values), 4) for name, values in taken.items()}
        case = {"codes": "random", "n": n, "bits": bits, "queries": queries, "threads": 1, "rounds": rounds}
        yield case | {"seed": SEED, "milliseconds": milliseconds, "absent": absent}


def scratch(small: bool) -> Iterator[Row]:
    """Memory that a search takes besides its answer."""
    n = _SMALL if small else 10_000_000
    contest, _ = _contest("random", n, 64, 1000, ())
    for threads, queries, k in itertools.product(THREADS, (1, 100, 1000), (10, 5000)):
        if small and queries * k > 10_000:
            continue
        asked = contest.queries[:queries]
        for name, run in contest.ours(asked, k, threads).items():
            taken = probes.peak_bytes(run.run)
            yield {
                "contender": name,
                "n": n,
                "bits": 64,
                "k": k,
                "queries": queries,
                "threads": threads,
                "answer_bytes": 12 * queries * k,
                "beside_bytes": max(0, taken - 12 * queries * k),
            }


@dataclass(frozen=True)
class Plan:
    """What is measured together."""

    about: str
    rows: Callable[[bool], Iterator[Row]]


_TEN = (10_000_000,)
_RANDOM = {"bits": WIDTHS, "k": DEPTHS, "threads": THREADS}
_ODD = (
    8,
    12,
    16,
    20,
    24,
    32,
    40,
    48,
    56,
    63,
    64,
    65,
    72,
    80,
    96,
    100,
    112,
    128,
    160,
    192,
    200,
    256,
    320,
    384,
)
_WIDE = (500, 512, 768, 1024, 2048, 4096)

PARTS = {
    "cores": Plan("arithmetic of all cores beside one", arithmetic),
    "million": Plan("1 M random codes", sweeps(Sweep(**_RANDOM))),
    "ten-million": Plan("10 M random codes", sweeps(Sweep(n=_TEN, pairs=3.2e8, **_RANDOM))),
    "memory": Plan("one query beside reading memory", memory_read),
    "one-query": Plan("a query at a time", sweeps(Sweep(n=(1_000_000, *_TEN), queries=(1,), **_RANDOM))),
    "growth": Plan(
        "codes, k and threads",
        sweeps(
            Sweep(k=(1, 10, 100, 1000, 10_000), threads=THREADS),
            Sweep(k=(100_000,), threads=THREADS, rivals=(), rounds=3),
            Sweep(
                n=(10_000, 100_000, 1_000_000, 10_000_000, 100_000_000),
                queries=(1, 100),
                threads=THREADS,
                pairs=3.2e8,
                rounds=3,
            ),
        ),
    ),
    "widths": Plan("any width", sweeps(Sweep(bits=_ODD + _WIDE, pairs=3.2e7))),
    "batch": Plan(
        "any number of queries",
        sweeps(
            Sweep(bits=(64, 128, 256), queries=(1, 2, 4, 8, 16, 32, 64, 128, 256, 1000, 10_000), pairs=1e8)
        ),
    ),
    "clustered": Plan(
        "clustered codes",
        sweeps(
            Sweep(codes="clustered 1000 0.03", k=DEPTHS, rivals=("FAISS", "FAISS MultiHash")),
            Sweep(codes="clustered 1000 0.03", bits=(128, 256), k=DEPTHS),
            Sweep(
                codes="clustered 10000 0.03",
                n=_TEN,
                k=DEPTHS,
                rivals=("FAISS", "FAISS MultiHash"),
                pairs=3.2e8,
            ),
            Sweep(codes="clustered 10000 0.03", n=_TEN, bits=(128, 256), k=DEPTHS, pairs=3.2e8),
        ),
    ),
    "student": Plan(
        "codes of the CIFAR-10 student",
        sweeps(
            Sweep(
                codes="student",
                k=DEPTHS,
                queries=(1, 100, 10_000),
                rivals=("FAISS", "FAISS MultiHash"),
                pairs=5e7,
            )
        ),
    ),
    "rivals": Plan(
        "other libraries",
        sweeps(
            Sweep(bits=(64, 256), threads=THREADS, rivals=("FAISS", "USearch", "NumPy")),
        ),
    ),
    "filter": Plan("among some of the codes", filtered.rows),
    "matrix": Plan("all distances", matrix),
    "scratch": Plan("memory taken", scratch),
}


def measured(name: str, small: bool, on_row: Callable[[Row, Part], None]) -> dict[str, Any]:
    """One part, with where and how it was measured; ``on_row`` sees it grow, marked as unfinished."""
    command = f"python benchmarks/search.py --only {name}"
    if os.environ.get("DMTH_FAST_ISA"):
        command = f"DMTH_FAST_ISA={native.isa()} {command}"
    part: Part = {"command": command, "environment": environment.describe(), "unfinished": True, "rows": []}
    start = time.monotonic()
    # FAISS's threads are set a case; OpenBLAS's would make a probe of one thread one of many.
    with threadpool_limits(1, user_api="blas"):
        for row in PARTS[name].rows(small):
            part["rows"].append(row)
            part["seconds"] = round(time.monotonic() - start)
            on_row(row, part)
    _contest.cache_clear()
    del part["unfinished"]
    return part


def save(path: Path, result: dict[str, Any]) -> None:
    """Write the result whole or not at all, a line a row: measuring again changes only the lines measured."""
    parts = []
    for name, part in result["parts"].items():
        head = json.dumps({key: value for key, value in part.items() if key != "rows"}, allow_nan=False)
        rows = ",\n".join(f"  {json.dumps(row, allow_nan=False)}" for row in part["rows"])
        parts.append(f' "{name}": {head[:-1]}, "rows": [\n{rows}\n ]}}')
    write_text(path, '{"benchmark": "search", "parts": {\n' + ",\n".join(parts) + "\n}}\n")


def main() -> int:
    """Measure, save and print."""
    parser = argparse.ArgumentParser(description="Search beside its rivals; see the head of this file.")
    parser.add_argument("--save", metavar="HOST", help="write benchmarks/results/search-HOST.json")
    parser.add_argument("--only", metavar="PART,...", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--missing", action="store_true", help="leave out the parts that are saved already")
    parser.add_argument("--documents", action="store_true", help="then draw the picture and fill all tables")
    parser.add_argument("--small", action="store_true", help="a few thousand codes: does it all run?")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"no such part: {unknown[0]}")
    if arguments.small if arguments.save else arguments.missing or arguments.documents:
        parser.error("--missing and --documents need --save, --small goes without it")
    path = RESULTS / f"search-{arguments.save}.json"
    result: dict[str, Any] = {"benchmark": "search", "parts": {}}
    if arguments.save and path.exists():
        result = json.loads(path.read_text(encoding="utf-8"))
    for name in names:
        if arguments.missing and "unfinished" not in result["parts"].get(name, {"unfinished": True}):
            continue
        print(f"{name}: {PARTS[name].about}", flush=True)

        def show(row: Row, part: Part, name: str = name) -> None:
            print(line(row), flush=True)
            if arguments.save:
                save(path, result | {"parts": result["parts"] | {name: part}})

        try:
            result["parts"][name] = measured(name, arguments.small, show)
        except FileNotFoundError as missing:
            print(f"  skipped: {missing}")
            continue
        print(f"  {result['parts'][name]['seconds']} s")
        if arguments.save:
            save(path, result)
    if arguments.documents:
        searchplot.draw(arguments.save)
        return tables.write()
    return 0


def line(row: Row) -> str:
    """A row for the terminal: the case, our rate, and how many times that of the others."""
    case = ", ".join(f"{key} {row[key]:,}" if key != "codes" else row[key] for key in _CASE if key in row)
    if "scaling" in row:
        return f"  {case}: {row['scaling']:.2f}x"
    if "beside_bytes" in row:
        return f"  {case}, {row['contender']}: {row['beside_bytes'] / 1e6:.1f} MB besides the answer"
    times = row["milliseconds"]
    first = next(iter(times))
    rate = row["n"] * row["queries"] / times[first] / 1e6
    ratios = ", ".join(f"{name} {value / times[first]:.3g}" for name, value in times.items() if name != first)
    absent = "".join(f"; no {name}: {why}" for name, why in row["absent"].items())
    return f"  {case}: {first} {times[first]:.3f} ms, {rate:.3g} G/s; times that: {ratios}{absent}"


_CASE = ("codes", "n", "bits", "k", "share", "queries", "threads")

if __name__ == "__main__":
    sys.exit(main())
