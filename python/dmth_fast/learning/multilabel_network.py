"""Networks for images with several labels, on pixels or on cached features of a frozen backbone."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dmth_fast import pack
from dmth_fast.learning.alignment import Tower
from dmth_fast.learning.augmentation import crop_and_flip
from dmth_fast.learning.backbones import Backbone, build_backbone
from dmth_fast.learning.config import AugmentationConfig, HasherConfig, to_mapping
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.losses import HashLoss, build_centers, build_loss
from dmth_fast.learning.multilabel import MultiLabelSplit
from dmth_fast.learning.network import HashNetwork, image_batches, prepare
from dmth_fast.learning.norms import NORM_IMAGES, unfold_norms
from dmth_fast.learning.objective import StudentObjective
from dmth_fast.learning.training import Metrics, train_objective
from dmth_fast.learning.weights import state_hash

__all__ = ["ArmImages", "FeatureNetwork", "MultiLabelBatches", "build_network", "fit_network"]


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


class Trained(NamedTuple):
    """What is left of a training beside the network.

    Attributes:
        loss: on the labels.
        history: one dict of metrics an epoch.
    """

    loss: HashLoss | None
    history: list[Metrics]


Network = HashNetwork | FeatureNetwork
Inputs = tuple[ImageSet | Tensor, ImageSet | Tensor]
"""Queries and database as a network takes them: images, or cached features."""


def build_network(
    backbone: str, weights: Path | None, train: ImageSet | Tensor, bits: int, *, hidden: int, seed: int
) -> Network:
    """A backbone with a hash head for images; a hidden layer and a hash head for features (n, d).

    Folded batch norms of the weights are measured on some of the images, and so are the features' statistics.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if isinstance(train, Tensor):
            return FeatureNetwork(train, hidden, bits)
        network = HashNetwork(build_backbone(backbone, weights), bits).to(memory_format=torch.channels_last)
    if weights is not None:
        some = train.images[torch.linspace(0, len(train) - 1, min(len(train), NORM_IMAGES)).long()]
        unfold_norms(network.backbone, (prepare(network.backbone, x) for x in torch.split(some, 128)))
    return network


def fit_network(
    network: Network,
    inputs: ImageSet | Tensor,
    labels: Tensor,
    settings: HasherConfig,
    *,
    run_dir: Path | None = None,
    progress: bool = False,
) -> Trained:
    """Train on images, or on features, with label rows bool (n, C); leaves the network in evaluation mode.

    Of ``settings`` loss, training and augmentation count.

    Returns:
        The loss, whose class codes or classifier belong to the network, and what was measured in each epoch.

    Raises:
        ValueError: fewer images than a batch, or an interrupted run in ``run_dir`` of other settings or data.
    """
    bits = (network.tower.head if isinstance(network, FeatureNetwork) else network.head).linear.out_features
    loss, training = settings.loss, settings.training
    centers = build_centers(loss, labels.shape[1], bits, seed=training.seed)
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        # The objective only calls the network, and both kinds answer alike.
        objective = StudentObjective(cast(HashNetwork, network), build_loss(loss, centers), settings, None)
    batches = MultiLabelBatches(
        inputs if isinstance(inputs, ImageSet) else None,
        labels,
        backbone=network.backbone if isinstance(network, HashNetwork) else None,
        features=None if isinstance(inputs, ImageSet) else inputs,
        augmentation=settings.augmentation,
        seed=training.seed,
    )
    history = train_objective(
        objective,
        batches,
        training,
        title=f"{loss.hash_loss} {bits} bits",
        settings={**to_mapping(settings), "data": _data_hashes(inputs, labels)},
        run_dir=run_dir,
        resume=True,
        progress=progress,
    )
    network.to("cpu").eval()
    return Trained(objective.hash_loss, history)


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmImages:
    """What all arms of a comparison learn from, and start from.

    Attributes:
        split: images and labels.
        inputs: of its two sides: the images, or features of a frozen backbone.
        backbone: its name.
        weights: file that it starts from; None: from scratch.
        seen: what a network that learns from these has seen, for its card.
    """

    split: MultiLabelSplit
    inputs: Inputs
    backbone: str
    weights: Path | None
    seen: tuple[str, ...]

    def train(
        self, settings: HasherConfig, bits: int, *, hidden: int, recipe: str, folder: Path, progress: bool
    ) -> dict[str, NDArray[np.uint8]]:
        """Train a network on the labelled images of the database, and pack the codes of both sides.

        One that takes images has its checkpoints in ``folder`` and is saved there as a
        :class:`~dmth_fast.learning.hasher.Hasher`, whose classes are the labels.

        Args:
            settings: loss, training and augmentation count.
            bits: of the codes.
            hidden: width of the hidden layer on features.
            recipe: name, for the card.
            folder: of the arm.
            progress: show it on standard error.
        """
        labelled, database, seed = self.split.labelled, self.inputs[1], settings.training.seed
        train = database.select(labelled) if isinstance(database, ImageSet) else database[labelled]
        network = build_network(self.backbone, self.weights, train, bits, hidden=hidden, seed=seed)
        trained = fit_network(
            network,
            train,
            self.split.database_labels[labelled],
            settings,
            run_dir=folder if isinstance(train, ImageSet) else None,
            progress=progress,
        )
        if isinstance(network, HashNetwork) and isinstance(train, ImageSet):
            hasher = self._hasher(network, trained, settings)
            hasher.input_size, hasher.recipe = train.size, recipe
            hasher.save(folder)
        sides = zip(("query", "database"), self.inputs, strict=True)
        return {part: pack(encode_values(network, side).numpy()) for part, side in sides}

    def _hasher(self, network: HashNetwork, trained: Trained, settings: HasherConfig) -> Hasher:
        parts = {name: getattr(settings, name) for name in ("loss", "training", "augmentation")}
        hasher = Hasher(self.backbone, network.head.linear.out_features, **parts)
        hasher.network.load_state_dict(network.state_dict())
        hasher.hash_loss = None if trained.loss is None else trained.loss.to("cpu")
        hasher.classes, hasher.history, hasher.seen = self.split.labels, trained.history, self.seen
        return hasher


def _data_hashes(inputs: ImageSet | Tensor, labels: Tensor) -> list[str]:
    images = inputs.content_hash() if isinstance(inputs, ImageSet) else state_hash({"features": inputs})
    return [images, state_hash({"labels": labels})]


def encode_values(network: Network, inputs: ImageSet | Tensor) -> Tensor:
    """Code values (n, bits) of images, or of features."""
    with torch.inference_mode():
        if isinstance(inputs, Tensor):
            values: Tensor = network(inputs)[1]
            return values
        backbone = cast(HashNetwork, network).backbone
        return torch.cat([network(prepare(backbone, x))[1] for _, x in image_batches(inputs, 256)])
