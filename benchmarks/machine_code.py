"""What the machine code of the CUDA kernels allows, read from the code itself: no device is needed.

For each kernel that finds or counts, the loop that every pair passes is taken from the disassembly, up to the
vote that sends the usual case back to its start, and its instructions are counted by the unit that executes
them. Units take a warp's 32 lanes in so many clocks of one of the four parts of a multiprocessor (compute
capability 9.0: 64 logic and integer operations, 64 multiplications and 16 population counts a clock and
multiprocessor, by the CUDA C++ Programming Guide's table of arithmetic throughput), and one instruction is
issued a clock. The busiest of them bounds the pairs that a multiprocessor compares in a clock. Memory, the
matrix unit, whose rate for bits is not published, and waiting are not counted: a bound, not a measurement.

    python benchmarks/machine_code.py                                                 # the installed module
    python benchmarks/machine_code.py --out benchmarks/results/machine-code.json
    python benchmarks/machine_code.py --module _cuda.so

Needs ``cuobjdump`` and ``nvdisasm``, of CUDA's toolkit or of the Python package triton.
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

MULTIPROCESSORS, CLOCK = 132, 1.98e9  # of an H200, for pairs a second


class Kernel(NamedTuple):
    """A kernel whose loop is read: its name in words and in the module, and the pairs of a warp in a pass."""

    words: str
    symbol: str
    pairs: int
    mark: str = "VOTE"  # the operation behind which a branch ends the usual pass; "" takes the whole loop
    holds: tuple[str, int] = ("matrix", 1)  # the shortest loop with so many operations of a unit is meant


KERNELS = (
    Kernel("search, tensor, to 64 bits", "tensor_collect_kernelILi64ELb1E", 64 * 32),
    Kernel("search, tensor, to 128 bits", "tensor_collect_kernelILi128ELb1E", 64 * 32),
    Kernel("search, tensor, to 256 bits", "tensor_collect_kernelILi256ELb1E", 64 * 16),
    Kernel("search, tensor, to 512 bits", "tensor_collect_kernelILi512ELb1E", 64 * 16),
    Kernel("search, warpgroup, to 128 bits", "warpgroup_collect_kernelILi128ELb1E", 64 * 16),
    Kernel("search, warpgroup, to 256 bits", "warpgroup_collect_kernelILi256ELb1E", 64 * 16),
    Kernel("search, warpgroup, to 512 bits", "warpgroup_collect_kernelILi512ELb1E", 64 * 16),
    Kernel("search, sliced, to 64 bits", "sliced_collect_kernelILi2E", 1024, "SHF", ("shared", 32)),
    Kernel("histograms, tensor, to 64 bits", "tensor_count_kernelILi64ELi8ELb1ENS0_9SameClass", 64 * 16, ""),
    Kernel(
        "histograms, tensor, to 128 bits", "tensor_count_kernelILi128ELi2ELb1ENS0_9SameClass", 16 * 16, ""
    ),
)

# Clocks that a warp's instruction takes of its unit, in one of the four parts of a multiprocessor.
UNITS = {
    "integer": (
        "IADD",
        "IABS",
        "ISETP",
        "LEA",
        "LOP",
        "PLOP",
        "PRMT",
        "SEL",
        "SHF",
        "SHL",
        "VIADD",
        "VIMNMX",
    ),
    "multiply": ("IMAD", "IDP", "FFMA", "FADD", "FMUL"),
    "count": ("POPC", "FLO", "BREV"),
    "matrix": ("BMMA", "BGMMA"),
    "shared": ("ATOMS", "LDS", "STS"),
    "load": ("LDG", "LD"),
}
CLOCKS = {"integer": 2, "multiply": 2, "count": 8}

Code = list[tuple[int, str]]


def tool(name: str) -> str:
    """A program of the toolkit, from the PATH or from triton's package."""
    triton = importlib.util.find_spec("triton")
    places = [os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    if triton is not None and triton.origin is not None:
        places.append(str(Path(triton.origin).parent / "backends" / "nvidia" / "bin"))
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise FileNotFoundError(f"{name} is neither on the PATH nor in the Python package triton")
    return found


def installed() -> Path:
    """The CUDA module of the installed package."""
    package = importlib.util.find_spec("dmth_fast")
    origin = None if package is None else package.origin
    modules = [] if origin is None else sorted(Path(origin).parent.glob("_cuda*.so"))
    if not modules:
        raise FileNotFoundError("no CUDA module is installed: build one, or name it with --module")
    return modules[0]


def disassembled(module: Path) -> dict[str, Code]:
    """Address and text of each instruction of each kernel for compute capability 9.0."""
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(tool("nvdisasm")).parent), os.environ["PATH"]])
    }
    text = subprocess.run(
        [tool("cuobjdump"), "--dump-sass", str(module)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
    kernels: dict[str, Code] = {}
    code: Code = []
    wanted = False
    for line in text.splitlines():
        if architecture := re.search(r"arch = (\w+)", line):
            wanted = architecture[1].startswith("sm_90")
        elif name := re.search(r"Function : (\S+)", line):
            code = []
            if wanted:
                kernels[name[1]] = code
        elif instruction := re.match(r"\s+/\*([0-9a-f]+)\*/\s+(.*?)\s*;", line):
            code.append((int(instruction[1], 16), instruction[2]))
    return kernels


def operation(text: str) -> str:
    """The operation of an instruction, without its predicate and modifiers.

    >>> operation("@!P0 LOP3.LUT R1, R2, R3, RZ, 0xc0, !PT")
    'LOP3'
    """
    return re.sub(r"^@!?U?P\w+\s+", "", text).split()[0].split(".")[0]


def loops(code: Code) -> Iterator[tuple[int, int]]:
    """First and last address of each loop: a branch back and where it leads."""
    for address, text in code:
        branch = re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", text)
        if branch and int(branch[1], 16) < address:
            yield int(branch[1], 16), address


def usual_pass(kernel: Kernel, code: Code) -> list[str]:
    """The operations of the usual pass through the kernel's loop."""
    names, least = UNITS[kernel.holds[0]], kernel.holds[1]

    def meant(loop: tuple[int, int]) -> bool:
        inside = [operation(text) for at, text in code if loop[0] <= at <= loop[1]]
        return sum(name.startswith(names) for name in inside) >= least

    first, last = min(filter(meant, loops(code)), key=lambda loop: loop[1] - loop[0])
    found: list[str] = []
    for address, text in code:
        if first <= address <= last:
            found.append(operation(text))
            if kernel.mark and found[-1] == "BRA" and kernel.mark in found:
                break
    return found


def measured(kernel: Kernel, code: Code) -> dict[str, Any]:
    """Instructions a pass by unit, and the pairs that they allow."""
    operations = Counter(usual_pass(kernel, code))
    counts = {
        unit: sum(count for name, count in operations.items() if name.startswith(names))
        for unit, names in UNITS.items()
    }
    total = operations.total()
    clocks = max(total, *(clock * counts[unit] for unit, clock in CLOCKS.items()))
    pairs = 4 * kernel.pairs / clocks
    return {
        "kernel": kernel.words,
        "pairs": kernel.pairs,
        "instructions": total,
        **counts,
        "pairs a clock": pairs,
        "pairs a second": pairs * MULTIPROCESSORS * CLOCK,
        "operations": dict(sorted(operations.items())),
    }


def table(result: dict[str, Any]) -> list[str]:
    """The result as Markdown."""
    head = (
        *("loop", "pairs", "instructions", "logic, integer", "multiply", "product", "shared memory"),
        *("pairs a clock, at most", "pairs/s on an H200, at most"),
    )
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for row in result["rows"]:
        counts = [
            f"{row[name]:,}" for name in ("pairs", "instructions", "integer", "multiply", "matrix", "shared")
        ]
        rates = [f"{row['pairs a clock']:.0f}", f"{row['pairs a second']:.1e}"]
        lines.append(f"| {' | '.join([row['kernel'], *counts, *rates])} |")
    origin = (
        "Instructions of a warp for so many pairs, and what the busiest unit of a multiprocessor allows in a "
        f"clock; a second: {MULTIPROCESSORS} multiprocessors at {CLOCK / 1e9} GHz. Calculated from machine "
        "code for 9.0, not measured: memory, waiting and the rate of the products are left out. Made by "
        f"`python {result['command']}` with {result['compiler']}."
    )
    return [*lines, "", origin]


def compiler() -> str:
    """The CUDA compiler on the PATH, which is the one that a build takes."""
    words = subprocess.run([tool("nvcc"), "--version"], capture_output=True, text=True, check=True).stdout
    release = re.search(r"release [\d.]+, V([\d.]+)", words)
    return f"nvcc {release[1] if release else 'of unknown version'}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--module", type=Path, help="the compiled module; by default the installed one")
    parser.add_argument("--out", type=Path, help="a file that the result is written to, as JSON")
    arguments = parser.parse_args()
    kernels = disassembled(arguments.module or installed())
    rows = []
    for kernel in KERNELS:
        code = next((code for name, code in kernels.items() if kernel.symbol in name), None)
        if code is None:
            print(f"{kernel.words}: the module has no such code for 9.0", file=sys.stderr)
        else:
            rows.append(measured(kernel, code))
    result = {
        "benchmark": "machine code",
        "command": "benchmarks/machine_code.py --out benchmarks/results/machine-code.json",
        "compiler": compiler(),
        "rows": rows,
    }
    print("\n".join(table(result)))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
