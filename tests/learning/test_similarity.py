"""Similarity builders against loops over pairs, and what they refuse."""

import math

import pytest
import torch
from torch import Tensor

from dmth_fast.learning.similarity import SIMILARITIES, build_similarity, cosine_matrix, nearest_mask


def features(rows: int = 7, columns: int = 5, seed: int = 0) -> Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a: list[float], b: list[float]) -> float:
    norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / norms


def signed(rows: Tensor) -> list[list[float]]:
    values = rows.tolist()
    return [[2 * cosine(a, b) - 1 for b in values] for a in values]


def test_dsah_is_the_weighted_sum_of_both_modalities() -> None:
    image, text = features(), features(columns=3, seed=1)
    own, other = signed(image), signed(text)
    got = build_similarity("dsah", image, text, image_weight=0.7, scale=1.3)
    for i in range(7):
        for j in range(7):
            assert float(got[i, j]) == pytest.approx(1.3 * (0.7 * own[i][j] + 0.3 * other[i][j]))


def test_djsrh_adds_the_agreement_of_neighbourhoods() -> None:
    image, text = features(), features(columns=3, seed=1)
    own, other = signed(image), signed(text)
    joint = [[0.6 * own[i][j] + 0.4 * other[i][j] for j in range(7)] for i in range(7)]
    got = build_similarity("djsrh", image, text, image_weight=0.6, high_order=0.4, scale=1.5)
    for i in range(7):
        for j in range(7):
            second = sum(joint[i][k] * joint[j][k] for k in range(7)) / 7
            assert float(got[i, j]) == pytest.approx(1.5 * (0.6 * joint[i][j] + 0.4 * second))


def test_jdsh_adds_the_agreement_across_modalities() -> None:
    image, text = features(), features(columns=3, seed=1)
    own, other = signed(image), signed(text)
    got = build_similarity(
        "jdsh", image, text, image_weight=0.4, text_weight=0.3, cross_weight=0.3, scale=1.0
    )
    for i in range(7):
        for j in range(7):
            cross = (cosine(own[i], other[j]) + cosine(own[j], other[i])) / 2
            assert float(got[i, j]) == pytest.approx(0.4 * own[i][j] + 0.3 * other[i][j] + 0.3 * cross)


@pytest.mark.parametrize("name", sorted(SIMILARITIES))
def test_builders_are_symmetric_and_have_gradients(name: str) -> None:
    image, text = features(4, 3).requires_grad_(), features(4, 2, seed=1).requires_grad_()
    got = build_similarity(name, image, text)
    assert torch.allclose(got, got.T)
    assert torch.autograd.gradcheck(lambda x, y: SIMILARITIES[name](x, y), (image, text))


def test_a_zero_row_is_like_nothing() -> None:
    assert cosine_matrix(torch.zeros(1, 3), torch.ones(2, 3)).tolist() == [[0.0, 0.0]]


def test_nearest_mask_follows_a_sort_of_each_row() -> None:
    codes = features(9, 4)
    mask = nearest_mask(codes, 3)
    for i, row in enumerate(cosine_matrix(codes, codes).tolist()):
        nearest = sorted(range(9), key=lambda j: (-row[j], j))[:3]
        assert [j for j in range(9) if mask[i, j]] == sorted(nearest)


@pytest.mark.parametrize(
    ("image", "text", "name", "message"),
    [
        (torch.ones(3, 2), torch.ones(4, 2), "dsah", "same pairs, got 3 and 4 rows"),
        (torch.ones(3, 2), torch.tensor([[1.0], [math.nan], [1.0]]), "dsah", "finite, got nan at row 1"),
        (
            torch.tensor([[1.0], [math.inf]]),
            torch.ones(2, 2),
            "jdsh",
            "image features must be finite, got inf",
        ),
        (torch.ones(3), torch.ones(3, 2), "dsah", r"image features must have shape \(n, d\)"),
        (torch.ones(3, 2), torch.ones(3, 2), "ukd", "one of dsah, djsrh, jdsh; got 'ukd'"),
    ],
)
def test_bad_values_are_refused(image: Tensor, text: Tensor, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_similarity(name, image, text)


def test_integer_features_are_refused() -> None:
    with pytest.raises(TypeError, match="image features must be floating point"):
        build_similarity("dsah", torch.ones(2, 2, dtype=torch.int64), torch.ones(2, 2))


@pytest.mark.parametrize("neighbours", [0, 4])
def test_more_neighbours_than_pairs_are_refused(neighbours: int) -> None:
    with pytest.raises(ValueError, match=r"neighbours must lie in 1\.\.3"):
        nearest_mask(torch.eye(3), neighbours)
