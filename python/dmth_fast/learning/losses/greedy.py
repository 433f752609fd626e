"""GreedyHash: a classifier on the bits themselves, with the gradient passed straight through the sign."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dmth_fast.learning.config import LossConfig
from dmth_fast.learning.losses.base import HashLoss
from dmth_fast.learning.losses.pairwise import refuse_unlabelled

ALPHA = 0.1


def straight_through_sign(h: Tensor) -> Tensor:
    """+1 where h > 0, else -1; the gradient is that of h.

    >>> h = torch.tensor([0.5, 0.0, -2.0], requires_grad=True)
    >>> straight_through_sign(h).detach().tolist()
    [1.0, -1.0, -1.0]
    """
    signs = torch.where(h > 0, 1.0, -1.0).to(h.dtype)
    return h + (signs - h).detach()


class GreedyHash(HashLoss):
    """``CE(W sign(h), y) + .1 mean ||h| - 1|^3`` (Su et al., NeurIPS 2018, equations 4 and 6).

    W is learned, from the class codes on; it is a part of the saved model.
    """

    def __init__(self, config: LossConfig, centers: Tensor) -> None:
        super().__init__()
        del config
        self.register_buffer("centers", centers)
        self.weight = nn.Parameter(centers.clone() / centers.shape[1] ** 0.5)

    def forward(self, h: Tensor, labels: Tensor) -> Tensor:
        """Return the loss."""
        refuse_unlabelled(labels)
        right = functional.one_hot(labels, len(self.weight)) if labels.ndim == 1 else labels
        wanted = right.to(h.dtype) / right.sum(1, keepdim=True)
        loss = functional.cross_entropy(straight_through_sign(h) @ self.weight.T, wanted)
        return loss + ALPHA * (h.abs() - 1).abs().pow(3).mean()

    def logits(self, h: Tensor) -> Tensor:
        """Return the classifier's logits of the bits (b, classes)."""
        return straight_through_sign(h) @ self.weight.T
