"""Losses and distillation terms against loops that follow the formulae word by word."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dmth_fast import Hasher
from dmth_fast.learning.config import LossConfig
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.distillation import code_term, feature_term, logit_term, relational_term
from dmth_fast.learning.losses import build_loss, l2_quantization, ortho_loss, random_centers
from dmth_fast.learning.losses.greedy import straight_through_sign
from dmth_fast.learning.losses.quantizers import swd_quantization

B, BITS, CLASSES = 5, 12, 4


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum()) / math.sqrt(float((a * a).sum()) * float((b * b).sum()))


def softmax(values: list[float]) -> list[float]:
    whole = sum(math.exp(value) for value in values)
    return [math.exp(value) / whole for value in values]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_ortho_is_cross_entropy_of_margined_cosines() -> None:
    h, labels = draw(B, BITS), torch.tensor([0, 3, 1, 1, 2])
    centers = random_centers(CLASSES, BITS, seed=1).double()
    total = 0.0
    for i in range(B):
        scores = [3.0 * (cosine(h[i], centers[k]) - (0.2 if k == labels[i] else 0.0)) for k in range(CLASSES)]
        total -= math.log(softmax(scores)[int(labels[i])])
    assert float(ortho_loss(h, labels, centers, scale=3.0, margin=0.2)) == pytest.approx(total / B)


def test_feature_term_is_one_minus_cosine() -> None:
    a, b = draw(B, 7), draw(B, 7, seed=1)
    expected = sum(1 - cosine(a[i], b[i]) for i in range(B)) / B
    assert float(feature_term(a, b)) == pytest.approx(expected)


@pytest.mark.parametrize("tau", [0.5, 1.0, 3.0])
def test_code_term_is_cross_entropy_of_bits(tau: float) -> None:
    h, wanted = draw(B, BITS), draw(B, BITS, seed=1)
    total = 0.0
    for i in range(B):
        for j in range(BITS):
            p, q = sigmoid(float(wanted[i, j]) / tau), sigmoid(float(h[i, j]) / tau)
            total -= p * math.log(q) + (1 - p) * math.log(1 - q)
    assert float(code_term(h, wanted, temperature=tau)) == pytest.approx(tau**2 * total / (B * BITS))


def test_relational_term_compares_similarities_of_any_width() -> None:
    h, other = draw(B, BITS), draw(B, 2 * BITS, seed=1)
    total = 0.0
    for i in range(B):
        for j in range(B):
            total += (
                cosine(torch.tanh(h[i]), torch.tanh(h[j]))
                - cosine(torch.tanh(other[i]), torch.tanh(other[j]))
            ) ** 2
    assert float(relational_term(h, other)) == pytest.approx(total / B**2)


def test_logit_term_is_tempered_divergence() -> None:
    own, other, tau = draw(B, CLASSES), draw(B, CLASSES, seed=1), 2.5
    total = 0.0
    for i in range(B):
        q, p = (softmax([float(v) / tau for v in side[i]]) for side in (own, other))
        total += sum(p[k] * math.log(p[k] / q[k]) for k in range(CLASSES))
    assert float(logit_term(own, other, temperature=tau)) == pytest.approx(tau**2 * total / B)


def test_l2_quantization_is_the_distance_from_the_corners() -> None:
    h = draw(B, BITS)
    expected = sum((abs(math.tanh(float(v))) - 1) ** 2 for v in h.flatten()) / h.numel()
    assert float(l2_quantization(h)) == pytest.approx(expected)


TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "feature": feature_term,
    "code": lambda a, b: code_term(a, b, temperature=0.7),
    "relational": relational_term,
    "logit": lambda a, b: logit_term(a, b, temperature=4.0),
}


@pytest.mark.parametrize("name", TERMS)
def test_gradients_reach_the_student_only(name: str) -> None:
    student, teacher = draw(4, 6).requires_grad_(), draw(4, 6, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: TERMS[name](x, teacher.detach()), student)
    TERMS[name](student, teacher).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_ortho_gradient() -> None:
    labels, centers = torch.tensor([0, 1, 2]), random_centers(3, 8, seed=0).double()
    h = draw(3, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ortho_loss(x, labels, centers, scale=2.0, margin=0.3), h)


def test_random_centers_are_far_apart_and_repeatable() -> None:
    centers = random_centers(10, 64, seed=3)
    assert torch.equal(centers, random_centers(10, 64, seed=3))
    assert set(centers.unique().tolist()) == {-1.0, 1.0}
    distances = (64 - centers @ centers.T) / 2
    assert float(distances[~torch.eye(10, dtype=torch.bool)].min()) >= 24


def test_greedy_classifies_the_bits() -> None:
    h, labels = draw(B, BITS), torch.tensor([0, 3, 1, 1, 2])
    loss = build_loss(LossConfig(hash_loss="greedy"), random_centers(CLASSES, BITS, seed=1).double())
    weight, total = loss.weight.detach(), 0.0
    for i in range(B):
        signs = torch.where(h[i] > 0, 1.0, -1.0).double()
        scores = softmax([float((weight[k] * signs).sum()) for k in range(CLASSES)])
        total -= math.log(scores[int(labels[i])]) / B
    total += 0.1 * sum(abs(abs(float(v)) - 1) ** 3 for v in h.flatten()) / h.numel()
    assert float(loss(h, labels).detach()) == pytest.approx(total)


def test_greedy_passes_the_gradient_straight_through() -> None:
    h = draw(2, 3).requires_grad_()
    straight_through_sign(h).backward(torch.ones(2, 3, dtype=torch.float64))
    assert h.grad is not None
    assert torch.equal(h.grad, torch.ones(2, 3, dtype=torch.float64))


def test_swd_compares_sorted_columns() -> None:
    h = draw(6, 3)
    torch.manual_seed(5)
    found = float(swd_quantization(h))
    torch.manual_seed(5)
    wanted = torch.randint(0, 2, (6, 3)).double() * 2 - 1
    total = 0.0
    for j in range(3):
        pairs = zip(sorted(torch.tanh(h[:, j]).tolist()), sorted(wanted[:, j].tolist()), strict=True)
        total += sum((u - r) ** 2 for u, r in pairs)
    assert found == pytest.approx(total / 18)


@pytest.mark.parametrize("name", ["ortho", "csq", "dch", "hashnet", "greedy"])
def test_every_hash_loss_trains_and_saves(name: str, train: ImageSet, tmp_path: Path) -> None:
    settings = {"epochs": 5, "batch_size": 64, "padding": 1, "flip": False, "lr": 0.05}
    hasher = Hasher("tiny-4", 16, hash_loss=name, quantization=0.1, quantizer="swd", **settings)
    hasher.fit(train, progress=False)
    assert hasher.history[-1]["hash"] < hasher.history[0]["hash"]
    hasher.save(tmp_path)
    assert (Hasher.load(tmp_path).encode(train) == hasher.encode(train)).all()
