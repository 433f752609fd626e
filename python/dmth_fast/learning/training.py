"""The one training loop: seeded, resumable, through accelerate."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dmth_fast.atomic import write_text
from dmth_fast.learning.config import TrainingConfig
from dmth_fast.learning.deadline import refuse_more
from dmth_fast.learning.progress import Reporter
from dmth_fast.learning.selection import NORM_BATCHES, Keeper
from dmth_fast.learning.selection import Metrics as Metrics
from dmth_fast.learning.weights import load_file, save_tensors

CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.jsonl"
_FORMAT = "dmth-fast-checkpoint-1"


class BatchSource(Protocol):
    """What the loop draws batches from."""

    def __len__(self) -> int:
        """Return the number of images."""

    def batch(self, index: Tensor, epoch: int) -> tuple[Any, ...]:
        """Return the objective's arguments for the images at ``index`` (int64) in ``epoch`` (from 0)."""


def train_objective(
    objective: nn.Module,
    source: BatchSource,
    config: TrainingConfig,
    *,
    title: str,
    settings: Mapping[str, Any],
    run_dir: Path | None = None,
    resume: bool = False,
    progress: bool = True,
    on_epoch: Callable[[], Metrics] | None = None,
) -> list[Metrics]:
    """Train a module whose forward returns named loss terms, their weighted sum under ``"loss"``.

    If the module has ``on_step``, it is called with the number of steps done after each of them.

    Everything random is drawn anew from (seed, epoch), so an interrupted run that is resumed ends with the
    same bits as an uninterrupted one, on the same torch, instruction set and number of threads. With
    ``run_dir`` each epoch leaves a checkpoint and a line of ``metrics.jsonl``.

    Args:
        objective: trained in place.
        source: of the batches.
        config: of the run.
        title: what the progress bar says.
        settings: what the checkpoint belongs to; resuming with others is refused.
        run_dir: folder of checkpoint and metrics; None writes nothing.
        resume: continue from the checkpoint in ``run_dir`` if there is one.
        progress: show a progress bar, or a line an epoch where the output is no terminal.
        on_epoch: called after each epoch; its numbers are added to the metrics.

    Returns:
        One dict an epoch: epoch (from 1), lr, mean of each term, images_per_second, seconds.

    Raises:
        ValueError: fewer images than a batch, or a checkpoint of other settings.
        FloatingPointError: a term is not finite; the last checkpoint is left as it is.
        OutOfTimeError: the time of :func:`.deadline.deadline` is over; the checkpoint is kept.
    """
    from accelerate import Accelerator

    if len(source) < config.batch_size:
        raise ValueError(
            f"training needs at least one batch of {config.batch_size} images, got {len(source)}"
        )
    accelerator = Accelerator(cpu=config.device == "cpu", mixed_precision="no")
    share = config.batch_size // accelerator.num_processes
    steps = len(source) // config.batch_size
    optimizer = build_optimizer(objective, config)
    history: list[Metrics] = []
    checkpoint = None if run_dir is None else run_dir / CHECKPOINT
    keeper = Keeper(objective, config, on_epoch)
    if checkpoint is not None and resume and checkpoint.exists():
        history = load_checkpoint(checkpoint, objective, optimizer, keeper, settings)
    if run_dir is not None and accelerator.is_main_process:
        write_text(run_dir / METRICS, "".join(json.dumps(line) + "\n" for line in history))
    prepared: nn.Module
    prepared, optimizer = accelerator.prepare(objective, optimizer)
    with torch.random.fork_rng(), Reporter(title, config.epochs, steps, enabled=progress) as reporter:
        for epoch in range(len(history), config.epochs):
            begin = time.perf_counter()
            torch.manual_seed(config.seed * 1_000_003 + epoch)
            order = torch.randperm(
                len(source), generator=torch.Generator().manual_seed(config.seed + 7919 * epoch)
            )
            prepared.train()
            sums: dict[str, float] = {}
            for step in range(steps):
                lr = learning_rate(config, epoch * steps + step, config.epochs * steps)
                for group in optimizer.param_groups:
                    group["lr"] = lr * group["factor"]
                first = step * config.batch_size + accelerator.process_index * share
                terms = prepared(*_to(source.batch(order[first : first + share], epoch), accelerator.device))
                values = {name: float(term.detach()) for name, term in terms.items()}
                refuse_nonfinite(values, epoch, step)
                optimizer.zero_grad()
                accelerator.backward(terms["loss"])
                optimizer.step()
                keeper.after_step(epoch * steps + step)
                if (on_step := getattr(objective, "on_step", None)) is not None:
                    on_step(epoch * steps + step + 1)
                for name, value in values.items():
                    sums[name] = sums.get(name, 0.0) + value
                reporter.step(epoch, config.batch_size, values["loss"])
            seconds = time.perf_counter() - begin
            metrics: Metrics = {"epoch": epoch + 1, "lr": lr}
            metrics |= {name: value / steps for name, value in sums.items()}
            metrics |= {"images_per_second": steps * config.batch_size / seconds, "seconds": seconds}

            def norm_batches(order: Tensor = order, epoch: int = epoch) -> Iterator[tuple[Any, ...]]:
                for index in torch.split(order, config.batch_size)[: min(steps, NORM_BATCHES)]:
                    yield _to(source.batch(index, epoch), accelerator.device)

            metrics |= keeper.after_epoch(norm_batches, last=epoch + 1 == config.epochs)
            history.append(metrics)
            reporter.epoch(metrics)
            if run_dir is not None and checkpoint is not None and accelerator.is_main_process:
                save_checkpoint(checkpoint, objective, optimizer, keeper, history, settings)
                with (run_dir / METRICS).open("a") as file:
                    file.write(json.dumps(metrics) + "\n")
            if checkpoint is not None and epoch + 1 < config.epochs:
                refuse_more(f"epoch {epoch + 1} of {config.epochs}")
    objective.eval()
    return history


def build_optimizer(objective: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Build the optimiser; weight decay acts on parameters of two or more dimensions only.

    Parameters below a module named ``backbone`` learn at ``backbone_lr`` times the rate.
    """
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            factor = config.backbone_lr if "backbone" in name.split(".") else 1.0
            members.setdefault((decay, factor), []).append(parameter)
    groups = [
        {"params": params, "weight_decay": decay, "factor": factor}
        for (decay, factor), params in members.items()
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999))


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Return the rate of ``step`` out of ``steps``: up in a line, then down as the schedule says.

    Example:
        >>> config = TrainingConfig(lr=1.0, warmup=0.5, schedule="linear")
        >>> [learning_rate(config, step, 4) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    warm = round(config.warmup * steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    left = 1 - (step - warm) / max(1, steps - warm)
    if config.schedule == "constant":
        return config.lr
    return config.lr * (left if config.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * left))


def refuse_nonfinite(terms: Mapping[str, float], epoch: int, step: int) -> None:
    """Raise FloatingPointError naming the terms that are NaN or infinite."""
    if bad := [f"{name} = {value}" for name, value in terms.items() if not math.isfinite(value)]:
        raise FloatingPointError(f"training stopped in epoch {epoch + 1}, step {step + 1}: {', '.join(bad)}")


def save_checkpoint(
    path: Path,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    keeper: Keeper,
    history: list[Metrics],
    settings: Mapping[str, Any],
) -> None:
    """Write weights, averages, optimiser state and history as one safetensors file, in one atomic step."""
    tensors = {f"model.{key}": value for key, value in objective.state_dict().items()} | keeper.tensors()
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer.{i}.{key}": value for key, value in state.items() if isinstance(value, Tensor)
        }
    metadata = {
        "format": _FORMAT,
        "history": json.dumps(history),
        "settings": json.dumps(settings, sort_keys=True),
    }
    save_tensors(path, tensors, metadata)


def load_checkpoint(
    path: Path,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    keeper: Keeper,
    settings: Mapping[str, Any],
) -> list[Metrics]:
    """Restore what :func:`save_checkpoint` wrote and return the history.

    Raises:
        ValueError: no checkpoint of this package, or one of other settings.
    """
    tensors, metadata = load_file(path)
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"checkpoint {path} must have the format {_FORMAT}, got {metadata.get('format')!r}")
    if metadata["settings"] != json.dumps(settings, sort_keys=True):
        raise ValueError(f"checkpoint {path} belongs to other settings; use another folder, or do not resume")
    objective.load_state_dict({key[6:]: value for key, value in tensors.items() if key.startswith("model.")})
    keeper.restore(tensors)
    whole = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".", 2)
            state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
    history: list[Metrics] = json.loads(metadata["history"])
    return history


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: _to(value, device) for key, value in batch.items()}
    return type(batch)(_to(item, device) for item in batch) if isinstance(batch, tuple | list) else batch
