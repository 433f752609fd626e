"""The picture of attention: which images it shows, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dmth_fast.attention import plot_weights
from dmth_fast.learning.data import ImageSet

RNG = np.random.default_rng(0)


def images(classes: int, count: int = 60) -> ImageSet:
    pixels = torch.from_numpy(RNG.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8))
    labels = torch.arange(count) % classes
    names = tuple(str(i) for i in range(count))
    return ImageSet(
        images=pixels, labels=labels, classes=tuple(f"class_{c}" for c in range(classes)), names=names
    )


@pytest.mark.parametrize(("classes", "teachers"), [(3, 2), (30, 5)])
def test_a_picture_is_drawn_for_few_and_many_classes(tmp_path: Path, classes: int, teachers: int) -> None:
    weights = RNG.dirichlet(np.ones(teachers), 60).astype(np.float32)
    path = tmp_path / "weights.png"
    plot_weights(weights, images(classes), [f"t{k}" for k in range(teachers)], path, title="a", subtitle="b")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_weights_must_fit_images_and_teachers(tmp_path: Path) -> None:
    weights = np.full((60, 2), 0.5, np.float32)
    with pytest.raises(ValueError, match=r"weights must have shape \(60, 3\), .* got \(60, 2\)"):
        plot_weights(weights, images(3), ["a", "b", "c"], tmp_path / "a.png", title="")
    unlabelled = ImageSet(images=images(3).images, names=images(3).names)
    with pytest.raises(ValueError, match="a picture of attention"):
        plot_weights(weights, unlabelled, ["a", "b"], tmp_path / "a.png", title="")
