"""Evaluation of codes against the reference's naive loops, and what it refuses."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import Sample, naive_relevance, random_codes, samples

import dmth_fast as df
from dmth_fast.retrieval import metrics, reference
from dmth_fast.retrieval.evaluation import average_precision
from dmth_fast.retrieval.labels import bit_masks
from dmth_fast.retrieval.report import RECALL_LEVELS


def arguments(sample: Sample):
    return sample.queries, sample.query_labels, sample.codes, sample.database_labels


@given(samples(), st.one_of(st.none(), st.integers(1, 70)), st.sampled_from(metrics.NORMALIZERS))
def test_stable_ties_are_the_naive_loop(sample: Sample, top_k, normalizer):
    distances = reference.hamming_distances(sample.codes, sample.queries)
    relevant = naive_relevance(sample)
    report = df.evaluate(
        *arguments(sample),
        top_k=top_k,
        normalizer=normalizer,
        ties="stable",
        bits=sample.bits,
        precision_at=[1, 5, 100],
    )
    for i in range(len(sample.queries)):
        for name, rule in {
            "average_precision": lambda gains: reference.average_precision(gains, top_k, normalizer),
            "precision_at_5": lambda gains: reference.precision_at(gains, 5),
            "recall_at_100": lambda gains: reference.recall_at(gains, 100),
            "ndcg_at_5": lambda gains: reference.ndcg(gains, 5),
            "r_precision": reference.r_precision,
            "map_at_r": reference.map_at_r,
            "reciprocal_rank": reference.reciprocal_rank,
            "first_rank": reference.first_relevant_rank,
        }.items():
            expected = reference.mean_over_rankings(distances[i], relevant[i].astype(float), "stable", rule)
            np.testing.assert_allclose(
                report.per_query[name][i], expected, rtol=1e-12, atol=1e-15, err_msg=name
            )


@settings(max_examples=40)
@given(
    samples(max_items=7, max_bits=4), st.one_of(st.none(), st.integers(1, 8)), st.sampled_from(metrics.TIES)
)
def test_every_rule_for_ties_is_the_mean_over_its_rankings(sample: Sample, top_k, ties):
    distances = reference.hamming_distances(sample.codes, sample.queries)
    relevant = naive_relevance(sample)
    report = df.evaluate(*arguments(sample), top_k=top_k, ties=ties)
    for i in range(len(sample.queries)):
        expected = reference.mean_over_rankings(
            distances[i],
            relevant[i].astype(float),
            ties,
            lambda gains: reference.average_precision(gains, top_k),
        )
        np.testing.assert_allclose(report.average_precision[i], expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(
        average_precision(*arguments(sample), top_k=top_k, ties=ties), report.average_precision
    )
    assert report.map == report.average_precision.mean()


@given(samples())
def test_curve_over_radii(sample: Sample):
    report = df.evaluate(*arguments(sample), bits=sample.bits)
    distances = reference.hamming_distances(sample.codes, sample.queries)
    relevant = naive_relevance(sample).astype(float)
    assert report.pr_curve.recall.shape == report.pr_curve.precision.shape == (sample.bits + 1,)
    for radius in (0, sample.bits // 2, sample.bits):
        balls = [reference.precision_within(d, g, radius) for d, g in zip(distances, relevant, strict=True)]
        recalls = [reference.recall_within(d, g, radius) for d, g in zip(distances, relevant, strict=True)]
        np.testing.assert_allclose(report.pr_curve.precision[radius], np.nan_to_num(balls).mean())
        np.testing.assert_allclose(report.pr_curve.recall[radius], np.mean(recalls))
        assert report.empty_balls[radius] == np.isnan(balls).sum()


@given(samples(), st.booleans())
def test_radius_aware_precision(sample: Sample, by_cost):
    report = df.evaluate(*arguments(sample), bits=sample.bits)
    distances = reference.hamming_distances(sample.codes, sample.queries)
    relevant = naive_relevance(sample).astype(float)
    expected = [
        reference.radius_aware_average_precision(d, g, sample.bits, by_cost=by_cost)
        for d, g in zip(distances, relevant, strict=True)
    ]
    name = "radius_aware_ap_by_cost" if by_cost else "radius_aware_ap"
    np.testing.assert_allclose(report.per_query[name], expected, rtol=1e-12)
    np.testing.assert_allclose(report.ramap_by_cost if by_cost else report.ramap, np.mean(expected))


@given(samples(max_items=30, max_bits=12))
def test_interpolated_precision(sample: Sample):
    report = df.evaluate(*arguments(sample), bits=sample.bits)
    distances = reference.hamming_distances(sample.codes, sample.queries)
    relevant = naive_relevance(sample).astype(float)
    for column, level in enumerate(RECALL_LEVELS):
        expected = [
            reference.interpolated_precision(d, g, sample.bits, level)
            for d, g in zip(distances, relevant, strict=True)
        ]
        np.testing.assert_allclose(report.interpolated[column], np.mean(expected), rtol=1e-12)


def test_radius_aware_precision_of_the_widest_codes():
    """2**4096 buckets are no float, and need none."""
    codes, labels = np.zeros((1, 512), np.uint8), np.zeros(1, int)
    report = df.evaluate(codes, labels, codes, labels)
    np.testing.assert_allclose(report.ramap_by_cost, (1 + 1 / 4097 + 1e-7) / 4097, rtol=1e-6)
    assert report.ramap == 1.0


def test_empty_balls_can_be_left_out():
    codes, labels = np.array([[0], [3]], np.uint8), np.array([0, 0])
    queries = np.array([[0], [255]], np.uint8)
    zero = df.evaluate(queries, labels, codes, labels)
    skip = df.evaluate(queries, labels, codes, labels, empty_ball="skip")
    assert (zero.pr_curve.precision[0], skip.pr_curve.precision[0]) == (0.5, 1.0)
    assert zero.empty_balls[0] == skip.empty_balls[0] == 1


def test_interpolated_precision_never_rises():
    rng = np.random.default_rng(0)
    codes, labels = random_codes(rng, 300, 16), rng.integers(0, 5, 300)
    report = df.evaluate(codes[:40], labels[:40], codes, labels)
    assert (np.diff(report.interpolated) <= 1e-12).all()
    assert report.interpolated[0] > 0.5  # each query finds itself
    np.testing.assert_allclose(report.interpolated[-1], report.pr_curve.precision[-1], atol=0.02)


def test_an_image_without_neighbours_is_zero_skipped_or_an_error():
    codes = np.array([[0], [1], [3]], np.uint8)
    queries, labels = codes[:2], np.array([0, 9])
    zero = df.evaluate(queries, labels, codes, np.array([0, 1, 0]))
    skip = df.evaluate(queries, labels, codes, np.array([0, 1, 0]), empty="skip")
    assert zero.num_empty == skip.num_empty == 1
    np.testing.assert_allclose(zero.map, (1 + 2 / 3) / 4)
    np.testing.assert_allclose(skip.map, (1 + 2 / 3) / 2)
    assert "nothing relevant: 1 (left out)" in str(skip)
    with pytest.raises(ValueError, match=r"empty='error'.*1 have none.*query 1"):
        df.evaluate(queries, labels, codes, np.array([0, 1, 0]), empty="error")
    with pytest.raises(ValueError, match="at least one query"):
        df.evaluate(queries[1:], labels[1:], codes, np.array([0, 1, 0]), empty="skip")


def test_empty_within_the_cut_counts_for_the_retrieved_normalizer_alone():
    codes, labels = np.array([[0], [1], [3]], np.uint8), np.array([1, 1, 0])
    for normalizer, empty in (("relevant", 0), ("min", 0), ("retrieved", 1)):
        report = df.evaluate(codes[:1], np.array([0]), codes, labels, top_k=2, normalizer=normalizer)
        assert (report.num_empty, report.map) == (empty, 0.0)
        assert ("nothing relevant within the cut: 1 (counted as 0)" in str(report)) == bool(empty)
    choice = {"top_k": 2, "normalizer": "retrieved"}
    with pytest.raises(
        ValueError, match=r"relevant item within the cut under empty='error', but 1 have none"
    ):
        df.evaluate(codes[:1], np.array([0]), codes, labels, **choice, empty="error")
    with pytest.raises(ValueError, match="relevant item within the cut under empty='skip'"):
        df.evaluate(codes[:1], np.array([0]), codes, labels, **choice, empty="skip")
    nowhere = df.evaluate(codes[:1], np.array([7]), codes, labels, normalizer="retrieved")
    assert "queries with nothing relevant: 1 (counted as 0)" in str(nowhere)


@pytest.mark.parametrize("ties", metrics.TIES)
@pytest.mark.parametrize("multi_hot", [False, True])
def test_leave_one_out(ties, multi_hot):
    """Excluding each query's own row is evaluating against a database without it."""
    rng = np.random.default_rng(3)
    codes = random_codes(rng, 30, 5)
    labels = (rng.random((30, 4)) < 0.3).astype(int) if multi_hot else rng.integers(0, 3, 30)
    report = df.evaluate(codes, labels, codes, labels, ties=ties, top_k=9, exclude="self")
    own = rng.permutation(30)[:8]
    part = df.evaluate(codes[own], labels[own], codes, labels, ties=ties, top_k=9, exclude=own)
    np.testing.assert_array_equal(part.average_precision, report.average_precision[own])
    for i in range(30):
        rest = np.delete(np.arange(30), i)
        alone = df.evaluate(codes[[i]], labels[[i]], codes[rest], labels[rest], ties=ties, top_k=9)
        for name, values in alone.per_query.items():
            np.testing.assert_allclose(report.per_query[name][i], values[0], rtol=1e-12, err_msg=name)


def test_minus_one_excludes_nothing():
    rng = np.random.default_rng(4)
    codes, labels = random_codes(rng, 20, 6), rng.integers(0, 3, 20)
    for ties in ("expected", "stable"):
        plain = df.evaluate(codes, labels, codes, labels, ties=ties)
        kept = df.evaluate(codes, labels, codes, labels, ties=ties, exclude=np.full(20, -1))
        np.testing.assert_array_equal(plain.average_precision, kept.average_precision)


@pytest.mark.parametrize(
    ("exclude", "error", "message"),
    [
        ("own", ValueError, "exclude must be None, 'self' or"),
        (np.zeros(4), TypeError, "exclude must be"),
        (np.zeros(3, int), ValueError, r"signed integers of shape \(4,\)"),
        (np.array([0, 1, 2, 4]), ValueError, "rows from -1 to 3, got 4"),
        (np.array([0, 1, -2, 3]), ValueError, "each >= 0 or -1 for none, got -2"),
        (np.ma.array([0, 1, 2, 3], mask=[0, 1, 0, 0]), TypeError, r"got masked int64 of shape \(4,\)"),
    ],
)
def test_bad_exclusions(exclude, error, message):
    codes, labels = np.arange(4, dtype=np.uint8)[:, None], np.zeros(4, int)
    with pytest.raises(error, match=message):
        df.evaluate(codes, labels, codes, labels, exclude=exclude)


@pytest.mark.parametrize("tensors", [False, True])
def test_what_is_excluded_may_be_a_tensor(tensors):
    import torch

    codes, labels = np.arange(6, dtype=np.uint8)[:, None], np.arange(6) % 2
    arrays = [torch.from_numpy(part) if tensors else part for part in (codes, labels, codes, labels)]
    exclude = np.array([0, -1, 2, 5, 4, 1])
    expected = df.evaluate(codes, labels, codes, labels, exclude=exclude).to_json(per_query=True)
    assert df.evaluate(*arrays, exclude=torch.from_numpy(exclude)).to_json(per_query=True) == expected
    with pytest.raises(TypeError, match=r"signed integers of shape \(6,\), array or tensor, got float32"):
        df.evaluate(*arrays, exclude=torch.zeros(6))


@pytest.mark.parametrize("place", range(4))
def test_masked_arrays_are_refused(place):
    codes, labels = np.arange(4, dtype=np.uint8)[:, None], np.zeros(4, int)
    arguments = [codes, labels, codes, labels]
    arguments[place] = np.ma.array(arguments[place])
    with pytest.raises(TypeError, match="must be a NumPy array or a torch tensor, got masked"):
        df.evaluate(*arguments)


def test_self_needs_the_database_as_queries():
    codes, labels = np.arange(4, dtype=np.uint8)[:, None], np.zeros(4, int)
    with pytest.raises(ValueError, match="exclude='self' needs the database codes"):
        df.evaluate(codes[:3], labels[:3], codes, labels, exclude="self")


def test_many_labels_fill_several_words():
    rng = np.random.default_rng(5)
    rows = (rng.random((50, 200)) < 0.02).astype(bool)
    codes = random_codes(rng, 50, 12)
    sample = Sample(codes, codes, rows, rows, 12)
    assert bit_masks(rows).shape == (50, 4)
    relevant = naive_relevance(sample)
    report = df.evaluate(*arguments(sample))
    np.testing.assert_array_equal(report.per_query["num_relevant"], relevant.sum(axis=1))
    assert report.num_unlabelled == ((~rows.any(axis=1)).sum(),) * 2
    np.testing.assert_array_equal(report.unlabelled_queries, np.flatnonzero(~rows.any(axis=1)))
    assert f"of the queries (rows {report.unlabelled_queries[0]}" in str(report)
    np.testing.assert_array_equal(report.unlabelled_items, np.flatnonzero(~rows.any(axis=1)))
    assert f"of the database (rows {report.unlabelled_items[0]}" in str(report)


def test_label_types_give_equal_reports():
    rng = np.random.default_rng(6)
    codes, labels = random_codes(rng, 40, 8), rng.integers(0, 4, 40)
    one_hot = np.eye(4, dtype=bool)[labels]
    expected = df.evaluate(codes, labels, codes, labels).to_json(per_query=True)
    for same in (
        labels.astype(np.uint8),
        labels.astype(np.int32),
        one_hot,
        one_hot.astype(np.uint8),
        one_hot.astype(int),
    ):
        assert df.evaluate(codes, same, codes, same).to_json(per_query=True) == expected


def test_the_interval_of_ties_holds_the_expected_value():
    rng = np.random.default_rng(7)
    codes, labels = random_codes(rng, 500, 8), rng.integers(0, 5, 500)
    found = {ties: df.evaluate(codes, labels, codes, labels, ties=ties, top_k=50) for ties in metrics.TIES}
    low, high = found["expected"].map_interval
    assert (found["pessimistic"].map, found["optimistic"].map) == (low, high)
    assert low < found["expected"].map < high
    assert low <= found["stable"].map <= high


def test_a_report_as_json_and_text():
    codes, labels = np.array([[0], [1], [3]], np.uint8), np.array([0, 9, 0])
    report = df.evaluate(codes, np.array([0, 9, 5]), codes, labels, top_k=2, precision_at=[1, 2])
    read = json.loads(report.to_json(per_query=True))
    assert read["map"] == report.map
    assert read["precision_at"] == {"1": report.precision_at[1], "2": report.precision_at[2]}
    assert read["settings"]["ties"] == "expected"
    assert read["per_query"]["first_rank"][2] is None
    assert "per_query" not in json.loads(report.to_json())
    assert "mAP@2" in str(report)
    with pytest.raises(KeyError, match="metric must be one of average_precision"):
        report.mean("accuracy")


CODES, LABELS = np.zeros((3, 2), np.uint8), np.array([0, 1, 1])


@pytest.mark.parametrize(
    ("place", "bad", "error", "message"),
    [
        (0, CODES.astype(float), TypeError, "query_codes must be uint8"),
        (2, CODES.astype(bool), TypeError, "database_codes must be uint8"),
        (0, CODES[0], ValueError, "query_codes must be uint8 of shape"),
        (0, np.zeros((3, 3), np.uint8), ValueError, "query_codes must"),
        (2, np.full((3, 2), 255, np.uint8), ValueError, "database_codes must have zero padding"),
        (0, CODES[:0], ValueError, "query_codes must hold at least one"),
        (2, CODES[:0], ValueError, "database_codes must hold at least one"),
        (1, LABELS[:2], ValueError, r"query_labels must have shape \(3,\) or \(3, C\)"),
        (3, LABELS[:2], ValueError, "database_labels must have shape"),
        (3, LABELS.astype(float), TypeError, "database_labels must be integer class ids"),
        (1, LABELS > 0, TypeError, "query_labels must be integer class ids"),
        (1, LABELS.astype(">i8"), TypeError, "query_labels must be integer.*got big-endian int64"),
        (1, np.array([0, -1, 1]), ValueError, "query_labels must be class ids from 0.*got -1 in row 1"),
        (1, np.array([0, 2**63, 1], np.uint64), ValueError, "query_labels must be class ids from 0"),
        (1, np.eye(3, dtype=int), ValueError, "must both be class ids"),
        (1, np.full((3, 2), 2), ValueError, "multi-hot, 0 or 1, got 2 in row 0, column 0"),
        (1, np.zeros((3, 2)), TypeError, "query_labels must be"),
        (1, np.zeros((3, 0), int), ValueError, "query_labels must have shape"),
        (1, [0, 1, 1], TypeError, "query_labels must be a NumPy array"),
    ],
)
def test_bad_arrays_are_named(place, bad, error, message):
    given_arrays = [CODES, LABELS, CODES, LABELS]
    given_arrays[place] = bad
    with pytest.raises(error, match=message):
        df.evaluate(*given_arrays, bits=12)


@pytest.mark.parametrize(
    ("named", "error", "message"),
    [
        ({"top_k": 0}, ValueError, "top_k must be an integer >= 1, got 0"),
        ({"top_k": 1.5}, TypeError, "top_k must be an integer"),
        ({"ties": "random"}, ValueError, "ties must be one of 'expected', 'stable'"),
        ({"normalizer": "all"}, ValueError, "normalizer must be one of 'relevant'"),
        ({"empty": "drop"}, ValueError, "empty must be one of"),
        ({"empty_ball": "one"}, ValueError, "empty_ball must be one of"),
        ({"precision_at": [3, 0]}, ValueError, "precision_at must be an integer >= 1, got 0"),
        ({"precision_at": [10**20]}, ValueError, r"precision_at must be an integer below 2\*\*63, got 1000"),
        ({"top_k": 2**63}, ValueError, r"top_k must be an integer below 2\*\*63"),
        ({"threads": 2**70}, ValueError, r"threads must be an integer below 2\*\*63"),
        ({"precision_at": 5}, TypeError, "precision_at must hold integers, got int"),
        ({"threads": 0}, ValueError, "threads must be"),
        ({"bits": 0}, ValueError, "bits must be"),
    ],
)
def test_bad_settings_are_named(named, error, message):
    with pytest.raises(error, match=message):
        df.evaluate(CODES, LABELS, CODES, LABELS, **named)


@given(samples(max_items=30), st.sampled_from(metrics.TIES), st.booleans())
def test_a_matrix_of_relevance_is_as_good_as_labels(sample: Sample, ties, exclude):
    choice = {"ties": ties, "top_k": 9, "bits": sample.bits, "precision_at": [4]}
    if exclude:
        choice["exclude"] = np.arange(len(sample.queries)) % len(sample.codes)
    expected = df.evaluate(*arguments(sample), **choice)
    found = df.evaluate(sample.queries, naive_relevance(sample), sample.codes, None, **choice)
    for name, values in expected.per_query.items():
        np.testing.assert_allclose(found.per_query[name], values, err_msg=name)
    np.testing.assert_array_equal(found.distances.relevant, expected.distances.relevant)


def test_a_matrix_must_be_bool_and_whole():
    with pytest.raises(TypeError, match="query_labels must be bool without database_labels"):
        df.evaluate(CODES, LABELS, CODES, None)
    with pytest.raises(ValueError, match=r"query_labels must have shape \(3, 3\)"):
        df.evaluate(CODES, np.ones((3, 2), bool), CODES, None)


@pytest.mark.parametrize("named", [{}, {"ties": "optimistic"}, {"graded": "shared", "precision_at": [10]}])
def test_no_matrix_of_all_pairs_is_held(named):
    """Python's side; the native core holds blocks."""
    rng = np.random.default_rng(8)
    codes, queries = random_codes(rng, 40_000, 16), random_codes(rng, 400, 16)
    labels = rng.random((40_000, 3)) < 0.3
    arguments = queries, labels[:400], codes, labels
    df.evaluate(*arguments, **named)  # what is kept for good is made
    tracemalloc.start()
    df.evaluate(*arguments, **named)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400 * 40_000 / 2  # bytes: half a byte a pair
