"""Networks for images with several labels, on pixels or on cached features of a frozen backbone."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from dmth_fast.learning.alignment import Tower
from dmth_fast.learning.augmentation import crop_and_flip
from dmth_fast.learning.backbones import Backbone, build_backbone
from dmth_fast.learning.config import AugmentationConfig, HasherConfig, to_mapping
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.losses import HashLoss, build_centers, build_loss
from dmth_fast.learning.network import HashNetwork, image_batches, prepare
from dmth_fast.learning.norms import NORM_IMAGES, unfold_norms
from dmth_fast.learning.objective import StudentObjective
from dmth_fast.learning.training import Metrics, train_objective
from dmth_fast.learning.weights import state_hash

__all__ = [
    "FeatureNetwork",
    "MultiLabelBatches",
    "Trained",
    "build_network",
    "encode_values",
    "fit_network",
    "saved_form",
]


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


def saved_form(
    network: HashNetwork,
    trained: Trained,
    *,
    backbone: str,
    labels: Sequence[str],
    size: tuple[int, int],
    recipe: str,
    seen: Sequence[str],
    settings: HasherConfig,
) -> Hasher:
    """Return a trained network as a Hasher, which encodes images and is saved and loaded.

    Args:
        network: with its weights.
        trained: what :func:`fit_network` returned.
        backbone: its name.
        labels: names of the columns of its label rows, which stand for classes.
        size: of the images it was trained on.
        recipe: how it was trained.
        seen: what it and its start weights were trained on.
        settings: of its training.
    """
    bits = network.head.linear.out_features
    parts = {name: getattr(settings, name) for name in ("loss", "training", "augmentation")}
    hasher = Hasher(backbone, bits, **parts)
    hasher.network.load_state_dict(network.state_dict())
    hasher.hash_loss = None if trained.loss is None else trained.loss.to("cpu")
    hasher.classes, hasher.input_size, hasher.recipe = tuple(labels), size, recipe
    hasher.history, hasher.seen = trained.history, tuple(seen)
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
