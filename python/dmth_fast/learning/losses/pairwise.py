"""Losses on the pairs of a batch: likelihoods (DPSH, HashNet), graded (ISDH, IDHN, cosine), Cauchy (DCH)."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from dmth_fast.learning.config import LossConfig
from dmth_fast.learning.losses.base import HashLoss


def label_similarity(labels: Tensor) -> Tensor:
    """Cosines of label vectors, ``s_ij = <l_i, l_j> / (|l_i| |l_j|)``: 1 alike, 0 nothing shared.

    For class ids this is 1 for the same class, else 0.

    Args:
        labels: int64 (b,) or multi-hot bool (b, C).

    Returns:
        float32 (b, b).

    Raises:
        ValueError: a label row that is all zero, for which the cosine does not exist.

    >>> label_similarity(torch.tensor([[True, True, False], [True, False, False]]))[0].tolist()
    [1.0, 0.7071067690849304]
    """
    if labels.ndim == 1:
        return (labels[:, None] == labels[None]).float()
    refuse_unlabelled(labels)
    rows = labels.float()
    counts = rows.sum(1)
    return rows @ rows.T / torch.sqrt(counts[:, None] * counts[None])


def refuse_unlabelled(labels: Tensor) -> None:
    """Raise ValueError counting and naming the multi-hot rows that have no label."""
    if labels.ndim == 2 and len(empty := torch.nonzero(~labels.bool().any(dim=1)).flatten()):
        raise ValueError(
            f"labels must have at least one label a row, {len(empty)} of {len(labels)} rows have none "
            f"(first: {empty[:3].tolist()})"
        )


def pair_likelihood(theta: Tensor, similarity: Tensor) -> Tensor:
    """``log(1 + e^theta) - s theta`` of each pair: minus the log-likelihood of s under ``p = sigma(theta)``.

    Source: Li et al. (DPSH), IJCAI 2016, equation 3; also HashNet, IDHN and UKD.

    Args:
        theta: any shape.
        similarity: the same shape, in 0..1.

    >>> round(pair_likelihood(torch.zeros(1), torch.ones(1)).item(), 4)
    0.6931
    """
    return functional.softplus(theta) - similarity * theta


def balanced_weights(similarity: Tensor) -> Tensor:
    """Weights (b, b) that give similar (s > 0) and dissimilar pairs the same total, b^2 / 2 each.

    Where one kind is missing all weights are 1.

    >>> balanced_weights(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    tensor([[2.0000, 0.6667],
            [0.6667, 0.6667]])
    """
    similar = similarity > 0
    count, total = int(similar.sum()), similarity.numel()
    if count in (0, total):
        return torch.ones_like(similarity)
    return torch.where(similar, total / (2 * count), total / (2 * (total - count)))


def hashnet_loss(h: Tensor, similarity: Tensor, *, beta: float, alpha: float) -> Tensor:
    """HashNet: ``mean w_ij [softplus(alpha <u_i, u_j>) - alpha s_ij <u_i, u_j>]``, ``u = tanh(beta h)``.

    Source: Cao et al. (HashNet), ICCV 2017, equations 4 and 5. Soft s makes it the graded likelihood.

    Args:
        h: code values (b, bits).
        similarity: (b, b) in 0..1.
        beta: steepness of the tanh, grown in training (continuation).
        alpha: factor of the inner products.

    >>> round(hashnet_loss(torch.zeros(2, 4), torch.eye(2), beta=1.0, alpha=0.1).item(), 4)
    0.6931
    """
    u = torch.tanh(beta * h)
    return (balanced_weights(similarity) * pair_likelihood(alpha * u @ u.T, similarity)).mean()


def dch_loss(h: Tensor, similarity: Tensor, *, gamma: float) -> Tensor:
    """Cauchy hashing: ``mean w_ij [s_ij log(d_ij / gamma) + log(1 + gamma / d_ij)]``.

    ``d_ij = (bits / 2) (1 - cos(h_i, h_j))``, the Hamming distance of codes in the directions of h. The two
    logarithms are joined to ``s log(1 + d / gamma) + (1 - s) log(1 + gamma / d)``, finite at d = 0 for s = 1.

    Source: Cao et al. (DCH), CVPR 2018, equation 8.

    Args:
        h: code values (b, bits).
        similarity: (b, b) in 0..1.
        gamma: scale of the Cauchy distribution in bits.

    >>> round(dch_loss(torch.eye(2), torch.eye(2), gamma=1.0).item(), 4)
    0.3466
    """
    half = h.shape[1] / 2
    unit = functional.normalize(h)
    distance = (half * (1 - unit @ unit.T)).clamp_min(0)
    # Equal rows of different classes would have an infinite loss: a thousandth of a bit is the least.
    apart = torch.log1p(gamma / distance.clamp_min(1e-3))
    terms = similarity * torch.log1p(distance / gamma) + (1 - similarity) * apart
    return (balanced_weights(similarity) * terms).mean()


def graded_loss(h: Tensor, similarity: Tensor, *, form: str) -> Tensor:
    """ISDH or IDHN: hard pairs by likelihood, partly similar pairs by regression, ``u = tanh h``.

    ``phi = <u_i, u_j>``, ``theta = 5 phi / bits``. Hard pairs (s < .01 or s > .99):
    ``log(1 + e^theta) - s theta``, ten times in ISDH. Soft pairs: ISDH ``(s - sigma(theta))^2``,
    IDHN ``.1 bits ((phi + bits) / (2 bits) - s)^2``. Mean over all pairs; the quantisation term beside it
    is ``l1``, with weight .1.

    Source: Zhang et al., arXiv 1803.02987, in the form of the authors' programs.

    Args:
        h: code values (b, bits).
        similarity: (b, b) in 0..1.
        form: ``isdh`` or ``idhn``.

    >>> round(graded_loss(torch.zeros(2, 4), torch.ones(2, 2), form="idhn").item(), 4)
    0.6931
    """
    bits = h.shape[1]
    u = torch.tanh(h)
    phi = u @ u.T
    theta = 5 * phi / bits
    hard = pair_likelihood(theta, similarity)
    if form == "isdh":
        hard, soft = 10 * hard, (similarity - torch.sigmoid(theta)).square()
    else:
        soft = 0.1 * bits * ((phi + bits) / (2 * bits) - similarity).square()
    pairs = torch.where((similarity < 0.01) | (similarity > 0.99), hard, soft)
    return pairs.mean()


def cosine_loss(h: Tensor, similarity: Tensor) -> Tensor:
    """The cosine of two codes is that of their labels: ``mean .1 bits (phi / bits - s)^2``, ``u = tanh h``.

    IDHN's regression with its zero moved, on all pairs: IDHN wants ``phi / bits = 2 s - 1``, which drives
    pairs of small s further apart than codes that share nothing can be. Ours.

    Args:
        h: code values (b, bits).
        similarity: (b, b) in 0..1.

    >>> round(cosine_loss(torch.full((2, 10), 9.0), torch.zeros(2, 2)).item(), 4)
    1.0
    """
    bits = h.shape[1]
    u = torch.tanh(h)
    return 0.1 * bits * (u @ u.T / bits - similarity).square().mean()


class PairwiseLoss(HashLoss):
    """A loss on the similarities of labels inside a batch; it has no class codes of its own.

    ``similarity="cosine"`` grades pairs by :func:`label_similarity`, to the power ``grade``; ``"binary"``
    makes every pair that shares a label fully similar.
    """

    def __init__(self, config: LossConfig, centers: Tensor) -> None:
        super().__init__()
        # Only the number of classes is kept in them: a saved model has the same keys whatever its loss.
        self.register_buffer("centers", centers)
        self.config = config

    def forward(self, h: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of code values (b, bits) with labels (b,) or multi-hot (b, C)."""
        similarity = label_similarity(labels)
        if self.config.similarity == "binary":
            similarity = (similarity > 0).float()
        elif self.config.grade != 1:
            similarity = similarity**self.config.grade
        return self.pairs(h, similarity)

    def pairs(self, h: Tensor, similarity: Tensor) -> Tensor:
        """Return the loss of code values (b, bits) with similarities (b, b)."""
        raise NotImplementedError


class HashNet(PairwiseLoss):
    """:func:`hashnet_loss` with ``beta = sqrt(1 + .005 t)`` after t steps."""

    def __init__(self, config: LossConfig, centers: Tensor) -> None:
        super().__init__(config, centers)
        self.steps = 0

    def on_step(self, step: int) -> None:
        """Steepen the tanh."""
        self.steps = step

    def pairs(self, h: Tensor, similarity: Tensor) -> Tensor:
        """Return the loss; ``alpha`` is 10 / bits, so that the inner products reach the sigmoid's ends."""
        beta = math.sqrt(1 + 0.005 * self.steps)
        return hashnet_loss(h, similarity, beta=beta, alpha=10 / h.shape[1])


class DCH(PairwiseLoss):
    """:func:`dch_loss`."""

    def pairs(self, h: Tensor, similarity: Tensor) -> Tensor:
        """Return the loss."""
        return dch_loss(h, similarity, gamma=self.config.gamma)


class ISDH(PairwiseLoss):
    """:func:`graded_loss` in its ISDH form."""

    def pairs(self, h: Tensor, similarity: Tensor) -> Tensor:
        """Return the loss."""
        return graded_loss(h, similarity, form="isdh")


class IDHN(PairwiseLoss):
    """:func:`graded_loss` in its IDHN form."""

    def pairs(self, h: Tensor, similarity: Tensor) -> Tensor:
        """Return the loss."""
        return graded_loss(h, similarity, form="idhn")


class CosineLoss(PairwiseLoss):
    """:func:`cosine_loss`."""

    def pairs(self, h: Tensor, similarity: Tensor) -> Tensor:
        """Return the loss."""
        return cosine_loss(h, similarity)
