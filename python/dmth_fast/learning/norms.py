"""Batch norm that was folded into the convolutions before it, given its statistics back."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["NORM_IMAGES", "folded_norms", "unfold_norms"]

NORM_IMAGES = 512
"""Training images that are enough to measure them."""


def folded_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """The batch norms of a pre-trained network that only add their bias: mean 0, variance 1, weight 1.

    >>> [len(folded_norms(part)) for part in (nn.BatchNorm2d(3), nn.ReLU())]
    [1, 0]
    """
    return [
        part
        for part in network.modules()
        if isinstance(part, nn.BatchNorm2d)
        and part.running_mean is not None
        and part.running_var is not None
        and not bool(part.running_mean.any())
        and bool((part.running_var == 1).all() and (part.weight == 1).all())
    ]


def unfold_norms(network: nn.Module, batches: Iterable[Tensor]) -> int:
    """Measure the inputs of folded batch norms and write the same function with those statistics.

    ``x + b`` becomes ``(x - m) / s * s + (b + m)``. In evaluation nothing changes; in training, batch norm
    then scales as it once did, where a folded one would make every channel of the convolution equally loud
    and lose what the network has learned.

    Args:
        network: pre-trained; left in evaluation mode.
        batches: normalised images (b, 3, h, w), some hundreds in all.

    Returns:
        How many batch norms were folded; 0 leaves the network as it is.
    """
    network.eval()
    norms = folded_norms(network)
    if not norms:
        return 0
    inputs: dict[nn.Module, list[Tensor]] = {norm: [] for norm in norms}

    def note(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        x = arguments[0].float()
        inputs[norm].append(torch.stack([x.mean((0, 2, 3)), x.square().mean((0, 2, 3))]))

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    with torch.no_grad():
        for batch in batches:
            network(batch)
        for norm in norms:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean, square = torch.stack(inputs[norm]).mean(0)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_((square - mean.square()).clamp_min(0))
            norm.weight.copy_((norm.running_var + norm.eps).sqrt() / (1 + norm.eps) ** 0.5)
            norm.bias.add_(mean * norm.weight / (norm.running_var + norm.eps).sqrt())
    for hook in hooks:
        hook.remove()
    return len(norms)
