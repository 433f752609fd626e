"""Images with any number of labels: the sets by name, and how networks are trained on them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dmth_fast.learning.alignment import Tower
from dmth_fast.learning.augmentation import crop_and_flip
from dmth_fast.learning.backbones import Backbone
from dmth_fast.learning.cifar100 import graded_labels
from dmth_fast.learning.config import AugmentationConfig, at_least, one_of
from dmth_fast.learning.corel5k import read_corel5k
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.network import prepare
from dmth_fast.learning.protocols import DataConfig, open_split

__all__ = ["FeatureNetwork", "MultiLabelBatches", "MultiLabelConfig", "MultiLabelSplit", "open_multilabel"]


@dataclass(frozen=True, kw_only=True)
class MultiLabelConfig:
    """Where images with several labels come from.

    Attributes:
        source: ``corel5k`` (keywords), ``cifar100`` (class and superclass), or ``digits`` (a toy: the digit,
            whether it is even, and whether it is below five).
        root: folder that relative paths start from; None takes ``DMTH_FAST_DATA``, else the working folder.
        folder: of the set, below ``root``; None: the source's name.
        size: side of the images in pixels.
        minimum: training images that a keyword must have to be kept.
        seed: of the split, where it is drawn.
    """

    source: str
    root: str | None = None
    folder: str | None = None
    size: int = 160
    minimum: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("source", self.source, SOURCES)
        at_least("size", self.size, 1)
        at_least("minimum", self.minimum, 1)
        at_least("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiLabelSplit:
    """Queries and database with their label rows; the database is trained on where a row has a label.

    Attributes:
        name: of the protocol.
        query: images.
        database: images.
        query_labels: bool (q, C).
        database_labels: bool (n, C).
    """

    name: str
    query: ImageSet
    database: ImageSet
    query_labels: Tensor
    database_labels: Tensor

    @property
    def labelled(self) -> Tensor:
        """Positions in the database of the images that have a label (int64)."""
        return torch.nonzero(self.database_labels.any(dim=1)).flatten()


def open_multilabel(config: MultiLabelConfig, root: Path) -> MultiLabelSplit:
    """Open the images of a config; errors as the readers of the sets raise them."""
    return SOURCES[config.source](config, root / (config.folder or config.source))


def _corel5k(config: MultiLabelConfig, folder: Path) -> MultiLabelSplit:
    corel = read_corel5k(folder, size=config.size).frequent(config.minimum)
    return MultiLabelSplit(
        name=f"corel5k, {len(corel.words)} keywords of at least {config.minimum} training images",
        query=corel.test,
        database=corel.train,
        query_labels=corel.test_keywords,
        database_labels=corel.train_keywords,
    )


def _cifar100(config: MultiLabelConfig, folder: Path) -> MultiLabelSplit:
    data = DataConfig(train=str(folder / "train-*.zip"))
    split = open_split("cifar100-20k", data, Path(), config.seed)
    return _graded("cifar100-20k, class and superclass", split.query, split.database, graded_labels)


def _digits(config: MultiLabelConfig, folder: Path) -> MultiLabelSplit:
    del folder
    split = open_split("digits", DataConfig(), Path(), config.seed)

    def labels(images: ImageSet) -> Tensor:
        number = images.required_labels("a toy label")
        extra = torch.stack([number % 2 == 0, number < 5], 1)
        return torch.cat([torch.nn.functional.one_hot(number, 10).bool(), extra], 1)

    return _graded("digits, even and below five (a toy)", split.query, split.database, labels)


SOURCES: dict[str, Callable[[MultiLabelConfig, Path], MultiLabelSplit]] = {
    "corel5k": _corel5k,
    "cifar100": _cifar100,
    "digits": _digits,
}
"""Readers by name."""


class MultiLabelBatches:
    """Augmented, normalised images, or their cached features, with label rows."""

    def __init__(
        self,
        images: ImageSet | None,
        labels: Tensor,
        *,
        backbone: Backbone | None = None,
        features: Tensor | None = None,
        augmentation: AugmentationConfig,
        seed: int,
    ) -> None:
        self._images, self._labels, self._backbone, self._features = images, labels, backbone, features
        self._augmentation, self._seed = augmentation, seed

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, index: Tensor, epoch: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return inputs, label rows bool (b, C), and no teacher's targets."""
        if self._features is not None or self._images is None or self._backbone is None:
            assert self._features is not None
            return self._features[index], self._labels[index], {}
        pixels = crop_and_flip(
            self._images.images[index],
            index,
            seed=self._seed,
            view=epoch,
            padding=self._augmentation.padding,
            flip=self._augmentation.flip,
        )
        return prepare(self._backbone, pixels), self._labels[index], {}


class FeatureNetwork(nn.Module):
    """One hidden layer and the hash head on features of a frozen backbone, called as an image network is."""

    def __init__(self, features: Tensor, hidden: int, bits: int) -> None:
        super().__init__()
        self.tower = Tower(features.shape[1], hidden, bits)
        self.tower.set_statistics(features)

    def forward(self, features: Tensor, precision: str = "fp32") -> tuple[Tensor, Tensor]:
        """Return the features themselves and code values (b, bits)."""
        del precision
        return features, self.tower(features)


def _graded(
    name: str, query: ImageSet, database: ImageSet, labels: Callable[[ImageSet], Any]
) -> MultiLabelSplit:
    return MultiLabelSplit(
        name=name,
        query=query,
        database=database,
        query_labels=labels(query),
        database_labels=labels(database),
    )
