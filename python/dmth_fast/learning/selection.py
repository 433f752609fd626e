"""Which weights a run ends with: the last, their running average, or the best on validation images."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dmth_fast.learning.config import TrainingConfig

NORM_BATCHES = 40
"""Batches from which the statistics of batch norm are taken anew for averaged weights."""

Metrics = dict[str, float]
State = dict[str, Tensor]


class Keeper:
    """Averages the weights, measures what would be kept after each epoch, and puts it in place at the end.

    Args:
        objective: the module in training.
        config: its ``ema`` and ``keep``.
        measure: validation of the module as it stands; None without validation images.

    Raises:
        ValueError: ``keep = "best"`` without validation images.
    """

    def __init__(
        self, objective: nn.Module, config: TrainingConfig, measure: Callable[[], Metrics] | None
    ) -> None:
        if config.keep == "best" and measure is None:
            raise ValueError("keep='best' needs validation images to choose by")
        self._objective, self._config, self._measure = objective, config, measure
        self._average: State = {}
        if config.ema:
            self._average = {name: value.detach().clone() for name, value in objective.named_parameters()}
        self._best: State = {}
        self._best_value = float("-inf")

    def after_step(self, step: int) -> None:
        """Move the average towards the weights; early on faster, so that it forgets the random start."""
        decay = min(self._config.ema, (1 + step) / (10 + step))
        for name, value in self._objective.named_parameters():
            if name in self._average:
                # The module may have moved to its device since this began.
                self._average[name] = self._average[name].to(value.device)
                self._average[name].lerp_(value.detach(), 1 - decay)

    def after_epoch(self, batches: Callable[[], Iterable[tuple[Any, ...]]], *, last: bool) -> Metrics:
        """Measure what would be kept; after the last epoch leave it in place.

        Args:
            batches: training batches, from which batch norm is measured anew for averaged weights.
            last: whether training ends here.

        Returns:
            What ``measure`` found; nothing without it.
        """
        if self._measure is None and not last:
            return {}
        trained = {key: value.clone() for key, value in self._objective.state_dict().items()}
        if self._average:
            self._objective.load_state_dict({**trained, **self._average})
            if not self._config.frozen_norms:
                recompute_norms(self._objective, batches())
        self._objective.eval()
        metrics = {} if self._measure is None else self._measure()
        if self._config.keep == "best" and metrics["validation_map"] > self._best_value:
            self._best_value = metrics["validation_map"]
            self._best = {key: value.clone() for key, value in self._objective.state_dict().items()}
        if not last:
            self._objective.load_state_dict(trained)
        elif self._best:
            self._objective.load_state_dict(self._best)
        return metrics

    def tensors(self) -> State:
        """Return what a checkpoint must hold."""
        state = {f"average.{name}": value for name, value in self._average.items()}
        state |= {f"best.{name}": value for name, value in self._best.items()}
        return state | ({"best_value": torch.tensor(self._best_value)} if self._best else {})

    def restore(self, tensors: State) -> None:
        """Take back what :meth:`tensors` gave."""
        for name in self._average:
            self._average[name].copy_(tensors[f"average.{name}"])
        self._best = {key[5:]: value for key, value in tensors.items() if key.startswith("best.")}
        if self._best:
            self._best_value = float(tensors["best_value"])


def recompute_norms(module: nn.Module, batches: Iterable[tuple[Any, ...]]) -> None:
    """Take mean and variance of every batch norm anew, as plain means over ``batches``; nothing else changes.

    An error of the module or of the batches leaves the statistics as they were.

    Args:
        module: left in evaluation mode.
        batches: arguments of its forward.
    """
    module.eval()
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    before = [
        (norm.momentum, {name: value.clone() for name, value in norm.named_buffers()}) for norm in norms
    ]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        with torch.no_grad():
            for batch in batches:
                module(*batch)
    except BaseException:
        for norm, (_, statistics) in zip(norms, before, strict=True):
            norm.load_state_dict(statistics, strict=False)
        raise
    finally:
        for norm, (momentum, _) in zip(norms, before, strict=True):
            norm.momentum = momentum
        module.eval()


def kept_epoch(history: Sequence[Metrics], keep: str) -> Metrics:
    """Return the metrics of the epoch whose weights a run ends with, for ``keep`` as in the settings.

    >>> kept_epoch([{"validation_map": 0.5}, {"validation_map": 0.5}, {"validation_map": 0.4}], "last")
    {'validation_map': 0.4}
    """
    return max(history, key=lambda line: line["validation_map"]) if keep == "best" else history[-1]
