"""Grids on scikit-learn's digits."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

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


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """One thread here and in processes: results of stopped runs are compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A grid of one student and random codes."""
    pytest.importorskip("sklearn")
    path = tmp_path / "small.toml"
    path.write_text(
        f'{SMALL}[[arms]]\nname = "student"\ndistilled = false\n[[arms]]\nname = "random"\nkind = "random"'
    )
    return path
