"""Every hash loss against a loop over images and bits, its gradient, and multi-hot labels."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dmth_fast import Hasher
from dmth_fast.learning.config import LossConfig
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.losses import (
    HASH_LOSSES,
    QUANTIZERS,
    build_centers,
    build_loss,
    quantization_term,
)
from dmth_fast.learning.losses.alignment import (
    bit_balance,
    dsah_terms,
    hard_pairs,
    joint_quantization,
    joint_semantics,
    soft_pairs,
)
from dmth_fast.learning.losses.central import class_codes, csq_loss, hadamard_centers
from dmth_fast.learning.losses.ortho import ortho_loss
from dmth_fast.learning.losses.pairwise import (
    balanced_weights,
    cosine_loss,
    dch_loss,
    graded_loss,
    hashnet_loss,
    label_similarity,
)
from dmth_fast.learning.losses.quantizers import cauchy_quantization

BITS = 6


def values(rows: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(rows, BITS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def similarity() -> Tensor:
    labels = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1], [1, 1, 0]]).bool()
    return label_similarity(labels).double()


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def pairs_mean(h: Tensor, term: Callable[[list[float], list[float], int, int], float]) -> float:
    rows = h.tolist()
    n = len(rows)
    return sum(term(rows[i], rows[j], i, j) for i in range(n) for j in range(n)) / n**2


def test_label_similarity_is_the_cosine_of_label_vectors() -> None:
    s = similarity()
    assert float(s[0, 1]) == pytest.approx(1 / math.sqrt(2))
    assert float(s[0, 3]) == pytest.approx(2 / math.sqrt(6))
    assert float(s[0, 2]) == 0.0
    assert float(s[0, 4]) == float(s[2, 2]) == 1.0
    assert label_similarity(torch.tensor([3, 3, 1])).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_dch_follows_its_formula() -> None:
    h, s, gamma = values(), similarity(), 3.0
    weights = balanced_weights(s).tolist()

    def term(a: list[float], b: list[float], i: int, j: int) -> float:
        d = max(BITS / 2 * (1 - cosine(a, b)), 0.0)
        wanted = float(s[i, j])
        loss = wanted * math.log1p(d / gamma)
        if wanted < 1:
            loss += (1 - wanted) * math.log1p(gamma / max(d, 1e-3))
        return weights[i][j] * loss

    assert float(dch_loss(h, s, gamma=gamma)) == pytest.approx(pairs_mean(h, term))


def test_balanced_weights_give_both_kinds_the_same_say() -> None:
    s = similarity()
    weights = balanced_weights(s)
    assert float(weights[s > 0].sum()) == pytest.approx(float(weights[s == 0].sum()))
    assert balanced_weights(torch.ones(2, 2)).tolist() == [[1, 1], [1, 1]]


def test_hashnet_follows_its_formula() -> None:
    h, s = values(), similarity()
    weights = balanced_weights(s).tolist()

    def term(a: list[float], b: list[float], i: int, j: int) -> float:
        theta = 0.4 * sum(math.tanh(1.7 * x) * math.tanh(1.7 * y) for x, y in zip(a, b, strict=True))
        return weights[i][j] * (math.log1p(math.exp(theta)) - float(s[i, j]) * theta)

    assert float(hashnet_loss(h, s, beta=1.7, alpha=0.4)) == pytest.approx(pairs_mean(h, term))


@pytest.mark.parametrize("form", ["isdh", "idhn"])
def test_graded_losses_follow_their_formulae(form: str) -> None:
    h, s = values(), similarity()

    def term(a: list[float], b: list[float], i: int, j: int) -> float:
        phi = sum(math.tanh(x) * math.tanh(y) for x, y in zip(a, b, strict=True))
        theta, wanted = 5 * phi / BITS, float(s[i, j])
        if wanted < 0.01 or wanted > 0.99:
            return (10 if form == "isdh" else 1) * (math.log1p(math.exp(theta)) - wanted * theta)
        if form == "isdh":
            return (wanted - 1 / (1 + math.exp(-theta))) ** 2
        return 0.1 * BITS * ((phi + BITS) / (2 * BITS) - wanted) ** 2

    assert float(graded_loss(h, s, form=form)) == pytest.approx(pairs_mean(h, term))


def test_cosine_loss_follows_its_formula() -> None:
    h, s = values(), similarity()

    def term(a: list[float], b: list[float], i: int, j: int) -> float:
        phi = sum(math.tanh(x) * math.tanh(y) for x, y in zip(a, b, strict=True))
        return 0.1 * BITS * (phi / BITS - float(s[i, j])) ** 2

    assert float(cosine_loss(h, s)) == pytest.approx(pairs_mean(h, term))


def test_a_small_grade_nears_the_binary_similarity() -> None:
    labels = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 1]]).bool()
    h = values(3).float()
    one = torch.ones(3, BITS)
    binary = build_loss(LossConfig(hash_loss="cosine", similarity="binary"), one)(h, labels)
    fine = build_loss(LossConfig(hash_loss="cosine", grade=0.7), one)(h, labels)
    assert float(fine) == pytest.approx(float(cosine_loss(h, label_similarity(labels) ** 0.7)))
    near = build_loss(LossConfig(hash_loss="cosine", grade=1e-4), one)(h, labels)
    assert float(near) == pytest.approx(float(binary), rel=1e-3)


def test_csq_is_the_cross_entropy_of_bits() -> None:
    h, targets = values(), torch.sign(values(seed=1))
    total = 0.0
    for row, wanted in zip(h.tolist(), targets.tolist(), strict=True):
        for x, c in zip(row, wanted, strict=True):
            p = (1 + math.tanh(x)) / 2
            total -= math.log(p) if c > 0 else math.log(1 - p)
    assert float(csq_loss(h, targets)) == pytest.approx(total / h.numel())


def test_ortho_shares_the_probability_among_labels() -> None:
    h, centers = values(2), torch.sign(values(3, seed=1))
    labels = torch.tensor([[1, 1, 0], [0, 0, 1]]).bool()
    total = 0.0
    for row, mask in zip(h.tolist(), labels.tolist(), strict=True):
        logits = [2.0 * (cosine(row, c) - 0.3 * on) for c, on in zip(centers.tolist(), mask, strict=True)]
        log_sum = math.log(sum(math.exp(x) for x in logits))
        total -= sum(x - log_sum for x, on in zip(logits, mask, strict=True) if on) / sum(mask)
    assert float(ortho_loss(h, labels, centers, scale=2.0, margin=0.3)) == pytest.approx(total / 2)


def test_quantizers_follow_their_formulae() -> None:
    h = values()
    u = [[abs(math.tanh(x)) for x in row] for row in h.tolist()]
    flat = [x for row in u for x in row]
    assert float(QUANTIZERS["l1"](h)) == pytest.approx(sum(1 - x for x in flat) / len(flat))
    assert float(QUANTIZERS["l2"](h)) == pytest.approx(sum((1 - x) ** 2 for x in flat) / len(flat))
    spread = [
        math.log1p(BITS / 2 * (1 - cosine([abs(x) for x in row], [1.0] * BITS)) / 20) for row in h.tolist()
    ]
    assert float(QUANTIZERS["cauchy"](h)) == pytest.approx(sum(spread) / len(spread))


def test_gradients_of_pure_losses() -> None:
    h, s = values(4).requires_grad_(), similarity()[:4, :4]
    other = values(4, seed=2).requires_grad_()
    check = torch.autograd.gradcheck
    # Off the diagonal: the clamp at distance zero has no derivative there.
    assert check(lambda x: hashnet_loss(x, s, beta=1.2, alpha=0.3), (h,))
    assert check(lambda x: graded_loss(x, s, form="isdh"), (h,))
    assert check(lambda x: graded_loss(x, s, form="idhn"), (h,))
    assert check(lambda x: cosine_loss(x, s), (h,))
    assert check(lambda x: csq_loss(x, torch.sign(values(4, seed=1))), (h,))
    assert check(lambda x, y: hard_pairs(x, y, (s > 0).double()), (h, other))
    assert check(lambda x, y: soft_pairs(x, y, s), (h, other))
    assert check(lambda x: bit_balance(x), (h,))
    assert check(lambda x, y: joint_quantization(torch.tanh(x), torch.tanh(y)), (h, other))
    own, cross = s.clone(), s.T.clone()
    for terms in (
        lambda x, y: dsah_terms(x, y, s, own, cross, scale=1.5, intra=0.1),
        lambda x, y: joint_semantics(x, y, s, intra=0.1, pair=1.0),
    ):
        assert check(lambda x, y, t=terms: torch.stack(list(t(x, y).values())).sum(), (h, other))


def test_dch_has_a_finite_gradient_where_codes_coincide() -> None:
    h = torch.ones(3, BITS, requires_grad=True)
    dch_loss(h, torch.eye(3), gamma=20.0).backward()
    assert h.grad is not None
    assert bool(torch.isfinite(h.grad).all())


@pytest.mark.parametrize(("classes", "bits"), [(10, 64), (10, 48), (100, 32), (2, 1), (200, 16)])
def test_class_codes_of_csq_exist_for_any_width(classes: int, bits: int) -> None:
    centers = hadamard_centers(classes, bits, seed=0)
    assert centers.shape == (classes, bits)
    assert set(centers.unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(centers, hadamard_centers(classes, bits, seed=0))


@pytest.mark.parametrize(("classes", "bits"), [(1000, 16), (16, 4), (924, 12)])
def test_no_two_classes_have_the_same_code(classes: int, bits: int) -> None:
    for name in ("csq", "ortho"):
        centers = build_centers(LossConfig(hash_loss=name), classes, bits, seed=0)
        assert len(torch.unique(centers, dim=0)) == classes
        with pytest.raises(ValueError, match=f"{bits} bits make {2**bits} different class codes, got"):
            build_centers(LossConfig(hash_loss=name), 2**bits + 1, bits, seed=0)


def test_hadamard_codes_are_half_the_bits_apart() -> None:
    centers = hadamard_centers(10, 64, seed=1)
    distances = (64 - centers @ centers.T) / 2
    assert float(distances[~torch.eye(10, dtype=torch.bool)].min()) >= 32
    cropped = hadamard_centers(10, 48, seed=1)
    assert float(((48 - cropped @ cropped.T) / 2 + 99 * torch.eye(10)).min()) >= 16


def test_codes_of_several_classes_are_their_majority() -> None:
    centers = torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]])
    labels = torch.tensor([[1, 1, 1], [1, 1, 0]]).bool()
    assert class_codes(labels, centers).tolist() == [[1, 1, -1], [1, 1, -1]]


@pytest.mark.parametrize("name", sorted(HASH_LOSSES))
def test_named_losses_take_class_ids_and_label_rows(name: str) -> None:
    config = LossConfig(hash_loss=name)
    loss = build_loss(config, build_centers(config, 3, BITS, seed=0))
    h = values().float()
    single = loss(h, torch.tensor([0, 1, 2, 1, 0]))
    rows = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 1, 0]), 3).bool()
    assert loss(h, rows).item() == pytest.approx(single.item(), rel=1e-5)
    loss.on_step(100)
    rows[3] = False
    with pytest.raises(ValueError, match=r"at least one label a row, 1 of 5 rows have none \(first: \[3\]\)"):
        loss(h, rows)


def test_binary_similarity_makes_partners_of_all_that_share_a_label() -> None:
    h, rows = values(3).float(), torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 1]]).bool()
    centers = torch.ones(3, BITS)
    graded, plain = (
        build_loss(LossConfig(hash_loss="idhn", similarity=kind), centers)(h, rows)
        for kind in ("cosine", "binary")
    )
    wanted = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).float()
    assert float(plain) == pytest.approx(float(graded_loss(h, wanted, form="idhn")), rel=1e-5)
    assert float(graded) != pytest.approx(float(plain))


def test_one_gamma_scales_both_cauchy_terms() -> None:
    config, h = LossConfig(hash_loss="dch", quantizer="cauchy", gamma=3.0), values().float()
    assert float(quantization_term(config, h)) == float(cauchy_quantization(h, gamma=3.0))
    assert float(quantization_term(config, h)) != float(QUANTIZERS["cauchy"](h))
    for config in (LossConfig(quantizer="l1"), LossConfig(quantizer="cauchy")):
        assert float(quantization_term(config, h)) == float(QUANTIZERS[config.quantizer](h))


def test_a_loss_on_pairs_names_no_class() -> None:
    loss = build_loss(LossConfig(hash_loss="dch"), torch.ones(3, BITS))
    with pytest.raises(ValueError, match="compares pairs and names no classes"):
        loss.logits(values().float())


def test_a_hasher_trains_on_pairs_and_is_validated_without_classes(sets: tuple[ImageSet, ImageSet]) -> None:
    settings: dict[str, Any] = {"epochs": 1, "padding": 1, "flip": False}
    hasher = Hasher("tiny-4", bits=16, hash_loss="dch", quantizer="cauchy", quantization=0.1, **settings)
    hasher.fit(sets[0], validation=sets[1], progress=False)
    assert hasher.history[-1]["validation_map"] > 0.15
    assert "validation_accuracy" not in hasher.history[-1]
    assert hasher.history[-1]["quantization"] > 0


def test_dsah_terms_follow_their_formulae() -> None:
    u, v = torch.tanh(values()), torch.tanh(values(seed=1))
    s, own, other = (torch.rand(5, 5, generator=torch.Generator().manual_seed(k)).double() for k in range(3))
    terms = dsah_terms(u, v, s, own, other, scale=1.5, intra=0.1)
    a, b = u.tolist(), v.tolist()

    def mse(left: list[list[float]], right: list[list[float]], target: Tensor, factor: float = 1.0) -> float:
        errors = [
            (cosine(left[i], right[j]) - factor * float(target[i, j])) ** 2
            for i in range(5)
            for j in range(5)
        ]
        return sum(errors) / 25

    assert float(terms["fused"]) == pytest.approx(mse(b, b, s) + mse(a, b, s) + mse(a, a, s))
    assert float(terms["pair"]) == pytest.approx(
        sum((cosine(x, y) - 1.5) ** 2 for x, y in zip(a, b, strict=True)) / 5
    )
    crossed = [(cosine(a[i], b[j]) - cosine(a[j], b[i])) ** 2 for i in range(5) for j in range(5)]
    assert float(terms["symmetry"]) == pytest.approx(2 * sum(crossed) / 25)
    assert float(terms["intra"]) == pytest.approx(0.1 * (mse(a, a, own, 1.5) + mse(b, b, other, 1.5)))


def test_joint_semantics_and_joint_codes() -> None:
    u, v, s = torch.tanh(values()), torch.tanh(values(seed=1)), similarity()
    terms = joint_semantics(u, v, s, intra=0.1, pair=1.0)
    together = sum(cosine(x, y) for x, y in zip(u.tolist(), v.tolist(), strict=True)) / 5
    assert float(terms["pair"]) == pytest.approx(-together)
    flat = list(zip(u.flatten().tolist(), v.flatten().tolist(), strict=True))
    wanted = sum((x - (1 if x + y > 0 else -1)) ** 2 + (y - (1 if x + y > 0 else -1)) ** 2 for x, y in flat)
    assert float(joint_quantization(u, v)) == pytest.approx(wanted / len(flat))
