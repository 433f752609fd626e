"""What the native engine is built for and what this machine has: instruction sets, threads."""

import os
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dmth_fast import _core

Codes: TypeAlias = npt.NDArray[np.uint8]
Distances: TypeAlias = npt.NDArray[np.int32]
Ids: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.uint64]

_ISA_VARIABLE = "DMTH_FAST_ISA"
_MOST_THREADS = 1024  # more than any machine runs well; keeps a typing error from exhausting the system


def core_version() -> str:
    """Version of the package that the compiled core was built from.

    Returns:
        The same as ``dmth_fast.__version__``, or else an editable install needs to be built again.

    Example:
        >>> core_version().count(".")
        2
    """
    return _core.__version__


def isas() -> tuple[str, ...]:
    """Instruction sets that this machine can run.

    Returns:
        Their names, slowest first.

    Example:
        >>> isas()[0]
        'portable'
    """
    return tuple(_core.isas())


def isa() -> str:
    """The instruction set in force: the environment's ``DMTH_FAST_ISA``, or the best of this machine.

    Returns:
        Its name, one of :func:`isas`.

    Raises:
        ValueError: ``DMTH_FAST_ISA`` names an unknown instruction set, or one that this machine lacks.

    Example:
        >>> isa() in isas()
        True
    """
    forced = os.environ.get(_ISA_VARIABLE)
    if not forced:
        return isas()[-1]
    return _known_isa(forced, f"{_ISA_VARIABLE} must be")


def instruction_set(wanted: str | None) -> str:
    """The one that a caller asks for, or else the one in force."""
    return isa() if wanted is None else _known_isa(wanted, "isa must be")


def _known_isa(wanted: str, subject: str) -> str:
    if wanted not in isas():
        raise ValueError(f"{subject} one of {', '.join(isas())} on this machine, got {wanted!r}")
    return wanted


def thread_count(threads: int | None = None) -> int:
    """The number of threads that a call with this argument uses.

    Args:
        threads: The caller's wish; ``None`` means all cores that this process may use.

    Returns:
        At least 1.

    Raises:
        TypeError: ``threads`` is no integer.
        ValueError: ``threads`` is less than 1.

    Example:
        >>> thread_count(3)
        3
    """
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)):
        raise TypeError(f"threads must be an integer or None, got {type(threads).__name__}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1 or None for all cores, got {threads}")
    return min(int(threads), _MOST_THREADS)


def read_probe(data: npt.NDArray[np.uint8], *, threads: int | None = None) -> int:
    """Read an array once: the bound of one query over a large database, for benchmarks to time beside it.

    Args:
        data: uint8 of any shape.
        threads: See the module; each reads a part.

    Returns:
        The XOR of a word of each cache line, which nobody needs: without it nothing would have to be read.

    Example:
        >>> read_probe(np.array([1, 2], np.uint8), threads=1)
        3
    """
    return _core.read_probe(data, thread_count(threads), isa())
