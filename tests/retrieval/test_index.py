"""The index holds what was added and answers as search does."""

import copy
import pickle
import threading

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
    with pytest.raises(KeyError, match="no code has the id 9"):
        index.rows(np.array([0, 9]))
    with pytest.raises(KeyError, match="no code has the id -1"):
        index.rows(np.array([-1]))
    with pytest.raises(TypeError, match=r"ids must be integers of shape \(m,\), got float64 of shape \(1,\)"):
        index.rows(np.array([0.0]))
    with pytest.raises(ValueError, match=r"got int64 of shape \(1, 1\)"):
        index.rows(np.array([[0]]))


def test_added_codes_are_copied_and_rows_cannot_be_written():
    codes = np.zeros((2, 1), np.uint8)
    index = df.Index(8)
    index.add(codes)
    codes[:] = 255
    assert not index.rows().any()
    assert not index.rows(np.array([0, 1])).any()
    with pytest.raises(ValueError, match="read-only"):
        index.rows()[0] = 1


@pytest.mark.parametrize("queries", [1, 40])  # few read rows, many read planes
def test_threads_search_while_one_adds(queries):
    """A search sees the first adds, each of them whole, and all that had returned before it began."""
    bits, batch, batches = 64, 70, 25
    codes = random_codes(np.random.default_rng(1), batch * batches, bits)
    asked = random_codes(np.random.default_rng(2), queries, bits)
    expected = [df.search(codes[:end], asked, 5) for end in range(batch, len(codes) + 1, batch)]
    index = df.Index(bits)
    failures, searches = [], []
    searched, done = threading.Event(), threading.Event()

    def look() -> None:
        try:
            last = False
            while not last:
                last = done.is_set()  # one search at least sees everything
                before = len(index)
                distances, _ = found = index.search(asked, batch * batches + 1, threads=1)
                seen = distances.shape[1]
                assert before <= seen
                assert seen % batch == 0
                if seen:
                    for part, other in zip(found, expected[seen // batch - 1], strict=True):
                        np.testing.assert_array_equal(part[:, :5], other)
                    counts = np.diff(index.range_search(asked, bits, threads=1).offsets)
                    assert set(counts) == {counts[0]}
                    assert seen <= counts[0]
                    assert counts[0] % batch == 0
                    np.testing.assert_array_equal(index.rows(np.arange(seen)), codes[:seen])
                searches.append(seen)
                searched.set()
        except Exception as error:
            failures.append(error)
            searched.set()

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for first in range(0, len(codes), batch):
            assert searched.wait(60)  # adds and searches take turns, and overlap
            searched.clear()
            ids = index.add(codes[first : first + batch])
            np.testing.assert_array_equal(ids, np.arange(first, first + batch))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    assert searches.count(len(codes)) >= len(threads)
    assert len(set(searches)) > 3


def test_threads_that_add_get_ids_of_their_own():
    index = df.Index(16)
    given_ids: dict[int, list[np.ndarray]] = {0: [], 1: [], 2: []}

    def add(mine: int) -> None:
        given_ids[mine] = [index.add(np.full((7, 2), mine, np.uint8)) for _ in range(50)]

    threads = [threading.Thread(target=add, args=(mine,)) for mine in given_ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = np.concatenate([ids for parts in given_ids.values() for ids in parts])
    np.testing.assert_array_equal(np.sort(every), np.arange(3 * 50 * 7))
    for mine, parts in given_ids.items():
        assert (index.rows(np.concatenate(parts)) == mine).all()


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_index_is_not_copied_or_pickled(take):
    with pytest.raises(TypeError, match=r"an Index cannot be .*: save\(\) it"):
        take(df.Index(8))


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64])
def test_ids_may_be_of_any_integer_type(kind):
    codes = random_codes(np.random.default_rng(0), 9, 20)
    index = df.Index(20)
    index.add(codes)
    np.testing.assert_array_equal(index.rows(np.array([8, 0, 3, 1], kind)[::2]), codes[[8, 3]])


@pytest.mark.parametrize("method", ["auto", "scan", "mih"])
@pytest.mark.parametrize("k", [2**63 - 1, 2**63, 2**70])
def test_k_beyond_every_integer_of_the_machine(method, k):
    index = df.Index(8, method)
    codes = np.arange(5, dtype=np.uint8)[:, None]
    index.add(codes)
    np.testing.assert_array_equal(index.search(codes, k).ids, index.search(codes, 5).ids)
    assert str(index.explain(codes, k)) == str(index.explain(codes, 5))


def test_masked_arrays_are_refused():
    index = df.Index(8)
    index.add(np.zeros((3, 1), np.uint8))
    with pytest.raises(TypeError, match="ids must be a NumPy array or a torch tensor, got masked int64"):
        index.rows(np.ma.arange(3))
    with pytest.raises(TypeError, match="got masked uint8"):
        index.add(np.ma.zeros((3, 1), np.uint8))
    assert len(index) == 3


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
