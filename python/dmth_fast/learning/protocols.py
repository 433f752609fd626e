"""Which images are queries, database and training set: figures compare only inside one protocol."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dmth_fast import protocols as named
from dmth_fast.learning.config import at_least, one_of, within
from dmth_fast.learning.data import ImageSet, digits, join, open_images, split_by_class


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the images are.

    Attributes:
        root: folder that relative paths start from; None takes ``DMTH_FAST_DATA``, else the working folder.
        train: path or glob pattern of the training images, which are the database too.
        query: path or glob pattern of the queries; None holds out a part of ``train``.
        query_fraction: the part held out, of each class, where ``query`` is None.
        validation_fraction: part of the training images that is held out and measured after each epoch.
        size: side in pixels; None keeps the files' own.
        labels: ``folders``: classes are folders; ``none``: there are none, and nothing is measured.
        split_seed: of a protocol's draw; None takes the run's seed, so that another seed draws other images.
        unlabelled: whether the student also sees the database images, without labels.
        strict: stop at an image that cannot be read.
    """

    root: str | None = None
    train: str | None = None
    query: str | None = None
    query_fraction: float = 0.1
    validation_fraction: float = 0.0
    size: int | None = None
    labels: str = "folders"
    split_seed: int | None = None
    unlabelled: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        one_of("labels", self.labels, ("folders", "none"))
        within("query_fraction", self.query_fraction, 0, 1)
        within("validation_fraction", self.validation_fraction, 0, 0.9)
        if self.size is not None:
            at_least("size", self.size, 1)


def data_root(root: str | None) -> Path:
    """Where relative paths start: ``root``, else ``DMTH_FAST_DATA``, else the working folder."""
    return Path(root or os.environ.get("DMTH_FAST_DATA", "."))


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSplit:
    """The images of one protocol; queries share no image with the others.

    Attributes:
        query: what is asked.
        database: what is searched.
        train: what may be learned from, with labels.
        drawn: which rows of the opened images these are, to be saved and verified; None where nothing was
            drawn by :func:`dmth_fast.protocols.make_split`.
    """

    query: ImageSet
    database: ImageSet
    train: ImageSet
    drawn: named.Split | None = None

    def unlabelled(self, held_out: ImageSet | None = None) -> ImageSet:
        """The database without its labels, the few labelled images among the others.

        Args:
            held_out: validation images, which are left out (by name).

        Raises:
            ValueError: it has no image outside the training set.
        """
        database = self.database
        if set(database.names) <= set(self.train.names):
            raise ValueError("data.unlabelled needs database images outside the training set; there are none")
        if held_out is not None:
            left_out = set(held_out.names)
            kept = [row for row, name in enumerate(database.names) if name not in left_out]
            database = database.select(torch.tensor(kept, dtype=torch.int64))
        return ImageSet(images=database.images, names=database.names)

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """Name and reason of each file that was left out, whichever parts were drawn from its source."""
        parts = (self.query, self.database, self.train)
        return tuple(dict.fromkeys(item for part in parts for item in part.skipped))

    def near_duplicates(self, radius: int = 6) -> dict[str, float] | None:
        """How many queries look like a training image; None where images are too small to tell.

        Such queries measure memory. By :func:`dmth_fast.protocols.near_duplicates`.
        """
        if min(*self.query.size, *self.train.size) < 32:
            return None
        codes = [
            np.concatenate(
                [
                    named.perceptual_codes(images.images[rows].numpy())
                    for rows in torch.split(torch.arange(len(images)), 1024)
                ]
            )
            for images in (self.query, self.train)
        ]
        found = named.near_duplicate_codes(codes[0], codes[1], radius=radius)
        queries = len(np.unique(found.query_rows))
        return {"radius": radius, "queries": queries, "share": found.share, "pairs": len(found.rows)}

    def hashes(self) -> dict[str, str]:
        """SHA-256 over the sorted names and labels of each part."""
        return {name: getattr(self, name).split_hash() for name in ("query", "database", "train")}


def open_split(protocol: str, data: DataConfig, root: Path, seed: int) -> ImageSplit:
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
    if data.labels == "none" and protocol != "folder":
        raise ValueError(f"protocol {protocol} needs labels to measure: data.labels must be 'folders'")
    drawn = seed if data.split_seed is None else data.split_seed
    if protocol in PROTOCOLS:
        split = PROTOCOLS[protocol](data, root, drawn)
    else:
        split = _named(protocol, data, root, drawn)
    if split.query.classes != split.database.classes:
        raise ValueError(
            f"queries have the classes {split.query.classes}, the database has {split.database.classes}"
        )
    _refuse_overlap(split)
    return split


def _refuse_overlap(split: ImageSplit) -> None:
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


def _named(protocol: str, data: DataConfig, root: Path, seed: int) -> ImageSplit:
    """Draw a protocol of the retrieval half from the opened images; one source or train and test."""
    if data.query is not None:
        whole = _opened(data, root)
        sources = {"train": whole.train, "test": whole.query}
    else:
        sources = {"all": open_images(_place(root, data.train), size=data.size, strict=data.strict)}
    labels = {
        name: images.required_labels(f"protocol {protocol}").numpy() for name, images in sources.items()
    }
    if protocol.startswith("cifar10-"):
        _refuse_other_images(protocol, sources, side=data.size or 32)
    drawn = named.make_split(protocol, labels, seed=seed)
    parts = []
    for role in (drawn.query, drawn.database, drawn.train):
        chosen = [sources[name].select(torch.from_numpy(rows)) for name, rows in role.items() if len(rows)]
        parts.append(join(chosen))
    return ImageSplit(query=parts[0], database=parts[1], train=parts[2], drawn=drawn)


def _refuse_other_images(protocol: str, sources: Mapping[str, ImageSet], side: int) -> None:
    found = [
        f"{len(part)} of {len(part.classes)} classes, {part.size[0]} x {part.size[1]} pixels, in {name}"
        for name, part in sources.items()
    ]
    counts = [(len(images), len(images.classes), images.size) for images in sources.values()]
    if counts != [(50_000, 10, (side, side)), (10_000, 10, (side, side))]:
        raise ValueError(
            f"protocol {protocol} takes the 50000 training and 10000 test images of CIFAR-10, 10 classes "
            f"and {side} x {side} pixels, as data.train and data.query; got {'; '.join(found)}"
        )


def _folder(data: DataConfig, root: Path, seed: int) -> ImageSplit:
    if data.query is not None:
        return _opened(data, root)
    if data.labels == "none":
        return _unlabelled(data, root, seed)
    images = open_images(_place(root, data.train), size=data.size, strict=data.strict)
    rest, held = split_by_class(images, fraction=data.query_fraction, seed=seed)
    return ImageSplit(query=held, database=rest, train=rest)


def _unlabelled(data: DataConfig, root: Path, seed: int) -> ImageSplit:
    images = open_images(_place(root, data.train), size=data.size, strict=data.strict, labels="none")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    count = min(len(images) - 1, max(1, round(len(images) * data.query_fraction)))
    held, rest = order[:count].sort().values, order[count:].sort().values
    return ImageSplit(query=images.select(held), database=images.select(rest), train=images.select(rest))


def _digits(data: DataConfig, root: Path, seed: int) -> ImageSplit:
    del data, root
    train, test = digits(seed)
    return ImageSplit(query=test, database=train, train=train)


def _few_digits(data: DataConfig, root: Path, seed: int) -> ImageSplit:
    del data, root
    train, test = digits(seed)
    return ImageSplit(query=test, database=train, train=train.select(pick(train, 10, seed)))


def pick(images: ImageSet, per_class: int, seed: int) -> Tensor:
    """Draw ``per_class`` rows of each class, ascending: int64 (classes * per_class,).

    Raises:
        ValueError: A class has fewer images.
    """
    generator = np.random.default_rng(seed)
    labels = images.required_labels("drawing labelled images").numpy()
    rows = []
    for number, name in enumerate(images.classes):
        members = np.flatnonzero(labels == number)
        if len(members) < per_class:
            raise ValueError(f"class {name} must have at least {per_class} images, it has {len(members)}")
        rows.append(generator.permutation(members)[:per_class])
    return torch.from_numpy(np.sort(np.concatenate(rows)))


def _opened(data: DataConfig, root: Path) -> ImageSplit:
    if data.train is None or data.query is None:
        raise ValueError(f"data.train and data.query must name images, got {data.train!r} and {data.query!r}")
    labels: Literal["folders", "none"] = "none" if data.labels == "none" else "folders"
    train = open_images(_place(root, data.train), size=data.size, strict=data.strict, labels=labels)
    query = open_images(_place(root, data.query), size=data.size, strict=data.strict, labels=labels)
    return ImageSplit(query=query, database=train, train=train)


def _place(root: Path, path: str | None) -> str:
    if path is None:
        raise ValueError("data.train must name the training images, got none")
    return str(root / path)


PROTOCOLS: dict[str, Callable[[DataConfig, Path, int], ImageSplit]] = {
    "folder": _folder,
    "digits": _digits,
    "digits-100": _few_digits,
}
"""Protocols of this half, beside those of :func:`dmth_fast.protocols.make_split`."""

_FORBIDDEN = {
    "cifar10-official": ("cifar10-test",),
    "cifar10-5k": ("cifar10-train", "cifar10-test"),
    "cifar10-I": ("cifar10-train", "cifar10-test"),
    "cifar10-I-disjoint": ("cifar10-train", "cifar10-test"),
    "cifar100-20k": ("cifar100-train", "cifar100-test"),
}


_MARK = re.compile(r":([0-9a-f]{12})-[0-9a-f]{12}$")
"""Ends what has been seen of images without a name of their own: hashes of all images, and of those seen."""


def seen_by(protocol: str, split: ImageSplit, *, unlabelled: bool = False) -> tuple[str, ...]:
    """Name what a network that trains under a protocol has seen, as :func:`refuse_seen` reads it.

    Args:
        protocol: name of the protocol.
        split: its images.
        unlabelled: whether the network also saw the database, without labels.

    Example:
        >>> seen_by("cifar10-official", open_split("digits", DataConfig(), Path(), seed=0))
        ('cifar10-train',)
    """
    family, _, kind = protocol.partition("-")
    if family == "cifar10":
        # The older protocols draw from all images.
        return ("cifar10-train",) if kind in ("official", "5k") else ("cifar10-train", "cifar10-test")
    if family == "cifar100":
        return ("cifar100-train",)
    parts = (split.train, split.database) if unlabelled else (split.train,)
    return tuple(dict.fromkeys(f"{protocol}:{_all_images(split)}-{part.split_hash()[:12]}" for part in parts))


def _all_images(split: ImageSplit) -> str:
    """Hash of the names of all images, however they are split."""
    names = {*split.query.names, *split.database.names, *split.train.names}
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:12]


def seen_by_weights(weights: str, seen: Sequence[str]) -> tuple[str, ...]:
    """Return ``seen``, or where it is empty what the end of the file's name says.

    Example:
        >>> seen_by_weights("weights/mobilenet_v2-imagenet.safetensors", ())
        ('imagenet',)
    """
    known = {"imagenet": "imagenet", "cifar10": "cifar10-train", "cifar100": "cifar100-train"}
    end = Path(weights).stem.rpartition("-")[2]
    return tuple(seen) or ((known[end],) if end in known else ())


def refuse_seen(
    protocol: str,
    teacher: str,
    seen: Sequence[str],
    *,
    split: ImageSplit | None = None,
    what: str = "teacher",
) -> None:
    """Refuse a teacher that has learned from images which the protocol asks about.

    Args:
        protocol: name of the protocol.
        teacher: name of the teacher, for the message.
        seen: what its weights were trained on, such as ``imagenet`` or ``cifar10-train``.
        split: of the protocol; with it also what :func:`seen_by` said of another split of the same images is
            refused.
        what: stands before the name in the message.

    Raises:
        ValueError: the protocol forbids one of ``seen``, or has such rules and ``seen`` is empty.

    Example:
        >>> refuse_seen("cifar10-5k", "resnet56", ["cifar10-train"])
        Traceback (most recent call last):
        ValueError: protocol cifar10-5k forbids teacher resnet56: it has seen cifar10-train
    """
    forbidden = _FORBIDDEN.get(named.ALIASES.get(protocol, protocol), ())
    if forbidden and not seen:
        raise ValueError(
            f"protocol {protocol} must know what {what} {teacher} has seen: add seen = [...], such as "
            '["imagenet"] or ["cifar10-train"]'
        )
    if bad := [name for name in seen if name in forbidden]:
        raise ValueError(f"protocol {protocol} forbids {what} {teacher}: it has seen {', '.join(bad)}")
    if split is None:
        return
    own, images = seen_by(protocol, split, unlabelled=True), _all_images(split)
    for name in seen:
        mark = _MARK.search(name)
        if mark is not None and mark[1] == images and name not in own:
            raise ValueError(
                f"protocol {protocol} forbids {what} {teacher}: it has seen {name}, "
                "another split of these images"
            )
