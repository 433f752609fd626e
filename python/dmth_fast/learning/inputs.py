"""What users hand over as images: image sets and paths to train on; also pictures and arrays to encode."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dmth_fast.learning.data import ImageSet, from_array, open_images
from dmth_fast.learning.sources import fit_size, to_pixels

__all__ = ["open_inputs", "open_set"]


def open_set(name: str, source: Any, labels: Literal["folders", "none"] = "folders") -> ImageSet:
    """Return an image set as it is, or open a path, all of whose images must be readable.

    Args:
        name: of the argument, for the message.
        source: of the images.
        labels: as :func:`~dmth_fast.learning.data.open_images` takes it.

    Raises:
        TypeError: anything else, such as arrays, of which nobody knows the labels.
        FileNotFoundError, ValueError: as ``open_images`` with ``strict``.

    Example:
        >>> open_set("train", ([], []))
        Traceback (most recent call last):
        TypeError: train must be an ImageSet or a path, got tuple: use from_array(images, labels)
    """
    if isinstance(source, ImageSet):
        return source
    if isinstance(source, str | Path):
        return open_images(source, labels=labels, strict=True)
    raise TypeError(
        f"{name} must be an ImageSet or a path, got {type(source).__name__}: use from_array(images, labels)"
    )


def open_inputs(images: Any, side: int | None) -> ImageSet:
    """Open images to be encoded, in order; none is left out, since a code must not stand for another image.

    Args:
        images: what :func:`~dmth_fast.learning.data.open_images` takes, a Pillow image, or a list of Pillow
            images and arrays of one image each.
        side: in pixels, to which the shorter side of files and of images in a list is brought; None: as they
            are.

    Raises:
        TypeError: something else.
        FileNotFoundError: a path does not exist.
        ValueError: a damaged image, or images of several sizes without ``side``.
    """
    if isinstance(images, ImageSet | np.ndarray | Tensor):
        return open_images(images)
    items = [images] if isinstance(images, Image.Image) else images
    if not (
        isinstance(items, list | tuple)
        and items
        and all(isinstance(item, Image.Image | np.ndarray) for item in items)
    ):
        return open_images(images, size=side, labels="none", strict=True)
    pixels = [
        to_pixels(item)[None] if isinstance(item, Image.Image) else from_array(item[None]).images[:]
        for item in items
    ]
    if side is not None:
        pixels = [fit_size(part, side) for part in pixels]
    if len(sizes := {tuple(part.shape[-2:]) for part in pixels}) > 1:
        raise ValueError(f"images in a list must have one size before training, got {sorted(sizes)}")
    return ImageSet(images=torch.cat(pixels))
