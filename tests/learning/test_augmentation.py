"""Random views: what they show, and that nothing but (seed, view, image) decides."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from dmth_fast import Hasher
from dmth_fast.learning.augmentation import IMAGENET, crop_and_flip, normalize
from dmth_fast.learning.data import from_array

IMAGES = torch.randint(1, 256, (40, 3, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
INDEX = torch.arange(40)


def views(index: torch.Tensor = INDEX, seed: int = 0, view: int = 0) -> torch.Tensor:
    return crop_and_flip(IMAGES[index], index, seed=seed, view=view, padding=2, flip=True)


@given(
    st.lists(st.integers(0, 39), min_size=1, max_size=40, unique=True),
    st.integers(0, 2**31),
    st.integers(0, 99),
)
def test_the_batch_around_an_image_does_not_matter(chosen: list[int], seed: int, view: int) -> None:
    index = torch.tensor(chosen)
    assert torch.equal(views(index, seed, view), views(INDEX, seed, view)[index])


def test_seed_and_view_matter() -> None:
    assert not torch.equal(views(), views(view=1))
    assert not torch.equal(views(), views(seed=1))


def test_each_view_is_a_shift_with_black_edges_perhaps_mirrored() -> None:
    seen = set()
    for image, view in zip(IMAGES, views(), strict=True):
        padded = torch.nn.functional.pad(image, (2, 2, 2, 2))
        candidates = {
            (row, column, mirrored): window.flip(2) if mirrored else window
            for row in range(5)
            for column in range(5)
            for mirrored in (False, True)
            if (window := padded[:, row : row + 6, column : column + 6]) is not None
        }
        found = [key for key, candidate in candidates.items() if torch.equal(candidate, view)]
        assert len(found) == 1
        seen.add(found[0])
    assert len({key[0] for key in seen}) == len({key[1] for key in seen}) == 5
    assert len({key[2] for key in seen}) == 2


def test_shifts_and_mirrors_are_even() -> None:
    index = torch.arange(20_000)
    marks = torch.zeros(20_000, 3, 1, 3, dtype=torch.uint8)
    marks[:, :, :, 0] = 1
    flipped = crop_and_flip(marks, index, seed=5, view=3, padding=0, flip=True)[:, 0, 0, 2].float().mean()
    assert abs(float(flipped) - 0.5) < 0.02
    dot = torch.zeros(20_000, 3, 3, 3, dtype=torch.uint8)
    dot[:, :, 1, 1] = 1
    places = crop_and_flip(dot, index, seed=5, view=3, padding=1, flip=False)[:, 0].float().mean(0)
    assert float((places - 1 / 9).abs().max()) < 0.01


def test_normalize_is_what_published_networks_expect() -> None:
    mean, deviation = (torch.tensor(part).view(1, 3, 1, 1) for part in IMAGENET)
    expected = (IMAGES / 255 - mean) / deviation
    torch.testing.assert_close(normalize(IMAGES, IMAGENET), expected, atol=1e-5, rtol=1e-5)


def test_augmentation_is_a_small_part_of_a_step() -> None:
    # One percent on a processor's core; a tenth is what it may cost.
    images = from_array(
        IMAGES.repeat(4, 1, 6, 6)[:128, :, :32, :32].numpy()[:, :, :, :31], labels=[0, 1] * 64
    )
    hasher = Hasher("resnet20", 16, epochs=2, batch_size=64).fit(images, progress=False)
    assert min(line["batch_seconds"] / line["seconds"] for line in hasher.history) < 0.1
