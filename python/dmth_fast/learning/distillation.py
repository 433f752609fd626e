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


def queue_term(h: Tensor, target: Tensor, queue: Tensor, queue_target: Tensor, same: Tensor) -> Tensor:
    """``mean (z(s_i)_j - z(t_i)_j)^2``: z-scored rows of similarities to earlier codes, itself left out.

    ``s_ij`` and ``t_ij`` are the cosines of ``tanh`` of the i-th code of the batch and the j-th of the queue,
    student's and teacher's; z subtracts the row's mean and divides by its deviation. Rows of another scale or
    offset are equal, which the batch's form punishes.

    Source: a queue as MoCo's (He et al., CVPR 2020), for distillation as SEED's (Fang et al., ICLR 2021).

    Args:
        h: (b, bits), carries the gradient.
        target: (b, other bits).
        queue: earlier student codes (n, bits).
        queue_target: the teacher's for the same images (n, other bits).
        same: bool (b, n), where an entry is of the same image and does not count.

    Example:
        >>> import torch
        >>> h, queue = torch.eye(3, 8), torch.randn(5, 8)
        >>> queue_term(h, h, queue, queue, torch.zeros(3, 5, dtype=torch.bool)).item()
        0.0
    """

    def rows(codes: Tensor, others: Tensor) -> Tensor:
        unit = functional.normalize(torch.tanh(others.detach()), dim=1)
        return standardized(functional.normalize(torch.tanh(codes), dim=1) @ unit.T, ~same)

    difference = rows(h, queue) - rows(target.detach(), queue_target)
    return difference.square().sum() / (~same).sum().clamp_min(1)


def standardized(values: Tensor, counted: Tensor) -> Tensor:
    """Subtract each row's mean and divide by its deviation over the ``counted`` entries; the others are 0.

    Example:
        >>> import torch
        >>> standardized(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]])).tolist()
        [[-1.0, 1.0, 0.0]]
    """
    count = counted.sum(1, keepdim=True).clamp_min(1)
    centred = (values - (values * counted).sum(1, keepdim=True) / count) * counted
    return centred / (centred.square().sum(1, keepdim=True) / count).clamp_min(1e-12).sqrt()


def self_term(strong: Tensor, weak: Tensor) -> Tensor:
    """``mean [1 - cos(u_strong, sg u_weak)]``, ``u = tanh h``: one image in two views, both (b, bits).

    Source: self-distilled hashing, Jang et al. (DHD), ECCV 2022.

    Example:
        >>> import torch
        >>> self_term(torch.eye(2), 3 * torch.eye(2)).item()
        0.0
    """
    return feature_term(torch.tanh(strong), torch.tanh(weak))


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


def standardized_logit_term(logits: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """:func:`logit_term` of z-scored rows, ``(o - mean o) / std o``: the scale of logits is left free.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024 (arXiv 2403.01427).

    Example:
        >>> import torch
        >>> standardized_logit_term(torch.eye(3), 9 * torch.eye(3) + 2, temperature=1.0).abs().item() < 1e-6
        True
    """

    def scores(rows: Tensor) -> Tensor:
        return (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-7)

    return logit_term(scores(logits), scores(target), temperature=temperature)


def dist_term(logits: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """``[1 - mean_i r(p_i:, q_i:)] + [1 - mean_c r(p_:c, q_:c)]``, r Pearson's correlation.

    ``p, q = softmax(o / tau), softmax(o_T / tau)``: relations between the classes of an image, and between
    the images of a class, instead of the probabilities themselves.

    Source: Huang et al. (DIST), NeurIPS 2022 (arXiv 2205.10536), equation 10 with beta = gamma = 1.

    Example:
        >>> import torch
        >>> round(dist_term(torch.eye(3), torch.eye(3), temperature=4.0).item(), 6)
        0.0
    """
    own, other = (torch.softmax(side / temperature, 1) for side in (logits, target.detach()))

    def correlation(a: Tensor, b: Tensor) -> Tensor:
        centred = (a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True))
        return functional.cosine_similarity(*centred, dim=1).mean()

    return (1 - correlation(own, other)) + (1 - correlation(own.T, other.T))


LOGIT_TERMS = {"kl": logit_term, "dist": dist_term, "standardized": standardized_logit_term}
"""Terms on logits by name."""
