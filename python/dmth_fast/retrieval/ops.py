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
    return torch.from_numpy(_codes.pack(exact.detach().numpy(), threshold))


def _search_cpu(
    codes: Tensor, queries: Tensor, k: int, bits: int | None = None, threads: int | None = None
) -> tuple[Tensor, Tensor]:
    found = _search.search(codes.numpy(), queries.numpy(), k, bits=bits, threads=threads)
    return torch.from_numpy(found.distances), torch.from_numpy(found.ids)


def _range_search_cpu(
    codes: Tensor, queries: Tensor, radius: int, bits: int | None = None, threads: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    found = _search.range_search(codes.numpy(), queries.numpy(), radius, bits=bits, threads=threads)
    return tuple(torch.from_numpy(part) for part in found)  # type: ignore[return-value]


def _hamming_distances_cpu(
    codes: Tensor, queries: Tensor, bits: int | None = None, threads: int | None = None
) -> Tensor:
    return torch.from_numpy(
        _search.hamming_distances(codes.numpy(), queries.numpy(), bits=bits, threads=threads)
    )


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
        query_codes.numpy(),
        query_labels.numpy(),
        database_codes.numpy(),
        database_labels.numpy(),
        top_k=top_k,
        ties=ties,
        normalizer=normalizer,
        bits=bits,
        threads=threads,
    )
    return torch.from_numpy(value)


def _pack_fake(values: Tensor, threshold: float = 0.0) -> Tensor:  # noqa: ARG001
    return values.new_empty((values.shape[0], (values.shape[1] + 7) // 8), dtype=torch.uint8)


def _search_fake(
    codes: Tensor,
    queries: Tensor,
    k: int,
    bits: int | None = None,  # noqa: ARG001
    threads: int | None = None,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    shape = (queries.shape[0], torch.sym_min(codes.shape[0], k))
    return codes.new_empty(shape, dtype=torch.int32), codes.new_empty(shape, dtype=torch.int64)


def _range_search_fake(
    codes: Tensor,
    queries: Tensor,
    radius: int,  # noqa: ARG001
    bits: int | None = None,  # noqa: ARG001
    threads: int | None = None,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor]:
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
    bits: int | None = None,  # noqa: ARG001
    threads: int | None = None,  # noqa: ARG001
) -> Tensor:
    return codes.new_empty((queries.shape[0], codes.shape[0]), dtype=torch.int32)


def _average_precision_fake(query_codes: Tensor, *_: Any, **__: Any) -> Tensor:
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
