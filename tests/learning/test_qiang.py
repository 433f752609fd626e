"""Multi-label images: the labels of each set, and the recipe."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dmth_fast.learning.cifar100 import SUPERCLASSES, graded_labels
from dmth_fast.learning.config import HasherConfig, TrainingConfig
from dmth_fast.learning.corel5k import read_corel5k
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.losses.pairwise import label_similarity
from dmth_fast.learning.multilabel import MultiLabelConfig, MultiLabelSplit, open_multilabel
from dmth_fast.learning.multilabel_network import build_network, fit_network
from dmth_fast.learning.recipes import qiang, run_toy
from dmth_fast.learning.recipes.arms import SETTINGS, claim_folder
from dmth_fast.learning.weights import load_weights


def hundred() -> ImageSet:
    names = tuple(sorted(name for names in SUPERCLASSES.values() for name in names))
    return ImageSet(
        images=torch.zeros(100, 3, 2, 2, dtype=torch.uint8), labels=torch.arange(100), classes=names
    )


def test_superclasses_part_the_hundred_classes() -> None:
    assert len(SUPERCLASSES) == 20
    assert all(len(names) == 5 for names in SUPERCLASSES.values())
    assert len({name for names in SUPERCLASSES.values() for name in names}) == 100


def test_class_and_superclass_give_three_grades() -> None:
    images = hundred()
    labels = graded_labels(images)
    assert labels.shape == (100, 120)
    similarity = label_similarity(labels)
    position = {name: i for i, name in enumerate(images.classes)}
    for first in ("beaver", "whale", "tank"):
        for second in images.classes:
            partners = next(names for names in SUPERCLASSES.values() if first in names)
            wanted = 1.0 if first == second else 0.5 * (second in partners)
            assert float(similarity[position[first], position[second]]) == wanted


def test_other_classes_have_no_superclass() -> None:
    images = ImageSet(images=torch.zeros(2, 3, 2, 2, dtype=torch.uint8), labels=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="must have the 100 classes of CIFAR-100"):
        graded_labels(images)


def test_rows_without_a_label_are_left_out_of_training() -> None:
    images = ImageSet(images=torch.zeros(3, 3, 2, 2, dtype=torch.uint8))
    labels = torch.tensor([[True, False], [False, False], [True, True]])
    split = MultiLabelSplit(
        name="three",
        query=images,
        database=images,
        query_labels=labels,
        database_labels=labels,
        labels=("x", "y"),
    )
    assert split.labelled.tolist() == [0, 2]


def test_corel5k_keeps_its_frequent_keywords(data_root: Path) -> None:
    corel = read_corel5k(data_root / "corel5k", size=16)
    assert (len(corel.train), len(corel.test), len(corel.words)) == (4500, 499, 374)
    assert len(corel.train.classes) == 50
    frequent = corel.frequent(5)
    assert len(frequent.words) == 292
    assert int(frequent.train_keywords.sum(0).min()) >= 5
    with pytest.raises(ValueError, match="no keyword has 4501 training photographs"):
        corel.frequent(4501)


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train\.zip does not exist"):
        read_corel5k(tmp_path, size=16)


def test_the_recipe_compares_its_arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    result = run_toy("qiang", tmp_path)
    assert {row["name"] for row in result["rows"]} == set(qiang.ARMS)
    assert all(row[column] > 0 for row in result["rows"] for column in qiang.COLUMNS)
    grades = {item["first"]: item["ratio"] for item in result["comparisons"] if item["metric"] == "ndcg_100"}
    assert grades.keys() == {"isdh", "idhn", "cosine"}
    assert result["complete"]
    monkeypatch.setattr(qiang, "train_arm", lambda *_: pytest.fail("trained again"))
    again = run_toy("qiang", tmp_path)
    assert again["rows"] == result["rows"], "a second run reads the arms that are done"


@pytest.mark.parametrize("arm", ["cosine", "ortho", "csq"])
def test_a_fine_tuned_network_is_saved_and_encodes(arm: str, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    qiang.run(dataclasses.replace(qiang.toy(), arms=(arm,)), tmp_path, progress=False)
    folder, split = tmp_path / f"{arm}-32-0", open_multilabel(MultiLabelConfig(source="digits"), tmp_path)
    hasher = Hasher.load(folder)
    assert hasher.classes == (*map(str, range(10)), "even", "below five")
    assert (hasher.recipe, hasher.bits, hasher.seen) == ("qiang", 32, ("digits-train",))
    assert len(hasher.history) == 3
    kept = load_weights(folder / "codes.safetensors")
    np.testing.assert_array_equal(hasher.encode(split.query), kept["query"].numpy())
    assert hasher.names_classes == (arm != "cosine")
    if hasher.names_classes:
        rows, named = torch.arange(len(split.query)), torch.from_numpy(hasher.predict(split.query))
        assert split.query_labels[rows, named].float().mean() > 0.4


def write_files(folder: Path, part: str, count: int, lines: list[str] | None = None) -> None:
    rng = np.random.default_rng(count)
    (folder / part / "a").mkdir(parents=True)
    own = []
    for i in range(count):
        dark, red = bool(i & 1), bool(i & 2)
        pixels = rng.integers(0, 60, (20, 16, 3)) + (0 if dark else 150)
        pixels[..., 0] += 45 * red
        Image.fromarray(pixels.astype(np.uint8)).save(folder / part / "a" / f"{i}.png")
        labels = ["dark" if dark else "light", *["red sky"] * red, *["rare"] * (i == 3)]
        own.append("\t".join([f"a/{i}.png", *labels]))
    (folder / f"{part}.txt").write_text("\n".join(own if lines is None else lines))


def test_own_images_with_labels_in_text_files(tmp_path: Path) -> None:
    write_files(tmp_path / "mine", "database", 96)
    write_files(tmp_path / "mine", "query", 24)
    data = MultiLabelConfig(source="files", root=str(tmp_path), folder="mine", size=16, minimum=5)
    split = open_multilabel(data, tmp_path)
    assert split.labels == ("dark", "light", "red sky")
    assert split.name == "mine, 3 labels of at least 5 database images"
    labels = dict(zip(split.query.names, split.query_labels.tolist(), strict=True))
    assert [labels[f"a/{i}.png"] for i in (0, 1, 3)] == [
        [False, True, False],
        [True, False, False],
        [True, False, True],
    ]
    training = TrainingConfig(optimizer="adamw", lr=3e-3, batch_size=32, epochs=4)
    config = dataclasses.replace(qiang.toy(), data=data, arms=("cosine",), training=training)
    result = qiang.run(config, tmp_path / "run", progress=False)
    assert result["rows"][0]["map"] > 0.8
    held = open_multilabel(dataclasses.replace(data, held_out=10), tmp_path)
    assert (len(held.query), len(held.database)) == (10, 86)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a/0.png\tx"], r"images and lines must be of the same names, 1 differ: \['a/1\.png'\]"),
        (["a/0.png\tx", "a/0.png\ty", "a/1.png"], "line 2: a/0.png has a line already"),
        (["a/0.png\tx\t", "a/1.png"], "line 1: labels must be distinct and not empty"),
        (["a/0.png\tx", "a/1.png"], "no label has 5 images or more, of 1 labels"),
    ],
)
def test_label_files_that_do_not_fit(lines: list[str], message: str, tmp_path: Path) -> None:
    write_files(tmp_path / "files", "database", 2, lines)
    write_files(tmp_path / "files", "query", 2)
    with pytest.raises(ValueError, match=message):
        open_multilabel(MultiLabelConfig(source="files", size=16), tmp_path)


def test_missing_label_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"files/database\.zip does not exist: database needs"):
        open_multilabel(MultiLabelConfig(source="files"), tmp_path)


def test_features_computed_elsewhere_stand_for_a_frozen_network(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    split = open_multilabel(MultiLabelConfig(source="digits"), tmp_path)
    for name, images in (("query", split.query), ("database", split.database)):
        np.save(tmp_path / f"{name}.npy", images.images[:, 0].flatten(1).float().numpy() / 16)
    config = dataclasses.replace(
        qiang.toy(),
        data=MultiLabelConfig(source="digits", root=str(tmp_path)),
        backbone="features:query.npy,database.npy",
        frozen=True,
        hidden=32,
        arms=("csq", "ortho"),
    )
    result = qiang.run(config, tmp_path / "run", progress=False)
    assert all(row["map"] > 0.5 for row in result["rows"])
    with pytest.raises(ValueError, match="features:FILE is no network to be tuned"):
        dataclasses.replace(config, frozen=False)


def test_held_out_queries_come_from_the_database(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    whole = open_multilabel(MultiLabelConfig(source="digits"), tmp_path)
    held = open_multilabel(MultiLabelConfig(source="digits", held_out=100), tmp_path)
    assert (len(held.query), len(held.database)) == (100, len(whole.database) - 100)
    assert set(held.query.names) | set(held.database.names) == set(whole.database.names)
    assert "100 training images held out" in held.name
    with pytest.raises(ValueError, match=r"held_out must lie in 1\.\."):
        whole.held_out(len(whole.database), 0)


def test_a_folder_belongs_to_one_set_of_settings(tmp_path: Path) -> None:
    config = qiang.toy()
    claim_folder(tmp_path, config)
    claim_folder(tmp_path, dataclasses.replace(config, bits=(16,), arms=("csq",)))
    with pytest.raises(ValueError, match="holds a run of other settings: use another folder"):
        claim_folder(tmp_path, dataclasses.replace(config, hidden=3))


def test_a_mistyped_path_leaves_the_folder_to_the_corrected_run(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    config = dataclasses.replace(qiang.toy(), weights=f"{tmp_path}/none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors do not exist"):
        qiang.run(config, tmp_path / "run", progress=False)
    large = dataclasses.replace(qiang.toy(), training=TrainingConfig(batch_size=5000))
    with pytest.raises(ValueError, match=r"training\.batch_size must be at most the 1198"):
        qiang.run(large, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_an_older_folder_without_a_setting_is_the_same(tmp_path: Path) -> None:
    claim_folder(tmp_path, qiang.toy())
    assert "seen" not in json.loads((tmp_path / SETTINGS).read_text())
    with pytest.raises(ValueError, match="holds a run of other settings"):
        claim_folder(tmp_path, dataclasses.replace(qiang.toy(), seen=("imagenet",)))


def test_weights_that_saw_the_queries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = ImageSet(images=torch.zeros(200, 3, 8, 8, dtype=torch.uint8))
    labels = torch.ones(200, 3, dtype=torch.bool)
    split = MultiLabelSplit(
        name="few",
        query=images,
        database=images,
        query_labels=labels,
        database_labels=labels,
        labels=("x", "y"),
    )
    monkeypatch.setattr(qiang, "open_multilabel", lambda *_: split)
    config = dataclasses.replace(qiang.toy(), data=MultiLabelConfig(source="cifar100", root=str(tmp_path)))
    for name, message in (
        ("cifar100", "it has seen cifar100-train"),
        ("own", "must know what teacher tiny-8"),
    ):
        (tmp_path / f"w-{name}.safetensors").write_bytes(b"")
        with pytest.raises(ValueError, match=message):
            qiang.run(
                dataclasses.replace(config, weights=f"w-{name}.safetensors"), tmp_path / "run", progress=False
            )


def test_an_interrupted_fit_is_not_continued_on_other_data(tmp_path: Path) -> None:
    labels = torch.eye(4, dtype=torch.bool).repeat(8, 1)
    features = torch.rand(32, 6, generator=torch.Generator().manual_seed(0))

    def fit(labels: Tensor, features: Tensor) -> None:
        fit_network(
            build_network("", None, features, 8, hidden=4, seed=0),
            features,
            labels,
            HasherConfig(
                loss=qiang.ARMS["dch"], training=TrainingConfig(epochs=1, batch_size=16, device="cpu")
            ),
            run_dir=tmp_path,
        )

    fit(labels, features)
    fit(labels, features)
    for other in ((labels.flip(0), features), (labels, features + 1)):
        with pytest.raises(ValueError, match="belongs to other settings"):
            fit(*other)


def test_unknown_arms_and_sources_are_listed() -> None:
    with pytest.raises(ValueError, match="arms must be one of isdh, 0/1 similarity, idhn, 0/1"):
        qiang.Config(data=MultiLabelConfig(source="digits"), arms=("dpsh",))
    with pytest.raises(ValueError, match="one of files, corel5k, cifar100, digits; got 'coco'"):
        MultiLabelConfig(source="coco")
    with pytest.raises(ValueError, match="a frozen backbone needs weights"):
        qiang.Config(data=MultiLabelConfig(source="digits"), frozen=True)
    with pytest.raises(ValueError, match=r"training\.seed must be left at 0, got 3: set seeds, at the top"):
        qiang.Config(data=MultiLabelConfig(source="digits"), training=TrainingConfig(seed=3))
