"""The networks of the demo: three teachers, their fusion, and a small student with and without them."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.protocols import pick
from dmth_fast.learning.teacher import FusedTeacher

__all__ = ["DemoConfig", "Method", "NetworkConfig", "Trained", "one_thread", "pick", "train"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """One network and how long it learns."""

    backbone: str
    epochs: int
    batch_size: int = 50
    lr: float = 2e-3
    distillation: float = 0.0
    """Weight of the feature, code and relational terms; 0 where there is no teacher."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Everything the figures depend on besides the seed; chosen on images held out of the training set."""

    bits: int = 32
    labels_per_class: int = 10
    teachers: tuple[NetworkConfig, ...] = (
        NetworkConfig(backbone="resnet20", epochs=60),
        NetworkConfig(backbone="tiny-48", epochs=60),
        NetworkConfig(backbone="tiny-24", epochs=80, lr=4e-3),
    )
    fusion: str = "attention"
    fusion_epochs: int = 48
    views: int = 16
    alone: NetworkConfig = NetworkConfig(backbone="tiny-8", epochs=150)
    distilled: NetworkConfig = NetworkConfig(backbone="tiny-8", epochs=150, distillation=4.0)
    unlabelled: NetworkConfig = NetworkConfig(backbone="tiny-8", epochs=32, batch_size=64, distillation=1.0)
    weight_decay: float = 0.05
    padding: int = 1

    def shortened(self) -> "DemoConfig":
        """The same with two epochs a network: seconds, and figures that mean little."""

        def short(network: NetworkConfig) -> NetworkConfig:
            return replace(network, epochs=2)

        return replace(
            self,
            teachers=tuple(short(network) for network in self.teachers),
            fusion_epochs=4,
            views=2,
            alone=short(self.alone),
            distilled=short(self.distilled),
            unlabelled=short(self.unlabelled),
        )


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of the table.

    Attributes:
        name: How the row is called.
        encode: Images to packed codes, uint8 (n, bytes); ``None`` where there are no codes.
        predict: Images to class ids, int64 (n,).
        parameters: Values in all networks that an answer needs.
        seconds: What training took, without the teachers that it builds on.
        section: Whether a line is drawn below the row.
    """

    name: str
    encode: Callable[[ImageSet], NDArray[np.uint8]] | None
    predict: Callable[[ImageSet], NDArray[np.int64]]
    parameters: int | None
    seconds: float | None
    section: bool = False


class Trained(NamedTuple):
    """What the demo trained."""

    methods: list[Method]
    student: Hasher
    """The one that was distilled with unlabelled images too."""
    answered: float
    """Share of the unlabelled images that the fused teacher named rightly."""


def train(config: DemoConfig, database: ImageSet, labelled: torch.Tensor, seed: int) -> Trained:
    """Train everything, saying on stderr what is being trained.

    Args:
        config: Networks and schedules.
        database: Images; their labels are used at ``labelled`` only.
        labelled: int64 (l,), rows of the images whose labels may be learned from.
        seed: Of weights, order and views.
    """
    stage = _Stage()
    import_module("accelerate")  # a second that is no part of the first network's time
    known = database.select(labelled)

    def learn(name: str, network: NetworkConfig, images: ImageSet, teacher: FusedTeacher | None) -> Method:
        with stage(name):
            hasher = _hasher(config, network, seed).fit(images, teacher=teacher, progress=False)
        hashers[name] = hasher
        return Method(
            name=name,
            encode=hasher.encode,
            predict=hasher.predict,
            parameters=hasher.num_parameters,
            seconds=stage.seconds[name],
        )

    hashers: dict[str, Hasher] = {}
    methods = [learn(f"teacher {network.backbone}", network, known, None) for network in config.teachers]
    methods[-1] = replace(methods[-1], section=True)
    teachers = list(hashers.values())
    name = "fused teacher"
    with stage(name):
        fused = FusedTeacher(
            teachers,
            fusion=config.fusion,
            bits=config.bits,
            views=config.views,
            padding=config.padding,
            flip=False,
            epochs=config.fusion_epochs,
            batch_size=config.alone.batch_size,
            seed=seed,
        ).fit(known, progress=False)
    methods += [
        Method(
            name="softmax average",
            encode=None,
            predict=lambda images: fused.average_probabilities(images).argmax(1).numpy(),
            parameters=sum(teacher.num_parameters for teacher in teachers),
            seconds=None,
        ),
        Method(
            name=name,
            encode=fused.codes,
            predict=fused.predict,
            parameters=fused.num_parameters,
            seconds=stage.seconds[name],
            section=True,
        ),
    ]
    methods.append(learn("student alone", config.alone, known, None))
    methods.append(learn("student distilled", config.distilled, known, fused))
    answered, right = _answered(fused, database, labelled)
    last = "student, more data"
    methods.append(replace(learn(last, config.unlabelled, answered, fused), section=True))
    stage.done()
    return Trained(methods, hashers[last], right)


def _hasher(config: DemoConfig, network: NetworkConfig, seed: int) -> Hasher:
    weight = network.distillation
    return Hasher(
        network.backbone,
        bits=config.bits,
        epochs=network.epochs,
        batch_size=network.batch_size,
        optimizer="adamw",
        lr=network.lr,
        weight_decay=config.weight_decay,
        seed=seed,
        padding=config.padding,
        flip=False,
        feature=weight,
        code=weight,
        relational=weight,
    )


def _answered(fused: FusedTeacher, database: ImageSet, labelled: torch.Tensor) -> tuple[ImageSet, float]:
    """The database with the fused teacher's answers for labels, save where the label is known.

    Distillation needs no labels, but the hash loss does.
    """
    truth = database.required_labels("the demo")
    answers = torch.from_numpy(fused.predict(database))
    unknown = torch.ones(len(database), dtype=torch.bool)
    unknown[labelled] = False
    right = float((answers == truth)[unknown].float().mean())
    images = ImageSet(
        images=database.images,
        labels=torch.where(unknown, answers, truth),
        classes=database.classes,
        names=database.names,
    )
    return images, right


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread inside the block.

    On images of 8 x 8 pixels more threads gain nothing, on a busy machine they wait for each other, and the
    figures would depend on how many there are.
    """
    former = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(former)


class _Stage:
    """Says on stderr what is under way, on one line of a terminal, and keeps how long each stage took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._terminal = sys.stderr.isatty()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._say(f"training {name}")
        begin = time.perf_counter()
        try:
            yield
        except BaseException:
            self.done()
            raise
        self.seconds[name] = round(time.perf_counter() - begin, 2)

    def done(self) -> None:
        """Clear the line."""
        self._say("")

    def _say(self, text: str) -> None:
        if self._terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif text:
            print(text, file=sys.stderr, flush=True)
