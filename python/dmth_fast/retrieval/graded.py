"""Graded relevance: how many labels two items share, or the cosine of their label vectors.

Per query a histogram over (distance, shared labels) replaces the one over distance, for the cosine one for
each number of labels that items have. They are integers that add up over parts of a database; grades take few
values, so they stay small. Every tie rule is a way to split a distance into groups.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import Array
from dmth_fast.retrieval.histograms import Comparison
from dmth_fast.retrieval.rankings import TiedRankings, discounted_sum, ratio

GRADES = ("shared", "cosine")
GAINS = ("exponential", "linear")
# Bins of histograms, or pairs of query and item, held at one time, with some ten arrays of them.
_NUMBERS_AT_ONCE = 2**21

GradedCounts = dict[int, Array]
"""(q, bits + 1, shared labels) int64 items by the number of their labels; under 0 those of any number."""


def graded_per_query(comparison: Comparison, settings: Mapping[str, Any]) -> dict[str, Array]:
    """(q,) float64 of NDCG, ACG and WAP at each K of ``settings["precision_at"]``, by name in the report."""
    if settings["ties"] == "stable":
        parts = [_metrics(block, settings) for block in _ordered(comparison, settings["graded"])]
        return _joined(parts)
    own, sizes = comparison.labels.label_counts()
    groups = len(np.unique(sizes)) if settings["graded"] == "cosine" else 1
    bins = groups * (comparison.bits + 1) * (int(own.max(initial=0)) + 1)
    # The native pass is over the whole database: a few large blocks of queries, or all at once.
    step = max(1, 16 * _NUMBERS_AT_ONCE // bins) if comparison.labels.is_multi_hot else len(own)
    parts = []
    for start in range(0, len(own), step):
        rows = slice(start, start + step)
        counts = graded_counts(comparison, settings["graded"], rows)
        parts.append(graded_values(counts, own[rows], settings))
    return _joined(parts)


def graded_counts(comparison: Comparison, graded: str, rows: slice = slice(None)) -> GradedCounts:
    """Count items by distance, shared labels and, for the cosine, their number of labels; natively.

    ``rows`` are the queries counted for; class ids and a matrix of relevance are counted for all at once.
    """
    labels = comparison.labels
    own, sizes = labels.label_counts()
    if not labels.is_multi_hot:
        tied = comparison.histograms()
        counts = np.stack([tied.every - tied.relevant, tied.relevant], axis=2)
        return {1 if graded == "cosine" else 0: counts[rows]}
    levels = int(own.max(initial=0)) + 1
    groups = np.unique(sizes) if graded == "cosine" else np.zeros(1, dtype=np.int64)
    found: GradedCounts = {}
    for size in groups.tolist():
        members = np.flatnonzero(sizes == size) if graded == "cosine" else slice(None)
        found[size] = native.graded_histograms(
            np.ascontiguousarray(comparison.database_codes[members]),
            comparison.query_codes[rows],
            np.ascontiguousarray(labels.database[members]),
            labels.query[rows],
            comparison.bits,
            levels,
            threads=comparison.threads,
        )
    if comparison.excluded is not None:
        _leave_out(found, comparison, rows, sizes if graded == "cosine" else None)
    return found


def graded_values(counts: GradedCounts, own: Array, settings: Mapping[str, Any]) -> dict[str, Array]:
    """:func:`graded_per_query` of counts, under any rule for ties but "stable".

    Args:
        counts: what :func:`graded_counts` gives, possibly summed over parts of a database.
        own: (q,) number of labels of each query.
        settings: of the evaluation.
    """
    first = next(iter(counts.values()))
    values, place = _levels(settings["graded"], sorted(counts), first.shape[2])
    step = max(1, _NUMBERS_AT_ONCE // (first.shape[1] * len(values)))
    parts = []
    for start in range(0, len(own), step):
        rows = slice(start, start + step)
        joined = np.zeros((len(own[rows]), first.shape[1], len(values)), dtype=np.int64)
        for size, part in counts.items():
            for shared, level in place[size]:
                joined[:, :, level] += part[rows, :, shared]
        grades = _scaled(values, own[rows], settings["graded"])
        parts.append(_metrics(_grouped(joined, grades, settings["ties"]), settings))
    return _joined(parts)


def ndcg(rankings: TiedRankings, k: Array, gains: Array, ideal: Array) -> Array:
    """NDCG@K = DCG@K / IDCG@K, DCG = sum over ranks of gain / log2(1 + rank) (Järvelin & Kekäläinen 2002).

    Of grade r the gain is 2^r - 1 ("exponential", Burges et al., ICML 2005) or r ("linear").

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
    """ACG@K = (r_1 + ... + r_K) / K, the mean grade of the first K (Järvelin & Kekäläinen, SIGIR 2000)."""
    return rankings.gains_within(k) / divisor


def wap(rankings: TiedRankings, k: Array) -> Array:
    """WAP@K: the mean of ACG@i over the relevant ranks i <= K (Zhao et al., CVPR 2015); 0 without any."""
    return rankings.mean_precision(k)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Rankings of some queries, with what their grades add up to.

    Attributes:
        rankings: groups of ties, grades as gains.
        summed: (q, groups) summed value of each group, of a function of the grade.
        totals: (q, levels) items of each grade.
        grades: (q, levels) float64, ascending.
    """

    rankings: TiedRankings
    summed: Callable[[Callable[[Array], Array]], Array]
    totals: Array
    grades: Array

    def ideal(self, gain: Callable[[Array], Array], k: Array) -> Array:
        """(q,) float64: DCG of the ranking by falling grade."""
        every = self.totals[:, ::-1]
        return discounted_sum(every, every * gain(self.grades)[:, ::-1], k)


def _metrics(block: _Block, settings: Mapping[str, Any]) -> dict[str, Array]:
    gain = _exponential if settings["gain"] == "exponential" else _linear
    rankings, gains, values = block.rankings, block.summed(gain), {}
    for number in settings["precision_at"]:
        k = np.minimum(rankings.num_items, number)
        values[f"ndcg_at_{number}"] = ndcg(rankings, k, gains, block.ideal(gain, k))
        values[f"acg_at_{number}"] = acg(rankings, k, number)
        values[f"wap_at_{number}"] = wap(rankings, k)
    return values


def _grouped(counts: Array, grades: Array, ties: str) -> _Block:
    """Groups of (q, bits + 1, levels) counts: a distance, or each grade in it, the best first or last."""
    if ties == "expected":

        def summed(value: Callable[[Array], Array]) -> Array:
            total: Array = (counts * value(grades)[:, None]).sum(axis=2)
            return total

        every = counts.sum(axis=2)
    else:
        order = slice(None, None, -1) if ties == "optimistic" else slice(None)
        every = counts[:, :, order].reshape(len(counts), -1)

        def summed(value: Callable[[Array], Array]) -> Array:
            each: Array = every * np.tile(value(grades)[:, order], counts.shape[1])
            return each

    relevant = summed(_is_relevant)
    rankings = TiedRankings(every=every, relevant=relevant, gains=summed(_linear))
    return _Block(rankings=rankings, summed=summed, totals=counts.sum(axis=1), grades=grades)


def _ordered(comparison: Comparison, graded: str) -> Iterator[_Block]:
    """Rankings in the order of (distance, row), each item a group of its own; a few queries at a time."""
    labels = comparison.labels
    own, sizes = labels.label_counts()
    most = int(own.max(initial=0)) + 1
    values, place = _levels(graded, np.unique(sizes).tolist() if graded == "cosine" else [0], most)
    level_of = np.zeros((int(sizes.max(initial=0)) + 1, most), dtype=np.int64)
    for size, levels in place.items():
        for shared, number in levels:
            level_of[size if graded == "cosine" else slice(None), shared] = number
    step = max(1, _NUMBERS_AT_ONCE // max(1, len(sizes)))
    for start in range(0, len(own), step):
        rows = slice(start, start + step)
        level: Array = level_of[sizes[None], labels.shared(rows).astype(np.int64)]
        kept = np.ones(level.shape, dtype=bool)
        if comparison.excluded is not None:
            left_out = comparison.excluded[rows]
            kept[np.flatnonzero(left_out >= 0), left_out[left_out >= 0]] = False
        # 16 bits hold every distance, and NumPy sorts them by counting.
        order = np.argsort(comparison.distances(rows).astype(np.uint16), axis=1, kind="stable")
        grades = _scaled(values, own[rows], graded)
        ranked: Array = np.take_along_axis(level, order, axis=1)
        here: Array = np.take_along_axis(kept, order, axis=1)
        keys = (np.arange(len(level))[:, None] * len(values) + level)[kept]
        totals = np.bincount(keys, minlength=grades.size).reshape(grades.shape)

        def summed(
            value: Callable[[Array], Array],
            grades: Array = grades,
            ranked: Array = ranked,
            here: Array = here,
        ) -> Array:
            found: Array = here * np.take_along_axis(value(grades), ranked, axis=1)
            return found

        rankings = TiedRankings(
            every=here.astype(np.int64), relevant=summed(_is_relevant), gains=summed(_linear)
        )
        yield _Block(rankings=rankings, summed=summed, totals=totals, grades=grades)


def _levels(graded: str, sizes: list[int], most: int) -> tuple[Array, dict[int, list[tuple[int, int]]]]:
    """Ascending distinct grades, and by number of labels of an item (shared labels, level) that can occur.

    A cosine is shared / sqrt(own labels) / sqrt(item's labels); the query's factor is the same for all its
    items, so it scales a query's grades and leaves their order alone. Squares are compared: quotients of
    integers, equal where the grades are.
    """
    if graded == "shared":
        return np.arange(most, dtype=np.float64), {sizes[0]: [(shared, shared) for shared in range(most)]}
    squares = {(s, size): s * s / size if size else 0.0 for size in sizes for s in range(min(size + 1, most))}
    values = sorted({0.0, *squares.values()})
    level = {square: number for number, square in enumerate(values)}
    place: dict[int, list[tuple[int, int]]] = {size: [] for size in sizes}
    for (shared, size), square in squares.items():
        place[size].append((shared, level[square]))
    return np.sqrt(np.array(values)), place


def _scaled(values: Array, own: Array, graded: str) -> Array:
    """(q, levels) grades of each query."""
    ones = np.ones(len(own))
    scaled: Array = values * (ratio(ones, np.sqrt(own)) if graded == "cosine" else ones)[:, None]
    return scaled


def _leave_out(found: GradedCounts, comparison: Comparison, rows: slice, sizes: Array | None) -> None:
    """Take the excluded row of each query in ``rows`` out of the counts."""
    labels, excluded = comparison.labels, comparison.excluded
    assert excluded is not None
    assert labels.query_rows is not None
    assert labels.database_rows is not None
    queries, wanted = comparison.query_codes[rows], labels.query_rows[rows]
    for i, row in enumerate(excluded[rows].tolist()):
        if row >= 0:
            difference: Array = np.bitwise_xor(queries[i], comparison.database_codes[row])
            common: Array = np.bitwise_and(wanted[i], labels.database_rows[row])
            counts = found[0 if sizes is None else int(sizes[row])]
            counts[i, int(np.unpackbits(difference).sum()), int(common.sum())] -= 1


def _joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _exponential(grades: Array) -> Array:
    gain: Array = np.exp2(grades) - 1
    return gain


def _linear(grades: Array) -> Array:
    return grades


def _is_relevant(grades: Array) -> Array:
    return (grades > 0).astype(np.int64)
