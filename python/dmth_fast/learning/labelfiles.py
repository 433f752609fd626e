"""Labels of images, any number each, from a text file beside them."""

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from dmth_fast.learning.data import ImageSet, open_images

__all__ = ["label_rows", "read_labelled", "vocabulary"]

_NAMED = 3

Lines = dict[str, tuple[str, ...]]


def read_labelled(folder: Path, part: str, *, size: int) -> tuple[ImageSet, Lines]:
    """Read the images ``part/`` or ``part.zip`` of a folder, and their lines of ``part.txt``.

    A line is the image's path within its folder or archive, a tab, and its labels with tabs between them; a
    path alone is an image without a label.

    Returns:
        The images, size x size, and the labels of each by its name.

    Raises:
        FileNotFoundError: no such images or text file.
        ValueError: an image that cannot be decoded, text that is not UTF-8, two lines of one image, an empty
            or repeated label, or images and lines that are not of the same names.
    """
    source, path = folder / part, folder / f"{part}.txt"
    if not source.is_dir():
        source = folder / f"{part}.zip"
    for wanted in (source, path):
        if not wanted.exists():
            raise FileNotFoundError(
                f"{wanted} does not exist: {part} needs {part}/ or {part}.zip, and {part}.txt"
            )
    images, lines = open_images(source, size=size, strict=True, labels="none"), _read(path)
    if differing := sorted(set(images.names) ^ lines.keys()):
        raise ValueError(
            f"{path}: images and lines must be of the same names, "
            f"{len(differing)} differ: {differing[:_NAMED]}"
        )
    return images, lines


def vocabulary(lines: Lines, minimum: int) -> tuple[str, ...]:
    """Return the labels that at least ``minimum`` images have, in alphabetical order.

    Raises:
        ValueError: there is none.
    """
    counts = Counter(label for labels in lines.values() for label in labels)
    kept = tuple(sorted(label for label, count in counts.items() if count >= minimum))
    if not kept:
        raise ValueError(f"no label has {minimum} images or more, of {len(counts)} labels")
    return kept


def label_rows(images: ImageSet, lines: Lines, labels: tuple[str, ...]) -> Tensor:
    """Return which of ``labels`` each image has, bool (n, labels)."""
    column = {label: i for i, label in enumerate(labels)}
    rows = torch.zeros(len(images), len(labels), dtype=torch.bool)
    for row, name in enumerate(images.names):
        for label in lines[name]:
            if label in column:
                rows[row, column[label]] = True
    return rows


def _read(path: Path) -> Lines:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text, got other bytes: {error}") from None
    lines: Lines = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, *labels = (part.strip() for part in line.split("\t"))
        if name in lines:
            raise ValueError(f"{path}, line {number}: {name} has a line already")
        if not all(labels) or len(set(labels)) < len(labels):
            raise ValueError(f"{path}, line {number}: labels must be distinct and not empty, got {labels}")
        lines[name] = tuple(labels)
    return lines
