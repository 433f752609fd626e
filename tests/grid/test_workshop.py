"""What cells share, and what is refused before any of it is trained."""

import json
from pathlib import Path

import pytest

from dmth_fast import Hasher
from dmth_fast.grid.config import load_grid
from dmth_fast.grid.queue import folder_of, work
from dmth_fast.grid.workshop import Workshop
from dmth_fast.learning import protocols
from dmth_fast.learning.data import digits
from dmth_fast.learning.protocols import DataConfig, open_split, seen_by

ARMS = '[[arms]]\nname = "plain"\ndistilled = false\n[[arms]]\nname = "fused"\nkind = "fusion"\n'


@pytest.fixture
def grid_file(small: Path) -> Path:
    """A grid of a student and a fusion; arms may be added."""
    small.write_text(small.read_text().split("[[arms]]")[0] + ARMS)
    return small


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """Teachers of one student that another split of the digits has trained."""
    train, _ = digits()
    hasher = Hasher("tiny-6", bits=16, epochs=1, padding=1, flip=False)
    split = open_split("digits", DataConfig(), Path(), seed=0)
    hasher.fit(train, progress=False, seen=seen_by("digits", split)).save(tmp_path / "teacher")
    return f'teachers=[{{backbone="tiny-6", weights="{tmp_path / "teacher"}"}}]'


def test_the_card_of_a_teacher_is_asked(
    grid_file: Path, tmp_path: Path, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = work(load_grid(grid_file, [saved]), tmp_path / "out", progress=False)
    assert outcome.done == 1
    assert "another split of these images" in outcome.failed[0][1]
    path = tmp_path / "teacher" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seen": ["digits-test"]}))
    monkeypatch.setitem(protocols._FORBIDDEN, "digits", ("digits-test",))
    outcome = work(load_grid(grid_file, [saved]), tmp_path / "out", progress=False)
    assert "forbids teacher tiny-6: it has seen digits-test" in outcome.failed[0][1]


def test_the_card_of_a_student_says_what_it_has_seen(grid_file: Path, tmp_path: Path) -> None:
    text = grid_file.read_text().replace("epochs = 4", "epochs = 1").replace('"digits"', '"digits-100"')
    text += '[[arms]]\nname = "more"\ndata.unlabelled = true\n'
    changes = ["student.training.batch_size=50", "fusion.training.batch_size=50", "fusion.unlabelled_views=1"]
    grid_file.write_text(text)
    grid = load_grid(grid_file, changes)
    assert not work(grid, tmp_path, progress=False).failed
    split = open_split("digits-100", DataConfig(), Path(), seed=3)
    plain, more = (Hasher.load(folder_of(tmp_path, grid.cells[k]) / "student") for k in (0, 2))
    assert plain.seen == seen_by("digits-100", split)
    assert more.seen == seen_by("digits-100", split, unlabelled=True)
    assert len(more.seen) == 2


def test_arms_with_data_of_their_own_have_teachers_of_their_own(grid_file: Path, tmp_path: Path) -> None:
    other = '[[arms]]\nname = "fewer"\nkind = "fusion"\ndata.validation_fraction = 0.5\n'
    grid_file.write_text(grid_file.read_text() + other)
    grid = load_grid(grid_file)
    workshop = Workshop(tmp_path, progress=False)
    first, second = (workshop.fused(grid.cells[k]) for k in (1, 2))
    assert first.cards[0]["weights"] != second.cards[0]["weights"]
    assert len(list((tmp_path / "fused").iterdir())) == len(list((tmp_path / "teachers").iterdir())) == 2


def test_arms_without_data_of_their_own_share_teachers(grid_file: Path, tmp_path: Path) -> None:
    more = '[[arms]]\nname = "more"\ndata.unlabelled = true\n'
    grid_file.write_text(grid_file.read_text().replace('"digits"', '"digits-100"') + more)
    cells = load_grid(grid_file, ["student.training.batch_size=50"]).cells
    workshop = Workshop(tmp_path, progress=False)
    assert workshop.teachers(cells[1]) is workshop.teachers(cells[2])


def test_two_teachers_of_one_backbone_have_a_folder_of_their_own_seeds(
    grid_file: Path, tmp_path: Path
) -> None:
    two = 'teachers=[{backbone="tiny-4", epochs=1}, {backbone="tiny-4", name="b", epochs=1}]'
    teachers = Workshop(tmp_path, progress=False).teachers(load_grid(grid_file, [two]).cells[1])
    later = Workshop(tmp_path, progress=False).teachers(load_grid(grid_file, [two, "seeds=[4]"]).cells[1])
    weights = {teacher.card["weights"] for teacher in (*teachers, *later)}
    assert len(weights) == 4


def test_batches_are_checked_before_teachers_are_trained(grid_file: Path, tmp_path: Path) -> None:
    grid = load_grid(grid_file, ["fusion.training.batch_size=2000"])
    outcome = work(grid, tmp_path, progress=False)
    assert outcome.done == 1
    message = "at most the 1198 images to learn from, got fusion.training.batch_size = 2000"
    assert message in outcome.failed[0][1]
    assert not (tmp_path / "teachers").exists()


def test_a_student_of_labels_alone_needs_no_weights_of_teachers(grid_file: Path, tmp_path: Path) -> None:
    absent = 'teachers=[{backbone="tiny-6", weights="none.safetensors"}]'
    outcome = work(load_grid(grid_file, [absent]), tmp_path, progress=False)
    assert outcome.done == 1
    assert "none.safetensors does not exist" in outcome.failed[0][1]
    outcome = work(load_grid(grid_file, [absent, "weights=start.safetensors"]), tmp_path, progress=False)
    assert "start.safetensors do not exist" in outcome.failed[0][1]
