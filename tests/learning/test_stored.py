"""Features computed elsewhere: which images they belong to, and that they teach like a network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dmth_fast import FusedTeacher, Hasher
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.stored import StoredFeatures
from dmth_fast.pipeline import load_config, train

VIEWS: dict[str, Any] = {"padding": 1, "flip": False, "batch_size": 64}


def rows(images: ImageSet, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return images.images.float().flatten(1) @ torch.randn(192, width, generator=generator) / 1000


@pytest.fixture
def named(train: ImageSet, test: ImageSet, tmp_path: Path) -> Path:
    path = tmp_path / "clip.safetensors"
    both = torch.cat([rows(test), rows(train)])
    metadata = {"names": json.dumps([*test.names, *train.names]), "seen": '["web"]', "licence": "MIT"}
    save_file({"features": both}, path, metadata)
    return path


def test_rows_are_found_by_name_in_any_order(named: Path, train: ImageSet) -> None:
    teacher = StoredFeatures(f"features:{named}")
    some = train.select(torch.tensor([9, 3, 4]))
    torch.testing.assert_close(teacher.columns(some)["features"], rows(some).half())
    assert (teacher.name, teacher.seen, teacher.licence) == ("clip", ("web",), "MIT")
    assert teacher.card["seen"] == ["web"]
    assert StoredFeatures(f"features:{named}", seen=["imagenet"]).seen == ("imagenet",)


def test_another_image_of_the_same_name_is_refused(named: Path, train: ImageSet) -> None:
    teacher = StoredFeatures(f"features:{named}")
    teacher.columns(train)
    teacher.columns(train.select(torch.tensor([9, 3])))
    darker = ImageSet(images=train.images // 2, names=train.names)
    with pytest.raises(ValueError, match=r"one row for .*, but another image of that name was asked about"):
        teacher.columns(darker)


def test_names_may_lie_beside_an_array(train: ImageSet, tmp_path: Path) -> None:
    np.save(tmp_path / "dino.npy", rows(train).numpy())
    (tmp_path / "dino.txt").write_text("".join(f"{name}\n" for name in train.names))
    teacher = StoredFeatures("features:dino.npy", root=tmp_path)
    some = train.select(torch.tensor([5, 1]))
    torch.testing.assert_close(teacher.columns(some)["features"], rows(some).half())


def test_rows_in_order_belong_to_one_image_set(train: ImageSet, test: ImageSet, tmp_path: Path) -> None:
    for name, images in (("train", train), ("test", test)):
        np.save(tmp_path / f"{name}.npy", rows(images).numpy())
    teacher = StoredFeatures("features:train.npy, test.npy", root=tmp_path)
    for images in (test, train):
        torch.testing.assert_close(teacher.columns(images)["features"], rows(images).half())
    darker = ImageSet(images=train.images // 2, names=train.names)
    with pytest.raises(ValueError, match=r"train\.npy has no names and belongs to another set of 384 images"):
        teacher.columns(darker)
    with pytest.raises(
        ValueError, match="300 rows and no names: write a row an image in order, or the names"
    ):
        teacher.columns(train.select(torch.arange(7)))


def test_other_image_sets_are_refused(named: Path, train: ImageSet) -> None:
    other = ImageSet(images=train.images[torch.arange(2)], names=("a", train.names[0]))
    with pytest.raises(ValueError, match=r"has no row for 1 of the names \(first: 'a'\)"):
        StoredFeatures(f"features:{named}").columns(other)
    with pytest.raises(ValueError, match="more than one file has features of these"):
        StoredFeatures(f"features:{named},{named}").columns(train)


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros((2, 3), np.int64), TypeError, "must be floating point"),
        (np.zeros(3, np.float32), ValueError, r"must have shape \(n, d\), got \(3,\)"),
        (np.full((2, 3), np.nan, np.float32), ValueError, "not finite in fp16"),
        (np.full((2, 3), 1e6, np.float32), ValueError, "not finite in fp16"),
    ],
)
def test_bad_arrays(array: Any, error: type[Exception], message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(error, match=message):
        StoredFeatures(f"features:{tmp_path}/a.npy").columns(
            ImageSet(images=torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
        )


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.npy do not exist"):
        StoredFeatures(f"features:{tmp_path}/none.npy")
    with pytest.raises(ValueError, match=r"must be a \.npy or \.safetensors file"):
        StoredFeatures("features:clip.csv")
    with pytest.raises(ValueError, match="must look like features:FILE"):
        StoredFeatures("features:")
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.float32))
    (tmp_path / "a.txt").write_text("one\none\n")
    with pytest.raises(ValueError, match=r"one unique name a row \(2\), got 2 names, 1 of them different"):
        StoredFeatures(f"features:{tmp_path}/a.npy")
    np.save(tmp_path / "b.npy", np.zeros((2, 4), np.float32))
    (tmp_path / "a.txt").unlink()
    with pytest.raises(ValueError, match=r"must have one width, got \[3, 4\]"):
        StoredFeatures(f"features:{tmp_path}/a.npy,{tmp_path}/b.npy")
    np.save(tmp_path / "c.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"c\.npy is no whole \.npy file of numbers"):
        StoredFeatures(f"features:{tmp_path}/c.npy")


def test_they_teach_beside_a_network(named: Path, single: Hasher, train: ImageSet, test: ImageSet) -> None:
    teacher = FusedTeacher([single, f"features:{named}"], bits=20, views=2, dim=16, epochs=2, **VIEWS)
    teacher.fit(train, progress=False)
    assert not teacher.live
    assert teacher.num_parameters is None
    student = Hasher("tiny-4", bits=20, epochs=1, **VIEWS).fit(train, teacher=teacher, progress=False)
    assert [card["backbone"] for card in student.teachers] == ["tiny-8", "features:clip.safetensors"]
    assert len(teacher.codes(test)) == len(test)
    with pytest.raises(ValueError, match="live=True needs networks as teachers"):
        Hasher("tiny-4", bits=20, live=True, **VIEWS).fit(train, teacher=teacher, progress=False)


def test_a_run_with_stored_features(tmp_path: Path, sets: tuple[ImageSet, ImageSet]) -> None:
    whole, queries = sets
    names = [*whole.names, *queries.names]
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "clip.npy", torch.cat([rows(whole), rows(queries)]).numpy())
    beside = tmp_path / "data" / "clip.txt"
    beside.write_text("\n".join(names))
    (tmp_path / "run.toml").write_text(
        'protocol = "digits"\nbackbone = "tiny-4"\nbits = 16\n[augmentation]\npadding = 1\nflip = false\n'
        '[[teachers]]\nbackbone = "features:clip.npy"\nname = "CLIP"\nseen = ["web"]\n'
        "[fusion]\nviews = 1\ndim = 16\n[fusion.training]\nepochs = 2\n[student.training]\nepochs = 1\n"
        f'[data]\nroot = "{tmp_path}/data"\n'
    )
    config = load_config(tmp_path / "run.toml")
    result = train(config, tmp_path / "run", progress=False)
    assert result["rows"][0]["name"] == "teacher CLIP"
    assert result["rows"][0]["parameters"] is None
    card = json.loads((tmp_path / "run" / "student" / "config.json").read_text())
    assert card["teachers"][0]["seen"] == ["web"]
    beside.write_text("\n".join(["x", *names[1:]]))
    with pytest.raises(ValueError, match="teacher CLIP has no features of these 1198 images"):
        train(config, tmp_path / "other", progress=False)
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match="takes no weights, input_size, epochs or precision"):
        load_config(tmp_path / "run.toml", ['teachers=[{backbone="features:clip.npy", epochs=3}]'])
