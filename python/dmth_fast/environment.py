"""The machine and the software a figure was obtained with: every result file carries it.

One function, so that a training run, an evaluation and a benchmark can be compared field by field.
"""

import os
import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Distributions whose version can change a figure: what computes, draws the data, is timed beside us.
_DISTRIBUTIONS = (
    "numpy",
    "torch",
    "torchvision",
    "accelerate",
    "scikit-learn",
    "faiss-cpu",
    "usearch",
    "numkong",
    "torchmetrics",
)


def describe() -> dict[str, object]:
    """Describe the processor, the memory, the instruction sets and the versions in force.

    Versions are read from the installed metadata, so nothing heavy is imported. What only a loaded torch
    knows (its thread count, the accelerators it sees) is added when torch has been imported already.

    Returns:
        A JSON-ready dictionary: ``hardware`` with ``cpu``, ``cores`` (usable by this process),
        ``memory_gib``, ``machine``, ``isas`` (kernels usable here, slowest first), ``isa`` (the one in
        force) and ``accelerators`` (``None`` while unknown); ``versions`` with ``dmth_fast``, ``python`` and
        the distributions installed; ``system`` with its release; ``load_average`` of the last minute, since
        times taken beside other work mean little; ``torch_threads``, only where torch is loaded.

    >>> sorted(describe()["hardware"])
    ['accelerators', 'cores', 'cpu', 'isa', 'isas', 'machine', 'memory_gib']
    """
    isas, isa = _instruction_sets()
    accelerators: list[str] | None = None
    extra: dict[str, object] = {}
    torch = sys.modules.get("torch")
    if torch is not None:
        extra["torch_threads"] = torch.get_num_threads()
        cuda = torch.cuda
        accelerators = (
            [cuda.get_device_name(i) for i in range(cuda.device_count())] if cuda.is_available() else []
        )
    return {
        "hardware": {
            "cpu": _cpu_model(),
            "cores": usable_cores(),
            "memory_gib": _memory_gib(),
            "machine": platform.machine(),
            "isas": isas,
            "isa": isa,
            "accelerators": accelerators,
        },
        "versions": _versions(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "load_average": _load_average(),
        **extra,
    }


def summary(environment: dict[str, object] | None = None) -> str:
    """Say in one line what :func:`describe` says in full, to stand under a table or a plot.

    Args:
        environment: A result of :func:`describe`, possibly read from a file; ``None`` describes this machine.

    Returns:
        Processor, cores, ISA and the versions that matter, for example
        ``AMD EPYC 9R14, 2 cores, avx512; dmth_fast 0.1.0, numpy 2.4.0, torch 2.15.0``.
    """
    environment = describe() if environment is None else environment
    hardware, versions = environment["hardware"], environment["versions"]
    if not isinstance(hardware, dict) or not isinstance(versions, dict):
        raise TypeError("environment must be a result of describe(): its 'hardware' and 'versions' are dicts")
    cores = hardware["cores"]
    machine = [str(hardware["cpu"]), f"{cores} core{'s' if cores != 1 else ''}"]
    if hardware["isa"]:
        machine.append(str(hardware["isa"]))
    machine += hardware["accelerators"] or []
    software = [
        f"{name} {versions[name]}"
        for name in ("dmth_fast", "numpy", "torch", "faiss-cpu")
        if name in versions
    ]
    return f"{', '.join(machine)}; {', '.join(software)}"


def usable_cores() -> int:
    """Count the cores this process may run on (its affinity mask, not the whole machine)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _instruction_sets() -> tuple[list[str], str | None]:
    """The kernels' ISAs, or none where the native module is missing (a source tree that was not built)."""
    try:
        from dmth_fast.retrieval import native
    except ImportError:
        return [], None
    return list(native.isas()), native.isa()


def _versions() -> dict[str, str]:
    from dmth_fast import __version__

    versions = {"dmth_fast": __version__, "python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _cpu_model() -> str:
    """The model as the kernel names it; ``platform.processor()`` is empty on most Linux systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Model", "Hardware"} and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def _load_average() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
