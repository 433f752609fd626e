"""The layers between features and codes, found by name."""

import torch
from torch import Tensor, nn

from dmth_fast.learning.baselines import itq_rotation, pca
from dmth_fast.learning.losses.quantizers import bihalf_codes


class HashHead(nn.Module):
    """``h = BN(W f)``: features (b, feature_dim) to code values (b, bits); the stored bit is 1 where h > 0.

    Batch norm centres each bit, so that about half of the images have it set.

    Example:
        >>> import torch
        >>> HashHead(16, 64)(torch.randn(4, 16)).shape
        torch.Size([4, 64])
    """

    def __init__(self, feature_dim: int, bits: int) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_dim, bits, bias=False)
        self.norm = nn.BatchNorm1d(bits)

    def forward(self, features: Tensor) -> Tensor:
        """Return code values (b, bits)."""
        values: Tensor = self.norm(self.linear(features))
        return values

    def initialize(self, features: Tensor, *, seed: int) -> None:
        """Start from ITQ: W are principal components of ``features`` (n, feature_dim), rotated to bits.

        Source: Gong and Lazebnik, CVPR 2011; the batch norm starts from the statistics of these features.

        Raises:
            ValueError: more bits than the length of the features.
        """
        projection = pca(features, self.linear.out_features)
        matrix = projection.then(itq_rotation(projection(features), seed=seed)).matrix
        with torch.no_grad():
            self.linear.weight.copy_(matrix.T)
            values = features.double() @ matrix
            # The batch norm brings bits to one deviation; the rows of W stay of unit length, whatever the
            # scale of the features, since longer ones would learn more slowly.
            self.norm.running_mean.copy_(values.mean(0))  # type: ignore[union-attr]
            self.norm.running_var.copy_(values.var(0).clamp_min(1e-12))  # type: ignore[union-attr]


class BiHalfHead(HashHead):
    """:class:`HashHead` whose values in training are bi-half codes: each bit set in half of the batch.

    ``h = bihalf(BN(W f))`` with the gradient passed straight through (Li and van Gemert, AAAI 2021); outside
    training ``BN(W f)``, whose sign is the stored bit.

    Example:
        >>> import torch
        >>> BiHalfHead(16, 8)(torch.randn(4, 16)).abs().unique().tolist()
        [1.0]
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return code values (b, bits)."""
        values = super().forward(features)
        return bihalf_codes(values) if self.training else values


HEADS: dict[str, type[HashHead]] = {"bn": HashHead, "bihalf": BiHalfHead}
"""Heads by name."""
