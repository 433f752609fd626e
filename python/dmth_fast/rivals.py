"""Exact Hamming search by others, each as fast as its options allow: what a benchmark stands beside.

A rival is built over a database once and gives, for each task, a function that answers it; whatever it cannot
do, it refuses with the reason. Where it has modes (heap or counting, SIMD levels), short trials on the task
itself choose the fastest one, since the automatic choice is often not that.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Absent", "Answer", "Contender", "Rival", "every_rival", "population"]

Answer = tuple[NDArray[np.int32], NDArray[np.int64]]
Codes = NDArray[np.uint8]


class Absent(Exception):  # noqa: N818 - a state, reported, not an error
    """A rival cannot take part; the text says why."""


@dataclass(frozen=True)
class Contender:
    """A rival made ready for one task."""

    run: Callable[[], Answer]
    """Answers it: distances and ids, (queries, k)."""
    queries: int
    """How many of the queries it is given, from the first; slow ones get few."""
    setting: str = ""
    """The options that were fastest, or that make it exact."""


class Rival(Protocol):
    """Another's exact search over one database."""

    name: ClassVar[str]
    most_pairs: ClassVar[float]
    """Distances after which a run is long enough: further queries would not change its rate."""

    def __init__(self, codes: Codes, bits: int) -> None: ...

    def contender(self, queries: Codes, k: int, threads: int, answer: Answer) -> Contender:
        """Made ready for a task.

        Args:
            queries: (q, bytes) uint8.
            k: Neighbours a query, at most the size of the database.
            threads: How many it may use.
            answer: The right one: what makes an inexact method exact may be read off it.

        Raises:
            Absent: It cannot do that.
        """


def every_rival() -> dict[str, type[Rival]]:
    """All of them by name, in the order of tables.

    >>> list(every_rival())
    ['FAISS', 'FAISS MultiHash', 'USearch', 'NumPy']
    """
    return {rival.name: rival for rival in (FaissFlat, FaissMultiHash, USearch, NumPy)}


class FaissFlat:
    """FAISS's IndexBinaryFlat at the best of its SIMD levels and of its two modes."""

    name: ClassVar[str] = "FAISS"
    most_pairs: ClassVar[float] = np.inf

    def __init__(self, codes: Codes, bits: int) -> None:
        self._faiss = _faiss(bits)
        self._rows = len(codes)
        self._index = self._faiss.IndexBinaryFlat(bits)
        self._index.add(codes)

    def contender(self, queries: Codes, k: int, threads: int, answer: Answer) -> Contender:  # noqa: ARG002
        faiss, index = self._faiss, self._index

        def ready(variant: tuple[int | None, bool], some: Codes) -> Callable[[], Answer]:
            level, heap = variant

            def run() -> Answer:
                faiss.omp_set_num_threads(threads)
                if level is not None:
                    faiss.SIMDConfig.set_level(level)
                index.use_heap = heap
                found: Answer = index.search(some, k)
                return found

            return run

        few = queries[: int(max(threads, min(len(queries), _TRIAL_PAIRS // self._rows)))]
        levels = _levels(faiss)
        best = _fastest(
            {(level, heap): ready((level, heap), few) for level in levels for heap in (True, False)}
        )
        words = [levels[best[0]], "heap" if best[1] else "counting"]
        return Contender(ready(best, queries), len(queries), ", ".join(filter(None, words)))


class FaissMultiHash:
    """FAISS's IndexBinaryMultiHash with as many flips as make the answer exact.

    Its m tables of substrings hold everything within distance m (flips + 1) - 1 of a query, so an answer
    whose distances are all that small is the exact one.
    """

    name: ClassVar[str] = "FAISS MultiHash"
    most_pairs: ClassVar[float] = np.inf
    _most_flips: ClassVar[int] = 3

    def __init__(self, codes: Codes, bits: int) -> None:
        self._faiss = _faiss(bits)
        # A bucket a row on average, as its authors and Norouzi et al. advise: log2(n) bits a substring.
        self._tables = max(1, round(bits / max(8, np.log2(max(2, len(codes))))))
        self._index = self._faiss.IndexBinaryMultiHash(bits, self._tables, min(bits // self._tables, 30))
        self._index.add(codes)

    def contender(self, queries: Codes, k: int, threads: int, answer: Answer) -> Contender:
        flips = int(answer[0].max()) // self._tables
        if flips > self._most_flips:
            raise Absent(f"exact here only with {flips} bits flipped in each of {self._tables} substrings")

        def run() -> Answer:
            self._faiss.omp_set_num_threads(threads)
            self._index.nflip = flips
            found: Answer = self._index.search(queries, k)
            return found

        return Contender(run, len(queries), f"{self._tables} tables, {flips} flips")


class USearch:
    """USearch's exact search; it needs 16 bytes for each pair of code and query."""

    name: ClassVar[str] = "USearch"
    most_pairs: ClassVar[float] = 1e7

    def __init__(self, codes: Codes, bits: int) -> None:  # noqa: ARG002
        try:
            from usearch.index import MetricKind, search  # type: ignore[attr-defined,unused-ignore]
        except ImportError as missing:
            raise Absent("not installed (pip install usearch)") from missing
        self._codes, self._search, self._metric = codes, search, MetricKind.Hamming

    def contender(self, queries: Codes, k: int, threads: int, answer: Answer) -> Contender:  # noqa: ARG002
        if len(self._codes) * len(queries) > _USEARCH_MOST_PAIRS:
            raise Absent(
                f"{len(self._codes):,} codes would need {16 * len(self._codes) / 1e9:.1f} GB a query"
            )

        def run() -> Answer:
            found = self._search(self._codes, queries, k, self._metric, exact=True, threads=threads)
            shape = (len(queries), k)
            return (
                np.asarray(found.distances).reshape(shape).astype(np.int32),
                np.asarray(found.keys).reshape(shape).astype(np.int64),
            )

        return Contender(run, len(queries))


class NumPy:
    """What a careful user writes with NumPy alone: words, a population count, a partial sort. One thread."""

    name: ClassVar[str] = "NumPy"
    most_pairs: ClassVar[float] = 4e6

    def __init__(self, codes: Codes, bits: int) -> None:  # noqa: ARG002
        self._codes = codes

    def contender(self, queries: Codes, k: int, threads: int, answer: Answer) -> Contender:  # noqa: ARG002
        return Contender(lambda: numpy_search(self._codes, queries, k), len(queries), "one thread")


def numpy_search(codes: Codes, queries: Codes, k: int) -> Answer:
    """The k nearest rows, ties in the order of ids, but for those that do not all fit."""
    word = {0: np.uint64, 4: np.uint32}.get(codes.shape[1] % 8, np.uint8)
    words, query_words = codes.view(word), queries.view(word)
    distances = np.empty((len(queries), k), dtype=np.int32)
    ids = np.empty((len(queries), k), dtype=np.int64)
    for row, query in enumerate(query_words):
        distance = population(words ^ query)
        near = np.argpartition(distance, k - 1)[:k] if k < len(codes) else np.arange(k)
        near = near[np.lexsort((near, distance[near]))]
        distances[row], ids[row] = distance[near], near
    return distances, ids


def population(words: NDArray[Any]) -> NDArray[np.int32]:
    """Bits set in each row of unsigned integers."""
    if hasattr(np, "bitwise_count"):
        counts = np.bitwise_count(words)
    else:  # NumPy before 2.0
        table = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)
        counts = table[words.view(np.uint8)]
    total: NDArray[np.int32] = counts.sum(axis=1, dtype=np.int32)
    return total


# A trial of a few milliseconds shows which option is faster; the best of three shuts out a busy neighbour.
_TRIAL_PAIRS, _TRIALS = 8e6, 3
_USEARCH_MOST_PAIRS = 1e8


def _faiss(bits: int) -> Any:
    if bits % 8:
        raise Absent(f"takes multiples of 8 bits, not {bits}")
    try:
        import faiss
    except ImportError as missing:
        raise Absent("not installed (pip install faiss-cpu)") from missing
    return faiss


def _levels(faiss: Any) -> dict[int | None, str]:
    """SIMD levels that FAISS can be set to on this machine; ``None`` alone where it offers no choice."""
    if not hasattr(faiss, "SIMDConfig") or not faiss.SIMDConfig.has_dynamic_dispatch():
        return {None: ""}
    levels = {
        getattr(faiss, name): name.removeprefix("SIMDLevel_")
        for name in dir(faiss)
        if name.startswith("SIMDLevel_") and name != "SIMDLevel_COUNT"
    }
    return {level: name for level, name in levels.items() if faiss.SIMDConfig.is_simd_level_available(level)}


def _fastest(variants: dict[Any, Callable[[], object]]) -> Any:
    """The key whose best time is least; what is twice as slow at first is not tried again."""
    best = {key: _seconds(run) for key, run in variants.items()}
    for _ in range(_TRIALS - 1):
        limit = 2 * min(best.values())
        for key, run in variants.items():
            if best[key] <= limit:
                best[key] = min(best[key], _seconds(run))
    return min(best, key=best.__getitem__)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
