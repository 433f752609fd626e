"""Training from a TOML file: strict keys, every default written, a resumable run, one result."""

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image

from dmth_fast import Hasher
from dmth_fast.learning import protocols
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.protocols import DataConfig, open_split, seen_by
from dmth_fast.learning.weights import save_tensors
from dmth_fast.pipeline import (
    _refuse_other_run,
    load_config,
    new_teacher,
    open_teacher,
    teacher_seed,
    train,
)
from dmth_fast.preparation import open_run, prepare
from dmth_fast.trainconfig import TeacherConfig, dump_config

EXPERIMENTS = Path(__file__).parents[2] / "benchmarks" / "experiments"

TOML = """
protocol = "digits"
backbone = "tiny-4"
bits = 24
seed = 2
compare_fusions = ["mean"]

[augmentation]
padding = 1
flip = false

[[teachers]]
backbone = "tiny-8"
epochs = 2

[[teachers]]
backbone = "tiny-6"
name = "narrow"
epochs = 2

[fusion]
views = 2
dim = 32

[fusion.training]
epochs = 4

[student.training]
epochs = 2
"""


@pytest.fixture(scope="session")
def train_images(sets: tuple[ImageSet, ImageSet]) -> ImageSet:
    return sets[0]


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(TOML)
    return path


def test_sections_keep_their_defaults_and_take_seed_and_views(toml: Path) -> None:
    config = load_config(toml)
    assert (config.fusion.training.epochs, config.fusion.training.optimizer) == (4, "adamw")
    assert config.fusion.training.seed == config.student.training.seed == 2
    assert config.student.augmentation.padding == 1


def test_every_default_is_written_and_read_back(toml: Path, tmp_path: Path) -> None:
    config = load_config(toml)
    (tmp_path / "all.toml").write_text(dump_config(config))
    assert load_config(tmp_path / "all.toml") == config
    assert "attention_temperature = 4.0" in dump_config(config)


def test_overrides(toml: Path) -> None:
    config = load_config(toml, ["student.training.epochs=7", "backbone=tiny-9", "student.loss.margin = 0.5"])
    assert (config.student.training.epochs, config.backbone, config.student.loss.margin) == (7, "tiny-9", 0.5)


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        (
            "student.training.epoch=3",
            ValueError,
            r"config\.student\.training has no key 'epoch'; it knows epochs,",
        ),
        ("studnet.training.epochs=3", ValueError, "config has no key 'studnet'; it knows teachers, protocol"),
        ("student.training.epochs=many", TypeError, "epochs must be int, got str 'many'"),
        ("student.training.epochs=0", ValueError, "epochs must be at least 1"),
        ("student.training.seed=5", ValueError, r"student\.training\.seed is 5: set the seed once"),
        ("fusion.augmentation.padding=3", ValueError, r"fusion\.augmentation differs"),
        ("epochs", ValueError, r"must look like a\.b=value"),
        ("teachers=[]", ValueError, "at least one"),
        ("fusion.labels=false", ValueError, "set labels = false once, at the top"),
        ("fusion.fusion=sum", ValueError, r"fusion\.fusion must be one of attention"),
        ("student.loss.hash_loss=orto", ValueError, r"student\.loss\.hash_loss must be one of ortho"),
        ("fusion.loss.quantizer=l3", ValueError, r"fusion\.loss\.quantizer must be one of l1"),
        ("student.distillation.feature_loss=l3", ValueError, "feature_loss must be one of mse"),
        ("student.distillation.logit_loss=l3", ValueError, "logit_loss must be one of kl"),
        ('seen=["imagenet"]', ValueError, "seen is of the student's weights, and there are none"),
    ],
)
def test_bad_keys_and_values(toml: Path, override: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_config(toml, [override])


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = ")
    with pytest.raises(ValueError, match="is not TOML"):
        load_config(tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes("# caf\u00e9".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.toml must be UTF-8 text, got other bytes"):
        load_config(tmp_path / "latin.toml")
    (tmp_path / "empty.toml").write_text("bits = 8")
    with pytest.raises(ValueError, match=r"at least one \[\[teachers\]\] table"):
        load_config(tmp_path / "empty.toml")
    (tmp_path / "mistyped.toml").write_text("backbon = 'resnet20'")
    with pytest.raises(ValueError, match="no key 'backbon'; it knows"):
        load_config(tmp_path / "mistyped.toml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["student.distillation.mixup=0.2"], r"mixup needs student\.distillation\.live = true"),
        (["student.training.keep=best"], r"keep = 'best' needs data\.validation_fraction above 0"),
        (["fusion.training.keep=best"], r"fusion\.training\.keep must be 'last', got 'best'"),
        (["student.training.batch_size=2000"], r"the 1198 images .* student\.training\.batch_size = 2000"),
        (["fusion.training.batch_size=2000"], r"the 1198 images .* fusion\.training\.batch_size = 2000"),
        (["backbone=tinny"], "backbone must be one of"),
        (["weights=w.safetensors"], r"weights .*w\.safetensors do not exist"),
    ],
)
def test_what_would_fail_later_is_refused_before_the_folder_is_taken(
    toml: Path, tmp_path: Path, changes: list[str], message: str
) -> None:
    pytest.importorskip("sklearn")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(load_config(toml, changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_start_weights_of_the_student_are_asked_what_they_saw(toml: Path) -> None:
    official = ["protocol=cifar10-5k", "weights=w.safetensors"]
    with pytest.raises(ValueError, match=r"must know what student of weights w\.safetensors has seen"):
        load_config(toml, official)
    with pytest.raises(ValueError, match=r"forbids student of weights w\.safetensors: it has seen cifar10"):
        load_config(toml, [*official, 'seen=["cifar10-train"]'])
    assert load_config(toml, [*official, 'seen=["imagenet"]']).seen == ("imagenet",)
    assert "seen" in dump_config(load_config(toml))


def test_seeds_of_teachers_differ_within_a_run_and_from_the_next(toml: Path) -> None:
    assert [teacher_seed(load_config(toml), k) for k in (0, 1)] == [3, 4]
    two = 'teachers=[{backbone="tiny-4", epochs=1}, {backbone="tiny-4", epochs=1}]'
    seeds = [teacher_seed(load_config(toml, [two, f"seed={seed}"]), k) for seed in (0, 1) for k in (0, 1)]
    assert len(set(seeds)) == 4


def test_teachers_keep_their_last_epoch_where_the_student_keeps_its_best(toml: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    changes = ["student.training.keep=best", "data.validation_fraction=0.2"]
    config = load_config(toml, [*changes, 'teachers=[{backbone="tiny-4", epochs=1}]'])
    images = open_run(config)
    teacher = new_teacher(config, 0, images, tmp_path, tmp_path / "run", resume=False, progress=False)
    assert teacher.seen == seen_by("digits", images.split)
    assert images.validation is not None
    assert len(prepare(config).learned) + len(images.validation) == len(images.split.train)


def test_images_held_out_are_seen_neither_with_nor_without_labels(toml: Path) -> None:
    pytest.importorskip("sklearn")
    changes = ["protocol=digits-100", "data.unlabelled=true", "data.validation_fraction=0.2"]
    _, learned, validation, unlabelled = open_run(load_config(toml, changes))
    assert validation is not None
    assert unlabelled is not None
    assert not set(validation.names) & {*learned.names, *unlabelled.names}
    assert len(unlabelled) == 1198 - len(validation)


def test_a_run_of_before_a_setting_was_there_is_resumed(toml: Path, tmp_path: Path) -> None:
    config, out = load_config(toml), tmp_path / "run"
    out.mkdir()
    written = dump_config(config)
    (out / "config.toml").write_text("\n".join(line for line in written.splitlines() if line != "seen = []"))
    assert (out / "config.toml").read_text().count("seen") < written.count("seen")
    _refuse_other_run(out, config, True)
    with pytest.raises(ValueError, match="a run of another config"):
        _refuse_other_run(out, dataclasses.replace(config, bits=16), True)


def test_a_run_measures_every_row_and_resumes(toml: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    config, out = load_config(toml), tmp_path / "run"
    result = train(config, out, progress=False, command="dmth-fast train")
    assert [row["kind"] for row in result["rows"]] == [
        *("teacher", "teacher", "average", "fused", "fusion", "plain", "student", "trivial", "random")
    ]
    assert result["rows"][1]["name"] == "teacher narrow"
    assert 0.05 < result["rows"][-1]["map"] < 0.15
    for row in result["rows"][:-1]:
        assert 0 < row["accuracy"] < 1
        assert 0 < row["map"] < 1
        assert row["parameters"] > 0
        assert row["images_per_second"] > 0
    assert [result["rows"][3]["shuffled_accuracy"] is None, result["rows"][4]["shuffled_accuracy"]] == [
        False,
        None,
    ]
    assert result["protocol"] == "digits"
    assert not result["resumed"]
    assert len(result["split"]["query"]) == 64
    for comparison in result["comparisons"]:
        assert comparison["low"] <= comparison["difference"] <= comparison["high"]
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    student = Hasher.load(out / "student")
    assert student.bits == 24
    assert [student.metrics["map"]] == [row["map"] for row in result["rows"] if row["kind"] == "student"]
    assert student.metrics["protocol"] == "digits"
    assert student.seen == seen_by("digits", open_split("digits", DataConfig(), tmp_path, 2))
    assert [card["seen"] for card in student.teachers] == [list(student.seen)] * 2
    assert result["teacher_seconds_per_student_epoch"] == 0.0
    with pytest.raises(ValueError, match="already holds a run"):
        train(config, out, progress=False)
    with pytest.raises(ValueError, match="a run of another config"):
        train(dataclasses.replace(config, bits=16), out, progress=False, resume=True)
    again = train(config, out, progress=False, resume=True, command="dmth-fast train")
    assert again["resumed"]
    keep = ("name", "accuracy", "map")
    assert [[row[k] for k in keep] for row in again["rows"]] == [
        [row[k] for k in keep] for row in result["rows"]
    ]


def test_training_without_labels_measures_with_them(toml: Path, tmp_path: Path, single: Hasher) -> None:
    save_tensors(tmp_path / "teacher.safetensors", single.network.backbone.state_dict())
    lines = (
        TOML.replace('compare_fusions = ["mean"]', "")
        .replace("[[teachers]]", "[[later]]", 1)
        .split("[[later]]")[0]
    )
    toml.write_text(
        f"labels = false\n{lines}\n[[teachers]]\nbackbone = 'tiny-8'\nweights = 'teacher.safetensors'\n"
        "[fusion]\nviews = 1\n[student.training]\nepochs = 2"
    )
    config = load_config(toml, [f"data.root={tmp_path}"])
    assert config.student.loss.hash_loss == "none"
    result = train(config, tmp_path / "run", progress=False)
    assert [row["name"] for row in result["rows"]] == [
        *("LSH of tiny-8", "PCA of tiny-8", "ITQ of tiny-8"),
        *("LSH of all teachers", "PCA of all teachers", "ITQ of all teachers", "student, no labels"),
        "random codes",
    ]
    assert all(row["accuracy"] is None and row["map"] > 0.05 for row in result["rows"])
    assert len(result["comparisons"]) == 1


def test_a_folder_of_photos_gives_a_student_and_no_figures(
    toml: Path, tmp_path: Path, single: Hasher, train_images: ImageSet
) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(80):
        Image.fromarray(train_images.images[i : i + 1][0].permute(1, 2, 0).numpy()).save(
            tmp_path / "photos" / f"{i}.png"
        )
    save_tensors(tmp_path / "teacher.safetensors", single.network.backbone.state_dict())
    toml.write_text(
        "protocol = 'folder'\nlabels = false\nbackbone = 'tiny-4'\nbits = 24\n"
        "[data]\ntrain = 'photos'\nlabels = 'none'\n"
        "[[teachers]]\nbackbone = 'tiny-8'\nweights = 'teacher.safetensors'\n"
        "[fusion]\nviews = 1\n[student.training]\nepochs = 2\nbatch_size = 32"
    )
    result = train(load_config(toml, [f"data.root={tmp_path}"]), tmp_path / "run", progress=False)
    assert all(row["map"] is None for row in result["rows"])
    assert result["comparisons"] == []
    assert Hasher.load(tmp_path / "run" / "student").encode(tmp_path / "photos").shape == (80, 3)


def test_the_experiment_is_valid() -> None:
    config = load_config(EXPERIMENTS / "cifar10-dmth.toml")
    assert config.protocol.startswith("cifar10-")
    assert all(teacher.seen for teacher in config.teachers)


def test_a_saved_student_can_teach(tmp_path: Path, single: Hasher) -> None:
    single.save(tmp_path / "student")
    card = TeacherConfig(backbone="tiny-8", weights="student", name="old")
    teacher = open_teacher(card, tmp_path)
    assert (teacher.name, teacher.num_classes, teacher.num_parameters) == ("old", 10, single.num_parameters)
    with pytest.raises(ValueError, match="teacher student is a tiny-8, the config says tiny-4"):
        open_teacher(dataclasses.replace(card, backbone="tiny-4"), tmp_path)


def test_a_saved_student_that_saw_too_much_is_refused(
    tmp_path: Path, single: Hasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    single.save(tmp_path / "student")
    card = json.loads((tmp_path / "student" / "config.json").read_text())
    (tmp_path / "student" / "config.json").write_text(json.dumps({**card, "seen": ["digits-test"]}))
    monkeypatch.setitem(protocols._FORBIDDEN, "digits", ("digits-test",))
    (tmp_path / "run.toml").write_text(
        f'protocol = "digits"\n[data]\nroot = "{tmp_path}"\n'
        '[[teachers]]\nbackbone = "tiny-8"\nweights = "student"\n'
    )
    with pytest.raises(ValueError, match="protocol digits forbids teacher tiny-8: it has seen digits-test"):
        train(load_config(tmp_path / "run.toml"), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_loss_on_pairs_is_measured_without_classes(toml: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    changes = ["student.loss.hash_loss=dch", "data.validation_fraction=0.1", "fusion.training.epochs=1"]
    result = train(load_config(toml, changes), tmp_path / "run", progress=False)
    students = [row for row in result["rows"] if row["kind"] in ("plain", "student")]
    assert [row["accuracy"] for row in students] == [None, None]
    assert all(row["map"] > 0.1 for row in students)
    assert "trivial" not in {row["kind"] for row in result["rows"]}
    assert result["split"]["validation_images"] > 100
    assert "validation_map" in result["history"]["student"][0]
    assert "validation_accuracy" not in result["history"]["student"][0]
