"""A picture of keyword queries: the Corel5k photographs nearest to a text, by a saved cross-modal student.

``python benchmarks/keywords.py RUN/hard-64 docs/images/sakdh-keywords.png``; the photographs are searched
with the words as the only query, and an image is right if it carries all of them.
"""

import argparse
import os
from pathlib import Path

import torch

from dmth_fast import search
from dmth_fast.learning.corel5k import read_corel5k
from dmth_fast.learning.crossmodal import CrossModalHasher
from dmth_fast.learning.frozen import Teacher
from dmth_fast.learning.pairdata import frozen_features
from dmth_fast.plots import NeighbourRow, plot_neighbours

DRAWN = 5
"""Keyword pairs drawn at random from those that at least ten photographs carry together."""


def main() -> None:
    """Search and draw."""
    parser = argparse.ArgumentParser(description="Draw the photographs nearest to keywords.")
    parser.add_argument("student", type=Path, help="folder of a saved student, beside the run's cache")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--size", type=int, default=160, help="of the photographs, as in the run")
    arguments = parser.parse_args()
    root = Path(os.environ.get("DMTH_FAST_DATA", "."))
    backbone = Teacher(
        "mobilenet_v2", root / "weights/mobilenet_v2-imagenet.safetensors", input_size=arguments.size
    )
    corel = read_corel5k(root / "corel5k", size=arguments.size)
    student = CrossModalHasher.load(arguments.student)
    features = frozen_features(backbone, corel.train, arguments.student.parent / "cache")
    texts = _drawn(corel.train_keywords, corel.words)
    found = search(student.encode_image(features.numpy()), student.encode_text(texts), k=8, bits=student.bits)
    position = {word: i for i, word in enumerate(corel.words)}
    rows = []
    for text, distances, ids in zip(texts, found.distances, found.ids, strict=True):
        wanted = torch.tensor([position[word] for word in text.split()])
        rows.append(
            NeighbourRow(
                query=torch.full((3, 64, 64), 235, dtype=torch.uint8).numpy(),
                label=text,
                neighbours=[corel.train.images[int(i) : int(i) + 1][0].numpy() for i in ids],
                distances=[int(d) for d in distances],
                relevant=[bool(corel.train_keywords[int(i), wanted].all()) for i in ids],
            )
        )
    plot_neighbours(
        {"keyword pairs drawn at random; right: the photograph carries both": rows},
        arguments.picture,
        title=f"Photographs by keywords, {student.bits} bits, {student.recipe} student",
        subtitle="Corel5k, 4,500 photographs searched",
    )


def _drawn(keywords: torch.Tensor, words: tuple[str, ...]) -> list[str]:
    together = keywords.float().T @ keywords.float()
    pairs = torch.nonzero(together.triu(1) >= 10)
    chosen = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:DRAWN]
    return [f"{words[a]} {words[b]}" for a, b in pairs[chosen].tolist()]


if __name__ == "__main__":
    main()
