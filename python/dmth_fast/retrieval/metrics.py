"""Retrieval metrics of rankings, one value a query.

Each takes :class:`~dmth_fast.retrieval.rankings.TiedRankings`, whose values are exact expectations over
the orders of equal distances, or :class:`~dmth_fast.retrieval.rankings.StrictRankings`.
"""

import numpy as np

from dmth_fast.retrieval.arguments import Array
from dmth_fast.retrieval.harmonic import cumulated_discounts
from dmth_fast.retrieval.rankings import Rankings, TiedRankings, ratio

TIES = ("expected", "stable", "optimistic", "pessimistic")
NORMALIZERS = ("relevant", "min", "retrieved")
EMPTY = ("zero", "skip", "error")
EMPTY_BALLS = ("zero", "skip")


def average_precision(rankings: Rankings, top_k: int | Array | None, normalizer: str) -> Array:
    """AP@K: precisions at the relevant ranks up to K, summed and divided.

    Args:
        rankings: q rankings.
        top_k: K, for all or one a query; None for all items.
        normalizer: the divisor: "relevant" items R, "min" of R and K, or those "retrieved" within K.

    Returns:
        (q,) float64; 0 where the divisor is 0.

    >>> tied = TiedRankings(every=np.array([[1, 2]]), relevant=np.array([[1, 1]]))
    >>> average_precision(tied, None, "relevant")  # the mean of 1 and (1 + 2/3) / 2
    array([0.91666667])
    """
    k = _cut(rankings, top_k)
    if normalizer == "retrieved":
        return rankings.mean_precision(k)
    relevant = rankings.num_relevant
    return ratio(rankings.precision_sum(k), relevant if normalizer == "relevant" else np.minimum(relevant, k))


def precision_at(rankings: Rankings, k: int | Array) -> Array:
    """P@K: relevant items among the first K, over K (which may exceed the number of items)."""
    return ratio(rankings.hits_within(_cut(rankings, k)), np.broadcast_to(k, rankings.num_items.shape))


def recall_at(rankings: Rankings, k: int | Array) -> Array:
    """R@K: relevant items among the first K, over all relevant ones; 0 where there are none."""
    return ratio(rankings.hits_within(_cut(rankings, k)), rankings.num_relevant)


def ndcg_at(rankings: Rankings, k: int) -> Array:
    """NDCG@K of relevance 0 and 1: DCG@K over that of a ranking with all relevant items first.

    DCG is the sum of 1 / log2(1 + rank) over the relevant ranks up to K (Järvelin & Kekäläinen 2002); 0
    where there are none.
    """
    cut = _cut(rankings, k)
    best = np.minimum(rankings.num_relevant, cut)
    return ratio(rankings.discounted_hits(cut), cumulated_discounts(int(best.max(initial=0)))[best])


def r_precision(rankings: Rankings) -> Array:
    """Precision at R, the number of relevant items; 0 where there are none."""
    return precision_at(rankings, rankings.num_relevant)


def map_at_r(rankings: Rankings) -> Array:
    """AP cut at R and divided by R (Musgrave, Belongie & Lim, ECCV 2020)."""
    return average_precision(rankings, rankings.num_relevant, "relevant")


def precision_within(tied: TiedRankings) -> Array:
    """P@H<=r: (q, bits + 1), the relevant share of the ball of each radius r; NaN for an empty ball."""
    inside = np.cumsum(tied.every, axis=1)
    share = ratio(np.cumsum(tied.relevant, axis=1), inside)
    share[inside == 0] = np.nan
    return share


def recall_within(tied: TiedRankings) -> Array:
    """R@H<=r: (q, bits + 1), the share of the relevant items within each radius r; 0 where none exist."""
    return ratio(np.cumsum(tied.relevant, axis=1), tied.num_relevant[:, None])


def _cut(rankings: Rankings, top_k: int | Array | None) -> Array:
    """K of each query, no more than its items."""
    items = rankings.num_items
    return items if top_k is None else np.minimum(items, top_k)
