"""Corel5k (Duygulu et al., ECCV 2002): photographs with a few keywords each, from photo CDs."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from dmth_fast.learning.data import ImageSet, open_images

__all__ = ["Corel5k", "read_corel5k"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Corel5k:
    """The official split: 4,500 training and 499 test photographs.

    Attributes:
        train: images whose labels are their photo CDs (image id // 1000).
        test: the same for the test images.
        train_keywords: bool (4500, words).
        test_keywords: bool (499, words).
        words: the keywords.
    """

    train: ImageSet
    test: ImageSet
    train_keywords: Tensor
    test_keywords: Tensor
    words: tuple[str, ...]

    def frequent(self, minimum: int) -> "Corel5k":
        """Keep the keywords that at least ``minimum`` training photographs have.

        Raises:
            ValueError: none is left.
        """
        kept = torch.nonzero(self.train_keywords.sum(0) >= minimum).flatten()
        if not len(kept):
            raise ValueError(f"no keyword has {minimum} training photographs or more")
        return Corel5k(
            train=self.train,
            test=self.test,
            train_keywords=self.train_keywords[:, kept],
            test_keywords=self.test_keywords[:, kept],
            words=tuple(self.words[i] for i in kept.tolist()),
        )


def read_corel5k(folder: str | Path, *, size: int) -> Corel5k:
    """Read ``train.zip``, ``test.zip``, ``training_label``, ``test_label`` and ``words``.

    A label line is ``<image id> <keyword number> ...``, numbers from 1 as the lines of ``words`` count.

    Args:
        folder: where the five files are.
        size: side of the square images in pixels; the longer side of a photograph is cut.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an image without a label line or the reverse, or a keyword number that does not exist.
    """
    root = Path(folder)
    for name in ("train.zip", "test.zip", "training_label", "test_label", "words"):
        if not (root / name).is_file():
            raise FileNotFoundError(f"Corel5k file {root / name} does not exist")
    words = tuple((root / "words").read_text().split())
    train_lines = _read_label_lines(root / "training_label", len(words))
    test_lines = _read_label_lines(root / "test_label", len(words))
    discs = sorted({identity // 1000 for identity in (*train_lines, *test_lines)})
    train, train_keywords = _read_half(root / "train.zip", train_lines, discs, len(words), size)
    test, test_keywords = _read_half(root / "test.zip", test_lines, discs, len(words), size)
    return Corel5k(
        train=train, test=test, train_keywords=train_keywords, test_keywords=test_keywords, words=words
    )


def _read_label_lines(path: Path, count: int) -> dict[int, list[int]]:
    lines: dict[int, list[int]] = {}
    for line in path.read_text().splitlines():
        if not line.strip():
            continue
        identity, *numbers = (int(part) for part in line.split())
        for number in numbers:
            if not 1 <= number <= count:
                raise ValueError(f"{path}: image {identity} has keyword {number}, there are 1..{count}")
        lines[identity] = [number - 1 for number in numbers]
    return lines


def _read_half(
    archive: Path, lines: dict[int, list[int]], discs: list[int], count: int, size: int
) -> tuple[ImageSet, Tensor]:
    images = open_images(archive, size=size, strict=True, labels="none")
    identities = [int(PurePosixPath(name).stem) for name in images.names]
    if differing := sorted(set(identities) ^ set(lines)):
        raise ValueError(
            f"{archive}: images and label lines must be of the same ids, "
            f"{len(differing)} differ: {differing[:3]}"
        )
    keywords = torch.zeros(len(images), count, dtype=torch.bool)
    for row, identity in enumerate(identities):
        keywords[row, lines[identity]] = True
    return (
        ImageSet(
            images=images.images,
            labels=torch.tensor([discs.index(identity // 1000) for identity in identities]),
            classes=tuple(map(str, discs)),
            names=images.names,
        ),
        keywords,
    )
