"""Classification by the votes of the nearest codes."""

import numpy as np

from dmth_fast.retrieval.arguments import AnyArray, Array, are_tensors, as_numpy, describe, integer
from dmth_fast.retrieval.codes import checked_pair
from dmth_fast.retrieval.labels import checked_class_ids
from dmth_fast.retrieval.search import search


def classify_by_vote(
    query_codes: AnyArray,
    database_codes: AnyArray,
    database_labels: AnyArray,
    k: int,
    *,
    bits: int | None = None,
    threads: int | None = None,
) -> Array:
    """The most frequent class among the k nearest codes of each query.

    Neighbours are taken in (distance, id) order. Of classes with equal votes the one whose nearest
    neighbour comes first wins, so the answer is unique.

    Args:
        query_codes: (q, bytes) uint8.
        database_codes: (n, bytes) uint8, n >= 1.
        database_labels: (n,) integer class ids >= 0.
        k: how many vote, >= 1.
        bits: the true number of bits; if given, width and zero padding are checked.
        threads: threads to use; all cores by default.

    Returns:
        (q,) int64 class ids; their accuracy is ``(predicted == labels).mean()``.

    Raises:
        TypeError: wrong dtype, or arrays mixed with tensors.
        ValueError: wrong shape, an empty database, k < 1.

    >>> import numpy as np
    >>> codes = np.array([[0b000], [0b001], [0b011], [0b111]], dtype=np.uint8)
    >>> classify_by_vote(codes[:1], codes, np.array([5, 7, 7, 5]), k=3)
    array([7])
    """
    are_tensors(query_codes=query_codes, database_codes=database_codes, database_labels=database_labels)
    codes, queries, _ = checked_pair(
        as_numpy(database_codes, "database_codes"),
        as_numpy(query_codes, "query_codes"),
        bits,
        names=("database_codes", "query_codes"),
    )
    if not len(codes):
        raise ValueError(f"database_codes must hold at least one code to vote, got {describe(codes)}")
    labels = checked_class_ids(database_labels, "database_labels", len(codes))
    classes, dense = np.unique(labels, return_inverse=True)
    votes = dense[search(codes, queries, integer(k, "k", 1), threads=threads).ids]
    # Counting down from the farthest, a nearer vote overrides: the first place of each class is left.
    first = np.full((len(votes), len(classes)), votes.shape[1])
    counts = np.zeros(first.shape, dtype=np.int64)
    rows = np.arange(len(votes))
    for place in range(votes.shape[1] - 1, -1, -1):
        counts[rows, votes[:, place]] += 1
        first[rows, votes[:, place]] = place
    winner: Array = classes[np.argmax(counts * (votes.shape[1] + 1) - first, axis=1)]
    return winner
