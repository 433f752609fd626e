"""The student's batches: augmented images, and what the teacher says of the very same pixels."""

import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dmth_fast.learning.augmentation import crop_and_flip, mix, strengthen
from dmth_fast.learning.backbones import Backbone
from dmth_fast.learning.config import HasherConfig
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.network import prepare
from dmth_fast.learning.objective import Targets
from dmth_fast.learning.parallel import share, world_size

if TYPE_CHECKING:
    from dmth_fast.learning.teacher import FusedTeacher

__all__ = ["StudentBatches"]


class StudentBatches:
    """Augmented, normalised images with labels and, if there is a teacher, its outputs for the same view.

    ``teacher_seconds`` counts what running live teachers has taken.

    With cached targets of V views epoch e shows view e mod V; else each epoch is a new view.

    Args:
        images: the epoch's images, with labels unless no loss reads them.
        backbone: says how images are normalised.
        config: of the student.
        teacher: whose views and targets are shown.
        unlabelled: images of which ``unlabelled_batch`` join each batch, with targets and without labels.
        views: V, how many the teacher sees; 0: the images as they are; None: as many as it was trained on.
        offset: number of the first image, for what tells images apart.
    """

    def __init__(
        self,
        images: ImageSet,
        backbone: Backbone,
        config: HasherConfig,
        teacher: "FusedTeacher | None",
        unlabelled: ImageSet | None = None,
        *,
        views: int | None = None,
        offset: int = 0,
    ) -> None:
        self._images, self._backbone, self._augmentation = images, backbone, config.augmentation
        # Without a hash loss no label is read.
        self._labels = torch.zeros(len(images), dtype=torch.int64) if images.labels is None else images.labels
        self._seed = config.training.seed if teacher is None else teacher.config.training.seed
        self._distillation, self._offset = config.distillation, offset
        self._every = teacher is not None and config.distillation.teacher_weights != "fused"
        self._live = teacher if config.distillation.live else None
        self._views, self._targets = 0, list[Targets]()
        if teacher is not None and self._live is None:
            self._views = teacher.config.views if views is None else views
            seen = range(self._views) if self._views else (None,)
            self._targets = [teacher.targets(images, view, every_teacher=self._every) for view in seen]
        self._more: StudentBatches | None = None
        if unlabelled is not None:
            many = None if teacher is None else teacher.config.unlabelled_views
            self._more = StudentBatches(
                unlabelled, backbone, config, teacher, views=many, offset=offset + len(images)
            )
        self.teacher_seconds = 0.0
        self._more_count = 0 if unlabelled is None else min(config.training.unlabelled_batch, len(unlabelled))
        if self._more_count % world_size():
            raise ValueError(
                f"unlabelled_batch must be a multiple of the {world_size()} processes, got {self._more_count}"
            )
        self._epoch, self._drawn = -1, 0
        self._order: tuple[int, Tensor] = (-1, torch.zeros(0, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self._images)

    @property
    def target_features(self) -> Tensor | None:
        """The teacher's features F of the first view, fp16 (n, d); None with a live teacher or none."""
        return self._targets[0]["features"] if self._targets else None

    def batch(self, index: Tensor, epoch: int) -> tuple[Tensor, Tensor, Targets]:
        """Return normalised images, labels and targets of the images at ``index`` in ``epoch``."""
        images, targets = self._show(index, epoch)
        if self._more is not None:
            before = self._more.teacher_seconds
            others, other_targets = self._more._show(self._next(epoch), epoch)
            self.teacher_seconds += self._more.teacher_seconds - before
            images = torch.cat([images, others]).contiguous(memory_format=torch.channels_last)
            targets = {name: torch.cat([column, other_targets[name]]) for name, column in targets.items()}
        return images, self._labels[index], targets

    def seek(self, epoch: int, step: int) -> None:
        """Stand where ``step`` batches of ``epoch`` have been drawn, to continue an interrupted epoch."""
        self._epoch, self._drawn = epoch, step

    def _show(self, index: Tensor, epoch: int) -> tuple[Tensor, Targets]:
        view = epoch % self._views if self._views else epoch
        kind, weights = self._augmentation, self._distillation
        pixels = crop_and_flip(
            self._images.images[index],
            index,
            seed=self._seed,
            view=view,
            padding=kind.padding,
            flip=kind.flip,
        )
        targets: Targets = {}
        if weights.mixup:
            pixels, partner, part = mix(pixels, alpha=weights.mixup)
            targets = {"partner": self._labels[index[partner]], "share": torch.full((len(index),), part)}
        if self._live is not None:
            begin = time.perf_counter()
            targets |= self._live.live_targets(pixels, every_teacher=self._every)
            self.teacher_seconds += time.perf_counter() - begin
        elif self._targets:
            columns = self._targets[view if self._views else 0]
            targets |= {name: column[index].to(torch.float32) for name, column in columns.items()}
        if weights.queue and "values" in targets:
            targets["index"] = index + self._offset
        if weights.self_distillation:
            strong = strengthen(pixels, index, seed=self._seed, view=view)
            targets["strong"] = prepare(self._backbone, strong)
        return prepare(self._backbone, pixels), targets

    def _next(self, epoch: int) -> Tensor:
        """Draw the next unlabelled images; epoch and step decide which, so that a run can be resumed."""
        if epoch != self._epoch:
            self.seek(epoch, 0)
        count = self._more_count
        a_round, place = divmod(self._drawn, len(self._more or ()) // count)
        seed = self._seed + 7919 * epoch + 104_729 * (a_round + 1)
        if self._order[0] != seed:
            order = torch.randperm(len(self._more or ()), generator=torch.Generator().manual_seed(seed))
            self._order = (seed, order)
        self._drawn += 1
        return self._order[1][place * count : (place + 1) * count][share(count)]
