"""What the student is trained for: the hash loss on labels and the terms that follow the teacher."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dmth_fast.learning.codequeue import CodeQueue
from dmth_fast.learning.config import DistillationConfig, HasherConfig, one_of
from dmth_fast.learning.distillation import (
    FEATURE_TERMS,
    LOGIT_TERMS,
    code_term,
    queue_term,
    relational_term,
    self_term,
)
from dmth_fast.learning.ensemble import TEACHER_WEIGHTS, ensemble_term, equal_weights
from dmth_fast.learning.losses import HashLoss, quantization_term
from dmth_fast.learning.network import HashNetwork
from dmth_fast.learning.parallel import gather_rows
from dmth_fast.learning.standardization import Standardization

if TYPE_CHECKING:
    from dmth_fast.learning.teacher import FusedTeacher

__all__ = ["StudentObjective", "Targets"]

Targets = dict[str, Tensor]
"""What a batch brings along, by name, a row an image.

The teacher's ``features`` F, ``values`` h, ``logits`` o and ``teacher_logits``; ``index`` of the images;
``strong`` views; ``partner`` labels and ``share`` of mixing.
"""


class StudentObjective(nn.Module):
    """``L = L_hash + sum of weight * term + lambda quant``, as named terms with the sum under ``"loss"``.

    Several processes each run the network on their share of a batch; what it says is gathered, so that terms
    on pairs see the pairs of the whole batch, and every process has the same loss.

    Args:
        network: of the student.
        hash_loss: on labels; None learns from the teacher alone.
        config: of the student.
        teacher: gives the targets; None without one.

    Raises:
        ValueError: a term of an unknown name.
    """

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
        weights = config.distillation
        check_names(weights)
        # Only training needs projection, standardisation and queue: they are left behind when it is saved.
        self.projection: nn.Linear | None = None
        self.standardization: Standardization | None = None
        self.queue: CodeQueue | None = None
        if teacher is not None and weights.feature:
            self.projection = nn.Linear(network.backbone.feature_dim, teacher.feature_dim)
            balanced = "dimension" if weights.feature_loss == "balanced" else "none"
            self.standardization = Standardization(
                weights.feature_standardization or balanced, teacher.feature_dim
            )
        if teacher is not None and weights.queue:
            bits = network.head.linear.out_features
            self.queue = CodeQueue(weights.queue, bits=bits, target_bits=teacher.bits)

    def forward(self, images: Tensor, labels: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Return the terms of normalised images, their labels and what else the batch brings along.

        The labels belong to the first images; those after them are unlabelled and follow the teacher alone.
        """
        count = len(labels)
        features, h = (_joined(rows, count) for rows in self.network(images, self._precision))
        strong = targets.get("strong")
        targets = {name: _joined(rows, count) for name, rows in targets.items() if name != "strong"}
        labels = gather_rows(labels)
        terms: dict[str, Tensor] = {}
        if self.hash_loss is not None:
            terms["hash"] = self._on_labels(self.hash_loss, h[: len(labels)], labels, targets)
        # Even where no term reads the codes the head has a gradient, which several processes wait for.
        loss = terms.get("hash", 0.0 * h.sum())
        if self._loss.quantization:
            terms["quantization"] = quantization_term(self._loss, h)
            loss = loss + self._loss.quantization * terms["quantization"]
        if "values" in targets:
            terms |= self._distillation(features, h, labels, targets)
        if strong is not None:
            other = _joined(self.network(strong, self._precision)[1], count)
            terms["self_distillation"] = self_term(other, h)
        for name in terms.keys() - {"hash", "quantization"}:
            loss = loss + getattr(self._weights, name) * terms[name]
        return {"loss": loss, **terms}

    def on_step(self, step: int) -> None:
        """Tell the hash loss how many steps are done."""
        if self.hash_loss is not None:
            self.hash_loss.on_step(step)

    @staticmethod
    def _on_labels(loss: HashLoss, h: Tensor, labels: Tensor, targets: Targets) -> Tensor:
        value: Tensor = loss(h, labels)
        if "partner" not in targets:
            return value
        share = targets["share"][0]
        partner: Tensor = loss(h, targets["partner"][: len(labels)])
        return share * value + (1 - share) * partner

    def _distillation(
        self, features: Tensor, h: Tensor, labels: Tensor, targets: Targets
    ) -> dict[str, Tensor]:
        weights = self._weights
        terms: dict[str, Tensor] = {}
        if self.projection is not None and self.standardization is not None:
            wanted = self.standardization(targets["features"])
            terms["feature"] = FEATURE_TERMS[weights.feature_loss](self.projection(features), wanted)
        if weights.code:
            terms["code"] = code_term(h, targets["values"], temperature=weights.code_temperature)
        if weights.relational:
            terms["relational"] = self._relational(h, targets)
        if weights.logit and self.hash_loss is not None:
            terms["logit"] = self._logit(self.hash_loss.logits(h), labels, targets)
        return terms

    def _relational(self, h: Tensor, targets: Targets) -> Tensor:
        if self.queue is None:
            return relational_term(h, targets["values"])
        values, wanted, index = self.queue.entries()
        same = targets["index"][:, None] == index[None]
        if self.training:
            self.queue.push(h, targets["values"], targets["index"])
        # Fewer than two others have no deviation to compare by: the first step only fills the queue.
        if len(index) < 2:
            return h.sum() * 0.0
        return queue_term(h, targets["values"], values, wanted, same)

    def _logit(self, own: Tensor, labels: Tensor, targets: Targets) -> Tensor:
        weights, temperature = self._weights, self._weights.logit_temperature
        if weights.teacher_weights == "fused":
            return LOGIT_TERMS[weights.logit_loss](own, targets["logits"], temperature=temperature)
        teachers = targets["teacher_logits"].reshape(len(own), -1, own.shape[1])
        count = len(labels)
        # Images without a label cannot say which teacher is right.
        shares = torch.cat(
            [
                TEACHER_WEIGHTS[weights.teacher_weights](teachers[:count], labels),
                equal_weights(teachers[count:], labels),
            ]
        )
        return ensemble_term(own, teachers, shares, temperature=temperature)


def check_names(weights: DistillationConfig) -> None:
    """Raise ValueError for a term or weighting that no dict knows."""
    one_of("feature_loss", weights.feature_loss, FEATURE_TERMS)
    one_of("logit_loss", weights.logit_loss, LOGIT_TERMS)
    one_of("teacher_weights", weights.teacher_weights, ("fused", *TEACHER_WEIGHTS))


def _joined(rows: Tensor, labelled: int) -> Tensor:
    """Gather a batch whose first ``labelled`` rows have labels: those of all processes come first."""
    if len(rows) == labelled:
        return gather_rows(rows)
    return torch.cat([gather_rows(rows[:labelled]), gather_rows(rows[labelled:])])
