"""Grids on scikit-learn's digits."""

import os
from pathlib import Path

import pytest

# One thread: the networks are tiny, and results of a stopped run are compared bit by bit.
os.environ["OMP_NUM_THREADS"] = "1"

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


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A grid of one student and random codes."""
    pytest.importorskip("sklearn")
    path = tmp_path / "small.toml"
    path.write_text(
        f'{SMALL}[[arms]]\nname = "student"\ndistilled = false\n[[arms]]\nname = "random"\nkind = "random"'
    )
    return path
