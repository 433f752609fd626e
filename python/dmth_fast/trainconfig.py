"""The settings of a whole training run: TOML in, TOML with every default out."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmth_fast.learning.config import (
    PRECISIONS,
    AugmentationConfig,
    FusionConfig,
    HasherConfig,
    at_least,
    from_mapping,
    one_of,
    to_mapping,
    within,
)
from dmth_fast.learning.fusion import FUSIONS
from dmth_fast.learning.losses import HASH_LOSSES, QUANTIZERS
from dmth_fast.learning.objective import check_names
from dmth_fast.learning.protocols import DataConfig, refuse_seen
from dmth_fast.learning.stored import PREFIX

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


STUDENT = "student of weights"
"""Before the name of a student's weights, where a protocol refuses them."""


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """One teacher: a network with weights, or one that is trained first.

    Attributes:
        backbone: its name; or ``features:FILE``, features computed elsewhere (see
            :class:`~dmth_fast.learning.stored.StoredFeatures`), relative to the data root.
        weights: safetensors file or folder of a saved student, relative to the data root; ``download``:
            those that torchvision or timm publish; None: trained on the training images.
        name: in tables; by default the backbone's.
        input_size: side in pixels to which images are resized; None: what the backbone wants.
        precision: ``fp32`` or ``bf16`` where it is run frozen.
        epochs: of its own training, at the student's other settings; only without weights.
        seen: what the weights were trained on, such as ``imagenet`` or ``cifar10-train``; protocols check it.
            A saved student and a file of features may say so themselves.
        licence: of the weights.
    """

    backbone: str
    weights: str | None = None
    name: str | None = None
    input_size: int | None = None
    precision: str = "fp32"
    epochs: int = 0
    seen: tuple[str, ...] = ()
    licence: str = ""

    def __post_init__(self) -> None:
        one_of("precision", self.precision, PRECISIONS)
        if self.stored:
            given = (self.weights, self.input_size, self.epochs or None, self.precision != "fp32" or None)
            if any(value is not None for value in given):
                raise ValueError(f"teacher {self.backbone} takes no weights, input_size, epochs or precision")
            return
        if (self.weights is None) != (self.epochs > 0):
            raise ValueError(
                f"teacher {self.name or self.backbone} needs either weights or epochs > 0 to be trained, "
                f"got weights {self.weights!r} and epochs {self.epochs}"
            )

    @property
    def stored(self) -> bool:
        """Whether it is a file of features."""
        return self.backbone.startswith(PREFIX)

    @property
    def trained_here(self) -> bool:
        """Whether it has neither weights nor features yet."""
        return self.weights is None and not self.stored

    @property
    def carries_card(self) -> bool:
        """Whether its file may say what it has seen: stored features, or the folder of a saved student."""
        return self.stored or (self.weights is not None and not Path(self.weights).suffix)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A run from images to a measured table.

    Attributes:
        protocol: ``folder``, ``digits``, ``digits-100``, or one of :func:`dmth_fast.protocols.make_split`.
        backbone: the student's.
        weights: safetensors file that the student starts from.
        seen: what these weights were trained on, as of a teacher.
        bits: width of all codes.
        labels: whether labels are learned from; without, the student follows the teachers alone.
        seed: of everything; sections take it over.
        threads: of torch; 0 leaves torch's choice.
        cache: folder of cached teacher features; None: ``cache`` inside the run's folder.
        data: where the images are.
        augmentation: the random views; sections take it over.
        teachers: at least one.
        fusion: of the teachers.
        compare_fusions: further fusions, trained alike on the same cached features and measured beside.
        student: its training.
    """

    teachers: tuple[TeacherConfig, ...]
    protocol: str = "folder"
    backbone: str = "resnet20"
    weights: str | None = None
    seen: tuple[str, ...] = ()
    bits: int = 64
    labels: bool = True
    seed: int = 0
    threads: int = 0
    cache: str | None = None
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    compare_fusions: tuple[str, ...] = ()
    student: HasherConfig = field(default_factory=HasherConfig)

    def __post_init__(self) -> None:
        within("bits", self.bits, 1, 4096)
        at_least("seed", self.seed, 0)
        at_least("threads", self.threads, 0)
        if not self.teachers:
            raise ValueError("teachers must hold at least one [[teachers]] table, got none")
        for teacher in self.teachers:
            # What trains here sees the training images alone; what has a card is asked when it is opened.
            if teacher.seen or (teacher.weights is not None and not teacher.carries_card):
                refuse_seen(self.protocol, teacher.name or teacher.backbone, teacher.seen)
        if self.weights is not None:
            refuse_seen(self.protocol, self.weights, self.seen, what=STUDENT)
        elif self.seen:
            raise ValueError(f"seen is of the student's weights, and there are none; got {list(self.seen)}")
        if not self.labels:
            for teacher in self.teachers:
                if teacher.trained_here:
                    raise ValueError(
                        f"teacher {teacher.name or teacher.backbone} needs weights, since without labels "
                        "none is trained: a safetensors file, the folder of a saved student, or 'download'"
                    )
            loss = dataclasses.replace(self.student.loss, hash_loss="none")
            object.__setattr__(self, "student", dataclasses.replace(self.student, loss=loss))
            object.__setattr__(self, "fusion", dataclasses.replace(self.fusion, labels=False))
        elif not self.fusion.labels or self.student.loss.hash_loss == "none":
            raise ValueError("to train without labels, set labels = false once, at the top")
        elif self.data.labels == "none":
            raise ValueError("data.labels = 'none' leaves no labels to learn from: set labels = false, too")
        self._check_names()
        for name in self.compare_fusions:
            one_of("compare_fusions", name, FUSIONS)
        if self.compare_fusions and not self.labels:
            raise ValueError("compare_fusions needs labels: without them there is one fusion")
        for name in ("fusion", "student"):
            section = getattr(self, name)
            if section.training.seed not in (0, self.seed):
                raise ValueError(
                    f"{name}.training.seed is {section.training.seed}: set the seed once, at the top"
                )
            if section.augmentation not in (AugmentationConfig(), self.augmentation):
                raise ValueError(f"{name}.augmentation differs from [augmentation]: set it once, at the top")
            training = dataclasses.replace(section.training, seed=self.seed)
            section = dataclasses.replace(section, training=training, augmentation=self.augmentation)
            object.__setattr__(self, name, section)

    def _check_names(self) -> None:
        """Raise ValueError for a name that a training would look up in vain."""
        one_of("fusion.fusion", self.fusion.fusion, FUSIONS)
        check_names(self.student.distillation)
        for section in ("fusion", "student"):
            loss = getattr(self, section).loss
            known = (*HASH_LOSSES, *(() if self.labels else ("none",)))
            one_of(f"{section}.loss.hash_loss", loss.hash_loss, known)
            one_of(f"{section}.loss.quantizer", loss.quantizer, QUANTIZERS)


def refuse_late(config: TrainConfig, *, distilled: bool = True) -> None:
    """Refuse what a student's training would refuse, before its teachers are trained.

    Args:
        config: of the run.
        distilled: whether there is a student that follows the teachers.

    Raises:
        ValueError: terms that these teachers cannot serve, or ``keep = "best"`` with nothing to choose by.
    """
    if config.student.training.keep == "best" and not config.data.validation_fraction:
        raise ValueError("student.training.keep = 'best' needs data.validation_fraction above 0, got 0")
    if not distilled:
        return
    if config.fusion.training.keep == "best":
        raise ValueError("fusion.training.keep must be 'last', got 'best': a fusion is not validated")
    weights, where = config.student.distillation, "student.distillation"
    if not config.labels and weights.logit:
        raise ValueError(f"{where}.logit needs labels = true: without them there are no classes; set it to 0")
    if not config.labels and not (weights.feature or weights.code or weights.relational):
        raise ValueError(f"without labels {where} needs feature, code or relational above 0, got 0 for all")
    for name in ("mixup", "self_distillation"):
        if getattr(weights, name) and not weights.live:
            raise ValueError(f"{where}.{name} needs {where}.live = true: cached targets are of other pixels")
    stored = [card.backbone for card in config.teachers if card.stored]
    if weights.live and stored:
        raise ValueError(f"{where}.live needs networks as teachers, got stored features: {', '.join(stored)}")


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> TrainConfig:
    """Read a TOML file, apply ``a.b=value`` overrides, and check every key and value.

    Args:
        path: of the TOML file.
        overrides: values are TOML (``student.training.epochs=3``); what is no TOML value is a string.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no TOML, an unknown key (the known ones are named), or a value out of range.
        TypeError: a value of another type.
    """
    return from_mapping(TrainConfig, {"teachers": [], **read_values(path, overrides)})


def read_values(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Read a TOML file and apply overrides, without looking at the keys; errors as :func:`load_config`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"config {path} does not exist")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"config {path} is not TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"config {path} must be UTF-8 text, got other bytes: {error}") from None
    for override in overrides:
        _override(values, override)
    return values


def dump_config(config: Any) -> str:
    """Write every value of a config, defaults too, as TOML that reads back to it; None is left out."""
    return "\n".join(_tables(to_mapping(config), ())) + "\n"


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ValueError(f"an override must look like a.b=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    table = values
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ValueError(f"override {override!r}: {part} is no table")
    table[parts[-1]] = value


def _tables(values: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    plain = {key: value for key, value in values.items() if value is not None}
    tables = {key: value for key, value in plain.items() if isinstance(value, dict)}
    lists = {
        key: value
        for key, value in plain.items()
        if isinstance(value, list) and value and isinstance(value[0], dict)
    }
    lines = [f"{key} = {_scalar(value)}" for key, value in plain.items() if key not in tables | lists]
    for key, items in lists.items():
        for item in items:
            lines += ["", f"[[{'.'.join((*path, key))}]]", *_tables(item, (*path, key))]
    for key, table in tables.items():
        lines += ["", f"[{'.'.join((*path, key))}]", *_tables(table, (*path, key))]
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)
