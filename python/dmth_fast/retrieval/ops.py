"""The retrieval verbs as torch ops: ``torch.ops.dmth_fast.{pack, search, range_search, ...}``.

Schemas, shape functions (fakes) and the CPU implementation over the NumPy functions, which share the
tensors' memory. Importing this module registers the ops; :mod:`dmth_fast` does it for the first tensor.

>>> import torch
>>> codes = torch.tensor([[0b0000], [0b0111], [0b0001]], dtype=torch.uint8)
>>> torch.ops.dmth_fast.search(codes, codes[:1], 2)
(tensor([[0, 1]], dtype=torch.int32), tensor([[0, 2]]))
"""

from typing import Any

import torch
from torch import Tensor

from dmth_fast.retrieval import codes as _codes
from dmth_fast.retrieval import cuda as cuda_verbs
from dmth_fast.retrieval import evaluation as _evaluation
from dmth_fast.retrieval import search as _search
from dmth_fast.retrieval.arguments import Array, as_numpy, describe

_PACKED = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool)
_SCHEMAS = (
    "pack(Tensor values, float threshold=0.0) -> Tensor",
    "search(Tensor codes, Tensor queries, int k, int? bits=None, int? threads=None) -> (Tensor, Tensor)",
    (
        "range_search(Tensor codes, Tensor queries, int radius, int? bits=None, int? threads=None)"
        " -> (Tensor, Tensor, Tensor)"
    ),
    "hamming_distances(Tensor codes, Tensor queries, int? bits=None, int? threads=None) -> Tensor",
    (
        "average_precision(Tensor query_codes, Tensor query_labels, Tensor database_codes,"
        " Tensor database_labels, int? top_k=None, str ties='expected', str normalizer='relevant',"
        " int? bits=None, int? threads=None) -> Tensor"
    ),
)


def _pack(values: Tensor, threshold: float = 0.0) -> Tensor:
    # NumPy has no bfloat16; every bfloat16 is a float32.
    exact = values.float() if values.dtype == torch.bfloat16 else values
    return torch.from_numpy(_codes.pack(as_numpy(exact, "values"), threshold))


def _pair(codes: Tensor, queries: Tensor) -> tuple[Array, Array]:
    return as_numpy(codes, "codes"), as_numpy(queries, "queries")


def _search_cpu(
    codes: Tensor, queries: Tensor, k: int, bits: int | None = None, threads: int | None = None
) -> tuple[Tensor, Tensor]:
    found = _search.search(*_pair(codes, queries), k, bits=bits, threads=threads)
    return torch.from_numpy(found.distances), torch.from_numpy(found.ids)


def _range_search_cpu(
    codes: Tensor, queries: Tensor, radius: int, bits: int | None = None, threads: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    found = _search.range_search(*_pair(codes, queries), radius, bits=bits, threads=threads)
    return tuple(torch.from_numpy(part) for part in found)  # type: ignore[return-value]


def _hamming_distances_cpu(
    codes: Tensor, queries: Tensor, bits: int | None = None, threads: int | None = None
) -> Tensor:
    return torch.from_numpy(_search.hamming_distances(*_pair(codes, queries), bits=bits, threads=threads))


def _average_precision_cpu(
    query_codes: Tensor,
    query_labels: Tensor,
    database_codes: Tensor,
    database_labels: Tensor,
    top_k: int | None = None,
    ties: str = "expected",
    normalizer: str = "relevant",
    bits: int | None = None,
    threads: int | None = None,
) -> Tensor:
    value = _evaluation.average_precision(
        as_numpy(query_codes, "query_codes"),
        as_numpy(query_labels, "query_labels"),
        as_numpy(database_codes, "database_codes"),
        as_numpy(database_labels, "database_labels"),
        top_k=top_k,
        ties=ties,
        normalizer=normalizer,
        bits=bits,
        threads=threads,
    )
    return torch.from_numpy(value)


# What the shapes and types alone tell, the fakes refuse as the real ops do; torch's checks let a size that is
# known only when it is computed pass until then.
def _check_codes(codes: Tensor, name: str, bits: int | None) -> None:
    expected = f"{name} must be uint8 of shape (n, {'bytes' if bits is None else _codes.num_bytes(bits)})"
    torch._check_type(codes.dtype == torch.uint8, lambda: f"{expected}, got {describe(codes)}")
    torch._check_value(codes.ndim == 2, lambda: f"{expected}, got {describe(codes)}")
    width, most = codes.shape[1], _codes.num_bytes(_codes.MAX_BITS)
    torch._check_value(width >= 1, lambda: f"{expected} with at least 1 byte a row, got {describe(codes)}")
    torch._check_value(width <= most, lambda: f"{expected} with up to {most} bytes, got {describe(codes)}")
    if bits is not None:
        torch._check_value(width == _codes.num_bytes(bits), lambda: f"{expected}, got {describe(codes)}")


def _check_pair(
    codes: Tensor, queries: Tensor, bits: int | None, names: tuple[str, str] = ("codes", "queries")
) -> None:
    _check_codes(codes, names[0], bits)
    _check_codes(queries, names[1], bits)
    torch._check_value(
        codes.shape[1] == queries.shape[1],
        lambda: f"{names[1]} must have the bytes a row of {names[0]}, got {describe(queries)}",
    )


def _check_labels(labels: Tensor, name: str, count: int) -> None:
    expected = f"{name} must be integers of shape (n,), or 0 and 1 of shape (n, C), one row a code"
    real = labels.is_floating_point() or labels.is_complex()
    torch._check_type(not real, lambda: f"{expected}, got {describe(labels)}")
    torch._check_value(labels.ndim in (1, 2), lambda: f"{expected}, got {describe(labels)}")
    torch._check_value(labels.shape[0] == count, lambda: f"{expected}, got {describe(labels)}")


def _pack_fake(values: Tensor, threshold: float = 0.0) -> Tensor:  # noqa: ARG001
    expected = f"values must be floating point or bool of shape (n, bits) with 1 to {_codes.MAX_BITS} bits"
    torch._check_type(values.dtype in _PACKED, lambda: f"{expected}, got {describe(values)}")
    torch._check_value(values.ndim == 2, lambda: f"{expected}, got {describe(values)}")
    torch._check_value(values.shape[1] >= 1, lambda: f"{expected}, got {describe(values)}")
    torch._check_value(values.shape[1] <= _codes.MAX_BITS, lambda: f"{expected}, got {describe(values)}")
    return values.new_empty((values.shape[0], (values.shape[1] + 7) // 8), dtype=torch.uint8)


def _search_fake(
    codes: Tensor,
    queries: Tensor,
    k: int,
    bits: int | None = None,
    threads: int | None = None,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    _check_pair(codes, queries, bits)
    torch._check_value(k >= 1, lambda: f"k must be an integer >= 1, got {k}")
    shape = (queries.shape[0], torch.sym_min(codes.shape[0], k))
    return codes.new_empty(shape, dtype=torch.int32), codes.new_empty(shape, dtype=torch.int64)


def _range_search_fake(
    codes: Tensor,
    queries: Tensor,
    radius: int,
    bits: int | None = None,
    threads: int | None = None,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor]:
    _check_pair(codes, queries, bits)
    torch._check_value(radius >= 0, lambda: f"radius must be an integer >= 0, got {radius}")
    # How many lie within the radius is known only when it is computed.
    found = torch.library.get_ctx().new_dynamic_size()
    return (
        codes.new_empty((queries.shape[0] + 1,), dtype=torch.int64),
        codes.new_empty((found,), dtype=torch.int32),
        codes.new_empty((found,), dtype=torch.int64),
    )


def _hamming_distances_fake(
    codes: Tensor,
    queries: Tensor,
    bits: int | None = None,
    threads: int | None = None,  # noqa: ARG001
) -> Tensor:
    _check_pair(codes, queries, bits)
    return codes.new_empty((queries.shape[0], codes.shape[0]), dtype=torch.int32)


def _average_precision_fake(
    query_codes: Tensor,
    query_labels: Tensor,
    database_codes: Tensor,
    database_labels: Tensor,
    top_k: int | None = None,  # noqa: ARG001
    ties: str = "expected",  # noqa: ARG001
    normalizer: str = "relevant",  # noqa: ARG001
    bits: int | None = None,
    threads: int | None = None,  # noqa: ARG001
) -> Tensor:
    _check_pair(database_codes, query_codes, bits, ("database_codes", "query_codes"))
    _check_labels(query_labels, "query_labels", query_codes.shape[0])
    _check_labels(database_labels, "database_labels", database_codes.shape[0])
    return query_codes.new_empty((query_codes.shape[0],), dtype=torch.float64)


def _average_precision_cuda(
    query_codes: Tensor, query_labels: Tensor, database_codes: Tensor, database_labels: Tensor, *args: Any
) -> Tensor:
    names = ("top_k", "ties", "normalizer", "bits", "threads")
    value = _evaluation.average_precision(
        query_codes, query_labels, database_codes, database_labels, **dict(zip(names, args, strict=False))
    )
    return torch.from_numpy(value).to(query_codes.device)


_IMPLEMENTATIONS: dict[str, tuple[Any, Any, Any]] = {
    "pack": (_pack, cuda_verbs.pack, _pack_fake),
    "search": (_search_cpu, cuda_verbs.search, _search_fake),
    "range_search": (_range_search_cpu, cuda_verbs.range_search, _range_search_fake),
    "hamming_distances": (_hamming_distances_cpu, cuda_verbs.hamming_distances, _hamming_distances_fake),
    "average_precision": (_average_precision_cpu, _average_precision_cuda, _average_precision_fake),
}

for _schema in _SCHEMAS:
    torch.library.define(f"dmth_fast::{_schema.split('(', 1)[0]}", _schema[_schema.index("(") :])
for _name, (_cpu, _device, _fake) in _IMPLEMENTATIONS.items():
    torch.library.impl(f"dmth_fast::{_name}", "cpu", _cpu)
    torch.library.impl(f"dmth_fast::{_name}", "cuda", _device)
    torch.library.register_fake(f"dmth_fast::{_name}", _fake)

pack = torch.ops.dmth_fast.pack
search = torch.ops.dmth_fast.search
range_search = torch.ops.dmth_fast.range_search
hamming_distances = torch.ops.dmth_fast.hamming_distances
average_precision = torch.ops.dmth_fast.average_precision
