"""Statistics of codes and classification by votes against plain loops."""

import collections
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import Sample, random_codes, samples

import dmth_fast as df
from dmth_fast.retrieval import reference
from dmth_fast.retrieval.classification import classify_by_vote
from dmth_fast.retrieval.metrics import TIES
from dmth_fast.retrieval.statistics import code_statistics


@given(samples(max_bits=12))
def test_distances_within_and_between_classes(sample: Sample):
    found = code_statistics(sample.codes, sample.bits, sample.database_labels)
    intra, inter = np.zeros(sample.bits + 1, int), np.zeros(sample.bits + 1, int)
    distances = reference.hamming_distances(sample.codes, sample.codes)
    for i, j in itertools.combinations(range(len(sample.codes)), 2):
        a, b = sample.database_labels[i], sample.database_labels[j]
        same = a == b if sample.database_labels.ndim == 1 else (a & b).any()
        (intra if same else inter)[distances[i, j]] += 1
    np.testing.assert_array_equal(found.intra_class, intra)
    np.testing.assert_array_equal(found.inter_class, inter)


def test_balance_correlation_and_entropy():
    rng = np.random.default_rng(0)
    codes = random_codes(rng, 500, 10)
    codes[:, 0] |= 1  # bit 0 is constant
    bits = df.unpack(codes, 10).astype(float)
    found = code_statistics(codes, 10)
    np.testing.assert_allclose(found.bit_balance, bits.mean(axis=0))
    np.testing.assert_allclose(found.bit_correlation[1:, 1:], np.corrcoef(bits[:, 1:].T), atol=1e-6)
    assert not found.bit_correlation[0].any()
    assert found.mean_absolute_correlation < 0.1
    shares = np.array(list(collections.Counter(map(bytes, codes)).values())) / 500
    np.testing.assert_allclose(found.code_entropy, -(shares * np.log2(shares)).sum())
    assert found.num_distinct == len(shares)
    assert 0.85 < found.bit_entropy < 0.9
    assert found.intra_class is None


def test_one_bit_has_no_pairs():
    assert code_statistics(np.array([[0], [1]], np.uint8), 1).mean_absolute_correlation == 0.0


@given(samples(), st.integers(1, 70))
def test_votes(sample: Sample, k):
    labels = (
        sample.database_labels if sample.database_labels.ndim == 1 else sample.database_labels.sum(axis=1)
    )
    predicted = classify_by_vote(sample.queries, sample.codes, labels, k)
    _, ids = reference.search(sample.codes, sample.queries, k)
    for row, winner in zip(ids, predicted, strict=True):
        votes = collections.Counter(labels[row].tolist())  # keeps the order of first appearance
        assert winner == max(votes, key=lambda label: votes[label])


def winners(labels):
    votes = collections.Counter(labels)
    return {label for label, count in votes.items() if count == max(votes.values())}


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=7),
    st.integers(1, 8),
    st.integers(0, 4),
)
def test_vote_accuracy_is_the_mean_over_orders_of_ties(items, k, wanted):
    """Every order of equal distances, one by one; classes with equal votes are drawn by lot."""
    distances, labels = np.array(items).T
    codes = ((1 << distances) - 1).astype(np.uint8)[:, None]  # 0, 1 and 2 bits from the query's zeros
    query = (np.zeros((1, 1), np.uint8), np.array([wanted]), codes, labels)
    best = [
        winners(labels[order[:k]].tolist())
        for order in reference.rankings(distances, np.zeros(len(items)), "expected")
    ]
    expected = {
        "expected": np.mean([(wanted in found) / len(found) for found in best]),
        "optimistic": max(wanted in found for found in best),
        "pessimistic": min(found == {wanted} for found in best),
        "stable": df.classify_by_vote(query[0], codes, labels, k)[0] == wanted,
    }
    for ties, value in expected.items():
        np.testing.assert_allclose(df.vote_accuracy(*query, k, ties=ties), [value], rtol=1e-12, err_msg=ties)


def test_vote_accuracy_of_many():
    """A random order many times over agrees, and the bounds hold."""
    rng = np.random.default_rng(1)
    codes, labels = random_codes(rng, 300, 6), rng.integers(0, 5, 300)
    found = {ties: df.vote_accuracy(codes[:20], labels[:20], codes, labels, 15, ties=ties) for ties in TIES}
    drawn = []
    for _ in range(300):
        order = rng.permutation(300)
        distances = reference.hamming_distances(codes[order], codes[:20])
        near = labels[order][np.argsort(distances, axis=1, kind="stable")[:, :15]]
        best = [winners(row.tolist()) for row in near]
        drawn.append([(label in won) / len(won) for label, won in zip(labels[:20], best, strict=True)])
    deviation = np.std(drawn, axis=0) / np.sqrt(len(drawn))
    assert (np.abs(found["expected"] - np.mean(drawn, axis=0)) <= 5 * deviation + 0.01).all()
    assert (found["pessimistic"] <= found["expected"] + 1e-12).all()
    assert (found["expected"] <= found["optimistic"] + 1e-12).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c, y: df.vote_accuracy(c, y, c, y, 1, ties="random"), ValueError, "ties must be one of"),
        (lambda c, y: df.vote_accuracy(c, y[:2], c, y, 1), ValueError, "query_labels must have shape"),
        (lambda c, y: df.vote_accuracy(c, y, c[:0], y[:0], 1), ValueError, "must hold at least one code"),
        (lambda c, y: df.vote_accuracy(c, y, c, y.astype(float), 1), TypeError, "database_labels must be"),
        (
            lambda c, y: classify_by_vote(c, c[:0], y[:0], 1),
            ValueError,
            "database_codes must hold at least one",
        ),
        (lambda c, y: classify_by_vote(c, c, y, 0), ValueError, "k must be"),
        (
            lambda c, _: classify_by_vote(c, c, np.eye(4, dtype=int), 1),
            ValueError,
            "must be class ids of shape",
        ),
        (lambda c, _: code_statistics(c[:0], 8), ValueError, "at least one code"),
        (lambda c, y: code_statistics(c, 8, y[:2]), ValueError, "labels must have shape"),
        (lambda c, _: code_statistics(c.astype(float), 8), TypeError, "codes must be uint8"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(np.zeros((4, 1), np.uint8), np.zeros(4, int))


def test_ramap_is_the_mean_precision_over_radii():
    codes, labels = np.array([[0], [1], [3]], np.uint8), np.array([0, 1, 0])
    report = df.evaluate(codes[:1], labels[:1], codes, labels, bits=2)
    np.testing.assert_allclose(report.ramap, (1 + 1 / 2 + 2 / 3) / 3)
