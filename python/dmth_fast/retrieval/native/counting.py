"""Histograms of distances and ranks of relevant rows."""

import numpy as np
import numpy.typing as npt

from dmth_fast import _core
from dmth_fast.retrieval.native.machine import Codes, Ids, Labels, instruction_set, thread_count


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
        codes, queries, database_labels, query_labels, bits, thread_count(threads), instruction_set(isa)
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
        codes,
        queries,
        database_labels,
        query_labels,
        bits,
        levels,
        thread_count(threads),
        instruction_set(isa),
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
        codes, queries, database_labels, query_labels, thread_count(threads), instruction_set(isa)
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
    return _core.self_ranks(codes, queries, rows, thread_count(threads), instruction_set(isa))


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
    return _core.rank_sums(offsets, ranks, cutoffs, thread_count(threads), instruction_set(isa))
