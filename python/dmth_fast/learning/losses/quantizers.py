"""Quantisation terms: how far code values are from the corners of the cube."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def l1_quantization(h: Tensor) -> Tensor:
    """Mean absolute distance of ``|tanh h|`` from 1.

    >>> l1_quantization(torch.zeros(2, 4)).item()
    1.0
    """
    return (torch.tanh(h).abs() - 1).abs().mean()


def l2_quantization(h: Tensor) -> Tensor:
    """Mean squared distance of ``|tanh h|`` from 1.

    >>> l2_quantization(torch.zeros(2, 4)).item()
    1.0
    """
    return (torch.tanh(h).abs() - 1).square().mean()


def cauchy_quantization(h: Tensor, *, gamma: float = 20.0) -> Tensor:
    """``mean log(1 + d(|h_i|, 1) / gamma)`` with ``d = (bits / 2) (1 - cos)`` (DCH, CVPR 2018, equation 9).

    >>> cauchy_quantization(torch.ones(2, 4)).item()
    0.0
    """
    cosine = functional.normalize(h.abs()).sum(1) / math.sqrt(h.shape[1])
    return torch.log1p((h.shape[1] / 2 * (1 - cosine)).clamp_min(0) / gamma).mean()


def swd_quantization(h: Tensor) -> Tensor:
    """``sum_j |sort(u_j) - sort(r_j)|^2 / (n bits)``, u = tanh(h), r random +-1: distance to balanced bits.

    Sliced Wasserstein distance, one slice a bit (HSWD; Doan et al., CVPR 2022). It balances the bits too.

    >>> swd_quantization(torch.tensor([[9.0], [-9.0]] * 500)).item() < 0.2
    True
    """
    wanted = torch.randint(0, 2, h.shape, device=h.device).to(h.dtype) * 2 - 1
    return (torch.tanh(h).sort(0).values - wanted.sort(0).values).square().mean()


def bihalf_codes(h: Tensor) -> Tensor:
    """The half of the batch with the higher values of a bit gets +1, the other half -1; gradient as of h.

    Every bit is then set in half of the images, the codes of the highest entropy. Source: Li and van Gemert,
    "Deep Unsupervised Image Hashing by Maximizing Bit Entropy", AAAI 2021, equations 5 and 7.

    >>> bihalf_codes(torch.tensor([[3.0], [1.0], [2.0], [-5.0]])).flatten().tolist()
    [1.0, -1.0, 1.0, -1.0]
    """
    order = h.detach().argsort(dim=0, descending=True, stable=True)
    codes = -torch.ones_like(h)
    codes = codes.scatter(0, order[: len(h) // 2], 1.0)
    return codes + (h - h.detach())


def bihalf_quantization(h: Tensor) -> Tensor:
    """``mean (u - sg B)^2``, ``u = tanh h``, B its :func:`bihalf_codes`: towards balanced corners.

    The term ``gamma (U - B)`` in the gradient of Li and van Gemert, AAAI 2021, equation 7.

    >>> bihalf_quantization(torch.tensor([[9.0], [-9.0]])).item() < 1e-6
    True
    """
    return (torch.tanh(h) - bihalf_codes(h).detach()).square().mean()
