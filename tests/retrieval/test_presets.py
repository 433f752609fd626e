"""Each preset against a slow implementation written from the rule's description."""

import json

import numpy as np
import pytest
from samples import random_codes

import dmth_fast as df
from dmth_fast.retrieval.presets import PRESETS, evaluate_as

BITS = 10


def hits_in_order(query, query_label, codes, labels):
    """Relevance of the database rows, nearest first, equal distances by row."""
    distances = [sum(a != b for a, b in zip(query, row, strict=True)) for row in codes]
    order = sorted(range(len(codes)), key=lambda row: distances[row])
    return [any(a and b for a, b in zip(query_label, labels[row], strict=True)) for row in order]


def precisions(hits):
    return [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]


def deephash(ranked, _labels, cut):
    total = 0.0
    for hits in ranked:
        found = precisions(hits[: -1 if cut is None else cut])
        total += sum(found) / len(found) if found else 0.0
    return total / len(ranked)


def hashnet(ranked, _labels, cut):
    values = []
    for hits in ranked:
        found = precisions(hits[:cut])
        if found:
            values.append(sum(found) / len(found))
    return sum(values) / len(values)


def csq(ranked, labels, cut):
    values = []
    for hits, label in zip(ranked, labels, strict=True):
        if any(label):
            found = precisions(hits[:cut])
            values.append(sum(found) / len(found) if found else 0.0)
    return sum(values) / len(values)


def orthohash(ranked, _labels, cut):
    return sum(
        sum(found) / max(len(found), 1) for found in (precisions(hits[:cut]) for hits in ranked)
    ) / len(ranked)


def pml_map_at_r(ranked, _labels, _cut):
    values = []
    for hits in ranked:
        relevant = sum(hits)
        if relevant:
            values.append(sum(precisions(hits[:relevant])) / relevant)
    return sum(values) / len(values)


RULES = {
    "deephash": deephash,
    "hashnet": hashnet,
    "csq": csq,
    "orthohash": orthohash,
    "thulab": hashnet,
    "pml_map_at_r": pml_map_at_r,
}


def sample(seed):
    """Multi-hot labels of which some rows are empty and some have no partner."""
    rng = np.random.default_rng(seed)
    codes, queries = random_codes(rng, 60, BITS), random_codes(rng, 25, BITS)
    labels, query_labels = rng.random((60, 6)) < 0.12, rng.random((25, 6)) < 0.2
    labels[:, 5] = False
    query_labels[0], query_labels[1] = False, np.arange(6) == 5
    return queries, query_labels, codes, labels


CASES = [(name, k) for name in PRESETS for k in (None, 7, 1000) if k is None or name != "pml_map_at_r"]


@pytest.mark.parametrize(("name", "top_k"), CASES)
@pytest.mark.parametrize("seed", range(3))
def test_presets(name, top_k, seed):
    queries, query_labels, codes, labels = sample(seed)
    bits, query_bits = df.unpack(codes, BITS).tolist(), df.unpack(queries, BITS).tolist()
    ranked = [
        hits_in_order(q, y, bits, labels.tolist())
        for q, y in zip(query_bits, query_labels.tolist(), strict=True)
    ]
    expected = RULES[name](ranked, query_labels.tolist(), top_k)
    report = evaluate_as(name, queries, query_labels, codes, labels, top_k=top_k, bits=BITS)
    assert abs(report.map - expected) < 1e-9
    assert report.settings["preset"] == name


def test_presets_of_class_ids_and_of_one_set():
    rng = np.random.default_rng(9)
    codes, labels = random_codes(rng, 40, BITS), rng.integers(0, 30, 40)
    bits, one_hot = df.unpack(codes, BITS).tolist(), np.eye(30, dtype=int)[labels].tolist()
    ranked = []
    for i in range(40):
        rest = [j for j in range(40) if j != i]
        ranked.append(hits_in_order(bits[i], one_hot[i], [bits[j] for j in rest], [one_hot[j] for j in rest]))
    report = evaluate_as("pml_map_at_r", codes, labels, codes, labels, exclude="self")
    assert abs(report.map - pml_map_at_r(ranked, None, None)) < 1e-9
    assert report.num_empty == sum(not any(hits) for hits in ranked) > 0


def test_the_last_of_what_a_query_may_find_is_sliced_away():
    """With something left out, that is the last of the rest; queries may leave out one item or none."""
    rng = np.random.default_rng(2)
    codes, labels = random_codes(rng, 12, BITS), rng.integers(0, 3, 12)
    bits, one_hot = df.unpack(codes, BITS).tolist(), np.eye(3, dtype=int)[labels].tolist()
    for exclude in ("self", np.where(np.arange(12) % 2 == 0, np.arange(12), -1)):
        ranked = []
        for i in range(12):
            rest = [j for j in range(12) if j != i or (i % 2 and not isinstance(exclude, str))]
            ranked.append(
                hits_in_order(bits[i], one_hot[i], [bits[j] for j in rest], [one_hot[j] for j in rest])
            )
        report = evaluate_as("deephash", codes, labels, codes, labels, exclude=exclude)
        assert abs(report.map - deephash(ranked, None, None)) < 1e-12
        assert json.loads(report.to_json())["settings"]["top_k"] == "n-1"
        assert "mAP@n-1" in str(report)


def test_the_same_codes_give_different_figures():
    arrays = sample(0)
    found = {
        name: evaluate_as(name, *arrays, top_k=7, bits=BITS).map for name in ("orthohash", "hashnet", "csq")
    }
    assert len(set(found.values())) == 3
    assert df.evaluate(*arrays, top_k=7, normalizer="min").map < found["orthohash"]


def test_refusals():
    arrays = sample(0)
    with pytest.raises(ValueError, match="preset must be one of 'deephash', 'hashnet'"):
        evaluate_as("dsh", *arrays)
    with pytest.raises(ValueError, match="top_k must be None for preset 'pml_map_at_r'"):
        evaluate_as("pml_map_at_r", *arrays, top_k=5)
