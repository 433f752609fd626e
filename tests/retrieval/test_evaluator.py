"""One shot, streamed, sharded and merged evaluations are equal to the last digit."""

import multiprocessing
import socket

import numpy as np
import pytest
from gloo_worker import (
    CODES,
    EXCLUDE,
    GRADED,
    LABELS,
    QUERIES,
    QUERY_LABELS,
    QUERY_ROWS,
    ROWS,
    reduce_in_process,
)
from hypothesis import given
from hypothesis import strategies as st
from samples import Sample, naive_relevance, samples

import dmth_fast as df
from dmth_fast.retrieval.evaluator import Evaluator

CHOICES = st.fixed_dictionaries(
    {
        "top_k": st.sampled_from([None, 3, 20]),
        "ties": st.sampled_from(["expected", "optimistic", "pessimistic"]),
        "normalizer": st.sampled_from(["relevant", "min", "retrieved"]),
        "empty": st.sampled_from(["zero", "skip"]),
        "empty_ball": st.sampled_from(["zero", "skip"]),
        "precision_at": st.just([1, 10]),
        "graded": st.sampled_from([None, "shared", "cosine"]),
    }
)
KINDS = st.sampled_from(["labels", "exclude", "matrix", "matrix and exclude"])


def one_shot(sample: Sample, relevant, choices):
    """The report of the whole as JSON, or what it is refused for."""
    labels = sample.query_labels if relevant is None else relevant
    items = sample.database_labels if relevant is None else None
    try:
        return df.evaluate(sample.queries, labels, sample.codes, items, **choices).to_json(per_query=True)
    except ValueError as error:
        return str(error)


def result(evaluator: Evaluator):
    try:
        return evaluator.compute().to_json(per_query=True)
    except ValueError as error:
        return str(error)


@given(samples(), CHOICES, KINDS, st.lists(st.integers(0, 60), max_size=3), st.booleans())
def test_parts_are_the_whole(sample: Sample, choices, kind, cuts, shuffled):
    """One shot, streamed, sharded, merged and restored: every figure, to the last digit."""
    n = len(sample.codes)
    choices = {**choices, "bits": sample.bits}
    if "exclude" in kind:
        choices["exclude"] = np.arange(len(sample.queries)) % (n + 1) - 1
    relevant = naive_relevance(sample) if "matrix" in kind else None
    expected = one_shot(sample, relevant, choices)
    order = np.random.default_rng(0).permutation(n) if shuffled else np.arange(n)
    parts = np.split(order, sorted(min(cut, n) for cut in cuts))

    def fresh():
        return Evaluator(sample.queries, sample.query_labels if relevant is None else None, **choices)

    def update(evaluator, rows):
        labels = sample.database_labels[rows] if relevant is None else relevant[:, rows]
        evaluator.update(sample.codes[rows], labels, ids=rows if "exclude" in kind else None)

    streamed, merged, restored = fresh(), fresh(), fresh()
    for rows in parts:
        update(streamed, rows)
        shard = fresh()
        update(shard, rows)
        merged.merge(shard)
    update(restored, np.arange(n))  # replaced by the state
    restored.load_state_dict(streamed.state_dict())
    assert result(streamed) == result(merged) == result(restored) == expected
    assert len(merged) == n


def test_leave_one_out_in_parts():
    labels = np.arange(40) % 3
    evaluator = Evaluator(CODES, labels, bits=12, exclude="self")
    for rows in (np.arange(25, 40), np.arange(25)):
        evaluator.update(CODES[rows], labels[rows], ids=rows)
    expected = df.evaluate(CODES, labels, CODES, labels, bits=12, exclude="self")
    assert evaluator.compute().to_json(per_query=True) == expected.to_json(per_query=True)
    with pytest.raises(ValueError, match="item i of the database to have query i's code"):
        evaluator.update(CODES[::-1].copy(), labels, ids=np.arange(40))


@pytest.mark.parametrize(
    ("exclude", "ids", "error", "message"),
    [
        (None, np.arange(40), ValueError, "got ids without exclude"),
        ("self", None, ValueError, "got exclude without ids"),
        ("self", np.zeros(40), TypeError, "ids must be integers of shape"),
        ("self", np.arange(3), ValueError, r"ids must have shape \(40,\), got int64 of shape \(3,\)"),
        ("self", np.zeros(40, int), ValueError, "got a negative or repeated one"),
        ("own", None, ValueError, "exclude must be None, 'self' or"),
        (np.zeros(6), None, TypeError, "exclude must be None, 'self' or signed integers"),
        (np.zeros(5, int), None, ValueError, r"integers of shape \(6,\), array or tensor, got int64"),
        (np.full(6, -2), None, ValueError, "each >= 0 or -1 for none, got -2"),
    ],
)
def test_bad_exclusions(exclude, ids, error, message):
    with pytest.raises(error, match=message):
        Evaluator(QUERIES, QUERY_LABELS, bits=12, exclude=exclude).update(CODES, LABELS, ids=ids)


@pytest.mark.parametrize("tensors", [False, True])
def test_an_excluded_item_comes_once(tensors):
    import torch

    to = torch.from_numpy if tensors else np.asarray

    def fresh():
        evaluator = Evaluator(QUERIES, QUERY_LABELS, bits=12, exclude=to(EXCLUDE))
        evaluator.update(to(CODES[:20]), to(LABELS[:20]), ids=to(np.arange(20)))
        return evaluator

    evaluator = fresh()
    before = evaluator.state_dict()
    with pytest.raises(ValueError, match="distinct over all updates, got 4 again, which query 2 leaves out"):
        evaluator.update(to(CODES[:5]), to(LABELS[:5]), ids=to(np.array([4, 90, 91, 92, 93])))
    with pytest.raises(ValueError, match="got 3 again, which query 0 leaves out"):
        evaluator.merge(fresh())
    restored = Evaluator(QUERIES, QUERY_LABELS, bits=12, exclude=EXCLUDE)
    restored.load_state_dict(before)
    with pytest.raises(ValueError, match="got 3 again"):
        restored.merge(fresh())
    for part in (evaluator, restored):
        assert part.state_dict()["left_out"].tolist() == [1, 0, 1, 0, 1, 1]
        part.update(to(CODES[20:]), to(LABELS[20:]), ids=to(np.arange(20, 40)))
    expected = df.evaluate(QUERIES, QUERY_LABELS, CODES, LABELS, bits=12, exclude=EXCLUDE)
    assert result(evaluator) == result(restored) == expected.to_json(per_query=True)


def test_what_becomes_of_the_arrays_does_not_matter():
    queries, labels, exclude = QUERIES.copy(), QUERY_LABELS.copy(), EXCLUDE.copy()
    evaluator = Evaluator(queries, labels, bits=12, exclude=exclude)
    for array in (queries, labels, exclude):
        array[:] = 0
    evaluator.update(CODES, LABELS, ids=np.arange(40))
    expected = df.evaluate(QUERIES, QUERY_LABELS, CODES, LABELS, bits=12, exclude=EXCLUDE)
    assert result(evaluator) == expected.to_json(per_query=True)


def test_labels_of_rows_are_copied():
    labels = QUERY_ROWS.astype(np.uint8)
    evaluator = Evaluator(QUERIES, labels, bits=12)
    labels[:] = 0
    evaluator.update(CODES, ROWS)
    assert result(evaluator) == df.evaluate(QUERIES, QUERY_ROWS, CODES, ROWS, bits=12).to_json(per_query=True)


@pytest.mark.parametrize(
    ("matrix", "error"), [(np.ones((6, 40)), TypeError), (np.ones((6, 39), bool), ValueError)]
)
def test_a_matrix_of_another_kind_or_shape(matrix, error):
    with pytest.raises(error, match=r"database_labels must be bool of shape \(6, 40\)"):
        Evaluator(QUERIES, None, bits=12).update(CODES, matrix)


def test_the_width_is_that_of_the_bytes_where_none_is_given():
    plain = Evaluator(QUERIES, QUERY_LABELS)
    plain.update(CODES, LABELS)
    assert result(plain) == df.evaluate(QUERIES, QUERY_LABELS, CODES, LABELS).to_json(per_query=True)
    with pytest.raises(ValueError, match="bits must be an integer from 1 to 4096, got 0"):
        Evaluator(QUERIES, QUERY_LABELS, bits=0)


def test_tensors_give_the_same():
    import torch

    arrays, tensors = (Evaluator(QUERIES, QUERY_LABELS, bits=12) for _ in range(2))
    arrays.update(CODES, LABELS)
    tensors.update(torch.from_numpy(CODES), torch.from_numpy(LABELS))
    assert result(arrays) == result(tensors)
    with pytest.raises(TypeError, match="all NumPy arrays or all torch tensors"):
        arrays.update(torch.from_numpy(CODES), LABELS)


def test_two_processes():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=reduce_in_process, args=(rank, port, results)) for rank in range(2)]
    for process in processes:
        process.start()
    found = [results.get(timeout=90) for _ in processes]
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0
    expected = df.evaluate(QUERIES, QUERY_LABELS, CODES, LABELS, bits=12, exclude=EXCLUDE)
    graded = df.evaluate(QUERIES, QUERY_ROWS, CODES, ROWS, **GRADED)
    assert [reports for reports, _, _ in found] == [
        [part.to_json(per_query=True) for part in (expected, graded)]
    ] * 2
    for _, refused, _ in found:
        assert "same queries and settings" in refused[0]
        assert [message.split()[0] for message in refused[1:4]] == ["all_reduce", "update", "merge"]
        assert all("must come before all_reduce" in message for message in refused[1:4])
        assert "distinct over all updates, got 3 again, which query 0 leaves out" in refused[4]
    assert all("MULTI_CPU" in kind for _, _, kind in found)


def test_what_needs_the_order_of_rows_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="needs the rows of the whole database in order"):
        Evaluator(QUERIES, QUERY_LABELS, bits=12, ties="stable")
    with pytest.raises(ValueError, match="got 'hashnet': the figure of a repository depends on the order"):
        Evaluator(QUERIES, QUERY_LABELS, bits=12, preset="hashnet")


@pytest.mark.parametrize(
    "other", [{"top_k": 5}, {"ties": "optimistic"}, {"empty": "skip"}, {"exclude": np.zeros(6, int)}]
)
def test_other_settings_do_not_merge(other):
    with pytest.raises(ValueError, match="same queries, labels and settings"):
        Evaluator(QUERIES, QUERY_LABELS, bits=12).merge(Evaluator(QUERIES, QUERY_LABELS, bits=12, **other))


def test_other_queries_do_not_merge():
    with pytest.raises(ValueError, match="same queries"):
        Evaluator(QUERIES, QUERY_LABELS, bits=12).merge(Evaluator(QUERIES[:5], QUERY_LABELS[:5], bits=12))
    with pytest.raises(TypeError, match="other must be an Evaluator"):
        Evaluator(QUERIES, QUERY_LABELS, bits=12).merge(None)


def test_bad_updates_change_nothing():
    evaluator = Evaluator(QUERIES, QUERY_LABELS, bits=12)
    with pytest.raises(ValueError, match=r"database_labels must have shape \(40,\)"):
        evaluator.update(CODES, LABELS[:3])
    with pytest.raises(ValueError, match="must both be class ids"):
        evaluator.update(CODES, np.eye(3, dtype=int)[LABELS])
    with pytest.raises(TypeError, match="database_codes must be uint8"):
        evaluator.update(CODES.astype(float), LABELS)
    with pytest.raises(ValueError, match="none was added"):
        evaluator.compute()
    evaluator.update(CODES[:0], LABELS[:0])
    assert len(evaluator) == 0
    state = evaluator.state_dict()
    with pytest.raises(ValueError, match="must be int64 of shape"):
        evaluator.load_state_dict({**state, "every": state["every"][:, 1:]})


def test_no_group_to_reduce_over():
    with pytest.raises(RuntimeError, match="init_process_group"):
        Evaluator(QUERIES, QUERY_LABELS, bits=12).all_reduce()
