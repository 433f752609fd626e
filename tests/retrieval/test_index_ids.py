"""Ids, removal and filters: an index answers as the reference does over its rows in the order of ids."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from samples import random_codes

import dmth_fast as df
from dmth_fast.retrieval import collection, reference

Array = NDArray[Any]
LARGEST = 2**63 - 1


class Model:
    """The same by a dict and the slow reference."""

    def __init__(self, bits: int) -> None:
        self.codes: dict[int, Array] = {}
        self.width, self.next_id = -(-bits // 8), 0

    def add(self, codes: Array, ids: Array | None) -> list[int]:
        given_ids = range(self.next_id, self.next_id + len(codes)) if ids is None else ids.tolist()
        self.codes.update(zip(given_ids, codes, strict=True))
        self.next_id = max([self.next_id - 1, *given_ids]) + 1
        return list(given_ids)

    def rows(self, keep: Callable[[int], bool] = lambda _: True) -> tuple[Array, Array]:
        ids = sorted(filter(keep, self.codes))
        codes = np.array([self.codes[i] for i in ids], np.uint8).reshape(len(ids), self.width)
        return np.array(ids, np.int64), codes


def check(index: df.Index, model: Model, queries: Array, k: int, radius: int, **options: Any) -> None:
    """Every answer of the index beside the model's."""
    allowed = options.get("filter")
    if allowed is None:
        ids, codes = model.rows()
    elif allowed.dtype == bool:
        through = dict(zip(sorted(model.codes), allowed.tolist(), strict=True))
        ids, codes = model.rows(through.__getitem__)
    else:
        ids, codes = model.rows(set(allowed.tolist()).__contains__)
    distances, rows = reference.search(codes, queries, k)
    found = index.search(queries, k, **options)
    assert (found.distances.dtype, found.ids.dtype) == (np.int32, np.int64)
    np.testing.assert_array_equal(found.distances, distances)
    np.testing.assert_array_equal(found.ids, ids[rows])
    offsets, distances, rows = reference.range_search(codes, queries, radius)
    within = index.range_search(queries, radius, **options)
    for part, expected in zip(within, (offsets, distances, ids[rows]), strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("method", ["scan", "mih", "auto"])
@given(data=st.data())
def test_an_index_is_its_codes_in_the_order_of_ids(method: str, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 70), "bits")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    index, model = df.Index(bits, method), Model(bits)
    most = data.draw(st.sampled_from((8, 60, LARGEST)), "largest id")
    for _ in range(data.draw(st.integers(1, 7), "changes")):
        change = data.draw(st.sampled_from(("append", "ids", "late", "remove")))
        if change == "remove":
            some = rng.permutation(np.array([*model.codes], np.int64))
            some = some[: data.draw(st.integers(0, len(some)), "removed")]
            index.remove(some)
            for i in some.tolist():
                del model.codes[i]
        else:
            codes = random_codes(rng, data.draw(st.integers(0, 20), "added"), bits)
            ids = None
            if change != "append":
                ids = np.unique(rng.integers(0, most, len(codes), endpoint=True))
                ids = rng.permutation(ids[~np.isin(ids, [*model.codes])])
                codes = codes[: len(ids)]
            if ids is None and model.next_id + len(codes) > LARGEST:
                continue
            given_ids = index.add(codes, ids)
            assert given_ids.dtype == np.int64
            assert given_ids.tolist() == model.add(codes, ids)
        assert len(index) == len(model.codes)
        if data.draw(st.booleans(), "searched between"):
            check(index, model, random_codes(rng, 2, bits), 3, bits // 3)
    expected_ids, expected = model.rows()
    np.testing.assert_array_equal(index.ids, expected_ids)
    np.testing.assert_array_equal(index.rows(), expected)
    queries = random_codes(rng, data.draw(st.integers(0, 3), "queries"), bits)
    k, radius = data.draw(st.integers(1, 50), "k"), data.draw(st.integers(0, bits), "radius")
    check(index, model, queries, k, radius)
    share = data.draw(st.sampled_from((0.0, 0.1, 0.5, 1.0)), "share")
    mask = rng.random(len(index)) < share
    check(index, model, queries, k, radius, filter=mask, threads=1)
    chosen = rng.permutation(np.repeat(expected_ids[mask], 2))
    check(index, model, queries, k, radius, filter=chosen)
    check(index, model, queries, k, radius, filter=chosen[::2].astype(np.uint64))
    np.testing.assert_array_equal(
        index.rows(chosen), [model.codes[i] for i in chosen.tolist()] or expected[:0]
    )


def test_ties_at_the_cut_are_those_of_the_smallest_ids() -> None:
    index = df.Index(8)
    ids = np.random.default_rng(0).permutation(100)
    for part in np.split(ids, 10):
        index.add(np.zeros((len(part), 1), np.uint8), part)
    np.testing.assert_array_equal(index.search(np.zeros((1, 1), np.uint8), 7).ids, [range(7)])


def test_ids_of_removed_codes_do_not_come_back() -> None:
    index, code = df.Index(8), np.zeros((1, 1), np.uint8)
    assert index.add(np.repeat(code, 4, 0)).tolist() == [0, 1, 2, 3]
    index.remove(np.array([3, 2]))
    assert index.ids.tolist() == [0, 1]
    assert index.add(code).tolist() == [4]
    assert index.add(code, np.array([900])).tolist() == [900]
    index.remove(index.ids)
    assert len(index) == 0
    assert index.add(code).tolist() == [901]
    assert index.add(code, np.array([2])).tolist() == [2]  # only by name
    assert index.add(code).tolist() == [902]
    assert index.ids.tolist() == [2, 901, 902]


def test_row_numbers_cost_no_array() -> None:
    index, codes = df.Index(8), np.zeros((5, 1), np.uint8)
    index.add(codes)
    index.add(codes, np.arange(5, 10))
    index.add(codes, np.array([14, 11, 12, 13, 10]))
    assert index._rows.settled().ids is None
    index.add(codes[:1], np.array([16]))
    index.add(codes[:1], np.array([15]))
    assert index.search(codes[:1], 99).ids.tolist() == [list(range(17))]
    assert index._rows.settled().ids is None
    index.remove(np.array([3]))
    assert index._rows.settled().ids is not None


def test_late_codes_are_put_in_their_places_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_CHUNK_ROWS", 100)
    made: list[int] = []
    stored = collection.Collection._stored

    def counted(self: Any, codes_of: Any, rows: Array) -> Any:
        made.append(len(rows))
        return stored(self, codes_of, rows)

    monkeypatch.setattr(collection.Collection, "_stored", counted)
    rng = np.random.default_rng(0)
    codes, ids = random_codes(rng, 700, 20), rng.permutation(1000)[:700]
    index, model = df.Index(20), Model(20)
    for part in np.split(np.arange(700), [300, *range(301, 650, 7)]):
        index.add(codes[part], ids[part])
        model.add(codes[part], ids[part])
    assert made == []
    assert len(index) == 700
    check(index, model, codes[:5], 40, 6)
    index.add(codes[:1], np.array([5000]))
    model.add(codes[:1], np.array([5000]))
    check(index, model, codes[:5], 40, 6)
    assert made == [700]


CODES = np.arange(6, dtype=np.uint8)[:, None]
NEW = np.zeros((2, 1), np.uint8)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (np.array([9.0, 8.0]), TypeError, r"ids must be integers of shape \(m,\), got float64"),
        (np.array([True, False]), TypeError, "got bool"),
        ([9, 8], TypeError, "ids must be a NumPy array or a torch tensor, got list"),
        (np.ma.array([9, 8]), TypeError, "got masked int64"),
        (np.array([[9], [8]]), ValueError, r"got int64 of shape \(2, 1\)"),
        (np.array([9]), ValueError, r"one for each of the 2 codes, got int64 of shape \(1,\)"),
        (np.array([9, -4]), ValueError, "0 or above, got -4"),
        (np.array([9, 2**63], np.uint64), ValueError, f"below 2..63, got {2**63}"),
        (np.array([9, 9]), ValueError, "got 9 twice"),
        (np.array([8, 40]), ValueError, "got 40, which a code has already"),
        (np.array([30, 8]), ValueError, "got 30, which a code has already"),
    ],
)
def test_refused_ids_leave_the_index_unchanged(ids: Any, error: type[Exception], message: str) -> None:
    for settled in (False, True):
        index = df.Index(8)
        index.add(CODES, np.array([10, 20, 30, 40, 50, 60]))
        index.add(NEW, np.array([35, 5]))
        if settled:
            index.search(NEW)
        before = index.ids, index.rows()
        with pytest.raises(error, match=message):
            index.add(NEW, ids)
        for now, then in zip((index.ids, index.rows()), before, strict=True):
            np.testing.assert_array_equal(now, then)
        assert index.add(NEW).tolist() == [61, 62]


def test_waiting_codes_have_their_ids() -> None:
    index = df.Index(8)
    index.add(CODES, np.arange(100, 106))
    for i in range(20, 0, -1):
        index.add(NEW[:1], np.array([i]))
    assert len(index) == 26
    for taken in (1, 7, 20, 103):
        with pytest.raises(ValueError, match=f"got {taken}, which a code has already"):
            index.add(NEW, np.array([50, taken]))
    index.remove(np.array([3, 102]))
    assert index.ids.tolist() == [1, 2, *range(4, 21), 100, 101, 103, 104, 105]


def test_the_largest_id() -> None:
    index = df.Index(8)
    index.add(NEW, np.array([LARGEST, 3]))
    assert index.search(NEW[:1], 5).ids.tolist() == [[3, LARGEST]]
    with pytest.raises(ValueError, match=f"ids must be given: 1 from {2**63} on"):
        index.add(NEW[:1])
    assert index.add(NEW[:0]).tolist() == []
    assert index.add(NEW[:1], np.array([4])).tolist() == [4]


def test_refused_removals_leave_the_index_unchanged() -> None:
    index = df.Index(8)
    index.add(CODES, np.array([10, 20, 30, 40, 50, 60]))
    with pytest.raises(KeyError, match="no code has the id 15"):
        index.remove(np.array([20, 15, 7]))
    with pytest.raises(ValueError, match="got 20 twice"):
        index.remove(np.array([20, 30, 20]))
    with pytest.raises(TypeError, match="ids must be integers"):
        index.remove(np.array([20.0]))
    assert index.ids.tolist() == [10, 20, 30, 40, 50, 60]
    index.remove(np.array([], np.int32))
    assert len(index) == 6


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ([True] * 6, TypeError, r"filter must be bool of shape \(6,\) or integer ids .*, got list"),
        (np.ones(6), TypeError, "got float64"),
        (np.ones(5, bool), ValueError, r"got bool of shape \(5,\)"),
        (np.ones((6, 1), bool), ValueError, r"got bool of shape \(6, 1\)"),
        (np.array([[10]]), ValueError, r"got int64 of shape \(1, 1\)"),
        (np.array([10, 11]), KeyError, "no code has the id 11"),
        (np.array([2**63], np.uint64), ValueError, "filter must be below"),
    ],
)
def test_refused_filters(chosen: Any, error: type[Exception], message: str) -> None:
    index = df.Index(8)
    index.add(CODES, np.array([10, 20, 30, 40, 50, 60]))
    for search in (index.search, index.range_search):
        with pytest.raises(error, match=message):
            search(NEW, 3, filter=chosen)


def test_an_empty_index_has_no_ids_and_filters_nothing() -> None:
    index = df.Index(9)
    queries = np.zeros((2, 2), np.uint8)
    assert index.ids.tolist() == []
    for chosen in (np.zeros(0, bool), np.zeros(0, np.int64)):
        assert index.search(queries, 3, filter=chosen).ids.shape == (2, 0)
        assert index.range_search(queries, 9, filter=chosen).offsets.tolist() == [0, 0, 0]
    index.add(queries[:0], np.zeros(0, np.int64))
    assert index.rows().shape == (0, 2)


def test_ids_are_a_copy_that_cannot_be_written() -> None:
    index, codes = df.Index(8), CODES[:2].copy()
    for ids in (np.array([24, 22]), np.array([30, 31]), np.array([2, 4]), np.array([8, 7])):
        given_ids = index.add(codes, ids)
        ids[:] = given_ids[:] = codes[:] = 77
        codes[:] = CODES[:2]
    assert index.ids.tolist() == [2, 4, 7, 8, 22, 24, 30, 31]
    assert index.rows().ravel().tolist() == [0, 1, 1, 0, 1, 0, 0, 1]
    with pytest.raises(ValueError, match="read-only"):
        index.ids[0] = 1


def test_tensors_for_tensors() -> None:
    torch = pytest.importorskip("torch")
    index = df.Index(8)
    assert index.add(torch.from_numpy(CODES), torch.tensor([9, 8, 7, 6, 5, 4])).tolist() == [9, 8, 7, 6, 5, 4]
    found = index.search(torch.from_numpy(CODES), 2, filter=torch.tensor([5, 9]))
    expected = index.search(CODES, 2, filter=np.array([5, 9]))
    for part, other in zip(found, expected, strict=True):
        assert torch.is_tensor(part)
        np.testing.assert_array_equal(part.numpy(), other)
    index.remove(torch.tensor([4]))
    assert index.rows(torch.tensor([5])).tolist() == [[4]]


@pytest.mark.parametrize("method", ["mih", "auto"])
def test_tables_are_gone_with_what_was_removed(method: str) -> None:
    rng = np.random.default_rng(5)
    index, codes = df.Index(32, method), random_codes(rng, 2000, 32)
    index.add(codes, rng.permutation(4000)[:2000])
    index.build()
    assert index.explain(codes[:1]).tables
    gone = rng.choice(index.ids, 500, replace=False)
    index.remove(gone)
    if method == "auto":
        assert not index.explain(codes[:1]).tables
    kept = index.ids
    distances, rows = reference.search(index.rows(), codes[:20], 30)
    for _ in range(2):
        found = index.search(codes[:20], 30)
        np.testing.assert_array_equal(found.ids, kept[rows])
        np.testing.assert_array_equal(found.distances, distances)
        index.build()


def test_every_order_of_four_ids() -> None:
    for order in itertools.permutations((3, 0, 8, 5)):
        index, model = df.Index(3), Model(3)
        for i in order:
            index.add(CODES[i % 6 : i % 6 + 1], np.array([i]))
            model.add(CODES[i % 6 : i % 6 + 1], np.array([i]))
            check(index, model, CODES[:2], 3, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_a_mask_of_bytes_is_not_taken_for_ids(dtype: type) -> None:
    index = df.Index(8)
    index.add(np.arange(4, dtype=np.uint8)[:, None])
    mask = np.array([0, 1, 1, 0], dtype)
    with pytest.raises(TypeError, match="8 bits could be a mask or ids; make them bool or wider"):
        index.search(np.zeros((1, 1), np.uint8), 2, filter=mask)
    assert index.search(np.zeros((1, 1), np.uint8), 2, filter=mask.astype(bool)).ids.tolist() == [[1, 2]]
