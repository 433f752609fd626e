"""The retrieval verbs on CUDA tensors.

Outputs and workspaces are torch tensors, the work goes to torch's current stream of the tensors' own
device, and nothing waits for the device, with three exceptions that the results or the checks need:
:func:`range_search` (the size of the result), :func:`pack` of floating values (NaN is an error), and a
``bits`` that is no multiple of 8 (padding bits are checked). So a CUDA graph can capture
:func:`search` and :func:`hamming_distances`.

Results are those of the CPU, bit for bit. Only :mod:`dmth_fast.retrieval.ops` and the index on a device
import this module, for tensors that are on one already.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import (
    Array,
    are_tensors,
    choice,
    describe,
    integer,
    optional_integer,
)
from dmth_fast.retrieval.codes import MAX_BITS, num_bytes

METHODS = ("auto", "popcount", "tensor", "sliced", "warpgroup")
_MOST_WORKSPACE = 2**30
_NO_NAN = -1  # 2**64 - 1, read as int64
_ELEMENTS = {
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bool: "bool",
}


def checked_codes(codes: Tensor, name: str, bits: int | None = None) -> Tensor:
    """``codes`` as a contiguous tensor, if it keeps the contract of packed codes.

    Raises:
        TypeError: not uint8.
        ValueError: another shape or width, or padding bits that are not zero.
    """
    width = "bytes" if bits is None else str(num_bytes(bits))
    expected = f"{name} must be uint8 of shape (n, {width})" + ("" if bits is None else f" for {bits} bits")
    if codes.dtype != torch.uint8:
        raise TypeError(f"{expected}, got {describe(codes)}")
    if codes.ndim != 2 or (bits is not None and codes.shape[1] != num_bytes(bits)):
        raise ValueError(f"{expected}, got {describe(codes)}")
    if not 1 <= codes.shape[1] <= num_bytes(MAX_BITS):
        raise ValueError(f"{expected} with 1 to {num_bytes(MAX_BITS)} bytes a row, got {describe(codes)}")
    if bits is not None and bits % 8 and len(codes):
        dirty = (codes[:, -1] >> (bits % 8)).ne(0)
        if bool(dirty.any()):
            raise ValueError(
                f"{name} must have zero padding after bit {bits - 1}, got {int(dirty.sum())} row(s) with "
                f"padding bits set, the first is row {int(dirty.nonzero()[0, 0])}"
            )
    return codes.contiguous()


def checked_pair(codes: Tensor, queries: Tensor, bits: int | None) -> tuple[Tensor, Tensor, int]:
    """Database and query codes of one width on one device, and the number of bits (8 a byte unless given).

    Raises:
        TypeError: as :func:`checked_codes`.
        ValueError: as :func:`checked_codes`; other widths or devices.
    """
    are_tensors(codes=codes, queries=queries)
    number = None if bits is None else integer(bits, "bits", 1, MAX_BITS)
    database, wanted = checked_codes(codes, "codes", number), checked_codes(queries, "queries", number)
    if database.shape[1] != wanted.shape[1]:
        raise ValueError(
            f"queries must have the {database.shape[1]} bytes a row of codes, got {describe(wanted)}"
        )
    return database, wanted, 8 * database.shape[1] if number is None else number


def pack(values: Tensor, threshold: float = 0.0) -> Tensor:
    """:func:`dmth_fast.pack` on the device; waits for it unless ``values`` are Boolean."""
    if values.dtype not in _ELEMENTS:
        raise TypeError(
            "values must be float16, bfloat16, float32, float64 or bool of shape (n, bits), "
            f"got {describe(values)}"
        )
    if values.ndim != 2 or not 1 <= values.shape[1] <= MAX_BITS:
        raise ValueError(
            f"values must have shape (n, bits) with 1 to {MAX_BITS} bits, got {describe(values)}"
        )
    if isinstance(threshold, (bool, str)) or not -float("inf") < threshold < float("inf"):
        raise ValueError(f"threshold must be a finite number, got {threshold!r}")
    module, source = native.cuda(), values.detach().contiguous()
    rows, bits = source.shape
    out = source.new_empty((rows, num_bytes(bits)), dtype=torch.uint8)
    if not rows:
        return out
    first_nan = source.new_empty((1,), dtype=torch.int64)
    module.pack(
        source.data_ptr(),
        _ELEMENTS[source.dtype],
        rows,
        bits,
        float(threshold),
        out.data_ptr(),
        first_nan.data_ptr(),
        *_place(source),
    )
    if source.dtype != torch.bool:
        found = int(first_nan.item())
        if found != _NO_NAN:
            raise ValueError(
                f"values must not contain NaN, got NaN at row {found // bits}, column {found % bits}"
            )
    return out


def hamming_distances(
    codes: Tensor, queries: Tensor, bits: int | None = None, threads: int | None = None
) -> Tensor:
    """:func:`dmth_fast.hamming_distances` on the device; ``threads`` is checked and has no meaning there."""
    database, wanted, _ = checked_pair(codes, queries, bits)
    optional_integer(threads, "threads", 1)
    module = native.cuda()
    out = database.new_empty((len(wanted), len(database)), dtype=torch.int32)
    if out.numel():
        module.hamming_distances(*_sets(database, wanted), out.data_ptr(), *_place(database))
    return out


def search(
    codes: Tensor, queries: Tensor, k: int, bits: int | None = None, threads: int | None = None
) -> tuple[Tensor, Tensor]:
    """:func:`dmth_fast.search` on the device; ``threads`` is checked and has no meaning there."""
    database, wanted, _ = checked_pair(codes, queries, bits)
    optional_integer(threads, "threads", 1)
    return search_rows(database, wanted, min(integer(k, "k", 1), len(database)))


def search_rows(
    codes: Tensor,
    queries: Tensor,
    k: int,
    *,
    keep: Tensor | None = None,
    method: str = "auto",
    workspace_bytes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`search` of checked codes, with what only this device has.

    Args:
        codes: (n, bytes) uint8, contiguous, on a CUDA device.
        queries: (q, bytes) uint8, contiguous, on the same device.
        k: 1 to n, or 0 for an empty database; at most the rows that ``keep`` lets through.
        keep: (ceil(n / 8),) uint8, one bit a row, little: the rows that take part; None for all.
        method: how candidates are found: "popcount" (any width), "tensor" (up to 512 bits), "warpgroup"
            (the same by the instruction of compute capability 9.0), "sliced" (up to 64 bits); "auto" chooses
            by shape.
        workspace_bytes: memory that may be used beside inputs and results; by default a gigabyte, or an
            eighth of the device's memory where that is less. With less, queries go in several passes; where
            the device has not so much left, less is taken.

    Raises:
        ValueError: unknown method, or ``keep`` of another form.
        MemoryError: the workspace does not hold one tile of queries; the message names the bytes.
    """
    choice(method, "method", METHODS)
    module, shape = native.cuda(), (len(queries), k)
    mask = _checked_mask(keep, codes)
    distances = codes.new_empty(shape, dtype=torch.int32)
    ids = codes.new_empty(shape, dtype=torch.int64)
    if not distances.numel():
        return distances, ids
    sizes = (len(codes), len(queries), codes.shape[1], k, method, _index_of(codes))
    plan, workspace = planned(
        lambda most: module.search_plan(*sizes, most), codes, workspace_bytes or _budget(codes)
    )
    module.search(
        plan,
        codes.data_ptr(),
        queries.data_ptr(),
        0 if mask is None else mask.data_ptr(),
        workspace.data_ptr(),
        distances.data_ptr(),
        ids.data_ptr(),
        *_place(codes),
    )
    return distances, ids


def range_search(
    codes: Tensor,
    queries: Tensor,
    radius: int,
    bits: int | None = None,
    threads: int | None = None,
    *,
    keep: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`dmth_fast.range_search` on the device; waits for it once, to know the size of the result.

    ``keep`` is as of :func:`search_rows`.
    """
    database, wanted, width = checked_pair(codes, queries, bits)
    optional_integer(threads, "threads", 1)
    limit = integer(radius, "radius", 0, width)
    module, mask = native.cuda(), _checked_mask(keep, database)
    offsets = database.new_zeros((len(wanted) + 1,), dtype=torch.int64)
    if not len(wanted) or not len(database):
        return (
            offsets,
            database.new_empty((0,), dtype=torch.int32),
            database.new_empty((0,), dtype=torch.int64),
        )
    sizes = (len(database), len(wanted), database.shape[1], _index_of(database))
    plan, workspace = planned(lambda most: module.range_plan(*sizes, most), database, _budget(database))
    counts = database.new_empty((len(wanted),), dtype=torch.int64)
    kept = 0 if mask is None else mask.data_ptr()
    inputs = (plan, database.data_ptr(), wanted.data_ptr(), kept, limit, workspace.data_ptr())
    module.range_count(*inputs, counts.data_ptr(), *_place(database))
    torch.cumsum(counts, 0, out=offsets[1:])
    total = int(offsets[-1].item())
    distances = database.new_empty((total,), dtype=torch.int32)
    ids = database.new_empty((total,), dtype=torch.int64)
    if total:
        module.range_write(
            *inputs, offsets.data_ptr(), distances.data_ptr(), ids.data_ptr(), *_place(database)
        )
    return offsets, distances, ids


def histograms(
    codes: Tensor,
    queries: Tensor,
    database_labels: Array,
    query_labels: Array,
    bits: int,
    method: str = "auto",
) -> tuple[Array, Array]:
    """The counts of an evaluation: ``native.histograms`` for codes on a device.

    Args:
        codes: (n, bytes) uint8 on a CUDA device.
        queries: (q, bytes) uint8 on the same device.
        database_labels: (n,) int64 class ids or (n, words) uint64 masks, NumPy.
        query_labels: the same for the queries.
        bits: bits of a code.
        method: "auto", "popcount" or "tensor"; it changes the time, never the result.

    Returns:
        NumPy counts of all and of relevant rows, each (q, bits + 1) int64.
    """
    database, wanted = codes.contiguous(), queries.contiguous()
    module, bins = native.cuda(), 8 * database.shape[1] + 1
    every = database.new_empty((len(wanted), bins), dtype=torch.int64)
    relevant = torch.empty_like(every)
    labels = [
        torch.from_numpy(side.view("int64")).to(database.device) for side in (database_labels, query_labels)
    ]
    words = labels[0].shape[1] if labels[0].ndim == 2 else 0
    module.histograms(
        *_sets(database, wanted),
        labels[0].data_ptr(),
        labels[1].data_ptr(),
        words,
        every.data_ptr(),
        relevant.data_ptr(),
        method,
        *_place(database),
    )
    return every[:, : bits + 1].cpu().numpy(), relevant[:, : bits + 1].cpu().numpy()


def planned(plan_within: Callable[[int], Any], codes: Tensor, most: int) -> tuple[Any, Tensor]:
    """A plan and its workspace beside ``codes``, of half the bytes for as long as the device is too full.

    Args:
        plan_within: makes a plan of at most so many bytes, or raises MemoryError naming what it needs.
        codes: on the device.
        most: bytes to begin with.

    Raises:
        MemoryError: not even one tile of queries fits; its cause is the device's refusal, if there was one.
    """
    refusal: torch.OutOfMemoryError | None = None
    while True:
        try:
            plan = plan_within(most)
        except MemoryError as error:
            raise error from refusal
        try:
            return plan, codes.new_empty((plan.workspace_bytes,))
        except torch.OutOfMemoryError as error:
            refusal, most = error, int(plan.workspace_bytes) // 2


def _checked_mask(keep: Tensor | None, codes: Tensor) -> Tensor | None:
    """One bit a row of ``codes``, contiguous; None for all rows."""
    if keep is None:
        return None
    words = -(-len(codes) // 8)
    if keep.dtype != torch.uint8 or keep.shape != (words,) or keep.device != codes.device:
        raise ValueError(f"keep must be uint8 of shape ({words},) on {codes.device}, got {describe(keep)}")
    return keep.contiguous()


def _sets(codes: Tensor, queries: Tensor) -> tuple[int, int, int, int, int]:
    """Database and queries as the module takes them."""
    return codes.data_ptr(), len(codes), queries.data_ptr(), len(queries), codes.shape[1]


def _index_of(tensor: Tensor) -> int:
    index: int | None = tensor.device.index
    assert index is not None
    return index


def _place(tensor: Tensor) -> tuple[int, int]:
    """The tensor's device, and torch's current stream there."""
    return _index_of(tensor), int(torch.cuda.current_stream(tensor.device).cuda_stream)


def _budget(tensor: Tensor) -> int:
    properties: Any = torch.cuda.get_device_properties(tensor.device)
    return min(_MOST_WORKSPACE, int(properties.total_memory) // 8)
