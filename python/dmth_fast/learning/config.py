"""Settings of training as frozen dataclasses, read strictly: an unknown key or a wrong type is an error."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

PRECISIONS = ("fp32", "bf16")
OPTIMIZERS = ("sgd", "adamw")
SIMILARITIES = ("cosine", "binary")
SCHEDULES = ("cosine", "linear", "constant")
DEVICES = ("auto", "cpu")
STANDARDIZATIONS = ("none", "dimension", "phi-s")


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Random views of the training images.

    Attributes:
        padding: largest shift in pixels; what moves in from outside is black.
        flip: whether left and right may be exchanged.
    """

    padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        at_least("padding", self.padding, 0)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step, over all processes together; a last, smaller batch is left out.
        unlabelled_batch: further images a step that follow the teacher without labels, where there are any.
        optimizer: ``sgd`` (Nesterov momentum) or ``adamw``.
        lr: the highest learning rate.
        backbone_lr: factor of ``lr`` for the backbone, below 1 to fine-tune one that was trained before.
        momentum: of sgd; the first beta of adamw.
        weight_decay: on matrices and convolutions, not on biases and norms.
        schedule: how the rate falls to 0 after the warm-up: ``cosine`` or ``linear``; ``constant`` stays.
        warmup: fraction of the steps in which the rate rises linearly.
        precision: ``fp32``, or ``bf16`` for the backbone (losses are computed in fp32 always).
        frozen_norms: whether batch norms keep the statistics that they start with, as to fine-tune, or to
            train in several processes with the steps of one.
        ema: decay a step of the running average of the weights, which is then kept; 0 keeps the weights.
        keep: ``last`` epoch, or the ``best`` by mAP on validation images.
        device: ``auto`` (what accelerate finds) or ``cpu``.
        seed: of weights, order and views.
    """

    epochs: int = 30
    batch_size: int = 128
    unlabelled_batch: int = 64
    optimizer: str = "sgd"
    lr: float = 0.1
    backbone_lr: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    warmup: float = 0.15
    precision: str = "fp32"
    frozen_norms: bool = False
    ema: float = 0.0
    keep: str = "last"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("epochs", self.epochs, 1)
        at_least("batch_size", self.batch_size, 2)
        at_least("unlabelled_batch", self.unlabelled_batch, 1)
        at_least("lr", self.lr, 0)
        at_least("backbone_lr", self.backbone_lr, 0)
        at_least("weight_decay", self.weight_decay, 0)
        at_least("seed", self.seed, 0)
        within("momentum", self.momentum, 0, 1)
        within("warmup", self.warmup, 0, 1)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("precision", self.precision, PRECISIONS)
        within("ema", self.ema, 0, 1)
        one_of("keep", self.keep, ("last", "best"))
        one_of("device", self.device, DEVICES)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The hash loss on the labels.

    Attributes:
        hash_loss: a key of ``losses.HASH_LOSSES``; ``none``: the student follows its teacher alone.
        margin: subtracted from the cosine of the right class (OrthoHash).
        gamma: scale of the Cauchy distribution in bits (DCH).
        similarity: of pairs of multi-hot labels in losses on pairs: ``cosine``, or ``binary`` (share one).
        grade: power of those cosines: 1 takes them as they are, towards 0 they near ``binary``.
        scale: factor of the cosines; 0 means sqrt(bits).
        quantization: weight of the quantisation term.
        quantizer: a key of ``losses.QUANTIZERS``.
    """

    hash_loss: str = "ortho"
    margin: float = 0.2
    gamma: float = 20.0
    similarity: str = "cosine"
    grade: float = 1.0
    scale: float = 0.0
    quantization: float = 0.0
    quantizer: str = "l2"

    def __post_init__(self) -> None:
        within("margin", self.margin, 0, 2)
        above("gamma", self.gamma, 0)
        one_of("similarity", self.similarity, SIMILARITIES)
        above("grade", self.grade, 0)
        at_least("scale", self.scale, 0)
        at_least("quantization", self.quantization, 0)


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Weights of the terms that pull the student towards the teacher; 0 leaves a term out.

    Attributes:
        feature: between projected student features and fused teacher features.
        code: cross-entropy between bit probabilities; needs equal bits.
        relational: difference of the similarity matrices of the batch, or of batch and queue.
        logit: between the class distributions.
        self_distillation: cosine between the codes of a strong view of each image and of its usual one.
        feature_loss: form of the feature term, a key of ``distillation.FEATURE_TERMS``.
        feature_standardization: of the fused features as targets: ``none``, ``dimension`` or ``phi-s``; None:
            ``dimension`` for ``balanced``, else ``none``.
        queue: earlier codes that the relational term compares each batch with; 0: the batch with itself.
        logit_loss: form of the logit term, a key of ``distillation.LOGIT_TERMS``.
        teacher_weights: the logit term follows the ``fused`` teacher, or each teacher of its own with weights
            that are a key of ``ensemble.TEACHER_WEIGHTS``; ``confidence`` reads labels.
        code_temperature: tau of the code term.
        logit_temperature: tau of the logit term.
        mixup: alpha of the Beta distribution of shares by which two images are mixed; 0 mixes none.
        live: teachers are run in every step on the very pixels of the student, nothing is cached for it; each
            epoch is a new view. With a teacher mixup and self-distillation need it.
    """

    feature: float = 4.0
    code: float = 4.0
    relational: float = 4.0
    logit: float = 0.0
    self_distillation: float = 0.0
    feature_loss: str = "cosine"
    feature_standardization: str | None = None
    queue: int = 0
    logit_loss: str = "kl"
    teacher_weights: str = "fused"
    code_temperature: float = 1.0
    logit_temperature: float = 4.0
    mixup: float = 0.0
    live: bool = False

    def __post_init__(self) -> None:
        for name in ("feature", "code", "relational", "logit", "self_distillation", "queue", "mixup"):
            at_least(name, getattr(self, name), 0)
        above("code_temperature", self.code_temperature, 0)
        above("logit_temperature", self.logit_temperature, 0)
        if self.feature_standardization is not None:
            one_of("feature_standardization", self.feature_standardization, STANDARDIZATIONS)
        if self.teacher_weights != "fused" and (not self.logit or self.logit_loss != "kl"):
            raise ValueError(
                f"teacher_weights={self.teacher_weights!r} weighs the teachers in the logit term: it needs "
                f"logit above 0 and logit_loss='kl', got {self.logit} and {self.logit_loss!r}"
            )
        if self.queue and not self.relational:
            raise ValueError(f"queue={self.queue} is of the relational term, whose weight is 0")


@dataclass(frozen=True, kw_only=True)
class HasherConfig:
    """Everything that shapes a student; nested sections, whose keys are all different.

    Attributes:
        head: a key of ``heads.HEADS``: ``bn``, or ``bihalf``.
        head_init: what the head starts from: ``random`` weights, or ``itq`` of the backbone's first features.
        training: the run.
        augmentation: the random views.
        loss: on labels.
        distillation: towards the teacher.
    """

    head: str = "bn"
    head_init: str = "random"
    training: TrainingConfig = field(default_factory=TrainingConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    def __post_init__(self) -> None:
        one_of("head", self.head, ("bn", "bihalf"))
        one_of("head_init", self.head_init, ("random", "itq"))


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """The fused teacher: its fusion, its heads and what they are trained for.

    Attributes:
        fusion: a key of ``fusion.FUSIONS``.
        labels: whether labels are used; without, F are joint principal components, and h their ITQ.
        dim: length d of each projected teacher feature.
        standardization: of teacher features: ``none``, ``dimension`` (mean and deviation) or ``phi-s``.
        dropout: on the standardised teacher features.
        teacher_dropout: chance by which each teacher is left out for an image in training; one always stays.
        attention_temperature: tau_a of the softmax over teachers.
        entropy_bonus: rho, weight of the entropy of the attention, which is maximised.
        hash_weight: eta, weight of the hash loss beside the cross-entropy.
        views: V, number of cached random views; epoch e uses view e mod V. 0: the teachers see each image as
            it is, once, and the student a new view of it in each epoch.
        unlabelled_views: the same of a student's unlabelled images.
    """

    fusion: str = "attention"
    labels: bool = True
    dim: int = 256
    standardization: str = "dimension"
    dropout: float = 0.3
    teacher_dropout: float = 0.0
    attention_temperature: float = 4.0
    entropy_bonus: float = 0.1
    hash_weight: float = 1.0
    views: int = 4
    unlabelled_views: int = 4
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=12, batch_size=256, optimizer="adamw", lr=1e-3, weight_decay=1e-2
        )
    )
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        at_least("dim", self.dim, 1)
        one_of("standardization", self.standardization, STANDARDIZATIONS)
        at_least("views", self.views, 0)
        at_least("unlabelled_views", self.unlabelled_views, 0)
        at_least("entropy_bonus", self.entropy_bonus, 0)
        at_least("hash_weight", self.hash_weight, 0)
        above("attention_temperature", self.attention_temperature, 0)
        within("dropout", self.dropout, 0, 1)
        within("teacher_dropout", self.teacher_dropout, 0, 1)


def at_least(name: str, value: float, low: float) -> None:
    """Raise ValueError unless ``value >= low``."""
    if not value >= low:
        raise ValueError(f"{name} must be at least {low}, got {value}")


def check_bits(bits: Any) -> None:
    """Raise TypeError unless the width of codes is an int, ValueError unless it lies in 1..4096."""
    if type(bits) is not int:
        raise TypeError(f"bits must be int, got {type(bits).__name__} {bits!r}")
    within("bits", bits, 1, 4096)


def above(name: str, value: float, low: float) -> None:
    """Raise ValueError unless ``value > low``."""
    if not value > low:
        raise ValueError(f"{name} must be above {low}, got {value}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in {low}..{high}, got {value}")


def one_of(name: str, value: str, known: typing.Iterable[str]) -> None:
    """Raise ValueError unless ``value`` is known."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")


def from_mapping(kind: type[T], values: Mapping[str, Any], where: str = "config") -> T:
    """Build the dataclass ``kind`` from nested mappings, as a TOML file gives them.

    Raises:
        ValueError: a key that ``kind`` does not have (the known ones are named), or a value out of range.
        TypeError: a value of another type; only an integer is taken for a float.

    Example:
        >>> from_mapping(HasherConfig, {"training": {"epochs": 3}}).training.epochs
        3
        >>> from_mapping(AugmentationConfig, {"pading": 2})
        Traceback (most recent call last):
        ValueError: config has no key 'pading'; it knows padding, flip
    """
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise ValueError(f"{where} has no key {key!r}; it knows {', '.join(hints)}")
    return _filled(kind, values, where)


def to_mapping(config: Any) -> dict[str, Any]:
    """Return every value of a config, defaults too, as nested plain dicts and lists."""
    return _plain(config)  # type: ignore[no-any-return]


def configure(kind: type[T], values: Mapping[str, Any]) -> T:
    """Build ``kind`` from keyword arguments: its own fields, whole sections, or the fields of its sections.

    Raises:
        TypeError: a keyword that neither ``kind`` nor one of its sections has, or a value of another type.

    Example:
        >>> configure(HasherConfig, {"epochs": 3, "margin": 0.4}).loss.margin
        0.4
    """
    hints = typing.get_type_hints(kind)
    sections = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    config = _filled(kind, {name: value for name, value in values.items() if name in hints}, kind.__name__)
    for name, value in values.items():
        if name in hints:
            continue
        for section, hint in sections.items():
            inner = typing.get_type_hints(hint)
            if name in inner:
                changed = dataclasses.replace(
                    getattr(config, section), **{name: _convert(inner[name], value, name)}
                )
                config = dataclasses.replace(config, **{section: changed})  # type: ignore[type-var]
                break
        else:
            known = [*hints, *(key for hint in sections.values() for key in typing.get_type_hints(hint))]
            raise TypeError(f"unknown setting {name!r}; known are {', '.join(known)}")
    return config


def _filled(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build ``kind``; a section that is given in part keeps the defaults that ``kind`` has for it."""
    hints = typing.get_type_hints(kind)
    factories = {item.name: item.default_factory for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    arguments = {}
    for key, value in values.items():
        factory = factories[key]
        if isinstance(value, Mapping) and factory is not dataclasses.MISSING:
            value = _merged(to_mapping(factory()), value)
        arguments[key] = _convert(hints[key], value, f"{where}.{key}")
    return kind(**arguments)


def _merged(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in values.items():
        inner = merged.get(key)
        merged[key] = (
            _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, hint):
            return value
        if not isinstance(value, Mapping):
            raise TypeError(f"{where} must be a table, got {value!r}")
        return from_mapping(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{where} must be a list, got {value!r}")
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        hint = next(argument for argument in arguments if argument is not type(None))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise TypeError(f"{where} must be {hint.__name__}, got {type(value).__name__} {value!r}")
    return value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
