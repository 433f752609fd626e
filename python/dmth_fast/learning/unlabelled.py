"""A fused teacher without labels: principal components of all teachers, rotated to bits by ITQ."""

from typing import cast

import torch
from torch import Tensor, nn

from dmth_fast.learning.baselines import itq_rotation, pca
from dmth_fast.learning.standardization import Standardization


class UnlabelledNetwork(nn.Module):
    """``F = PCA([x_1, ..., x_K])`` and ``h = ITQ(F)``, where x_k are standardised features over sqrt(d_k).

    Every teacher has the same say, however long its features are. Nothing is trained by gradient: the maps
    follow from the features of the training images (ITQ: Gong and Lazebnik, CVPR 2011).

    Args:
        dims: feature length of each teacher.
        dim: length of F; at most the sum of ``dims``.
        bits: width of the codes; at most the length of F.
        standardization: of the features.

    Raises:
        ValueError: more bits than the length of F.
    """

    mean: Tensor
    components: Tensor
    rotation: Tensor
    scale: Tensor

    def __init__(self, dims: tuple[int, ...], *, dim: int, bits: int, standardization: str) -> None:
        super().__init__()
        self.output_dim, self.num_teachers = min(dim, sum(dims)), len(dims)
        if bits > self.output_dim:
            raise ValueError(
                f"bits must be at most {self.output_dim}, the length of the fused features without labels, "
                f"got {bits}"
            )
        self.standardizations = nn.ModuleList(Standardization(standardization, length) for length in dims)
        self.register_buffer("mean", torch.zeros(sum(dims)))
        self.register_buffer("components", torch.zeros(sum(dims), self.output_dim))
        self.register_buffer("rotation", torch.zeros(bits, bits))
        self.register_buffer("scale", torch.ones(()))

    def fit(self, features: list[Tensor], *, seed: int) -> None:
        """Find components and rotation from each teacher's features (n, d_k)."""
        for standardization, column in zip(self.standardizations, features, strict=True):
            cast(Standardization, standardization).fit(column)
        joined = self._join(features)
        projection = pca(joined, self.output_dim)
        self.mean.copy_(projection.mean)
        self.components.copy_(projection.matrix)
        first = projection(joined)[:, : len(self.rotation)]
        self.rotation.copy_(itq_rotation(first, seed=seed))
        # Code values of about unit size, as a batch norm gives them: the code term reads them as log odds.
        self.scale.copy_(first.std(0).square().mean().sqrt().clamp_min(1e-6))

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return F (b, output_dim), h (b, bits), no logits (b, 0) and equal weights (b, teachers)."""
        fused = (self._join(features) - self.mean) @ self.components
        values = fused[:, : len(self.rotation)] @ self.rotation / self.scale
        weights = fused.new_full((len(fused), self.num_teachers), 1 / self.num_teachers)
        return fused, values, fused.new_zeros(len(fused), 0), weights

    def _join(self, features: list[Tensor]) -> Tensor:
        columns = [
            standard(column) / column.shape[1] ** 0.5
            for standard, column in zip(self.standardizations, features, strict=True)
        ]
        return torch.cat(columns, 1)
