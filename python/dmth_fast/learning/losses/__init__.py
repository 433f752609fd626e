"""Hash losses on labels and the quantisation terms beside them, found by name."""

from collections.abc import Callable

import torch
from torch import Tensor

from dmth_fast.learning.config import LossConfig, one_of
from dmth_fast.learning.losses.base import HashLoss
from dmth_fast.learning.losses.central import CSQ, hadamard_centers
from dmth_fast.learning.losses.greedy import GreedyHash
from dmth_fast.learning.losses.ortho import OrthoHash, ortho_loss, random_centers
from dmth_fast.learning.losses.pairwise import DCH, IDHN, ISDH, CosineLoss, HashNet
from dmth_fast.learning.losses.quantizers import (
    bihalf_quantization,
    cauchy_quantization,
    l1_quantization,
    l2_quantization,
    swd_quantization,
)

__all__ = [
    "HASH_LOSSES",
    "QUANTIZERS",
    "HashLoss",
    "build_centers",
    "build_loss",
    "center_kind",
    "l2_quantization",
    "ortho_loss",
    "quantization_term",
    "random_centers",
]

HASH_LOSSES: dict[str, Callable[[LossConfig, Tensor], HashLoss]] = {
    "ortho": OrthoHash,
    "csq": CSQ,
    "dch": DCH,
    "hashnet": HashNet,
    "isdh": ISDH,
    "idhn": IDHN,
    "cosine": CosineLoss,
    "greedy": GreedyHash,
}
"""Hash losses by name, built from the settings and the class codes."""

QUANTIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": l1_quantization,
    "l2": l2_quantization,
    "cauchy": cauchy_quantization,
    "swd": swd_quantization,
    "bihalf": bihalf_quantization,
}
"""Quantisation terms by name: from code values (b, bits) to a scalar."""


def center_kind(hash_loss: str) -> str:
    """Which class codes a hash loss asks for: ``hadamard`` rows, ``random`` ones, or ``none`` at all.

    >>> [center_kind(name) for name in ("csq", "ortho", "greedy", "dch")]
    ['hadamard', 'random', 'random', 'none']
    """
    if hash_loss in ("dch", "hashnet", "isdh", "idhn", "cosine"):
        return "none"
    return "hadamard" if hash_loss == "csq" else "random"


def build_centers(config: LossConfig, num_classes: int, bits: int, *, seed: int) -> Tensor:
    """Draw the class codes that the named hash loss asks for: Hadamard rows for CSQ, else random ones.

    Losses on pairs have none; they get ones, whose number says how many classes there were.

    Raises:
        ValueError: more classes than there are codes of ``bits`` bits.

    >>> build_centers(LossConfig(hash_loss="csq"), 10, 48, seed=0).shape
    torch.Size([10, 48])
    """
    kind = center_kind(config.hash_loss)
    if kind == "none":
        return torch.ones(num_classes, bits)
    draw = hadamard_centers if kind == "hadamard" else random_centers
    return draw(num_classes, bits, seed=seed)


def build_loss(config: LossConfig, centers: Tensor) -> HashLoss:
    """Build the named hash loss.

    Raises:
        ValueError: an unknown loss or quantiser.
    """
    one_of("hash_loss", config.hash_loss, HASH_LOSSES)
    one_of("quantizer", config.quantizer, QUANTIZERS)
    return HASH_LOSSES[config.hash_loss](config, centers)


def quantization_term(config: LossConfig, h: Tensor) -> Tensor:
    """The named quantisation term of code values (b, bits); the Cauchy one has the hash loss's ``gamma``.

    >>> quantization_term(LossConfig(quantizer="l1"), torch.zeros(2, 4)).item()
    1.0
    """
    if config.quantizer == "cauchy":
        return cauchy_quantization(h, gamma=config.gamma)
    return QUANTIZERS[config.quantizer](h)
