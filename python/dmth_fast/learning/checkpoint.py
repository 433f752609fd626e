"""The state of an unfinished run as one safetensors file, from which it goes on bit for bit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dmth_fast.learning.selection import Keeper, Metrics
from dmth_fast.learning.weights import load_file, save_tensors

__all__ = ["CHECKPOINT", "Position", "load_checkpoint", "save_checkpoint"]

CHECKPOINT = "checkpoint.safetensors"
_FORMAT = "dmth-fast-checkpoint-1"


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run stands inside an epoch.

    Attributes:
        step: steps of the epoch that are done; 0 at its begin.
        sums: of each loss term over these steps.
    """

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)


def save_checkpoint(
    path: Path,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    keeper: Keeper,
    history: list[Metrics],
    settings: Mapping[str, Any],
    position: Position,
) -> None:
    """Write weights, averages, optimiser, random state and history, in one atomic step."""
    tensors = {f"model.{key}": value for key, value in objective.state_dict().items()} | keeper.tensors()
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer.{i}.{key}": value for key, value in state.items() if isinstance(value, Tensor)
        }
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    metadata = {
        "format": _FORMAT,
        "history": json.dumps(history),
        "settings": json.dumps(settings, sort_keys=True),
        "step": json.dumps(position.step),
        "sums": json.dumps(position.sums),
    }
    save_tensors(path, tensors, metadata)


def load_checkpoint(
    path: Path,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    keeper: Keeper,
    settings: Mapping[str, Any],
) -> tuple[list[Metrics], Position, dict[str, Tensor]]:
    """Restore what :func:`save_checkpoint` wrote.

    Returns:
        The history, the position in the epoch after it, and the random states by device: they are to be set
        where the epoch goes on.

    Raises:
        ValueError: no checkpoint of this package, or one of other settings.
    """
    tensors, metadata = load_file(path)
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"checkpoint {path} must have the format {_FORMAT}, got {metadata.get('format')!r}")
    saved, wanted = json.loads(metadata["settings"]), json.loads(json.dumps(settings))
    # A checkpoint of an earlier version does not say which labels it learned from.
    if saved not in (wanted, {key: value for key, value in wanted.items() if key != "labels"}):
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
    position = Position(
        step=json.loads(metadata.get("step", "0")), sums=json.loads(metadata.get("sums", "{}"))
    )
    random = {key[7:]: value for key, value in tensors.items() if key.startswith("random.")}
    return history, position, random
