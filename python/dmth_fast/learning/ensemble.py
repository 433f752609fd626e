"""Several teachers' logits in one term: how much each teacher counts for an image, by name."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "TEACHER_WEIGHTS",
    "confidence_weights",
    "ensemble_term",
    "entropy_weights",
    "equal_weights",
]


def equal_weights(logits: Tensor, labels: Tensor) -> Tensor:
    """``1 / K`` for each of K teachers: (b, K) from logits (b, K, classes); labels are not read.

    Example:
        >>> import torch
        >>> equal_weights(torch.zeros(1, 4, 3), torch.tensor([0])).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    del labels
    return logits.new_full(logits.shape[:2], 1 / logits.shape[1])


def entropy_weights(logits: Tensor, labels: Tensor) -> Tensor:
    """``(1 - H_k / sum_j H_j) / (K - 1)``, H the entropy of a teacher's softmax: the sure ones count more.

    Source: EBKD as compared in Zhang et al. (CA-MKD), ICASSP 2022. Labels are not read.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[9.0, 0.0], [0.0, 0.0]]])
        >>> entropy_weights(logits, torch.tensor([0]))[0, 0].item() > 0.99
        True
    """
    del labels
    chances = torch.softmax(logits, 2)
    entropies = -torch.xlogy(chances, chances).sum(2)
    total = entropies.sum(1, keepdim=True)
    share = torch.where(total > 0, entropies / total.clamp_min(1e-12), 1 / logits.shape[1])
    return _others(share)


def confidence_weights(logits: Tensor, labels: Tensor) -> Tensor:
    """``(1 - softmax_k(CE(o_k, y))) / (K - 1)``: teachers that name the label count more.

    Labels are needed: for training losses alone. Source: Zhang et al. (CA-MKD), ICASSP 2022, equation 3.

    Args:
        logits: (b, K, classes).
        labels: int64 (b,).

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[9.0, 0.0], [0.0, 9.0]]])
        >>> confidence_weights(logits, torch.tensor([1]))[0, 1].item() > 0.99
        True
    """
    losses = -functional.log_softmax(logits, 2).gather(
        2, labels[:, None, None].expand(-1, logits.shape[1], 1)
    )
    return _others(torch.softmax(losses[..., 0], 1))


TEACHER_WEIGHTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "equal": equal_weights,
    "entropy": entropy_weights,
    "confidence": confidence_weights,
}
"""Weights by name: logits (b, K, classes) and labels (b,) to weights (b, K) that sum to 1."""


def ensemble_term(logits: Tensor, targets: Tensor, weights: Tensor, *, temperature: float) -> Tensor:
    """``tau^2 mean_i sum_k w_ik KL(softmax(o_ik / tau) || softmax(o_i / tau))``.

    Source: Zhang et al. (CA-MKD), ICASSP 2022, equation 4, with the direction and scale of Hinton et al.

    Args:
        logits: the student's (b, classes).
        targets: the teachers' (b, K, classes).
        weights: (b, K).
        temperature: tau.

    Example:
        >>> import torch
        >>> ensemble_term(torch.eye(2), torch.eye(2)[:, None], torch.ones(2, 1), temperature=4.0).item()
        0.0
    """
    own = functional.log_softmax(logits / temperature, 1)[:, None].expand_as(targets)
    other = functional.log_softmax(targets.detach() / temperature, 2)
    divergence = functional.kl_div(own, other, reduction="none", log_target=True).sum(2)
    return temperature**2 * (weights.detach() * divergence).sum(1).mean()


def _others(share: Tensor) -> Tensor:
    """``(1 - share) / (K - 1)``; 1 for a teacher that is alone."""
    count = share.shape[1]
    return (1 - share) / (count - 1) if count > 1 else torch.ones_like(share)
