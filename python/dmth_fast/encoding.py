"""The ``encode`` command: images in, packed codes out."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmth_fast import codefiles

if TYPE_CHECKING:
    from dmth_fast.learning.data import ImageSet
    from dmth_fast.learning.hasher import Hasher

__all__ = ["encoded", "run", "side_of"]

_CHUNK = 4096
_NAMED = 20


def run(
    model: Path,
    images: Path,
    *,
    out: Path,
    names: Path | None,
    labels: Path | None,
    batch_size: int,
    strict: bool,
) -> None:
    """Encode ``images`` with the student saved in ``model`` and say what was done.

    Args:
        model: Folder that :meth:`dmth_fast.Hasher.save` wrote.
        images: A folder, a zip, or one image.
        out: ``.npy`` or ``.safetensors``; the latter keeps the width of the codes.
        names: Where the images' names go, one a line, in the order of the codes.
        labels: Where their classes go, the same way; the class of an image is its folder.
        batch_size: Images at a time.
        strict: Stop at an unreadable image instead of skipping it.

    Raises:
        FileNotFoundError: No such student or images.
        ValueError: Nothing readable, another format, or with ``strict`` an unreadable image.
    """
    codefiles.check_suffix(out, (".npy", ".safetensors"))
    from dmth_fast.learning.data import open_images
    from dmth_fast.learning.hasher import Hasher

    hasher = Hasher.load(model)
    opened = open_images(
        images, size=side_of(hasher), strict=strict, labels="none" if labels is None else "folders"
    )
    if labels is not None and opened.labels is None:
        raise ValueError(f"--labels needs images in folders, one a class; {images} has none")
    if names is not None:
        codefiles.check_names(opened.names)
    if labels is not None:
        codefiles.check_names(opened.classes)
    begin = time.perf_counter()
    codes = encoded(hasher, opened, batch_size)
    seconds = time.perf_counter() - begin
    codefiles.write_codes(out, codes, bits=hasher.bits)
    if names is not None:
        codefiles.write_names(names, opened.names)
    if labels is not None and opened.labels is not None:
        codefiles.write_names(labels, [opened.classes[i] for i in opened.labels.tolist()])
    rate = len(codes) / seconds
    print(f"{len(codes):,} images to codes of {hasher.bits} bits ({rate:,.0f} images/s): {out}")
    if opened.skipped:
        print(f"{len(opened.skipped):,} files skipped:", file=sys.stderr)
        for name, reason in opened.skipped[:_NAMED]:
            print(f"  {name}: {' '.join(reason.split())}", file=sys.stderr)
        if len(opened.skipped) > _NAMED:
            print(f"  and {len(opened.skipped) - _NAMED:,} more", file=sys.stderr)


def side_of(hasher: "Hasher") -> int | None:
    """The side that images are brought to; None for a student of images that are not square: as they are."""
    size = hasher.input_size
    return size[0] if size is not None and size[0] == size[1] else None


def encoded(hasher: "Hasher", images: "ImageSet", batch_size: int) -> NDArray[np.uint8]:
    """The packed codes of images, with a bar of progress on a terminal where they are many."""
    if len(images) <= _CHUNK:
        codes: NDArray[np.uint8] = hasher.encode(images, batch_size)
        return codes
    import torch
    from rich.console import Console
    from rich.progress import track

    starts = range(0, len(images), _CHUNK)
    console = Console(stderr=True)
    parts = [
        hasher.encode(images.select(torch.arange(start, min(start + _CHUNK, len(images)))), batch_size)
        for start in track(
            starts, "encoding", console=console, transient=True, disable=not console.is_terminal
        )
    ]
    return np.concatenate(parts)
