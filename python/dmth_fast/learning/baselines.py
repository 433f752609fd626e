"""Codes without training: random hyperplanes, principal components, their rotation (ITQ), CCA."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dmth_fast.learning.similarity import check_features, check_pairs

__all__ = ["Projection", "cca", "cca_codes", "itq_rotation", "lsh", "pca"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """An affine map to code values, ``(x - mean) W``; the stored bit is 1 where a value is > 0.

    Attributes:
        mean: float (d,).
        matrix: W, float (d, bits).
    """

    mean: Tensor
    matrix: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Return code values (n, bits) of features (n, d)."""
        check_features("features", features, len(self.mean))
        return (features.to(self.mean.dtype) - self.mean) @ self.matrix

    def then(self, matrix: Tensor) -> "Projection":
        """The same map followed by another matrix (bits, bits')."""
        return Projection(mean=self.mean, matrix=self.matrix @ matrix)


def lsh(features: Tensor, bits: int, *, seed: int) -> Projection:
    """Random hyperplanes through the mean of the features (Charikar, STOC 2002).

    Args:
        features: float (n, d).
        bits: number of hyperplanes; may exceed d.
        seed: of the hyperplanes.

    >>> lsh(torch.eye(3), 8, seed=0)(torch.eye(3)).shape
    torch.Size([3, 8])
    """
    check_features("features", features)
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(features.shape[1], bits, generator=generator, dtype=torch.float64)
    return Projection(mean=features.double().mean(0), matrix=matrix)


def pca(features: Tensor, bits: int) -> Projection:
    """Principal components of the largest variance.

    Args:
        features: float (n, d).
        bits: number of components.

    Raises:
        ValueError: more bits than dimensions.

    >>> pca(torch.tensor([[0.0, 0.0], [4.0, 0.0], [2.0, 1.0]]), 1).matrix.abs().round().flatten().tolist()
    [1.0, 0.0]
    """
    check_features("features", features)
    if not 1 <= bits <= features.shape[1]:
        raise ValueError(
            f"bits must lie in 1..{features.shape[1]}, the length of the features, for PCA; got {bits}"
        )
    mean = features.double().mean(0)
    centred = features.double() - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return Projection(mean=mean, matrix=vectors.flip(1)[:, :bits])


def itq_rotation(values: Tensor, *, iterations: int = 50, seed: int) -> Tensor:
    """Rotation R that brings ``V R`` closest to its signs (ITQ; Gong & Lazebnik, CVPR 2011).

    Alternates ``B = sign(V R)`` and the orthogonal R that minimises ``|B - V R|``: of ``B^T V = U Σ W^T``,
    ``R = W U^T``.

    Args:
        values: V, centred, float (n, bits).
        iterations: alternations.
        seed: of the first, random rotation.

    Returns:
        float64 (bits, bits).

    >>> rotation = itq_rotation(torch.randn(50, 4), seed=0)
    >>> torch.allclose(rotation @ rotation.T, torch.eye(4, dtype=torch.float64))
    True
    """
    check_features("values", values)
    values, bits = values.double(), values.shape[1]
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(bits, bits, generator=generator, dtype=torch.float64))
    for _ in range(iterations):
        codes = torch.where(values @ rotation > 0, 1.0, -1.0).double()
        left, _, right = torch.linalg.svd(codes.T @ values)
        rotation = (left @ right).T
    result: Tensor = rotation
    return result


def cca(image: Tensor, text: Tensor, bits: int, *, ridge: float) -> tuple[Projection, Projection]:
    """Directions of the highest correlation between two modalities, scaled by it (Hotelling 1936).

    Args:
        image: float (n, d_i).
        text: float (n, d_t), the same pairs.
        bits: number of directions.
        ridge: what is added to the diagonal of each covariance, in units of the mean variance.

    Returns:
        The projections of images and of texts.

    Raises:
        ValueError: modalities of different length, more bits than the shorter feature vector, ridge <= 0.

    >>> x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    >>> image, text = cca(x, 2 * x, 2, ridge=1e-6)
    >>> torch.allclose(image(x), text(2 * x), atol=1e-4)
    True
    """
    check_pairs(image, text)
    limit = min(image.shape[1], text.shape[1])
    if not 1 <= bits <= limit:
        raise ValueError(
            f"bits must lie in 1..{limit} for CCA, the shorter of the feature vectors "
            f"({image.shape[1]} and {text.shape[1]}); got {bits}"
        )
    if not ridge > 0:
        raise ValueError(f"ridge must be above 0, got {ridge}")
    means = [side.double().mean(0) for side in (image, text)]
    x, y = (side.double() - mean for side, mean in zip((image, text), means, strict=True))
    roots = [_inverse_root(side.T @ side / len(side), ridge) for side in (x, y)]
    whitened = roots[0] @ (x.T @ y / len(x)) @ roots[1]
    left, correlations, right = torch.linalg.svd(whitened, full_matrices=False)
    directions = (roots[0] @ left[:, :bits], roots[1] @ right[:bits].T)
    first, second = (
        Projection(mean=mean, matrix=matrix * correlations[:bits])
        for mean, matrix in zip(means, directions, strict=True)
    )
    return first, second


def cca_codes(
    image: Tensor, text: Tensor, bits: int, *, ridge: float, rotate: bool, seed: int
) -> tuple[Projection, Projection]:
    """A linear cross-modal hasher: CCA, then the principal components of both sides together.

    Args:
        image: float (n, d_i).
        text: float (n, d_t), the same pairs.
        bits: width of the codes.
        ridge: of CCA.
        rotate: whether ITQ turns the components (Gong & Lazebnik, CVPR 2011).
        seed: of that rotation.

    Returns:
        Code values of images, and of texts.

    Raises:
        ValueError: as :func:`cca`.

    >>> x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    >>> image, text = cca_codes(x, 2 * x, 2, ridge=1e-6, rotate=True, seed=0)
    >>> bool(((image(x) > 0) == (text(2 * x) > 0)).all())
    True
    """
    sides = cca(image, text, bits, ridge=ridge)
    both = torch.cat([sides[0](image), sides[1](text)])
    components = pca(both, bits)
    matrix = components.matrix
    if rotate:
        matrix = matrix @ itq_rotation(components(both), seed=seed)
    # Both sides are centred, and so are their components.
    return sides[0].then(matrix), sides[1].then(matrix)


def _inverse_root(covariance: Tensor, ridge: float) -> Tensor:
    """``(C + ridge mean(diag C) I)^(-1/2)``, symmetric."""
    values, vectors = torch.linalg.eigh(covariance)
    shifted = values.clamp_min(0) + ridge * covariance.diagonal().mean()
    root: Tensor = vectors @ torch.diag(shifted.rsqrt()) @ vectors.T
    return root
