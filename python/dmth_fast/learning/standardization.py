"""Bringing features of different networks to one scale, with statistics that are saved with the model."""

import torch
from torch import Tensor, nn

from dmth_fast.learning.config import STANDARDIZATIONS, one_of

_LEAST = 1e-4


class Standardization(nn.Module):
    """``none``, ``dimension`` or ``phi-s``: features (n, d) to features (n, d).

    * ``dimension``: each dimension less its mean, divided by its deviation;
    * ``phi-s``: less the mean, rotated until every dimension has the same variance, divided by the one
      deviation that is left (after Ranzinger et al., arXiv 2410.01680, which rotates by a Hadamard matrix;
      here by plane rotations, which exist for every length). The map keeps angles and can be inverted.

    Args:
        kind: one of these.
        dim: d.

    Example:
        >>> x = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 7)
        >>> standard = Standardization("phi-s", 6)
        >>> standard.fit(x)
        >>> torch.allclose(standard(x).var(0), torch.ones(6), atol=1e-3)
        True
    """

    mean: Tensor
    scale: Tensor
    rotation: Tensor

    def __init__(self, kind: str, dim: int) -> None:
        super().__init__()
        one_of("standardization", kind, STANDARDIZATIONS)
        self.kind = kind
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        if kind == "phi-s":
            self.register_buffer("rotation", torch.eye(dim))

    def fit(self, features: Tensor) -> None:
        """Take the statistics of float features (n, d)."""
        if self.kind == "none":
            return
        values = features.double()
        mean = values.mean(0)
        self.mean.copy_(mean)
        if self.kind == "dimension":
            self.scale.copy_(values.std(0).clamp_min(_LEAST))
        else:
            covariance = torch.cov(values.T).reshape(len(mean), len(mean))
            self.scale.fill_(float(covariance.trace() / len(covariance)) ** 0.5).clamp_min_(_LEAST)
            self.rotation.copy_(equal_variance_rotation(covariance))

    def forward(self, features: Tensor) -> Tensor:
        """Return standardised float32 features (n, d)."""
        values = (features.float() - self.mean) / self.scale
        return values @ self.rotation if self.kind == "phi-s" else values


def equal_variance_rotation(covariance: Tensor) -> Tensor:
    """Rotation R after which ``R^T C R`` has equal diagonal entries.

    From the eigenvectors of C on, each plane rotation brings one diagonal entry to the mean (Bendel and
    Mickey, 1978).

    Args:
        covariance: C, symmetric float64 (d, d).

    Returns:
        float64 (d, d), orthogonal.
    """
    values, vectors = torch.linalg.eigh(covariance)
    rotation: Tensor = vectors
    matrix = torch.diag(values)
    mean = float(values.mean())
    for _ in range(len(matrix) - 1):
        low, high = int(matrix.diagonal().argmin()), int(matrix.diagonal().argmax())
        a, b, c = float(matrix[low, low]), float(matrix[low, high]), float(matrix[high, high])
        if c - a <= 1e-12 * max(abs(c), 1e-300):
            break
        # The tangent t that makes the low entry (a + 2 t b + t^2 c) / (1 + t^2) equal to the mean.
        root = (b * b - (a - mean) * (c - mean)) ** 0.5
        t = (-b + root) / (c - mean) if b <= 0 else (a - mean) / (-b - root)
        cosine = 1 / (1 + t * t) ** 0.5
        plane = torch.tensor([[cosine, -t * cosine], [t * cosine, cosine]], dtype=matrix.dtype)
        pair = [low, high]
        matrix[:, pair] = matrix[:, pair] @ plane
        matrix[pair] = plane.T @ matrix[pair]
        rotation[:, pair] = rotation[:, pair] @ plane
    return rotation
