"""The SAKDH recipe on toy pairs."""

from pathlib import Path

import pytest

from dmth_fast.learning.alignment import CrossModalConfig
from dmth_fast.learning.config import TrainingConfig
from dmth_fast.learning.crossmodal import CrossModalHasher
from dmth_fast.learning.pairdata import PairDataConfig
from dmth_fast.learning.recipes import run_toy, sakdh


def test_the_recipe_compares_students_with_their_teacher(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    result = run_toy("sakdh", tmp_path)
    rows = {row["name"]: row for row in result["rows"]}
    assert rows.keys() == {"random", "djsrh", "jdsh", "dsah", "hard", "soft"}
    for name in ("dsah", "hard", "soft"):
        for direction in ("image_to_text", "text_to_image"):
            assert rows[name][direction] > 2 * rows["random"][direction]
    # Thirteen words carry no 32 components: the linear baselines say so and are left out.
    assert len(result["left_out"]) == 2
    assert all("bits must lie in 1..13 for CCA" in line for line in result["left_out"])
    student = CrossModalHasher.load(tmp_path / "hard-32")
    assert student.encode_text(["digit-3 inky-top"]).shape == (1, 4)


def test_students_need_their_teacher_among_the_methods() -> None:
    data = PairDataConfig(source="digits")
    with pytest.raises(ValueError, match="methods must include 'dsah'"):
        sakdh.Config(data=data, methods=("soft",))
    with pytest.raises(ValueError, match="methods must be one of random, pca-cca"):
        sakdh.Config(data=data, methods=("cmfh",))
    with pytest.raises(ValueError, match="bits must hold at least one value"):
        sakdh.Config(data=data, bits=())
    seeded = CrossModalConfig(training=TrainingConfig(seed=3))
    with pytest.raises(ValueError, match=r"student\.training\.seed must be left at 0, got 3: set seeds"):
        sakdh.Config(data=data, student=seeded)
