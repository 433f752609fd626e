"""Pictures of what a run retrieves: queries drawn at random with their nearest images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dmth_fast import search
from dmth_fast.learning.crossmodal import CrossModalHasher
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.pairs import PairSplit

Codes = dict[str, NDArray[np.uint8]]

DRAWN, SHOWN = 5, 8
"""Queries, and neighbours of each."""

SUPPORT = 10
"""Images that must carry two words together for the pair to be drawn as a query."""


def draw_images(
    path: Path,
    split: Any,
    codes: Codes,
    labels: Sequence[Tensor],
    *,
    bits: int,
    title: str,
    legend: tuple[str, str] = ("same class", "another class"),
) -> None:
    """Draw query images with the nearest of the database.

    Args:
        path: of the picture.
        split: has ``query`` and ``database`` image sets.
        codes: ``query`` and ``database``.
        labels: of both, class ids (n,) or bool rows (n, C); an image that shares one is right.
        bits: width of the codes.
        title: what was searched by what.
        legend: what right and wrong mean.
    """
    from dmth_fast.plots import NeighbourRow, plot_neighbours

    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(split.query), generator=generator)[:DRAWN]
    found = search(codes["database"], codes["query"][chosen.numpy()], k=SHOWN, bits=bits)
    rows = []
    for query, distances, ids in zip(chosen.tolist(), found.distances, found.ids, strict=True):
        shared = labels[1][torch.from_numpy(ids)] == labels[0][query]
        if labels[0].ndim == 2:
            shared = (labels[1][torch.from_numpy(ids)] & labels[0][query]).any(1)
        rows.append(
            NeighbourRow(
                query=_pixels(split.query, query),
                label="",
                neighbours=[_pixels(split.database, int(i)) for i in ids],
                distances=[int(d) for d in distances],
                relevant=[bool(right) for right in shared],
            )
        )
    heading = f"{DRAWN} of {len(split.query):,} queries drawn at random"
    plot_neighbours({heading: rows}, path, title=title, subtitle=_searched(split.database), legend=legend)


def draw_keywords(path: Path, split: PairSplit, student: CrossModalHasher) -> None:
    """Draw pairs of words, searched as texts, with the nearest images; right: the image's text has both.

    The words are drawn from the pairs that at least :data:`SUPPORT` searched images carry together.
    """
    from dmth_fast.plots import NeighbourRow, plot_neighbours

    assert split.images is not None
    searched = split.pairs.select(split.database)
    carried = searched.text > 0
    together = carried.float().T @ carried.float()
    pairs = torch.nonzero(together.triu(1) >= SUPPORT)
    chosen = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:DRAWN]]
    texts = [" ".join(searched.vocabulary[i] for i in pair) for pair in chosen.tolist()]
    codes = student.encode_image(searched.image.numpy())
    found = search(codes, student.encode_text(texts), k=SHOWN, bits=student.bits)
    rows = [
        NeighbourRow(
            query=_words(text),
            label="",
            neighbours=[_pixels(split.images, int(split.database[i])) for i in ids],
            distances=[int(d) for d in distances],
            relevant=[bool(carried[int(i), pair].all()) for i in ids],
        )
        for text, pair, distances, ids in zip(texts, chosen, found.distances, found.ids, strict=True)
    ]
    plot_neighbours(
        {f"pairs of keywords drawn at random from those that {SUPPORT} images carry": rows},
        path,
        title=f"Images by keywords, {student.bits} bits, {student.recipe} student",
        subtitle=_searched(searched),
        legend=("has both words", "lacks one"),
    )


def _searched(images: Any) -> str:
    return f"{len(images):,} images searched"


def _pixels(images: ImageSet, row: int) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = np.asarray(images.images[row : row + 1][0])
    return pixels


def _words(text: str) -> NDArray[np.uint8]:
    """A tile (3, 96, 96) with a word a line."""
    tile = Image.new("RGB", (96, 96), (242, 242, 242))
    words = text.split()
    for line, word in enumerate(words):
        y = 48 + 22 * (line - (len(words) - 1) / 2)
        size = min(20, int(165 / max(6, len(word))))
        font = ImageFont.load_default(size)
        ImageDraw.Draw(tile).text((48, y), word, fill=(26, 26, 26), anchor="mm", font=font)
    return np.moveaxis(np.asarray(tile, dtype=np.uint8), -1, 0)
