"""Which images are queries, database and training set: figures compare only inside one protocol."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dmth_fast.learning.config import at_least, one_of, within
from dmth_fast.learning.data import ImageSet, digits, open_images, split_by_class


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the images are.

    Attributes:
        root: folder that relative paths start from; None takes ``DMTH_FAST_DATA``, else the working folder.
        train: path or glob pattern of the training images, which are the database too.
        query: path or glob pattern of the queries; None holds out a part of ``train``.
        query_fraction: the part held out, of each class, where ``query`` is None.
        size: side in pixels; None keeps the files' own.
        strict: stop at an image that cannot be read.
    """

    root: str | None = None
    train: str | None = None
    query: str | None = None
    query_fraction: float = 0.1
    size: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        within("query_fraction", self.query_fraction, 0, 1)
        if self.size is not None:
            at_least("size", self.size, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Three image sets of one protocol; queries share no image with the others."""

    query: ImageSet
    database: ImageSet
    train: ImageSet

    def hashes(self) -> dict[str, str]:
        """SHA-256 over the sorted names and labels of each part."""
        return {name: getattr(self, name).split_hash() for name in ("query", "database", "train")}


def open_split(protocol: str, data: DataConfig, root: Path, seed: int) -> Split:
    """Open the images of a protocol.

    Raises:
        ValueError: an unknown protocol, paths that it lacks, images that are not the protocol's, or a query
            that is also in the database.
        FileNotFoundError: a path does not exist.

    Example:
        >>> split = open_split("digits", DataConfig(), Path(), seed=0)
        >>> len(split.query), len(split.database)
        (599, 1198)
    """
    one_of("protocol", protocol, PROTOCOLS)
    split = PROTOCOLS[protocol](data, root, seed)
    if split.query.classes != split.database.classes:
        raise ValueError(
            f"queries have the classes {split.query.classes}, the database has {split.database.classes}"
        )
    _refuse_overlap(split)
    return split


def _refuse_overlap(split: Split) -> None:
    """Raise ValueError for queries with name and pixels of the database; two folders may share names."""
    position = {name: i for i, name in enumerate(split.database.names)}
    pairs = [(i, position[name]) for i, name in enumerate(split.query.names) if name in position]
    if not pairs or split.query.size != split.database.size:
        return
    for start in range(0, len(pairs), 1024):
        left, right = torch.tensor(pairs[start : start + 1024]).T
        equal = (split.query.images[left] == split.database.images[right]).flatten(1).all(1)
        if bool(equal.any()):
            name = split.query.names[int(left[equal][0])]
            raise ValueError(f"queries must not be in the database, but {name} and perhaps others are")


def few_labels(images: ImageSet, per_class: int, seed: int) -> ImageSet:
    """Draw ``per_class`` images of each class with ``seed``, in the order of ``images``.

    Raises:
        ValueError: no labels, or a class with fewer images.
    """
    labels = images.required_labels("a draw by class")
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for label, name in enumerate(images.classes):
        members = torch.nonzero(labels == label).flatten().numpy()
        if len(members) < per_class:
            raise ValueError(f"class {name} has {len(members)} images, {per_class} are wanted")
        chosen += rng.choice(members, per_class, replace=False).tolist()
    return images.select(torch.tensor(sorted(chosen)))


def _cifar10(data: DataConfig, root: Path, seed: int) -> Split:
    del seed
    split = _opened(data, root)
    found = (len(split.query), len(split.database), len(split.database.classes), split.query.size)
    if found != (10_000, 50_000, 10, (32, 32)):
        raise ValueError(
            "this protocol takes the official CIFAR-10 split, 10000 queries, 50000 database images, 10 "
            f"classes, 32 x 32 pixels; got {found[0]}, {found[1]}, {found[2]}, {found[3][0]} x {found[3][1]}"
        )
    return split


def _cifar10_few(data: DataConfig, root: Path, seed: int) -> Split:
    whole = _cifar10(data, root, seed)
    return Split(query=whole.query, database=whole.database, train=few_labels(whole.train, 500, seed))


def _folder(data: DataConfig, root: Path, seed: int) -> Split:
    if data.query is not None:
        return _opened(data, root)
    if data.train is None:
        raise ValueError("data.train must name the training images, got none")
    images = open_images(_place(root, data.train), size=data.size, strict=data.strict)
    rest, held = split_by_class(images, fraction=data.query_fraction, seed=seed)
    return Split(query=held, database=rest, train=rest)


def _digits(data: DataConfig, root: Path, seed: int) -> Split:
    del data, root
    train, test = digits(seed)
    return Split(query=test, database=train, train=train)


def _opened(data: DataConfig, root: Path) -> Split:
    if data.train is None or data.query is None:
        raise ValueError(f"data.train and data.query must name images, got {data.train!r} and {data.query!r}")
    train = open_images(_place(root, data.train), size=data.size, strict=data.strict)
    query = open_images(_place(root, data.query), size=data.size, strict=data.strict)
    return Split(query=query, database=train, train=train)


def _place(root: Path, path: str) -> str:
    return str(root / path)


PROTOCOLS: dict[str, Callable[[DataConfig, Path, int], Split]] = {
    "cifar10-official": _cifar10,
    "cifar10-5k": _cifar10_few,
    "folder": _folder,
    "digits": _digits,
}
"""Protocols by name: builders of a split from the settings of the data, their root and the seed."""
