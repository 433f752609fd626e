"""The training loop: repeatable, resumable to the bit, and loud about what goes wrong."""

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dmth_fast
from dmth_fast import FusedTeacher, Hasher
from dmth_fast.learning import training
from dmth_fast.learning.checkpoint import save_checkpoint
from dmth_fast.learning.config import TrainingConfig
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.interrupt import Interrupt
from dmth_fast.learning.optimization import learning_rate
from dmth_fast.learning.selection import Keeper, recompute_norms
from dmth_fast.learning.training import train_objective
from dmth_fast.learning.weights import load_file

VIEWS: dict[str, Any] = {"padding": 1, "flip": False, "batch_size": 64}


def weights(hasher: Hasher) -> dict[str, Tensor]:
    return hasher.network.state_dict()


def equal(first: Hasher, second: Hasher) -> bool:
    return all(torch.equal(value, weights(second)[key]) for key, value in weights(first).items())


def test_equal_seeds_give_equal_bits(train: ImageSet) -> None:
    first, second, third = (
        Hasher("tiny-4", 16, epochs=2, seed=seed, **VIEWS).fit(train, progress=False) for seed in (3, 3, 4)
    )
    assert equal(first, second)
    assert not equal(first, third)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "precision": "bf16"},
        {"optimizer": "adamw"},
        {"ema": 0.9},
        {"ema": 0.9, "keep": "best"},
    ],
    ids=str,
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    train: ImageSet,
    test: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    settings = {**VIEWS, "epochs": 3, "lr": 0.01, **changes}
    validation = test if "keep" in changes else None
    whole = Hasher("tiny-4", 16, **settings).fit(train, validation=validation, progress=False)
    save, calls = training.save_checkpoint, []

    def interrupted(*arguments: Any) -> None:
        save(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Hasher("tiny-4", 16, **settings).fit(
                train, validation=validation, progress=False, run_dir=tmp_path
            )
    resumed = Hasher("tiny-4", 16, **settings).fit(
        train, validation=validation, progress=False, run_dir=tmp_path, resume=True
    )
    assert equal(whole, resumed)
    assert [line["loss"] for line in whole.history] == [line["loss"] for line in resumed.history]
    lines = (tmp_path / training.METRICS).read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == [training.CHECKPOINT, training.METRICS]


@pytest.mark.parametrize(
    "changes",
    [{"quantizer": "swd", "quantization": 0.1, "ema": 0.9}, {"hash_loss": "hashnet", "mixup": 0.5}],
    ids=str,
)
def test_ctrl_c_inside_an_epoch_loses_nothing(
    train: ImageSet,
    fused: FusedTeacher,
    test: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    teacher = None if "mixup" in changes else fused
    settings = {**VIEWS, "epochs": 2, "queue": 70, "unlabelled_batch": 90, **changes}
    more = ImageSet(images=test.images)
    arguments = {"teacher": teacher, "unlabelled": more if teacher else None, "progress": False}
    whole = Hasher("tiny-4", 20, **settings).fit(train, **arguments)
    steps, after = [], Keeper.after_step

    def press(keeper: Keeper, step: int) -> None:
        after(keeper, step)
        steps.append(step)
        if step == 9:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "after_step", press)
        with pytest.raises(KeyboardInterrupt):
            Hasher("tiny-4", 20, **settings).fit(train, run_dir=tmp_path, **arguments)
    # Six steps an epoch: the tenth, in the second epoch, was the last, and is finished.
    assert steps[-1] == 9
    resumed = Hasher("tiny-4", 20, **settings).fit(train, run_dir=tmp_path, resume=True, **arguments)
    assert equal(whole, resumed)
    assert [line["loss"] for line in whole.history] == [line["loss"] for line in resumed.history]


def test_the_second_ctrl_c_does_not_wait() -> None:
    def pressed_twice() -> None:
        with Interrupt():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("still running")

    with pytest.raises(KeyboardInterrupt):
        pressed_twice()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_batches_and_teachers_cost_is_in_the_metrics(fused: FusedTeacher, train: ImageSet) -> None:
    cached, live = (
        Hasher("tiny-4", 20, epochs=1, live=live, **VIEWS).fit(train, teacher=fused, progress=False)
        for live in (False, True)
    )
    assert cached.history[0]["teacher_seconds"] == 0.0
    assert 0 < live.history[0]["teacher_seconds"] < live.history[0]["batch_seconds"]
    assert live.history[0]["batch_seconds"] < live.history[0]["seconds"]


def test_frozen_norms_keep_their_statistics(train: ImageSet) -> None:
    hasher = Hasher("tiny-4", 16, epochs=1, frozen_norms=True, **VIEWS)
    before = {key: value.clone() for key, value in weights(hasher).items()}
    hasher.fit(train, progress=False)
    for key, value in weights(hasher).items():
        assert torch.equal(value, before[key]) == ("running" in key or "num_batches" in key), key


def test_frozen_norms_keep_their_statistics_with_averaged_weights(train: ImageSet) -> None:
    hasher = Hasher("tiny-4", 16, epochs=1, frozen_norms=True, ema=0.9, **VIEWS).fit(train, progress=False)
    for key, value in weights(hasher).items():
        if "running" in key:
            assert torch.equal(value, torch.full_like(value, float("var" in key))), key


def test_another_precision_than_accelerate_was_given_is_refused(
    train: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(ValueError, match="launched with mixed precision bf16, the training's"):
        Hasher("tiny-4", 16, epochs=1, **VIEWS).fit(train, progress=False)
    Hasher("tiny-4", 16, epochs=1, precision="bf16", **VIEWS).fit(train, progress=False)


def test_a_checkpoint_of_other_settings_is_refused(train: ImageSet, tmp_path: Path) -> None:
    Hasher("tiny-4", 16, epochs=1, **VIEWS).fit(train, progress=False, run_dir=tmp_path)
    with pytest.raises(ValueError, match="belongs to other settings"):
        Hasher("tiny-4", 16, epochs=2, **VIEWS).fit(train, progress=False, run_dir=tmp_path, resume=True)


def test_a_checkpoint_of_other_labels_is_refused(
    train: ImageSet, single: Hasher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = train.required_labels("test")
    others = dataclasses.replace(train, labels=labels.flip(0))
    renamed = dataclasses.replace(train, classes=tuple("abcdefghij"))
    made = {
        "student": lambda: Hasher("tiny-4", 16, epochs=1, **VIEWS),
        "teacher": lambda: FusedTeacher([single], bits=16, views=1, dim=8, epochs=1, **VIEWS),
    }
    for name, make in made.items():
        make().fit(train, progress=False, run_dir=tmp_path / name)
        for images in (others, renamed):
            with pytest.raises(ValueError, match="belongs to other settings"):
                make().fit(images, progress=False, run_dir=tmp_path / name, resume=True)
        make().fit(train, progress=False, run_dir=tmp_path / name, resume=True)
    # An earlier version did not write them.
    with monkeypatch.context() as patch:
        patch.setattr(
            training, "save_checkpoint", lambda *a: save_checkpoint(*a[:5], without_labels(a[5]), a[6])
        )
        made["student"]().fit(train, progress=False, run_dir=tmp_path / "earlier")
    made["student"]().fit(train, progress=False, run_dir=tmp_path / "earlier", resume=True)


def without_labels(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "labels"}


def test_a_truncated_checkpoint_is_refused(train: ImageSet, tmp_path: Path) -> None:
    Hasher("tiny-4", 16, epochs=1, **VIEWS).fit(train, progress=False, run_dir=tmp_path)
    path = tmp_path / training.CHECKPOINT
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        Hasher("tiny-4", 16, epochs=1, **VIEWS).fit(train, progress=False, run_dir=tmp_path, resume=True)


class Source:
    def __len__(self) -> int:
        return 8

    def batch(self, index: Tensor, epoch: int) -> tuple[Any, ...]:
        return (torch.full((len(index), 1), float("nan") if epoch else 1.0),)


class Objective(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        steady, wild = self.linear.weight.sum(), self.linear(x).mean()
        return {"loss": steady + wild, "steady": steady, "wild": wild}


def test_a_term_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    config = TrainingConfig(epochs=2, batch_size=4)
    with pytest.raises(FloatingPointError, match=r"epoch 2, step 1: loss = nan, wild = nan$"):
        train_objective(
            Objective(), Source(), config, title="", settings={}, run_dir=tmp_path, progress=False
        )
    tensors, metadata = load_file(tmp_path / training.CHECKPOINT)
    assert len(json.loads(metadata["history"])) == 1
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values())


def test_fewer_images_than_a_batch() -> None:
    with pytest.raises(ValueError, match="at least one batch of 9 images, got 8"):
        train_objective(
            Objective(), Source(), TrainingConfig(batch_size=9), title="", settings={}, progress=False
        )


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_rate_rises_then_falls(schedule: str) -> None:
    config = TrainingConfig(lr=2.0, warmup=0.25, schedule=schedule)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:25] == sorted(rates[:25])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert max(rates) == pytest.approx(2.0)
    assert 0 < rates[-1] < 0.06


def test_progress_without_a_terminal_is_a_line_an_epoch(
    train: ImageSet, capsys: pytest.CaptureFixture[str]
) -> None:
    Hasher("tiny-4", 16, epochs=2, **VIEWS).fit(train)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["tiny-4 plain 1/2", "tiny-4 plain 2/2"]


def test_the_best_epoch_is_kept(train: ImageSet, test: ImageSet) -> None:
    # A rate that ruins the network after a good first epoch.
    settings = {**VIEWS, "epochs": 4, "lr": 0.1, "warmup": 0.0, "schedule": "constant", "optimizer": "adamw"}
    hasher = Hasher("tiny-8", 16, keep="best", **settings).fit(train, validation=test, progress=False)
    labels = test.required_labels("test").numpy()
    codes = hasher.encode(test)
    found = float(dmth_fast.evaluate(codes, labels, codes, labels, exclude="self").map)
    best = max(hasher.history, key=lambda line: line["validation_map"])
    assert found == pytest.approx(best["validation_map"])
    assert best["epoch"] < 4
    assert hasher.metrics == {name: value for name, value in best.items() if name.startswith("validation_")}
    with pytest.raises(ValueError, match="keep='best' needs validation images"):
        Hasher("tiny-8", 16, keep="best", **settings).fit(train, progress=False)


def test_the_average_follows_the_weights() -> None:
    objective = Objective()
    keeper = Keeper(objective, TrainingConfig(ema=0.5), None)
    first = objective.linear.weight.detach().clone()
    with torch.no_grad():
        objective.linear.weight.add_(8.0)
    keeper.after_step(100)
    keeper.after_step(101)
    keeper.after_epoch(lambda: (), last=True)
    torch.testing.assert_close(objective.linear.weight, first + 6.0)


def test_the_average_follows_a_module_that_moves() -> None:
    objective = Objective()
    keeper = Keeper(objective, TrainingConfig(ema=0.5), None)
    objective.to("meta")
    keeper.after_step(0)
    assert {value.device.type for value in keeper.tensors().values()} == {"meta"}


def test_recomputed_norms_are_those_of_the_images(train: ImageSet) -> None:
    norm = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
    values = torch.randn(64, 3) * 3 + 5
    recompute_norms(norm, ((part,) for part in values.split(16)))
    torch.testing.assert_close(norm[0].running_mean, values.mean(0))
    expected = torch.stack([part.var(0) for part in values.split(16)]).mean(0)
    torch.testing.assert_close(norm[0].running_var, expected)
    assert norm[0].momentum == 0.1
    hasher = Hasher("tiny-4", 16, epochs=1, **VIEWS).fit(train, progress=False)
    darker = ImageSet(images=train.images // 4)
    before = hasher.values(darker).mean(0)
    hasher.recalibrate(darker)
    assert abs(hasher.values(darker).mean(0)).max() < abs(before).max()


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"), [(257, 256, [129, 128]), (3, 2, [3]), (9, 4, [3] * 3)]
)
def test_recalibration_takes_batches_of_one_size(
    train: ImageSet, count: int, batch_size: int, sizes: list[int]
) -> None:
    hasher, found = Hasher("tiny-4", 16), list[int]()
    hasher.network.register_forward_pre_hook(lambda _, arguments: found.append(len(arguments[0])))
    assert hasher.recalibrate(train.select(torch.arange(count)), batch_size) is hasher
    assert found == sizes


def test_an_error_in_recalibration_leaves_the_network_as_it_was(train: ImageSet) -> None:
    hasher = Hasher("tiny-4", 16).recalibrate(train)
    before = {key: value.clone() for key, value in weights(hasher).items()}

    def fail(*_: object) -> None:
        raise RuntimeError("no memory left")

    hook = hasher.network.head.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="no memory left"):
        hasher.recalibrate(train)
    hook.remove()
    assert all(torch.equal(value, before[key]) for key, value in weights(hasher).items())
    assert {part.momentum for part in hasher.network.modules() if isinstance(part, nn.BatchNorm2d)} == {0.1}
    with pytest.raises(ValueError, match="at least two images, got 1"):
        hasher.recalibrate(train.select(torch.arange(1)))
