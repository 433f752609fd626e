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
