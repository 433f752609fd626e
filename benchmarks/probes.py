"""What the machine itself can do, measured beside the search: reading memory, and arithmetic on all cores.

A query over a large database reads every code once, so its bound is the rate at which one or more threads
read memory (``native.read_probe``). Two threads can only be twice as fast as one where the two processors are
not two halves of one core: arithmetic that touches no memory tells.
"""

import ctypes
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from dmth_fast import bench


def arithmetic_scaling(threads: int, rounds: int) -> float:
    """How many times the arithmetic of one thread so many do: products of matrices that stay in L2."""
    matrices = [np.full((192, 192), 1.0) for _ in range(threads)]
    work: list[Callable[[], None]] = [lambda m=m: _multiply(m) for m in matrices]  # type: ignore[misc]
    seconds = bench.alternate({"one": work[0], "all": lambda: _together(work)}, rounds)
    return float(threads * median(seconds["one"]) / median(seconds["all"]))


def _multiply(matrix: Any) -> None:
    out = np.empty_like(matrix)
    for _ in range(40):
        np.matmul(matrix, matrix, out=out)


def _together(work: list[Callable[[], Any]]) -> None:
    """All at once, a thread each, this thread one of them."""
    others = [threading.Thread(target=each) for each in work[1:]]
    for thread in others:
        thread.start()
    work[0]()
    for thread in others:
        thread.join()


def physical_cores() -> int | None:
    """How many cores the system says that the usable processors are; a virtual machine may not know."""
    cores = set()
    for processor in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        if not siblings.exists():
            return None
        cores.add(siblings.read_text(encoding="ascii").strip())
    return len(cores)


def peak_bytes(run: Callable[[], Any]) -> int:
    """How much more memory was resident at once while it ran, its result included; Linux only."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier calls freed must not hide what this one takes
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    result = run()
    peak = _status("VmHWM")
    del result
    return peak - before


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")
