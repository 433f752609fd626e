"""What the cells of a grid share: opened images, teachers, cached features and trained fusions."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from dmth_fast.grid.config import Cell
from dmth_fast.learning.config import to_mapping
from dmth_fast.learning.data import ImageSet, split_by_class
from dmth_fast.learning.frozen import AnyTeacher
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.protocols import ImageSplit, open_split
from dmth_fast.learning.teacher import FusedTeacher
from dmth_fast.locks import holding
from dmth_fast.pipeline import data_root, new_fusion, new_student, new_teacher
from dmth_fast.trainconfig import TrainConfig

__all__ = ["Images", "Workshop"]


class Images(NamedTuple):
    """The images of a cell.

    Attributes:
        split: of the protocol.
        learned: training images without those held out.
        validation: those held out, or None.
    """

    split: ImageSplit
    learned: ImageSet
    validation: ImageSet | None


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
            split = open_split(config.protocol, config.data, data_root(config), config.seed)
            learned, validation, fraction = split.train, None, config.data.validation_fraction
            if fraction:
                learned, validation = split_by_class(learned, fraction=fraction, seed=config.seed)
            self._images = key, Images(split, learned, validation)
        return self._images[1]

    def teachers(self, cell: Cell) -> list[AnyTeacher]:
        """Open the teachers of a cell's set; those without weights are trained by the set's settings."""
        config = cell.shared
        key = _teachers_key(config)
        if self._teachers is None or self._teachers[0] != key:
            learned = self.images(cell.config).learned
            found = []
            for k in range(len(config.teachers)):
                folder = self._out / "teachers" / f"{key}-{k}"
                with holding(folder / "lock", wait=True):
                    found.append(
                        new_teacher(
                            config,
                            k,
                            learned,
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
            "teachers": _teachers_key(cell.shared),
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


def _teachers_key(config: TrainConfig) -> str:
    described: dict[str, Any] = {
        "protocol": config.protocol,
        "data": {**to_mapping(config.data), "unlabelled": None, "root": None},
        "teachers": [to_mapping(card) for card in config.teachers],
        "seed": config.seed,
        "labels": config.labels,
    }
    if any(card.weights is None for card in config.teachers):
        described |= {"student": to_mapping(config.student), "bits": config.bits}
    return _digest(described)


def _digest(described: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
