"""What is measured on validation images after each epoch."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import dmth_fast
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.selection import Metrics

if TYPE_CHECKING:
    from dmth_fast.learning.hasher import Hasher

__all__ = ["validator"]


def validator(hasher: "Hasher", images: ImageSet) -> Callable[[], Metrics]:
    """Return what measures ``hasher`` as it stands on labelled images.

    ``validation_map`` is the mAP of each image against all others, over the images whose class has another;
    ``validation_accuracy`` stands beside it where the student names classes.

    Raises:
        ValueError: no labels, other classes than those in training, or no class with two images.
    """
    labels = images.required_labels("validation")
    if hasher.hash_loss is not None and tuple(images.classes) != tuple(hasher.classes):
        raise ValueError(
            f"validation images must have the classes of the training images, {hasher.classes}, "
            f"got {images.classes}"
        )
    if int(labels.bincount().max()) < 2:
        raise ValueError(
            f"validation needs a class with at least two images, got {len(images)} images of as many classes"
        )
    numbers = labels.numpy()

    def measure() -> Metrics:
        codes = hasher.encode(images)
        report = dmth_fast.evaluate(codes, numbers, codes, numbers, exclude="self", empty="skip")
        measured = {"validation_map": float(report.map)}
        if hasher.names_classes:
            measured["validation_accuracy"] = float((hasher.predict(images) == numbers).mean())
        return measured

    return measure
