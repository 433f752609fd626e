"""Objectives of unsupervised cross-modal hashing: codes of images and texts against a similarity matrix.

Codes are squashed values u in [-1, 1], (b, bits), of the same b pairs; S is (b, b) and carries no gradient.
"""

import torch
from torch import Tensor

from dmth_fast.learning.distillation import similarity_term
from dmth_fast.learning.losses.pairwise import pair_likelihood

__all__ = ["bit_balance", "dsah_terms", "hard_pairs", "joint_quantization", "joint_semantics", "soft_pairs"]


def dsah_terms(
    image: Tensor,
    text: Tensor,
    fused: Tensor,
    image_own: Tensor,
    text_own: Tensor,
    *,
    scale: float,
    intra: float,
) -> dict[str, Tensor]:
    """Semantic alignment of DSAH (Yang et al., ICMR 2020), without its decoders, as named terms.

    With ``C_xy`` the cosines of codes of modalities x and y:
    ``fused``: ``MSE(C_TT, S) + MSE(C_IT, S) + MSE(C_II, S)``; ``pair``: ``MSE(diag C_IT, k)``;
    ``symmetry``: ``2 MSE(C_IT, C_IT^T)``; ``intra``: ``eta [MSE(C_II, k S_I) + MSE(C_TT, k S_T)]``.

    Args:
        image: codes (b, bits).
        text: codes (b, bits).
        fused: S (b, b).
        image_own: S_I (b, b).
        text_own: S_T (b, b).
        scale: k, the factor that S was built with.
        intra: eta.
    """
    cross = torch.nn.functional.normalize(image) @ torch.nn.functional.normalize(text).T
    return {
        "fused": similarity_term(text, text, fused)
        + (cross - fused).square().mean()
        + similarity_term(image, image, fused),
        "pair": (cross.diagonal() - scale).square().mean(),
        "symmetry": 2 * (cross - cross.T).square().mean(),
        "intra": intra
        * (similarity_term(image, image, scale * image_own) + similarity_term(text, text, scale * text_own)),
    }


def joint_semantics(
    image: Tensor, text: Tensor, similarity: Tensor, *, intra: float, pair: float
) -> dict[str, Tensor]:
    """``MSE(C_IT, S) + intra [MSE(C_II, S) + MSE(C_TT, S)] - pair mean(diag C_IT)``, as named terms.

    DJSRH (Su et al., ICCV 2019) has ``pair = 0``, JDSH (Liu et al., SIGIR 2020) ``pair = 1``.
    """
    together = torch.nn.functional.cosine_similarity(image, text).mean()
    return {
        "inter": similarity_term(image, text, similarity),
        "intra": intra
        * (similarity_term(image, image, similarity) + similarity_term(text, text, similarity)),
        "pair": -pair * together,
    }


def hard_pairs(image: Tensor, text: Tensor, neighbours: Tensor, *, sharpness: float = 8.0) -> Tensor:
    """Likelihood of a 0/1 similarity, between the modalities and half as much within each.

    ``mean [log(1 + e^Theta) - S Theta]``, ``Theta = sharpness U_I U_T^T / bits``; after UKD (Hu et al., CVPR
    2020), whose ``U_I U_T^T / 2`` this is at 16 bits. Unscaled, wide codes make every pair certain at once.

    Args:
        image: codes (b, bits).
        text: codes (b, bits).
        neighbours: float 0/1 (b, b).
        sharpness: largest Theta.

    >>> round(hard_pairs(torch.zeros(2, 4), torch.zeros(2, 4), torch.eye(2)).item(), 4)
    1.3863
    """

    def part(left: Tensor, right: Tensor) -> Tensor:
        return pair_likelihood(sharpness * left @ right.T / left.shape[1], neighbours).mean()

    return part(image, text) + 0.5 * (part(image, image) + part(text, text))


def soft_pairs(image: Tensor, text: Tensor, similarity: Tensor) -> Tensor:
    """The relational term of distillation, between the modalities and half as much within each.

    Args:
        image: codes (b, bits).
        text: codes (b, bits).
        similarity: cosines of the teacher (b, b).

    >>> soft_pairs(torch.eye(2), torch.eye(2), torch.eye(2)).item()
    0.0
    """
    return similarity_term(image, text, similarity) + 0.5 * (
        similarity_term(image, image, similarity) + similarity_term(text, text, similarity)
    )


def joint_quantization(image: Tensor, text: Tensor) -> Tensor:
    """``mean [(U_I - B)^2 + (U_T - B)^2]``, ``B = sign(U_I + U_T)``: both modalities towards one code.

    >>> joint_quantization(torch.ones(1, 4), torch.ones(1, 4)).item()
    0.0
    """
    code = torch.where(image + text > 0, 1.0, -1.0)
    return ((image - code).square() + (text - code).square()).mean()


def bit_balance(codes: Tensor) -> Tensor:
    """Squared mean of each bit over the batch, averaged: 0 where every bit is set in half of the items.

    >>> bit_balance(torch.tensor([[1.0, 1.0], [-1.0, 1.0]])).item()
    0.5
    """
    return codes.mean(0).square().mean()
