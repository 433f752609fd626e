"""Everything about the CUDA engine that needs a device, in a call of eight minutes and one of four.

The first builds the package with CUDA, runs the CUDA tests and the measurements of ``gpu_parts.py``; the
second, with the package that the first has left in SITE, runs compute-sanitizer on small cases and reads
hardware counters. Each writes ``gpu.json``, ``gpu.md`` and ``gpu.log`` to its folder::

    python benchmarks/gpu.py --out OUT --site SITE
    python benchmarks/gpu.py --out OUT2 --site SITE --only sanitizer,counters --minutes 4

    python benchmarks/gpu.py --out OUT --list     # the parts
    python benchmarks/gpu.py --out OUT --only build,tests,search

No network is used. The machine must have: nvcc (12.0 or newer) with a C++20 host compiler, and in the
Python that runs this script torch with CUDA, numpy, pytest, hypothesis, scikit-build-core, pybind11, cmake
and ninja, and the package's own dependencies (accelerate, matplotlib, pillow, rich, safetensors, typer).
Whichever of these is missing must come as a wheel on ``PYTHONPATH``; the first part lists what it finds.
``faiss`` with GPU, ``compute-sanitizer``, ``cuobjdump`` and ``ncu`` are used where they are.

Each part is a process of its own with its own time limit, so neither an exception nor a broken CUDA context
nor a hang loses the others, and the JSON is written after every part. A part whose tool, test or comparison
found something is "failed", and says so in ``gpu.md``; "equal" is "-" where nothing was compared. The package
is installed into a temporary folder (``--site DIR`` keeps it, for calls without ``build``), never into the
environment.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
NEEDED = (
    "torch",
    "numpy",
    "pytest",
    "hypothesis",
    "scikit-build-core",
    "pybind11",
    "cmake",
    "ninja",
    "accelerate",
    "matplotlib",
    "pillow",
    "rich",
    "safetensors",
    "torchvision",
    "typer",
    "scikit-learn",
    "faiss-gpu",
    "faiss-gpu-cu12",
)


class Session:
    """Runs the parts, keeps the clock and writes the result after each."""

    def __init__(self, out: Path, site: Path, minutes: float) -> None:
        self.out, self.site = out, site
        self.end = time.monotonic() + 60 * minutes
        self.result: dict[str, Any] = {"parts": {}}
        out.mkdir(parents=True, exist_ok=True)

    @property
    def left(self) -> float:
        """Seconds until the limit of the whole call."""
        return self.end - time.monotonic()

    def save(self) -> None:
        partial = self.out / "gpu.json.partial"
        partial.write_text(json.dumps(self.result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        partial.replace(self.out / "gpu.json")

    def run(
        self, name: str, part: Callable[["Session", float], dict[str, Any]], limit: float, later: float = 0
    ) -> None:
        """Run one part; whatever it raises is its result.

        It may take its limit, and what is left beside the limits of the ``later`` parts.
        """
        start, limit = time.monotonic(), min(max(limit, self.left - 10 - later), self.left - 10)
        if limit < 15:
            record: dict[str, Any] = {"status": "skipped", "reason": "no time left"}
        else:
            try:
                record = {"status": "ok", **part(self, limit)}
            except Exception as error:
                record = {"status": "failed", "error": f"{type(error).__name__}: {error}"[-6000:]}
        record["seconds"] = round(time.monotonic() - start, 1)
        self.result["parts"][name] = record
        self.save()
        note = record.get("error") or record.get("reason") or ""
        print(f"== {name}: {record['status']} in {record['seconds']} s {note[-1500:]}", flush=True)

    def command(self, arguments: list[str], limit: float, log: str, **variables: str) -> tuple[int, str]:
        """A command in a process group of its own; its output, also kept as OUT/log. Killed at the limit."""
        paths = [str(self.site), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONUNBUFFERED": "1",
        }
        with (self.out / log).open("w+", encoding="utf-8", errors="replace") as stream:
            process = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env=environment | variables,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                # A profiler prints what it has when it is asked to end.
                for number, seconds in ((signal.SIGINT, 4), (signal.SIGKILL, None)):
                    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                        os.killpg(process.pid, number)
                        process.wait(timeout=seconds)
                code = 124
            stream.flush()
            stream.seek(0)
            return code, stream.read()

    def gather_logs(self) -> None:
        """One file of all logs, the end of each: results travel as few files."""
        with (self.out / "gpu.log").open("w", encoding="utf-8") as target:
            for log in sorted(self.out.glob("*.log")):
                if log.name != "gpu.log":
                    target.write(f"\n===== {log.name}\n" + log.read_text(errors="replace")[-300_000:])
                    log.unlink()


def environment(session: Session, limit: float) -> dict[str, Any]:
    """What the machine is, and which of the needed packages it has."""
    present = {
        (found.metadata["Name"] or "").lower(): found.version for found in importlib.metadata.distributions()
    }
    versions = {name: present.get(name, present.get(name.replace("-", "_"))) for name in NEEDED}
    query = "name,driver_version,memory.total,clocks.max.sm,clocks.max.memory,power.limit,compute_cap"
    tools = {}
    for name, arguments in {
        "nvidia-smi": ["nvidia-smi", f"--query-gpu={query}", "--format=csv"],
        "nvcc": ["nvcc", "--version"],
        "c++": ["c++", "--version"],
        "lscpu": ["lscpu"],
    }.items():
        found = shutil.which(arguments[0])
        tools[name] = session.command(arguments, limit / 4, "tool.log")[1][:1500] if found else None
    return {"python": sys.version, "cores": os.cpu_count(), "packages": versions, "tools": tools}


def architecture() -> str:
    """The device's own machine code only, which builds fastest; "compact" where that is unknown."""
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split()
        return f"{found[0].replace('.', '')}-real"
    except (OSError, subprocess.SubprocessError, IndexError):
        return "compact"


def build(session: Session, limit: float) -> dict[str, Any]:
    """Install the package with its CUDA module below the site folder."""
    shutil.rmtree(session.site, ignore_errors=True)
    # Meanwhile torch's files come into the system's cache: the first import of it takes long.
    warming = subprocess.Popen([sys.executable, "-c", "import torch"], stderr=subprocess.DEVNULL)
    code, output = session.command(
        [
            *(sys.executable, "-m", "pip", "install", "-v"),
            *("--no-build-isolation", "--no-deps", "--no-index"),
            *("--disable-pip-version-check", "--target", str(session.site)),
            "--config-settings=cmake.define.DMTH_FAST_CUDA=ON",
            f"--config-settings=cmake.define.DMTH_FAST_CUDA_ARCHITECTURES={architecture()}",
            str(ROOT),
        ],
        limit,
        "build.log",
        CMAKE_BUILD_PARALLEL_LEVEL=str(os.cpu_count() or 2),
    )
    warming.wait()
    if code:
        raise RuntimeError(f"pip ended with {code}: {output[-4000:]}")
    modules = sorted(path.name for path in (session.site / "dmth_fast").glob("*.so"))
    return {"modules": modules, "log": [line for line in output.splitlines() if "dmth_fast: " in line]}


def findings(records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What makes a part "failed": each of its commands that ended with another code than 0, and its words."""
    failed = {name: record for name, record in records.items() if record["code"]}
    if not failed:
        return {}
    room = 4800 // len(failed)
    words = [f"{name} ended with {one['code']}:\n{one['tail'][-room:]}" for name, one in failed.items()]
    return {"status": "failed", "error": "\n\n".join(words)}


def tests(session: Session, limit: float) -> dict[str, Any]:
    """The tests on the device, then those of the emulated one."""
    records, end = {}, time.monotonic() + limit
    # A fault in a kernel fails whatever comes after it in its process: the boldest one has its own.
    for name, words, share in (
        ("test_device.py", "not warpgroup", 0.5),
        ("test_device.py", "warpgroup", 0.2),
        ("test_status.py", "", 0.1),
        ("test_emulated_kernels.py", "", 1.0),
    ):
        code, output = session.command(
            [
                *(sys.executable, "-m", "pytest", f"tests/cuda/{name}", "-q", "--no-header", "--tb=short"),
                *("-p", "no:cacheprovider", "--maxfail=25", "-o", "filterwarnings=default", "-k", words),
            ],
            min(limit * share, end - time.monotonic()),
            f"{name}-{words}.log",
        )
        title = f"{name}, {words}" if words else name
        records[title] = {"code": code, "tail": output[-5000 if code else -300 :]}
    return {"tests": records, **findings(records)}


def sanitizer(session: Session, limit: float) -> dict[str, Any]:
    """compute-sanitizer's tools over small cases of every kernel."""
    if shutil.which("compute-sanitizer") is None:
        raise FileNotFoundError("compute-sanitizer is not on the PATH")
    records, end = {}, time.monotonic() + limit
    # Libraries ask the driver for what it may lack: an answer of "no" is no finding. Our own calls raise.
    more = {"memcheck": ("--report-api-errors", "no")}
    for tool in ("memcheck", "racecheck", "synccheck", "initcheck"):
        code, output = session.command(
            [
                *("compute-sanitizer", "--tool", tool, "--error-exitcode", "9", "--print-limit", "20"),
                *(*more.get(tool, ()), sys.executable, str(HERE / "gpu_parts.py"), "small"),
            ],
            min(limit * 0.4, end - time.monotonic()),
            f"sanitizer-{tool}.log",
            PYTORCH_NO_CUDA_MEMORY_CACHING="1",  # so that memcheck knows the size of every tensor
        )
        records[tool] = {"code": code, "tail": output[-600 if code == 0 else -4000 :]}
    return {"tools": records, **findings(records)}


def machine_code(session: Session, limit: float) -> dict[str, Any]:
    """Registers and spills of each kernel, and the instructions that each pair costs."""
    module = next((session.site / "dmth_fast").glob("_cuda*.so"))
    read = session.out / "machine_code.partial"
    commands = {
        "resource-usage": ["cuobjdump", "--dump-resource-usage", str(module)],
        "loops": [sys.executable, str(HERE / "machine_code.py"), "--module", str(module), "--out", str(read)],
    }
    records, texts, end = {}, {}, time.monotonic() + limit
    for name, arguments in commands.items():
        code, texts[name] = session.command(arguments, end - time.monotonic(), f"{name}.log")
        records[name] = {"code": code, "tail": texts[name][-3000 if code else -300 :]}
    rows = json.loads(read.read_text(encoding="utf-8"))["rows"] if read.exists() else []
    read.unlink(missing_ok=True)
    return {
        "rows": [{name: value for name, value in row.items() if name != "operations"} for row in rows],
        "usage": usage_of_kernels(texts["resource-usage"]),
        "tools": records,
        **findings(records),
    }


def usage_of_kernels(text: str) -> list[str]:
    """Name and resources of each kernel, which ``cuobjdump`` prints on two lines."""
    found, name = [], ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("Function "):
            name = line.removeprefix("Function ")
        elif "REG:" in line:
            found.append(f"{name} {line}")
    return found


def counters(session: Session, limit: float) -> dict[str, Any]:
    """Hardware counters of the candidate kernels, where ncu may read them."""
    if shutil.which("ncu") is None:
        raise FileNotFoundError("ncu is not on the PATH")
    kernels = "regex:scan_kernel|tensor_collect|tensor_count|warpgroup_collect|sliced_collect"
    code, output = session.command(
        [
            *("ncu", "--clock-control", "none", "--kernel-name", kernels),
            *("--section", "SpeedOfLight", "--section", "ComputeWorkloadAnalysis", "--section", "Occupancy"),
            *(sys.executable, str(HERE / "gpu_parts.py"), "counted"),
        ],
        limit,
        "ncu.log",
    )
    code = code or int("==ERROR==" in output)  # such as counters that this user may not read
    record = {"code": code, "tail": output[-2000:]}
    return {"code": code, "output": counted_lines(output), **findings({"ncu": record})}


def counted_lines(text: str) -> list[str]:
    """Of ncu's output each kernel's line, shortened, and its counters that say what bounds it."""
    wanted = (
        *("Duration", "Compute (SM) Throughput", "Memory Throughput", "L2 Cache Throughput"),
        *("DRAM Throughput", "Executed Ipc Active", "Issue Slots Busy", "Achieved Occupancy"),
    )
    lines = [line.strip() for line in text.splitlines()]
    return [line[:200] for line in lines if line.startswith(wanted) or ", Context " in line]


def measured(name: str) -> Callable[[Session, float], dict[str, Any]]:
    """A part of gpu_parts.py: rows of measurements, kept as far as it came; failed by any wrong result."""

    def part(session: Session, limit: float) -> dict[str, Any]:
        rows = session.out / f"{name}.jsonl"
        rows.unlink(missing_ok=True)
        code, output = session.command(
            [sys.executable, str(HERE / "gpu_parts.py"), name, str(rows), str(limit - 5)],
            limit,
            f"{name}.log",
        )
        found = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
        rows.unlink(missing_ok=True)
        record: dict[str, Any] = {"rows": found}
        wrong = [row for row in found if row.get("equal") is False or row.get("value") is False]
        errors = [f"{len(wrong)} wrong result(s), the first: {json.dumps(wrong[0])}"] if wrong else []
        errors += [f"ended with {code}: {output[-3000:]}"] if code else []
        return record | ({"status": "failed", "error": "\n".join(errors)} if errors else {})

    return part


# name: part, most seconds; those of a call are less than its minutes
PARTS: dict[str, tuple[Callable[[Session, float], dict[str, Any]], float]] = {
    "environment": (environment, 10),
    "build": (build, 110),
    "probe": (measured("probe"), 25),
    "targets": (measured("targets"), 60),
    "tests": (tests, 100),
    "search": (measured("search"), 60),
    "evaluation": (measured("evaluation"), 25),
    "rivals": (measured("rivals"), 35),
    "others": (measured("others"), 20),
    "machine code": (machine_code, 15),
    "sanitizer": (sanitizer, 140),
    "counters": (counters, 60),
}
SECOND_CALL = ("sanitizer", "counters")
FIRST_CALL = tuple(name for name in PARTS if name not in SECOND_CALL)


def table(result: dict[str, Any]) -> str:
    """The result as Markdown: one table a measured part, one line for the others."""
    lines = ["# CUDA engine on a device", ""]
    for name, part in result["parts"].items():
        lines.append(f"## {name}: {part['status']} ({part['seconds']} s)")
        if part["status"] != "ok":
            lines += ["", "```", str(part.get("error") or part.get("reason"))[-5000:], "```"]
        rows = part.get("rows", [])
        for columns in dict.fromkeys(tuple(row) for row in rows):
            lines += ["", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
            for row in rows:
                if tuple(row) == columns:
                    lines.append("| " + " | ".join(_cell(row[column]) for column in columns) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--site", type=Path, help="folder that the package is installed to and stays in")
    parser.add_argument("--minutes", type=float, default=8, help="limit of the whole call")
    parser.add_argument("--only", default="", help="comma separated parts; without it the first call's")
    parser.add_argument("--list", action="store_true", help="print the parts and end")
    arguments = parser.parse_args()
    if arguments.list:
        for name, (_, limit) in PARTS.items():
            print(f"{name}: at most {limit} s{' (second call)' if name in SECOND_CALL else ''}")
        return 0
    chosen = [name.strip() for name in arguments.only.split(",") if name.strip()] or list(FIRST_CALL)
    unknown = set(chosen) - set(PARTS)
    if unknown:
        parser.error(f"unknown parts {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as scratch:
        site = arguments.site or Path(scratch) / "site"
        session = Session(arguments.out.resolve(), site.resolve(), arguments.minutes)
        for place, name in enumerate(chosen):
            part, limit = PARTS[name]
            session.run(name, part, limit, sum(PARTS[later][1] for later in chosen[place + 1 :]))
    text = table(session.result)
    (session.out / "gpu.md").write_text(text, encoding="utf-8")
    print(text)
    session.gather_logs()
    return int(any(part["status"] == "failed" for part in session.result["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
