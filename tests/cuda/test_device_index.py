"""The index on a device beside the CPU's: the same ids, removals and filters, on the emulated device."""

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from emulated import EmulatedDevice, Settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from dmth_fast.retrieval import cuda
from dmth_fast.retrieval.device_index import DeviceIndex
from dmth_fast.retrieval.index import Index

Array = NDArray[Any]
CODES = np.random.default_rng(0).integers(0, 4, (300, 2), dtype=np.uint8)  # few values: many ties


def pair(codes: Array, ids: Array | None = None) -> tuple[Index, DeviceIndex]:
    """The same codes on the host and on a "device" that holds them."""
    both = Index(16), DeviceIndex(16, device="cpu")
    for index in both:
        index.add(codes, ids)
    return both


def same(host: Index, device: DeviceIndex) -> None:
    """Ids and codes are equal."""
    assert len(host) == len(device)
    np.testing.assert_array_equal(host.ids, device.ids)
    assert device.ids.dtype == np.int64
    np.testing.assert_array_equal(host.rows(), device.rows().numpy())
    np.testing.assert_array_equal(host.rows(host.ids[::-2]), device.rows(host.ids[::-2]).numpy())


@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(("append", "ids", "remove")), max_size=6))
def test_changes_are_those_of_the_host(seed: int, changes: list[str]) -> None:
    rng = np.random.default_rng(seed)
    host, device = pair(CODES[:0])
    for change in changes:
        if change == "remove":
            some = rng.permutation(host.ids.copy())[: rng.integers(0, 20)]
            host.remove(some)
            device.remove(torch.from_numpy(some) if rng.random() < 0.5 else some)
            continue
        codes, ids = rng.permutation(CODES)[: rng.integers(0, 20)], None
        if change == "ids":
            ids = np.setdiff1d(rng.integers(0, 200, len(codes)), host.ids)
            ids, codes = rng.permutation(ids), codes[: len(ids)]
        expected = host.add(codes, ids)
        given_ids = device.add(torch.from_numpy(codes) if rng.random() < 0.5 else codes, ids)
        np.testing.assert_array_equal(given_ids, expected)
        if rng.random() < 0.5:
            same(host, device)
    same(host, device)
    for moved in (host.to("cpu"), device):
        same(moved.cpu(), moved)
        assert moved.cpu().add(CODES[:1]).tolist() == [host._rows.snapshot()[2]]


def test_next_ids_move_along() -> None:
    host, _ = pair(CODES[:5], np.array([9, 2, 7, 3, 4]))
    host.remove(np.array([9]))
    moved = host.to("cpu")
    assert moved.add(CODES[:1]).tolist() == [10]
    moved.remove(np.array([10, 2]))
    back = moved.cpu()
    assert back.ids.tolist() == [3, 4, 7]
    assert back.add(CODES[:2]).tolist() == [11, 12]
    assert host.add(CODES[:1]).tolist() == [10]


def test_refused_changes_leave_the_index_unchanged() -> None:
    host, device = pair(CODES[:4], np.array([8, 2, 5, 40]))
    for ids, error in (([3, 5], ValueError), ([3, -1], ValueError), ([3, 3], ValueError), ([3], ValueError)):
        with pytest.raises(error):
            device.add(CODES[:2], np.array(ids))
    with pytest.raises(TypeError, match="ids must be integers"):
        device.add(CODES[:2], torch.tensor([1.0, 2.0]))
    with pytest.raises(KeyError, match="no code has the id 7"):
        device.remove(np.array([2, 7]))
    with pytest.raises(ValueError, match="got 2 twice"):
        device.remove(np.array([2, 2]))
    with pytest.raises(KeyError, match="no code has the id 3"):
        device.rows(torch.tensor([2, 3]))
    same(host, device)


def test_a_store_made_anew_has_the_room_it_needs() -> None:
    _, device = pair(CODES)
    device.remove(np.arange(100))
    assert len(device._rows.settled().store._codes) == 200


@pytest.fixture
def searching(emulated: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Searches of CPU tensors on the emulated device; counts them."""
    setup, calls = Settings(), SimpleNamespace(masked=0, plain=0)

    def search_rows(codes: Tensor, queries: Tensor, k: int, *, keep: Tensor | None = None) -> Any:
        calls.masked, calls.plain = calls.masked + (keep is not None), calls.plain + (keep is None)
        if not k or not len(queries):
            return codes.new_empty((len(queries), k), dtype=torch.int32), torch.empty(
                (len(queries), k)
            ).long()
        mask = None if keep is None else keep.numpy()
        found = emulated.search(codes.contiguous().numpy(), queries.numpy(), k, setup, keep=mask)
        return tuple(map(torch.from_numpy, found))

    def range_search(codes: Tensor, queries: Tensor, radius: int, *, keep: Tensor | None = None) -> Any:
        calls.masked, calls.plain = calls.masked + (keep is not None), calls.plain + (keep is None)
        mask = None if keep is None else keep.numpy()
        found = emulated.range_search(codes.contiguous().numpy(), queries.numpy(), radius, setup, keep=mask)
        return tuple(map(torch.from_numpy, found))

    monkeypatch.setattr(cuda, "search_rows", search_rows)
    monkeypatch.setattr(cuda, "range_search", range_search)
    return calls


def equal(found: Any, expected: Any) -> None:
    """A device's answer and the host's, types included."""
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(part.numpy(), other)
        assert part.numpy().dtype == other.dtype


@pytest.mark.usefixtures("searching")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.booleans(), st.sampled_from((0.0, 0.1, 0.5, 1.0)))
def test_searches_are_those_of_the_host(seed: int, count: int, own: bool, share: float) -> None:
    rng = np.random.default_rng(seed)
    host, device = pair(CODES[:count], rng.choice(1000, count, replace=False) if own else None)
    gone = host.ids[:: rng.integers(3, 9)]
    for index in (host, device):
        index.remove(gone)
        index.add(CODES[:3], np.array([2000, 1001, 1500]) if own else None)
    queries, k, radius = CODES[-3:], int(rng.integers(1, 70)), int(rng.integers(0, 6))
    mask = rng.random(len(host)) < share
    chosen = rng.permutation(np.repeat(host.ids[mask], 2))
    for there, here in (
        (None, None),
        (torch.from_numpy(mask), mask),
        (torch.from_numpy(chosen), chosen),
        (chosen, chosen),
    ):
        asked = torch.from_numpy(queries)
        equal(device.search(asked, k, filter=there), host.search(queries, k, filter=here))
        equal(
            device.range_search(asked, radius, filter=there), host.range_search(queries, radius, filter=here)
        )


def test_ids_on_the_device_follow_those_of_the_host(searching: SimpleNamespace) -> None:
    host, device = pair(CODES[:20], np.arange(20) * 2)
    queries = torch.from_numpy(CODES[:2])
    for step in range(4):
        for index in (host, device):
            index.add(CODES[:30], np.arange(30) + 1000 * (step + 1))
        equal(device.search(queries, 200), host.search(CODES[:2], 200))
    for index in (host, device):
        index.remove(np.array([0, 1003]))
        index.add(CODES[:1], np.array([1]))
    equal(device.search(queries, 200), host.search(CODES[:2], 200))
    assert not searching.masked


def test_ids_of_all_are_no_filter(searching: SimpleNamespace) -> None:
    _, device = pair(CODES[:20], np.arange(20) * 2)
    device.search(torch.from_numpy(CODES[:2]), 5, filter=device.ids)
    assert (searching.plain, searching.masked) == (1, 0)


def test_refused_filters() -> None:
    _, device = pair(CODES[:20], np.arange(20) * 2)
    queries = torch.from_numpy(CODES[:2])
    cases: list[tuple[Any, type[Exception], str]] = [
        (np.ones(20, bool), TypeError, "a bool filter must be a tensor on cpu, got bool of shape"),
        (torch.ones(19, dtype=torch.bool), ValueError, r"of shape \(20,\) on cpu, got shape \(19,\)"),
        (torch.ones(20, dtype=torch.bool, device="meta"), ValueError, "on cpu, got shape .* on meta"),
        (torch.ones(20), TypeError, "got float32"),
        ([True] * 20, TypeError, "filter must be bool of shape .* got list"),
        (torch.tensor([2, 3]), KeyError, "no code has the id 3"),
    ]
    for chosen, error, message in cases:
        for search in (device.search, device.range_search):
            with pytest.raises(error, match=message):
                search(queries, 3, filter=chosen)


def test_it_is_neither_copied_nor_pickled() -> None:
    index = DeviceIndex(8, "cpu")
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="a DeviceIndex cannot be"):
            attempt(index)
