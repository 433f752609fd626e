"""Similarity matrices of image-text pairs, built from the features of both modalities without labels.

Each builder takes features of the same pairs, (n, d_i) and (n, d_t), and returns the (n, n) target that an
unsupervised cross-modal hashing network learns to reproduce with the cosines of its codes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["SIMILARITIES", "build_similarity", "cosine_matrix", "djsrh", "dsah", "jdsh", "nearest_mask"]


def cosine_matrix(left: Tensor, right: Tensor) -> Tensor:
    """Cosines ``<l_i, r_j> / (|l_i| |r_j|)`` between all rows of two sets; a zero row has cosine 0.

    Args:
        left: float (n, d).
        right: float (m, d).

    Returns:
        float (n, m).

    >>> cosine_matrix(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]))
    tensor([[ 1.,  0., -1.]])
    """
    return torch.nn.functional.normalize(left) @ torch.nn.functional.normalize(right).T


def dsah(image: Tensor, text: Tensor, *, image_weight: float = 0.9, scale: float = 1.5) -> Tensor:
    """Fused similarity of DSAH (Yang et al., ICMR 2020): ``S = k (a S_I + (1 - a) S_T)``.

    ``S_* = 2 cos(F_*, F_*^T) - 1`` spreads the cosines of non-negative features over [-1, 1].

    Args:
        image: float (n, d_i).
        text: float (n, d_t), the same pairs.
        image_weight: a.
        scale: k; above 1, so that tanh codes are driven apart to the ends.

    >>> dsah(torch.eye(2), torch.eye(2), image_weight=0.5, scale=1.0)
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    return scale * (image_weight * _signed(image) + (1 - image_weight) * _signed(text))


def djsrh(
    image: Tensor, text: Tensor, *, image_weight: float = 0.9, high_order: float = 0.4, scale: float = 1.5
) -> Tensor:
    """Joint-semantics similarity of DJSRH (Su et al., ICCV 2019): pairs are alike if their neighbours are.

    ``S~ = beta S_I + (1 - beta) S_T``; ``S = mu [(1 - eta) S~ + eta S~ S~^T / n]``.

    Args:
        image: float (n, d_i).
        text: float (n, d_t), the same pairs.
        image_weight: beta (.9 for MIRFLICKR-25K, .6 for NUS-WIDE).
        high_order: eta.
        scale: mu.

    >>> djsrh(torch.eye(2), torch.eye(2), high_order=1.0, scale=1.0)
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    joint = image_weight * _signed(image) + (1 - image_weight) * _signed(text)
    return scale * ((1 - high_order) * joint + high_order * joint @ joint.T / len(joint))


def jdsh(
    image: Tensor,
    text: Tensor,
    *,
    image_weight: float = 0.4,
    text_weight: float = 0.3,
    cross_weight: float = 0.3,
    scale: float = 1.5,
) -> Tensor:
    """Joint-modal similarity of JDSH (Liu et al., SIGIR 2020), without its re-weighting of extreme pairs.

    ``S = mu [alpha S_I + beta S_T + lambda (C + C^T) / 2]``, ``C = Ŝ_I Ŝ_T^T`` with rows of unit length: i
    and j are alike if the images near i are the texts near j.

    Args:
        image: float (n, d_i).
        text: float (n, d_t), the same pairs.
        image_weight: alpha.
        text_weight: beta.
        cross_weight: lambda.
        scale: mu.

    >>> jdsh(torch.eye(2), torch.eye(2), scale=1.0)
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    image_side, text_side = _signed(image), _signed(text)
    cross = cosine_matrix(image_side, text_side)
    fused = image_weight * image_side + text_weight * text_side + cross_weight * (cross + cross.T) / 2
    return scale * fused


SIMILARITIES: dict[str, Callable[..., Tensor]] = {"dsah": dsah, "djsrh": djsrh, "jdsh": jdsh}
"""Builders by name."""


def build_similarity(name: str, image: Tensor, text: Tensor, **settings: float) -> Tensor:
    """Check the features and call the builder ``name`` of :data:`SIMILARITIES`.

    Raises:
        TypeError: features that are not floating point.
        ValueError: unknown name, other than two axes, modalities of different length, NaN or infinity.

    >>> build_similarity("dsah", torch.eye(3), torch.eye(2))
    Traceback (most recent call last):
    ValueError: image and text features must be of the same pairs, got 3 and 2 rows
    """
    if name not in SIMILARITIES:
        raise ValueError(f"similarity must be one of {', '.join(SIMILARITIES)}; got {name!r}")
    check_pairs(image, text)
    return SIMILARITIES[name](image, text, **settings)


def check_pairs(image: Tensor, text: Tensor) -> None:
    """Raise where image and text features are not finite float matrices with a row for each pair."""
    check_features("image features", image)
    check_features("text features", text)
    if len(image) != len(text):
        raise ValueError(
            f"image and text features must be of the same pairs, got {len(image)} and {len(text)} rows"
        )


def check_features(name: str, features: Tensor, width: int | None = None) -> None:
    """Raise where ``features`` is not a finite float matrix (of ``width`` columns, if given)."""
    shape = tuple(features.shape)
    if not features.is_floating_point():
        raise TypeError(
            f"{name} must be floating point of shape (n, d), got {features.dtype} of shape {shape}"
        )
    if features.ndim != 2 or 0 in shape:
        raise ValueError(f"{name} must have shape (n, d) with n and d at least 1, got {shape}")
    if width is not None and shape[1] != width:
        raise ValueError(f"{name} must have {width} columns, as in training; got shape {shape}")
    finite = torch.isfinite(features)
    if not bool(finite.all()):
        row, column = torch.nonzero(~finite)[0].tolist()
        count = int((~finite).sum())
        raise ValueError(
            f"{name} must be finite, got {features[row, column]} at row {row}, column {column} "
            f"({count} such values)"
        )


def nearest_mask(codes: Tensor, neighbours: int) -> Tensor:
    """Mark for each row its ``neighbours`` nearest rows by cosine, itself among them: bool (n, n).

    The (1 + cos) / 2 of a teacher's codes made hard, as unsupervised knowledge distillation does (Hu et al.,
    CVPR 2020). Rows as near as the last one are taken by their lower position.

    Raises:
        ValueError: ``neighbours`` outside 1..n.

    >>> nearest_mask(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), 2).int()
    tensor([[1, 1, 0],
            [1, 1, 0],
            [0, 1, 1]], dtype=torch.int32)
    """
    if not 1 <= neighbours <= len(codes):
        raise ValueError(f"neighbours must lie in 1..{len(codes)}, the number of pairs; got {neighbours}")
    order = cosine_matrix(codes, codes).argsort(dim=1, descending=True, stable=True)[:, :neighbours]
    mask = torch.zeros(len(codes), len(codes), dtype=torch.bool, device=codes.device)
    return mask.scatter_(1, order, torch.ones_like(order, dtype=torch.bool))


def _signed(features: Tensor) -> Tensor:
    return 2 * cosine_matrix(features, features) - 1
