"""The students of CUKDFIR: their published cost, their two heads, and the distillation without labels."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dmth_fast import Hasher
from dmth_fast.learning import protocols
from dmth_fast.learning.backbones import build_backbone
from dmth_fast.learning.config import TrainingConfig
from dmth_fast.learning.data import ImageSet, join
from dmth_fast.learning.distillation import FEATURE_TERMS, balanced_term
from dmth_fast.learning.feature_distillation import (
    FeatureBatches,
    FeatureObjective,
    ViewConfig,
    distil_features,
    file_state,
)
from dmth_fast.learning.frozen import Teacher
from dmth_fast.learning.macs import count_macs
from dmth_fast.learning.network import HashNetwork
from dmth_fast.learning.protocols import DataConfig, open_split, seen_by
from dmth_fast.learning.recipes import cukdfir, run_file, run_toy
from dmth_fast.learning.weights import save_tensors

PUBLISHED = {
    "cuk_v1-flatten": {16: 3.339, 32: 3.371, 48: 3.404, 64: 3.437},
    "cuk_v2-flatten": {16: 4.864, 32: 4.929, 48: 4.995, 64: 5.060},
}
"""Millions of parameters with a linear hash layer, at 224 x 224."""


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_students_have_the_published_parameters(name: str) -> None:
    backbone = build_backbone(name)
    body = sum(parameter.numel() for parameter in backbone.parameters())
    for bits, millions in PUBLISHED[name].items():
        assert round((body + backbone.feature_dim * bits + bits) / 1e6, 3) == millions
        # Our hash layer has a batch norm in place of the bias: one value a bit more.
        ours = sum(parameter.numel() for parameter in HashNetwork(backbone, bits).parameters())
        assert ours == body + backbone.feature_dim * bits + 2 * bits


@pytest.mark.parametrize(("name", "billions"), [("cuk_v1-flatten", 1.087), ("cuk_v2-flatten", 1.111)])
def test_students_have_the_published_cost(name: str, billions: float) -> None:
    assert round(count_macs(HashNetwork(build_backbone(name), 64), 224) / 1e9, 3) == billions


def test_teachers_have_the_published_cost() -> None:
    resnet = HashNetwork(build_backbone("resnet50"), 64)
    body = sum(p.numel() for name, p in resnet.backbone.named_parameters() if not name.startswith("fc."))
    assert round((body + 2048 * 64 + 64) / 1e6, 3) == 23.639
    assert round(count_macs(resnet, 224) / 1e9, 3) == 4.087


def test_pooled_students_take_any_size_and_flat_ones_do_not() -> None:
    pooled, flat = build_backbone("cuk_v1").eval(), build_backbone("cuk_v1-flatten").eval()
    assert pooled(torch.zeros(1, 3, 64, 80)).shape == (1, 128)
    assert flat.feature_dim == 2048
    with pytest.raises(ValueError, match="must be 224 x 224, got 64 x 64; cuk_v1 takes any size"):
        flat(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match="at least 32 pixels a side"):
        pooled(torch.zeros(1, 3, 16, 64))


def test_a_flat_student_needs_a_teacher_of_its_length() -> None:
    flat = build_backbone("cuk_v1-flatten")
    assert isinstance(FeatureObjective(flat, 2048, "mse", "fp32").projection, torch.nn.Identity)
    with pytest.raises(
        ValueError, match="2048 values and no projector, the teacher's have 1280: take cuk_v1,"
    ):
        FeatureObjective(flat, 1280, "mse", "fp32")


def test_a_flat_student_takes_features_as_they_are() -> None:
    with pytest.raises(ValueError, match=r"no projector .* must be 'none', got 'dimension'"):
        FeatureObjective(build_backbone("cuk_v1-flatten"), 2048, "mse", "fp32", "dimension")


@pytest.mark.parametrize("kind", ["dimension", "phi-s"])
def test_standardised_features_teach_alike_at_any_scale(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images, target = (torch.randn(size, generator=generator) for size in ((6, 3, 8, 8), (6, 5)))
    losses = []
    for factor, shift in ((1.0, 0.0), (40.0, 7.0)):
        torch.manual_seed(0)
        objective = FeatureObjective(build_backbone("tiny-4"), 5, "mse", "fp32", kind).eval()
        objective.standardization.fit(factor * target + shift)
        losses.append(objective(images, factor * target + shift)["loss"].detach())
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-4)
    standard = (target - target.mean(0)) / target.std(0)
    if kind == "dimension":
        with torch.no_grad():
            wanted = (objective.projection(objective.backbone(images)) - standard).square().mean()
        assert float(losses[0]) == pytest.approx(float(wanted), rel=1e-4)


def test_feature_terms_follow_their_formulae() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    errors = [(a - b) for r, s in zip(x.tolist(), y.tolist(), strict=True) for a, b in zip(r, s, strict=True)]
    assert float(FEATURE_TERMS["mse"](x, y)) == pytest.approx(sum(e * e for e in errors) / 12)
    smooth = sum(0.5 * e * e if abs(e) < 1 else abs(e) - 0.5 for e in errors) / 12
    cosines = [
        sum(a * b for a, b in zip(r, s, strict=True))
        / math.sqrt(sum(a * a for a in r) * sum(b * b for b in s))
        for r, s in zip(x.tolist(), y.tolist(), strict=True)
    ]
    wanted = 0.9 * (1 - sum(cosines) / 4) + 0.1 * smooth
    assert float(balanced_term(x, y)) == pytest.approx(wanted)
    assert torch.autograd.gradcheck(lambda z: balanced_term(z, y), (x.requires_grad_(),))


def test_teacher_and_student_see_the_same_views(tmp_path: Path) -> None:
    save_file(build_backbone("tiny-4").state_dict(), tmp_path / "teacher.safetensors")
    teacher = Teacher("tiny-4", tmp_path / "teacher.safetensors")
    pixels = torch.randint(
        0, 256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    images = ImageSet(images=pixels)
    student = build_backbone("tiny-8")
    batches = FeatureBatches(ViewConfig(views=2, seed=3), images, teacher, student, tmp_path / "cache")
    index = torch.tensor([4, 1])
    for epoch in (0, 1, 2):
        inputs, features = batches.batch(index, epoch)
        with torch.no_grad():
            assert torch.allclose(teacher.backbone(inputs), features, atol=2e-3)
    again = FeatureBatches(ViewConfig(views=2, seed=3), images, teacher, student, tmp_path / "cache")
    assert torch.equal(again.batch(index, 1)[1], batches.batch(index, 1)[1])


def test_alexnet_has_the_published_parameters() -> None:
    with torch.device("meta"):
        network = build_backbone("alexnet")
    body = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("classifier.6."))
    assert round((body + 4096 * 64 + 64) / 1e6, 3) == 57.266


def test_teachers_load_local_weights(tmp_path: Path) -> None:
    network = build_backbone("resnet50")
    save_file({key: value.half() for key, value in network.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = build_backbone("resnet50", tmp_path / "w.safetensors")
    first = next(iter(network.state_dict()))
    assert torch.allclose(loaded.state_dict()[first], network.state_dict()[first], atol=1e-3)


def test_the_recipe_runs_both_steps(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    result = run_toy("cukdfir", tmp_path)
    arms = [row for row in result["rows"] if not row.get("baseline")]
    assert {row["start"] for row in arms} == {"scratch", "distilled", "teacher"}
    assert all(0 < row["map"] <= 1 and row["macs"] > 0 for row in arms)
    baselines = [row["name"] for row in result["rows"] if row.get("baseline")]
    starts = ("tiny-8, scratch", "tiny-8, distilled", "tiny-16, teacher")
    assert baselines == ["random codes", *(f"trivial, 10 bits: {start}, csq" for start in starts)]
    firsts = [item["first"] for item in result["comparisons"]]
    assert firsts == ["distilled, dch", "teacher, dch", "distilled, csq", "teacher, csq"]
    assert result["complete"]
    assert (tmp_path / "tradeoff.png").stat().st_size > 1000
    again = run_file(
        "cukdfir",
        tmp_path / "config.toml",
        tmp_path / "again",
        overrides=["losses=['csq']", "starts=['scratch']"],
    )
    assert again["rows"][0]["map"] == next(r["map"] for r in result["rows"] if r["loss"] == "csq")


def test_unknown_names_are_listed() -> None:
    with pytest.raises(ValueError, match="feature_loss must be one of mse, cosine, balanced; got 'l3'"):
        cukdfir.Config(protocol="digits", data=cukdfir.DataConfig(), feature_loss="l3")
    with pytest.raises(ValueError, match="losses must be one of dch, csq"):
        cukdfir.Config(protocol="digits", data=cukdfir.DataConfig(), losses=("ortho",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step1": TrainingConfig(seed=3)}, r"step1\.seed must be left at 0, got 3: set seed, at the top"),
        ({"step2": TrainingConfig(precision="bf16")}, r"step2\.precision must be left at 'fp32'"),
        ({"step2": TrainingConfig(backbone_lr=0.1)}, r"step2\.backbone_lr .* set teacher_lr"),
        ({"step2": TrainingConfig(keep="best")}, r"step2\.keep must be left at 'last'"),
        ({"data": DataConfig(validation_fraction=0.1)}, r"data\.validation_fraction must be left at 0\.0"),
        ({"data": DataConfig(unlabelled=True)}, r"data\.unlabelled must be left at False, got True"),
    ],
)
def test_settings_that_the_recipe_makes_itself_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(cukdfir.toy(), **changes)


@pytest.mark.parametrize("name", ["tiny-4@16", "torchvision:shufflenet_v2_x0_5", "tiny-4", "cuk_v1"])
def test_weights_are_written_under_the_names_they_are_read_by(name: str, tmp_path: Path) -> None:
    network = build_backbone(name).eval()
    save_tensors(tmp_path / "w.safetensors", file_state(network))
    read = build_backbone(name, tmp_path / "w.safetensors").eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(read(images), network(images))


def short(**changes: Any) -> cukdfir.Config:
    """The toy with an epoch a step and one arm."""
    step = dataclasses.replace(cukdfir.toy().step1, epochs=1)
    return dataclasses.replace(cukdfir.toy(), losses=("csq",), bits=(16,), step1=step, step2=step, **changes)


def test_any_backbone_can_be_the_student_and_its_card_says_what_it_saw(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    config = short(student="tiny-4@16", starts=("distilled",), seen=("imagenet",))
    cukdfir.run(config, tmp_path, progress=False)
    split = open_split("digits", DataConfig(), tmp_path, 0)
    assert Hasher.load(tmp_path / "distilled-csq-16").seen == (*seen_by("digits", split), "imagenet")


def test_random_weights_need_no_step_1(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    result = cukdfir.run(short(starts=("teacher",)), tmp_path, progress=False)
    assert result["complete"]


def test_a_teacher_that_saw_too_much_or_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setitem(protocols._FORBIDDEN, "digits", ("cifar10-train",))
    data = DataConfig(root=str(tmp_path))
    for name, seen, message in (
        ("w-cifar10", (), "protocol digits forbids teacher tiny-16: it has seen cifar10-train"),
        ("w", (), "protocol digits must know what teacher tiny-16 has seen"),
        ("w", ("cifar10-train",), "protocol digits forbids teacher tiny-16"),
    ):
        (tmp_path / f"{name}.safetensors").write_bytes(b"")
        with pytest.raises(ValueError, match=message):
            cukdfir.run(
                short(data=data, weights=f"{name}.safetensors", seen=seen), tmp_path / "run", progress=False
            )
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors do not exist"):
        cukdfir.run(short(data=data, weights="none.safetensors"), tmp_path / "run", progress=False)
    large = dataclasses.replace(short(), step2=TrainingConfig(batch_size=2000))
    with pytest.raises(ValueError, match=r"step2\.batch_size must be at most the 1198 images"):
        cukdfir.run(large, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_step_1_is_not_continued_with_another_teacher(
    sets: tuple[ImageSet, ImageSet], tmp_path: Path
) -> None:
    def step_1(seed: int) -> None:
        torch.manual_seed(seed)
        save_tensors(tmp_path / "w.safetensors", build_backbone("tiny-4").state_dict())
        distil_features(
            "tiny-4",
            sets[1],
            lambda: Teacher("tiny-4", tmp_path / "w.safetensors"),
            term="mse",
            standardization="none",
            views=ViewConfig(),
            cache=None,
            training=TrainingConfig(epochs=1),
            out=tmp_path,
            progress=False,
        )

    step_1(0)
    step_1(1)  # done: nothing is asked
    (tmp_path / "step1.safetensors").unlink()
    step_1(0)
    (tmp_path / "step1.safetensors").unlink()
    with pytest.raises(ValueError, match="belongs to other settings"):
        step_1(1)


def test_stored_features_teach_step_1(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    train, queries = sets
    images = join([train, queries])
    features = images.images[:].float().flatten(1)[:, ::3] / 255
    save_tensors(tmp_path / "clip.safetensors", {"features": features}, {"names": json.dumps(images.names)})
    short = dataclasses.replace(cukdfir.toy().step1, epochs=1)
    config = dataclasses.replace(
        cukdfir.toy(),
        teacher=f"features:{tmp_path}/clip.safetensors",
        starts=("scratch", "distilled"),
        losses=("csq",),
        bits=(16,),
        step1=short,
        step2=short,
    )
    result = cukdfir.run(config, tmp_path / "run", progress=False)
    assert [row["start"] for row in result["rows"] if "start" in row] == ["scratch", "distilled"]
    with pytest.raises(ValueError, match="starts must be without 'teacher'"):
        dataclasses.replace(config, starts=("teacher",))
