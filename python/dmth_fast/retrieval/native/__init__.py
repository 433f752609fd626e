"""The only door to the native engine.

Arguments are NumPy arrays that the caller has checked: C-contiguous, native byte order, codes ``uint8`` of
shape ``(n, ceil(bits / 8))`` with zero padding bits. Results come in the order (distance, id), the same for
every instruction set and number of threads.

Every verb takes ``threads`` (``None``: all cores that this process may use) and ``isa`` (``None``: the one in
force, see :func:`isa`).
"""

from dmth_fast.retrieval.native.counting import (
    graded_histograms,
    histograms,
    rank_sums,
    relevant_ranks,
    self_ranks,
)
from dmth_fast.retrieval.native.device import CudaStatus, cuda, cuda_available
from dmth_fast.retrieval.native.machine import core_version, isa, isas, read_probe, thread_count
from dmth_fast.retrieval.native.scan import (
    hamming_distances,
    kept_rows,
    pack,
    range_count,
    range_search,
    search,
)
from dmth_fast.retrieval.native.store import Store
from dmth_fast.retrieval.native.ties import (
    RadiusCurves,
    radius_curves,
    tied_discounts,
    tied_firsts,
    tied_sums,
)

__all__ = [
    "CudaStatus",
    "RadiusCurves",
    "Store",
    "core_version",
    "cuda",
    "cuda_available",
    "graded_histograms",
    "hamming_distances",
    "histograms",
    "isa",
    "isas",
    "kept_rows",
    "pack",
    "radius_curves",
    "range_count",
    "range_search",
    "rank_sums",
    "read_probe",
    "relevant_ranks",
    "search",
    "self_ranks",
    "thread_count",
    "tied_discounts",
    "tied_firsts",
    "tied_sums",
]
