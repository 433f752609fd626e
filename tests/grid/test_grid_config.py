"""Grids as TOML: which cells there are, in which order, and what is refused."""

from pathlib import Path

import pytest

from dmth_fast.grid.config import load_grid

EXPERIMENTS = Path(__file__).parents[2] / "benchmarks" / "experiments"

SMALL = """
protocol = "digits"
backbone = "tiny-4"
bits = 16
seeds = [3]

[augmentation]
padding = 1
flip = false

[[teachers]]
backbone = "tiny-6"
epochs = 1

[fusion]
views = 1
dim = 16
training.epochs = 1

[student.training]
epochs = 4
"""

UNTAUGHT = SMALL.replace("epochs = 1\n\n[fusion]", 'weights = "w.safetensors"\n\n[fusion]')

ARMS = """
[[arms]]
name = "plain"
distilled = false

[[arms]]
name = "wide"
bits = [32]
student.training.lr = 0.5

[[arms]]
name = "concat"
kind = "fusion"
sets = ["b"]
fusion.fusion = "concat"
"""

SETS = """
[[sets]]
name = "a"

[[sets]]
name = "b"
backbone = "tiny-8"
teachers = ["tiny-6"]
"""


def write(path: Path, text: str) -> Path:
    file = path / "grid.toml"
    file.write_text(text)
    return file


def test_cells_come_seed_by_seed_and_arms_confine_themselves(tmp_path: Path) -> None:
    text = SMALL.replace("bits = 16", "bits = [16, 32]").replace("seeds = [3]", "seeds = [3, 4]")
    grid = load_grid(write(tmp_path, text + SETS + ARMS))
    assert [cell.title for cell in grid.cells[:7]] == [
        "a, 16 bits, seed 3: plain",
        "a, 32 bits, seed 3: plain",
        "a, 32 bits, seed 3: wide",
        "b, 16 bits, seed 3: plain",
        "b, 16 bits, seed 3: concat",
        "b, 32 bits, seed 3: plain",
        "b, 32 bits, seed 3: wide",
    ]
    assert len(grid.cells) == 16
    assert {cell.config.seed for cell in grid.cells[8:]} == {4}
    wide = grid.cells[2].config
    assert (wide.bits, wide.student.training.lr, wide.student.training.epochs) == (32, 0.5, 4)
    assert grid.cells[4].config.backbone == "tiny-8"
    assert grid.cells[4].config.fusion.fusion == "concat"


def test_keys_follow_the_settings_and_not_the_place_of_the_cache(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL + ARMS.replace('sets = ["b"]\n', "").replace("bits = [32]\n", ""))
    keys = [cell.key for cell in load_grid(path).cells]
    assert len(set(keys)) == 3
    assert keys == [cell.key for cell in load_grid(path, ["cache=elsewhere", "threads=1"]).cells]
    changed = [cell.key for cell in load_grid(path, ["student.training.lr=0.3"]).cells]
    # The second arm has a rate of its own.
    assert [old == new for old, new in zip(keys, changed, strict=True)] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SMALL, "at least one"),
        (SMALL + '[[arms]]\nkind = "student"', "needs a name"),
        (SMALL + '[[arms]]\nname = "a"\n[[arms]]\nname = "a"', "two of"),
        (SMALL + '[[arms]]\nname = "a"\nkind = "teacher"', "kind must be one of"),
        (SMALL + '[[arms]]\nname = "a"\nsets = ["x"]', "sets must be one of"),
        (SMALL + '[[arms]]\nname = "a"\nbits = [8]', "has no cell"),
        (SMALL + '[[arms]]\nname = "a"\nseed = 7', "seed belongs to the file"),
        (SMALL + '[[arms]]\nname = "a"\nstudent.lr = 1.0', "has no key 'lr'"),
        (SMALL + '[[arms]]\nname = "a"\nkind = "fusion"\ntrivial = true', "trivial is for a student"),
        (SMALL + '[[sets]]\nname = "s"\nteachers = ["no"]\n[[arms]]\nname = "a"', "teachers must be one of"),
        ('comparisons = [["a", "b"]]\n' + SMALL + '[[arms]]\nname = "a"', "comparisons must be one of"),
        ('comparisons = ["a"]\n' + SMALL + '[[arms]]\nname = "a"', "pairs of rows"),
        (
            SMALL + '[[arms]]\nname = "a"\nstudent.loss.hash_loss = "orto"',
            r"student\.loss\.hash_loss must be one",
        ),
        (SMALL + '[[arms]]\nname = "a"\nstudent.distillation.mixup = 0.2', r"mixup needs .*live = true"),
        (SMALL + '[[arms]]\nname = "a"\nstudent.training.keep = "best"', r"needs data\.validation_fraction"),
        ("labels = false\n" + UNTAUGHT + '[[arms]]\nname = "a"\ndistilled = false', "needs distilled = true"),
        (SMALL.replace("bits = 16", "bits = 0") + '[[arms]]\nname = "a"', "bits must lie in"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_grid(write(tmp_path, text))


def test_wrong_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="bits must be an integer"):
        load_grid(write(tmp_path, SMALL.replace("bits = 16", 'bits = "16"') + '[[arms]]\nname = "a"'))
    plain = SMALL.replace('[[teachers]]\nbackbone = "tiny-6"\nepochs = 1\n', "")
    with pytest.raises(TypeError, match=r"config\.teachers\[0\] must be a table, got 'a'"):
        load_grid(write(tmp_path, 'teachers = ["a"]\n' + plain + '[[arms]]\nname = "a"'))
    with pytest.raises(TypeError, match=r"arms must be \[\[arms\]\] tables"):
        load_grid(write(tmp_path, 'arms = "a"\n' + SMALL))


def test_arms_that_follow_no_teacher_may_mix_images(tmp_path: Path) -> None:
    text = SMALL + '[[arms]]\nname = "a"\ndistilled = false\nstudent.distillation.mixup = 0.2'
    assert len(load_grid(write(tmp_path, text)).cells) == 1


GRIDS = sorted(path for path in EXPERIMENTS.glob("*.toml") if "[[arms]]" in path.read_text())


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_the_experiments_are_valid(path: Path) -> None:
    grid = load_grid(path)
    assert len({cell.key for cell in grid.cells}) == len(grid.cells)
    for cell in grid.cells:
        assert cell.config.protocol.startswith(("cifar", "digits"))
        assert all(teacher.seen or teacher.epochs for teacher in cell.config.teachers)
