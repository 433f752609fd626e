"""The executable specification: each native verb and each metric in slow, obvious NumPy.

Every kernel, every instruction set and every closed form is compared with this module; it is never
used for speed. The verbs take the same arguments in the same order as
:mod:`dmth_fast.retrieval.native`. A metric is a plain function of one ranked list of gains, and
:func:`mean_over_rankings` gives its value under a tie rule by walking through the rankings that the
rule allows, which for ``"expected"`` are all of them.

>>> import numpy as np
>>> codes = pack(np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]]), 0.0)
>>> codes.ravel()
array([1, 3, 0], dtype=uint8)
>>> search(codes, codes[:1], 2)
(array([[0, 1]], dtype=int32), array([[0, 1]]))
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

TIES = ("expected", "stable", "optimistic", "pessimistic")
NORMALIZERS = ("relevant", "min", "retrieved")


def pack(values: Array, threshold: float) -> Array:
    """Bit j of a row is 1 iff ``values[row, j] > threshold``; it is bit ``j % 8`` of byte ``j // 8``."""
    wide = values.astype(np.float64)
    if np.isnan(wide).any():
        row, column = np.argwhere(np.isnan(wide))[0]
        raise ValueError(f"values must not contain NaN, got NaN in row {row}, column {column}")
    return np.packbits(wide > threshold, axis=1, bitorder="little")


def hamming_distances(codes: Array, queries: Array) -> Array:
    """(q, n) int32: the number of differing bits of every query and code."""
    distances = np.zeros((len(queries), len(codes)), dtype=np.int32)
    for i, query in enumerate(queries):
        distances[i] = np.unpackbits(codes ^ query, axis=1).sum(axis=1)
    return distances


def search(codes: Array, queries: Array, k: int) -> tuple[Array, Array]:
    """The min(k, n) codes nearest to each query in (distance, id) order."""
    distances = hamming_distances(codes, queries)
    ids = np.argsort(distances, axis=1, kind="stable")[:, :k].astype(np.int64)
    return np.take_along_axis(distances, ids, axis=1), ids


def range_search(codes: Array, queries: Array, radius: int) -> tuple[Array, Array, Array]:
    """CSR (offsets, distances, ids) of the codes within ``radius``, inclusive, in (distance, id) order."""
    distances, ids = search(codes, queries, max(len(codes), 1))
    inside = distances <= radius
    offsets = np.concatenate([[0], np.cumsum(inside.sum(axis=1))]).astype(np.int64)
    return offsets, distances[inside], ids[inside]


def relevance(database_labels: Array, query_labels: Array) -> Array:
    """(q, n) bool: the same class id, or for bit masks at least one label in common."""
    if query_labels.ndim == 1:
        return np.equal(query_labels[:, None], database_labels[None, :])
    shared = np.zeros((len(query_labels), len(database_labels)), dtype=bool)
    for i, mask in enumerate(query_labels):
        shared[i] = ((database_labels & mask) != 0).any(axis=1)
    return shared


def histograms(
    codes: Array, queries: Array, database_labels: Array, query_labels: Array, bits: int
) -> tuple[Array, Array]:
    """(q, bits + 1) int64 counts per distance of all codes, and of the relevant ones."""
    distances = hamming_distances(codes, queries)
    relevant = relevance(database_labels, query_labels)
    every = np.zeros((len(queries), bits + 1), dtype=np.int64)
    hits = np.zeros_like(every)
    for i in range(len(queries)):
        for distance, is_relevant in zip(distances[i], relevant[i], strict=True):
            every[i, distance] += 1
            hits[i, distance] += is_relevant
    return every, hits


def graded_histograms(
    codes: Array, queries: Array, database_labels: Array, query_labels: Array, bits: int, levels: int
) -> Array:
    """(q, bits + 1, levels) int64 counts per distance and number of shared labels, at most levels - 1."""
    distances = hamming_distances(codes, queries)
    counts = np.zeros((len(queries), bits + 1, levels), dtype=np.int64)
    for i, mask in enumerate(query_labels):
        common = np.ascontiguousarray(database_labels & mask).view(np.uint8)
        shared = np.unpackbits(common.reshape(len(codes), 8 * mask.size), axis=1).sum(axis=1)
        np.add.at(counts[i], (distances[i], np.minimum(shared, levels - 1)), 1)
    return counts


def relevant_ranks(
    codes: Array, queries: Array, database_labels: Array, query_labels: Array
) -> tuple[Array, Array]:
    """CSR (offsets, ranks): the 1-based ranks of the relevant codes in (distance, id) order."""
    relevant = relevance(database_labels, query_labels)
    order = np.argsort(hamming_distances(codes, queries), axis=1, kind="stable")
    rows = [np.flatnonzero(relevant[i, order[i]]) + 1 for i in range(len(queries))]
    offsets = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    return offsets, np.concatenate([*rows, np.zeros(0)]).astype(np.int64)


def self_ranks(codes: Array, queries: Array, rows: Array) -> Array:
    """(q,) int64 1-based rank of one code of each query in (distance, id) order; 0 where its row is -1."""
    order = np.argsort(hamming_distances(codes, queries), axis=1, kind="stable")
    ranks = [0 if row < 0 else int(np.argmax(of == row)) + 1 for of, row in zip(order, rows, strict=True)]
    return np.array(ranks, dtype=np.int64)


def rankings(distances: Array, gains: Array, ties: str) -> Iterator[Array]:
    """The orders of one query's items that a tie rule allows, each an array of row numbers.

    ``stable`` breaks ties by row, ``optimistic`` and ``pessimistic`` by gain; ``expected`` yields every
    order of every group of equal distances, all equally likely. Their number is a product of
    factorials: small cases only.
    """
    if ties == "stable":
        yield np.argsort(distances, kind="stable")
    elif ties == "optimistic":
        yield np.lexsort((-gains, distances))
    elif ties == "pessimistic":
        yield np.lexsort((gains, distances))
    else:
        groups = [np.flatnonzero(distances == d) for d in np.unique(distances)]
        for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
            yield np.array([row for part in parts for row in part], dtype=np.int64)


def mean_over_rankings(
    distances: Array, gains: Array, ties: str, metric: Callable[[list[float]], float]
) -> float:
    """The mean of ``metric(ranked gains)`` over the rankings that ``ties`` allows."""
    values = [metric(gains[order].tolist()) for order in rankings(distances, gains, ties)]
    return math.fsum(values) / len(values)


def average_precision(ranked: list[float], top_k: int | None = None, normalizer: str = "relevant") -> float:
    """AP of one ranked list: the precisions at its relevant ranks up to ``top_k``, summed and divided.

    The divisor is the number of relevant items ("relevant"), at most ``top_k`` ("min"), or only those
    within the first ``top_k`` ("retrieved"). 0 where the divisor is 0.
    """
    k = len(ranked) if top_k is None else top_k
    found, total = 0, 0.0
    for rank, gain in enumerate(ranked[:k], start=1):
        if gain > 0:
            found += 1
            total += found / rank
    relevant = sum(gain > 0 for gain in ranked)
    divisor = {"relevant": relevant, "min": min(relevant, k), "retrieved": found}[normalizer]
    return total / divisor if divisor else 0.0


def precision_at(ranked: list[float], k: int) -> float:
    """P@k: relevant items among the first k, over k."""
    return sum(gain > 0 for gain in ranked[:k]) / k


def recall_at(ranked: list[float], k: int) -> float:
    """R@k: relevant items among the first k, over all relevant items; 0 where there are none."""
    relevant = sum(gain > 0 for gain in ranked)
    return sum(gain > 0 for gain in ranked[:k]) / relevant if relevant else 0.0


def r_precision(ranked: list[float]) -> float:
    """Precision at R, the number of relevant items."""
    relevant = sum(gain > 0 for gain in ranked)
    return precision_at(ranked, relevant) if relevant else 0.0


def map_at_r(ranked: list[float]) -> float:
    """AP cut at R and divided by R (Musgrave et al., ECCV 2020)."""
    relevant = sum(gain > 0 for gain in ranked)
    return average_precision(ranked, relevant, "relevant") if relevant else 0.0


def first_relevant_rank(ranked: list[float]) -> float:
    """1-based rank of the first relevant item; infinity where there is none."""
    return next((float(rank) for rank, gain in enumerate(ranked, start=1) if gain > 0), math.inf)


def reciprocal_rank(ranked: list[float]) -> float:
    """1 over the first relevant rank."""
    return 1.0 / first_relevant_rank(ranked)


def dcg(ranked: list[float], k: int) -> float:
    """Sum of gain / log2(1 + rank) over the first k."""
    return sum(gain / math.log2(1 + rank) for rank, gain in enumerate(ranked[:k], start=1))


def ndcg(ranked: list[float], k: int) -> float:
    """DCG@k over that of the best ranking of the same items; 0 where no item has a gain."""
    ideal = dcg(sorted(ranked, reverse=True), k)
    return dcg(ranked, k) / ideal if ideal else 0.0


def acg(ranked: list[float], k: int) -> float:
    """Average cumulative gain: the summed gains of the first k over k."""
    return sum(ranked[:k]) / k


def wap(ranked: list[float], k: int) -> float:
    """Weighted AP: the mean of ACG@i over the ranks i <= k that hold a relevant item."""
    values = [acg(ranked, i) for i, gain in enumerate(ranked[:k], start=1) if gain > 0]
    return sum(values) / len(values) if values else 0.0


def precision_within(distances: Array, gains: Array, radius: int) -> float:
    """P@H<=radius: the relevant share of the Hamming ball, NaN where the ball is empty."""
    inside = gains[distances <= radius] > 0
    return float(inside.mean()) if inside.size else math.nan


def recall_within(distances: Array, gains: Array, radius: int) -> float:
    """R@H<=radius: the share of the relevant items that lie in the ball, 0 where there are none."""
    relevant = gains > 0
    return float((relevant & (distances <= radius)).sum() / relevant.sum()) if relevant.any() else 0.0


def radius_aware_average_precision(
    distances: Array, gains: Array, bits: int, *, by_cost: bool = False
) -> float:
    """RAAP: P@H<=r over all radii, an empty ball counting 0, each over the buckets it opens or not."""
    total, opened = 0.0, 0
    for radius in range(bits + 1):
        opened += math.comb(bits, radius)
        precision = precision_within(distances, gains, radius)
        total += 0.0 if math.isnan(precision) else precision / (opened if by_cost else 1)
    return total / (bits + 1)


def interpolated_precision(distances: Array, gains: Array, bits: int, level: float) -> float:
    """The best precision of any Hamming ball whose recall reaches ``level``; 0 where none does."""
    found = [
        precision_within(distances, gains, radius)
        for radius in range(bits + 1)
        if recall_within(distances, gains, radius) >= level - 1e-12
    ]
    return max([0.0, *(value for value in found if not math.isnan(value))])
