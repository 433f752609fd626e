"""Retrieval metrics of rankings, one value a query.

Each takes :class:`~dmth_fast.retrieval.rankings.TiedRankings`, whose values are exact expectations over
the orders of equal distances, or :class:`~dmth_fast.retrieval.rankings.StrictRankings`. Symbols: R relevant
items among n; rel(i) is 1 where the item at rank i is relevant, else 0; P(i) = (rel(1) + ... + rel(i)) / i.
At Hamming distance d, N_d and N+_d are the items and the relevant items no farther than d. The closed forms
over ties are those of McSherry & Najork (ECIR 2008) and He et al. (CVPR 2018, arXiv 1705.08562); where each
sum over ranks is written out: :class:`~dmth_fast.retrieval.rankings.TiedRankings`.
"""

import itertools
import math

import numpy as np

from dmth_fast.retrieval.arguments import Array
from dmth_fast.retrieval.harmonic import cumulated_discounts
from dmth_fast.retrieval.rankings import Rankings, TiedRankings, ratio

TIES = ("expected", "stable", "optimistic", "pessimistic")
NORMALIZERS = ("relevant", "min", "retrieved")
EMPTY = ("zero", "skip", "error")
EMPTY_BALLS = ("zero", "skip")


def average_precision(rankings: Rankings, top_k: int | Array | None, normalizer: str) -> Array:
    """AP@K = (1 / D) sum of P(i) rel(i) over ranks i <= K: precisions at the relevant ranks.

    D is R, min(R, K) or the sum of rel(i) over i <= K (random under ties, so the expectation is that of the
    ratio). With K = n and D = R it is the AP of Buckley & Voorhees (SIGIR 2000); D = "retrieved" is what
    most hashing repositories compute, and it rewards finding fewer.

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
    """P@K = (rel(1) + ... + rel(K)) / K, K may exceed the number of items; 0 for K = 0.

    Expected over ties: (N+_{d-1} + (K - N_{d-1}) n+_d / n_d) / K, with n_d items and n+_d relevant ones at
    the distance d that straddles K (McSherry & Najork, ECIR 2008).

    >>> tied = TiedRankings(every=np.array([[1, 2]]), relevant=np.array([[1, 1]]))
    >>> precision_at(tied, 2)  # one of the two at distance 1 is relevant
    array([0.75])
    """
    return ratio(rankings.hits_within(_cut(rankings, k)), np.broadcast_to(k, rankings.num_items.shape))


def recall_at(rankings: Rankings, k: int | Array) -> Array:
    """R@K = (rel(1) + ... + rel(K)) / R, expected over ties as :func:`precision_at`; 0 where R = 0.

    >>> recall_at(TiedRankings(every=np.array([[1, 2]]), relevant=np.array([[1, 1]])), 2)
    array([0.75])
    """
    return ratio(rankings.hits_within(_cut(rankings, k)), rankings.num_relevant)


def ndcg_at(rankings: Rankings, k: int) -> Array:
    """NDCG@K of relevance 0 and 1: DCG@K over that of a ranking with all relevant items first.

    DCG@K is the sum of rel(i) / log2(1 + i) over i <= K (Järvelin & Kekäläinen, TOIS 2002); 0 where R = 0.
    The gains 2^r - 1 and r are the same here; of graded relevance: ``evaluate(graded=...)``.

    >>> ndcg_at(TiedRankings(every=np.array([[1, 2]]), relevant=np.array([[1, 1]])), 1)
    array([1.])
    """
    cut = _cut(rankings, k)
    best = np.minimum(rankings.num_relevant, cut)
    return ratio(rankings.discounted_hits(cut), cumulated_discounts(int(best.max(initial=0)))[best])


def r_precision(rankings: Rankings) -> Array:
    """P@R, where precision equals recall (TREC; Manning et al., Information Retrieval, 8.4); 0 where R = 0.

    >>> r_precision(TiedRankings(every=np.array([[1, 2]]), relevant=np.array([[1, 1]])))
    array([0.75])
    """
    return precision_at(rankings, rankings.num_relevant)


def map_at_r(rankings: Rankings) -> Array:
    """MAP@R = (1 / R) sum of P(i) rel(i) over i <= R (Musgrave, Belongie & Lim, ECCV 2020); 0 where R = 0.

    >>> map_at_r(TiedRankings(every=np.array([[1, 2]]), relevant=np.array([[1, 1]])))
    array([0.75])
    """
    return average_precision(rankings, rankings.num_relevant, "relevant")


def precision_within(tied: TiedRankings) -> Array:
    """P@H<=r = N+_r / N_r: (q, bits + 1), the relevant share of the ball of each radius r.

    Ties play no part; NaN for an empty ball, for which the caller needs a policy.

    >>> precision_within(TiedRankings(every=np.array([[0, 2]]), relevant=np.array([[0, 1]])))
    array([[nan, 0.5]])
    """
    inside = np.cumsum(tied.every, axis=1)
    share = ratio(np.cumsum(tied.relevant, axis=1), inside)
    share[inside == 0] = np.nan
    return share


def recall_within(tied: TiedRankings) -> Array:
    """R@H<=r = N+_r / R: (q, bits + 1), the share of the relevant items within radius r; 0 where R = 0.

    >>> recall_within(TiedRankings(every=np.array([[0, 2]]), relevant=np.array([[0, 1]])))
    array([[0., 1.]])
    """
    return ratio(np.cumsum(tied.relevant, axis=1), tied.num_relevant[:, None])


def radius_aware_average_precision(
    precision: Array, empty_ball: str = "zero", *, by_cost: bool = False
) -> Array:
    """RAAP = (1 / (b + 1)) sum over radii r = 0, ..., b of P@H<=r / T(r); their mean over queries is RAMAP.

    After Jiang, Li & Li, "On the evaluation metric for hashing" (arXiv 1905.10951), who ask that a metric see
    the radius and the time of a bucket search. T(r) = 1, or with ``by_cost`` C(b, 0) + ... + C(b, r), the
    buckets that a lookup of radius r opens. Both forms are those of the public implementations that cite the
    paper; its own text was not at hand when this was written.

    Args:
        precision: (q, b + 1), what :func:`precision_within` gives.
        empty_ball: an empty ball counts "zero", or is "skip"-ped: the mean is over the other radii.
        by_cost: divide each radius by the buckets it opens.

    Returns:
        (q,) float64; 0 for a query without any item.

    >>> precision = np.array([[np.nan, 0.5, 0.4]])
    >>> radius_aware_average_precision(precision), radius_aware_average_precision(precision, "skip")
    (array([0.3]), array([0.45]))
    >>> radius_aware_average_precision(precision, by_cost=True)  # (0.5 / 3 + 0.4 / 4) / 3
    array([0.08888889])
    """
    bits = precision.shape[1] - 1
    weights = lookup_weights(bits) if by_cost else np.ones(bits + 1)
    balls = (~np.isnan(precision)).sum(axis=1) if empty_ball == "skip" else np.full(len(precision), bits + 1)
    return ratio((np.nan_to_num(precision) * weights).sum(axis=1), balls)


def lookup_weights(bits: int) -> Array:
    """(bits + 1,) 1 / T(r): one over the buckets that a lookup of each radius opens.

    >>> lookup_weights(2)  # 1, 1 + 2 and 1 + 2 + 1 buckets
    array([1.        , 0.33333333, 0.25      ])
    """
    opened = itertools.accumulate(math.comb(bits, r) for r in range(bits + 1))
    # Quotients of integers: the number of buckets itself overflows a float from 1,024 bits on.
    return np.array([1 / count for count in opened])


def _cut(rankings: Rankings, top_k: int | Array | None) -> Array:
    """K of each query, no more than its items."""
    items = rankings.num_items
    return items if top_k is None else np.minimum(items, top_k)
