"""Linear codes: what they minimise, and what they refuse."""

import pytest
import torch

from dmth_fast.learning.baselines import cca, itq_rotation, lsh, pca


def correlated(n: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(n, 2, generator=generator)
    image = torch.cat(
        [shared @ torch.randn(2, 3, generator=generator), torch.randn(n, 2, generator=generator)], 1
    )
    text = torch.cat(
        [shared @ torch.randn(2, 2, generator=generator), torch.randn(n, 2, generator=generator)], 1
    )
    return image, text


def test_principal_components_are_uncorrelated_and_sorted() -> None:
    image, _ = correlated()
    covariance = torch.cov(pca(image, 4)(image).T)
    variances = covariance.diagonal()
    assert torch.allclose(covariance, torch.diag(variances), atol=1e-8)
    assert bool((variances[:-1] >= variances[1:]).all())


def test_rotation_never_moves_values_further_from_their_signs() -> None:
    values = torch.randn(200, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    errors = []
    for iterations in (0, 1, 5, 50):
        rotated = values @ itq_rotation(values, iterations=iterations, seed=3)
        errors.append(float((torch.sign(rotated) - rotated).square().sum()))
    assert errors == sorted(errors, reverse=True)


def test_cca_finds_what_both_modalities_share() -> None:
    image, text = correlated()
    first, second = cca(image, text, 4, ridge=1e-6)
    x, y = first(image), second(text)
    correlations = torch.corrcoef(torch.cat([x.T, y.T]))[:4, 4:].diagonal()
    assert bool((correlations[:2] > 0.99).all())
    assert bool((correlations[2:].abs() < 0.3).all())


def test_more_bits_than_features_are_refused() -> None:
    image, text = correlated()
    with pytest.raises(ValueError, match=r"bits must lie in 1\.\.4 for CCA.*\(5 and 4\); got 8"):
        cca(image, text, 8, ridge=0.1)
    with pytest.raises(
        ValueError, match=r"bits must lie in 1\.\.5, the length of the features, for PCA; got 6"
    ):
        pca(image, 6)
    with pytest.raises(ValueError, match="ridge must be above 0"):
        cca(image, text, 2, ridge=0.0)
    assert lsh(image, 64, seed=0)(image).shape == (300, 64)


def test_a_projection_refuses_features_of_another_length() -> None:
    image, text = correlated()
    with pytest.raises(ValueError, match="features must have 5 columns"):
        pca(image, 2)(text)
