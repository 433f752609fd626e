"""What the student is trained for: the hash loss on labels and the terms that follow the teacher."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dmth_fast.learning.augmentation import crop_and_flip
from dmth_fast.learning.backbones import Backbone
from dmth_fast.learning.config import HasherConfig
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.distillation import code_term, feature_term, logit_term, relational_term
from dmth_fast.learning.losses import QUANTIZERS, HashLoss
from dmth_fast.learning.network import HashNetwork, prepare

if TYPE_CHECKING:
    from dmth_fast.learning.teacher import FusedTeacher

Targets = dict[str, Tensor]


class StudentObjective(nn.Module):
    """``L = L_hash + sum of weight * term + lambda quant``, as named terms with the sum under ``"loss"``."""

    def __init__(
        self,
        network: HashNetwork,
        hash_loss: HashLoss | None,
        config: HasherConfig,
        teacher: "FusedTeacher | None",
    ) -> None:
        super().__init__()
        self.network, self.hash_loss = network, hash_loss
        self._loss, self._weights = config.loss, config.distillation
        self._precision = config.training.precision
        # Only training needs the projection: it is left behind when the student is saved.
        self.projection = (
            nn.Linear(network.backbone.feature_dim, teacher.feature_dim)
            if teacher is not None and config.distillation.feature
            else None
        )

    def forward(self, images: Tensor, labels: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Return the terms of normalised images, labels and the teacher's F, h, o (empty without one).

        The labels belong to the first images; those after them are unlabelled and follow the teacher alone.
        """
        features, h = self.network(images, self._precision)
        terms: dict[str, Tensor] = {}
        if self.hash_loss is not None:
            terms["hash"] = self.hash_loss(h[: len(labels)], labels)
        loss = terms.get("hash", h.new_zeros(()))
        if self._loss.quantization:
            terms["quantization"] = QUANTIZERS[self._loss.quantizer](h)
            loss = loss + self._loss.quantization * terms["quantization"]
        if targets:
            for name, term in self._distillation(features, h, targets).items():
                terms[name] = term
                loss = loss + getattr(self._weights, name) * term
        return {"loss": loss, **terms}

    def on_step(self, step: int) -> None:
        """Tell the hash loss how many steps are done."""
        if self.hash_loss is not None:
            self.hash_loss.on_step(step)

    def _distillation(self, features: Tensor, h: Tensor, targets: Targets) -> dict[str, Tensor]:
        weights = self._weights
        terms: dict[str, Tensor] = {}
        if self.projection is not None:
            terms["feature"] = feature_term(self.projection(features), targets["features"])
        if weights.code:
            terms["code"] = code_term(h, targets["values"], temperature=weights.code_temperature)
        if weights.relational:
            terms["relational"] = relational_term(h, targets["values"])
        if weights.logit and self.hash_loss is not None:
            own = self.hash_loss.logits(h)
            terms["logit"] = logit_term(own, targets["logits"], temperature=weights.logit_temperature)
        return terms


class StudentBatches:
    """Augmented, normalised images with labels and, if there is a teacher, its outputs for the same view.

    Args:
        images: the epoch's images, with labels unless no loss reads them.
        backbone: says how images are normalised.
        config: of the student.
        teacher: whose views and targets are shown.
        unlabelled: images of which ``unlabelled_batch`` join each batch, with targets and without labels.
        views: V, how many the teacher sees; 0: the images as they are; None: as many as it was trained on.
    """

    def __init__(
        self,
        images: ImageSet,
        backbone: Backbone,
        config: HasherConfig,
        teacher: "FusedTeacher | None",
        unlabelled: ImageSet | None = None,
        views: int | None = None,
    ) -> None:
        self._images, self._backbone, self._augmentation = images, backbone, config.augmentation
        # Without a hash loss no label is read.
        self._labels = torch.zeros(len(images), dtype=torch.int64) if images.labels is None else images.labels
        self._seed = config.training.seed if teacher is None else teacher.config.training.seed
        self._views, self._targets, self._more = 0, [], None
        if teacher is not None:
            self._views = teacher.config.views if views is None else views
            seen = range(self._views) if self._views else (None,)
            self._targets = [teacher.targets(images, view) for view in seen]
            if unlabelled is not None:
                many = teacher.config.unlabelled_views
                self._more = StudentBatches(unlabelled, backbone, config, teacher, views=many)
        self._more_count = 0 if unlabelled is None else min(config.training.unlabelled_batch, len(unlabelled))
        self._order, self._epoch, self._round, self._position = torch.zeros(0, dtype=torch.int64), -1, 0, 0

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, index: Tensor, epoch: int) -> tuple[Tensor, Tensor, Targets]:
        """Return normalised images, labels and targets of the images at ``index`` in ``epoch``."""
        images, targets = self._show(index, epoch)
        if self._more is not None:
            others, other_targets = self._more._show(self._next(epoch), epoch)
            images = torch.cat([images, others]).contiguous(memory_format=torch.channels_last)
            targets = {name: torch.cat([column, other_targets[name]]) for name, column in targets.items()}
        return images, self._labels[index], targets

    def _show(self, index: Tensor, epoch: int) -> tuple[Tensor, Targets]:
        view = epoch % self._views if self._views else epoch
        augmentation = self._augmentation
        pixels = crop_and_flip(
            self._images.images[index],
            index,
            seed=self._seed,
            view=view,
            padding=augmentation.padding,
            flip=augmentation.flip,
        )
        columns = self._targets[view if self._views else 0] if self._targets else {}
        targets = {name: column[index].to(torch.float32) for name, column in columns.items()}
        return prepare(self._backbone, pixels), targets

    def _next(self, epoch: int) -> Tensor:
        """Draw the next unlabelled images; an epoch begins a new order, so that a resumed run is the same."""
        more = self._more_count
        if epoch != self._epoch or self._position + more > len(self._order):
            self._round = self._round + 1 if epoch == self._epoch else 1
            generator = torch.Generator().manual_seed(self._seed + 7919 * epoch + 104_729 * self._round)
            self._order = torch.randperm(len(self._more or ()), generator=generator)
            self._epoch, self._position = epoch, 0
        chosen = self._order[self._position : self._position + more]
        self._position += more
        return chosen
