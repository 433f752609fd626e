"""Fusions of teacher features against their formulae."""

import math

import pytest
import torch

from dmth_fast.learning.config import FusionConfig, LossConfig
from dmth_fast.learning.fusion import FUSIONS, AttentionFusion, FusedNetwork, entropy
from dmth_fast.learning.fusion_objective import FusionObjective
from dmth_fast.learning.losses import build_loss
from dmth_fast.learning.standardization import Standardization


def network(fusion: str, dropout: float = 0.0) -> FusedNetwork:
    torch.manual_seed(0)
    return FusedNetwork(
        (5, 7),
        fusion=fusion,
        dim=6,
        bits=8,
        num_classes=3,
        temperature=4.0,
        dropout=dropout,
        standardization="dimension",
        probes=(False, True),
    )


@pytest.mark.parametrize("name", FUSIONS)
def test_weights_are_a_distribution_over_teachers(name: str) -> None:
    fusion = FUSIONS[name](3, 6, 2.0)
    fused, weights = fusion(torch.randn(4, 3, 6))
    assert fused.shape == (4, fusion.output_dim)
    assert weights.shape == (4, 3)
    torch.testing.assert_close(weights.sum(1), torch.ones(4))


@pytest.mark.parametrize("name", ["mean", "static", "attention"])
def test_one_teacher_is_passed_through(name: str) -> None:
    z = torch.randn(4, 1, 6)
    torch.testing.assert_close(FUSIONS[name](1, 6, 2.0)(z)[0], z[:, 0])


def test_concat_keeps_everything() -> None:
    z = torch.randn(4, 3, 6)
    assert torch.equal(FUSIONS["concat"](3, 6, 1.0)(z)[0], z.reshape(4, 18))


def test_attention_follows_the_gated_formula() -> None:
    fusion, z = AttentionFusion(2, 4, 3.0), torch.randn(2, 2, 4)
    fused, weights = fusion(z)
    U, G, v = (layer.weight.detach() for layer in (fusion.value, fusion.gate, fusion.score))
    for i in range(2):
        e = [float(v[0] @ (torch.tanh(U @ z[i, k]) * torch.sigmoid(G @ z[i, k]))) for k in range(2)]
        whole = sum(math.exp(value / 3.0) for value in e)
        a = [math.exp(value / 3.0) / whole for value in e]
        torch.testing.assert_close(weights[i], torch.tensor(a))
        torch.testing.assert_close(fused[i], a[0] * z[i, 0] + a[1] * z[i, 1])


def test_entropy_is_greatest_for_equal_weights() -> None:
    assert float(entropy(torch.tensor([[0.25] * 4]))) == pytest.approx(math.log(4))
    assert float(entropy(torch.tensor([[1.0, 0.0]]))) == 0.0


def test_statistics_standardize_the_features_they_came_from() -> None:
    fused, features = network("mean"), torch.randn(50, 5) * 3 + 7
    fused.set_statistics([features.half(), torch.zeros(50, 7)])
    standardized = fused.standardize([features, torch.zeros(50, 7)])[0]
    torch.testing.assert_close(standardized.mean(0), torch.zeros(5), atol=1e-2, rtol=0)
    torch.testing.assert_close(standardized.std(0), torch.ones(5), atol=1e-2, rtol=0)


def test_only_teachers_without_a_classifier_get_a_probe() -> None:
    assert set(network("attention").probes) == {"1"}


def test_unknown_fusion_is_named() -> None:
    with pytest.raises(ValueError, match=r"fusion must be one of attention, .*got 'sum'"):
        network("sum")


@pytest.mark.parametrize("dim", [1, 2, 7, 24])
def test_phi_s_gives_every_dimension_the_same_variance_and_keeps_angles(dim: int) -> None:
    generator = torch.Generator().manual_seed(dim)
    features = torch.randn(400, dim, generator=generator) @ torch.randn(dim, dim, generator=generator) + 5
    standardization = Standardization("phi-s", dim)
    standardization.fit(features)
    found = standardization(features)
    torch.testing.assert_close(found.var(0), torch.ones(dim), atol=1e-3, rtol=0)
    centred = features - features.mean(0)
    expected = centred @ centred.T / float(standardization.scale[0]) ** 2
    torch.testing.assert_close(found @ found.T, expected, atol=1e-3, rtol=1e-3)


def test_no_standardization_changes_nothing() -> None:
    standardization, features = Standardization("none", 3), torch.randn(5, 3)
    standardization.fit(features)
    assert torch.equal(standardization(features), features)


def test_the_hash_loss_of_a_fusion_is_told_the_steps() -> None:
    config = FusionConfig(loss=LossConfig(hash_loss="hashnet"))
    objective = FusionObjective(network("mean"), build_loss(config.loss, torch.ones(3, 8)), config)
    features, labels = [torch.randn(4, 5), torch.randn(4, 7)], torch.tensor([0, 1, 2, 0])
    with torch.no_grad():
        first = float(objective(features, labels)["hash"])
        objective.on_step(5000)
        assert float(objective(features, labels)["hash"]) != pytest.approx(first)
