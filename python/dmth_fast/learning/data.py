"""Labelled images as one uint8 tensor, from folders, zip archives, arrays, or the digits of scikit-learn."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import UnidentifiedImageError
from torch import Tensor

from dmth_fast.learning.lazy import DECODERS
from dmth_fast.learning.lazy import LazyImages as LazyImages
from dmth_fast.learning.sources import (
    DAMAGE,
    EXTENSIONS,
    ImageFile,
    decode,
    fit_size,
    list_files,
    refuse_empty_classes,
)

MEMORY_LIMIT = 4 * 2**30
"""Bytes of decoded pixels up to which :func:`open_images` keeps a whole set in memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Images of one size with their labels and names.

    Attributes:
        images: uint8 RGB (n, 3, h, w), a tensor or :class:`LazyImages`.
        labels: int64 (n,), positions in ``classes``; None without labels.
        classes: the class names, sorted as the labels count them.
        names: one unique name an image.
        skipped: (name, reason) of each file that was left out.

    Raises:
        TypeError: images are not uint8 or labels not int64.
        ValueError: wrong shapes or lengths, no image, or labels outside ``classes``.

    Example:
        >>> import torch
        >>> images = ImageSet(images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
        >>> len(images), images.size, images.names
        (2, (8, 8), ('0', '1'))
    """

    images: Tensor | LazyImages
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if self.images.dtype != torch.uint8:
            raise TypeError(
                f"images must be uint8 of shape (n, 3, h, w), got {self.images.dtype} of shape {shape}"
            )
        if len(shape) != 4 or shape[1] != 3:
            raise ValueError(f"images must be uint8 of shape (n, 3, h, w), got shape {shape}")
        if shape[0] == 0:
            raise ValueError("images must hold at least one image, got none")
        if not self.names:
            object.__setattr__(self, "names", tuple(map(str, range(shape[0]))))
        if len(self.names) != shape[0]:
            raise ValueError(f"names must have one entry an image ({shape[0]}), got {len(self.names)}")
        if self.labels is not None:
            self._check_labels(self.labels)

    def _check_labels(self, labels: Tensor) -> None:
        if labels.dtype != torch.int64:
            raise TypeError(f"labels must be int64 of shape ({len(self)},), got {labels.dtype}")
        if labels.shape != (len(self),):
            raise ValueError(f"labels must have shape ({len(self)},), got {tuple(labels.shape)}")
        if not self.classes:
            object.__setattr__(self, "classes", tuple(map(str, range(int(labels.max()) + 1))))
        if int(labels.min()) < 0 or int(labels.max()) >= len(self.classes):
            raise ValueError(
                f"labels must lie in 0..{len(self.classes) - 1}, one for each image, "
                f"got {int(labels.min())}..{int(labels.max())}"
            )

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.images.shape[2]), int(self.images.shape[3])

    def required_labels(self, purpose: str) -> Tensor:
        """Return the labels, or raise ValueError saying what needs them."""
        if self.labels is None:
            raise ValueError(f"{purpose} needs labels, but the images have none")
        return self.labels

    def select(self, index: Tensor) -> "ImageSet":
        """Return the images at ``index`` (int64), with their labels and names."""
        images = self.images.subset(index) if isinstance(self.images, LazyImages) else self.images[index]
        return ImageSet(
            images=images,
            labels=None if self.labels is None else self.labels[index],
            classes=self.classes,
            names=tuple(self.names[i] for i in index.tolist()),
            skipped=self.skipped,
        )

    def content_hash(self) -> str:
        """SHA-256 over the pixels in order; of images that are decoded lazily over names, shape and files.

        A file counts by its size and time of change, a member of an archive by its size and CRC.
        """
        return self._content_hash

    @cached_property
    def _content_hash(self) -> str:
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        if isinstance(self.images, LazyImages):
            pairs = zip(self.names, self.images.files, strict=True)
            digest.update("\n".join(f"{name}\t{file.fingerprint()}" for name, file in pairs).encode())
        else:
            digest.update(self.images.contiguous().numpy().data)
        return digest.hexdigest()

    def labels_hash(self) -> str | None:
        """SHA-256 over the class names and the labels in order; None without labels."""
        if self.labels is None:
            return None
        return hashlib.sha256(repr((self.classes, self.labels.tolist())).encode()).hexdigest()

    def split_hash(self) -> str:
        """SHA-256 over the sorted names, each with its class name: which images these are, in any order."""
        labels = [""] * len(self) if self.labels is None else [self.classes[i] for i in self.labels.tolist()]
        lines = sorted(f"{name}\t{label}" for name, label in zip(self.names, labels, strict=True))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def open_images(
    source: Any,
    *,
    size: int | None = None,
    strict: bool = False,
    labels: Literal["folders", "none"] = "folders",
    memory_limit: int = MEMORY_LIMIT,
) -> ImageSet:
    """Open a folder ``<class>/<image>``, zip archives of that layout, one image file, or an array.

    Archives are read in place. Files that cannot be decoded are named in ``skipped``. A set whose decoded
    pixels exceed ``memory_limit`` bytes is checked once and then decoded whenever it is indexed.

    Args:
        source: a path, a glob pattern with ``*``, a list of zip archives, a uint8 array or tensor (see
            :func:`from_array`), or an :class:`ImageSet`, which is returned at the wanted size.
        size: resize the shorter side to ``size`` and cut out the central square; None keeps the files' own
            size, which must then be the same for all.
        strict: raise on the first damaged image instead of leaving it out.
        labels: ``"folders"``: the class is the folder; ``"none"``: folders mean nothing, and labels are None.
        memory_limit: bytes.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: no image, a class without an image, images of several sizes without ``size``, or, with
            ``strict``, a damaged image.

    Example:
        >>> open_images("no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: source no/such/folder does not exist
    """
    if labels not in ("folders", "none"):
        raise ValueError(f"labels must be 'folders' or 'none', got {labels!r}")
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    if isinstance(source, ImageSet):
        return _resized(source, size)
    if isinstance(source, np.ndarray | Tensor):
        return _resized(from_array(source), size)
    return _open_files(_expand(source), size, strict, labels == "folders", memory_limit)


def from_array(
    images: "np.ndarray[Any, Any] | Tensor", labels: Any = None, classes: Sequence[str] = ()
) -> ImageSet:
    """Make an :class:`ImageSet` of uint8 images (n, 3, h, w), (n, h, w, 3), or grey (n, h, w), (n, 1, h, w).

    A single colour image (h, w, 3) without the leading axis is a set of one; grey images always need the
    leading axis. (3, h, w) could be one colour image or three grey ones and is refused.

    Raises:
        TypeError: images are not uint8, or labels no integers.
        ValueError: a shape that is none of these or could be two of them.

    Example:
        >>> import numpy as np
        >>> from_array(np.zeros((5, 8, 8, 3), np.uint8), labels=[0, 1, 0, 1, 1]).images.shape
        torch.Size([5, 3, 8, 8])
    """
    if isinstance(images, np.ndarray):
        # Torch shares memory and takes no read-only arrays, such as PIL's and memory maps.
        pixels = torch.as_tensor(np.array(images, order="C", copy=None if images.flags.writeable else True))
    else:
        pixels = images.cpu()
    if pixels.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, got {pixels.dtype} of shape {tuple(pixels.shape)}")
    shape = tuple(pixels.shape)
    if pixels.ndim == 3 and shape[0] == 3:
        raise ValueError(
            f"images of shape {shape} could be one in colour or three in grey: pass images[None] for the "
            "one, images[:, None] for the three"
        )
    if pixels.ndim == 3:
        pixels = pixels[None] if shape[2] == 3 else pixels[:, None]
    if pixels.ndim == 4 and pixels.shape[1] == 1 and pixels.shape[3] != 3:
        pixels = pixels.expand(-1, 3, -1, -1)
    elif pixels.ndim != 4 or 3 not in (pixels.shape[1], pixels.shape[3]):
        raise ValueError(f"images must have shape (n, 3, h, w), (n, h, w, 3) or (n, h, w), got {shape}")
    elif pixels.shape[1] == 3 and pixels.shape[3] == 3:
        raise ValueError(
            f"images of shape {shape} could be (n, 3, h, w) or (n, h, w, 3): pad or transpose them"
        )
    elif pixels.shape[3] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    numbers = None
    if labels is not None:
        numbers = torch.as_tensor(labels)
        if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
            raise TypeError(f"labels must be integers of shape ({len(pixels)},), got {numbers.dtype}")
        numbers = numbers.to(torch.int64)
    return ImageSet(images=pixels.contiguous(), labels=numbers, classes=tuple(classes))


def digits(seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """Return the 1,797 handwritten digits of scikit-learn, 8 x 8 pixels, as (train, test).

    A third of each class, drawn with ``seed``, is the test set.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed (``pip install "dmth-fast[demo]"``).

    Example:
        >>> train, test = digits()
        >>> len(train) + len(test), train.size, len(train.classes)
        (1797, (8, 8), 10)
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'the digits come with scikit-learn: pip install "dmth-fast[demo]"'
        ) from None
    bunch = load_digits()
    pixels = torch.from_numpy((bunch.images * (255 / 16)).round().astype(np.uint8))
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    whole = ImageSet(
        images=pixels[:, None].expand(-1, 3, -1, -1).contiguous(),
        labels=labels,
        classes=tuple("0123456789"),
        names=tuple(f"digit-{i:04d}" for i in range(len(labels))),
    )
    return split_by_class(whole, fraction=1 / 3, seed=seed)


def split_by_class(images: ImageSet, *, fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Split into (rest, held out): of each class a ``fraction`` (at least one image), drawn with ``seed``.

    Raises:
        ValueError: no labels, a fraction outside (0, 1), or a class with fewer than two images.
    """
    labels = images.required_labels("a split by class")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, got {fraction}")
    rng = np.random.default_rng(seed)
    held: list[int] = []
    for label, name in enumerate(images.classes):
        members = torch.nonzero(labels == label).flatten().numpy()
        if len(members) < 2:
            raise ValueError(f"class {name} has {len(members)} images; a split needs at least two")
        count = min(len(members) - 1, max(1, round(len(members) * fraction)))
        held += rng.permutation(members)[:count].tolist()
    mask = torch.zeros(len(images), dtype=torch.bool)
    mask[held] = True
    return images.select(torch.nonzero(~mask).flatten()), images.select(torch.nonzero(mask).flatten())


def join(parts: Sequence[ImageSet]) -> ImageSet:
    """Put image sets of the same classes and size one after the other.

    Raises:
        ValueError: other classes or sizes, or parts that are decoded lazily.
    """
    if len(parts) == 1:
        return parts[0]
    if len({(part.classes, part.size, part.labels is None) for part in parts}) != 1:
        raise ValueError(
            f"parts must agree in classes, size and labels, got sizes {[part.size for part in parts]}"
        )
    pixels = [part.images for part in parts if isinstance(part.images, Tensor)]
    if len(pixels) != len(parts):
        raise ValueError("parts must be held in memory: raise memory_limit")
    return ImageSet(
        images=torch.cat(pixels),
        labels=None
        if parts[0].labels is None
        else torch.cat([part.required_labels("join") for part in parts]),
        classes=parts[0].classes,
        names=tuple(name for part in parts for name in part.names),
        skipped=tuple(dict.fromkeys(skipped for part in parts for skipped in part.skipped)),
    )


def _expand(source: Any) -> "str | Path | list[Path]":
    if isinstance(source, str | Path):
        if "*" in str(source):
            if not (found := sorted(glob(str(source)))):  # noqa: PTH207 (the pattern may be absolute)
                raise FileNotFoundError(f"source {source} matches no file")
            return [Path(path) for path in found]
        if not Path(source).exists():
            raise FileNotFoundError(f"source {source} does not exist")
        return source
    if isinstance(source, Sequence) and all(isinstance(item, str | Path) for item in source):
        return [Path(item) for item in source]
    raise TypeError(
        f"source must be a path, a list of zip archives, an array or an ImageSet, got {type(source).__name__}"
    )


def _resized(images: ImageSet, size: int | None) -> ImageSet:
    if size is None or images.size == (size, size):
        return images
    if isinstance(images.images, LazyImages):
        pixels: Tensor | LazyImages = LazyImages(images.images.files, (size, size), size)
    else:
        pixels = torch.cat([fit_size(chunk, size) for chunk in torch.split(images.images, 1024)])
    return ImageSet(
        images=pixels,
        labels=images.labels,
        classes=images.classes,
        names=images.names,
        skipped=images.skipped,
    )


def _open_files(
    source: "str | Path | list[Path]", size: int | None, strict: bool, with_classes: bool, memory_limit: int
) -> ImageSet:
    path = None if isinstance(source, list) else Path(source)
    single = path is not None and path.is_file() and path.suffix.lower() in EXTENSIONS
    listing = list_files([Path(str(source))] if single else source, with_classes=with_classes and not single)
    where = str(source)
    pixels: list[Tensor] = []
    kept: list[ImageFile] = []
    skipped = list(listing.ignored)
    shape: torch.Size | None = None
    lazy = False

    def load(file: ImageFile) -> "Tensor | str":
        try:
            return decode(file.read(), size)
        except UnidentifiedImageError:
            return "in no known image format"  # its own message names an object in memory
        except DAMAGE as error:
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(DECODERS) as pool:
        for file, image in zip(listing.files, pool.map(load, listing.files), strict=True):
            if isinstance(image, str):
                if strict:
                    raise ValueError(f"source {where}: {file.name} cannot be decoded ({image})")
                skipped.append((file.name, image))
                continue
            if shape is None:
                shape = image.shape
                lazy = shape.numel() * len(listing.files) > memory_limit
            elif image.shape != shape:
                raise ValueError(
                    f"source {where}: images differ in size ({kept[0].name} is {tuple(shape[1:])}, "
                    f"{file.name} is {tuple(image.shape[1:])}); pass size="
                )
            kept.append(file)
            if not lazy:
                pixels.append(image)
    if shape is None:
        raise ValueError(f"source {where}: none of its {len(listing.files)} images can be decoded")
    refuse_empty_classes(listing.classes, (file.class_name for file in kept), where)
    position = {name: i for i, name in enumerate(listing.classes)}
    numbers = torch.tensor([position[file.class_name] for file in kept]) if listing.classes else None
    return ImageSet(
        images=LazyImages(kept, (shape[1], shape[2]), size) if lazy else torch.stack(pixels),
        labels=numbers,
        classes=listing.classes,
        names=tuple(file.name for file in kept),
        skipped=tuple(skipped),
    )
