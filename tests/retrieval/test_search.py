"""Search, range search and distances against the reference, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import Sample, random_codes, samples

import dmth_fast as df
from dmth_fast.retrieval import reference


@given(samples(), st.integers(1, 80), st.sampled_from([None, 1, 3]))
def test_search_is_the_reference(sample: Sample, k, threads):
    found = df.search(sample.codes, sample.queries, k, bits=sample.bits, threads=threads)
    distances, ids = reference.search(sample.codes, sample.queries, k)
    assert found.distances.dtype == np.int32
    assert found.ids.dtype == np.int64
    np.testing.assert_array_equal(found.distances, distances)
    np.testing.assert_array_equal(found.ids, ids)


@given(samples(), st.data())
def test_range_search_is_the_reference(sample: Sample, data):
    radius = data.draw(st.integers(0, sample.bits))
    found = df.range_search(sample.codes, sample.queries, radius, bits=sample.bits)
    for part, expected in zip(
        found, reference.range_search(sample.codes, sample.queries, radius), strict=True
    ):
        assert part.dtype == expected.dtype
        np.testing.assert_array_equal(part, expected)


@given(samples())
def test_hamming_distances_is_the_reference(sample: Sample):
    expected = reference.hamming_distances(sample.codes, sample.queries)
    found = df.hamming_distances(sample.codes, sample.queries, bits=sample.bits)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=20)
@given(samples(), st.integers(0, 2**32 - 1))
def test_a_mask_on_both_sides_changes_nothing(sample: Sample, seed):
    mask = random_codes(np.random.default_rng(seed), 1, sample.bits)
    plain = df.search(sample.codes, sample.queries, 7)
    masked = df.search(sample.codes ^ mask, sample.queries ^ mask, 7)
    np.testing.assert_array_equal(plain.ids, masked.ids)
    np.testing.assert_array_equal(plain.distances, masked.distances)


@pytest.mark.parametrize("k", [10, 2**63, 2**70])
def test_k_beyond_the_database_gives_every_code_and_no_sentinel(k):
    codes = np.arange(3, dtype=np.uint8)[:, None]
    found = df.search(codes, codes, k)
    assert found.ids.shape == found.distances.shape == (3, 3)
    assert found.ids.min() >= 0


def test_empty_sides_are_valid():
    codes, none = np.zeros((3, 2), np.uint8), np.zeros((0, 2), np.uint8)
    assert df.search(none, codes, 5).ids.shape == (3, 0)
    assert df.search(codes, none, 5).ids.shape == (0, 3)
    np.testing.assert_array_equal(df.range_search(none, codes, 1).offsets, [0, 0, 0, 0])
    np.testing.assert_array_equal(df.range_search(codes, none, 1).offsets, [0])
    assert df.hamming_distances(none, codes).shape == (3, 0)


def test_a_strided_view_is_read_as_it_is():
    codes = random_codes(np.random.default_rng(0), 20, 64)
    np.testing.assert_array_equal(
        df.search(codes[::2], codes[:3], 4).ids, df.search(codes[::2].copy(), codes[:3], 4).ids
    )


CODES = np.zeros((4, 2), np.uint8)
CALLS = {
    "search": lambda codes, queries, **named: df.search(codes, queries, 3, **named),
    "range_search": lambda codes, queries, **named: df.range_search(codes, queries, 3, **named),
    "hamming_distances": df.hamming_distances,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (CODES.astype(np.float32), TypeError),
        (CODES.astype(bool), TypeError),
        (CODES.astype(np.int8), TypeError),
        (CODES.astype(">u2"), TypeError),
        ([[1, 2]], TypeError),
        (None, TypeError),
        (np.zeros((), np.uint8), ValueError),
        (np.zeros(2, np.uint8), ValueError),
        (np.zeros((1, 4, 2), np.uint8), ValueError),
        (np.zeros((4, 3), np.uint8), ValueError),
        (np.full((4, 2), 255, np.uint8), ValueError),
    ],
    ids=["float", "bool", "int8", "big-endian", "list", "None", "0-D", "1-D", "3-D", "width", "padding"],
)
def test_bad_codes_are_named(call, side, bad, error):
    arguments = [CODES, CODES]
    arguments[side] = bad
    with pytest.raises(error, match=("codes", "queries")[side] + " must"):
        call(*arguments, bits=12)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_widths_must_agree_without_bits_too(call):
    with pytest.raises(
        ValueError, match=r"queries must have the 2 bytes a row of codes, got uint8 of shape \(4, 3\)"
    ):
        call(CODES, np.zeros((4, 3), np.uint8))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("threads", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_bad_threads(call, threads, error):
    with pytest.raises(error, match="threads must be"):
        call(CODES, CODES, threads=threads)


@pytest.mark.parametrize(
    ("k", "error"),
    [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError), (None, TypeError)],
)
def test_bad_k(k, error):
    with pytest.raises(error, match="k must be an integer >= 1"):
        df.search(CODES, CODES, k)


@pytest.mark.parametrize(
    ("radius", "error"), [(-1, ValueError), (13, ValueError), (1.0, TypeError), (True, TypeError)]
)
def test_bad_radius(radius, error):
    with pytest.raises(error, match="radius must be an integer from 0 to 12"):
        df.range_search(CODES, CODES, radius, bits=12)
