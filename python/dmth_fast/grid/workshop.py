"""What the cells of a grid share: opened images, teachers, cached features and trained fusions."""

import hashlib
import json
from pathlib import Path
from typing import Any

from dmth_fast.grid.config import Cell
from dmth_fast.learning.config import to_mapping
from dmth_fast.learning.frozen import AnyTeacher
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.teacher import FusedTeacher
from dmth_fast.locks import holding
from dmth_fast.pipeline import new_fusion, new_teacher, teacher_seed
from dmth_fast.preparation import (
    Images,
    check_batches,
    check_teachers,
    check_weights,
    data_root,
    new_student,
    open_run,
)
from dmth_fast.trainconfig import TrainConfig

__all__ = ["Workshop"]


class Workshop:
    """Makes what cells need, and keeps what the next cell will need again.

    Args:
        out: folder of the grid; teachers and fusions are trained below it, once for all cells and processes.
        progress: show progress on standard error.
    """

    def __init__(self, out: Path, *, progress: bool) -> None:
        self._out, self._progress = out, progress
        self._images: tuple[str, Images] | None = None
        self._teachers: tuple[str, list[AnyTeacher]] | None = None

    def images(self, config: TrainConfig) -> Images:
        """Open the images of a config, or return those of the last one that asked for the same."""
        key = _digest({"protocol": config.protocol, "data": to_mapping(config.data), "seed": config.seed})
        if self._images is None or self._images[0] != key:
            self._images = key, open_run(config)
        return self._images[1]

    def check(self, cell: Cell) -> None:
        """Refuse, before anything of a cell is trained, what cannot be.

        Raises:
            ValueError: batches of more images than there are, or weights that have seen too much.
            FileNotFoundError: missing images or weights.
        """
        images, student = self.images(cell.config), cell.arm.kind == "student"
        fused = cell.arm.distilled if student else cell.arm.kind != "random"
        check_batches(cell.config, len(images.learned), student=student, fused=fused)
        if student:
            check_weights(cell.config, images.split, fused=fused)

    def teachers(self, cell: Cell) -> list[AnyTeacher]:
        """Open the teachers of a cell's set; those without weights are trained by the set's settings."""
        config = cell.shared
        key = _teachers_key(cell)
        if self._teachers is None or self._teachers[0] != key:
            images, found = self.images(cell.config), []
            check_teachers(config, images)
            for k in range(len(config.teachers)):
                folder = self._out / "teachers" / f"{key}-{k}"
                with holding(folder / "lock", wait=True):
                    found.append(
                        new_teacher(
                            config,
                            k,
                            images,
                            data_root(config),
                            folder,
                            resume=True,
                            progress=self._progress,
                        )
                    )
            self._teachers = key, found
        return self._teachers[1]

    def fused(self, cell: Cell) -> FusedTeacher:
        """Return the trained fusion of a cell: trained now, or by an earlier cell or another process."""
        config = cell.config
        described = {
            "teachers": _teachers_key(cell),
            "fusion": to_mapping(config.fusion),
            "bits": config.bits,
        }
        folder = self._out / "fused" / f"{config.fusion.fusion}-{_digest(described)}"
        teachers = self.teachers(cell)
        cache = Path(config.cache) if config.cache else self._out / "cache"
        fused = new_fusion(config, teachers, cache)
        with holding(folder / "lock", wait=True):
            return fused.fit(self.images(config).learned, self._progress, run_dir=folder, resume=True)

    def student(self, cell: Cell) -> Hasher:
        """Return the untrained student of a cell."""
        return new_student(cell.config, data_root(cell.config))


def _teachers_key(cell: Cell) -> str:
    """Name the teachers of a cell: by the settings of its set, on the images that are the cell's own."""
    config, data = cell.shared, cell.config.data
    described: dict[str, Any] = {
        "protocol": config.protocol,
        "data": {
            **to_mapping(data),
            "unlabelled": None,
            "root": None if data.root == config.data.root else data.root,
        },
        "teachers": [to_mapping(card) for card in config.teachers],
        "seed": config.seed,
        "labels": config.labels,
    }
    if any(card.weights is None for card in config.teachers):
        described |= {"student": to_mapping(config.student), "bits": config.bits}
    trained = [card.backbone for card in config.teachers if card.trained_here]
    if len(set(trained)) < len(trained):
        described["seeds"] = [teacher_seed(config, k) for k in range(len(config.teachers))]
    return _digest(described)


def _digest(described: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
