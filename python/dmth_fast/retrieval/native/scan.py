"""Packing, distances and searches of arrays of codes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from dmth_fast import _core
from dmth_fast.retrieval.native.machine import Codes, Distances, Ids, instruction_set, thread_count


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
    return _core.pack(values, threshold, thread_count(threads), instruction_set(isa))


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
    return _core.hamming_distances(codes, queries, thread_count(threads), instruction_set(isa))


def kept_rows(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """The rows that take part in a search, as ``keep``: a bit a row, in blocks of 512 rows.

    Args:
        mask: ``(n,)`` bool.

    Example:
        >>> kept_rows(np.array([True, False, True]))
        array([5, 0, 0, 0, 0, 0, 0, 0], dtype=uint64)
    """
    words = np.zeros(-(-len(mask) // 512) * 8, dtype=np.uint64)
    words.view(np.uint8)[: -(-len(mask) // 8)] = np.packbits(mask, bitorder="little")
    return words


def search(
    codes: Codes,
    queries: Codes,
    k: int,
    *,
    keep: npt.NDArray[np.uint64] | None = None,
    threads: int | None = None,
    isa: str | None = None,
) -> tuple[Distances, Ids]:
    """The k nearest codes of each query.

    Args:
        codes: ``(n, bytes)`` uint8, the database.
        queries: ``(q, bytes)`` uint8.
        k: At least 1.
        keep: The rows that take part, of :func:`kept_rows`; None for all n.
        threads: See the module.
        isa: See the module.

    Returns:
        Distances int32 and row numbers int64, each ``(q, min(k, rows that take part))``, in the order
        (distance, id).

    Raises:
        ValueError: ``k`` is less than 1, or ``keep`` is for another number of rows.

    Example:
        >>> search(np.array([[1], [255], [2]], np.uint8), np.array([[3]], np.uint8), 2)
        (array([[1, 1]], dtype=int32), array([[0, 2]]))
    """
    return _core.search(codes, queries, k, thread_count(threads), instruction_set(isa), keep)


def range_search(
    codes: Codes,
    queries: Codes,
    radius: int,
    *,
    keep: npt.NDArray[np.uint64] | None = None,
    threads: int | None = None,
    isa: str | None = None,
) -> tuple[npt.NDArray[np.int64], Distances, Ids]:
    """Every code within a radius of each query.

    Args:
        codes: ``(n, bytes)`` uint8, the database.
        queries: ``(q, bytes)`` uint8.
        radius: Inclusive, at least 0, in bits.
        keep: As of :func:`search`.
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
    return _core.range_search(codes, queries, radius, thread_count(threads), instruction_set(isa), keep)


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
    return _core.range_count(codes, queries, radius, thread_count(threads), instruction_set(isa))
