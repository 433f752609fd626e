"""Networks that turn images into feature vectors, found by name."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dmth_fast.learning.backbone import Backbone as Backbone
from dmth_fast.learning.backbone import Resized
from dmth_fast.learning.cuk import HEADS, WIDTHS, CukStudent
from dmth_fast.learning.timm_backbone import PREFIX, build_timm
from dmth_fast.learning.torchvision_backbone import PREFIX as TORCHVISION
from dmth_fast.learning.torchvision_backbone import build_torchvision
from dmth_fast.learning.weights import load_weights


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut without parameters (option A: subsample, pad with zeros)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.new_channels = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride != 1 or self.new_channels:
            before = self.new_channels // 2
            x = x[:, :, :: self.stride, :: self.stride]
            x = nn.functional.pad(x, (0, 0, 0, 0, before, self.new_channels - before))
        return torch.relu(y + x)


class CifarResNet(Backbone):
    """ResNet for 32 x 32 images (He et al., CVPR 2016, section 4.2): depth 6n + 2, widths 16, 32, 64."""

    def __init__(self, name: str, depth: int, num_classes: int = 0) -> None:
        super().__init__(name, 64, num_classes=num_classes)
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, num_classes) if num_classes else None
        _initialize(self)

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
        rest = (_Block(outputs, outputs, 1) for _ in range(blocks - 1))
        return nn.Sequential(_Block(inputs, outputs, stride), *rest)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, 64)."""
        x = torch.relu(self.bn1(self.conv1(images)))
        features: Tensor = self.layer3(self.layer2(self.layer1(x))).mean((2, 3))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of the final linear layer."""
        if self.linear is None:
            return super().classify(features)
        logits: Tensor = self.linear(features)
        return logits


class TinyNet(Backbone):
    """Three stages of two 3 x 3 convolutions, widths w, 2w, 4w, for images from 8 x 8 to 32 x 32 pixels."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__(name, 4 * width)
        layers: list[nn.Module] = []
        inputs = 3
        for stage, outputs in enumerate((width, 2 * width, 4 * width)):
            for stride in (2 if stage else 1, 1):
                layers += [
                    nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                ]
                inputs = outputs
        self.layers = nn.Sequential(*layers)
        _initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, 4 * width)."""
        features: Tensor = self.layers(images).mean((2, 3))
        return features


class MobileNetV2(Backbone):
    """torchvision's MobileNetV2 (Sandler et al., CVPR 2018); features are the pooled 1280 channels."""

    def __init__(self, name: str) -> None:
        from torchvision.models import mobilenet_v2

        super().__init__(name, 1280, input_size=224, num_classes=1000)
        network = mobilenet_v2(weights=None)
        self.features, self.classifier = network.features, network.classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, 1280)."""
        features: Tensor = self.features(images).mean((2, 3))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Return the 1000 ImageNet logits."""
        logits: Tensor = self.classifier(features)
        return logits


class SqueezeNet(Backbone):
    """torchvision's SqueezeNet 1.1 (Iandola et al. 2016); features: 512 pooled channels and the 1000 logits.

    The classifier is a convolution over the map: the pooled channels alone cannot give its logits.
    """

    def __init__(self, name: str) -> None:
        from torchvision.models import squeezenet1_1

        super().__init__(name, 1512, input_size=224, num_classes=1000)
        network = squeezenet1_1(weights=None)
        self.features, self.classifier = network.features, network.classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, 1512)."""
        maps = self.features(images)
        return torch.cat([maps.mean((2, 3)), self.classifier(maps).flatten(1)], 1)

    def drop_classifier(self) -> None:
        """Keep it: its logits are features."""

    def classify(self, features: Tensor) -> Tensor:
        """Return the 1000 ImageNet logits."""
        return features[:, 512:]


class ResNet50(Backbone):
    """torchvision's ResNet-50 (He et al., CVPR 2016); features are the pooled 2048 channels."""

    def __init__(self, name: str) -> None:
        from torchvision.models import resnet50

        super().__init__(name, 2048, input_size=224, num_classes=1000)
        network = resnet50(weights=None)
        self.conv1, self.bn1, self.maxpool, self.fc = network.conv1, network.bn1, network.maxpool, network.fc
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, 2048)."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(images))))
        maps: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return maps.mean((2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """Return the 1000 ImageNet logits."""
        logits: Tensor = self.fc(features)
        return logits


class AlexNet(Backbone):
    """torchvision's AlexNet; features are the 4096 values before its last layer."""

    def __init__(self, name: str) -> None:
        from torchvision.models import alexnet

        super().__init__(name, 4096, input_size=224, num_classes=1000)
        network = alexnet(weights=None)
        self.features, self.avgpool, self.classifier = network.features, network.avgpool, network.classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, 4096)."""
        features: Tensor = self.classifier[:-1](self.avgpool(self.features(images)).flatten(1))
        return features

    def drop_classifier(self) -> None:
        """Keep it: its layers before the last give the features."""

    def classify(self, features: Tensor) -> Tensor:
        """Return the 1000 ImageNet logits."""
        logits: Tensor = self.classifier[-1](features)
        return logits


BACKBONES: dict[str, Callable[[str, int], Backbone]] = {
    **{
        f"resnet{depth}": lambda name, classes: CifarResNet(name, int(name[6:]), classes)
        for depth in (20, 32, 44, 56)
    },
    "tiny": lambda name, _: TinyNet(name, 16),
    "mobilenet_v2": lambda name, _: MobileNetV2(name),
    "squeezenet1_1": lambda name, _: SqueezeNet(name),
    "resnet50": lambda name, _: ResNet50(name),
    "alexnet": lambda name, _: AlexNet(name),
    **{
        name + suffix: lambda name, _: CukStudent(name)
        for name in WIDTHS
        for suffix in ("", *(f"-{head}" for head in HEADS[1:]))
    },
}
"""Builders by name, called with the name and the number of classes of the network's own classifier (0: none).

``tiny-<width>`` is understood beside them.
"""


def build_backbone(name: str, weights: str | Path | None = None) -> Backbone:
    """Build a network by name and, if ``weights`` is given, load a safetensors state dict into it.

    With weights a classifier found in the file (``linear.*`` of the CIFAR ResNets) comes along.

    Args:
        name: a key of :data:`BACKBONES`, ``tiny-<width>``, ``torchvision:<name>``, or ``timm:<name>`` of the
            timm library; with ``@<side>`` behind it the network resizes what it is given to that many pixels.
        weights: a local safetensors file, or ``download`` for the last two; fp16 and bf16 weights are widened
            to fp32.

    Raises:
        FileNotFoundError: the weights file does not exist.
        ValueError: unknown name, or a checkpoint of another architecture (differing keys are named).

    Example:
        >>> network = build_backbone("tiny-8")
        >>> network.feature_dim, network.input_size
        (32, None)
    """
    if match := re.fullmatch(r"(.+)@([1-9]\d{0,4})", name):
        return Resized(build_backbone(match[1], weights), int(match[2]))
    if name.startswith(PREFIX):
        return build_timm(name, weights)
    if name.startswith(TORCHVISION):
        return build_torchvision(name, weights)
    if match := re.fullmatch(r"tiny-([1-9]\d{0,3})", name):
        width = int(match[1])
        builder: Callable[[str, int], Backbone] = lambda name, _: TinyNet(name, width)  # noqa: E731
    elif name in BACKBONES:
        builder = BACKBONES[name]
    else:
        raise ValueError(
            f"backbone must be one of {', '.join(BACKBONES)}, tiny-<width>, torchvision:<name>, timm:<name>; "
            f"got {name!r}"
        )
    if weights is None:
        return builder(name, 0)
    state = load_weights(weights)
    classes = int(state["linear.weight"].shape[0]) if "linear.weight" in state else 0
    network = builder(name, classes)
    fill(network, state, f"checkpoint {weights}", name)
    return network


def fill(network: nn.Module, state: dict[str, Tensor], what: str, name: str) -> None:
    """Load ``state`` into ``network`` exactly, or raise ValueError naming the keys that do not fit."""
    own: dict[str, Any] = network.state_dict()
    # Counters that only a momentum of None would read; older files do not have them.
    state = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")} | state
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in sorted(own.keys() & state.keys())
        if own[key].shape != state[key].shape
    ]
    faults = [
        f"{len(keys)} {kind} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for kind, keys in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if keys
    ]
    if faults:
        raise ValueError(f"{what} is not of the architecture {name}: keys {'; '.join(faults)}")
    network.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()})


def _initialize(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
