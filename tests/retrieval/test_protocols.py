"""Splits are what their names say, come back from disk unchanged, and refuse to measure what was learned."""

import dataclasses
import json

import numpy as np
import pytest

from dmth_fast.retrieval.duplicates import near_duplicates, perceptual_codes
from dmth_fast.retrieval.protocols import Split, make_split

RNG = np.random.default_rng(0)
CIFAR10 = {
    "train": RNG.permutation(np.repeat(np.arange(10), 700)),
    "test": RNG.permutation(np.repeat(np.arange(10), 120)),
}
CIFAR100 = {"all": RNG.permutation(np.repeat(np.arange(100), 60))}
SPLITS = {
    "cifar10-official": (CIFAR10, 1200, 7000, 7000),
    "cifar10-5k": (CIFAR10, 1200, 7000, 5000),
    "cifar10-I": (CIFAR10, 1000, 7200, 5000),
    "cifar10-I-disjoint": (CIFAR10, 1000, 2200, 5000),
    "cifar100-20k": (CIFAR100, 4000, 2000, 2000),
    "unseen:75/100": (CIFAR100, 150, 1350, 4500),
    "unseen-mixed:75/100": (CIFAR100, 150, 5850, 4500),
    "folder:0.25": (CIFAR100, 1500, 4500, 4500),
}


@pytest.mark.parametrize("name", SPLITS)
def test_sizes_and_disjointness(name, tmp_path):
    labels, query, database, train = SPLITS[name]
    split = make_split(name, labels, seed=3)
    assert split.sizes() == {"query": query, "database": database, "train": train}
    split.verify(labels=labels, teacher=split.train)
    assert make_split(name, labels, seed=3).hash == split.hash
    other = make_split(name, labels, seed=4)
    drawn = [rows for part in (split, other) for role in (part.query, part.train) for rows in role.values()]
    half = len(drawn) // 2
    same = all(np.array_equal(a, b) for a, b in zip(drawn[:half], drawn[half:], strict=True))
    assert same == (name == "cifar10-official")  # where nothing is drawn
    split.save(tmp_path / "split.json")
    again = Split.load(tmp_path / "split.json")
    assert again.hash == split.hash
    for role in ("query", "database", "train"):
        for source, rows in getattr(split, role).items():
            np.testing.assert_array_equal(getattr(again, role)[source], rows)


def test_draws_are_balanced_and_unseen_classes_unseen():
    few = make_split("cifar10-5k", CIFAR10)
    np.testing.assert_array_equal(np.bincount(CIFAR10["train"][few.train["train"]]), [500] * 10)
    unseen = make_split("unseen:75/100", CIFAR100)
    seen, asked = (set(CIFAR100["all"][rows["all"]]) for rows in (unseen.train, unseen.query))
    assert (len(seen), len(asked)) == (75, 25)
    assert not seen & asked
    mixed = make_split("unseen-mixed:75/100", CIFAR100)
    np.testing.assert_array_equal(mixed.query["all"], unseen.query["all"])


def test_another_name_is_the_same_split():
    split = make_split("cifar100-40k", CIFAR100)
    assert split.protocol == "cifar100-20k"
    assert split.hash == make_split("cifar100-20k", CIFAR100).hash


def test_a_changed_file_is_refused(tmp_path):
    path = tmp_path / "split.json"
    make_split("folder:0.5", CIFAR100).save(path)
    content = json.loads(path.read_text())
    content["seed"] = 7
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="was changed: its content has hash"):
        Split.load(path)
    path.write_text('{"hash": 1}')
    with pytest.raises(ValueError, match="must be a split file"):
        Split.load(path)
    path.write_text("not json")
    with pytest.raises(ValueError, match="must be a split file"):
        Split.load(path)
    with pytest.raises(FileNotFoundError):
        Split.load(tmp_path / "none.json")


def test_teachers_that_saw_more_labels_are_refused():
    split = make_split("cifar10-I", CIFAR10)
    with pytest.raises(ValueError, match=r"may have seen only labels of train.*are queries"):
        split.verify(teacher={"train": np.arange(7000)})
    few = make_split("cifar10-5k", CIFAR10)
    with pytest.raises(ValueError, match=r"2000 of its 7000 labelled items are not in it \(0 are queries\)"):
        few.verify(teacher={"train": np.arange(7000)})
    make_split("cifar10-official", CIFAR10).verify(teacher={"train": np.arange(7000)})


def test_overlaps_other_labels_and_bad_rows_are_refused():
    split = make_split("folder:0.5", CIFAR100)
    for role in ("train", "database"):
        with pytest.raises(ValueError, match=f"queries must not be in the {role}"):
            dataclasses.replace(split, **{role: {"all": np.arange(6000)}}).verify()
    with pytest.raises(ValueError, match="must not be empty"):
        dataclasses.replace(split, query={"all": np.zeros(0, int)}).verify()
    with pytest.raises(ValueError, match="must ascend within 0 to 5999"):
        dataclasses.replace(split, query={"all": np.array([6000])}).verify()
    with pytest.raises(ValueError, match="must ascend"):
        dataclasses.replace(split, query={"all": np.array([5, 5])}).verify()
    with pytest.raises(ValueError, match="names source 'test'"):
        dataclasses.replace(split, query={"test": np.array([5])}).verify()
    with pytest.raises(ValueError, match="the digest differs"):
        split.verify(labels={"all": CIFAR100["all"][::-1].copy()})


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("cifar11", CIFAR10, "protocol must be one of cifar10-official"),
        ("cifar10-official", CIFAR100, "labels must have the sources train, test, got all"),
        ("cifar100-20k", CIFAR10, "one source"),
        ("unseen:5/10", CIFAR100, "C = 100 classes, got 5/10"),
        ("unseen:100/100", CIFAR100, "0 < k < C"),
        ("folder:1.5", CIFAR100, "between 0 and 1"),
        ("cifar100-20k", {"all": np.arange(100)}, "needs 40 items of every class, class 0 has 1"),
        ("folder:0.5", {"all": np.arange(100)}, "needs 2 items of every class"),
    ],
)
def test_bad_requests(name, labels, message):
    with pytest.raises(ValueError, match=message):
        make_split(name, labels)


def smooth_images(count, size):
    """Blobs: images with content at low frequencies, as photographs have."""
    rng = np.random.default_rng(1)
    grid = np.linspace(0, 1, size)
    waves = sum(
        rng.normal(size=(count, 3, 1, 1))
        * np.cos(np.pi * (a * grid[:, None] + b * grid[None] + rng.random((count, 3, 1, 1))))
        for a in range(5)
        for b in range(5)
    )
    low, high = waves.min(axis=(1, 2, 3), keepdims=True), waves.max(axis=(1, 2, 3), keepdims=True)
    return (255 * (waves - low) / (high - low)).astype(np.uint8)


def test_near_duplicates_survive_brightness_noise_and_scale():
    images = smooth_images(60, 64)
    rng = np.random.default_rng(2)
    changed = np.clip(images[:20] * 0.8 + 20 + rng.normal(0, 3, images[:20].shape), 0, 255).astype(np.uint8)
    found = near_duplicates(changed, images, radius=10)
    np.testing.assert_array_equal(found.query_rows, np.arange(20))
    np.testing.assert_array_equal(found.rows, np.arange(20))
    assert found.share == 1.0
    smaller = images[:, :, ::2, ::2] // 2 + images[:, :, 1::2, 1::2] // 2
    assert near_duplicates(smaller, images, radius=10).share > 0.9


def test_strangers_are_far():
    images = smooth_images(60, 32)
    assert near_duplicates(images[:30], images[30:], radius=6).share == 0.0
    gray = images[:, :1]
    assert perceptual_codes(gray).shape == (60, 8)


@pytest.mark.parametrize(
    ("images", "error"),
    [
        (np.zeros((1, 3, 32, 32)), TypeError),
        (np.zeros((1, 3, 31, 32), np.uint8), ValueError),
        (np.zeros((1, 2, 32, 32), np.uint8), ValueError),
    ],
)
def test_bad_images(images, error):
    with pytest.raises(error, match="images must"):
        perceptual_codes(images)
