"""The layers between features and codes."""

from torch import Tensor, nn


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
