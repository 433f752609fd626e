"""OrthoHash: cosines to fixed class codes, and the drawing of such codes."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from dmth_fast.learning.config import LossConfig
from dmth_fast.learning.losses.base import HashLoss
from dmth_fast.learning.losses.pairwise import refuse_unlabelled

_CLASSES = 400
"""Classes up to which every draw of random codes is made; beyond it their number falls with that of pairs."""


def ortho_loss(h: Tensor, labels: Tensor, centers: Tensor, *, scale: float, margin: float) -> Tensor:
    """Cross-entropy of cosines to fixed class codes (OrthoHash; Hoe et al., NeurIPS 2021, equation 6).

    ``mean_i CE(scale * (cos(h_i, c_k) - margin [k in y_i]), y_i / |y_i|_1)``: several labels share the
    probability.

    Args:
        h: code values (b, bits).
        labels: int64 (b,) or multi-hot bool (b, classes).
        centers: +-1 (classes, bits).
        scale: factor of the cosines.
        margin: subtracted from the cosine of the right class.

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> c = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
        >>> round(ortho_loss(c, torch.tensor([0, 1]), c, scale=1.0, margin=0.0).item(), 4)
        0.3133
    """
    cosines = functional.normalize(h, dim=1) @ functional.normalize(centers, dim=1).T
    refuse_unlabelled(labels)
    right = (functional.one_hot(labels, len(centers)) if labels.ndim == 1 else labels).to(cosines.dtype)
    return functional.cross_entropy(scale * (cosines - margin * right), right / right.sum(1, keepdim=True))


def random_centers(num_classes: int, bits: int, *, seed: int, draws: int = 2000) -> Tensor:
    """Draw ``draws`` codebooks of +-1 rows and return the one whose closest two rows lie furthest apart.

    For more than 400 classes fewer are drawn, so that the time stays the same. No two rows are equal.

    Returns:
        float32 (num_classes, bits).

    Raises:
        ValueError: more classes than there are codes of ``bits`` bits.

    Example:
        >>> random_centers(10, 64, seed=0).shape
        torch.Size([10, 64])
    """
    refuse_more_classes(num_classes, bits)
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.randint(0, 2, (num_classes, bits), generator=generator).float() * 2 - 1

    best, best_distance = draw(), -1.0
    draws = max(1, round(draws * min(1.0, _CLASSES / num_classes) ** 2))
    if draws > 1:
        best_distance = least_distance(best)
    for _ in range(draws - 1):
        codes = draw()
        distance = least_distance(codes)
        if distance > best_distance:
            best, best_distance = codes, distance
    return best if best_distance > 0 else distinct_rows(best, draw)


def least_distance(codes: Tensor) -> float:
    """Bits in which the closest two of +-1 rows (n, bits) differ.

    >>> least_distance(torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]))
    1.0
    """
    products = (codes @ codes.T).fill_diagonal_(-codes.shape[1])
    return (codes.shape[1] - float(products.max())) / 2


def distinct_rows(rows: Tensor, draw: Callable[[], Tensor]) -> Tensor:
    """Return ``rows`` (n, bits) without repetitions, filled up to n with further rows of ``draw``.

    >>> distinct_rows(torch.tensor([[1.0], [1.0]]), lambda: torch.tensor([[1.0], [-1.0]])).flatten().tolist()
    [1.0, -1.0]
    """
    count = len(rows)
    while True:
        unique, kind = torch.unique(rows, dim=0, return_inverse=True)
        first = torch.full((len(unique),), len(rows)).scatter_reduce(0, kind, torch.arange(len(rows)), "amin")
        rows = rows[first.sort().values]
        if len(rows) >= count:
            return rows[:count]
        rows = torch.cat([rows, draw()])


def refuse_more_classes(num_classes: int, bits: int) -> None:
    """Raise ValueError where not every class can have a code of its own."""
    if num_classes > 2**bits:
        raise ValueError(f"{bits} bits make {2**bits} different class codes, got {num_classes} classes")


class OrthoHash(HashLoss):
    """:func:`ortho_loss` with fixed class codes; the logits are the scaled cosines."""

    def __init__(self, config: LossConfig, centers: Tensor) -> None:
        super().__init__()
        self.register_buffer("centers", centers)
        self.scale, self.margin = config.scale or math.sqrt(centers.shape[1]), config.margin

    def forward(self, h: Tensor, labels: Tensor) -> Tensor:
        """Return the loss."""
        return ortho_loss(h, labels, self.centers, scale=self.scale, margin=self.margin)

    def logits(self, h: Tensor) -> Tensor:
        """Return the scaled cosines (b, classes)."""
        return self.scale * functional.normalize(h, dim=1) @ functional.normalize(self.centers, dim=1).T
