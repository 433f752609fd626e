"""The index holds what was added and answers as search does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import Sample, random_codes, samples

import dmth_fast as df


@given(samples(), st.lists(st.integers(0, 60), max_size=4), st.integers(1, 30))
def test_codes_added_in_parts_are_searched_as_one(sample: Sample, cuts, k):
    index = df.Index(sample.bits)
    parts = np.split(sample.codes, sorted(min(cut, len(sample.codes)) for cut in cuts))
    ids = [index.add(part) for part in parts]
    np.testing.assert_array_equal(np.concatenate(ids), np.arange(len(sample.codes)))
    assert len(index) == len(sample.codes)
    np.testing.assert_array_equal(index.rows(), sample.codes)
    for found, expected in (
        (index.search(sample.queries, k), df.search(sample.codes, sample.queries, k)),
        (index.range_search(sample.queries, 1), df.range_search(sample.codes, sample.queries, 1)),
    ):
        assert type(found) is type(expected)
        for part, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(part, other)


def test_rows_of_ids():
    codes = random_codes(np.random.default_rng(0), 9, 20)
    index = df.Index(20)
    index.add(codes)
    np.testing.assert_array_equal(index.rows(np.array([3, 3, 0])), codes[[3, 3, 0]])
    with pytest.raises(IndexError, match=r"ids must be in \[0, 9\), got 9"):
        index.rows(np.array([0, 9]))
    with pytest.raises(IndexError, match=r"got -1"):
        index.rows(np.array([-1]))
    with pytest.raises(TypeError, match="ids must be a 1-D array of integers"):
        index.rows(np.array([0.0]))


def test_added_codes_are_copied_and_rows_cannot_be_written():
    codes = np.zeros((2, 1), np.uint8)
    index = df.Index(8)
    index.add(codes)
    codes[:] = 255
    assert not index.rows().any()
    with pytest.raises(ValueError, match="read-only"):
        index.rows()[0] = 1


def test_an_empty_index_is_searched():
    index = df.Index(9)
    assert len(index) == 0
    assert index.search(np.zeros((2, 2), np.uint8), 3).ids.shape == (2, 0)


@pytest.mark.parametrize(
    ("bits", "error"), [(0, ValueError), (4097, ValueError), (8.0, TypeError), ("64", TypeError)]
)
def test_bad_bits(bits, error):
    with pytest.raises(error, match="bits must be an integer from 1 to 4096"):
        df.Index(bits)


def test_refused_codes_leave_the_index_unchanged():
    index = df.Index(12)
    with pytest.raises(ValueError, match="zero padding"):
        index.add(np.full((2, 2), 255, np.uint8))
    with pytest.raises(TypeError, match="codes must be uint8"):
        index.add(np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match=r"queries must be uint8 of shape \(n, 2\) for 12 bits"):
        index.search(np.zeros((2, 3), np.uint8), 1)
    with pytest.raises(ValueError, match="radius must be an integer from 0 to 12"):
        index.range_search(np.zeros((2, 2), np.uint8), 13)
    assert len(index) == 0
