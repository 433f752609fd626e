"""The CUDA verbs on the emulated device: a library built from the kernels' own sources."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CUDA = ROOT / "csrc" / "cuda"
METHODS = ("auto", "popcount", "tensor", "sliced", "warpgroup")
ELEMENTS = {"float16": 0, "bfloat16": 1, "float32": 2, "float64": 3, "bool": 4}
NO_NAN = 2**64 - 1


def compiler() -> str | None:
    """The C++ compiler of this machine, if there is one."""
    return os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


def build(folder: Path, flags: tuple[str, ...] = ("-O1",)) -> Path:
    """Compile kernels, plan and emulator to one library in ``folder``, unless it is there already."""
    sources = [HERE / "emulation.cpp", CUDA / "plan.cpp", *sorted(CUDA.glob("*.cu"))]
    parts = [
        *sources,
        HERE / "emulator.h",
        *sorted(CUDA.glob("*.h")),
        *sorted(CUDA.glob("*.cuh")),
        *sorted((ROOT / "csrc").glob("*.h")),
    ]
    digest = hashlib.sha256(
        b"\0".join(part.read_bytes() for part in parts) + repr(flags).encode()
    ).hexdigest()
    library = folder / f"emulation-{digest[:16]}.so"
    if library.exists():
        return library
    cxx = compiler()
    assert cxx is not None
    common = ["-std=c++20", *flags, "-fPIC", "-DDMTH_FAST_EMULATE", f"-I{HERE}", "-Wno-unknown-pragmas"]
    with tempfile.TemporaryDirectory() as scratch:
        objects = [Path(scratch) / f"{source.stem}.o" for source in sources]
        jobs = [
            subprocess.Popen(
                [cxx, *common, "-x", "c++", "-c", str(source), "-o", str(target)],
                stderr=subprocess.PIPE,
                text=True,
            )
            for source, target in zip(sources, objects, strict=True)
        ]
        for job, source in zip(jobs, sources, strict=True):
            _, errors = job.communicate()
            if job.returncode:
                raise RuntimeError(f"{source.name} does not compile for the emulator:\n{errors}")
        partial = library.with_suffix(f".{os.getpid()}")
        subprocess.run([cxx, *flags, "-shared", *map(str, objects), "-o", str(partial)], check=True)
        partial.rename(library)
    return library


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What must not change any result: the shape of the device, the memory, the order of threads."""

    method: str = "auto"
    multiprocessors: int = 2
    shared_bytes: int = 219 * 1024  # dynamic, that plans may use; the device has 8 KiB more
    major: int = 9  # of the compute capability; for plans
    budget: int = 1 << 26
    seed: int = 1


@dataclass(frozen=True)
class Pass:
    """One pass over the rows from ``first`` to ``end``."""

    first: int
    end: int
    method: int
    tile: int
    warps: int
    splits: int
    rows_per_split: int


@dataclass(frozen=True)
class Plan:
    """How a search is cut into launches."""

    workspace_bytes: int
    queries_per_pass: int
    capacity: int
    bound_rows: int
    bound: Pass
    count: Pass
    stages: tuple[Pass, ...]


class EmulatedDevice:
    """The verbs of ``dmth_fast.retrieval.native``, with :class:`Settings` in place of threads."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.emulation_error.restype = ctypes.c_char_p
        self._library.emulation_launches.restype = ctypes.c_longlong

    def _call(self, name: str, *arguments: Any) -> None:
        converted = [
            argument.ctypes.data_as(ctypes.c_void_p)
            if isinstance(argument, np.ndarray)
            else ctypes.c_void_p(None)
            if argument is None
            else ctypes.c_double(argument)
            if isinstance(argument, float)
            else ctypes.c_longlong(argument)
            for argument in arguments
        ]
        if getattr(self._library, name)(*converted):
            raise ValueError(self._library.emulation_error().decode())

    @property
    def launches(self) -> int:
        """Kernels started by the last verb."""
        return int(self._library.emulation_launches())

    def search_plan(self, rows: int, queries: int, width: int, k: int, settings: Settings) -> "Plan":
        out = np.full(1000, -7, np.int64)
        self._call(
            "emulate_search_plan",
            *(rows, queries, width, k, METHODS.index(settings.method)),
            *(settings.multiprocessors, settings.shared_bytes, settings.major, settings.budget, out),
        )
        passes = [Pass(*map(int, out[5 + 7 * i : 12 + 7 * i])) for i in range(2 + int(out[4]))]
        return Plan(*map(int, out[:4]), bound=passes[0], count=passes[1], stages=tuple(passes[2:]))

    @staticmethod
    def _sets(codes: Array, queries: Array) -> tuple[Any, ...]:
        return codes, len(codes), codes.shape[1], queries, len(queries)

    def search(
        self, codes: Array, queries: Array, k: int, settings: Settings, keep: Array | None = None
    ) -> tuple[Array, Array]:
        columns = min(k, len(codes))
        distances = np.full((len(queries), columns), -7, np.int32)
        ids = np.full((len(queries), columns), -7, np.int64)
        self._call(
            "emulate_search",
            *self._sets(codes, queries),
            columns,
            keep,
            METHODS.index(settings.method),
            settings.multiprocessors,
            settings.shared_bytes,
            settings.budget,
            settings.seed,
            distances,
            ids,
        )
        return distances, ids

    def range_search(
        self, codes: Array, queries: Array, radius: int, settings: Settings, keep: Array | None = None
    ) -> tuple[Array, Array, Array]:
        common = (
            *self._sets(codes, queries),
            radius,
            keep,
            settings.multiprocessors,
            settings.shared_bytes,
            settings.budget,
            settings.seed,
        )
        counts = np.full(len(queries), -7, np.int64)
        self._call("emulate_range_count", *common, counts)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        distances, ids = np.full(offsets[-1], -7, np.int32), np.full(offsets[-1], -7, np.int64)
        self._call("emulate_range_search", *common, offsets, distances, ids)
        return offsets, distances, ids

    def hamming_distances(self, codes: Array, queries: Array, settings: Settings) -> Array:
        out = np.full((len(queries), len(codes)), -7, np.int32)
        self._call(
            "emulate_distances", *self._sets(codes, queries), settings.multiprocessors, settings.seed, out
        )
        return out

    def histograms(
        self,
        codes: Array,
        queries: Array,
        database_labels: Array,
        query_labels: Array,
        bits: int,
        settings: Settings,
    ) -> tuple[Array, Array]:
        bins = 8 * codes.shape[1] + 1
        every, relevant = (
            np.full((len(queries), bins), -7, np.int64),
            np.full((len(queries), bins), -7, np.int64),
        )
        masks = database_labels.ndim == 2
        pair = (database_labels, query_labels)
        labels = (None, None, *pair, database_labels.shape[1]) if masks else (*pair, None, None, 0)
        self._call(
            "emulate_histograms",
            *self._sets(codes, queries),
            *labels,
            METHODS.index(settings.method),
            settings.multiprocessors,
            settings.shared_bytes,
            settings.seed,
            every,
            relevant,
        )
        return every[:, : bits + 1], relevant[:, : bits + 1]

    def products(self, method: str, bits: int, repeats: int) -> Array:
        """Totals of all threads of a device of one multiprocessor."""
        out = np.full(8 * 256, -7, np.int32)
        self._call("emulate_products", METHODS.index(method), bits, repeats, 1, len(out), out)
        return out

    def launch(self, shared: int, asked: int = -1) -> None:
        """Start a kernel of 5,000 bytes of shared memory of its own with ``shared`` more."""
        self._call("emulate_shared", Settings().shared_bytes, shared, asked)

    def pack(self, values: Array, element: str, threshold: float, seed: int = 1) -> tuple[Array, int]:
        """Codes, and the flat index of the first NaN or :data:`NO_NAN`."""
        rows, bits = values.shape
        out = np.full((rows, -(-bits // 8)), 0xA5, np.uint8)
        first_nan = np.zeros(1, np.uint64)
        self._call(
            "emulate_pack", values, ELEMENTS[element], rows, bits, float(threshold), seed, out, first_nan
        )
        return out, int(first_nan[0])
