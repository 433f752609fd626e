"""What validation images measure, and which are refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

import dmth_fast
from dmth_fast import Hasher
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.selection import kept_epoch

SETTINGS: dict[str, Any] = {"padding": 1, "flip": False, "batch_size": 64, "epochs": 2}


def first_of_each(images: ImageSet, count: int) -> torch.Tensor:
    labels = images.required_labels("test")
    return torch.cat([torch.nonzero(labels == label).flatten()[:count] for label in range(10)])


def test_each_image_is_sought_among_all_others(train: ImageSet, test: ImageSet) -> None:
    held = test.select(first_of_each(test, 2))
    hasher = Hasher("tiny-4", 16, **SETTINGS).fit(train, validation=held, progress=False)
    codes, labels = hasher.encode(held), held.required_labels("test").numpy()
    total = []
    for i in range(len(held)):
        others = np.arange(len(held)) != i
        report = dmth_fast.evaluate(codes[i : i + 1], labels[i : i + 1], codes[others], labels[others])
        total.append(float(report.map))
    assert hasher.history[-1]["validation_map"] == pytest.approx(np.mean(total))


def test_images_without_a_partner_do_not_count(train: ImageSet, test: ImageSet) -> None:
    pair = torch.nonzero(test.required_labels("test") == 4).flatten()[:2]
    alone = first_of_each(test, 1)
    held = test.select(torch.cat([alone[alone != pair[0]], pair]))
    hasher = Hasher("tiny-4", 16, **SETTINGS).fit(train, validation=held, progress=False)
    assert hasher.history[-1]["validation_map"] >= 1 / 10


def test_what_cannot_be_measured_is_refused(train: ImageSet, test: ImageSet) -> None:
    hasher = Hasher("tiny-4", 16, keep="best", **SETTINGS)
    with pytest.raises(ValueError, match="class with at least two images, got 10 images of as many classes"):
        hasher.fit(train, validation=test.select(first_of_each(test, 1)), progress=False)
    others = dataclasses.replace(test, classes=tuple("abcdefghij"))
    with pytest.raises(ValueError, match=r"must have the classes of the training images, \('0', '1'"):
        hasher.fit(train, validation=others, progress=False)
    with pytest.raises(ValueError, match="validation needs labels"):
        hasher.fit(train, validation=ImageSet(images=test.images), progress=False)


def test_the_kept_epoch_is_the_first_of_the_best() -> None:
    history = [{"epoch": k, "validation_map": value} for k, value in enumerate((0.4, 0.6, 0.6, 0.5))]
    assert kept_epoch(history, "best")["epoch"] == 1
    assert kept_epoch(history, "last")["epoch"] == 3
