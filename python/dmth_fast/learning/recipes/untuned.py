"""The teacher of a recipe that takes it as it is: a network with weights, or features computed elsewhere."""

from pathlib import Path
from typing import Protocol

import torch

from dmth_fast.learning.backbones import build_backbone
from dmth_fast.learning.feature_distillation import file_state
from dmth_fast.learning.frozen import AnyTeacher, open_frozen
from dmth_fast.learning.protocols import ImageSplit, refuse_seen, seen_by_weights
from dmth_fast.learning.recipes.arms import Run
from dmth_fast.learning.stored import PREFIX, StoredFeatures
from dmth_fast.learning.weights import save_tensors

__all__ = ["UntunedTeacher"]

RANDOM = "random"
"""In place of a file of weights: made from the seed, to try a recipe out."""


class Settings(Protocol):
    """What of a recipe's settings is about its teacher."""

    @property
    def teacher(self) -> str: ...
    @property
    def weights(self) -> str: ...
    @property
    def seen(self) -> tuple[str, ...]: ...
    @property
    def teacher_size(self) -> int | None: ...
    @property
    def precision(self) -> str: ...
    @property
    def seed(self) -> int: ...


class UntunedTeacher:
    """A teacher named by a recipe's settings; nothing is opened before it is asked for.

    Args:
        config: of the recipe.
        work: its run.
    """

    def __init__(self, config: Settings, work: Run) -> None:
        self._config, self._work = config, work
        self._stored = config.teacher.startswith(PREFIX)

    @property
    def seen(self) -> tuple[str, ...]:
        """What it was trained on."""
        config = self._config
        if self._stored:
            return StoredFeatures(config.teacher, root=self._work.root, seen=config.seen).seen
        return seen_by_weights(config.weights, config.seen)

    def weights(self) -> Path:
        """Return where its weights are; random ones are made there first."""
        config = self._config
        if config.weights != RANDOM:
            return self._work.root / config.weights
        path = self._work.out.absolute() / "teacher.safetensors"
        if not self._stored and not path.exists():
            with torch.random.fork_rng():
                torch.manual_seed(config.seed)
                save_tensors(path, file_state(build_backbone(config.teacher)))
        return path

    def check(self, protocol: str, split: ImageSplit) -> None:
        """Refuse a teacher that is not there, or that has seen what the protocol asks about.

        Raises:
            FileNotFoundError: no such weights.
            ValueError: it has seen too much.
        """
        config = self._config
        if not self._stored:
            if config.weights == RANDOM:
                return
            if not self.weights().is_file():
                raise FileNotFoundError(f"weights {self.weights()} do not exist")
        refuse_seen(protocol, config.teacher, self.seen, split=split)

    def open(self) -> AnyTeacher:
        """Return it, frozen."""
        config, root = self._config, self._work.root
        size, precision = config.teacher_size, config.precision
        return open_frozen(config.teacher, self.weights(), root=root, input_size=size, precision=precision)
