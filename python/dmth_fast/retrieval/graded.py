"""Graded relevance: how many labels two items share, or the cosine of their label vectors.

Per query a histogram over (distance, grade) replaces the one over distance; grades take few values, so
it stays small. Every tie rule is a way to split its distances into groups.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dmth_fast.retrieval.arguments import Array
from dmth_fast.retrieval.histograms import Comparison
from dmth_fast.retrieval.rankings import TiedRankings, discounted_sum, ratio

GRADES = ("shared", "cosine")
GAINS = ("exponential", "linear")
# Pairs of query and item held at one time, with some ten arrays of them.
_PAIRS_AT_ONCE = 2**21


def graded_per_query(comparison: Comparison, settings: Mapping[str, Any]) -> dict[str, Array]:
    """(q,) float64 of NDCG, ACG and WAP at each K of ``settings["precision_at"]``, by name in the report."""
    parts = [
        _block_metrics(rankings, grades, settings)
        for rankings, grades in _blocks(comparison, settings["graded"], settings["ties"])
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def ndcg(rankings: TiedRankings, k: Array, gains: Array, ideal: Array) -> Array:
    """NDCG@K = DCG@K / IDCG@K, DCG = sum over ranks of gain / log2(1 + rank) (Järvelin & Kekäläinen 2002).

    Args:
        rankings: q tied rankings.
        k: (q,) cut-offs.
        gains: (q, groups) summed gain of each group.
        ideal: (q,) DCG of the best ranking.

    Returns:
        (q,) float64; 0 where nothing has a gain.
    """
    return ratio(discounted_sum(rankings.every, gains, k), ideal)


def acg(rankings: TiedRankings, k: Array, divisor: int) -> Array:
    """ACG@K: the summed grades of the first K, over K."""
    return rankings.gains_within(k) / divisor


def wap(rankings: TiedRankings, k: Array) -> Array:
    """WAP@K: the mean of ACG@i over the relevant ranks i <= K (Zhao et al., CVPR 2015); 0 without any."""
    return rankings.mean_precision(k)


def _block_metrics(
    rankings: TiedRankings, grades: "_Grades", settings: Mapping[str, Any]
) -> dict[str, Array]:
    values = {}
    gains = grades.summed(settings["gain"])
    for number in settings["precision_at"]:
        k = np.minimum(rankings.num_items, number)
        values[f"ndcg_at_{number}"] = ndcg(rankings, k, gains, grades.ideal(settings["gain"], k))
        values[f"acg_at_{number}"] = acg(rankings, k, number)
        values[f"wap_at_{number}"] = wap(rankings, k)
    return values


class _Grades:
    """Grades of a block of rankings: (q, groups, levels) counts, and each level's grade for each query."""

    def __init__(self, counts: Array, grades: Array) -> None:
        self.counts = counts
        self.grades = grades

    def rankings(self) -> TiedRankings:
        return TiedRankings(
            every=self.counts.sum(axis=2),
            relevant=(self.counts * (self.grades > 0)[:, None]).sum(axis=2),
            gains=self.summed("linear"),
        )

    def summed(self, gain: str) -> Array:
        """(q, groups) float64: summed gain of each group."""
        total: Array = (self.counts * self._gain(gain)[:, None]).sum(axis=2)
        return total

    def ideal(self, gain: str, k: Array) -> Array:
        """(q,) float64: DCG of the ranking by falling grade; the levels ascend."""
        every = self.counts.sum(axis=1)[:, ::-1]
        return discounted_sum(every, every * self._gain(gain)[:, ::-1], k)

    def split(self, ties: str) -> "_Grades":
        """A group for each (distance, level), the better levels first or last."""
        order = slice(None, None, -1) if ties == "optimistic" else slice(None)
        counts = self.counts[:, :, order]
        q, groups, levels = counts.shape
        place = np.arange(levels)[order]
        spread = np.zeros((q, groups, levels, levels), dtype=counts.dtype)
        spread[:, :, np.arange(levels), place] = counts
        return _Grades(spread.reshape(q, groups * levels, levels), self.grades)

    def _gain(self, gain: str) -> Array:
        return np.exp2(self.grades) - 1 if gain == "exponential" else self.grades


def _blocks(comparison: Comparison, graded: str, ties: str) -> Iterator[tuple[TiedRankings, _Grades]]:
    """Rankings of a few queries at a time, with their grades."""
    counts = comparison.labels.label_counts()
    values, of_level = _levels(graded, counts[1])
    groups = len(comparison.database_codes) if ties == "stable" else comparison.bits + 1
    width = groups * len(values) ** (1 if ties in ("expected", "stable") else 2)
    step = max(1, _PAIRS_AT_ONCE // max(len(comparison.database_codes), width))
    for start in range(0, len(comparison.query_codes), step):
        rows = slice(start, start + step)
        level = of_level[comparison.labels.shared(rows).astype(np.int64), counts[1][None, :]]
        scale = (
            ratio(np.ones(len(level)), np.sqrt(counts[0][rows]))
            if graded == "cosine"
            else np.ones(len(level))
        )
        place = comparison.distances(rows).astype(np.int64)
        kept = np.ones(level.shape, dtype=bool)
        if comparison.excluded is not None:
            own = comparison.excluded[rows]
            kept[np.flatnonzero(own >= 0), own[own >= 0]] = False
        if ties == "stable":
            order = np.argsort(place, axis=1, kind="stable")
            np.put_along_axis(place, order, np.arange(level.shape[1])[None, :], axis=1)
        grades = _Grades(_counted(place, level, kept, groups, len(values)), values * scale[:, None])
        if ties in ("optimistic", "pessimistic"):
            grades = grades.split(ties)
        yield grades.rankings(), grades


def _levels(graded: str, counts: Array) -> tuple[Array, Array]:
    """Ascending distinct grades, and the level of (shared labels, labels of the item).

    A cosine is shared / sqrt(own labels) / sqrt(item's labels); the query's factor is the same for all
    its items, so it scales a query's grades and leaves their order alone.
    """
    most = int(counts.max(initial=0))
    shared = np.arange(most + 1, dtype=np.float64)[:, None]
    size = np.arange(most + 1, dtype=np.float64)[None, :]
    table = (
        np.broadcast_to(shared, (most + 1, most + 1)) if graded == "shared" else ratio(shared, np.sqrt(size))
    )
    # Only pairs that can occur: no more shared labels than the item has, and sizes that are there.
    possible = (shared <= size) & np.isin(size, counts)
    values = np.unique(np.append(table[possible], 0.0))
    return values, np.searchsorted(values, np.where(possible, table, 0.0))


def _counted(place: Array, level: Array, kept: Array, groups: int, levels: int) -> Array:
    """(q, groups, levels) int64 counts of (place, level)."""
    owner = np.arange(len(place))[:, None] * groups
    keys = ((owner + place) * levels + level)[kept]
    return np.bincount(keys, minlength=len(place) * groups * levels).reshape(len(place), groups, levels)
