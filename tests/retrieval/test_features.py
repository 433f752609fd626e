"""Evaluation of features: codes as vectors give the report of codes; real values give the naive loop's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import Sample, samples

import dmth_fast as df
from dmth_fast.retrieval import features, metrics, reference
from dmth_fast.retrieval.features import evaluate_features


@given(
    samples(),
    st.sampled_from(metrics.TIES),
    st.sampled_from(["cosine", "l2", "dot"]),
    st.sampled_from([None, 4]),
    st.sampled_from(metrics.NORMALIZERS),
    st.booleans(),
)
def test_signs_as_features_are_codes(sample: Sample, ties, metric, top_k, normalizer, exclude):
    """Distances of +-1 vectors are Hamming distances, ties included."""
    codes, queries = (2.0 * df.unpack(part, sample.bits) - 1.0 for part in (sample.codes, sample.queries))
    choice = {"ties": ties, "top_k": top_k, "normalizer": normalizer, "precision_at": [1, 5]}
    if exclude:
        choice["exclude"] = np.arange(len(queries)) % (len(codes) + 1) - 1
    found = evaluate_features(
        queries,
        sample.query_labels,
        np.round(codes),
        sample.database_labels,
        metric="l2" if metric == "cosine" else metric,
        **choice,
    )
    expected = df.evaluate(
        sample.queries, sample.query_labels, sample.codes, sample.database_labels, bits=sample.bits, **choice
    )
    assert set(expected.per_query) - set(found.per_query) == {"radius_aware_ap", "radius_aware_ap_by_cost"}
    for name, values in expected.per_query.items():
        if name not in found.per_query:
            continue
        np.testing.assert_allclose(found.per_query[name], values, rtol=1e-11, err_msg=name)
    np.testing.assert_allclose(found.map_interval, expected.map_interval)
    np.testing.assert_allclose(found.interpolated, expected.interpolated)
    assert found.ramap is None
    assert "RAMAP" not in str(found)


@pytest.mark.parametrize("pairs", [2**22, 100])
def test_real_values_in_blocks(monkeypatch, pairs):
    monkeypatch.setattr(features, "_PAIRS_AT_ONCE", pairs)
    rng = np.random.default_rng(0)
    items, queries = rng.standard_normal((80, 6)), rng.standard_normal((9, 6))
    items[7] = items[3]  # one tie
    labels, query_labels = rng.integers(0, 3, 80), rng.integers(0, 3, 9)
    distances = {
        "l2": ((queries[:, None] - items[None]) ** 2).sum(axis=2),
        "dot": -(queries @ items.T),
        "cosine": -(queries @ items.T)
        / np.linalg.norm(items, axis=1)
        / np.linalg.norm(queries, axis=1)[:, None],
    }
    for metric, naive in distances.items():
        report = evaluate_features(
            queries, query_labels, items, labels, metric=metric, top_k=30, ties="stable"
        )
        for i in range(9):
            gains = (labels == query_labels[i])[np.lexsort((np.arange(80), np.round(naive[i], 9)))].astype(
                float
            )
            np.testing.assert_allclose(
                report.average_precision[i], reference.average_precision(gains.tolist(), 30)
            )


@pytest.mark.parametrize("metric", features.METRICS)
@pytest.mark.parametrize("pairs", [2**22, 3000, 1])
def test_equal_items_tie(monkeypatch, metric, pairs):
    """As equal codes do, however the matrix product rounds their columns."""
    monkeypatch.setattr(features, "_PAIRS_AT_ONCE", pairs)
    rng = np.random.default_rng(0)
    items, labels = np.repeat(rng.standard_normal((1, 17)), 1003, axis=0), np.arange(1003) // 1000
    items[:, 0], items[::2, 0] = 0.0, -0.0
    own = np.ones(20, int)
    found = evaluate_features(rng.standard_normal((20, 17)), own, items, labels, metric=metric)
    codes = np.zeros((1003, 1), np.uint8)
    expected = df.evaluate(codes[:20], own, codes, labels)
    np.testing.assert_allclose(found.average_precision, expected.average_precision, rtol=1e-12)
    np.testing.assert_allclose(found.map_interval, expected.map_interval, rtol=1e-12)


def test_leave_one_out():
    rng = np.random.default_rng(3)
    values, labels = rng.standard_normal((30, 5)), rng.integers(0, 3, 30)
    values[7] = values[3]
    report = evaluate_features(values, labels, values, labels, exclude="self", precision_at=[4])
    for i in range(30):
        rest = np.delete(np.arange(30), i)
        alone = evaluate_features(values[[i]], labels[[i]], values[rest], labels[rest], precision_at=[4])
        for name, found in alone.per_query.items():
            np.testing.assert_allclose(report.per_query[name][i], found[0], rtol=1e-12, err_msg=name)


def test_tensors_and_other_float_types():
    import torch

    rng = np.random.default_rng(1)
    values, labels = rng.standard_normal((20, 4)).astype(np.float32), rng.integers(0, 2, 20)
    arrays = evaluate_features(values, labels, values, labels)
    tensors = evaluate_features(*(torch.from_numpy(part) for part in (values, labels, values, labels)))
    assert arrays.to_json(per_query=True) == tensors.to_json(per_query=True)


VALUES, LABELS = np.ones((3, 2)), np.array([0, 1, 1])


@pytest.mark.parametrize(
    ("place", "bad", "error", "message"),
    [
        (0, VALUES.astype(int), TypeError, "query_features must be floating point"),
        (2, VALUES[0], ValueError, r"database_features must have shape \(n, d\)"),
        (2, VALUES[:0], ValueError, "database_features must have shape"),
        (0, np.array([[0.0, np.nan]] * 3), ValueError, "query_features must be finite, got nan in row 0"),
        (2, np.array([[1.0, 1.0], [0.0, np.inf], [0, 0]]), ValueError, "database_features must be finite"),
        (2, np.array([[1.0, 1.0], [0, 1e200], [1, 1]]), ValueError, r"of length 6\.7e\+153 at most.* row 1"),
        (0, np.full((3, 2), -1e154), ValueError, "query_features must have vectors of length"),
        (0, np.zeros((3, 2)), ValueError, "no zero vector under metric='cosine', got one in row 0"),
        (0, np.ones((3, 5)), ValueError, "query_features must have the 2 columns"),
        (1, LABELS[:1], ValueError, "query_labels must have shape"),
    ],
)
def test_bad_features_are_named(place, bad, error, message):
    arguments = [VALUES, LABELS, VALUES, LABELS]
    arguments[place] = bad
    with pytest.raises(error, match=message):
        evaluate_features(*arguments)


@pytest.mark.parametrize("metric", features.METRICS)
def test_the_longest_vectors_have_finite_scores(metric):
    values = np.array([[6e153, 0.0], [0.0, 6e153], [-6e153, 0.0]])
    report = evaluate_features(values, LABELS, values, LABELS, metric=metric, ties="stable")
    np.testing.assert_allclose(report.per_query["first_rank"], 1)


def test_unknown_metric():
    with pytest.raises(ValueError, match="metric must be one of 'cosine', 'l2', 'dot'"):
        evaluate_features(VALUES, LABELS, VALUES, LABELS, metric="l1")
