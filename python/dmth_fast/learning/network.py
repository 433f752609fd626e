"""The hashing network, and how images are brought to it."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dmth_fast.learning.augmentation import normalize
from dmth_fast.learning.backbones import Backbone
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.heads import HEADS
from dmth_fast.learning.sources import resize


class HashNetwork(nn.Module):
    """A backbone with a hash head: normalised images (b, 3, h, w) to features and code values.

    Attributes:
        backbone: gives features (b, feature_dim).
        head: gives code values (b, bits).
    """

    def __init__(self, backbone: Backbone, bits: int, head: str = "bn") -> None:
        super().__init__()
        self.backbone = backbone
        self.head = HEADS[head](backbone.feature_dim, bits)

    def forward(self, images: Tensor, precision: str = "fp32") -> tuple[Tensor, Tensor]:
        """Return features (b, feature_dim) and code values (b, bits), both float32."""
        features = run_backbone(self.backbone, images, precision)
        return features, self.head(features)


def run_backbone(backbone: Backbone, images: Tensor, precision: str) -> Tensor:
    """Return float32 features of normalised images, computed in ``fp32`` or under ``bf16`` autocast."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        features: Tensor = backbone(images)
    return features.float()


def image_batches(images: ImageSet, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (index int64, uint8 images) in order."""
    for start in range(0, len(images), batch_size):
        index = torch.arange(start, min(start + batch_size, len(images)))
        yield index, images.images[start : start + batch_size]


def prepare(backbone: Backbone, images: Tensor, input_size: int | None = None) -> Tensor:
    """Normalise uint8 images for ``backbone``, after resizing them (bicubic) if another size is wanted.

    Returns:
        float32 (b, 3, h, w), channels last.
    """
    if input_size is not None and tuple(images.shape[-2:]) != (input_size, input_size):
        images = resize(images, (input_size, input_size))
    return normalize(images, backbone.normalization)
