"""How projected features of several teachers become one, found by name."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from dmth_fast.learning.config import one_of
from dmth_fast.learning.heads import HashHead
from dmth_fast.learning.standardization import Standardization


class Fusion(nn.Module):
    """Projected features (b, teachers, dim) to one feature (b, ``output_dim``) and weights (b, teachers)."""

    output_dim: int

    def forward(self, z: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the fused features and the weight of each teacher for each image (rows sum to 1).

        Teachers that are not ``kept``, bool (b, teachers), have weight 0.
        """
        raise NotImplementedError


class MeanFusion(Fusion):
    """``F = mean_k z_k``."""

    def __init__(self, teachers: int, dim: int, temperature: float) -> None:
        del temperature
        super().__init__()
        self.output_dim, self.teachers = dim, teachers

    def forward(self, z: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the mean over teachers and equal weights."""
        weights = masked_softmax(z.new_zeros(z.shape[:2]), kept)
        return (weights[..., None] * z).sum(1), weights


class ConcatFusion(Fusion):
    """``F = [z_1, ..., z_K]``."""

    def __init__(self, teachers: int, dim: int, temperature: float) -> None:
        del temperature
        super().__init__()
        self.output_dim, self.teachers = teachers * dim, teachers

    def forward(self, z: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the concatenation, kept parts scaled up for those left out, and equal weights."""
        weights = masked_softmax(z.new_zeros(z.shape[:2]), kept)
        return (self.teachers * weights[..., None] * z).flatten(1), weights


class StaticFusion(Fusion):
    """``F = sum_k a_k z_k``, ``a = softmax(w / tau)``: one learned weight a teacher."""

    def __init__(self, teachers: int, dim: int, temperature: float) -> None:
        super().__init__()
        self.output_dim, self.temperature = dim, temperature
        self.weight = nn.Parameter(torch.zeros(teachers))

    def forward(self, z: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the weighted sum and the weights."""
        weights = masked_softmax((self.weight / self.temperature).expand(z.shape[:2]), kept)
        return (weights[..., None] * z).sum(1), weights


class AttentionFusion(Fusion):
    """``F = sum_k a_k z_k``, ``a = softmax(e / tau)``, ``e_k = v^T (tanh(U z_k) * sigmoid(G z_k))``.

    Gated attention of Ilse et al., ICML 2018, equation 9, over teachers instead of instances. A temperature
    of 4 keeps all teachers heard; at 1 one teacher takes over, another with each seed.
    """

    def __init__(self, teachers: int, dim: int, temperature: float) -> None:
        del teachers
        super().__init__()
        hidden = max(1, dim // 2)
        self.output_dim, self.temperature = dim, temperature
        self.value = nn.Linear(dim, hidden, bias=False)
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, z: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the weighted sum and the weights."""
        scores = self.score(torch.tanh(self.value(z)) * torch.sigmoid(self.gate(z)))[..., 0]
        weights = masked_softmax(scores / self.temperature, kept)
        return (weights[..., None] * z).sum(1), weights


FUSIONS: dict[str, Callable[[int, int, float], Fusion]] = {
    "attention": AttentionFusion,
    "concat": ConcatFusion,
    "mean": MeanFusion,
    "static": StaticFusion,
}
"""Fusions by name, built from the number of teachers, the projected length and the temperature."""


def masked_softmax(scores: Tensor, kept: Tensor | None) -> Tensor:
    """Softmax of each row over the ``kept`` entries; the others have weight 0.

    Example:
        >>> import torch
        >>> masked_softmax(torch.zeros(1, 3), torch.tensor([[True, False, True]])).tolist()
        [[0.5, 0.0, 0.5]]
    """
    return torch.softmax(scores if kept is None else scores.masked_fill(~kept, float("-inf")), 1)


def keep_teachers(rows: int, teachers: int, rate: float) -> Tensor:
    """Draw which teachers speak for each image: each is left out by chance ``rate``, one always stays.

    Returns:
        bool (rows, teachers).

    Example:
        >>> keep_teachers(100, 3, 1.0).sum(1).unique().tolist()
        [1]
    """
    drawn = torch.rand(rows, teachers)
    return (drawn >= rate).scatter(1, drawn.argmax(1, keepdim=True), True)


def entropy(weights: Tensor) -> Tensor:
    """Mean entropy in nats of weights (b, teachers).

    Example:
        >>> import torch
        >>> round(entropy(torch.full((3, 2), 0.5)).item(), 4)
        0.6931
    """
    # A teacher that was left out has weight 0, where the logarithm has no gradient.
    return -torch.xlogy(weights, weights.clamp_min(1e-12)).sum(1).mean()


class FusedNetwork(nn.Module):
    """Standardise, project and fuse teacher features; then a hash layer and a classifier.

    ``z_k = LN(W_k standardise(f_k))``, fusion to F, ``h = BN(W_h F)``, ``o = W_c F``.

    Args:
        dims: feature length of each teacher.
        fusion: a key of :data:`FUSIONS`.
        dim: length of each z_k.
        bits: width of the hash layer.
        num_classes: of the classifier.
        temperature: of the attention.
        dropout: on the standardised features.
        teacher_dropout: chance by which a teacher is left out for an image in training.
        standardization: of the features.
        probes: which teachers get a linear classifier of their own here, having none for these classes.
    """

    def __init__(
        self,
        dims: tuple[int, ...],
        *,
        fusion: str,
        dim: int,
        bits: int,
        num_classes: int,
        temperature: float,
        dropout: float,
        teacher_dropout: float = 0.0,
        standardization: str,
        probes: tuple[bool, ...],
    ) -> None:
        super().__init__()
        one_of("fusion", fusion, FUSIONS)
        self.standardizations = nn.ModuleList(Standardization(standardization, length) for length in dims)
        self.dropout, self.teacher_dropout = nn.Dropout(dropout), teacher_dropout
        self.projections = nn.ModuleList(nn.Linear(length, dim) for length in dims)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in dims)
        self.fusion = FUSIONS[fusion](len(dims), dim, temperature)
        self.head = HashHead(self.fusion.output_dim, bits)
        self.classifier = nn.Linear(self.fusion.output_dim, num_classes)
        self.probes = nn.ModuleDict(
            {str(k): nn.Linear(length, num_classes) for k, length in enumerate(dims) if probes[k]}
        )

    @property
    def output_dim(self) -> int:
        """Length of the fused features."""
        return self.fusion.output_dim

    def set_statistics(self, features: list[Tensor]) -> None:
        """Take mean and variance of each teacher's features (n, d_k)."""
        for standardization, column in zip(self.standardizations, features, strict=True):
            cast(Standardization, standardization).fit(column)

    def standardize(self, features: list[Tensor]) -> list[Tensor]:
        """Return each teacher's features standardised."""
        return [standard(column) for standard, column in zip(self.standardizations, features, strict=True)]

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return fused features F, code values h, logits o and the teachers' weights."""
        z = self.project(features)
        kept = None
        if self.training and self.teacher_dropout:
            kept = keep_teachers(len(z), z.shape[1], self.teacher_dropout).to(z.device)
        fused, weights = self.fusion(z, kept)
        return fused, self.head(fused), self.classifier(fused), weights

    def project(self, features: list[Tensor]) -> Tensor:
        """Return z (b, teachers, dim): each teacher's features standardised, projected and normalised."""
        z = [
            norm(project(self.dropout(x)))
            for norm, project, x in zip(self.norms, self.projections, self.standardize(features), strict=True)
        ]
        return torch.stack(z, 1)
