"""The only door to the native engine.

Arguments are NumPy arrays that the caller has checked: C-contiguous, native byte order, codes ``uint8`` of
shape ``(n, ceil(bits / 8))`` with zero padding bits. Results come in the order (distance, id), the same for
every instruction set and number of threads.

Every verb takes ``threads`` (``None``: all cores that this process may use) and ``isa`` (``None``: the one in
force, see :func:`isa`).
"""

import os
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from dmth_fast import _core
from dmth_fast.retrieval.plan import METHODS, SearchPlan

Codes: TypeAlias = npt.NDArray[np.uint8]
Distances: TypeAlias = npt.NDArray[np.int32]
Ids: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.uint64]

__all__ = [
    "CudaStatus",
    "RadiusCurves",
    "Store",
    "core_version",
    "cuda",
    "cuda_available",
    "graded_histograms",
    "hamming_distances",
    "histograms",
    "isa",
    "isas",
    "pack",
    "radius_curves",
    "range_count",
    "range_search",
    "rank_sums",
    "read_probe",
    "relevant_ranks",
    "search",
    "self_ranks",
    "thread_count",
    "tied_discounts",
    "tied_firsts",
    "tied_sums",
]

_ISA_VARIABLE = "DMTH_FAST_ISA"


def core_version() -> str:
    """Version of the package that the compiled core was built from.

    Returns:
        The same as ``dmth_fast.__version__``, or else an editable install needs to be built again.

    Example:
        >>> core_version().count(".")
        2
    """
    return _core.__version__


def isas() -> tuple[str, ...]:
    """Instruction sets that this machine can run.

    Returns:
        Their names, slowest first.

    Example:
        >>> isas()[0]
        'portable'
    """
    return tuple(_core.isas())


def isa() -> str:
    """The instruction set in force: the environment's ``DMTH_FAST_ISA``, or the best of this machine.

    Returns:
        Its name, one of :func:`isas`.

    Raises:
        ValueError: ``DMTH_FAST_ISA`` names an unknown instruction set, or one that this machine lacks.

    Example:
        >>> isa() in isas()
        True
    """
    forced = os.environ.get(_ISA_VARIABLE)
    if not forced:
        return isas()[-1]
    return _known_isa(forced, f"{_ISA_VARIABLE} must be")


def thread_count(threads: int | None = None) -> int:
    """The number of threads that a call with this argument uses.

    Args:
        threads: The caller's wish; ``None`` means all cores that this process may use.

    Returns:
        At least 1.

    Raises:
        TypeError: ``threads`` is no integer.
        ValueError: ``threads`` is less than 1.

    Example:
        >>> thread_count(3)
        3
    """
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)):
        raise TypeError(f"threads must be an integer or None, got {type(threads).__name__}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1 or None for all cores, got {threads}")
    return min(int(threads), _MOST_THREADS)


_MOST_THREADS = 1024  # more than any machine runs well; keeps a typing error from exhausting the system


def read_probe(data: npt.NDArray[np.uint8], *, threads: int | None = None) -> int:
    """Read an array once: the bound of one query over a large database, for benchmarks to time beside it.

    Args:
        data: uint8 of any shape.
        threads: See the module; each reads a part.

    Returns:
        The XOR of a word of each cache line, which nobody needs: without it nothing would have to be read.

    Example:
        >>> read_probe(np.array([1, 2], np.uint8), threads=1)
        3
    """
    return _core.read_probe(data, thread_count(threads), isa())


def pack(
    values: npt.NDArray[Any], threshold: float, *, threads: int | None = None, isa: str | None = None
) -> Codes:
    """Pack values to codes: a bit is 1 iff its value is greater than the threshold.

    Args:
        values: ``(n, bits)`` float16, float32, float64 or bool, 1 to 4096 bits.
        threshold: Compared in double precision, never rounded to the type of ``values``.
        threads: See the module.
        isa: See the module.

    Returns:
        ``(n, ceil(bits / 8))`` uint8, padding bits zero.

    Raises:
        TypeError: Another dtype.
        ValueError: Another shape, or a NaN; names the first one's row and column.

    Example:
        >>> pack(np.array([[0.5, -1.0, 0.0, 2.0]]), 0.0)
        array([[9]], dtype=uint8)
    """
    return _core.pack(values, threshold, thread_count(threads), _isa(isa))


def hamming_distances(
    codes: Codes, queries: Codes, *, threads: int | None = None, isa: str | None = None
) -> Distances:
    """Distances of every query to every code.

    Args:
        codes: ``(n, bytes)`` uint8, the database.
        queries: ``(q, bytes)`` uint8.
        threads: See the module.
        isa: See the module.

    Returns:
        ``(q, n)`` int32.

    Example:
        >>> hamming_distances(np.array([[1], [255]], np.uint8), np.array([[3]], np.uint8))
        array([[1, 6]], dtype=int32)
    """
    return _core.hamming_distances(codes, queries, thread_count(threads), _isa(isa))


def search(
    codes: Codes, queries: Codes, k: int, *, threads: int | None = None, isa: str | None = None
) -> tuple[Distances, Ids]:
    """The k nearest codes of each query.

    Args:
        codes: ``(n, bytes)`` uint8, the database.
        queries: ``(q, bytes)`` uint8.
        k: At least 1.
        threads: See the module.
        isa: See the module.

    Returns:
        Distances int32 and row numbers int64, each ``(q, min(k, n))``, in the order (distance, id).

    Raises:
        ValueError: ``k`` is less than 1.

    Example:
        >>> search(np.array([[1], [255], [2]], np.uint8), np.array([[3]], np.uint8), 2)
        (array([[1, 1]], dtype=int32), array([[0, 2]]))
    """
    return _core.search(codes, queries, k, thread_count(threads), _isa(isa))


def range_search(
    codes: Codes, queries: Codes, radius: int, *, threads: int | None = None, isa: str | None = None
) -> tuple[npt.NDArray[np.int64], Distances, Ids]:
    """Every code within a radius of each query.

    Args:
        codes: ``(n, bytes)`` uint8, the database.
        queries: ``(q, bytes)`` uint8.
        radius: Inclusive, at least 0, in bits.
        threads: See the module.
        isa: See the module.

    Returns:
        Offsets ``(q + 1,)`` int64; distances int32 and row numbers int64 of query ``i`` stand at
        ``offsets[i]:offsets[i + 1]``, in the order (distance, id).

    Raises:
        ValueError: ``radius`` is negative.

    Example:
        >>> range_search(np.array([[1], [255], [2]], np.uint8), np.array([[3]], np.uint8), 1)
        (array([0, 2]), array([1, 1], dtype=int32), array([0, 2]))
    """
    return _core.range_search(codes, queries, radius, thread_count(threads), _isa(isa))


def range_count(
    codes: Codes, queries: Codes, radius: int, *, threads: int | None = None, isa: str | None = None
) -> npt.NDArray[np.int64]:
    """The number of codes within a radius of each query.

    Args:
        codes: ``(n, bytes)`` uint8, the database.
        queries: ``(q, bytes)`` uint8.
        radius: Inclusive, at least 0, in bits.
        threads: See the module.
        isa: See the module.

    Returns:
        ``(q,)`` int64.

    Raises:
        ValueError: ``radius`` is negative.

    Example:
        >>> range_count(np.array([[1], [255], [2]], np.uint8), np.array([[3]], np.uint8), 1)
        array([2])
    """
    return _core.range_count(codes, queries, radius, thread_count(threads), _isa(isa))


def histograms(
    codes: Codes,
    queries: Codes,
    database_labels: Labels,
    query_labels: Labels,
    bits: int,
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows, and relevant rows, at each distance from each query.

    Args:
        codes: ``(n, bytes)`` uint8, the database.
        queries: ``(q, bytes)`` uint8.
        database_labels: ``(n,)`` int64 class ids, or ``(n, words)`` uint64 multi-hot masks; relevant means an
            equal id, or a shared bit.
        query_labels: Of the same kind, one entry a query.
        bits: The width of the codes; ``ceil(bits / 8)`` is the width of their rows.
        threads: See the module.
        isa: See the module.

    Returns:
        All rows and relevant rows, each ``(q, bits + 1)`` int64.

    Raises:
        TypeError: Labels of another dtype or rank.
        ValueError: Labels of another length or width, or ``bits`` does not fit the codes.

    Example:
        >>> codes, labels = np.array([[1], [2], [7]], np.uint8), np.array([0, 1, 0])
        >>> histograms(codes, codes[:1], labels, labels[:1], 3)
        (array([[1, 0, 2, 0]]), array([[1, 0, 1, 0]]))
    """
    return _core.histograms(
        codes, queries, database_labels, query_labels, bits, thread_count(threads), _isa(isa)
    )


def graded_histograms(
    codes: Codes,
    queries: Codes,
    database_labels: npt.NDArray[np.uint64],
    query_labels: npt.NDArray[np.uint64],
    bits: int,
    levels: int,
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> npt.NDArray[np.int64]:
    """Rows at each distance from each query, by the number of labels that they share with it.

    Args:
        codes: ``(n, bytes)`` uint8, the database.
        queries: ``(q, bytes)`` uint8.
        database_labels: ``(n, words)`` uint64 multi-hot masks.
        query_labels: ``(q, words)`` uint64.
        bits: As in :func:`histograms`.
        levels: Levels to tell apart, 1 to 4097: 0, 1, ..., ``levels - 1`` or more shared labels.
        threads: See the module.
        isa: See the module.

    Returns:
        ``(q, bits + 1, levels)`` int64.

    Raises:
        TypeError: Labels of another dtype or rank.
        ValueError: Labels of another length or width, ``levels`` out of range, or ``bits`` does not fit the
            codes.

    Example:
        >>> codes, labels = np.array([[1], [2], [7]], np.uint8), np.array([[3], [4], [2]], np.uint64)
        >>> graded_histograms(codes, codes[:1], labels, labels[:1], 3, 3)[0].tolist()
        [[0, 0, 1], [0, 0, 0], [1, 1, 0], [0, 0, 0]]
    """
    return _core.graded_histograms(
        codes, queries, database_labels, query_labels, bits, levels, thread_count(threads), _isa(isa)
    )


def relevant_ranks(
    codes: Codes,
    queries: Codes,
    database_labels: Labels,
    query_labels: Labels,
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ranks of the relevant rows of each query in the order (distance, id).

    Args:
        codes: ``(n, bytes)`` uint8, the database.
        queries: ``(q, bytes)`` uint8.
        database_labels: As in :func:`histograms`.
        query_labels: As in :func:`histograms`.
        threads: See the module.
        isa: See the module.

    Returns:
        Offsets ``(q + 1,)`` int64, and the 1-based ranks, ascending within each query, int64.

    Raises:
        TypeError: Labels of another dtype or rank.
        ValueError: Labels of another length or width.

    Example:
        >>> codes, labels = np.array([[1], [2], [7]], np.uint8), np.array([0, 1, 0])
        >>> relevant_ranks(codes, codes[:1], labels, labels[:1])
        (array([0, 2]), array([1, 3]))
    """
    return _core.relevant_ranks(
        codes, queries, database_labels, query_labels, thread_count(threads), _isa(isa)
    )


def self_ranks(
    codes: Codes, queries: Codes, rows: Ids, *, threads: int | None = None, isa: str | None = None
) -> npt.NDArray[np.int64]:
    """Rank of one given row of each query in the order (distance, id).

    Args:
        codes: ``(n, bytes)`` uint8, the database.
        queries: ``(q, bytes)`` uint8.
        rows: ``(q,)`` int64, a row of the database for each query, or -1 for none.
        threads: See the module.
        isa: See the module.

    Returns:
        ``(q,)`` int64, 1-based; 0 where there is no row.

    Raises:
        TypeError: ``rows`` of another dtype.
        ValueError: ``rows`` of another length, or out of range.

    Example:
        >>> codes = np.array([[1], [2], [1]], np.uint8)
        >>> self_ranks(codes, codes[:2], np.array([2, -1]))
        array([2, 0])
    """
    return _core.self_ranks(codes, queries, rows, thread_count(threads), _isa(isa))


def tied_sums(
    every: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    cutoffs: npt.NDArray[np.int64],
    *,
    ties: str = "expected",
    precisions: bool = True,
    threads: int | None = None,
    isa: str | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What the average precision of a ranking with ties is made of.

    Args:
        every: ``(q, groups)`` int64, items in each group of ties, groups in ranked order.
        relevant: ``(q, groups)`` int64, the relevant ones among them.
        cutoffs: ``(q,)`` int64.
        ties: ``expected`` over the orders of ties, or relevant items last (``pessimistic``) or first
            (``optimistic``).
        precisions: Whether the second result is wanted.
        threads: See the module.
        isa: See the module.

    Returns:
        ``(q,)`` float64 numbers of relevant items up to the cut-off, and ``(q,)`` float64 sums of the
        precisions at their ranks (McSherry & Najork, ECIR 2008; He et al., CVPR 2018); empty unless wanted.

    Raises:
        TypeError: Another dtype.
        ValueError: Another shape, or unknown ``ties``.

    Example:
        >>> tied_sums(np.array([[1, 2]]), np.array([[1, 1]]), np.array([3]))  # 1 + (1 + 2/3) / 2
        (array([2.]), array([1.83333333]))
    """
    return _core.tied_sums(every, relevant, cutoffs, ties, precisions, thread_count(threads), _isa(isa))


def tied_discounts(
    every: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    cutoffs: npt.NDArray[np.int64],
    discounts: npt.NDArray[np.float64],
    *,
    ties: str = "expected",
    threads: int | None = None,
    isa: str | None = None,
) -> npt.NDArray[np.float64]:
    """The sum of discounts at the relevant ranks of a ranking with ties.

    Args:
        every: As :func:`tied_sums`.
        relevant: As :func:`tied_sums`.
        cutoffs: ``(q,)`` int64.
        discounts: ``(n + 1,)`` float64 sums of the discounts of the first 0, 1, ..., n ranks; n is at least
            the largest cut-off.
        ties: As :func:`tied_sums`.
        threads: See the module.
        isa: See the module.

    Returns:
        ``(q,)`` float64.

    Raises:
        TypeError: Another dtype.
        ValueError: Another shape, too few discounts, or unknown ``ties``.

    Example:
        >>> tied_discounts(np.array([[1, 2]]), np.array([[1, 1]]), np.array([3]), np.array([0.0, 8, 12, 14]))
        array([11.])
    """
    return _core.tied_discounts(every, relevant, cutoffs, discounts, ties, thread_count(threads), _isa(isa))


def tied_firsts(
    every: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    *,
    ties: str = "expected",
    threads: int | None = None,
    isa: str | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The rank of the first relevant item of a ranking with ties.

    Args:
        every: As :func:`tied_sums`.
        relevant: As :func:`tied_sums`.
        ties: As :func:`tied_sums`.
        threads: See the module.
        isa: See the module.

    Returns:
        ``(q,)`` float64 ranks, infinity where nothing is relevant, and ``(q,)`` float64 means of 1 / rank.

    Raises:
        TypeError: Another dtype.
        ValueError: Another shape, or unknown ``ties``.

    Example:
        >>> tied_firsts(np.array([[0, 2]]), np.array([[0, 1]]))
        (array([1.5]), array([0.75]))
    """
    return _core.tied_firsts(every, relevant, ties, thread_count(threads), _isa(isa))


class RadiusCurves(NamedTuple):
    """What :func:`radius_curves` returns.

    Attributes:
        mean: ``(q,)`` float64, mean of the precision over radii.
        mean_by_cost: ``(q,)`` float64, the same with each radius weighted.
        precision: ``(bins,)`` float64, sum over the counted queries of the precision within each radius.
        recall: ``(bins,)`` float64, that of the recall.
        levels: ``(levels,)`` float64, that of the best precision at any radius whose recall reaches a level.
        empty_balls: ``(bins,)`` int64, counted queries that find nothing within each radius.
        relevant: ``(bins,)`` int64, their relevant items at each distance.
        every: ``(bins,)`` int64, their items at each distance.
    """

    mean: npt.NDArray[np.float64]
    mean_by_cost: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    levels: npt.NDArray[np.float64]
    empty_balls: npt.NDArray[np.int64]
    relevant: npt.NDArray[np.int64]
    every: npt.NDArray[np.int64]


def radius_curves(
    every: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    counted: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64],
    levels: npt.NDArray[np.float64],
    *,
    skip_empty: bool = False,
    threads: int | None = None,
    isa: str | None = None,
) -> RadiusCurves:
    """Precision and recall within each radius, of histograms over distances.

    Args:
        every: ``(q, bins)`` int64, items at each distance.
        relevant: ``(q, bins)`` int64, the relevant ones among them.
        counted: ``(q,)`` bool, queries that enter the sums.
        weights: ``(bins,)`` float64 of the radii in ``mean_by_cost``.
        levels: float64 of recall, ascending.
        skip_empty: Leave empty balls out of a query's means, instead of counting them 0.
        threads: See the module.
        isa: See the module.

    Returns:
        :class:`RadiusCurves`.

    Raises:
        TypeError: Another dtype.
        ValueError: Another shape.

    Example:
        >>> one, levels = np.ones(2), np.array([0.0, 1.0])
        >>> found = radius_curves(np.array([[1, 2]]), np.array([[1, 1]]), np.array([True]), one, levels)
        >>> found.recall, found.levels.round(3)
        (array([0.5, 1. ]), array([1.   , 0.667]))
    """
    mean, by_cost, sums, counts = _core.radius_curves(
        every, relevant, counted, weights, levels, skip_empty, thread_count(threads), _isa(isa)
    )
    bins = len(weights)
    precision, recall, best = sums[0, :bins], sums[0, bins : 2 * bins], sums[0, 2 * bins :]
    return RadiusCurves(mean, by_cost, precision, recall, best, *counts)


def rank_sums(
    offsets: npt.NDArray[np.int64],
    ranks: npt.NDArray[np.int64],
    cutoffs: npt.NDArray[np.int64],
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """What the average precision of a ranking is made of.

    Args:
        offsets: ``(q + 1,)`` int64, as :func:`relevant_ranks` gives them.
        ranks: int64, ascending within each query.
        cutoffs: ``(q,)`` int64.
        threads: See the module.
        isa: See the module.

    Returns:
        ``(q,)`` int64 numbers of ranks up to the cut-off, and ``(q,)`` float64 sums over them of j / rank,
        j = 1, 2, ... .

    Raises:
        TypeError: Another dtype.
        ValueError: Offsets that do not fit.

    Example:
        >>> rank_sums(np.array([0, 3]), np.array([1, 4, 9]), np.array([8]))
        (array([2]), array([1.5]))
    """
    return _core.rank_sums(offsets, ranks, cutoffs, thread_count(threads), _isa(isa))


class Store:
    """Codes kept for many searches, as rows and as bit planes; rows are numbered in the order of adding.

    Searching is safe while another thread adds: a search sees all of an :meth:`add` or nothing of it.
    Searches take a ``method``, one of :data:`dmth_fast.retrieval.plan.METHODS`; it changes the time that they
    take, never the answer.

    Args:
        bytes: Bytes of a code, 1 to 512.

    Raises:
        ValueError: ``bytes`` out of range.

    Example:
        >>> store = Store(1)
        >>> store.add(np.array([[1], [255], [2]], np.uint8))
        0
        >>> len(store)
        3
        >>> store.search(np.array([[3]], np.uint8), 2)
        (array([[1, 1]], dtype=int32), array([[0, 2]]))
    """

    def __init__(self, bytes: int) -> None:  # noqa: A002 - the field's word
        self._index = _core.Index(bytes)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._index)

    @property
    def memory(self) -> int:
        """Bytes that rows, planes and tables hold."""
        return self._index.memory

    def add(self, codes: Codes, *, threads: int | None = None, isa: str | None = None) -> int:
        """Append rows, ``(n, bytes)`` uint8, copied; the number of the first of them."""
        return self._index.add(codes, thread_count(threads), _isa(isa))

    def rows(self, ids: Ids) -> Codes:
        """A copy of the rows of ``ids``, ``(m,)`` int64; IndexError where there is no such row."""
        return self._index.rows(ids)

    def search(
        self,
        queries: Codes,
        k: int,
        *,
        method: str = "scan",
        threads: int | None = None,
        isa: str | None = None,
    ) -> tuple[Distances, Ids]:
        """As the function :func:`search`, of the stored rows."""
        return self._index.search(queries, k, _method(method), thread_count(threads), _isa(isa))

    def range_search(
        self,
        queries: Codes,
        radius: int,
        *,
        method: str = "scan",
        threads: int | None = None,
        isa: str | None = None,
    ) -> tuple[npt.NDArray[np.int64], Distances, Ids]:
        """As the function :func:`range_search`, of the stored rows."""
        return self._index.range_search(queries, radius, _method(method), thread_count(threads), _isa(isa))

    def range_count(
        self, queries: Codes, radius: int, *, threads: int | None = None, isa: str | None = None
    ) -> npt.NDArray[np.int64]:
        """As the function :func:`range_count`, of the stored rows."""
        return self._index.range_count(queries, radius, thread_count(threads), _isa(isa))

    def build(self, *, threads: int | None = None, isa: str | None = None) -> None:
        """Make the tables of method "mih" for all rows now, unless there are such."""
        self._index.build(thread_count(threads), _isa(isa))

    def explain(
        self,
        queries: Codes,
        k: int,
        *,
        method: str = "auto",
        threads: int | None = None,
        isa: str | None = None,
    ) -> SearchPlan:
        """How :meth:`search` would find its answer; builds tables where it would."""
        (tables, rows, distinct), parts = self._index.explain(
            queries, k, _method(method), thread_count(threads), _isa(isa)
        )
        hashed, radius, keys, postings, cost, scan = parts
        return SearchPlan(
            method=method,
            tables=tables,
            rows=rows,
            distinct=distinct,
            hashed=hashed,
            radius=radius,
            keys=keys,
            candidates=postings,
            hashed_ns=cost,
            scan_ns=scan,
        )


class CudaStatus(NamedTuple):
    """Whether CUDA can be used; true and false as ``available`` is.

    Attributes:
        available: This build has the CUDA module, and there are a driver and a device for it.
        reason: Why not; empty where it is available.
        driver: Newest CUDA version of the driver, 1000 * major + 10 * minor; 0 without a driver or module.
        runtime: CUDA version of the module, 0 without one.
        devices: The number of devices.
    """

    available: bool
    reason: str
    driver: int
    runtime: int
    devices: int

    def __bool__(self) -> bool:
        """As ``available``."""
        return self.available


def cuda_available() -> CudaStatus:
    """Whether the verbs can run on a CUDA device, and if not, why; never raises.

    Returns:
        A :class:`CudaStatus`.

    Example:
        >>> status = cuda_available()
        >>> bool(status) == (status.reason == "")
        True
    """
    try:
        module = import_module("dmth_fast._cuda")
    except ModuleNotFoundError:
        return CudaStatus(False, "this build of dmth_fast has no CUDA module", 0, 0, 0)
    except ImportError as error:
        return CudaStatus(False, f"the CUDA module does not load: {error}", 0, 0, 0)
    driver, runtime, devices, reason = module.status()
    return CudaStatus(not reason, reason, driver, runtime, devices)


def cuda() -> ModuleType:
    """The module ``_cuda``: the verbs on device memory, by address.

    Returns:
        The module; only :mod:`dmth_fast.retrieval.cuda` calls it.

    Raises:
        RuntimeError: CUDA is not available; says why.
    """
    try:
        return import_module("dmth_fast._cuda")
    except ImportError:
        raise RuntimeError(f"CUDA tensors need the CUDA module: {cuda_available().reason}") from None


def _isa(wanted: str | None) -> str:
    return isa() if wanted is None else _known_isa(wanted, "isa must be")


def _known_isa(wanted: str, subject: str) -> str:
    if wanted not in isas():
        raise ValueError(f"{subject} one of {', '.join(isas())} on this machine, got {wanted!r}")
    return wanted


def _method(wanted: str) -> str:
    if wanted not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {wanted!r}")
    return wanted
