"""One shot, streamed, sharded and merged evaluations are equal to the last digit."""

import multiprocessing
import socket

import numpy as np
import pytest
from gloo_worker import CODES, LABELS, QUERIES, QUERY_LABELS, reduce_in_process
from hypothesis import given
from hypothesis import strategies as st
from samples import Sample, samples

import dmth_fast as df
from dmth_fast.retrieval.evaluator import Evaluator

CHOICES = st.fixed_dictionaries(
    {
        "top_k": st.sampled_from([None, 3, 20]),
        "ties": st.sampled_from(["expected", "optimistic", "pessimistic"]),
        "normalizer": st.sampled_from(["relevant", "min", "retrieved"]),
        "precision_at": st.just([1, 10]),
    }
)


@given(samples(), CHOICES, st.lists(st.integers(0, 60), max_size=3))
def test_parts_are_the_whole(sample: Sample, settings, cuts):
    whole = df.evaluate(
        sample.queries,
        sample.query_labels,
        sample.codes,
        sample.database_labels,
        bits=sample.bits,
        **settings,
    )
    expected = whole.to_json(per_query=True)
    parts = np.split(np.arange(len(sample.codes)), sorted(min(cut, len(sample.codes)) for cut in cuts))
    streamed, merged = (
        Evaluator(sample.queries, sample.query_labels, bits=sample.bits, **settings) for _ in range(2)
    )
    for rows in parts:
        streamed.update(sample.codes[rows], sample.database_labels[rows])
        shard = Evaluator(sample.queries, sample.query_labels, bits=sample.bits, **settings)
        shard.update(sample.codes[rows], sample.database_labels[rows])
        merged.merge(shard)
    assert streamed.compute().to_json(per_query=True) == expected
    assert merged.compute().to_json(per_query=True) == expected
    assert len(merged) == len(sample.codes)
    restored = Evaluator(sample.queries, sample.query_labels, bits=sample.bits, **settings)
    restored.update(sample.codes, sample.database_labels)  # replaced by the state
    restored.load_state_dict(streamed.state_dict())
    assert restored.compute().to_json(per_query=True) == expected


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
    expected = df.evaluate(QUERIES, QUERY_LABELS, CODES, LABELS, bits=12).to_json(per_query=True)
    assert [json for json, _ in found] == [expected] * 2
    assert all("same queries and settings" in refused for _, refused in found)


def test_what_needs_the_order_of_rows_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="needs the rows of the whole database in order"):
        Evaluator(QUERIES, QUERY_LABELS, bits=12, ties="stable")


@pytest.mark.parametrize("other", [{"top_k": 5}, {"ties": "optimistic"}, {"empty": "skip"}])
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
    with pytest.raises(ValueError, match="of the kind of query_labels"):
        evaluator.update(CODES, np.eye(3, dtype=int)[LABELS])
    with pytest.raises(TypeError, match="database_codes must be uint8"):
        evaluator.update(CODES.astype(float), LABELS)
    with pytest.raises(ValueError, match="none was added"):
        evaluator.compute()
    state = evaluator.state_dict()
    with pytest.raises(ValueError, match="must be int64 of shape"):
        evaluator.load_state_dict({**state, "every": state["every"][:, 1:]})


def test_no_group_to_reduce_over():
    with pytest.raises(RuntimeError, match="init_process_group"):
        Evaluator(QUERIES, QUERY_LABELS, bits=12).all_reduce()
