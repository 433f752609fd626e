"""Central similarity quantisation: every class has a far-off code, and images are drawn to it."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from dmth_fast.learning.config import LossConfig
from dmth_fast.learning.losses.base import HashLoss
from dmth_fast.learning.losses.ortho import distinct_rows, refuse_more_classes
from dmth_fast.learning.losses.pairwise import refuse_unlabelled


def hadamard_centers(num_classes: int, bits: int, *, seed: int) -> Tensor:
    """Class codes from the rows of ``[H; -H]``, for any width; balanced random rows where there are too few.

    H is the Hadamard matrix of the next power of two; ``bits`` of its columns are drawn, and rows are taken
    one by one, each the furthest from those taken. With more classes than rows every code has half its bits
    set at random, or any of them where too few codes are balanced. No two classes have the same code.

    Source: Yuan et al. (CSQ), CVPR 2020, algorithm 1.

    Returns:
        float32 (num_classes, bits) of +-1.

    Raises:
        ValueError: more classes than there are codes of ``bits`` bits.

    >>> centers = hadamard_centers(10, 16, seed=0)
    >>> sorted({int(value) for value in (centers @ centers.T).triu(1).flatten()})
    [-16, 0]
    """
    refuse_more_classes(num_classes, bits)
    generator = torch.Generator().manual_seed(seed)
    order = 2 ** max(1, math.ceil(math.log2(bits)))
    if num_classes > 2 * order:
        balanced = num_classes <= math.comb(bits, bits // 2)

        def draw() -> Tensor:
            noise = torch.rand(num_classes, bits, generator=generator)
            chosen = noise.argsort(1) < bits // 2 if balanced else noise < 0.5
            return chosen.float() * 2 - 1

        return distinct_rows(draw(), draw)
    matrix = torch.ones(1, 1)
    while len(matrix) < order:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    columns = torch.randperm(order, generator=generator)[:bits]
    rows = torch.cat([matrix, -matrix])[torch.randperm(2 * order, generator=generator)][:, columns]
    nearest = torch.full((len(rows),), float(bits + 1))
    chosen: list[int] = []
    for _ in range(num_classes):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (bits - rows @ rows[chosen[-1]]) / 2)
        nearest[chosen] = -1
    return rows[chosen]


def class_codes(labels: Tensor, centers: Tensor) -> Tensor:
    """Code each item is drawn to: its class's, or for multi-hot labels the sign of the sum of its classes'.

    Bits in which the classes cancel follow the first class code, a fixed random vector.

    Args:
        labels: int64 (b,) or multi-hot bool (b, C).
        centers: +-1 (C, bits).

    Returns:
        +-1 (b, bits).

    >>> class_codes(torch.tensor([[True, True]]), torch.tensor([[1.0, -1.0], [1.0, 1.0]])).tolist()
    [[1.0, -1.0]]
    """
    if labels.ndim == 1:
        return centers[labels]
    refuse_unlabelled(labels)
    total = labels.to(centers.dtype) @ centers
    return torch.where(total == 0, centers[0], torch.sign(total))


def csq_loss(h: Tensor, targets: Tensor) -> Tensor:
    """``BCE((1 + u) / 2, (1 + c) / 2)``, ``u = tanh h``; the quantisation term beside it is ``l2``.

    ``(1 + tanh h) / 2 = sigma(2 h)``, so that the logarithms stay finite for large h.

    Args:
        h: code values (b, bits).
        targets: +-1 (b, bits).

    >>> round(csq_loss(torch.zeros(1, 4), torch.ones(1, 4)).item(), 4)
    0.6931
    """
    return functional.binary_cross_entropy_with_logits(2 * h, (1 + targets) / 2)


class CSQ(HashLoss):
    """:func:`csq_loss` towards :func:`class_codes`; the logits are inner products with the class codes."""

    def __init__(self, config: LossConfig, centers: Tensor) -> None:
        del config
        super().__init__()
        self.register_buffer("centers", centers)

    def forward(self, h: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of code values (b, bits) with labels (b,) or multi-hot (b, C)."""
        return csq_loss(h, class_codes(labels, self.centers))

    def logits(self, h: Tensor) -> Tensor:
        """Return ``<tanh h, c_k>`` (b, classes)."""
        return torch.tanh(h) @ self.centers.T
