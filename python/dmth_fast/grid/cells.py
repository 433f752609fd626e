"""One cell of a grid: trained, measured and written down, or continued where it was left."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmth_fast import methods
from dmth_fast.atomic import write_json
from dmth_fast.attention import plot_weights
from dmth_fast.grid.config import Cell
from dmth_fast.grid.workshop import Workshop
from dmth_fast.learning.training import METRICS
from dmth_fast.learning.weights import load_weights, save_tensors
from dmth_fast.methods import Floats, Measured
from dmth_fast.preparation import student_seen

__all__ = ["RESULT", "queries", "read", "run_cell"]

RESULT = "result.json"
_QUERIES = "queries.safetensors"
_RUN = "run"


def run_cell(cell: Cell, folder: Path, workshop: Workshop, *, progress: bool) -> dict[str, Any]:
    """Run a cell in its folder and write its result last, so that a folder with one is done.

    Args:
        cell: what to run.
        folder: of the cell; a checkpoint in it is continued.
        workshop: of the grid.
        progress: show progress on standard error.

    Returns:
        What the result holds: the cell's place, ``rows``, split, history and ``seconds``: of this process and
        of the epochs that earlier ones have trained.

    Raises:
        OutOfTimeError: the time given is over; the checkpoint is kept.
        ValueError: anything that the parts refuse, batches and start weights before anything is trained.
    """
    begin, before = time.perf_counter(), _seconds_trained(folder / _RUN)
    if cell.config.threads:
        torch.set_num_threads(cell.config.threads)
    images = workshop.images(cell.config)
    workshop.check(cell)
    found, history = _RUNS[cell.arm.kind](cell, folder, workshop, progress)
    result = {
        "cell": cell.key,
        "set": cell.set_name,
        "bits": cell.config.bits,
        "seed": cell.config.seed,
        "arm": cell.arm.name,
        "kind": cell.arm.kind,
        "protocol": cell.config.protocol,
        "split": {
            **images.split.hashes(),
            "queries": len(images.split.query),
            "database_images": len(images.split.database),
            "training_images": len(images.learned),
            "unlabelled_images": 0 if images.unlabelled is None else len(images.unlabelled),
            "validation_images": len(images.split.train) - len(images.learned),
            "classes": len(images.split.train.classes),
            "skipped": len(images.split.skipped),
        },
        "rows": [item.row for item in found],
        "seconds": round(before + time.perf_counter() - begin, 1),
        "history": history,
    }
    tensors = {}
    for i, item in enumerate(found):
        tensors[f"{i}.precision"] = torch.from_numpy(item.precision)
        tensors[f"{i}.correct"] = torch.from_numpy(item.correct)
    save_tensors(folder / _QUERIES, tensors)
    write_json(folder / RESULT, result)
    return result


def read(folder: Path) -> dict[str, Any] | None:
    """Return the result of a cell; None where it is not done."""
    path = folder / RESULT
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def queries(folder: Path, row: int) -> dict[str, Floats]:
    """Return ``map`` (average precision) and ``accuracy`` (1.0 or 0.0) of each query, for a row of a cell."""
    tensors = load_weights(folder / _QUERIES)
    names = {"map": "precision", "accuracy": "correct"}
    return {key: np.asarray(tensors[f"{row}.{name}"]) for key, name in names.items()}


def _seconds_trained(run_dir: Path) -> float:
    """The seconds of the epochs that a training has left in ``run_dir``; 0 where there is none."""
    path = run_dir / METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return sum(float(json.loads(line)["seconds"]) for line in lines)


Found = tuple[list[Measured], list[dict[str, float]]]


def _student(cell: Cell, folder: Path, workshop: Workshop, progress: bool) -> Found:
    images, config = workshop.images(cell.config), cell.config
    fused = workshop.fused(cell) if cell.arm.distilled else None
    hasher = workshop.student(cell).fit(
        images.learned,
        teacher=fused,
        validation=images.validation,
        unlabelled=None if fused is None else images.unlabelled,
        progress=progress,
        seen=student_seen(config, images.split, distilled=fused is not None),
        run_dir=folder / _RUN,
        resume=True,
    )
    hasher.save(folder / "student")
    found = [methods.student(images.split, hasher, cell.arm.name)]
    if cell.arm.trivial:
        found.append(methods.trivial(images.split, hasher, f"trivial: class of {cell.arm.name}"))
    return found, hasher.history


def _fusion(cell: Cell, folder: Path, workshop: Workshop, progress: bool) -> Found:
    del progress
    fused, split = workshop.fused(cell), workshop.images(cell.config).split
    measured, weights = methods.fusion(split, fused)
    query = split.query
    measured.row["name"] = cell.arm.name
    save_tensors(folder / "weights.safetensors", {"weights": weights})
    # Weights that are equal for all images have nothing to show.
    if query.labels is not None and float(weights.std(0).max()) > 0:
        plot_weights(
            weights.numpy(),
            query,
            [teacher.name for teacher in fused.teachers],
            folder / "weights.png",
            title=f"{cell.arm.name} over {len(fused.teachers)} teachers",
            subtitle=f"{cell.config.protocol}, {len(query):,} queries, seed {cell.config.seed}",
        )
    return [measured], fused.history


def _teachers(cell: Cell, folder: Path, workshop: Workshop, progress: bool) -> Found:
    del folder, progress
    return list(methods.teachers(workshop.images(cell.config).split, workshop.fused(cell))), []


def _untrained(cell: Cell, folder: Path, workshop: Workshop, progress: bool) -> Found:
    del folder, progress
    split, fused = workshop.images(cell.config).split, workshop.fused(cell)
    return list(methods.untrained(split, fused, seed=cell.config.seed)), []


def _random(cell: Cell, folder: Path, workshop: Workshop, progress: bool) -> Found:
    del folder, progress
    config = cell.config
    measured = methods.random_codes(workshop.images(config).split, config.bits, seed=config.seed)
    measured.row["name"] = cell.arm.name
    return [measured], []


_RUNS: dict[str, Callable[[Cell, Path, Workshop, bool], Found]] = {
    "student": _student,
    "fusion": _fusion,
    "teachers": _teachers,
    "untrained": _untrained,
    "random": _random,
}
