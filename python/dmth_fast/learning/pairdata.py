"""Image-text pairs by name: Wikipedia, Corel5k, files of arrays, and a toy of digits and words."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dmth_fast.learning.config import at_least
from dmth_fast.learning.corel5k import read_corel5k
from dmth_fast.learning.data import ImageSet, digits, join
from dmth_fast.learning.features import FeatureCache
from dmth_fast.learning.frozen import AnyTeacher, open_frozen
from dmth_fast.learning.network import image_batches
from dmth_fast.learning.pairs import Pairs, PairSplit, open_pairs, read_wikipedia, split_pairs
from dmth_fast.learning.stored import StoredFeatures

__all__ = ["PairDataConfig", "corel5k_pairs", "digit_pairs", "open_pair_split"]


@dataclass(frozen=True, kw_only=True)
class PairDataConfig:
    """Where pairs come from.

    Attributes:
        source: ``wikipedia``, ``corel5k``, ``digits`` (a toy), or a file that ``open_pairs`` reads.
        root: folder that relative paths start from; None takes ``DMTH_FAST_DATA``, else the working folder.
        folder: of the named sets, below ``root``; None: the source's name.
        protocol: of a file, see :func:`~dmth_fast.learning.pairs.split_pairs`.
        seed: of that split.
        backbone: gives the image features of photographs; or ``features:FILE``, features computed elsewhere.
        weights: of the backbone, below ``root``.
        size: side of the photographs in pixels.
        cache: folder of cached features; None: ``cache`` inside the run's folder.
        held_out: so many training pairs, drawn by the seed, are the queries in place of the set's own: for
            the choice of settings.
    """

    source: str
    root: str | None = None
    folder: str | None = None
    protocol: str = "fraction:0.1"
    seed: int = 0
    backbone: str = "mobilenet_v2"
    weights: str = "weights/mobilenet_v2-imagenet.safetensors"
    size: int = 160
    cache: str | None = None
    held_out: int = 0

    def __post_init__(self) -> None:
        at_least("size", self.size, 1)
        at_least("held_out", self.held_out, 0)
        at_least("seed", self.seed, 0)


def open_pair_split(config: PairDataConfig, root: Path, out_dir: Path) -> PairSplit:
    """Open the pairs of a config.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an unknown source, or anything a reader refuses.
    """
    split = _open(config, root, out_dir)
    return split.held_out(config.held_out, config.seed) if config.held_out else split


def _open(config: PairDataConfig, root: Path, out_dir: Path) -> PairSplit:
    folder = root / (config.folder or config.source)
    if config.source == "wikipedia":
        return read_wikipedia(folder)
    if config.source == "corel5k":
        cache = Path(config.cache) if config.cache else out_dir / "cache"
        source = open_frozen(config.backbone, config.weights, root=root, input_size=config.size)
        return corel5k_pairs(folder, source, cache, size=config.size)
    if config.source == "digits":
        return digit_pairs(config.seed)
    if Path(config.source).suffix not in (".npz", ".mat", ".safetensors"):
        raise ValueError(
            "source must be wikipedia, corel5k, digits, or an .npz, .mat or .safetensors file; "
            f"got {config.source!r}"
        )
    return split_pairs(open_pairs(root / config.source), config.protocol, seed=config.seed)


def corel5k_pairs(
    folder: str | Path, backbone: AnyTeacher, cache: Path | None, *, size: int = 160
) -> PairSplit:
    """Corel5k photographs and their keywords: 4,500 to train and search, 499 queries.

    The keywords are the text, so they cannot be the relevance too: relevant is the same photo CD.
    """
    corel = read_corel5k(folder, size=size)
    features = torch.cat([frozen_features(backbone, half, cache) for half in (corel.train, corel.test)])
    labels = torch.cat([half.required_labels("relevance") for half in (corel.train, corel.test)])
    database = torch.arange(len(corel.train))
    return PairSplit(
        name="corel5k, relevant: same photo CD",
        pairs=Pairs(
            image=features,
            text=torch.cat([corel.train_keywords, corel.test_keywords]).float(),
            labels=labels,
            vocabulary=corel.words,
        ),
        query=torch.arange(len(corel.train), len(features)),
        database=database,
        train=database,
        images=join([corel.train, corel.test]),
    )


def frozen_features(backbone: AnyTeacher, images: ImageSet, cache: Path | None) -> Tensor:
    """Features float32 (n, d) of images as they are, from a cache that its manifest names."""
    if isinstance(backbone, StoredFeatures):
        return backbone.columns(images)["features"].float()
    manifest = {
        "kind": "frozen",
        "teacher": backbone.identity,
        "images": images.content_hash(),
        "rows": len(images),
    }

    def compute() -> dict[str, Tensor]:
        parts = [backbone.outputs(pixels, 0)["features"] for _, pixels in image_batches(images, 100)]
        return {"features": torch.cat(parts)}

    return FeatureCache(cache).get(manifest, compute)["features"].float()


def digit_pairs(seed: int) -> PairSplit:
    """A toy: digit images (64 grey values) with words made from their label and from where their ink is."""
    train, test = digits(seed)
    grey = torch.cat([train.images[:], test.images[:]])[:, 0].float() / 255
    labels = torch.cat([half.required_labels("a toy text") for half in (train, test)])
    ink = torch.stack([grey[:, :4].sum((1, 2)), grey[:, 4:].sum((1, 2)), grey[..., :4].sum((1, 2))], 1)
    shape = (ink > ink.median(0).values).float()
    names = torch.nn.functional.one_hot(labels, 10).float()
    database = torch.arange(len(train))
    words = (*(f"digit-{i}" for i in range(10)), "inky-top", "inky-bottom", "inky-left")
    return PairSplit(
        name="digits with words made from them (a toy)",
        pairs=Pairs(
            image=grey.flatten(1), text=torch.cat([names, shape], 1), labels=labels, vocabulary=words
        ),
        query=torch.arange(len(train), len(labels)),
        database=database,
        train=database,
        images=join([train, test]),
    )
