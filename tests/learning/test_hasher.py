"""The student: what it encodes, saves and refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dmth_fast
from dmth_fast import FusedTeacher, Hasher
from dmth_fast.learning.data import ImageSet, from_array
from dmth_fast.learning.frozen import Teacher

VIEWS: dict[str, Any] = {"padding": 1, "flip": False, "batch_size": 64}


def test_codes_are_the_packed_signs_of_the_values(single: Hasher, test: ImageSet) -> None:
    codes = single.encode(test)
    assert codes.dtype == np.uint8
    assert codes.shape == (300, 3)
    assert np.array_equal(dmth_fast.unpack(codes, 20), (single.values(test) > 0).astype(np.uint8))


def test_it_learns(single: Hasher, test: ImageSet, train: ImageSet) -> None:
    assert test.labels is not None
    assert train.labels is not None
    assert float((single.predict(test) == test.labels.numpy()).mean()) > 0.5
    report = dmth_fast.evaluate(
        single.encode(test), test.labels.numpy(), single.encode(train), train.labels.numpy()
    )
    assert report.map > 0.4


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_codes_do_not_depend_on_the_batch(single: Hasher, test: ImageSet, batch_size: int) -> None:
    np.testing.assert_allclose(single.values(test, batch_size), single.values(test, 300), atol=1e-5)
    assert np.array_equal(single.encode(test, batch_size), single.encode(test, 300))


def test_every_form_of_the_same_images_has_the_same_codes(
    single: Hasher, test: ImageSet, tmp_path: Path
) -> None:
    pixels = test.images[torch.arange(4)].permute(0, 2, 3, 1).numpy()
    expected = single.encode(test)[:4]
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        assert np.array_equal(single.encode(Image.fromarray(image)), expected[i : i + 1])
        assert np.array_equal(single.encode(image), expected[i : i + 1])
    assert np.array_equal(single.encode(tmp_path / "2.png"), expected[2:3])
    assert np.array_equal(single.encode(tmp_path), expected)
    assert np.array_equal(single.encode(pixels), expected)
    codes = single.encode(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
    assert isinstance(codes, torch.Tensor)
    assert np.array_equal(codes.numpy(), expected)


def test_a_damaged_image_is_never_left_out_silently(single: Hasher, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"b\.png cannot be decoded"):
        single.encode(tmp_path)


def test_images_of_another_size_are_resized_alike(single: Hasher, tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 24, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    assert np.array_equal(single.encode(tmp_path / "photo.png"), single.encode(photo))


def test_saving_and_loading_keeps_everything(single: Hasher, test: ImageSet, tmp_path: Path) -> None:
    single.save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    loaded = Hasher.load(tmp_path / "model")
    assert np.array_equal(loaded.values(test), single.values(test))
    assert np.array_equal(loaded.predict(test), single.predict(test))
    assert (loaded.classes, loaded.config, loaded.history) == (single.classes, single.config, single.history)
    assert loaded.num_parameters == single.num_parameters


def test_the_card_says_how_the_student_came_about(
    train: ImageSet, test: ImageSet, fused: FusedTeacher, tmp_path: Path
) -> None:
    student = Hasher("tiny-4", bits=20, epochs=1, **VIEWS)
    student.fit(train, teacher=fused, validation=test, seen=["digits-train"], progress=False)
    student.metrics["map"] = 0.5
    student.save(tmp_path)
    card = json.loads((tmp_path / "config.json").read_text())
    assert card["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert card["input_size"] == [8, 8]
    assert [teacher["name"] for teacher in card["teachers"]] == ["tiny-8", "tiny-6"]
    for teacher in card["teachers"]:
        assert {"seen", "licence", "classes", "labels", "input_size", "normalization"} <= teacher.keys()
        assert teacher["classes"] == list("0123456789")
        assert teacher["labels"]
    assert card["metrics"].keys() == {"map", "validation_map", "validation_accuracy"}
    assert card["seen"] == ["digits-train"]
    loaded = Hasher.load(tmp_path)
    assert (loaded.seen, loaded.metrics) == (("digits-train",), student.metrics)
    # What a student has seen goes with it when it teaches, and through it to its own students.
    teacher = Teacher(loaded)
    assert teacher.seen == ("digits-train",)
    assert Teacher(loaded, seen=["more"]).seen == ("more",)
    second = FusedTeacher([teacher], bits=20, views=1, dim=8, epochs=1, **VIEWS).fit(train, progress=False)
    pupil = Hasher("tiny-4", bits=20, epochs=1, **VIEWS)
    pupil.fit(train, teacher=second, seen=["digits-train", "own"], progress=False)
    assert pupil.seen == ("digits-train", "own")
    # A second training forgets nothing.
    assert pupil.fit(train, seen=["later"], progress=False).seen == ("digits-train", "own", "later")


def test_loading_what_is_no_model(single: Hasher, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no config"):
        Hasher.load(tmp_path / "nothing")
    torch.save(single.network.state_dict(), tmp_path / "old.pth")
    with pytest.raises(ValueError, match=r"old\.pth is a pickle.* Convert it"):
        Hasher.load(tmp_path / "old.pth")
    with pytest.raises(FileNotFoundError, match="holds no config"):
        Hasher.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        Hasher.load(tmp_path)
    single.save(tmp_path)
    card = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**card, "backbone": "tiny-4"}))
    with pytest.raises(ValueError, match="is not of the architecture tiny-4"):
        Hasher.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**card, "format": "other"}))
    with pytest.raises(ValueError, match="must have the format dmth-fast-hasher-1, got 'other'"):
        Hasher.load(tmp_path)
    del card["bits"]
    (tmp_path / "config.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"config\.json must have the key 'bits', it has format, version"):
        Hasher.load(tmp_path)


def test_untrained(test: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not trained yet"):
        Hasher("tiny-4").predict(test)
    with pytest.raises(ValueError, match="not trained yet"):
        Hasher("tiny-4").save(tmp_path)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"epochs": 1.5}, TypeError, r"epochs must be int, got float 1\.5"),
        ({"epoch": 1}, TypeError, "unknown setting 'epoch'; known are"),
        ({"bits": "64"}, TypeError, "bits must be int, got str '64'"),
        ({"bits": 0}, ValueError, r"bits must lie in 1\.\.4096, got 0"),
        ({"optimizer": "lion"}, ValueError, "optimizer must be one of sgd, adamw; got 'lion'"),
        ({"margin": -1.0}, ValueError, "margin must lie in 0..2"),
    ],
)
def test_bad_settings(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Hasher("tiny-4", **settings)


def test_bad_training_sets(train: ImageSet, fused: FusedTeacher) -> None:
    hasher = Hasher("tiny-4", bits=20, epochs=1, **VIEWS)
    pixels = train.images[torch.arange(70)]
    with pytest.raises(ValueError, match="hash loss 'ortho' needs labels, but the images have none"):
        hasher.fit(from_array(pixels), progress=False)
    with pytest.raises(ValueError, match="at least two classes, got 1"):
        hasher.fit(from_array(pixels, labels=[0] * 70), progress=False)
    with pytest.raises(ValueError, match="teacher knows the classes"):
        hasher.fit(from_array(pixels, labels=[0, 1] * 35), teacher=fused, progress=False)
    with pytest.raises(ValueError, match="at least one batch of 64"):
        hasher.fit(train.select(torch.arange(20)), progress=False)


def test_recipe_and_teacher_must_agree(train: ImageSet, fused: FusedTeacher) -> None:
    hasher = Hasher("tiny-4", bits=20, epochs=1, **VIEWS)
    with pytest.raises(ValueError, match="recipe 'dmth' needs a teacher"):
        hasher.fit(train, recipe="dmth", progress=False)
    with pytest.raises(ValueError, match="recipe 'plain' takes no teacher"):
        hasher.fit(train, recipe="plain", teacher=fused, progress=False)
    with pytest.raises(ValueError, match="must see the teacher's views"):
        Hasher("tiny-4", bits=20, epochs=1, padding=2, flip=False).fit(train, teacher=fused, progress=False)
    with pytest.raises(ValueError, match="code term needs equal bits, the teacher has 20, the student 16"):
        Hasher("tiny-4", bits=16, epochs=1, **VIEWS).fit(train, teacher=fused, progress=False)


def test_validation_is_measured_each_epoch(train: ImageSet, test: ImageSet) -> None:
    hasher = Hasher("tiny-4", bits=16, epochs=2, **VIEWS).fit(train, validation=test, progress=False)
    for line in hasher.history:
        assert 0 < line["validation_accuracy"] < 1
        assert 0 < line["validation_map"] < 1
    assert test.labels is not None
    accuracy = float((hasher.predict(test) == test.labels.numpy()).mean())
    assert hasher.history[-1]["validation_accuracy"] == pytest.approx(accuracy)
