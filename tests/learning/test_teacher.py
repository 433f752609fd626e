"""The fused teacher: what it caches, and that the student follows it on the very same views."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dmth_fast import FusedTeacher, Hasher
from dmth_fast.learning.augmentation import crop_and_flip
from dmth_fast.learning.batches import StudentBatches
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.frozen import Teacher
from dmth_fast.learning.fusion import FUSIONS
from dmth_fast.learning.losses import build_centers

VIEWS: dict[str, Any] = {"padding": 1, "flip": False, "batch_size": 64}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_learns(single: Hasher, other: Hasher, train: ImageSet, fusion: str) -> None:
    teacher = FusedTeacher([single, other], fusion, bits=12, views=1, dim=32, epochs=12, **VIEWS)
    teacher.fit(train, progress=False)
    assert teacher.accuracy(train) > 0.6
    outputs = teacher.outputs(train)
    assert outputs.values.shape == (len(train), 12)
    assert outputs.features.shape == (len(train), teacher.feature_dim)
    torch.testing.assert_close(outputs.weights.sum(1), torch.ones(len(train)))
    assert teacher.codes(train).shape == (len(train), 2)


def test_own_heads_are_the_teachers_own(
    fused: FusedTeacher, single: Hasher, other: Hasher, test: ImageSet
) -> None:
    logits = fused.teacher_logits(test)
    for found, hasher in zip(logits, (single, other), strict=True):
        np.testing.assert_allclose(found.numpy(), hasher.logits(test), atol=0.02)
    average = (torch.softmax(logits[0], 1) + torch.softmax(logits[1], 1)) / 2
    torch.testing.assert_close(fused.average_probabilities(test), average)


def test_targets_are_those_of_the_view_the_student_sees(
    fused: FusedTeacher, single: Hasher, train: ImageSet
) -> None:
    student = Hasher("tiny-4", bits=20, seed=5, **VIEWS)
    source = StudentBatches(train, student.network.backbone, student.config, fused)
    index = torch.tensor([5, 3, 100])
    for epoch, view in ((0, 0), (1, 1), (2, 0)):
        pixels, labels, targets = source.batch(index, epoch)
        seen = crop_and_flip(train.images[index], index, seed=0, view=view, padding=1, flip=False)
        features = [torch.from_numpy(part.features(seen.numpy())) for part in (single, single)]
        del features[1]
        cached = fused._columns(0, train, view)["features"][index]
        torch.testing.assert_close(cached.float(), features[0], atol=0.01, rtol=0.01)
        with torch.inference_mode():
            expected = fused.network([fused._columns(k, train, view)["features"][index] for k in range(2)])
        torch.testing.assert_close(targets["values"], expected[1], atol=0.01, rtol=0.01)
        torch.testing.assert_close(targets["features"], expected[0], atol=0.01, rtol=0.01)
        torch.testing.assert_close(targets["logits"], expected[2], atol=0.01, rtol=0.01)
        assert train.labels is not None
        assert torch.equal(labels, train.labels[index])
        assert pixels.shape == (3, 3, 8, 8)


def test_the_student_comes_closer_to_its_teacher_than_without(
    fused: FusedTeacher, train: ImageSet, test: ImageSet
) -> None:
    settings = {**VIEWS, "epochs": 6}
    plain = Hasher("tiny-4", bits=20, **settings).fit(train, progress=False)
    student = Hasher("tiny-4", bits=20, **settings).fit(train, teacher=fused, progress=False)
    assert student.recipe == "dmth"
    assert {"hash", "feature", "code", "relational"} <= student.history[-1].keys()
    assert [card["name"] for card in student.teachers] == ["tiny-8", "tiny-6"]
    wanted = fused.outputs(test).values.numpy() > 0
    agreement = [float(((model.values(test) > 0) == wanted).mean()) for model in (student, plain)]
    assert agreement[0] > agreement[1]


def test_a_cache_on_disk_is_shared_and_survives(
    single: Hasher, train: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**VIEWS, "views": 2, "dim": 16, "epochs": 1, "cache": tmp_path}
    first = FusedTeacher([single], bits=20, **settings).fit(train, progress=False)
    assert len(list(tmp_path.glob("features-*.safetensors"))) == 2
    monkeypatch.setattr(Teacher, "outputs", None)
    again = FusedTeacher([single], bits=20, **settings).fit(train, progress=False)
    assert again.state_hash == first.state_hash


def test_a_teacher_for_other_classes_gets_a_probe(other: Hasher, train: ImageSet, test: ImageSet) -> None:
    assert train.labels is not None
    halves = ImageSet(images=train.images, labels=train.labels // 5, classes=("low", "high"))
    teacher = FusedTeacher([other], bits=20, views=1, dim=16, epochs=10, **VIEWS).fit(halves, progress=False)
    assert set(teacher.network.probes) == {"0"}
    logits = teacher.teacher_logits(test)[0]
    assert logits.shape == (300, 2)
    assert test.labels is not None
    assert float((logits.argmax(1) == test.labels // 5).float().mean()) > 0.6


def test_as_many_other_classes_are_not_the_teachers_own(single: Hasher, train: ImageSet) -> None:
    others = dataclasses.replace(train, classes=tuple("abcdefghij"))
    order = dataclasses.replace(train, classes=tuple("1023456789"))
    for images, probed in ((train, False), (others, True), (order, True)):
        teacher = FusedTeacher([single], bits=20, views=1, dim=8, epochs=1, **VIEWS)
        teacher.fit(images, progress=False)
        assert ("0" in teacher.network.probes) is probed
        assert ("logits" in teacher._columns(0, images, None)) is not probed
        pixels = images.images[torch.arange(4)]
        live = teacher.live_targets(pixels, every_teacher=True)["teacher_logits"]
        assert torch.allclose(live, torch.from_numpy(single.logits(pixels.numpy())), atol=1e-4) is not probed


def test_a_teacher_stays_what_it_was_when_its_hasher_changes(train: ImageSet) -> None:
    hasher = Hasher("tiny-4", bits=16).recalibrate(train)
    teacher = Teacher(hasher)
    identity, before = teacher.identity, teacher.columns(train)["features"]
    hasher.recalibrate(ImageSet(images=train.images // 4))
    assert torch.equal(teacher.columns(train)["features"], before)
    assert teacher.identity == identity
    assert Teacher(hasher).identity != identity


def test_class_codes_are_shared_by_losses_that_ask_for_the_same_kind(single: Hasher, train: ImageSet) -> None:
    settings: dict[str, Any] = {"epochs": 1, **VIEWS}
    teachers = {
        name: FusedTeacher([single], bits=20, views=1, dim=8, hash_loss=name, seed=3, **settings)
        for name in ("ortho", "dch")
    }
    for (name, teacher), own, shared in zip(
        [(n, t) for n, t in teachers.items() for _ in range(3)],
        ("greedy", "csq", "dch", "ortho", "csq", "hashnet"),
        (True, False, False, False, False, True),
        strict=True,
    ):
        if not teacher.classes:
            teacher.fit(train, progress=False)
        student = Hasher("tiny-4", 20, hash_loss=own, **settings)
        loss = student._build_loss(train, teacher)
        assert loss is not None
        assert torch.equal(loss.centers, teacher.centers) is shared, (name, own)
        drawn = build_centers(student.config.loss, 10, 20, seed=0)
        assert shared or torch.equal(loss.centers, drawn)


def test_training_a_teacher_twice_gives_equal_bits(
    single: Hasher, fused: FusedTeacher, other: Hasher, train: ImageSet
) -> None:
    again = FusedTeacher([single, other], bits=20, views=2, dim=32, epochs=6, **VIEWS)
    assert again.fit(train, progress=False).state_hash == fused.state_hash


def test_bad_teachers(single: Hasher, train: ImageSet) -> None:
    with pytest.raises(ValueError, match="at least one teacher"):
        FusedTeacher([])
    with pytest.raises(TypeError, match=r"teachers must be a list, got Hasher: pass \[teacher\]"):
        FusedTeacher(single)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="teachers must be a list, got str"):
        FusedTeacher("features:clip.npy")
    with pytest.raises(TypeError, match="must be a name or a trained Hasher, got int"):
        FusedTeacher([3])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="bits must be int, got str '64'"):
        FusedTeacher([single], bits="64")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="train must be an ImageSet or a path, got tuple"):
        FusedTeacher([single]).fit((train.images, train.labels))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fusion must be one of"):
        FusedTeacher([single], "sum")
    with pytest.raises(ValueError, match="not trained yet"):
        FusedTeacher([single]).codes(train)
    with pytest.raises(ValueError, match="needs weights"):
        Teacher("resnet20")
    with pytest.raises(ValueError, match="a fused teacher with labels=True needs labels"):
        FusedTeacher([single]).fit(ImageSet(images=train.images), progress=False)


def test_unlabelled_images_join_each_batch_with_their_targets(
    fused: FusedTeacher, train: ImageSet, test: ImageSet
) -> None:
    more = ImageSet(images=test.images)
    student = Hasher("tiny-4", bits=20, unlabelled_batch=5, epochs=1, **VIEWS)
    source = StudentBatches(train, student.network.backbone, student.config, fused, more)
    index = torch.arange(3)
    images, labels, targets = source.batch(index, 1)
    assert (len(images), len(labels), len(targets["values"])) == (8, 3, 8)
    alone = StudentBatches(train, student.network.backbone, student.config, fused)
    assert torch.equal(alone.batch(index, 1)[0], images[:3])
    outputs = fused.outputs(more, 1).values
    found = [int((outputs - row).abs().sum(1).argmin()) for row in targets["values"][3:]]
    assert len(set(found)) == 5
    torch.testing.assert_close(targets["values"][3:], outputs[found], atol=0.01, rtol=0.01)
    seen = {tuple(source.batch(index, 2)[2]["values"][3].tolist()) for _ in range(60)}
    assert len(seen) == 60
    again = StudentBatches(train, student.network.backbone, student.config, fused, more)
    assert torch.equal(again.batch(index, 1)[0], images)
    student.fit(train, teacher=fused, unlabelled=more, progress=False)
    with pytest.raises(ValueError, match="unlabelled images need a teacher"):
        Hasher("tiny-4", bits=20, **VIEWS).fit(train, unlabelled=more, progress=False)
