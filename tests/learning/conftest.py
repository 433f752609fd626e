"""Small real images and quickly trained networks, shared by the tests of learning."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from dmth_fast import FusedTeacher, Hasher
from dmth_fast.learning.data import ImageSet, digits

VIEWS: dict[str, Any] = {"padding": 1, "flip": False}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Tiny layers gain nothing from threads and lose much when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def sets() -> tuple[ImageSet, ImageSet]:
    pytest.importorskip("sklearn")
    return digits()


@pytest.fixture(scope="session")
def train(sets: tuple[ImageSet, ImageSet]) -> ImageSet:
    return sets[0].select(torch.arange(0, 1150, 3))


@pytest.fixture(scope="session")
def test(sets: tuple[ImageSet, ImageSet]) -> ImageSet:
    return sets[1].select(torch.arange(0, 599, 2))


@pytest.fixture(scope="session")
def single(train: ImageSet) -> Hasher:
    return Hasher("tiny-8", bits=20, epochs=12, batch_size=64, **VIEWS).fit(train, progress=False)


@pytest.fixture(scope="session")
def other(train: ImageSet) -> Hasher:
    return Hasher("tiny-6", bits=20, epochs=12, batch_size=64, seed=1, **VIEWS).fit(train, progress=False)


@pytest.fixture(scope="session")
def fused(single: Hasher, other: Hasher, train: ImageSet) -> FusedTeacher:
    teacher = FusedTeacher([single, other], bits=20, views=2, dim=32, epochs=6, batch_size=64, **VIEWS)
    return teacher.fit(train, progress=False)
