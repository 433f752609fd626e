"""The queue: each cell once, whatever happens to the processes, and what they leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from dmth_fast.grid import queue
from dmth_fast.grid.cells import read, run_cell
from dmth_fast.grid.command import run as run_command
from dmth_fast.grid.config import Cell, load_grid
from dmth_fast.grid.queue import CELLS, folder_of, states, work
from dmth_fast.grid.workshop import Workshop
from dmth_fast.locks import held, holding


def command(path: Path, out: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "dmth_fast", "grid", str(path), "--out", str(out), *words]


def run(path: Path, out: Path, *, dry_run: bool = False) -> tuple[int, str, str]:
    """Run the command in this process: its exit code, its output and its remarks."""
    texts = StringIO(), StringIO()
    consoles = [Console(file=text, width=200) for text in texts]
    code = run_command(
        path,
        out,
        changes=(),
        seconds=None,
        jobs=1,
        dry_run=dry_run,
        console=consoles[0],
        remarks=consoles[1],
    )
    return code, texts[0].getvalue(), texts[1].getvalue()


def model(out: Path, path: Path) -> bytes:
    return (folder_of(out, load_grid(path).cells[0]) / "student" / "model.safetensors").read_bytes()


def test_a_killed_and_a_stopped_run_end_with_the_bits_of_an_undisturbed_one(
    small: Path, tmp_path: Path
) -> None:
    grid, out = load_grid(small), tmp_path / "out"
    first = folder_of(out, grid.cells[0])
    lines = first / "run" / "metrics.jsonl"
    process = subprocess.Popen(command(small, out), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (lines.exists() and lines.read_text()):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not held(first / "lock")
    assert states(grid, out) in (["waiting", "waiting"], ["done", "waiting"], ["done", "done"])

    # A slice too short for more than one epoch, however fast the machine.
    stopped = 0
    while (outcome := work(grid, out, seconds=1e-9 if stopped else 1e-3, progress=False)).stopped:
        stopped += 1
        if stopped > 2:
            outcome = work(grid, out, progress=False)
            break
    assert not outcome.failed
    assert states(grid, out) == ["done", "done"]
    whole = tmp_path / "whole"
    assert work(grid, whole, progress=False).done == 2
    assert model(out, small) == model(whole, small)
    assert work(grid, whole, progress=False).done == 0


def test_the_seconds_of_a_cell_hold_those_of_the_processes_before(small: Path, tmp_path: Path) -> None:
    grid, out = load_grid(small), tmp_path / "out"
    lines = folder_of(out, grid.cells[0]) / "run" / "metrics.jsonl"
    while not lines.exists():
        work(grid, out, seconds=1e-3, progress=False)
    trained = [json.loads(line) for line in lines.read_text().splitlines()]
    lines.write_text("".join(json.dumps({**line, "seconds": 1000.0}) + "\n" for line in trained))
    work(grid, out, progress=False)
    result = read(folder_of(out, grid.cells[0]))
    assert result is not None
    assert 1000 * len(trained) < result["seconds"] < 1000 * len(trained) + 900


def test_time_stops_between_cells_and_after_an_epoch(small: Path, tmp_path: Path) -> None:
    grid = load_grid(small)
    outcome = work(grid, tmp_path / "out", seconds=0, progress=False)
    assert (outcome.done, outcome.stopped) == (0, "before 16 bits, seed 3: student")
    said: list[str] = []
    outcome = work(grid, tmp_path / "out", seconds=1e-3, progress=False, say=said.append)
    assert outcome.stopped is not None
    if said:  # The cell was begun in time.
        assert "after epoch 1 of 4" in outcome.stopped
        assert len((folder_of(tmp_path / "out", grid.cells[0]) / "run" / "metrics.jsonl").read_text()) > 0


def test_processes_share_the_queue(small: Path, tmp_path: Path) -> None:
    text = small.read_text().replace("seeds = [3]", "seeds = [0, 1, 2]")
    small.write_text(text)
    out = tmp_path / "out"
    found = subprocess.run(command(small, out, "--jobs", "2"), capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    starts = [line for line in found.stderr.splitlines() if line.startswith("start")]
    assert len(starts) == len(set(starts)) == 6
    lines = [json.loads(line) for line in (out / CELLS).read_text().splitlines()]
    assert [(line["seed"], line["arm"]) for line in lines] == [
        (seed, arm) for seed in (0, 1, 2) for arm in ("student", "random")
    ]
    result = json.loads((out / "result.json").read_text())
    assert [row["seeds"] for row in result["rows"]] == [3, 3]
    assert result["cells"] == {"done": 6, "all": 6}


def test_a_cell_that_another_process_holds_is_left_to_it(small: Path, tmp_path: Path) -> None:
    grid, out = load_grid(small), tmp_path / "out"
    with holding(folder_of(out, grid.cells[0]) / "lock", wait=False):
        assert states(grid, out) == ["running", "waiting"]
        assert work(grid, out, progress=False).done == 1
    assert states(grid, out) == ["waiting", "done"]


def test_a_cell_that_fails_does_not_stop_the_others(small: Path, tmp_path: Path) -> None:
    small.write_text(small.read_text() + "\n[[sets]]\nname = 'a'\nstudent.training.lr = 1e38\n")
    grid, out = load_grid(small), tmp_path / "out"
    outcome = work(grid, out, progress=False)
    assert outcome.done == 1
    assert "FloatingPointError: training stopped in epoch 1" in outcome.failed[0][1]
    assert "Traceback" in (folder_of(out, grid.cells[0]) / "error.txt").read_text()
    code, _, remarks = run(small, out)
    assert code == 1
    assert "1 of 2 cells are done" in remarks


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), OSError("no space"), KeyError("a")])
def test_whatever_fails_the_others_go_on(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(cell: Cell, folder: Path, workshop: Workshop, *, progress: bool) -> dict[str, Any]:
        if cell.arm.kind == "student":
            raise error
        return run_cell(cell, folder, workshop, progress=progress)

    monkeypatch.setattr(queue, "run_cell", fail)
    outcome = work(load_grid(small), tmp_path / "out", progress=False)
    assert outcome.done == 1
    assert outcome.failed[0][1].startswith(type(error).__name__)


@pytest.mark.parametrize(("codes", "expected"), [((0, -9), 137), ((1, 0), 1), ((0, 0), 0)])
def test_a_killed_process_is_no_success(
    monkeypatch: pytest.MonkeyPatch, codes: tuple[int, ...], expected: int
) -> None:
    left = iter(codes)
    monkeypatch.setattr(
        subprocess, "Popen", lambda *_, **__: SimpleNamespace(wait=partial(next, iter([next(left)])))
    )
    assert queue.run_queue(len(codes), ["grid"]) == expected


def test_threads_of_the_settings_are_those_of_torch(small: Path, tmp_path: Path) -> None:
    cell = load_grid(small, ["threads=2"]).cells[1]
    try:
        run_cell(cell, tmp_path / "cell", Workshop(tmp_path, progress=False), progress=False)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_a_dry_run_says_what_is_left(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, words, _ = run(small, out, dry_run=True)
    assert code == 0
    assert "waiting  16 bits, seed 3: student  about " in words
    assert "2 cells, 2 to run" in words
    assert not out.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_lock_is_let_go_of_when_its_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    words = "import time; from pathlib import Path; from dmth_fast.locks import holding\n"
    words += f"with holding(Path({str(path)!r}), wait=True): print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert held(path)
    process.kill()
    process.wait()
    process.stdout.close()
    assert not held(path)
