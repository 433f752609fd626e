"""The ``grid`` command: what it prints, and what it does with the queue."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmth_fast import report
from dmth_fast.grid.config import Cell, Grid, load_grid
from dmth_fast.grid.queue import run_queue, states, work
from dmth_fast.grid.table import gather

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]


def run(
    path: Path,
    out: Path,
    *,
    changes: Sequence[str],
    seconds: float | None,
    jobs: int,
    dry_run: bool,
    console: "Console",
    remarks: "Console",
) -> int:
    """Run a grid, or say what it would cost; print the table of the cells that are done.

    Args:
        path: TOML file of the grid.
        out: its folder, which may hold cells already: they are not run again.
        changes: ``a.b=value`` for every cell.
        seconds: after which to stop; None runs to the end.
        jobs: processes that share the queue.
        dry_run: print the cells and the estimated time; nothing is written.
        console: for the table.
        remarks: for a line before and after each cell.

    Returns:
        0, or 1 if a cell failed.

    Raises:
        ValueError: anything that a cell's settings refuse.
        FileNotFoundError: no such file.
    """
    grid = load_grid(path, changes)
    if dry_run:
        _rehearse(grid, out, console)
        return 0
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"out {out} must be a folder, it is a file")
    words = [
        "grid",
        str(path),
        "--out",
        str(out),
        *(word for change in changes for word in ("--set", change)),
    ]
    code = 0
    if jobs > 1:
        share = [*words, "--worker"] + ([] if seconds is None else ["--time", str(seconds)])
        code = run_queue(jobs, share)
    else:
        code = worker(grid, out, seconds=seconds, remarks=remarks)
    done = [state == "done" for state in states(grid, out)]
    if any(done):
        result = gather(
            grid,
            out,
            command=shlex.join(["dmth-fast", *words]),
            settings=path.read_text(encoding="utf-8"),
        )
        show(result, console)
    remarks.print(f"{sum(done)} of {len(done)} cells are done; the same command goes on with the others")
    return code


def worker(grid: Grid, out: Path, *, seconds: float | None, remarks: "Console") -> int:
    """Work on the queue as one of several processes; return the exit code."""
    outcome = work(grid, out, seconds=seconds, say=lambda words: remarks.print(words, soft_wrap=True))
    if outcome.stopped is not None:
        remarks.print(f"time is over: {outcome.stopped}", soft_wrap=True)
    return 1 if outcome.failed else 0


def show(result: dict[str, Any], console: "Console") -> None:
    """Print the table of each set and width, and the differences."""
    for set_name, bits in dict.fromkeys((row["set"], row["code_bits"]) for row in result["rows"]):
        rows = [row for row in result["rows"] if (row["set"], row["code_bits"]) == (set_name, bits)]
        title = f"{result['title'] or 'grid'}{f', {set_name}' if set_name else ''}, {bits} bits"
        console.print(
            report.table([{**row, "note": None} for row in rows], title=title, caption=result["metric"])
        )
    maps = [item for item in result["comparisons"] if item["metric"] == "map"]
    if maps:
        console.print(report.comparison_table(maps))


def _rehearse(grid: Grid, out: Path, console: "Console") -> None:
    found = list(zip(grid.cells, states(grid, out), strict=True))
    seconds = _estimates([cell for cell, state in found if state != "done"])
    for cell, state in found:
        taken = seconds.get(cell.key)
        words = "" if taken is None else f"about {report.duration(taken)}"
        console.print(f"{state:8} {cell.title}  {words}", soft_wrap=True)
    left = sum(state != "done" for _, state in found)
    console.print(
        f"{len(found)} cells, {left} to run, about {report.duration(sum(seconds.values()))} of training on "
        f"this machine as it is now; not counted: cached features, fusions, evaluation",
        soft_wrap=True,
    )


def _estimates(cells: Sequence[Cell]) -> dict[str, float]:
    """Seconds of each student's training, from a few timed steps of each kind of student."""
    from dmth_fast.estimate import step_seconds
    from dmth_fast.grid.workshop import Workshop

    workshop, steps, found = Workshop(Path(), progress=False), dict[tuple[Any, ...], float](), {}
    for cell in cells:
        if cell.arm.kind != "student":
            continue
        config, training = cell.config, cell.config.student.training
        images = workshop.images(config)
        workshop.check(cell)
        kind = (config.backbone, config.protocol, training.batch_size, training.precision, config.data.size)
        if kind not in steps:
            steps[kind] = step_seconds(config, len(images.learned.classes), images.learned.size)
        count = training.epochs * (len(images.learned) // training.batch_size)
        more = training.unlabelled_batch if config.data.unlabelled and cell.arm.distilled else 0
        found[cell.key] = count * steps[kind] * (1 + more / training.batch_size)
    return found
