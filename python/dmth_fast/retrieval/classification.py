"""Classification by the votes of the nearest codes, and how often it is right over ties."""

import math

import numpy as np

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import (
    AnyArray,
    Array,
    are_tensors,
    as_numpy,
    choice,
    describe,
    integer,
    optional_integer,
)
from dmth_fast.retrieval.codes import checked_pair
from dmth_fast.retrieval.labels import checked_class_ids
from dmth_fast.retrieval.metrics import TIES
from dmth_fast.retrieval.search import search

# Pairs of query and item whose distances are held at one time.
_PAIRS_AT_ONCE = 2**24


def classify_by_vote(
    query_codes: AnyArray,
    database_codes: AnyArray,
    database_labels: AnyArray,
    k: int,
    *,
    bits: int | None = None,
    threads: int | None = None,
) -> Array:
    """The most frequent class among the k nearest codes of each query (Cover & Hart 1967).

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


def vote_accuracy(
    query_codes: AnyArray,
    query_labels: AnyArray,
    database_codes: AnyArray,
    database_labels: AnyArray,
    k: int,
    *,
    ties: str = "expected",
    bits: int | None = None,
    threads: int | None = None,
) -> Array:
    """Probability that the vote of the k nearest names each query's class.

    Of the n items at the distance that straddles k, any s may be among the k nearest. ``"expected"`` is
    exact over all of them: m_c votes of class c are multivariate hypergeometric, and a class that shares
    the most votes with t others is drawn with probability 1 / (t + 1). With f_c votes from nearer items,

        P = sum over m of P(m) [f_y + m_y = max_c (f_c + m_c)] / |{c: f_c + m_c is that maximum}|

    summed class by class, O(classes * k^3) for a query whose cut falls into a tie: for tens of neighbours.

    Args:
        query_codes: (q, bytes) uint8.
        query_labels: (q,) integer class ids >= 0.
        database_codes: (n, bytes) uint8, n >= 1.
        database_labels: (n,) integer class ids >= 0.
        k: how many vote, >= 1.
        ties: "expected"; "stable": 1 where :func:`classify_by_vote` is right; "optimistic": 1 where some
            order of ties and some draw is right; "pessimistic": 1 where all are.
        bits: the true number of bits; if given, width and zero padding are checked.
        threads: threads to use; all cores by default.

    Returns:
        (q,) float64; the mean is the accuracy.

    Raises:
        TypeError: wrong dtype, or arrays mixed with tensors.
        ValueError: wrong shape, an empty database, k < 1, an unknown rule.

    >>> import numpy as np
    >>> codes = np.array([[0b00], [0b01], [0b10]], dtype=np.uint8)
    >>> vote_accuracy(codes[:1], np.array([7]), codes, np.array([5, 7, 5]), k=2)  # half of 1/2
    array([0.25])
    """
    rule = choice(ties, "ties", TIES)
    if rule == "stable":
        found = classify_by_vote(query_codes, database_codes, database_labels, k, bits=bits, threads=threads)
        wanted = checked_class_ids(as_numpy(query_labels, "query_labels"), "query_labels", len(found))
        return np.equal(found, wanted).astype(np.float64)
    are_tensors(
        query_codes=query_codes,
        query_labels=query_labels,
        database_codes=database_codes,
        database_labels=database_labels,
    )
    codes, queries, _ = checked_pair(
        as_numpy(database_codes, "database_codes"),
        as_numpy(query_codes, "query_codes"),
        bits,
        names=("database_codes", "query_codes"),
    )
    if not len(codes):
        raise ValueError(f"database_codes must hold at least one code to vote, got {describe(codes)}")
    voters = min(integer(k, "k", 1), len(codes))
    workers = optional_integer(threads, "threads", 1)
    classes, dense = np.unique(
        checked_class_ids(database_labels, "database_labels", len(codes)), return_inverse=True
    )
    wanted = checked_class_ids(query_labels, "query_labels", len(queries))
    own = np.searchsorted(classes, wanted)
    known = np.isin(wanted, classes)
    value = np.zeros(len(queries))
    step = max(1, _PAIRS_AT_ONCE // len(codes))
    measure = {"expected": _expected, "optimistic": _optimistic, "pessimistic": _pessimistic}[rule]
    for start in range(0, len(queries), step):
        distances = native.hamming_distances(codes, queries[start : start + step], threads=workers)
        cuts = np.partition(distances, voters - 1, axis=1)[:, voters - 1]
        for i, cut in enumerate(cuts, start=start):
            if known[i]:
                row = distances[i - start]
                nearer = np.bincount(dense[row < cut], minlength=len(classes))
                tied = np.bincount(dense[row == cut], minlength=len(classes))
                value[i] = measure(nearer, tied, int(own[i]), voters - int(nearer.sum()))
    return value


def _optimistic(nearer: Array, tied: Array, own: int, slots: int) -> float:
    """1 where the others can share the slots that the own class leaves, none above its votes."""
    most = nearer[own] + min(int(tied[own]), slots)
    others = np.delete(nearer, own)
    room = np.minimum(most - others, np.delete(tied, own))
    left = slots - (most - nearer[own])
    return float((others <= most).all() and room.sum() >= left)


def _pessimistic(nearer: Array, tied: Array, own: int, slots: int) -> float:
    """1 where no other class can reach the fewest votes that the own class may get."""
    fewest = max(0, slots - int(tied.sum() - tied[own]))
    reached = np.delete(nearer + np.minimum(tied, slots - fewest), own)
    return float((reached < nearer[own] + fewest).all())


def _expected(nearer: Array, tied: Array, own: int, slots: int) -> float:
    """The sum over the own class's votes from the slots; see :func:`vote_accuracy`."""
    rivals = np.delete(np.arange(len(nearer)), own)
    rivals = rivals[(nearer[rivals] > 0) | (tied[rivals] > 0)]
    others = int(tied.sum() - tied[own])
    total = 0.0
    for mine in range(max(0, slots - others), min(int(tied[own]), slots) + 1):
        weight = math.comb(int(tied[own]), mine) * math.comb(others, slots - mine)
        share = weight / math.comb(int(tied.sum()), slots)
        total += share * _wins(nearer[rivals], tied[rivals], slots - mine, int(nearer[own]) + mine)
    return total


def _wins(nearer: Array, tied: Array, slots: int, votes: int) -> float:
    """E[1 / (1 + rivals that reach ``votes``)], 0 where one has more; the rivals fill ``slots`` by lot.

    ``reach[r, t]`` is the probability that, after some rivals, r slots are left and t of them have reached
    ``votes``; a rival's share of the slots left is hypergeometric.
    """
    reach = np.zeros((slots + 1, 1))
    reach[slots, 0] = 1.0
    left = int(tied.sum())
    for fixed, count in zip(nearer.tolist(), tied.tolist(), strict=True):
        following = np.zeros((slots + 1, reach.shape[1] + 1))
        for remaining in np.flatnonzero(reach.any(axis=1)).tolist():
            ways = math.comb(left, remaining)
            for drawn in range(max(0, remaining - (left - count)), min(count, remaining, votes - fixed) + 1):
                chance = math.comb(count, drawn) * math.comb(left - count, remaining - drawn) / ways
                level = int(fixed + drawn == votes)
                following[remaining - drawn, level : level + reach.shape[1]] += chance * reach[remaining]
        reach, left = following[:, : _used(following)], left - count
    return float((reach[0] / np.arange(1, reach.shape[1] + 1)).sum())


def _used(reach: Array) -> int:
    """Columns up to the last that is not 0, at least one."""
    columns = np.flatnonzero(reach.any(axis=0))
    return int(columns[-1]) + 1 if columns.size else 1
