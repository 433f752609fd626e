"""The one training loop: seeded, resumable, through accelerate."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dmth_fast.atomic import write_text
from dmth_fast.learning.checkpoint import CHECKPOINT as CHECKPOINT
from dmth_fast.learning.checkpoint import Position, load_checkpoint, save_checkpoint
from dmth_fast.learning.config import TrainingConfig
from dmth_fast.learning.deadline import OutOfTimeError, out_of_time
from dmth_fast.learning.interrupt import Interrupt
from dmth_fast.learning.optimization import build_optimizer, learning_rate
from dmth_fast.learning.parallel import any_process, join_processes, share
from dmth_fast.learning.progress import Reporter
from dmth_fast.learning.selection import NORM_BATCHES, Keeper
from dmth_fast.learning.selection import Metrics as Metrics

METRICS = "metrics.jsonl"


class BatchSource(Protocol):
    """What the loop draws batches from.

    It may have ``seek(epoch, step)``, called before a batch that does not follow the last one, and
    ``teacher_seconds``, what running teachers has taken so far.
    """

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
    ``run_dir`` each epoch leaves a checkpoint and a line of ``metrics.jsonl``; on Ctrl-C or SIGTERM the step
    is finished and a checkpoint left inside the epoch.

    Under ``accelerate launch`` each process takes its share of every batch. A module that gathers the rows of
    all before its loss (:func:`~dmth_fast.learning.parallel.gather_rows`) then takes the steps that one
    process would take; only batch norms see the own share, unless ``frozen_norms``.

    Args:
        objective: trained in place.
        source: of the batches.
        config: of the run.
        title: what the progress bar says.
        settings: what the checkpoint belongs to; resuming with others is refused.
        run_dir: folder of checkpoint and metrics; None writes nothing.
        resume: continue from the checkpoint in ``run_dir`` if there is one.
        progress: show a progress bar, and a line an epoch.
        on_epoch: called after each epoch; its numbers are added to the metrics.

    Returns:
        One dict an epoch: epoch (from 1), lr, mean of each term, images_per_second, seconds, batch_seconds
        (making the batches: views, normalising, looking up targets) and, if the source says so,
        teacher_seconds (running teachers; 0 where all is cached).

    Raises:
        ValueError: fewer images than a batch, a batch that the processes cannot share equally, another
            precision than ``accelerate launch`` was given, or a checkpoint of other settings.
        FloatingPointError: a term is not finite; the last checkpoint is left as it is.
        OutOfTimeError: the time of :func:`.deadline.deadline` is over; the checkpoint is kept.
    """
    if len(source) < config.batch_size:
        raise ValueError(
            f"training needs at least one batch of {config.batch_size} images, got {len(source)}"
        )
    accelerator = _accelerator(config)
    main = accelerator.is_main_process
    steps = len(source) // config.batch_size
    optimizer = build_optimizer(objective, config)
    history: list[Metrics] = []
    position, random = Position(), dict[str, Tensor]()
    checkpoint = None if run_dir is None else run_dir / CHECKPOINT
    keeper = Keeper(objective, config, on_epoch)
    if checkpoint is not None and resume and checkpoint.exists():
        history, position, random = load_checkpoint(checkpoint, objective, optimizer, keeper, settings)
    accelerator.wait_for_everyone()
    if run_dir is not None and main:
        write_text(run_dir / METRICS, "".join(json.dumps(line) + "\n" for line in history))
    prepared: nn.Module
    prepared, optimizer = accelerator.prepare(objective, optimizer)
    on_step = getattr(objective, "on_step", None)
    if on_step is not None:
        on_step(len(history) * steps + position.step)
    with (
        torch.random.fork_rng(),
        Reporter(title, config.epochs, steps, enabled=progress and main) as reporter,
        Interrupt(enabled=checkpoint is not None) as interrupt,
    ):
        for epoch in range(len(history), config.epochs):
            begin, making, taught = time.perf_counter(), 0.0, getattr(source, "teacher_seconds", None)
            torch.manual_seed(config.seed * 1_000_003 + epoch)
            order = torch.randperm(
                len(source), generator=torch.Generator().manual_seed(config.seed + 7919 * epoch)
            )
            prepared.train()
            if config.frozen_norms:
                freeze_norms(prepared)
            first_step, sums = position.step, dict(position.sums)
            if first_step:
                _set_random(random)
                if (seek := getattr(source, "seek", None)) is not None:
                    seek(epoch, first_step)
            position = Position()
            for step in range(first_step, steps):
                lr = learning_rate(config, epoch * steps + step, config.epochs * steps)
                for group in optimizer.param_groups:
                    group["lr"] = lr * group["factor"]
                begun = time.perf_counter()
                index = order[step * config.batch_size : (step + 1) * config.batch_size]
                batch = _to(source.batch(index[share(len(index))], epoch), accelerator.device)
                making += time.perf_counter() - begun
                terms = prepared(*batch)
                values = {name: float(term.detach()) for name, term in terms.items()}
                refuse_nonfinite(values, epoch, step)
                optimizer.zero_grad()
                accelerator.backward(terms["loss"])
                optimizer.step()
                keeper.after_step(epoch * steps + step)
                if on_step is not None:
                    on_step(epoch * steps + step + 1)
                for name, value in values.items():
                    sums[name] = sums.get(name, 0.0) + value
                reporter.step(epoch, config.batch_size, values["loss"])
                if checkpoint is not None and any_process(interrupt.asked) and step + 1 < steps:
                    if main:
                        here = Position(step=step + 1, sums=sums)
                        save_checkpoint(checkpoint, objective, optimizer, keeper, history, settings, here)
                    interrupt.act()
            seconds = time.perf_counter() - begin
            metrics: Metrics = {"epoch": epoch + 1, "lr": lr}
            metrics |= {name: value / steps for name, value in sums.items()}
            metrics["images_per_second"] = (steps - first_step) * config.batch_size / seconds
            metrics |= {"seconds": seconds, "batch_seconds": making}
            if taught is not None:
                metrics["teacher_seconds"] = getattr(source, "teacher_seconds", taught) - taught

            def norm_batches(order: Tensor = order, epoch: int = epoch) -> Iterator[tuple[Any, ...]]:
                for index in torch.split(order, config.batch_size)[: min(steps, NORM_BATCHES)]:
                    yield _to(source.batch(index[share(len(index))], epoch), accelerator.device)

            metrics |= keeper.after_epoch(norm_batches, last=epoch + 1 == config.epochs)
            history.append(metrics)
            reporter.epoch(metrics)
            if run_dir is not None and checkpoint is not None and main:
                save_checkpoint(checkpoint, objective, optimizer, keeper, history, settings, position)
                with (run_dir / METRICS).open("a") as file:
                    file.write(json.dumps(metrics) + "\n")
            if any_process(interrupt.asked):
                interrupt.act()
            if checkpoint is not None and epoch + 1 < config.epochs and any_process(out_of_time()):
                raise OutOfTimeError(f"out of time after epoch {epoch + 1} of {config.epochs}")
    objective.eval()
    accelerator.wait_for_everyone()
    return history


def freeze_norms(module: nn.Module) -> None:
    """Let every batch norm use the statistics that it has, and keep them."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()


def refuse_nonfinite(terms: Mapping[str, float], epoch: int, step: int) -> None:
    """Raise FloatingPointError naming the terms that are NaN or infinite."""
    if bad := [f"{name} = {value}" for name, value in terms.items() if not math.isfinite(value)]:
        raise FloatingPointError(f"training stopped in epoch {epoch + 1}, step {step + 1}: {', '.join(bad)}")


def _accelerator(config: TrainingConfig) -> Any:
    from accelerate import Accelerator

    join_processes(config.device)
    # Only the parts that say so run in lower precision, whatever accelerate was told.
    accelerator = Accelerator(cpu=config.device == "cpu", mixed_precision="no")
    processes = accelerator.num_processes
    if config.batch_size % processes:
        raise ValueError(
            f"batch_size must be a multiple of the {processes} processes, got {config.batch_size}"
        )
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", config.precision):
        raise ValueError(
            f"accelerate was launched with mixed precision {asked}, the training's precision is "
            f"{config.precision}: set training.precision, which the result records"
        )
    return accelerator


def _set_random(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: _to(value, device) for key, value in batch.items()}
    return type(batch)(_to(item, device) for item in batch) if isinstance(batch, tuple | list) else batch
