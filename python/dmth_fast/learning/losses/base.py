"""What a hash loss is."""

from torch import Tensor, nn


class HashLoss(nn.Module):
    """A loss on code values and labels that may also name the class of a code.

    Attributes:
        centers: +-1 (classes, bits), the class codes; shared between teacher and student.
    """

    centers: Tensor

    def forward(self, h: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of code values (b, bits) with labels, int64 (b,) or multi-hot bool (b, classes)."""
        raise NotImplementedError

    def logits(self, h: Tensor) -> Tensor:
        """Return class logits (b, classes) of code values (b, bits).

        Raises:
            ValueError: a loss on pairs, which knows no classes.
        """
        del h
        raise ValueError(f"hash loss {type(self).__name__} compares pairs and names no classes")

    def on_step(self, step: int) -> None:
        """Take note that ``step`` optimiser steps are done; for losses that change as training goes on."""
