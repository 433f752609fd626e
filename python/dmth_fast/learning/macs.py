"""Multiply-accumulate operations of a network, counted as it runs."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["count_macs"]


def count_macs(network: nn.Module, size: int | tuple[int, int]) -> int:
    """Count the multiply-accumulates of convolutions and matrix products for one image.

    Args:
        network: takes float images (1, 3, h, w).
        size: side in pixels, or (h, w).

    >>> count_macs(nn.Conv2d(3, 8, 3, padding=1, bias=False), 10) == 10 * 10 * 8 * 3 * 9
    True
    """
    height, width = (size, size) if isinstance(size, int) else size
    training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, height, width, device=next(network.parameters()).device))
    network.train(training)
    return int(counter.get_total_flops()) // 2
