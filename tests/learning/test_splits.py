"""Protocols of training: who may be a query, who may be a teacher."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dmth_fast.learning.data import ImageSet, split_by_class
from dmth_fast.learning.protocols import DataConfig, ImageSplit, open_split, refuse_seen, seen_by


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 3)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    return tmp_path


def test_folder_holds_out_a_part_of_each_class(images: Path) -> None:
    split = open_split("folder", DataConfig(train="train", query_fraction=0.2), images, seed=1)
    assert (len(split.query), len(split.database), len(split.train)) == (4, 16, 16)
    assert split.query.labels is not None
    assert split.query.labels.bincount().tolist() == [2, 2]
    assert not set(split.query.names) & set(split.database.names)
    again = open_split("folder", DataConfig(train="train", query_fraction=0.2, split_seed=1), images, seed=7)
    other = open_split("folder", DataConfig(train="train", query_fraction=0.2), images, seed=2)
    assert split.hashes() == again.hashes() != other.hashes()


def test_two_folders_may_share_names_but_not_images(images: Path) -> None:
    split = open_split("folder", DataConfig(train="train", query="test"), images, seed=0)
    assert (len(split.query), len(split.train)) == (6, 20)
    copy = (images / "train" / "cat" / "1.png").read_bytes()
    (images / "test" / "cat" / "1.png").write_bytes(copy)
    with pytest.raises(ValueError, match=r"queries must not be in the database, but cat/1\.png"):
        open_split("folder", DataConfig(train="train", query="test"), images, seed=0)


def test_named_protocols_draw_from_the_opened_images(images: Path) -> None:
    split = open_split("unseen:1/2", DataConfig(train="train"), images, seed=0)
    assert split.train.labels is not None
    assert split.query.labels is not None
    assert not set(split.train.labels.tolist()) & set(split.query.labels.tolist())
    assert split.train.classes == split.query.classes == ("cat", "dog")
    assert split.drawn is not None
    assert split.drawn.sizes() == {"query": 1, "database": 9, "train": 10}
    assert torch.equal(split.query.labels.unique(), split.database.labels.unique())  # type: ignore[union-attr]


def test_queries_that_look_like_training_images_are_counted() -> None:
    """Waves, one copied and brightened; images too small to tell are left alone."""
    place = torch.linspace(0, 1, 32)
    phase = torch.rand(40, 3, 1, 1, 12, generator=torch.Generator().manual_seed(0)) * 6.3
    angle = 3.1 * torch.arange(1, 13) * (place[:, None, None] + torch.arange(12) % 4 * place[None, :, None])
    waves = torch.cos(angle + phase).mean(4)
    pixels = (127 + 100 * waves / waves.abs().amax((1, 2, 3), keepdim=True)).to(torch.uint8)
    train = ImageSet(images=pixels)
    query = ImageSet(images=torch.cat([pixels[5:6] // 2 + 60, pixels[:2].flip(3).transpose(2, 3)]))
    found = ImageSplit(query=query, database=train, train=train).near_duplicates()
    assert found == {"radius": 6, "queries": 1, "share": 1 / 3, "pairs": 1}
    small = ImageSet(images=pixels[:, :, :8])
    assert ImageSplit(query=small, database=small, train=small).near_duplicates() is None


def test_other_images_under_a_known_name_are_refused(images: Path) -> None:
    with pytest.raises(
        ValueError, match=r"protocol cifar10-official takes the 50000 training.*20 of 2 classes"
    ):
        open_split("cifar10-official", DataConfig(train="train", query="test"), images, seed=0)
    with pytest.raises(ValueError, match=r"classes and 64 x 64 pixels.*20 of 2 classes, 64 x 64 pixels"):
        open_split("cifar10-5k", DataConfig(train="train", query="test", size=64), images, seed=0)


def test_what_is_missing_is_named(images: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.train must name the training images"):
        open_split("folder", DataConfig(), images, seed=0)
    with pytest.raises(ValueError, match="protocol must be one of"):
        open_split("imagenet", DataConfig(train="train"), images, seed=0)


def test_teachers_that_saw_too_much_are_refused() -> None:
    refuse_seen("cifar10-official", "resnet56", ["cifar10-train"])
    refuse_seen("folder", "anything", [])
    with pytest.raises(ValueError, match="forbids teacher resnet56: it has seen cifar10-train"):
        refuse_seen("cifar10-5k", "resnet56", ["imagenet", "cifar10-train"])
    with pytest.raises(ValueError, match="forbids teacher resnet56: it has seen cifar100-train"):
        refuse_seen("cifar100-40k", "resnet56", ["cifar100-train"])
    with pytest.raises(ValueError, match=r"must know what teacher resnet56 has seen: add seen"):
        refuse_seen("cifar10-5k", "resnet56", [])


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("cifar10-official", ("cifar10-train",)),
        ("cifar10-5k", ("cifar10-train",)),
        ("cifar10-I", ("cifar10-train", "cifar10-test")),
        ("cifar100-40k", ("cifar100-train",)),
    ],
)
def test_what_a_protocol_lets_its_students_see(protocol: str, expected: tuple[str, ...]) -> None:
    images, other = (ImageSet(images=torch.zeros(n, 3, 4, 4, dtype=torch.uint8)) for n in (2, 3))
    splits = [ImageSplit(query=part, database=part, train=part) for part in (images, other)]
    assert seen_by(protocol, splits[0]) == expected
    assert seen_by("folder", splits[0]) != seen_by("folder", splits[1])


def test_who_saw_another_split_of_the_same_images_is_refused(images: Path) -> None:
    data = DataConfig(train="train", query_fraction=0.2)
    own, other = (open_split("folder", data, images, seed=seed) for seed in (1, 2))
    refuse_seen("folder", "student", seen_by("folder", own, unlabelled=True), split=own)
    refuse_seen("folder", "student", ["imagenet"], split=own)
    for protocol in ("folder", "unseen:1/2"):
        split = open_split(protocol, data, images, seed=1)
        with pytest.raises(ValueError, match=f"{protocol} forbids teacher student: .*another split of these"):
            refuse_seen(protocol, "student", seen_by("folder", other), split=split)
    elsewhere = open_split("folder", DataConfig(train="test"), images, seed=0)
    refuse_seen("folder", "student", seen_by("folder", elsewhere), split=own)


def test_validation_images_are_not_among_the_unlabelled() -> None:
    pytest.importorskip("sklearn")
    split = open_split("digits-100", DataConfig(), Path(), seed=0)
    _, held = split_by_class(split.train, fraction=0.2, seed=0)
    whole, rest = split.unlabelled(), split.unlabelled(held)
    assert set(whole.names) - set(rest.names) == set(held.names)
    assert len(rest) == len(whole) - 20
