"""Learning without labels: a teacher by ITQ, a student that follows it alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dmth_fast
from dmth_fast import FusedTeacher, Hasher
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.unlabelled import UnlabelledNetwork

VIEWS: dict[str, Any] = {"padding": 1, "flip": False, "batch_size": 64}


@pytest.fixture(scope="module")
def nameless(train: ImageSet) -> ImageSet:
    return ImageSet(images=train.images)


@pytest.fixture(scope="module")
def teacher(single: Hasher, other: Hasher, nameless: ImageSet) -> FusedTeacher:
    fused = FusedTeacher([single, other], bits=16, labels=False, views=2, dim=24, **VIEWS)
    return fused.fit(nameless, progress=False)


def mean_precision(model: Any, test: ImageSet, train: ImageSet) -> float:
    encode = model.codes if isinstance(model, FusedTeacher) else model.encode
    labels = [part.required_labels("test").numpy() for part in (test, train)]
    return float(dmth_fast.evaluate(encode(test), labels[0], encode(train), labels[1]).map)


def test_fused_features_are_principal_components(teacher: FusedTeacher, nameless: ImageSet) -> None:
    outputs = teacher.outputs(nameless)
    covariance = torch.cov(outputs.features.T)
    off = covariance - torch.diag(covariance.diagonal())
    assert float(off.abs().max()) < 1e-2 * float(covariance.max())
    assert covariance.diagonal().tolist() == sorted(covariance.diagonal().tolist(), reverse=True)
    assert float(outputs.values.std(0).square().mean()) == pytest.approx(1, abs=0.01)
    assert outputs.logits.shape == (len(nameless), 0)


def test_its_codes_find_more_than_chance(teacher: FusedTeacher, test: ImageSet, train: ImageSet) -> None:
    assert mean_precision(teacher, test, train) > 0.3


def test_a_student_follows_without_labels(
    teacher: FusedTeacher, nameless: ImageSet, test: ImageSet, train: ImageSet, tmp_path: Path
) -> None:
    student = Hasher("tiny-6", bits=16, hash_loss="none", epochs=8, **VIEWS)
    student.fit(nameless, teacher=teacher, validation=test, progress=False)
    assert "hash" not in student.history[-1]
    assert "validation_accuracy" not in student.history[-1]
    assert mean_precision(student, test, train) > 0.3
    student.save(tmp_path)
    assert np.array_equal(Hasher.load(tmp_path).encode(test), student.encode(test))
    with pytest.raises(ValueError, match="trained without labels and names no classes"):
        student.predict(test)


@pytest.mark.parametrize("head", ["bn", "bihalf"])
def test_heads_that_start_from_itq(
    teacher: FusedTeacher, nameless: ImageSet, test: ImageSet, train: ImageSet, head: str
) -> None:
    settings = {**VIEWS, "hash_loss": "none", "head": head, "head_init": "itq", "epochs": 6}
    student = Hasher("tiny-6", bits=16, **settings).fit(nameless, teacher=teacher, progress=False)
    assert mean_precision(student, test, train) > 0.3
    # Bits are balanced: each set in about half of the images.
    assert float(abs((student.values(test) > 0).mean(0) - 0.5).max()) < 0.35


def test_labels_are_never_read(teacher: FusedTeacher, nameless: ImageSet, train: ImageSet) -> None:
    settings = {**VIEWS, "epochs": 1, "hash_loss": "none"}
    first, second = (
        Hasher("tiny-4", bits=16, **settings).fit(images, teacher=teacher, progress=False)
        for images in (nameless, train)
    )
    assert np.array_equal(first.values(train), second.values(train))


def test_what_needs_labels_says_so(teacher: FusedTeacher, nameless: ImageSet, train: ImageSet) -> None:
    with pytest.raises(ValueError, match="names no classes"):
        teacher.predict(nameless)
    with pytest.raises(ValueError, match="hash loss 'ortho' needs labels"):
        Hasher("tiny-4", bits=16, epochs=1, **VIEWS).fit(nameless, teacher=teacher, progress=False)
    with pytest.raises(ValueError, match="hash loss 'none' needs a teacher"):
        Hasher("tiny-4", bits=16, hash_loss="none", **VIEWS).fit(nameless, progress=False)
    with pytest.raises(ValueError, match="logit term needs a teacher and a student with classes"):
        Hasher("tiny-4", bits=16, logit=1.0, **VIEWS).fit(train, teacher=teacher, progress=False)


def test_more_bits_than_features() -> None:
    with pytest.raises(ValueError, match="bits must be at most 12, the length of the fused features"):
        UnlabelledNetwork((5, 7), dim=64, bits=13, standardization="dimension")
