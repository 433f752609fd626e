"""Merging of chunks and the index on a device, as far as they need none."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from dmth_fast.retrieval import cuda, native, streaming
from dmth_fast.retrieval.cuda import planned
from dmth_fast.retrieval.device_index import DeviceIndex
from dmth_fast.retrieval.index import Index
from dmth_fast.retrieval.streaming import keys_of, merged, results_of, rows_of_chunk, search_streamed

RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 4, (1000, 2), dtype=np.uint8)  # few values: many ties
QUERIES = RNG.integers(0, 4, (7, 2), dtype=np.uint8)


@pytest.mark.parametrize("k", [1, 5, 300, 1000])
@pytest.mark.parametrize("step", [32, 96, 992, 5000])
def test_merged_chunks_are_the_whole(k: int, step: int) -> None:
    best = None
    for first in range(0, len(CODES), step):
        chunk = np.ascontiguousarray(CODES[first : first + step])
        found = native.search(chunk, QUERIES, min(k, len(chunk)))
        best = merged(best, keys_of(*map(torch.from_numpy, found), first), k)
    assert best is not None
    for part, expected in zip(results_of(best), native.search(CODES, QUERIES, k), strict=True):
        np.testing.assert_array_equal(part.numpy(), expected)


def test_rows_beyond_32_bits_keep_their_number() -> None:
    keys = keys_of(torch.tensor([[4096]], dtype=torch.int32), torch.tensor([[2**33]]), 2**40)
    distances, ids = results_of(keys)
    assert (distances.item(), ids.item()) == (4096, 2**40 + 2**33)


def test_chunks_are_blocks_of_rows() -> None:
    assert rows_of_chunk(512, 1) == 32
    assert rows_of_chunk(8, 2**28) == 2**25


def test_streaming_wants_queries_on_a_device() -> None:
    with pytest.raises(ValueError, match="queries must be on a CUDA device, got a tensor on cpu"):
        search_streamed(CODES, torch.from_numpy(QUERIES), 3)
    with pytest.raises(TypeError, match="codes must be uint8"):
        search_streamed(CODES.astype(np.int64), torch.from_numpy(QUERIES), 3)


class FakeStream:
    """A stream that copies at once and counts how often it was waited for."""

    def __init__(self, *_: Any) -> None:
        self.waits = 0

    def synchronize(self) -> None:
        self.waits += 1

    def wait_stream(self, other: Any) -> None: ...

    def wait_event(self, event: Any) -> None: ...


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    """The stream of the copies, of a host whose memory is pinned, or passes for it."""
    stream, empty = FakeStream(), torch.empty

    def unpinned(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        assert isinstance(pin_memory, bool)
        return empty(*shape, **options)

    event = SimpleNamespace(synchronize=lambda: None, record=lambda _: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch, "empty", unpinned)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)
    return stream


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("writeable", [False, True])
def test_copies_have_ended_when_the_chunks_have(
    copying: FakeStream, monkeypatch: pytest.MonkeyPatch, pinned: bool, writeable: bool
) -> None:
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda _: pinned)
    codes = CODES.copy()
    codes.flags.writeable = writeable
    chunks = streaming._on_device(codes, torch.device("cpu"), 320)
    found = [(first, chunk.clone()) for first, chunk in chunks]
    assert [first for first, _ in found] == [0, 320, 640, 960]
    np.testing.assert_array_equal(torch.cat([chunk for _, chunk in found]).numpy(), CODES)
    assert copying.waits == 1
    chunks = streaming._on_device(codes, torch.device("cpu"), 320)
    next(chunks)
    assert copying.waits == 1
    chunks.close()
    assert copying.waits == 2


def test_a_failing_search_ends_the_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    def chunks() -> Iterator[tuple[int, torch.Tensor]]:
        try:
            yield 0, torch.from_numpy(CODES)
        finally:
            ended.append(True)

    def fails(*_: Any) -> None:
        raise MemoryError("no room")

    running = chunks()  # held here, so that only closing it ends it
    queries = SimpleNamespace(device=torch.device("cuda"), shape=QUERIES.shape)
    monkeypatch.setattr(cuda, "checked_codes", lambda *_: queries)
    monkeypatch.setattr(cuda, "search_rows", fails)
    monkeypatch.setattr(streaming, "_on_device", lambda *_: running)
    with pytest.raises(MemoryError, match="no room"):
        search_streamed(CODES, torch.from_numpy(QUERIES), 3)
    assert ended == [True]


def full(memory: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let no ``Tensor.new_empty`` give more than ``memory`` bytes; return the sizes asked for."""
    asked: list[int] = []
    new_empty = torch.Tensor.new_empty

    def limited(self: torch.Tensor, size: tuple[int, ...], **options: Any) -> torch.Tensor:
        asked.append(math.prod(size))
        if asked[-1] > memory:
            raise torch.OutOfMemoryError(f"tried to allocate {asked[-1]} bytes")
        return new_empty(self, size, **options)

    monkeypatch.setattr(torch.Tensor, "new_empty", limited)
    return asked


def test_a_full_device_gets_a_smaller_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan_within(most: int) -> SimpleNamespace:
        if most < 256:
            raise MemoryError(f"needs a workspace of 256 bytes, but only {most} bytes may be used")
        return SimpleNamespace(workspace_bytes=most // 256 * 256)

    codes = torch.from_numpy(CODES)
    asked = full(1500, monkeypatch)
    plan, workspace = planned(plan_within, codes, 10_000)
    assert asked == [9984, 4864, 2304, 1024]
    assert (plan.workspace_bytes, len(workspace)) == (1024, 1024)
    full(100, monkeypatch)
    with pytest.raises(MemoryError, match="256 bytes, but only 128 bytes") as caught:
        planned(plan_within, codes, 10_000)
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    with pytest.raises(MemoryError, match="only 10 bytes"):
        planned(plan_within, codes, 10)


def test_an_index_on_a_full_device_grows_by_no_more_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    index = DeviceIndex(16, device="cpu")
    index.add(CODES[:600])
    full(1600, monkeypatch)
    index.add(CODES[600:800])
    np.testing.assert_array_equal(index.rows().numpy(), CODES[:800])
    with pytest.raises(torch.OutOfMemoryError):
        index.add(CODES[800:])
    np.testing.assert_array_equal(index.rows().numpy(), CODES[:800])
    monkeypatch.undo()
    np.testing.assert_array_equal(index.add(CODES[800:]), np.arange(800, 1000))  # no id was used up


def test_the_index_grows() -> None:
    index = DeviceIndex(16, device="cpu")
    for first, last in ((0, 10), (10, 10), (10, 1000)):
        ids = index.add(CODES[first:last] if first else torch.from_numpy(CODES[first:last]))
        np.testing.assert_array_equal(ids, np.arange(first, last))
    assert len(index) == 1000
    np.testing.assert_array_equal(index.rows().numpy(), CODES)
    np.testing.assert_array_equal(index.rows(torch.tensor([5, 3])).numpy(), CODES[[5, 3]])
    with pytest.raises(KeyError, match="no code has the id 1000"):
        index.rows(torch.tensor([0, 1000]))


def test_the_index_takes_read_only_codes() -> None:
    codes = CODES.copy()
    codes.flags.writeable = False
    index = DeviceIndex(16, device="cpu")
    index.add(codes)
    np.testing.assert_array_equal(index.rows().numpy(), CODES)


def test_an_index_moves_between_devices() -> None:
    index = Index(16)
    index.add(CODES)
    moved = index.to("cpu")
    assert (moved.bits, len(moved), str(moved.device)) == (16, 1000, "cpu")
    back = moved.cpu().search(QUERIES, 9)
    for part, expected in zip(back, index.search(QUERIES, 9), strict=True):
        np.testing.assert_array_equal(part, expected)
    with pytest.raises(RuntimeError):
        index.to("nowhere")


def test_the_index_refuses_bad_input() -> None:
    index = DeviceIndex(12, device="cpu")
    with pytest.raises(ValueError, match="zero padding"):
        index.add(CODES | 128)
    with pytest.raises(TypeError, match="queries must be a tensor"):
        index.search(QUERIES, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="queries must be on cpu, got a tensor on meta"):
        index.search(torch.empty((2, 2), dtype=torch.uint8, device="meta")[:0], 3)
    with pytest.raises(TypeError, match="filter must be bool"):
        index.search(torch.zeros((1, 2), dtype=torch.uint8), 3, filter=[True])
    assert len(index) == 0


def test_the_filter_becomes_one_bit_a_row() -> None:
    index = DeviceIndex(16, device="cpu")
    index.add(CODES[:21])
    selected = torch.from_numpy(RNG.random(21) < 0.5)
    packed, count = index._mask(selected, 21)
    np.testing.assert_array_equal(packed.numpy(), np.packbits(selected.numpy(), bitorder="little"))
    assert count == int(selected.sum())


class Allocated(TorchFunctionMode):
    """The memory of all results of torch's functions."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, torch.UntypedStorage] = {}  # kept, so that no address comes twice

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.storages[result.untyped_storage().data_ptr()] = result.untyped_storage()
        return result


def test_a_filter_takes_little_memory_beside_itself() -> None:
    index = DeviceIndex(16, device="cpu")
    index.add(CODES)
    selected = torch.ones(1000, dtype=torch.bool)
    with Allocated() as allocated:
        index._mask(selected, 1000)
    assert 1000 <= sum(storage.nbytes() for storage in allocated.storages.values()) <= 2000
