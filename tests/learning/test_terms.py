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
from dmth_fast.learning.distillation import (
    balanced_term,
    code_term,
    dist_term,
    feature_term,
    logit_term,
    queue_term,
    relational_term,
    self_term,
    standardized_logit_term,
)
from dmth_fast.learning.ensemble import confidence_weights, ensemble_term, entropy_weights, equal_weights
from dmth_fast.learning.losses import build_loss, l2_quantization, ortho, ortho_loss, random_centers
from dmth_fast.learning.losses.greedy import straight_through_sign
from dmth_fast.learning.losses.quantizers import bihalf_codes, bihalf_quantization, swd_quantization

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


def test_balanced_term_is_cosine_and_smooth_distance() -> None:
    a, b = 2 * draw(B, 7), draw(B, 7, seed=1)
    total = 0.0
    for i in range(B):
        total += 0.9 * (1 - cosine(a[i], b[i])) / B
        for j in range(7):
            gap = abs(float(a[i, j] - b[i, j]))
            total += 0.1 * (0.5 * gap * gap if gap < 1 else gap - 0.5) / (7 * B)
    assert float(balanced_term(a, b)) == pytest.approx(total)


def zscore(values: list[float]) -> list[float]:
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    return [(value - mean) / deviation for value in values]


def test_queue_term_compares_standardised_rows_without_the_image_itself() -> None:
    h, other = draw(B, BITS), draw(B, 7, seed=1)
    queue, queue_other = draw(9, BITS, seed=2), draw(9, 7, seed=3)
    same = torch.zeros(B, 9, dtype=torch.bool)
    same[0, 3] = same[2, 8] = same[2, 1] = True
    total, count = 0.0, 0
    for i in range(B):
        kept = [j for j in range(9) if not same[i, j]]
        own = zscore([cosine(torch.tanh(h[i]), torch.tanh(queue[j])) for j in kept])
        wanted = zscore([cosine(torch.tanh(other[i]), torch.tanh(queue_other[j])) for j in kept])
        total += sum((a - b) ** 2 for a, b in zip(own, wanted, strict=True))
        count += len(kept)
    assert float(queue_term(h, other, queue, queue_other, same)) == pytest.approx(total / count)


def test_standardized_logit_term_is_the_divergence_of_z_scores() -> None:
    own, other, tau = draw(B, CLASSES), draw(B, CLASSES, seed=1), 2.0
    total = 0.0
    for i in range(B):
        scores = []
        for side in (own[i].tolist(), other[i].tolist()):
            mean = sum(side) / CLASSES
            deviation = math.sqrt(sum((v - mean) ** 2 for v in side) / (CLASSES - 1)) + 1e-7
            scores.append(softmax([(v - mean) / deviation / tau for v in side]))
        total += sum(p * math.log(p / q) for q, p in zip(*scores, strict=True))
    assert float(standardized_logit_term(own, other, temperature=tau)) == pytest.approx(tau**2 * total / B)


def pearson(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(zscore(a), zscore(b), strict=True)) / len(a)


def test_dist_term_is_the_correlation_of_rows_and_columns() -> None:
    own, other, tau = draw(B, CLASSES), draw(B, CLASSES, seed=1), 2.0
    p, q = ([softmax([v / tau for v in row]) for row in side.tolist()] for side in (own, other))
    rows = sum(pearson(p[i], q[i]) for i in range(B)) / B
    columns = sum(pearson([row[c] for row in p], [row[c] for row in q]) for c in range(CLASSES)) / CLASSES
    assert float(dist_term(own, other, temperature=tau)) == pytest.approx(2 - rows - columns)


def test_self_term_is_one_minus_the_cosine_of_codes() -> None:
    strong, weak = draw(B, BITS), draw(B, BITS, seed=1)
    expected = sum(1 - cosine(torch.tanh(strong[i]), torch.tanh(weak[i])) for i in range(B)) / B
    assert float(self_term(strong, weak)) == pytest.approx(expected)


@pytest.mark.parametrize("teachers", [1, 2, 4])
def test_teachers_are_weighed_as_published(teachers: int) -> None:
    logits, labels = 2 * draw(B, teachers, CLASSES), torch.tensor([0, 3, 1, 1, 2])
    confident, certain = confidence_weights(logits, labels), entropy_weights(logits, labels)
    for i in range(B):
        chances = [softmax(row) for row in logits[i].tolist()]
        losses = softmax([-math.log(row[int(labels[i])]) for row in chances])
        entropies = [-sum(p * math.log(p) for p in row) for row in chances]
        for k in range(teachers):
            if teachers == 1:
                expected = (1.0, 1.0)
            else:
                expected = (
                    (1 - losses[k]) / (teachers - 1),
                    (1 - entropies[k] / sum(entropies)) / (teachers - 1),
                )
            assert float(confident[i, k]) == pytest.approx(expected[0])
            assert float(certain[i, k]) == pytest.approx(expected[1])
    assert equal_weights(logits, labels).sum(1).tolist() == pytest.approx([1.0] * B)


def test_ensemble_term_is_the_weighted_sum_of_divergences() -> None:
    own, teachers, tau = draw(B, CLASSES), draw(B, 3, CLASSES, seed=1), 2.5
    weights = torch.softmax(draw(B, 3, seed=2), 1)
    total = 0.0
    for k in range(3):
        for i in range(B):
            part = logit_term(own[i : i + 1], teachers[i : i + 1, k], temperature=tau)
            total += float(weights[i, k] * part) / B
    assert float(ensemble_term(own, teachers, weights, temperature=tau)) == pytest.approx(total)


@pytest.mark.parametrize("rows", [6, 7])
def test_bihalf_codes_set_each_bit_in_half_of_the_batch(rows: int) -> None:
    h = draw(rows, BITS).requires_grad_()
    codes = bihalf_codes(h)
    for j in range(BITS):
        column = h[:, j].tolist()
        upper = sorted(column, reverse=True)[: rows // 2]
        assert codes[:, j].tolist() == [1.0 if value in upper else -1.0 for value in column]
    slope = draw(rows, BITS, seed=1)
    codes.backward(slope)
    assert h.grad is not None
    assert torch.equal(h.grad, slope)
    expected = (torch.tanh(h.detach()) - codes.detach()).square().mean()
    assert float(bihalf_quantization(h.detach())) == pytest.approx(float(expected))


def test_l2_quantization_is_the_distance_from_the_corners() -> None:
    h = draw(B, BITS)
    expected = sum((abs(math.tanh(float(v))) - 1) ** 2 for v in h.flatten()) / h.numel()
    assert float(l2_quantization(h)) == pytest.approx(expected)


TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "feature": feature_term,
    "code": lambda a, b: code_term(a, b, temperature=0.7),
    "relational": relational_term,
    "logit": lambda a, b: logit_term(a, b, temperature=4.0),
    "balanced": balanced_term,
    "queue": lambda a, b: queue_term(
        a, b, draw(5, 6, seed=2), draw(5, 6, seed=3), torch.eye(4, 5, dtype=torch.bool)
    ),
    "standardized": lambda a, b: standardized_logit_term(a, b, temperature=2.0),
    "dist": lambda a, b: dist_term(a, b, temperature=2.0),
    "self": self_term,
    "ensemble": lambda a, b: ensemble_term(
        a, b.reshape(4, 2, 3).repeat(1, 1, 2), torch.full((4, 2), 0.5), temperature=2.0
    ),
}


@pytest.mark.parametrize("name", TERMS)
def test_gradients_reach_the_student_only(name: str) -> None:
    student, teacher = draw(4, 6).requires_grad_(), draw(4, 6, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: TERMS[name](x, teacher.detach()), student)
    TERMS[name](student, teacher).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_bihalf_quantization_gradient() -> None:
    assert torch.autograd.gradcheck(bihalf_quantization, draw(4, 6).requires_grad_())


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


@pytest.mark.parametrize(("classes", "bits"), [(10, 12), (100, 16), (300, 24)])
def test_random_centers_are_the_best_of_all_draws(classes: int, bits: int) -> None:
    generator = torch.Generator().manual_seed(7)
    best, most = torch.zeros(0), -1.0
    for _ in range(20):
        codes = torch.randint(0, 2, (classes, bits), generator=generator).float() * 2 - 1
        apart = (codes[:, None] != codes[None]).sum(2) + bits * torch.eye(classes)
        if float(apart.min()) > most:
            best, most = codes, float(apart.min())
    assert torch.equal(random_centers(classes, bits, seed=7, draws=20), best)


def test_fewer_centers_are_drawn_for_more_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = list[int]()
    monkeypatch.setattr(ortho, "least_distance", lambda codes: looks.append(len(codes)) or 1.0)
    for classes, draws in ((100, 200), (400, 200), (800, 50), (4000, 2)):
        looks.clear()
        assert random_centers(classes, 32, seed=0, draws=200).shape == (classes, 32)
        assert looks == [classes] * draws


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
