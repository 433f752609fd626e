"""Closed forms over ties against every order of equal distances, one by one."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmth_fast.retrieval import metrics, reference
from dmth_fast.retrieval.harmonic import cumulated_discounts, harmonic_difference
from dmth_fast.retrieval.rankings import StrictRankings, TiedRankings, hypergeometric

# Up to 7 items in up to 3 groups: 5,040 orders at most.
ITEMS = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=7)
TIED_RULES = ("expected", "optimistic", "pessimistic")


def arrays(items):
    distances = np.array([distance for distance, _ in items])
    return distances, np.array([relevant for _, relevant in items], dtype=np.float64)


def tied(items) -> TiedRankings:
    distances, gains = arrays(items)
    return TiedRankings(
        every=np.bincount(distances, minlength=4)[None],
        relevant=np.bincount(distances[gains > 0], minlength=4)[None],
    )


def strict(items) -> StrictRankings:
    distances, gains = arrays(items)
    ranks = np.flatnonzero(gains[np.argsort(distances, kind="stable")]) + 1
    return StrictRankings(offsets=np.array([0, len(ranks)]), ranks=ranks, num_items=np.array([len(items)]))


def ranked(items, ties):
    if ties == "stable":
        return strict(items)
    return tied(items) if ties == "expected" else tied(items).ordered(ties)


def enumerated(items, ties, metric):
    return reference.mean_over_rankings(*arrays(items), ties, metric)


@pytest.mark.parametrize("normalizer", metrics.NORMALIZERS)
@pytest.mark.parametrize("ties", metrics.TIES)
@settings(max_examples=40)
@given(ITEMS, st.one_of(st.none(), st.integers(1, 9)))
def test_average_precision(ties, normalizer, items, top_k):
    expected = enumerated(items, ties, lambda gains: reference.average_precision(gains, top_k, normalizer))
    found = metrics.average_precision(ranked(items, ties), top_k, normalizer)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


CUT = {"precision_at": metrics.precision_at, "recall_at": metrics.recall_at, "ndcg_at": metrics.ndcg_at}


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("ties", metrics.TIES)
@settings(max_examples=30)
@given(ITEMS, st.integers(1, 9))
def test_metrics_at_k(ties, name, items, k):
    rule = {
        "precision_at": reference.precision_at,
        "recall_at": reference.recall_at,
        "ndcg_at": reference.ndcg,
    }[name]
    expected = enumerated(items, ties, lambda gains: rule(gains, k))
    np.testing.assert_allclose(CUT[name](ranked(items, ties), k), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("ties", metrics.TIES)
@settings(max_examples=40)
@given(ITEMS)
def test_metrics_without_a_cut(ties, items):
    rankings = ranked(items, ties)
    for found, rule in (
        (metrics.r_precision(rankings), reference.r_precision),
        (metrics.map_at_r(rankings), reference.map_at_r),
        (rankings.reciprocal_rank(), reference.reciprocal_rank),
        (rankings.first_rank(), reference.first_relevant_rank),
    ):
        np.testing.assert_allclose(found, enumerated(items, ties, rule), rtol=1e-13, atol=1e-15)


@given(ITEMS)
def test_balls(items):
    distances, gains = arrays(items)
    precision, recall = metrics.precision_within(tied(items))[0], metrics.recall_within(tied(items))[0]
    for radius in range(4):
        np.testing.assert_allclose(precision[radius], reference.precision_within(distances, gains, radius))
        np.testing.assert_allclose(recall[radius], reference.recall_within(distances, gains, radius))


@pytest.mark.parametrize("normalizer", ["relevant", "min"])
def test_ties_first_and_last_bound_the_expectation(normalizer):
    rng = np.random.default_rng(0)
    every = rng.integers(0, 50, (100, 9))
    rankings = TiedRankings(every=every, relevant=rng.binomial(every, 0.3))
    low, middle, high = (
        metrics.average_precision(part, 60, normalizer)
        for part in (rankings.ordered("pessimistic"), rankings, rankings.ordered("optimistic"))
    )
    assert (low <= middle + 1e-12).all()
    assert (middle <= high + 1e-12).all()
    assert (low < high - 1e-3).any()


@pytest.mark.parametrize(
    ("before", "n", "relevant"), [(0, 100_000, 3), (10_000_000, 3, 1), (10_000_000, 50_000, 49_999)]
)
def test_large_groups_keep_their_digits(before, n, relevant):
    """One group deep in a long ranking, in exact integers and compensated sums."""
    rankings = TiedRankings(every=np.array([[before, n]]), relevant=np.array([[0, relevant]]))
    rho = (relevant - 1) / (n - 1)
    exact = math.fsum((1 + (i - 1) * rho) / (before + i) for i in range(1, n + 1)) * relevant / n / relevant
    np.testing.assert_allclose(metrics.average_precision(rankings, None, "relevant"), exact, rtol=1e-11)


def test_large_cut_group_with_the_retrieved_normalizer():
    """Hundreds of draws cannot underflow, and a mean over random orders agrees."""
    rankings = TiedRankings(every=np.array([[10, 1500]]), relevant=np.array([[5, 400]]))
    found = metrics.average_precision(rankings, 710, "retrieved")[0]
    rng = np.random.default_rng(1)
    values = []
    for _ in range(100):
        order = [*rng.permutation(np.arange(10) < 5), *rng.permutation(np.arange(1500) < 400)]
        values.append(reference.average_precision(np.array(order, dtype=float).tolist(), 710, "retrieved"))
    assert abs(found - np.mean(values)) < 5 * np.std(values) / math.sqrt(100)


@given(st.integers(1, 12), st.integers(0, 12), st.integers(1, 12))
def test_hypergeometric_counts_subsets(items, marked, draws):
    marked, draws = min(marked, items), min(draws, items)
    counts = [sum(i < marked for i in subset) for subset in itertools.combinations(range(items), draws)]
    m, probability = hypergeometric(items, marked, draws)
    np.testing.assert_allclose(probability, [counts.count(int(i)) / len(counts) for i in m], rtol=1e-13)
    assert sorted(set(counts)) == m.tolist()


def test_hypergeometric_of_many():
    m, probability = hypergeometric(10_000_000, 3_000_000, 100_000)
    np.testing.assert_allclose((m * probability).sum(), 30_000, rtol=1e-10)


@given(st.integers(0, 200), st.integers(0, 300))
def test_harmonic_difference(start, length):
    exact = math.fsum(1 / i for i in range(start + 1, start + length + 1))
    np.testing.assert_allclose(
        harmonic_difference(np.array(start), np.array(start + length)), exact, rtol=2e-14, atol=0
    )


def test_harmonic_difference_far_out():
    exact = math.fsum(1 / i for i in range(10**9 + 1, 10**9 + 101))
    np.testing.assert_allclose(harmonic_difference(np.array(10**9), np.array(10**9 + 100)), exact, rtol=1e-13)


def test_cumulated_discounts():
    expected = [sum(1 / math.log2(1 + rank) for rank in range(1, n + 1)) for n in range(6)]
    np.testing.assert_allclose(cumulated_discounts(5), expected, rtol=1e-15)
