"""Graded relevance against every order of equal distances, one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import Sample, samples

import dmth_fast as df
from dmth_fast.retrieval import metrics, reference

TINY = samples(max_items=6, max_queries=3, max_bits=3)


def naive_grades(sample: Sample, graded: str):
    if sample.query_labels.ndim == 1:
        return (sample.query_labels[:, None] == sample.database_labels[None]).astype(float)
    query, items = sample.query_labels.astype(float), sample.database_labels.astype(float)
    shared = query @ items.T
    if graded == "shared":
        return shared
    sizes = np.outer(np.linalg.norm(query, axis=1), np.linalg.norm(items, axis=1))
    return np.divide(shared, sizes, out=np.zeros_like(shared), where=sizes > 0)


@pytest.mark.parametrize("ties", metrics.TIES)
@settings(max_examples=25)
@given(
    TINY, st.sampled_from(["shared", "cosine"]), st.sampled_from(["exponential", "linear"]), st.integers(1, 8)
)
def test_graded_metrics(ties, sample: Sample, graded, gain, k):
    report = df.evaluate(
        sample.queries,
        sample.query_labels,
        sample.codes,
        sample.database_labels,
        bits=sample.bits,
        ties=ties,
        precision_at=[k],
        graded=graded,
        gain=gain,
    )
    distances = reference.hamming_distances(sample.codes, sample.queries)
    grades = naive_grades(sample, graded)
    for i in range(len(grades)):
        # Equal cosines that differ in their last digit must not be told apart by the order of ties.
        gains = np.round(grades[i], 12)
        scaled = np.exp2(gains) - 1 if gain == "exponential" else gains
        for name, values, rule in (
            (f"ndcg_at_{k}", scaled, reference.ndcg),
            (f"acg_at_{k}", gains, reference.acg),
            (f"wap_at_{k}", gains, reference.wap),
        ):
            expected = reference.mean_over_rankings(
                distances[i], values, ties, lambda ranked, rule=rule: rule(ranked, k)
            )
            np.testing.assert_allclose(
                report.per_query[name][i], expected, rtol=1e-10, atol=1e-12, err_msg=name
            )


def test_graded_leave_one_out_drops_the_own_row():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 8, (12, 1)).astype(np.uint8)
    rows = rng.random((12, 4)) < 0.4
    for ties in metrics.TIES:
        choice = {"ties": ties, "precision_at": [3], "graded": "shared"}
        report = df.evaluate(codes, rows, codes, rows, exclude="self", **choice)
        for i in range(12):
            rest = np.delete(np.arange(12), i)
            alone = df.evaluate(codes[[i]], rows[[i]], codes[rest], rows[rest], **choice)
            for name in ("ndcg_at_3", "acg_at_3", "wap_at_3"):
                np.testing.assert_allclose(report.per_query[name][i], alone.per_query[name][0], err_msg=name)


@pytest.mark.parametrize("graded", ["shared", "cosine"])
def test_blocks_of_queries_change_nothing(monkeypatch, graded):
    rng = np.random.default_rng(2)
    codes, rows = rng.integers(0, 256, (90, 2)).astype(np.uint8), rng.random((90, 7)) < 0.3
    choice = {"precision_at": [5, 20], "graded": graded, "exclude": "self"}
    whole = {ties: df.evaluate(codes, rows, codes, rows, ties=ties, **choice) for ties in metrics.TIES}
    monkeypatch.setattr("dmth_fast.retrieval.graded._NUMBERS_AT_ONCE", 40)
    for ties, report in whole.items():
        found = df.evaluate(codes, rows, codes, rows, ties=ties, **choice)
        assert found.to_json(per_query=True) == report.to_json(per_query=True)


def test_binary_grades_give_the_binary_ndcg():
    rng = np.random.default_rng(1)
    codes, labels = rng.integers(0, 256, (90, 1)).astype(np.uint8), rng.integers(0, 4, 90)
    binary = df.evaluate(codes, labels, codes, labels, precision_at=[20])
    graded = df.evaluate(codes, labels, codes, labels, precision_at=[20], graded="shared")
    np.testing.assert_allclose(graded.ndcg_at[20], binary.ndcg_at[20], rtol=1e-13)
    np.testing.assert_allclose(graded.acg_at[20], binary.precision_at[20], rtol=1e-13)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"graded": "overlap"}, "graded must be one of"),
        ({"graded": "shared", "gain": "cubic"}, "gain must be one of"),
        ({"gain": "linear"}, "gain must be left alone"),
        ({"graded": "cosine", "precision_at": []}, "precision_at must name the cut-offs of a graded"),
    ],
)
def test_unknown_names(named, message):
    codes, labels = np.zeros((2, 1), np.uint8), np.zeros(2, int)
    with pytest.raises(ValueError, match=message):
        df.evaluate(codes, labels, codes, labels, **{"precision_at": [1], **named})
