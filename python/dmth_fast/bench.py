"""Search beside its rivals on this machine, to be trusted by whoever runs it.

All answer the same queries over the same codes in one process, with as many threads. Equal answers are
asserted first; then all take turns, so that a busy neighbour or a changing clock hits them alike. The
``bench`` command measures random codes with it, the repository's benchmarks everything else.
"""

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dmth_fast import codefiles, environment, report
from dmth_fast.atomic import write_json
from dmth_fast.rivals import Absent, Answer, Contender, Rival, every_rival, population

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["OURS", "Contest", "Setting", "alternate", "command", "forced_isa", "random_codes", "run"]

OURS = ("search", "index")
"""Contenders of our own: the function on plain rows, and ``Index.search`` with the index built before."""
_ORDINARY = {"index": "auto"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is searched.

    Raises:
        ValueError: A size below 1, or fewer than three rounds, whose median says nothing.

    >>> Setting(n=0)
    Traceback (most recent call last):
    ValueError: n must be at least 1, got 0
    """

    n: int = 1_000_000
    """Codes in the database."""
    bits: int = 64
    k: int = 10
    queries: int = 100
    threads: int = 1
    rounds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"n": 1, "bits": 1, "k": 1, "queries": 1, "threads": 1, "rounds": 3}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


def command(
    *,
    n: int,
    widths: Sequence[int],
    counts: Sequence[int],
    k: int,
    threads: int | None,
    rounds: int,
    seed: int,
    json: Path | None,
    console: "Console",
    remarks: "Console",
) -> None:
    """Measure each width with each number of queries, print the table and, where asked for, write it.

    Args:
        n: Codes in the database.
        widths: Bits of a code.
        counts: Queries a call.
        k: Neighbours a query.
        threads: ``None`` means all cores.
        rounds: Turns that each takes.
        seed: Of the random codes.
        json: Where the figures go, too.
        console: Where the table goes.
        remarks: Where progress goes.

    Raises:
        ValueError: As :class:`Setting`, or ``json`` with another suffix.
        AssertionError: As :func:`run`.
    """
    if json is not None:
        codefiles.check_suffix(json, (".json",))
    used = environment.usable_cores() if threads is None else threads
    settings = [
        Setting(n=n, bits=width, k=k, queries=count, threads=used, rounds=rounds, seed=seed)
        for width in widths
        for count in counts
    ]
    with remarks.status("measuring"):
        result = run(settings)
    console.print(report.bench_table(result))
    if json is not None:
        write_json(json, result)


def run(
    settings: Sequence[Setting], *, on_result: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any]:
    """Measure several settings over random codes.

    Args:
        settings: What to measure, in order.
        on_result: Called with each row as soon as it is measured.

    Returns:
        ``rows`` (see :meth:`Contest.measure`, with the setting's fields) and the ``environment`` they were
        measured in.

    Raises:
        AssertionError: A rival's answer differs from ours: nothing is timed then.
    """
    most: dict[tuple[int, int, int], int] = {}
    for setting in settings:
        key = (setting.n, setting.bits, setting.seed)
        most[key] = max(most.get(key, 0), setting.queries)
    rows = []
    for setting in settings:
        key = (setting.n, setting.bits, setting.seed)
        contest = _random_contest(*key, most[key])
        row = contest.measure(setting.k, setting.queries, setting.threads, setting.rounds)
        rows.append(asdict(setting) | row)
        on_result(rows[-1])
    _random_contest.cache_clear()
    return {"benchmark": "search", "environment": environment.describe(), "rows": rows}


@functools.lru_cache(maxsize=1)
def _random_contest(n: int, bits: int, seed: int, queries: int) -> "Contest":
    both = random_codes(n + queries, bits, seed)
    return Contest(both[:n], both[n:], bits, rivals=("FAISS", "NumPy"))


def random_codes(n: int, bits: int, seed: int | np.random.Generator = 0) -> NDArray[np.uint8]:
    """Uniform random codes: the worst case for every pruning, so nobody is flattered.

    Args:
        n: How many.
        bits: Width of each; padding bits are zero.
        seed: A number, or a generator to draw from.

    Returns:
        (n, ceil(bits / 8)) uint8.

    >>> random_codes(2, 12).shape
    (2, 2)
    """
    codes = np.random.default_rng(seed).integers(0, 256, (n, (bits + 7) // 8), np.uint8)
    if bits % 8:
        codes[:, -1] &= np.uint8((1 << bits % 8) - 1)
    return codes


class Contest:
    """One database and everybody's index over it, built when first needed.

    Args:
        codes: (n, bytes) uint8, the database.
        queries: (q, bytes) uint8.
        bits: Width of a code.
        rivals: Who stands beside us, names of :func:`dmth_fast.rivals.every_rival`.
        methods: Our indexes, contender to the method of :class:`dmth_fast.Index`.
        isas: Instruction sets to measure ours with besides the one in force; these contenders are called
            "search avx2" and so on.
    """

    def __init__(
        self,
        codes: NDArray[np.uint8],
        queries: NDArray[np.uint8],
        bits: int,
        *,
        rivals: Iterable[str] = ("FAISS",),
        methods: Mapping[str, str] = _ORDINARY,
        isas: Iterable[str] = (),
    ) -> None:
        from dmth_fast import Index

        self.codes, self.queries, self.bits = codes, queries, bits
        self._names, self._isas = tuple(rivals), tuple(isas)
        self.indexes = {name: Index(bits, method=method) for name, method in methods.items()}
        for index in self.indexes.values():
            index.add(codes)
        self._rivals: dict[str, Rival] = {}

    def measure(
        self,
        k: int,
        queries: int,
        threads: int,
        rounds: int,
        *,
        most_pairs: Mapping[str, float] | None = None,
        others: Mapping[str, Callable[[], object]] | None = None,
    ) -> dict[str, Any]:
        """Compare the answers, then time all.

        Args:
            k: Neighbours a query.
            queries: How many of the queries, from the first.
            threads: For all.
            rounds: Turns that each takes.
            most_pairs: Rival to the number of distances for which it is given queries; its time is scaled.
            others: What else takes turns, such as a read of the same memory; it has no answer to compare.

        Returns:
            ``milliseconds``: contender to the median time of answering all queries; ``ratios``: to (lowest,
            median, highest) over rounds of its time divided by that of "search" in the same round;
            ``asked``: to the number of queries it was given, where fewer; ``settings``: to the options that
            were best for it; ``absent``: rival to the reason why it was not measured.

        Raises:
            AssertionError: Answers differ: nothing is timed then.
        """
        asked, k = self.queries[:queries], min(k, len(self.codes))
        contenders = self.ours(asked, k, threads)
        answer = contenders["search"].run()
        for name, contender in contenders.items():
            again = contender.run()
            if not (np.array_equal(answer[0], again[0]) and np.array_equal(answer[1], again[1])):
                raise AssertionError(f"search and {name} give different answers; nothing was timed")
        absent = {}
        for name in self._names:
            rival = self._join(name, asked, k, threads, answer, most_pairs or {})
            if isinstance(rival, Absent):
                absent[name] = str(rival)
            else:
                contenders[name] = rival
        runs = {name: contender.run for name, contender in contenders.items()}
        seconds = alternate(runs | dict(others or {}), rounds)
        for name, contender in contenders.items():
            share = len(asked) / contender.queries
            seconds[name] = [share * value for value in seconds[name]]
        return {
            "milliseconds": {name: round(1e3 * median(values), 4) for name, values in seconds.items()},
            "ratios": {
                name: _spread(values, seconds["search"])
                for name, values in seconds.items()
                if name != "search"
            },
            "asked": {name: each.queries for name, each in contenders.items() if each.queries < len(asked)},
            "settings": {name: each.setting for name, each in contenders.items() if each.setting},
            "absent": absent,
        }

    def ours(self, asked: NDArray[np.uint8], k: int, threads: int) -> dict[str, Contender]:
        """Our contenders by name, made ready for these queries."""
        from dmth_fast import Index, search

        def one_shot() -> Answer:
            found = search(self.codes, asked, k, threads=threads)
            return found.distances, found.ids

        def indexed(index: Index) -> Callable[[], Answer]:
            def run() -> Answer:
                found = index.search(asked, k, threads=threads)
                return found.distances, found.ids

            return run

        ours = {"search": one_shot} | {name: indexed(index) for name, index in self.indexes.items()}
        every = {name: Contender(run, len(asked)) for name, run in ours.items()}
        for isa in self._isas:
            for name, run in ours.items():
                every[f"{name} {isa}"] = Contender(_with_isa(run, isa), len(asked))
        return every

    def _join(
        self,
        name: str,
        asked: NDArray[np.uint8],
        k: int,
        threads: int,
        answer: Answer,
        most_pairs: Mapping[str, float],
    ) -> Contender | Absent:
        """A rival made ready, its answer checked; or why it is not there."""
        try:
            if name not in self._rivals:
                self._rivals[name] = every_rival()[name](self.codes, self.bits)
            rival = self._rivals[name]
            pairs = most_pairs.get(name, rival.most_pairs)
            few = asked[: int(max(1, min(len(asked), pairs // len(self.codes))))]
            right = (answer[0][: len(few)], answer[1][: len(few)])
            contender = rival.contender(few, k, threads, right)
        except Absent as reason:
            return reason
        self._check(name, right, contender.run(), few)
        return contender

    def _check(self, name: str, ours: Answer, theirs: Answer, queries: NDArray[np.uint8]) -> None:
        """Distances must be equal; ids may differ where distances tie, which is checked by recounting."""
        if not np.array_equal(ours[0], theirs[0]):
            raise AssertionError(f"{name} and dmth_fast give different distances; nothing was timed")
        for row, query in enumerate(queries):
            for found in (ours[1][row], theirs[1][row]):
                if not np.array_equal(population(self.codes[found] ^ query), ours[0][row]):
                    raise AssertionError(f"{name} and dmth_fast give ids that do not have their distances")


# Seconds before each turn: OpenMP threads spin for a while after their work, and whoever runs next on the
# same cores would pay for it.
_REST = 0.02
# A turn of a quick contender is the median of several runs, up to so many and about so long.
_RUNS, _TURN = 5, 0.02


def alternate(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Let all take turns.

    Args:
        contenders: Name to what is timed.
        rounds: Turns of each; a single one shows that it runs and is taken without a pause.

    Returns:
        Name to seconds of one run, one entry a round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        # Another one goes first in each round: none always finds the caches as the same rival left them.
        names = list(contenders)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(_REST if rounds > 1 else 0)
            runs: list[float] = []
            while not runs or (len(runs) < _RUNS and sum(runs) < _TURN):
                start = time.perf_counter()
                contenders[name]()
                runs.append(time.perf_counter() - start)
            seconds[name].append(median(runs))
    return seconds


@contextmanager
def forced_isa(isa: str) -> Iterator[None]:
    """Have ``DMTH_FAST_ISA`` name an instruction set meanwhile; for one thread at a time."""
    before = os.environ.get("DMTH_FAST_ISA")
    os.environ["DMTH_FAST_ISA"] = isa
    try:
        yield
    finally:
        if before is None:
            del os.environ["DMTH_FAST_ISA"]
        else:
            os.environ["DMTH_FAST_ISA"] = before


def _with_isa(run: Callable[[], Answer], isa: str) -> Callable[[], Answer]:
    def forced() -> Answer:
        with forced_isa(isa):
            return run()

    return forced


def _spread(theirs: Sequence[float], own: Sequence[float]) -> list[float]:
    quotients = [a / b for a, b in zip(theirs, own, strict=True)]
    return [round(value, 3) for value in (min(quotients), median(quotients), max(quotients))]
