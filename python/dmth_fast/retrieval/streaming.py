"""Search of a database that stays in the host's memory, by a CUDA device that holds a part at a time.

While the device searches one chunk of rows the next is copied into its second buffer; the results of a
chunk are merged with the best so far. Copying bounds it: a PCIe 5 x16 link of 55 GB/s brings 7e9 codes of
64 bits a second, so from a few hundred queries on the search costs more than the copy.
"""

import itertools
from collections.abc import Generator, Iterator
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from dmth_fast.retrieval import cuda
from dmth_fast.retrieval.arguments import AnyArray, Array, as_numpy, describe, integer
from dmth_fast.retrieval.codes import checked_codes
from dmth_fast.retrieval.search import SearchResult

ROW_BITS = 48  # a candidate is one number, distance * 2**48 + row, as in the kernels
_CHUNK_BYTES = 2**28


def search_streamed(
    codes: AnyArray, queries: Tensor, k: int, *, bits: int | None = None, chunk_bytes: int = _CHUNK_BYTES
) -> SearchResult:
    """The k codes nearest to each query, of a database in the host's memory.

    When the call ends, with a result or an error, all copies have ended too: ``codes`` may be written again.
    The last search may still be under way, as after every search.

    Args:
        codes: (n, bytes) uint8, a NumPy array (a memory map too) or a CPU tensor; pinned memory is copied
            from directly, other memory through two pinned buffers.
        queries: (q, bytes) uint8 on a CUDA device.
        k: how many, >= 1; where k > n the result has n columns.
        bits: the true number of bits; if given, width and zero padding are checked.
        chunk_bytes: codes that are on the device at a time, twice.

    Returns:
        :class:`~dmth_fast.retrieval.search.SearchResult` on the device of the queries, as of :func:`search`.

    Raises:
        TypeError: wrong dtype.
        ValueError: wrong shape, dirty padding, k < 1, or queries that are not on a CUDA device.
    """
    database = checked_codes(as_numpy(codes, "codes"), "codes", bits)
    wanted = cuda.checked_codes(queries, "queries", bits)
    if wanted.device.type != "cuda":
        raise ValueError(f"queries must be on a CUDA device, got a tensor on {wanted.device}")
    if wanted.shape[1] != database.shape[1]:
        raise ValueError(
            f"queries must have the {database.shape[1]} bytes a row of codes, got {describe(wanted)}"
        )
    columns = min(integer(k, "k", 1), len(database))
    step = rows_of_chunk(database.shape[1], integer(chunk_bytes, "chunk_bytes", 1))
    best: Tensor | None = None
    with closing(_on_device(database, wanted.device, step)) as chunks:
        for first, chunk in chunks:
            distances, ids = cuda.search_rows(chunk, wanted, min(columns, len(chunk)))
            best = merged(best, keys_of(distances, ids, first), columns)
    if best is None:
        best = wanted.new_empty((len(wanted), 0), dtype=torch.int64)
    return SearchResult(*results_of(best))


def rows_of_chunk(width: int, chunk_bytes: int) -> int:
    """Rows of ``width`` bytes in a chunk: whole blocks of 32, at least one.

    >>> rows_of_chunk(8, 1000)
    96
    """
    return max(32, chunk_bytes // width // 32 * 32)


def keys_of(distances: Tensor, ids: Tensor, first: int) -> Tensor:
    """Results of rows from ``first`` on as numbers in the order of results.

    >>> keys_of(torch.tensor([[0, 2]]), torch.tensor([[5, 1]]), 100) & (2**48 - 1)
    tensor([[105, 101]])
    """
    return (distances.to(torch.int64) << ROW_BITS) | (ids + first)


def merged(best: Tensor | None, found: Tensor, k: int) -> Tensor:
    """The k smallest of two sets of keys, (q, <= k) each, in order.

    >>> merged(torch.tensor([[1, 7]]), torch.tensor([[3, 4]]), 3)
    tensor([[1, 3, 4]])
    """
    if best is None:
        return found
    return torch.cat([best, found], dim=1).sort(dim=1).values[:, :k]


def results_of(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Distances int32 and rows int64 of keys.

    >>> results_of(keys_of(torch.tensor([[3]]), torch.tensor([[7]]), 0))
    (tensor([[3]], dtype=torch.int32), tensor([[7]]))
    """
    return (keys >> ROW_BITS).to(torch.int32), keys & (2**ROW_BITS - 1)


def _on_device(codes: Array, device: torch.device, step: int) -> Generator[tuple[int, Tensor], None, None]:
    """First row and device copy of each chunk; a copy is valid until the next but one is asked for.

    However it ends, copies have ended then: nothing reads ``codes`` or writes the buffers any more.
    """
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    computing = torch.cuda.current_stream(device)
    shape = (min(step, len(codes)), codes.shape[1])
    buffers = [torch.empty(shape, dtype=torch.uint8, device=device) for _ in range(2)]
    # Torch takes no read-only arrays, such as memory maps; they are not pinned.
    pinned = torch.from_numpy(codes) if codes.flags.writeable else None
    if pinned is not None and not pinned.is_pinned():
        pinned = None
    staging = [torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in range(2 * (pinned is None))]
    copied = [torch.cuda.Event() for _ in range(2)]  # type: ignore[no-untyped-call]
    copying.wait_stream(computing)

    def send(i: int, first: int) -> Tensor:
        rows = codes[first : first + step]
        target = buffers[i][: len(rows)]
        if pinned is None:
            copied[i].synchronize()  # the pinned buffer is free once its last copy has ended
            source = staging[i][: len(rows)]
            np.copyto(source.numpy(), rows)
        else:
            source = pinned[first : first + step]
        with torch.cuda.stream(copying):
            target.copy_(source, non_blocking=True)
            copied[i].record(copying)
        return target

    starts = range(0, len(codes), step)
    turns = itertools.cycle((0, 1))
    ahead: list[tuple[int, int, Tensor]] = []
    try:
        for first in starts:
            turn = next(turns)
            ahead.append((turn, first, send(turn, first)))
            if len(ahead) == 2:
                yield from _handed_over(ahead.pop(0), copied, computing)
                copying.wait_stream(computing)  # the next copy overwrites what was just searched
        for waiting in ahead:
            yield from _handed_over(waiting, copied, computing)
    finally:
        copying.synchronize()


def _handed_over(
    chunk: tuple[int, int, Tensor], copied: list[torch.cuda.Event], computing: torch.cuda.Stream
) -> Iterator[tuple[int, Tensor]]:
    turn, first, codes = chunk
    computing.wait_event(copied[turn])
    codes.record_stream(computing)
    yield first, codes
