"""A frozen network as a teacher: its features, its logits, and its card."""

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dmth_fast.learning.backbones import build_backbone
from dmth_fast.learning.config import DEVICES, PRECISIONS, one_of
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.features import Columns
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.network import prepare, run_backbone
from dmth_fast.learning.stored import PREFIX, StoredFeatures
from dmth_fast.learning.weights import state_hash

__all__ = ["AnyTeacher", "Teacher", "as_teacher", "open_frozen"]

_BATCH = 500


class Teacher:
    """One frozen network: features of images, and logits where it has a classifier.

    Args:
        network: a backbone's name, or a trained :class:`~dmth_fast.learning.hasher.Hasher`, which is copied:
            what happens to it later does not change the teacher.
        weights: safetensors file for a named backbone.
        name: in tables; by default the backbone's name.
        input_size: side in pixels to which images are resized; by default what the backbone wants.
        precision: ``fp32`` or ``bf16``.
        device: ``auto`` (a GPU if there is one) or ``cpu``.
        seen: what its weights were trained on, such as ``imagenet``; by default what a Hasher's card says.
        licence: of the weights; written to the student's card.

    Raises:
        TypeError: neither a name nor a Hasher.
        ValueError: a named backbone without weights, or weights of another architecture.
        FileNotFoundError: no such weights file.

    Example:
        >>> Teacher("resnet20")
        Traceback (most recent call last):
        ValueError: teacher resnet20 needs weights: pass a safetensors file, or a trained Hasher
    """

    live = True
    """Whether it can be shown any image, as against stored features."""

    def __init__(
        self,
        network: str | Hasher,
        weights: str | Path | None = None,
        *,
        name: str | None = None,
        input_size: int | None = None,
        precision: str = "fp32",
        device: str = "auto",
        seen: Sequence[str] = (),
        licence: str = "",
    ) -> None:
        one_of("precision", precision, PRECISIONS)
        one_of("device", device, DEVICES)
        self.device = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")
        if not isinstance(network, str | Hasher):
            raise TypeError(f"a teacher must be a name or a trained Hasher, got {type(network).__name__}")
        self._hasher: Hasher | None = None
        if isinstance(network, Hasher):
            if weights is not None:
                raise ValueError("weights belong to a named backbone; a Hasher has its own")
            self._hasher = network = copy.deepcopy(network)
            self.backbone, state = network.network.backbone, dict(network.network.state_dict())
            self.num_classes = len(network.classes) if network.names_classes else 0
        else:
            if weights is None:
                raise ValueError(
                    f"teacher {network} needs weights: pass a safetensors file, or a trained Hasher"
                )
            self.backbone = build_backbone(network, weights).to(memory_format=torch.channels_last)
            state, self.num_classes = dict(self.backbone.state_dict()), self.backbone.num_classes
        self.feature_dim = self.backbone.feature_dim
        self.backbone.eval().requires_grad_(False)
        self.name = name or self.backbone.name
        self.input_size = input_size or self.backbone.input_size
        self.precision = precision
        known = () if self._hasher is None else self._hasher.seen
        self.seen, self.licence = tuple(seen) or known, licence
        self.weights_hash = state_hash(state)

    @property
    def num_parameters(self) -> int:
        """Number of values in the network."""
        if self._hasher is not None:
            return self._hasher.num_parameters
        return sum(parameter.numel() for parameter in self.backbone.parameters())

    @property
    def card(self) -> dict[str, Any]:
        """Return what a saved student says of this teacher."""
        hasher = self._hasher
        return {
            "name": self.name,
            "seen": list(self.seen),
            "licence": self.licence,
            "classes": self.num_classes if hasher is None else list(hasher.classes),
            "labels": self.num_classes > 0 if hasher is None else hasher.hash_loss is not None,
            **self.identity,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides its outputs."""
        return {
            "backbone": self.backbone.name,
            "weights": self.weights_hash,
            "input_size": self.input_size,
            "normalization": [list(part) for part in self.backbone.normalization],
            "precision": self.precision,
        }

    def named(self, classes: Sequence[str]) -> int:
        """Return the number of ``classes`` if its classifier names exactly these, else 0.

        A Hasher knows the names of its classes and their order; of other networks their number must do.
        """
        hasher = self._hasher
        own = None if hasher is None else tuple(hasher.classes)
        knows = len(classes) == self.num_classes if own is None else tuple(classes) == own
        return self.num_classes if knows else 0

    def columns(
        self,
        images: ImageSet,
        num_classes: int = 0,
        show: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Columns:
        """Return :meth:`outputs` of a whole set, each batch changed by ``show(pixels, index)`` first."""
        parts = list(self.chunks(images, num_classes, show))
        return {name: torch.cat([columns[name] for columns in parts]) for name in parts[0]}

    def chunks(
        self,
        images: ImageSet,
        num_classes: int = 0,
        show: Callable[[Tensor, Tensor], Tensor] | None = None,
        first: int = 0,
    ) -> Iterator[Columns]:
        """Yield :meth:`columns` of the images from ``first`` on, a batch at a time."""
        for start in range(first, len(images), _BATCH):
            index = torch.arange(start, min(start + _BATCH, len(images)))
            pixels = images.images[index]
            yield self.outputs(pixels if show is None else show(pixels, index), num_classes)

    def outputs(self, pixels: Tensor, num_classes: int) -> Columns:
        """Return ``features`` of uint8 images and, if its classifier has ``num_classes``, ``logits``."""
        if self._hasher is None:
            self.backbone.to(self.device)
        else:
            self._hasher.to(self.device)
        with torch.inference_mode():
            images = prepare(self.backbone, pixels.to(self.device), self.input_size)
            features = run_backbone(self.backbone, images, self.precision)
            columns = {"features": features}
            if num_classes and self.num_classes == num_classes:
                columns["logits"] = self._logits(features)
        return {name: column.float().cpu() for name, column in columns.items()}

    def _logits(self, features: Tensor) -> Tensor:
        if self._hasher is None:
            return self.backbone.classify(features)
        loss = self._hasher.hash_loss
        if loss is None:
            raise ValueError(f"teacher {self.name} was trained without labels and names no classes")
        return loss.logits(self._hasher.network.head(features))


AnyTeacher = Teacher | StoredFeatures


def open_frozen(
    name: str, weights: str | Path, *, root: Path, input_size: int | None = None, precision: str = "fp32"
) -> AnyTeacher:
    """Open what a config names: a backbone with its weights, or ``features:FILE``, both below ``root``."""
    if name.startswith(PREFIX):
        return StoredFeatures(name, root=root)
    return Teacher(name, root / weights, input_size=input_size, precision=precision)


def as_teacher(item: "AnyTeacher | Hasher | str") -> AnyTeacher:
    """Make a teacher of a trained Hasher, or of the word ``features:FILE``.

    Raises:
        TypeError: none of these.
        ValueError: the name of a network, which needs weights.
        FileNotFoundError: no such file of features.

    Example:
        >>> as_teacher("mobilenet_v2")
        Traceback (most recent call last):
        ValueError: teacher mobilenet_v2 needs weights: pass a safetensors file, or a trained Hasher
    """
    if isinstance(item, Teacher | StoredFeatures):
        return item
    return StoredFeatures(item) if isinstance(item, str) and item.startswith(PREFIX) else Teacher(item)
