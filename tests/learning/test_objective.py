"""The student's objective: every form of a term by its name, live teachers, and what does not go together."""

from typing import Any

import numpy as np
import pytest
import torch

from dmth_fast import FusedTeacher, Hasher
from dmth_fast.learning.augmentation import crop_and_flip, mix, strengthen
from dmth_fast.learning.batches import StudentBatches
from dmth_fast.learning.codequeue import CodeQueue
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.fusion import FUSIONS, keep_teachers
from dmth_fast.learning.objective import StudentObjective

VIEWS: dict[str, Any] = {"padding": 1, "flip": False, "batch_size": 64}


@pytest.mark.parametrize(
    ("settings", "terms"),
    [
        ({"feature_loss": "balanced", "code": 0.0, "relational": 0.0}, {"hash", "feature"}),
        ({"queue": 100}, {"hash", "feature", "code", "relational"}),
        ({"logit": 0.9, "logit_loss": "dist"}, {"hash", "feature", "code", "relational", "logit"}),
        (
            {"logit": 0.9, "logit_loss": "standardized", "feature": 0.0},
            {"hash", "code", "relational", "logit"},
        ),
        (
            {"logit": 0.9, "teacher_weights": "confidence", "code": 0.0},
            {"hash", "feature", "relational", "logit"},
        ),
        (
            {"live": True, "mixup": 0.5, "self_distillation": 1.0},
            {"hash", "feature", "code", "relational", "self_distillation"},
        ),
        (
            {"head": "bihalf", "head_init": "itq", "quantizer": "bihalf", "quantization": 0.1},
            {"hash", "quantization"},
        ),
    ],
    ids=str,
)
def test_forms_of_terms_are_found_by_name_and_learn(
    fused: FusedTeacher, train: ImageSet, test: ImageSet, settings: dict[str, Any], terms: set[str]
) -> None:
    student = Hasher("tiny-8", bits=20, epochs=3, lr=0.05, **settings, **VIEWS)
    more = ImageSet(images=test.images)
    student.fit(train, teacher=fused, unlabelled=more, progress=False)
    first, last = student.history[0], student.history[-1]
    assert terms <= last.keys()
    others = {"hash", "feature", "code", "relational", "logit", "self_distillation", "quantization"} - terms
    if "head" not in settings:
        assert not others & last.keys()
    assert last["loss"] < first["loss"]


def test_the_queue_leaves_out_the_image_itself_and_the_first_step(
    fused: FusedTeacher, train: ImageSet
) -> None:
    student = Hasher("tiny-4", bits=20, queue=6, feature=0.0, code=0.0, **VIEWS)
    objective = StudentObjective(student.network, None, student.config, fused)
    batches = StudentBatches(train, student.network.backbone, student.config, fused)
    seen = []
    for epoch in range(3):
        images, _, targets = batches.batch(torch.arange(4), epoch)
        assert targets["index"].tolist() == [0, 1, 2, 3]
        seen.append(objective(images, torch.zeros(4, dtype=torch.int64), targets)["relational"])
    assert float(seen[0].detach()) == 0.0
    assert float(seen[1].detach()) > 0
    assert objective.queue is not None
    assert objective.queue.entries()[2].tolist() == [2, 3, 0, 1, 2, 3]


def test_a_queue_of_fewer_entries_than_a_batch_keeps_the_last() -> None:
    queue = CodeQueue(3, bits=2, target_bits=2)
    rows = torch.arange(10.0).reshape(5, 2)
    queue.push(rows, rows, torch.arange(5))
    values, targets, index = queue.entries()
    assert sorted(index.tolist()) == [2, 3, 4]
    assert torch.equal(values, rows[index])
    assert torch.equal(targets, rows[index])


def test_live_targets_are_of_the_very_pixels(fused: FusedTeacher, train: ImageSet) -> None:
    student = Hasher("tiny-4", bits=20, live=True, mixup=0.5, **VIEWS)
    batches = StudentBatches(train, student.network.backbone, student.config, fused)
    index = torch.tensor([5, 3, 100])
    torch.manual_seed(3)
    _, labels, targets = batches.batch(index, 7)
    torch.manual_seed(3)
    seen = crop_and_flip(train.images[index], index, seed=0, view=7, padding=1, flip=False)
    mixed, partner, share = mix(seen, alpha=0.5)
    expected = fused.live_targets(mixed)
    for name in ("features", "values", "logits"):
        assert torch.equal(targets[name], expected[name])
    assert train.labels is not None
    assert torch.equal(targets["partner"], train.labels[index][partner])
    assert torch.equal(labels, train.labels[index])
    assert targets["share"].tolist() == pytest.approx([share] * 3)
    outputs = fused.outputs(ImageSet(images=mixed))
    torch.testing.assert_close(expected["values"], outputs.values, atol=0.02, rtol=0.02)


def test_mixed_labels_share_the_loss(train: ImageSet, single: Hasher) -> None:
    student = Hasher("tiny-4", bits=20, mixup=1.0, **VIEWS)
    loss = single.hash_loss
    assert loss is not None
    objective = StudentObjective(student.network, loss, student.config, None).eval()
    batches = StudentBatches(train, student.network.backbone, student.config, None)
    torch.manual_seed(0)
    images, labels, targets = batches.batch(torch.arange(8), 0)
    found = float(objective(images, labels, targets)["hash"].detach())
    h = student.network.eval()(images)[1]
    share = float(targets["share"][0])
    expected = share * loss(h, labels) + (1 - share) * loss(h, targets["partner"])
    assert found == pytest.approx(float(expected.detach()))


def test_strong_views_depend_on_the_image_alone(train: ImageSet) -> None:
    index = torch.arange(30)
    whole = strengthen(train.images[index], index, seed=1, view=2)
    part = strengthen(train.images[index[7:9]], index[7:9], seed=1, view=2)
    assert torch.equal(whole[7:9], part)
    assert not torch.equal(whole, strengthen(train.images[index], index, seed=1, view=3))
    grey = (whole == 128).all(1).flatten(1).sum(1)
    assert int(grey.min()) >= 16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixup": 0.2}, "mixup needs the teachers live"),
        ({"self_distillation": 1.0, "mixup": 0.2}, "mixup and self_distillation needs the teachers live"),
        ({"feature_loss": "l3"}, "feature_loss must be one of mse, cosine, balanced; got 'l3'"),
        ({"logit_loss": "l3"}, "logit_loss must be one of kl, dist, standardized"),
    ],
    ids=str,
)
def test_what_does_not_go_together(
    fused: FusedTeacher, train: ImageSet, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Hasher("tiny-4", **{"bits": 20, **settings, **VIEWS}).fit(train, teacher=fused, progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher_weights": "confidence"}, "it needs logit above 0"),
        ({"teacher_weights": "confidence", "logit": 1.0, "logit_loss": "dist"}, "logit_loss='kl'"),
        ({"queue": 5, "relational": 0.0}, "queue=5 is of the relational term"),
        ({"head_init": "itq", "bits": 40}, "head_init='itq' takes at most 16 bits"),
        ({"head": "tanh"}, "head must be one of bn, bihalf"),
        ({"mixup": -1.0}, "mixup must be at least 0"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Hasher("tiny-4", **settings)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_dropped_teacher_is_not_heard(fusion: str) -> None:
    module = FUSIONS[fusion](3, 8, 4.0)
    z = torch.randn(50, 3, 8)
    kept = keep_teachers(50, 3, 0.5)
    assert bool(kept.any(1).all())
    assert 0.3 < float(kept.float().mean()) < 0.8
    features, weights = module(z, kept)
    assert bool((weights[~kept] == 0).all())
    torch.testing.assert_close(weights.sum(1), torch.ones(50))
    noise = torch.where(kept[..., None], z, torch.randn(50, 3, 8))
    torch.testing.assert_close(module(noise, kept)[0], features)
    torch.testing.assert_close(module(z, torch.ones(50, 3, dtype=torch.bool))[0], module(z)[0])


def test_teachers_are_dropped_in_training_alone(single: Hasher, other: Hasher, train: ImageSet) -> None:
    settings = {**VIEWS, "views": 1, "dim": 16, "epochs": 1}
    teacher = FusedTeacher([single, other], bits=20, teacher_dropout=0.5, **settings).fit(
        train, progress=False
    )
    plain = FusedTeacher([single, other], bits=20, **settings).fit(train, progress=False)
    assert teacher.state_hash != plain.state_hash
    assert np.array_equal(teacher.codes(train), teacher.codes(train))


def test_the_head_starts_from_itq(train: ImageSet) -> None:
    student = Hasher("tiny-8", bits=16, head_init="itq", lr=0.0, epochs=1, **VIEWS)
    student.fit(train, progress=False)
    values = student.values(train)
    # Rotated principal components: bits that differ, not copies of each other.
    correlation = np.corrcoef(values.T) - np.eye(16)
    assert np.abs(correlation).mean() < 0.3
    head = student.network.head.linear.weight.detach()
    assert float(torch.linalg.matrix_rank(head)) == 16
