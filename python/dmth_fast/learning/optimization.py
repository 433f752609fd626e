"""Optimiser and learning rate of a run."""

import math

import torch
from torch import nn

from dmth_fast.learning.config import TrainingConfig

__all__ = ["build_optimizer", "learning_rate"]


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
