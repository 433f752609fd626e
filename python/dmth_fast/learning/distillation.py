"""Terms that pull a student towards a teacher, as pure functions; the teacher's side carries no gradient."""

import torch
from torch import Tensor
from torch.nn import functional


def feature_term(projected: Tensor, target: Tensor) -> Tensor:
    """``mean_i [1 - cos(P s_i, F_i)]``: projected student features against teacher features, both (b, d).

    Example:
        >>> import torch
        >>> feature_term(torch.eye(2), torch.eye(2)).item()
        0.0
    """
    return (1 - functional.cosine_similarity(projected, target.detach(), dim=1)).mean()


def mean_square_term(projected: Tensor, target: Tensor) -> Tensor:
    """``mean (P s_i - F_i)^2`` over all values, both (b, d).

    Example:
        >>> import torch
        >>> mean_square_term(torch.eye(2), torch.eye(2)).item()
        0.0
    """
    return functional.mse_loss(projected, target.detach())


def balanced_term(projected: Tensor, target: Tensor) -> Tensor:
    """``.9 mean_i [1 - cos] + .1 smooth L1``, both (b, d); for standardised targets (AM-RADIO, CVPR 2024).

    Example:
        >>> import torch
        >>> balanced_term(torch.eye(2), torch.eye(2)).item()
        0.0
    """
    return 0.9 * feature_term(projected, target) + 0.1 * functional.smooth_l1_loss(projected, target.detach())


FEATURE_TERMS = {"mse": mean_square_term, "cosine": feature_term, "balanced": balanced_term}
"""Terms on features by name."""


def code_term(h: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """``tau^2 mean BCE(sigma(h / tau), sigma(h_T / tau))``: bit probabilities, both sides (b, bits).

    The entropy of the teacher's bits is part of the value, so its least value is not 0. Source: the hash
    layers' discrepancy of Zhai et al., "Deep Transfer Hashing for Image Retrieval", IEEE TCSVT 2021.

    Example:
        >>> import torch
        >>> round(code_term(torch.zeros(1, 4), torch.zeros(1, 4), temperature=1.0).item(), 4)
        0.6931
    """
    wanted = torch.sigmoid(target.detach() / temperature)
    return temperature**2 * functional.binary_cross_entropy_with_logits(h / temperature, wanted)


def relational_term(h: Tensor, target: Tensor) -> Tensor:
    """``|U U^T - U_T U_T^T|_F^2 / b^2`` with rows ``tanh(h) / |tanh(h)|``: similarities inside the batch.

    The two sides may differ in width: (b, bits) and (b, other bits).

    Example:
        >>> import torch
        >>> relational_term(torch.eye(3, 8), 5 * torch.eye(3, 16)).item()
        0.0
    """
    own = torch.tanh(h)
    other = functional.normalize(torch.tanh(target.detach()), dim=1)
    return similarity_term(own, own, other @ other.T)


def similarity_term(left: Tensor, right: Tensor, target: Tensor) -> Tensor:
    """``mean (cos(l_i, r_j) - s_ij)^2``: similarities of two sets of codes against wanted ones.

    Args:
        left: (b, bits).
        right: (c, bits), the same codes or those of another modality.
        target: s (b, c).

    Example:
        >>> import torch
        >>> similarity_term(torch.eye(2), 3 * torch.eye(2), torch.eye(2)).item()
        0.0
    """
    own = functional.normalize(left, dim=1) @ functional.normalize(right, dim=1).T
    return (own - target.detach()).square().mean()


def logit_term(logits: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """``tau^2 KL(softmax(o_T / tau) || softmax(o / tau))``, mean over the batch (Hinton et al. 2015).

    Example:
        >>> import torch
        >>> logit_term(torch.eye(2), torch.eye(2), temperature=4.0).item()
        0.0
    """
    own = functional.log_softmax(logits / temperature, dim=1)
    other = functional.log_softmax(target.detach() / temperature, dim=1)
    return temperature**2 * functional.kl_div(own, other, reduction="batchmean", log_target=True)
