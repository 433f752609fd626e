"""Pictures of attention over teachers: which teacher speaks for which class, and for which images most."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmth_fast.learning.data import ImageSet
from dmth_fast.retrieval.figures import new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_weights"]

_CLASSES = 20
"""Classes that are shown; of more, those whose weights are the least equal."""

_EXAMPLES = 8

_PITCH = 1.95
"""From one teacher's images to the next one's, in sides of an image: room for the words between them."""


def plot_weights(
    weights: NDArray[np.float32],
    images: ImageSet,
    teachers: Sequence[str],
    path: str | os.PathLike[str],
    *,
    title: str,
    subtitle: str = "",
) -> None:
    """Draw the mean weight of each teacher for each class, and the images for which each weighs most.

    Args:
        weights: (n, teachers), rows that sum to 1.
        images: the n labelled images that they belong to.
        teachers: their names.
        path: where the picture goes; the suffix chooses the format.
        title: what was fused.
        subtitle: the protocol.

    Raises:
        ValueError: other numbers of images or teachers than of weights, or images without labels.
    """
    labels = images.required_labels("a picture of attention").numpy()
    if weights.shape != (len(images), len(teachers)):
        raise ValueError(
            f"weights must have shape {(len(images), len(teachers))}, a row an image and a column a "
            f"teacher, got {weights.shape}"
        )
    present = [c for c in range(len(images.classes)) if (labels == c).any()]
    means = np.stack([weights[labels == c].mean(0) for c in present])
    shown = np.sort(np.argsort(-means.std(1), kind="stable")[:_CLASSES])
    figure = new_figure(11.5, max(3.6, 1.3 + 0.3 * len(shown), 1.2 + 1.25 * len(teachers)))
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.6))
    _draw_means(left, means[shown], [images.classes[present[c]] for c in shown], teachers)
    _draw_examples(right, weights, images, teachers)
    note = f"{len(shown)} of {len(present)} classes: the least equal; " if len(shown) < len(present) else ""
    figure.suptitle(f"{title}\n{subtitle}", fontsize=11, x=0.01, ha="left")
    left.set_title(f"{note}mean weight", fontsize=10, loc="left")
    right.set_title("the images with the largest weight of each teacher", fontsize=10, loc="left")
    figure.set_layout_engine("constrained")
    save(figure, path)


def _draw_means(
    axes: "Axes", means: NDArray[np.float32], classes: Sequence[str], teachers: Sequence[str]
) -> None:
    reach = max(float(np.abs(means - 1 / len(teachers)).max()), 1e-3)
    equal = 1 / len(teachers)
    axes.imshow(means, cmap="cividis", vmin=equal - reach, vmax=equal + reach, aspect="auto")
    axes.set_xticks(range(len(teachers)), teachers, rotation=20, ha="right", fontsize=9)
    axes.set_yticks(range(len(classes)), classes, fontsize=9)
    for row, column in np.ndindex(*means.shape):
        dark = means[row, column] < equal
        axes.text(
            column,
            row,
            f"{means[row, column]:.2f}",
            ha="center",
            va="center",
            fontsize=8.5,
            color="white" if dark else "black",
        )


def _draw_examples(
    axes: "Axes", weights: NDArray[np.float32], images: ImageSet, teachers: Sequence[str]
) -> None:
    labels = images.required_labels("a picture of attention").numpy()
    axes.set(xlim=(-0.1, _EXAMPLES * 1.1), ylim=(len(teachers) * _PITCH, -0.3))
    axes.axis("off")
    for k, teacher in enumerate(teachers):
        y = _PITCH * k
        axes.text(0, y - 0.08, teacher, fontsize=9.5, weight="bold", va="bottom")
        for column, i in enumerate(np.argsort(-weights[:, k], kind="stable")[:_EXAMPLES]):
            pixels = np.moveaxis(np.asarray(images.images[int(i) : int(i) + 1])[0], 0, -1)
            x = 1.1 * column
            axes.imshow(pixels, extent=(x, x + 1, y + 1, y), interpolation="nearest", aspect="auto")
            words = f"{images.classes[labels[i]].replace('_', ' ')}\n{weights[i, k]:.2f}"
            axes.text(x + 0.5, y + 1.03, words, fontsize=7.5, ha="center", va="top", linespacing=1.1)
    axes.set_aspect("equal", anchor="NW")
