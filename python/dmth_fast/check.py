"""The ``check`` command: does this installation compute what its specification says, and with what?

Each instruction set of this machine is compared with the slow NumPy reference on random codes of several
widths, the torch operators with the NumPy functions, and what is absent is named with its reason.
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dmth_fast import environment
from dmth_fast.retrieval import native, reference

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Finding", "findings", "run"]

_WIDTHS = (1, 7, 48, 64, 100, 128, 256, 1000)


class Finding(NamedTuple):
    """One line of the report."""

    subject: str
    good: bool | None
    """Whether it is as it should be; ``None`` for what is merely absent."""
    text: str


def run(console: "Console") -> int:
    """Print all findings.

    Args:
        console: Where the table goes.

    Returns:
        How many are not as they should be.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAVY, padding=(0, 1, 0, 0))
    for heading in ("check", "", "finding"):
        grid.add_column(heading, no_wrap=heading == "check")
    failed = 0
    for finding in findings():
        failed += finding.good is False
        mark = {True: "ok", False: "[bold red]FAILED[/bold red]", None: "[dim]-[/dim]"}[finding.good]
        grid.add_row(finding.subject, mark, escape(finding.text))
    console.print(environment.summary())
    console.print(grid)
    return failed


def findings() -> Iterator[Finding]:
    """Make every check, one after the other; an exception is a finding, too."""
    for isa in native.isas():
        in_force = " (in force)" if isa == native.isa() else ""
        yield _tried(f"kernels {isa}{in_force}", partial(_compare_kernels, isa))
    yield _tried("torch operators", _compare_operators)
    yield _tried("accelerator", _accelerator)
    for module, purpose in (
        ("sklearn", "needed by: dmth-fast demo (pip install scikit-learn)"),
        ("faiss", "rival of: dmth-fast bench (pip install faiss-cpu)"),
        ("timm", "more backbones (pip install timm)"),
        ("gradio", "the page of: dmth-fast serve (pip install gradio)"),
    ):
        there = find_spec(module) is not None
        yield Finding(
            f"optional {module}", True if there else None, "installed" if there else f"absent; {purpose}"
        )


def _tried(subject: str, check: Callable[[], tuple[bool | None, str]]) -> Finding:
    try:
        good, text = check()
    except Exception as error:
        return Finding(subject, False, f"{type(error).__name__}: {error}")
    return Finding(subject, good, text)


def _compare_kernels(isa: str) -> tuple[bool, str]:
    generator = np.random.default_rng(0)
    for bits in _WIDTHS:
        values = generator.standard_normal((300, bits)).astype(np.float32)
        codes = native.pack(values, 0.0, isa=isa)
        queries = codes[:9]
        labels = generator.integers(0, 5, 300)
        arguments: dict[str, tuple[Any, ...]] = {
            "pack": (values, 0.0),
            "hamming_distances": (codes, queries),
            "search": (codes, queries, 20),
            "range_search": (codes, queries, bits // 2),
            "histograms": (codes, queries, labels, labels[:9], bits),
            "relevant_ranks": (codes, queries, labels, labels[:9]),
        }
        for verb, given in arguments.items():
            expected = getattr(reference, verb)(*given)
            came = getattr(native, verb)(*given, isa=isa)
            if not _equal(expected, came):
                return False, f"{verb} of {bits} bits differs from the reference"
    return True, f"{len(arguments)} verbs equal the reference at {', '.join(map(str, _WIDTHS))} bits"


def _compare_operators() -> tuple[bool, str]:
    import torch

    import dmth_fast
    from dmth_fast.retrieval import ops  # noqa: F401  # registers them

    values = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    codes = dmth_fast.pack(values)
    tensors = dmth_fast.pack(torch.from_numpy(values))
    found = torch.ops.dmth_fast.search(tensors, tensors[:5], 10)
    expected = dmth_fast.search(codes, codes[:5], 10)
    equal = _equal(tuple(expected), tuple(part.numpy() for part in found))
    return equal, "equal the NumPy functions" if equal else "differ from the NumPy functions"


def _accelerator() -> tuple[bool | None, str]:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return None, "none: this torch is built for the CPU only"
    if not torch.cuda.is_available():
        return (
            None,
            f"none: torch is built for CUDA {torch.version.cuda} but finds no usable device or driver",
        )
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    if find_spec("dmth_fast._cuda") is None:
        return None, f"{names}: used for training; search runs on the CPU (installed without the CUDA module)"
    return True, f"{names}: used for training and search"


def _equal(expected: Any, came: Any) -> bool:
    if not isinstance(expected, tuple):
        return bool(np.array_equal(expected, came))
    return len(expected) == len(came) and all(map(np.array_equal, expected, came))
