"""What ``benchmarks/gpu.py`` calls a failure, and whether its plan fits its time; no device is needed."""

import ast
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import gpu
import gpu_measuring
import gpu_parts

Answer = tuple[int, str]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gpu.Session:
    """A session on a machine that has every tool."""
    monkeypatch.setattr(gpu.shutil, "which", lambda name: f"/usr/bin/{name}")
    return gpu.Session(tmp_path, tmp_path / "site", 9.5)


def answer(session: gpu.Session, answers: Callable[[list[str]], Answer]) -> None:
    """Let no command run: ``answers`` gives code and output."""

    def command(arguments: list[str], limit: float, log: str, **_: str) -> Answer:
        assert limit > 0
        code, output = answers(arguments)
        (session.out / log).write_text(output)
        return code, output

    session.command = command  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("sanitizer", ["racecheck", "initcheck"]),
        ("tests", ["test_status.py", "test_emulated_kernels.py"]),
        ("counters", ["counted"]),
        ("machine code", ["resource-usage", "machine_code"]),
    ],
)
def test_a_command_that_fails_fails_its_part(session: gpu.Session, part: str, words: list[str]) -> None:
    (session.site / "dmth_fast").mkdir(parents=True)
    (session.site / "dmth_fast" / "_cuda.so").touch()

    def answers(arguments: list[str]) -> Answer:
        bad = [word for word in words if word in " ".join(arguments)]
        return (9, f"{bad[0]} is unhappy") if bad else (0, "fine")

    answer(session, answers)
    session.run(part, gpu.PARTS[part][0], 60)
    record = session.result["parts"][part]
    assert record["status"] == "failed"
    text = gpu.table(session.result)
    assert all(f"{word} is unhappy" in text for word in words)
    assert "9" in text
    assert "fine" not in text
    answer(session, lambda _: (0, "fine"))
    session.run(part, gpu.PARTS[part][0], 60)
    assert session.result["parts"][part]["status"] == "ok"


def test_counters_that_may_not_be_read_are_a_failure(session: gpu.Session) -> None:
    answer(session, lambda _: (0, "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission"))
    session.run("counters", gpu.counters, 60)
    assert session.result["parts"]["counters"]["status"] == "failed"


@pytest.mark.parametrize(
    ("row", "status"),
    [
        ({"kind": "k", "equal": False}, "failed"),
        ({"check": "codes", "value": False}, "failed"),
        ({"check": "rate", "value": 0.0}, "ok"),
        ({"kind": "k", "equal": None}, "ok"),
        ({"kind": "k", "equal": True}, "ok"),
    ],
)
def test_a_wrong_result_fails_its_part(session: gpu.Session, row: dict[str, Any], status: str) -> None:
    def answers(arguments: list[str]) -> Answer:
        Path(arguments[3]).write_text(json.dumps({"kind": "first", "equal": True}) + f"\n{json.dumps(row)}\n")
        return 0, ""

    answer(session, answers)
    session.run("search", gpu.measured("search"), 60)
    assert session.result["parts"]["search"]["status"] == status
    text = gpu.table(session.result)
    assert ("1 wrong result(s)" in text) == (status == "failed")
    assert ("| k | - |" in text) == (row.get("equal", 0) is None)


@pytest.mark.parametrize(("calls", "minutes"), [(gpu.FIRST_CALL, 8), (gpu.SECOND_CALL, 4)])
def test_the_limits_of_a_call_fit_its_time(calls: tuple[str, ...], minutes: float) -> None:
    assert sum(gpu.PARTS[name][1] for name in calls) <= 60 * minutes - 10
    assert gpu.PARTS["sanitizer"][1] >= 4 * 35  # four tools, each of which starts torch


@pytest.mark.parametrize(
    ("method", "bits", "share"),
    [
        ("tensor", 32, 128 / 1000),
        ("tensor", 64, 128 / 1000),
        ("tensor", 72, 256 / 2000),
        ("tensor", 128, 256 / 2000),
        ("tensor", 200, 512 / 2000),
        ("tensor", 512, 1024 / 2000),
        ("warpgroup", 64, 256 / 4000),
        ("popcount", 64, None),
    ],
)
def test_the_share_of_the_products(method: str, bits: int, share: float | None) -> None:
    rates = {("tensor", 128): 1000.0, ("tensor", 256): 2000.0, ("warpgroup", 256): 4000.0}
    roofs = gpu_measuring.Roofs(1.0, 1.0, rates)
    assert roofs.of_products(method, bits, 1.0) == share
    assert gpu_measuring.Roofs(1.0, 1.0, {}).of_products(method, bits, 1.0) is None


def test_the_package_is_not_installed_among_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites: list[Path] = []

    def part(session: gpu.Session, _: float) -> dict[str, Any]:
        session.site.mkdir()
        sites.append(session.site)
        return {}

    monkeypatch.setattr(gpu, "PARTS", {"build": (part, 60)})
    monkeypatch.setattr(gpu, "FIRST_CALL", ("build",))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path)])
    assert gpu.main() == 0
    assert not sites[0].is_relative_to(tmp_path)
    assert not sites[0].exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu.json", "gpu.log", "gpu.md"]


def test_the_resources_of_a_kernel_stand_beside_its_name() -> None:
    text = " Common:\n  GLOBAL:0\n Function first:\n  REG:8 STACK:0\n Function second:\n  REG:9\n"
    assert gpu.usage_of_kernels(text) == ["first: REG:8 STACK:0", "second: REG:9"]


def test_of_the_counters_those_that_bound_a_kernel_are_kept() -> None:
    text = "==PROF== x\n  scan_kernel<2>(Scan) (5, 1, 1), Context 1, Stream 7\n  Duration us 7\n  L1 1\n"
    assert [line.split()[0] for line in gpu.counted_lines(text)] == ["scan_kernel<2>(Scan)", "Duration"]


def test_the_clock_of_a_part_starts_before_its_imports() -> None:
    places: dict[str, int] = {}
    for node in ast.parse(Path(gpu_parts.__file__).read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            places[node.targets[0].id] = node.lineno
        elif isinstance(node, ast.Import | ast.ImportFrom):
            places.update(dict.fromkeys([alias.name for alias in node.names], node.lineno))
    assert places["time"] < places["START"] < min(places["torch"], places["numpy"], places["Clock"])


def test_a_part_ends_before_its_time_does() -> None:
    made: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        for i in range(3):
            made.append(i)
            yield {"row": i}

    enough = gpu_measuring.Clock(time.monotonic() + 60)
    assert [row["row"] for row in gpu_measuring.rows_in_time(rows(), enough)] == [0, 1, 2]
    made.clear()
    late = list(gpu_measuring.rows_in_time(rows(), gpu_measuring.Clock(time.monotonic() + 2)))
    assert made == [0]
    assert late[0] == {"row": 0}
    assert late[1]["check"].startswith("ended for want of time")


@pytest.mark.parametrize(
    ("rows", "count", "bytes_", "k", "seconds", "compared"),
    [
        (100, 5, 8, 10, 60, ["tensor", "CPU"]),
        (100, 1, 8, 10, 60, ["tensor", "CPU"]),
        (100, 5, 8, 10, 5, ["tensor"]),
        (100, 5, 8, 90, 60, ["CPU"]),  # by counting, whatever the method
        (100, 5, 8, 90, 5, []),
        (100, 5, 80, 10, 5, []),  # too wide for tensor cores
    ],
)
@pytest.mark.parametrize("right", [True, False])
def test_equal_says_what_was_compared(
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    count: int,
    bytes_: int,
    k: int,
    seconds: float,
    compared: list[str],
    right: bool,
) -> None:
    asked: list[str] = []
    zero, other = torch.zeros(1), torch.full((1,), 0.0 if right else 1.0)

    def search_rows(*_: Any, method: str) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(method)
        return (zero, zero) if method == "popcount" else (zero, other)

    def agrees(*_: Any) -> bool:
        asked.append("CPU")
        return right

    monkeypatch.setattr(gpu_measuring.cuda, "search_rows", search_rows)
    monkeypatch.setattr(gpu_measuring, "agrees", agrees)
    clock = gpu_measuring.Clock(time.monotonic() + seconds)
    monkeypatch.setattr(clock, "median_ms", lambda _: 1.0)
    codes, queries = (torch.zeros((n, bytes_), dtype=torch.uint8) for n in (rows, count))
    most = gpu_measuring.Roofs(1e12, 1e12, {})
    row = gpu_measuring.search_row(clock, codes, queries, k, "popcount", "kind", most)
    assert asked == ["popcount", *compared]
    assert row["equal"] is (right if compared else None)


def test_a_choice_is_compared_with_the_fastest() -> None:
    shape = {"kind": "bits", "bits": 64, "queries": 8, "rows": 9, "k": 1}
    rows = [shape | {"method": method, "ms": ms} for method, ms in (("popcount", 3.0), ("tensor", 2.0))]
    row = gpu_parts.choice_of(rows, "popcount")
    assert (row["fastest"], row["auto"], row["auto is x"]) == ("tensor", "popcount", 1.5)
    assert gpu_parts.choice_of(rows, "counted")["auto is x"] is None


@pytest.mark.parametrize("queries", [0, 1, 100, 1000, 2**30])
def test_int8_products_take_columns_in_eights(queries: int) -> None:
    step = gpu_parts.rows_of_product(queries)
    assert step % 8 == 0
    assert 8 <= step <= 2**28
