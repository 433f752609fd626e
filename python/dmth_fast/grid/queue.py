"""The queue of a grid's cells: any number of processes draw from it, and each cell is run once.

A cell is done when its folder holds a result, taken while a process holds its lock, and free otherwise; so a
process that was killed leaves its cell free, with the checkpoint of its last epoch.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmth_fast.atomic import write_text
from dmth_fast.grid.cells import RESULT, read, run_cell
from dmth_fast.grid.config import Cell, Grid
from dmth_fast.grid.workshop import Workshop
from dmth_fast.learning.deadline import OutOfTimeError, deadline, out_of_time
from dmth_fast.locks import held, holding

__all__ = ["CELLS", "Outcome", "folder_of", "run_queue", "states", "work"]

CELLS = "cells.jsonl"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one process did.

    Attributes:
        done: cells it finished.
        failed: title and error of each cell that failed; it is tried again by the next call.
        stopped: what was in progress when the time was over; None where the queue was empty.
    """

    done: int
    failed: tuple[tuple[str, str], ...] = ()
    stopped: str | None = None


def folder_of(out: Path, cell: Cell) -> Path:
    """The folder of a cell."""
    return out / "cells" / cell.key


def states(grid: Grid, out: Path) -> list[str]:
    """``done``, ``running`` (a process holds it) or ``waiting`` for each cell."""
    found = []
    for cell in grid.cells:
        folder = folder_of(out, cell)
        done = (folder / RESULT).exists()
        found.append("done" if done else "running" if held(folder / "lock") else "waiting")
    return found


def work(
    grid: Grid,
    out: Path,
    *,
    seconds: float | None = None,
    progress: bool = True,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Run free cells in order until none is left or the time is over.

    Args:
        grid: whose cells.
        out: folder of the grid, shared with other processes.
        seconds: after which it stops: between two cells, or after the epoch in progress.
        progress: show each training on standard error.
        say: called with a line before and after each cell.

    Returns:
        What was done. A cell that fails, by whatever error, is reported, and the others go on.
    """
    workshop, done = Workshop(out, progress=progress), 0
    failed: list[tuple[str, str]] = []
    say = say or (lambda _: None)
    with deadline(seconds):
        for cell in grid.cells:
            folder = folder_of(out, cell)
            if read(folder) is not None:
                continue
            if out_of_time():
                return Outcome(done=done, failed=tuple(failed), stopped=f"before {cell.title}")
            with holding(folder / "lock", wait=False) as mine:
                # Another process may have finished it since it was looked at.
                if not mine or read(folder) is not None:
                    continue
                say(f"start {cell.title}")
                begin = time.perf_counter()
                try:
                    run_cell(cell, folder, workshop, progress=progress)
                except OutOfTimeError as stop:
                    return Outcome(done=done, failed=tuple(failed), stopped=f"{cell.title}, {stop}")
                except Exception as error:
                    write_text(folder / "error.txt", traceback.format_exc())
                    failed.append((cell.title, f"{type(error).__name__}: {error}"))
                    say(f"failed {cell.title}: {error}")
                    continue
                done += 1
                _write_lines(grid, out)
                say(f"done {cell.title} in {time.perf_counter() - begin:.0f} s")
    return Outcome(done=done, failed=tuple(failed))


def run_queue(jobs: int, words: Sequence[str]) -> int:
    """Start processes of the same command that share the queue, wait for them, and pass signals on.

    Args:
        jobs: how many.
        words: of the command, for one process.

    Returns:
        The largest of their exit codes; of one that a signal has ended, 128 and its number, as in a shell.
    """
    cores = max(1, len(os.sched_getaffinity(0)) // jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores))}
    command = [sys.executable, "-m", "dmth_fast", *words]
    children = [subprocess.Popen(command, env=environment) for _ in range(jobs)]
    try:
        codes = [child.wait() for child in children]
        return max(code if code >= 0 else 128 - code for code in codes)
    except BaseException:
        for child in children:
            child.send_signal(signal.SIGTERM)
        for child in children:
            child.wait()
        raise


def _write_lines(grid: Grid, out: Path) -> None:
    """Write a line for each cell that is done, in the order of the grid."""
    with holding(out / "lock", wait=True):
        lines = [_line(result) for cell in grid.cells if (result := read(folder_of(out, cell))) is not None]
        write_text(out / CELLS, "".join(lines))


def _line(result: dict[str, Any]) -> str:
    kept = {key: value for key, value in result.items() if key != "history"}
    return json.dumps(kept, ensure_ascii=False, allow_nan=False) + "\n"
