"""``demo``, ``train`` and ``encode``, in the shortest form that still goes through every part."""

import json
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from commandline import Run
from PIL import Image
from torchvision import models

import dmth_fast
from dmth_fast import report
from dmth_fast.learning.data import digits, open_images
from dmth_fast.protocols import Split

SHORT = [
    'teachers=[{backbone="tiny-4", epochs=1}]',
    "backbone=tiny-4",
    "bits=12",
    "threads=1",
    "data.size=8",
    "data.query_fraction=0.3",
    "augmentation.padding=1",
    "augmentation.flip=false",
    "fusion.views=1",
    "fusion.training.epochs=1",
    "fusion.training.batch_size=8",
    "student.training.epochs=1",
    "student.training.batch_size=8",
]


def _short(*changes: str) -> list[str]:
    return [word for change in (*SHORT, *changes) for word in ("--set", change)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of ten digits each as PNG files."""
    images, _ = digits()
    root = tmp_path / "images"
    labels = images.required_labels("the test")
    for number in range(3):
        (root / f"class {number}").mkdir(parents=True)
        for row in torch.nonzero(labels == number).flatten()[:10].tolist():
            pixels = np.moveaxis(images.images[torch.tensor([row])][0].numpy(), 0, -1)
            Image.fromarray(pixels).save(root / f"class {number}" / f"{images.names[row]}.png")
    return root


def test_train_encode_search_evaluate(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    drawn = _short("protocol=folder:0.3")
    (folder / "class 0" / "torn.png").write_bytes(b"\x89PNG\r\n")
    code, printed, err = run("train", folder, *drawn, "--out", out)
    assert code == 0, err
    result = json.loads((out / "result.json").read_text())
    assert result["split"]["skipped"] == 1
    assert result["split"]["skipped_files"][0][0] == "class 0/torn.png"
    assert "1 files skipped: class 0/torn.png (in no known image format)" in printed
    for row in result["rows"]:
        assert row["name"] in printed
    split = Split.load(out / "split.json")
    assert (split.protocol, split.hash) == ("folder:0.3", result["split"]["drawn"])
    assert split.sizes() == {"query": 9, "database": 21, "train": 21}
    assert "batch_size = 8" in (out / "config.toml").read_text()
    assert "momentum" in (out / "config.toml").read_text()  # defaults are written too

    # A second run in the same folder is refused, and an interrupted one of other settings is not continued.
    assert run("train", folder, *drawn, "--out", out)[0] == 2
    assert run("train", folder, *drawn, "--set", "bits=16", "--out", out, "--resume")[0] == 2

    codes, names, labels = (tmp_path / name for name in ("codes.npy", "names.txt", "labels.txt"))
    words = ("encode", out / "student", folder, "--out", codes, "--names", names, "--labels", labels)
    code, printed, err = run(*words)
    assert code == 0, err
    assert "30 images to codes of 12 bits" in printed
    assert "1 files skipped" in err
    assert "torn.png" in err
    hasher = dmth_fast.Hasher.load(out / "student")
    readable = open_images(folder, size=8, labels="none")
    np.testing.assert_array_equal(np.load(codes), hasher.encode(readable))
    assert sorted(set(labels.read_text().splitlines())) == ["class 0", "class 1", "class 2"]
    assert len(names.read_text().splitlines()) == 30

    code, _, err = run(*words, "--strict")
    assert code == 2
    assert "torn.png" in err
    assert err.count("\n") == 1

    one = next((folder / "class 1").glob("*.png"))
    assert run("encode", out / "student", one, "--out", tmp_path / "one.safetensors").code == 0
    code, printed, _ = run("search", codes, codes, "--bits", 12, "--names", names, "-k", 1)
    assert code == 0
    code, printed, _ = run("evaluate", codes, labels, codes, labels, "--bits", 12, "--at", 1)
    assert code == 0
    assert "P@1" in printed


def test_a_dry_run_says_the_cost_and_writes_nothing(run: Run, folder: Path, tmp_path: Path) -> None:
    words = ("train", folder, *_short(), "--out", tmp_path / "run", "--dry-run")
    code, printed, err = run(*words)
    assert (code, err) == (0, "")
    assert "9 queries, database of 21, 21 to learn from" in printed
    size = next(column.show for column in report.COLUMNS if column.key == "parameters")
    student = dmth_fast.Hasher("tiny-4", bits=12)
    for role in ("student", "teacher"):
        line = next(line for line in printed.splitlines() if line.startswith(f" {role} tiny-4 "))
        assert size(student.num_parameters) in line
    for stage in ("training teachers", "caching teacher features", "training students", "together"):
        assert stage in printed
    assert list(tmp_path.iterdir()) == [folder]
    code, printed, err = run(*words, "--set", "data.train=elsewhere", "--set", "bitz=3")
    assert (code, printed) == (2, "")
    assert "'bitz'" in err
    code, printed, err = run(*words, "--set", "fusion.training.batch_size=256")
    assert (code, printed) == (2, "")
    assert "the 21 images to learn from, got fusion.training.batch_size = 256" in err


def test_train_without_labels(run: Run, folder: Path, tmp_path: Path) -> None:
    hasher = dmth_fast.Hasher("tiny-8", bits=8, epochs=1, batch_size=8, padding=1)
    hasher.fit(open_images(folder), progress=False).save(tmp_path / "teacher")
    photos, queries, out = (tmp_path / name for name in ("photos", "queries", "run"))
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        (photos if number % 5 else queries).mkdir(exist_ok=True)
        path.rename((photos if number % 5 else queries) / path.name)
    teacher = f'teachers=[{{backbone="tiny-8", weights="{tmp_path / "teacher"}"}}]'
    words = ("train", photos, "--labels", "none", "--out", out)

    cases: list[tuple[tuple[object, ...], str]] = [
        ((*words, *_short()), "teacher tiny-4 needs weights, since without labels none is trained"),
        ((*words, *_short(teacher, "labels=true")), "data.labels = 'none' leaves no labels"),
        ((*words, *_short(teacher, "protocol=digits")), "protocol digits needs labels"),
        ((*words, *_short(teacher, 'compare_fusions=["mean"]')), "compare_fusions needs labels"),
        ((*words, *_short(teacher, "data.labels=folders")), "photos"),
    ]
    for refused, message in cases:
        for last in ((), ("--dry-run",)):
            code, printed, err = run(*refused, *last)
            assert (code, printed) == (2, ""), (refused, err)
            assert message in err
            assert err.count("\n") == 1
    assert not out.exists()

    code, printed, err = run(*words, *_short(teacher), "--dry-run")
    assert code == 0, err
    assert "teacher tiny-8" in printed
    assert not out.exists()
    code, printed, err = run(*words, *_short(teacher, f"data.query={queries}"))
    assert code == 0, err
    result = json.loads((out / "result.json").read_text())
    assert (result["split"]["queries"], result["split"]["training_images"]) == (6, 24)
    assert result["split"]["classes"] == 0
    assert not any(row.get("map") or row.get("accuracy") for row in result["rows"])
    assert "no labels: size and speed alone are measured" in printed
    assert "Paired differences" not in printed
    assert "labels = false" in (out / "config.toml").read_text()
    codes = tmp_path / "codes.npy"
    assert run("encode", out / "student", photos, "--out", codes).code == 0
    assert np.load(codes).shape == (24, 2)


def test_train_refuses_bad_input_in_one_line(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("bits = = 3")
    (tmp_path / "file").write_text("")
    (folder / "empty class").mkdir()
    cases: list[tuple[tuple[object, ...], str]] = [
        ((), "SOURCE"),
        (("--config", tmp_path / "none.toml"), "none.toml"),
        (("--config", tmp_path / "broken.toml"), "is not TOML"),
        ((tmp_path / "none", *_short()), "none"),
        ((folder, *_short()), "empty class"),
        ((folder, *_short("bitz=3")), "'bitz'"),
        ((folder, *_short("bits=many")), "bits must be int"),
        ((folder, "--set", "bits"), "a.b=value"),
        ((folder, *_short("fusion.training.batch_size=256")), "fusion.training.batch_size = 256"),
        ((folder, *_short("student.training.batch_size=22")), "student.training.batch_size = 22"),
        ((folder, *_short("student.loss.hash_loss=orto")), "student.loss.hash_loss must be one of ortho"),
        ((folder, *_short("student.distillation.mixup=0.2")), "student.distillation.live = true"),
        ((folder, *_short('teachers=[{backbone="resnet20", weights="w.safetensors"}]')), "w.safetensors"),
        ((folder, "--out", tmp_path / "file"), "must be a folder"),
    ]
    for words, message in cases:
        code, out, err = run("train", *words, *(() if "--out" in words else ("--out", tmp_path / "o")))
        assert (code, out) == (2, ""), (words, err)
        assert message in err
        assert err.count("\n") == 1
        if message == "empty class":
            (folder / "empty class").rmdir()
    # Nothing is left that the corrected command would be refused for.
    assert not (tmp_path / "o").exists()


def test_encode_refuses_bad_input_in_one_line(run: Run, folder: Path, tmp_path: Path) -> None:
    hasher = dmth_fast.Hasher("tiny-4", bits=8, epochs=1, batch_size=8, padding=1)
    hasher.fit(open_images(folder), progress=False).save(tmp_path / "student")
    (tmp_path / "other").mkdir()
    card = json.loads((tmp_path / "student" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**card, "backbone": "tiny-8"}))
    (tmp_path / "other" / "model.safetensors").write_bytes(
        (tmp_path / "student" / "model.safetensors").read_bytes()
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n")
    cases: list[tuple[tuple[object, ...], str]] = [
        ((tmp_path / "none", folder), "none"),
        ((tmp_path / "empty", folder), "config.json"),
        ((tmp_path / "other", folder), "architecture tiny-8"),
        ((tmp_path / "student", tmp_path / "none"), "none"),
        ((tmp_path / "student", tmp_path / "empty"), "empty"),
        ((tmp_path / "student", tmp_path / "torn.png"), "torn.png"),
        ((tmp_path / "student", folder, "--out", tmp_path / "codes.txt"), "must end in .npy or .safetensors"),
        ((tmp_path / "student", folder, "--batch-size", 0), "batch_size must be at least 1, got 0"),
    ]
    for words, message in cases:
        code, out, err = run(
            "encode", *words, *(() if "--out" in words else ("--out", tmp_path / "codes.npy"))
        )
        assert (code, out) == (2, ""), (words, err)
        assert message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "codes.npy").exists()


def test_demo_goes_through_and_its_files_fit_together(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    threads = torch.get_num_threads()
    code, printed, err = run("demo", "--quick", "--seed", 1, "--out", out)
    assert code == 0, err
    assert torch.get_num_threads() == threads
    result = json.loads((out / "result.json").read_text())
    rows = {row["name"]: row for row in result["rows"]}
    assert len(rows) == 10
    for name in rows:
        assert name in printed
    # Ten classes: chance is one tenth, which two epochs are enough to leave behind.
    assert rows["fused teacher"]["accuracy"] > 0.15
    assert rows["fused teacher"]["map"] > 0.15
    assert rows["student alone"]["parameters"] * 20 < rows["fused teacher"]["parameters"]
    assert "map" not in rows["softmax average"]
    assert 0.05 < rows["random codes"]["map"] < 0.15
    assert rows["trivial: class as code"]["accuracy"] == rows["student, more data"]["accuracy"]

    database, queries = digits(1)
    assert result["split_hash"]["queries"] == queries.split_hash()
    split = json.loads((out / "split.json").read_text())
    assert set(split["labelled"]) < set(split["database"])
    assert not set(split["queries"]) & set(split["database"])
    assert len(split["labelled"]) == 100
    assert result["environment"]["versions"]["dmth_fast"] == dmth_fast.__version__

    codes = {name: np.load(out / f"{name}.npy") for name in ("queries", "database")}
    labels = {name: np.load(out / f"{name}-labels.npy") for name in ("queries", "database")}
    np.testing.assert_array_equal(dmth_fast.Hasher.load(out / "student").encode(queries), codes["queries"])
    again = dmth_fast.evaluate(codes["queries"], labels["queries"], codes["database"], labels["database"])
    assert again.map == pytest.approx(rows["student, more data"]["map"])
    for picture in ("pr-curves.png", "neighbours.png"):
        assert (out / picture).stat().st_size < 200_000
    assert len(database) == len(codes["database"])
    assert (out / "table.md").read_text().count("\n") == 12
    assert run("search", out / "database.npy", out / "queries.npy", "-k", 5).code == 0


def test_demo_refuses_a_file_for_a_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, out, err = run("demo", "--out", tmp_path / "file")
    assert (code, out) == (2, "")
    assert "must be a folder" in err


def test_without_labels_and_without_a_network_the_choices_are_named(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def unreachable(name: str, **_: object) -> None:
        asked.append(name)
        raise URLError("no route to host")

    monkeypatch.setattr(models, "get_model", unreachable)
    words = ("--labels", "none", "--set", "student.training.batch_size=8", "--out", tmp_path / "run")
    code, printed, err = run("train", folder, *words)
    assert (code, printed, asked) == (1, "", ["mobilenet_v2"])
    assert "torchvision:mobilenet_v2 could not be downloaded" in err
    assert "a safetensors file" in err
    assert "features:FILE" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
