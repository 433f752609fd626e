"""What is known of each query's ranking, and the sums over ranks that every metric is made of.

A tied ranking is two (or three) histograms over distance and leaves the order inside a distance open;
a strict ranking is the ranks of the relevant items. Both answer the same questions, so a metric is
written once. Expectations over the open orders are exact and in closed form, O(bits) a query.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import Array
from dmth_fast.retrieval.harmonic import cumulated_discounts, harmonic_difference


class Rankings(Protocol):
    """One ranking of ``num_items`` items for each of q queries."""

    @property
    def num_items(self) -> Array:
        """(q,) int64, items in the ranking."""
        ...

    @property
    def num_relevant(self) -> Array:
        """(q,) int64, relevant items in the ranking."""
        ...

    def hits_within(self, k: Array) -> Array:
        """(q,) float64, relevant items among the first ``k`` (q,)."""
        ...

    def precision_sum(self, k: Array) -> Array:
        """(q,) float64, the sum of the precisions at the relevant ranks up to ``k`` (q,)."""
        ...

    def mean_precision(self, k: Array) -> Array:
        """(q,) float64, their mean; 0 where no relevant item is among the first ``k``."""
        ...

    def discounted_hits(self, k: Array) -> Array:
        """(q,) float64, the sum of 1 / log2(1 + rank) over the relevant ranks up to ``k`` (q,)."""
        ...

    def first_rank(self) -> Array:
        """(q,) float64, rank of the first relevant item; infinity where there is none."""
        ...

    def reciprocal_rank(self) -> Array:
        """(q,) float64, 1 over that rank; 0 where there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class TiedRankings:
    """Rankings known up to the order inside each group of ties; answers are expectations over them.

    Sums are made natively, queries in parallel; those of graded gains once over whole groups, to which a
    cut-off adds its share of the group that it straddles.

    Attributes:
        every: (q, groups) int64, items in each group, groups in ranked order.
        relevant: (q, groups) int64, the relevant ones among them.
        gains: (q, groups) float64, their summed gains where relevance is graded; None counts 1 each.
        ties: "expected" over all orders inside a group, or relevant items last ("pessimistic") or first
            ("optimistic"): then they are a group of their own, in which nothing is random.
        totals: (q,) int64 items and relevant items, where they are known already.
        threads: threads to use; None for all cores.
    """

    every: Array
    relevant: Array
    gains: Array | None = None
    ties: str = "expected"
    totals: tuple[Array, Array] | None = None
    threads: int | None = None

    @cached_property
    def num_items(self) -> Array:
        """(q,) int64."""
        count: Array = self.every.sum(axis=1) if self.totals is None else self.totals[0]
        return count

    @cached_property
    def num_relevant(self) -> Array:
        """(q,) int64."""
        count: Array = self.relevant.sum(axis=1) if self.totals is None else self.totals[1]
        return count

    def ordered(self, ties: str) -> "TiedRankings":
        """The same with relevant items first ("optimistic") or last ("pessimistic") in each group."""
        return TiedRankings(
            every=self.every,
            relevant=self.relevant,
            ties=ties,
            totals=(self.num_items, self.num_relevant),
            threads=self.threads,
        )

    def hits_within(self, k: Array) -> Array:
        """E = N+_{d-1} + (K - N_{d-1}) n+_d / n_d in the group d that straddles K."""
        if self.gains is None:
            return self._sums(k, precisions=False)[0]
        rows, groups, taken = self._straddling(k)
        share = ratio(self.relevant[rows, groups], self._sizes[rows, groups])
        hits: Array = self._hits_before[rows, groups] + taken * share
        return hits

    def precision_sum(self, k: Array) -> Array:
        """The closed form of McSherry & Najork (ECIR 2008); He et al. (CVPR 2018).

        ``sum_d (n+/n) { [G + g - g rho (N + 1)] (H_{N + s} - H_N) + g rho s }`` with N items and G
        gains before group d, s = min(n, K - N) its ranks within K, rho = (n+ - 1) / (n - 1), and g the
        mean gain of its relevant items. Where relevance is not graded, g = 1 and G = N+.
        """
        if self.gains is None:
            return self._sums(k, precisions=True)[1]
        rows, groups, taken = self._straddling(k)
        whole = taken == self._sizes[rows, groups]
        value: Array = self._precision_before[rows, groups + whole]
        cut = np.flatnonzero(~whole & (self.relevant[rows, groups] > 0))
        value[cut] += self._precision_terms(rows[cut], groups[cut], taken[cut])
        return value

    def mean_precision(self, k: Array) -> Array:
        """The expected ratio of the precision sum and the number of hits, both random in one group.

        Given m relevant items in the s ranks of the straddling group, the closed form holds with
        share m / s and rho = (m - 1) / (s - 1); m is hypergeometric.
        """
        rows, groups, taken = self._straddling(k)
        n, relevant, before = (part[rows, groups] for part in (self._sizes, self.relevant, self._before))
        random = (taken < n) & (relevant > 0) & (relevant < n)
        hits = self._hits_before[rows, groups] + np.minimum(taken, relevant) * ~random
        whole = self._precision_before[rows, groups] if self.gains is not None else self.precision_sum(before)
        total = np.where(random, whole, self.precision_sum(k))
        value = ratio(total, hits)
        earned, g = self._gains_before[rows, groups], self._mean_gain(rows, groups)
        for i in np.flatnonzero(random):
            slots, rank = int(taken[i]), int(before[i])
            m, probability = hypergeometric(int(n[i]), int(relevant[i]), slots)
            rho = ratio(np.maximum(m - 1, 0), np.full(m.shape, slots - 1))
            step = float(harmonic_difference(np.array(rank), np.array(rank + slots)))
            inside = (m / slots) * ((earned[i] + g[i] * (1 - rho * (rank + 1))) * step + g[i] * rho * slots)
            value[i] = (probability * ratio(total[i] + inside, hits[i] + m)).sum()
        return value

    def gains_within(self, k: Array) -> Array:
        """As :meth:`hits_within`, of gains."""
        rows, groups, taken = self._straddling(k)
        gains = self.relevant if self.gains is None else self.gains
        total: Array = self._gains_before[rows, groups] + taken * ratio(
            gains[rows, groups], self._sizes[rows, groups]
        )
        return total

    def discounted_hits(self, k: Array) -> Array:
        """The relevant share of each group times the discounts of its ranks."""
        cutoffs = _whole(k)
        discounts = cumulated_discounts(int(cutoffs.max(initial=0)))
        return native.tied_discounts(
            *self.whole_groups, cutoffs, discounts, ties=self.ties, threads=self.threads
        )

    def first_rank(self) -> Array:
        """N + (n + 1) / (n+ + 1) in the first group with a relevant item: the mean of a minimum."""
        return self._firsts[0]

    def reciprocal_rank(self) -> Array:
        """``sum_x P(x) / (N + x)``, P(x) = C(n - x, n+ - 1) / C(n, n+) that x is the first hit."""
        return self._firsts[1]

    @cached_property
    def _firsts(self) -> tuple[Array, Array]:
        """The first relevant item's rank, and the mean of 1 / rank."""
        return native.tied_firsts(*self.whole_groups, ties=self.ties, threads=self.threads)

    def _sums(self, k: Array, *, precisions: bool) -> tuple[Array, Array]:
        """Hits within ``k``, and the sum of their precisions."""
        return native.tied_sums(
            *self.whole_groups, _whole(k), ties=self.ties, precisions=precisions, threads=self.threads
        )

    @cached_property
    def whole_groups(self) -> tuple[Array, Array]:
        """(q, groups) int64, twice: both histograms, contiguous as the native verbs take them."""
        return _whole(self.every), _whole(self.relevant)

    @property
    def _sizes(self) -> Array:
        """(q, groups): items in each group."""
        return self.every if self.ties == "expected" else self.relevant

    @cached_property
    def _before(self) -> Array:
        """(q, groups): items before each group."""
        after: Array = np.cumsum(self.every, axis=1)
        return after - (self.relevant if self.ties == "pessimistic" else self.every)

    @cached_property
    def _hits_before(self) -> Array:
        """(q, groups) int64: relevant items before each group."""
        return np.cumsum(self.relevant, axis=1) - self.relevant

    @cached_property
    def _gains_before(self) -> Array:
        """(q, groups): summed gain before each group."""
        if self.gains is None:
            return self._hits_before
        before: Array = np.cumsum(self.gains, axis=1, dtype=np.float64) - self.gains
        return before

    @cached_property
    def _precision_before(self) -> Array:
        """(q, groups + 1) float64: terms of :meth:`precision_sum` of all whole groups before each."""
        rows, groups = np.nonzero(self.relevant)
        terms = np.zeros((len(self.every), self.every.shape[1] + 1))
        terms[rows, groups + 1] = self._precision_terms(rows, groups, self._sizes[rows, groups])
        return np.cumsum(terms, axis=1, out=terms)

    def _mean_gain(self, rows: Array, groups: Array) -> Array:
        """Mean gain of the relevant items of some groups."""
        if self.gains is None:
            return np.ones(rows.shape)
        return ratio(self.gains[rows, groups], self.relevant[rows, groups])

    def _straddling(self, k: Array) -> tuple[Array, Array, Array]:
        """Rows, the last group of each that begins within ``k``, and its items within."""
        rows = np.arange(len(k))
        groups = np.maximum(np.count_nonzero(self._before < k[:, None], axis=1) - 1, 0)
        return rows, groups, np.clip(k - self._before[rows, groups], 0, self._sizes[rows, groups])

    def _precision_terms(self, rows: Array, groups: Array, taken: Array) -> Array:
        """The terms of :meth:`precision_sum` for ``taken`` ranks of some groups."""
        parts = (self._sizes, self.relevant, self._before, self._gains_before)
        n, relevant, before, earned = (part[rows, groups].astype(np.float64) for part in parts)
        rho = (relevant - 1) / np.maximum(n - 1, 1)
        step = harmonic_difference(before, before + taken)
        g = 1.0 if self.gains is None else self._mean_gain(rows, groups)
        terms: Array = relevant / n * ((earned + g * (1 - rho * (before + 1))) * step + g * rho * taken)
        return terms


@dataclass(frozen=True, kw_only=True)
class StrictRankings:
    """Rankings without ties, known by the ranks of their relevant items (CSR).

    Attributes:
        offsets: (q + 1,) int64.
        ranks: (offsets[-1],) int64, 1-based, ascending for each query.
        num_items: (q,) int64.
        threads: threads to use; None for all cores.
    """

    offsets: Array
    ranks: Array
    num_items: Array
    threads: int | None = None

    @property
    def num_relevant(self) -> Array:
        """(q,) int64."""
        return np.diff(self.offsets)

    def hits_within(self, k: Array) -> Array:
        """A count."""
        return self._sums(k)[0].astype(np.float64)

    def precision_sum(self, k: Array) -> Array:
        """The j-th relevant item at rank r has precision j / r."""
        return self._sums(k)[1]

    def mean_precision(self, k: Array) -> Array:
        """A plain ratio."""
        hits, precisions = self._sums(k)
        return ratio(precisions, hits)

    def discounted_hits(self, k: Array) -> Array:
        """A plain sum."""
        hits = self._sums(k)[0]
        owner = np.repeat(np.arange(len(hits)), hits)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(hits) - hits, hits)
        ranks = self.ranks[self.offsets[owner] + place]
        return np.bincount(owner, 1.0 / np.log2(1.0 + ranks), minlength=len(hits))

    def first_rank(self) -> Array:
        """The first of each row."""
        value = np.full(len(self.num_items), np.inf)
        found = self.num_relevant > 0
        value[found] = self.ranks[self.offsets[:-1][found]]
        return value

    def reciprocal_rank(self) -> Array:
        """1 / infinity is 0 where there is none."""
        return 1.0 / self.first_rank()

    def _sums(self, k: Array) -> tuple[Array, Array]:
        """(q,) hits within ``k``, and the sum of their precisions."""
        return native.rank_sums(self.offsets, self.ranks, _whole(k), threads=self.threads)


def hypergeometric(items: int, marked: int, draws: int) -> tuple[Array, Array]:
    """The possible numbers of marked items among ``draws`` out of ``items``, and their probabilities.

    Probabilities are built from the ratio of neighbours, in logarithms relative to the largest, so that
    neither a factorial nor an underflow appears at any size.

    >>> m, p = hypergeometric(4, 2, 2)
    >>> m.tolist(), p.round(4).tolist()
    ([0.0, 1.0, 2.0], [0.1667, 0.6667, 0.1667])
    """
    low, high = max(0, draws - (items - marked)), min(draws, marked)
    m = np.arange(low, high + 1, dtype=np.float64)
    up = (marked - m[:-1]) * (draws - m[:-1])
    down = (m[:-1] + 1) * (items - marked - draws + m[:-1] + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(up / down))])
    weights = np.exp(logs - logs.max())
    return m, weights / weights.sum()


def discounted_sum(every: Array, gains: Array, k: Array) -> Array:
    """(q,) expected DCG@K: ``sum_d (G_d / n_d) (CD(N_d) - CD(N_{d-1}))``, N_d cut at K.

    Args:
        every: (q, groups) items in each group of ties.
        gains: (q, groups) float64, the summed gain of each group.
        k: (q,) cut-offs.
    """
    before = np.cumsum(every, axis=1) - every
    end = np.minimum(before + every, k[:, None])
    discounts = cumulated_discounts(int(end.max(initial=0)))
    step = discounts[end] - discounts[np.minimum(before, end)]
    value: Array = (ratio(gains, every) * step).sum(axis=1)
    return value


def _whole(array: Array) -> Array:
    """int64 and contiguous, as the native verbs take it."""
    return np.ascontiguousarray(array, dtype=np.int64)


def ratio(numerator: Array, denominator: Array) -> Array:
    """``numerator / denominator``, 0 where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    zero = np.zeros(shape)
    return np.divide(
        numerator, denominator, out=zero, where=np.broadcast_to(np.not_equal(denominator, 0), shape)
    )
