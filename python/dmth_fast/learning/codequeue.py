"""The last codes of student and teacher, as more partners for comparison than a batch has."""

import torch
from torch import Tensor, nn

__all__ = ["CodeQueue"]


class CodeQueue(nn.Module):
    """A ring of the last ``size`` code values with the images they are of; a part of every checkpoint.

    Args:
        size: entries.
        bits: width of the student's codes.
        target_bits: width of the teacher's.

    Example:
        >>> queue = CodeQueue(2, bits=4, target_bits=3)
        >>> for image in range(3):
        ...     queue.push(torch.ones(1, 4), torch.ones(1, 3), torch.tensor([image]))
        >>> queue.entries()[2].tolist()
        [2, 1]
    """

    values: Tensor
    targets: Tensor
    index: Tensor
    pushed: Tensor

    def __init__(self, size: int, *, bits: int, target_bits: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(size, bits))
        self.register_buffer("targets", torch.zeros(size, target_bits))
        self.register_buffer("index", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    def entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return student codes (n, bits), teacher codes (n, target_bits) and image numbers int64 (n,)."""
        count = min(int(self.pushed), len(self.index))
        return self.values[:count].clone(), self.targets[:count].clone(), self.index[:count].clone()

    def push(self, values: Tensor, targets: Tensor, index: Tensor) -> None:
        """Take in the rows of a batch in the place of the oldest ones."""
        size, count = len(self.index), len(index)
        last = slice(max(0, count - size), count)
        rows = (self.pushed + torch.arange(count, device=index.device)[last]) % size
        self.values[rows] = values.detach()[last].to(self.values.dtype)
        self.targets[rows] = targets.detach()[last].to(self.targets.dtype)
        self.index[rows] = index[last]
        self.pushed += count
