"""Exact Hamming search of packed codes: k nearest, within a radius, all distances.

Results are in (distance, id) order, a total order, so they are the same on every machine, with any
number of threads, and the first 10 of 100 are the first 10. An id is a row number of ``codes``.
"""

from typing import Any, NamedTuple

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import AnyArray, are_tensors, integer, neighbours, optional_integer
from dmth_fast.retrieval.codes import MAX_BITS, checked_pair


class SearchResult(NamedTuple):
    """Nearest codes of each query: arrays of shape (q, min(k, n)), or tensors for tensors.

    Attributes:
        distances: int32, ascending in each row.
        ids: int64 row numbers, ascending among equal distances.
    """

    distances: Any
    ids: Any


class RangeResult(NamedTuple):
    """Codes within a radius, as CSR: those of query i are at ``offsets[i]:offsets[i + 1]``.

    Attributes:
        offsets: (q + 1,) int64.
        distances: (offsets[-1],) int32, ascending for each query.
        ids: (offsets[-1],) int64, ascending among equal distances.
    """

    offsets: Any
    distances: Any
    ids: Any


def search(
    codes: AnyArray, queries: AnyArray, k: int = 10, *, bits: int | None = None, threads: int | None = None
) -> SearchResult:
    """The k codes nearest to each query.

    Args:
        codes: (n, bytes) uint8, the database.
        queries: (q, bytes) uint8.
        k: how many, >= 1; where k > n the result has n columns.
        bits: the true number of bits; if given, width and zero padding are checked.
        threads: threads to use; all cores by default.

    Returns:
        :class:`SearchResult` of distances (q, min(k, n)) int32 and ids (q, min(k, n)) int64.

    Raises:
        TypeError: wrong dtype, or arrays mixed with tensors.
        ValueError: wrong shape, widths that differ, dirty padding, k < 1, threads < 1.

    >>> import numpy as np
    >>> codes = np.array([[0b0000], [0b0111], [0b0001], [0b1000]], dtype=np.uint8)
    >>> search(codes, codes[:1], k=3)
    SearchResult(distances=array([[0, 1, 1]], dtype=int32), ids=array([[0, 2, 3]]))
    """
    count, workers = neighbours(k), optional_integer(threads, "threads", 1)
    if are_tensors(codes=codes, queries=queries):
        from dmth_fast.retrieval import ops

        width = optional_integer(bits, "bits", 1, MAX_BITS)
        return SearchResult(*ops.search(codes, queries, count, width, workers))
    database, wanted, _ = checked_pair(codes, queries, bits)
    return SearchResult(*native.search(database, wanted, count, threads=workers))


def range_search(
    codes: AnyArray, queries: AnyArray, radius: int, *, bits: int | None = None, threads: int | None = None
) -> RangeResult:
    """All codes within ``radius`` of each query, inclusive.

    Args:
        codes: (n, bytes) uint8, the database.
        queries: (q, bytes) uint8.
        radius: 0 to the number of bits.
        bits: the true number of bits; if given, width and zero padding are checked.
        threads: threads to use; all cores by default.

    Returns:
        :class:`RangeResult` of offsets (q + 1,) int64, distances int32 and ids int64.

    Raises:
        TypeError: wrong dtype, or arrays mixed with tensors.
        ValueError: wrong shape, dirty padding, radius < 0 or above the number of bits, threads < 1.

    >>> import numpy as np
    >>> codes = np.array([[0b0000], [0b0111], [0b0001], [0b1000]], dtype=np.uint8)
    >>> range_search(codes, codes[:2], radius=2, bits=4).offsets
    array([0, 3, 5])
    """
    workers = optional_integer(threads, "threads", 1)
    if are_tensors(codes=codes, queries=queries):
        from dmth_fast.retrieval import ops

        limit, number = integer(radius, "radius", 0, MAX_BITS), optional_integer(bits, "bits", 1, MAX_BITS)
        return RangeResult(*ops.range_search(codes, queries, limit, number, workers))
    database, wanted, width = checked_pair(codes, queries, bits)
    return RangeResult(
        *native.range_search(database, wanted, integer(radius, "radius", 0, width), threads=workers)
    )


def hamming_distances(
    codes: AnyArray, queries: AnyArray, *, bits: int | None = None, threads: int | None = None
) -> Any:
    """The full matrix of distances, (q, n) int32: 4 bytes a pair, so for small sets.

    Args:
        codes: (n, bytes) uint8, the database.
        queries: (q, bytes) uint8.
        bits: the true number of bits; if given, width and zero padding are checked.
        threads: threads to use; all cores by default.

    Raises:
        TypeError: wrong dtype, or arrays mixed with tensors.
        ValueError: wrong shape, widths that differ, dirty padding, threads < 1.

    >>> import numpy as np
    >>> codes = np.array([[0b0000], [0b0111], [0b0001]], dtype=np.uint8)
    >>> hamming_distances(codes, codes[1:2])
    array([[3, 0, 2]], dtype=int32)
    """
    workers = optional_integer(threads, "threads", 1)
    if are_tensors(codes=codes, queries=queries):
        from dmth_fast.retrieval import ops

        return ops.hamming_distances(codes, queries, optional_integer(bits, "bits", 1, MAX_BITS), workers)
    database, wanted, _ = checked_pair(codes, queries, bits)
    return native.hamming_distances(database, wanted, threads=workers)
