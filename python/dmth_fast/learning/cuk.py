"""The students of context-unaware distillation: small residual networks for large images."""

import torch
from torch import Tensor, nn

from dmth_fast.learning.backbone import Backbone

__all__ = ["HEADS", "WIDTHS", "CukStudent"]

WIDTHS = {"cuk_v1": (64, 64, 128, 128, 128), "cuk_v2": (64, 64, 128, 128, 256)}
"""Channels of the five stages."""

DEPTHS = (2, 3, 5, 3, 2)
HEADS = ("pool", "flatten")
SMALLEST = 32
FLAT_SIZE = 224


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class CukStudent(Backbone):
    """Stem of ResNet, then five stages of basic blocks, the last four of stride 2 (arXiv 2207.09070).

    A 224 x 224 image gives a map of 4 x 4. ``flatten`` makes its values one vector, as published: each is
    tied to a place in the image, and no other input size will do. ``pool`` averages the map and takes any
    size.

    Args:
        name: ``cuk_v1`` or ``cuk_v2``, also ``cuk_v1-flatten`` and ``cuk_v2-flatten``.
    """

    def __init__(self, name: str) -> None:
        version, _, head = name.partition("-")
        widths = WIDTHS[version]
        flat = head == "flatten"
        super().__init__(name, widths[-1] * (16 if flat else 1), input_size=FLAT_SIZE if flat else None)
        self.flat = flat
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = (widths[0], *widths[:-1])
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    *(_Block(a if i == 0 else b, b, 2 if i == 0 and stage else 1) for i in range(n))
                )
                for stage, (a, b, n) in enumerate(zip(inputs, widths, DEPTHS, strict=True))
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, feature_dim).

        Raises:
            ValueError: an image too small, or of another size than ``flatten`` takes.
        """
        size = tuple(images.shape[-2:])
        if min(size) < SMALLEST:
            raise ValueError(f"images for {self.name} must be at least {SMALLEST} pixels a side, got {size}")
        if self.flat and size != (FLAT_SIZE, FLAT_SIZE):
            raise ValueError(
                f"images for {self.name} must be {FLAT_SIZE} x {FLAT_SIZE}, got {size[0]} x {size[1]}; "
                f"{self.name.removesuffix('-flatten')} takes any size"
            )
        maps = self.stages(self.maxpool(torch.relu(self.bn1(self.conv1(images)))))
        return torch.relu(maps.flatten(1) if self.flat else maps.mean((2, 3)))
