"""Several frozen networks, fused by a small trained head into one teacher."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import dmth_fast
from dmth_fast.learning.config import FusionConfig, check_bits, configure, one_of, to_mapping
from dmth_fast.learning.data import ImageSet, open_images
from dmth_fast.learning.features import Columns, FeatureCache
from dmth_fast.learning.frozen import AnyTeacher, Teacher, as_teacher
from dmth_fast.learning.fusion import FUSIONS, AttentionFusion, FusedNetwork
from dmth_fast.learning.fusion_objective import FusionBatches, FusionObjective
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.inputs import open_set
from dmth_fast.learning.losses import build_centers, build_loss
from dmth_fast.learning.parallel import is_main, join_processes
from dmth_fast.learning.training import Metrics, train_objective
from dmth_fast.learning.unlabelled import UnlabelledNetwork
from dmth_fast.learning.views import TeacherViews
from dmth_fast.learning.weights import state_hash

__all__ = ["FusedOutputs", "FusedTeacher", "Teacher"]

_ROWS = 4096
"""Images that are fused at a time."""


class FusedOutputs(NamedTuple):
    """What a fused teacher says of n images, all float32.

    Attributes:
        features: fused features F (n, feature_dim).
        values: code values h (n, bits).
        logits: (n, classes).
        weights: of each teacher (n, teachers).
    """

    features: Tensor
    values: Tensor
    logits: Tensor
    weights: Tensor


class FusedTeacher:
    """Frozen teachers, a trained fusion, a hash layer and a classifier.

    Source: Salman, Taherinia, Zabihzadeh, Multimedia Tools and Applications 82, 2023.

    Args:
        teachers: :class:`Teacher` objects, trained Hashers, or stored features (``"features:clip.npy"``), at
            least one.
        fusion: ``attention``, ``mean``, ``concat`` or ``static``.
        bits: width of the hash layer.
        cache: folder for cached features, shared between runs; None keeps them in memory.
        config: fields of :class:`~dmth_fast.learning.config.FusionConfig` or of its sections.

    Raises:
        TypeError: a single teacher instead of a list, one of another kind, or an unknown setting.
        ValueError: no teacher, or a value out of range.

    Example:
        >>> from dmth_fast.learning.data import digits
        >>> train, test = digits()
        >>> settings = {"padding": 1, "flip": False, "epochs": 1}
        >>> single = Hasher("tiny-4", bits=16, **settings).fit(train, progress=False)
        >>> teacher = FusedTeacher([single], bits=16, views=1, **settings).fit(train, progress=False)
        >>> teacher.codes(test).shape
        (599, 2)
    """

    def __init__(
        self,
        teachers: Sequence["AnyTeacher | Hasher | str"],
        fusion: str = "attention",
        bits: int = 64,
        *,
        cache: str | Path | None = None,
        **config: Any,
    ) -> None:
        if isinstance(teachers, str) or not isinstance(teachers, Iterable):
            raise TypeError(f"teachers must be a list, got {type(teachers).__name__}: pass [teacher] for one")
        if not teachers:
            raise ValueError("teachers must hold at least one teacher, got none")
        one_of("fusion", fusion, FUSIONS)
        check_bits(bits)
        self.teachers = tuple(as_teacher(item) for item in teachers)
        self.bits = bits
        self.config = configure(FusionConfig, {"fusion": fusion, **config})
        self.classes: tuple[str, ...] = ()
        self.history: list[Metrics] = []
        self.cache = FeatureCache(None if cache is None else Path(cache))
        self.views = TeacherViews(
            self.teachers,
            self.cache,
            augmentation=self.config.augmentation,
            seed=self.config.training.seed,
        )
        self._network: FusedNetwork | UnlabelledNetwork | None = None
        self._centers: Tensor | None = None
        self._state_hash = ""

    @property
    def network(self) -> FusedNetwork | UnlabelledNetwork:
        """The trained head on top of the frozen teachers."""
        if self._network is None:
            raise ValueError("this FusedTeacher is not trained yet: call fit")
        return self._network

    @property
    def centers(self) -> Tensor:
        """Class codes +-1 (classes, bits), shared by a student of that width whose loss asks for such."""
        if self._centers is None:
            raise ValueError("this FusedTeacher has no class codes: it was not trained, or without labels")
        return self._centers

    @property
    def feature_dim(self) -> int:
        """Length of the fused features."""
        return self.network.output_dim

    @property
    def state_hash(self) -> str:
        """SHA-256 of the trained head's weights."""
        return self._state_hash

    @property
    def cards(self) -> list[dict[str, Any]]:
        """The card of each teacher."""
        return [teacher.card for teacher in self.teachers]

    @property
    def num_parameters(self) -> int | None:
        """Number of values in all teachers and the head; None with stored features, of an unknown network."""
        numbers = [teacher.num_parameters for teacher in self.teachers]
        known = [number for number in numbers if number is not None]
        head = sum(parameter.numel() for parameter in self.network.parameters())
        return head + sum(known) if len(known) == len(numbers) else None

    @property
    def cache_seconds(self) -> float:
        """Seconds that running the teachers has taken; what was read from the cache took none."""
        return self.views.seconds

    @property
    def live(self) -> bool:
        """Whether every teacher can be shown new images."""
        return all(teacher.live for teacher in self.teachers)

    def fit(
        self,
        train: ImageSet | str | Path,
        progress: bool = True,
        *,
        run_dir: str | Path | None = None,
        resume: bool = False,
    ) -> "FusedTeacher":
        """Cache the teachers' features of V views, then train fusion, hash layer and classifier on them.

        Args:
            train: labelled images; a path is opened as by ``open_images(path, strict=True)``.
            progress: show progress on standard error.
            run_dir: folder for a checkpoint and ``metrics.jsonl`` after each epoch.
            resume: continue from the checkpoint in ``run_dir``.

        Raises:
            TypeError: neither an ImageSet nor a path.
            ValueError: no labels, one class only, fewer images than a batch, a cache that does not match, or
                more classes than there are codes.
        """
        config = self.config
        train = open_set("train", train, "folders" if config.labels else "none")
        join_processes(config.training.device)
        self.views.progress = progress and is_main()
        if not config.labels:
            return self._fit_without_labels(train)
        labels = train.required_labels("a fused teacher with labels=True")
        if len(train.classes) < 2:
            raise ValueError(f"training needs at least two classes, got {len(train.classes)}")
        self.classes = train.classes
        seen = range(config.views) if config.views else (None,)
        views = [[self._columns(k, train, v) for k in range(len(self.teachers))] for v in seen]
        with torch.random.fork_rng():
            torch.manual_seed(config.training.seed)
            network = FusedNetwork(
                tuple(teacher.feature_dim for teacher in self.teachers),
                fusion=config.fusion,
                dim=config.dim,
                bits=self.bits,
                num_classes=len(train.classes),
                temperature=config.attention_temperature,
                dropout=config.dropout,
                teacher_dropout=config.teacher_dropout,
                standardization=config.standardization,
                probes=tuple(not teacher.named(train.classes) for teacher in self.teachers),
            )
        network.set_statistics([columns["features"] for columns in views[0]])
        self._centers = build_centers(config.loss, len(train.classes), self.bits, seed=config.training.seed)
        objective = FusionObjective(network, build_loss(config.loss, self._centers), config)
        self.history = train_objective(
            objective,
            FusionBatches(views, labels),
            config.training,
            title=f"{config.fusion} of {len(self.teachers)} teachers",
            settings={
                "teachers": self.cards,
                "bits": self.bits,
                "config": to_mapping(config),
                "images": train.content_hash(),
                "labels": train.labels_hash(),
            },
            run_dir=None if run_dir is None else Path(run_dir),
            resume=resume,
            progress=progress,
        )
        self._network = network.to("cpu").eval()
        self._state_hash = state_hash(network.state_dict())
        return self

    def _fit_without_labels(self, train: ImageSet) -> "FusedTeacher":
        config, count = self.config, len(self.teachers)
        self.classes, self._centers, self.history = (), None, []
        network = UnlabelledNetwork(
            tuple(teacher.feature_dim for teacher in self.teachers),
            dim=config.dim,
            bits=self.bits,
            standardization=config.standardization,
        )
        columns = [self._columns(k, train, None)["features"] for k in range(count)]
        network.fit(columns, seed=config.training.seed)
        self._network = network.eval()
        self._state_hash = state_hash(network.state_dict())
        return self

    def outputs(self, images: Any, view: int | None = None) -> FusedOutputs:
        """Return F, h, o and the teachers' weights of images as they are, or of one cached random view."""
        opened = open_images(images, labels="none") if not isinstance(images, ImageSet) else images
        parts = self._fuse([self._columns(k, opened, view)["features"] for k in range(len(self.teachers))])
        return FusedOutputs(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def teacher_features(self, images: ImageSet) -> list[Tensor]:
        """Return each teacher's own features, fp16 (n, d_k)."""
        return [self._columns(k, images, None)["features"] for k in range(len(self.teachers))]

    def features(self, images: Any) -> Tensor:
        """Return fused features, float32 (n, feature_dim)."""
        return self.outputs(images).features

    def logits(self, images: Any) -> Tensor:
        """Return class logits, float32 (n, classes)."""
        if not isinstance(self.network, FusedNetwork):
            raise ValueError("a FusedTeacher without labels names no classes")
        return self.outputs(images).logits

    def logits_with_shuffled_weights(self, images: ImageSet, seed: int = 0) -> Tensor | None:
        """Return logits (n, classes) of images fused with each other's weights; None for fixed weights.

        If they name classes as well as :meth:`logits`, attention by image is worth nothing.
        """
        network = self.network
        if not isinstance(network, FusedNetwork) or not isinstance(network.fusion, AttentionFusion):
            return None
        with torch.inference_mode():
            z = network.project([column.float() for column in self.teacher_features(images)])
            weights = network.fusion(z)[1]
            order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))
            logits: Tensor = network.classifier((weights[order, :, None] * z).sum(1))
        return logits

    def codes(self, images: Any) -> Any:
        """Return packed codes: uint8 NumPy (n, ceil(bits / 8))."""
        return dmth_fast.pack(self.outputs(images).values.numpy())

    def predict(self, images: Any) -> Any:
        """Return class ids: int64 NumPy (n,)."""
        return self.logits(images).argmax(1).numpy()

    def accuracy(self, images: ImageSet) -> float:
        """Return the fraction of labelled images whose class it names."""
        labels = images.required_labels("accuracy")
        return float((self.logits(images).argmax(1) == labels).float().mean())

    def teacher_logits(self, images: ImageSet, view: int | None = None) -> list[Tensor]:
        """Return each teacher's own logits (n, classes): of its classifier, or a linear one on features."""
        return [self._own_logits(k, self._columns(k, images, view)) for k in range(len(self.teachers))]

    def average_probabilities(self, images: ImageSet) -> Tensor:
        """Return the mean of the teachers' own softmax outputs (n, classes): the baseline of any fusion."""
        return torch.stack([torch.softmax(logits, 1) for logits in self.teacher_logits(images)]).mean(0)

    def targets(self, images: ImageSet, view: int | None, *, every_teacher: bool = False) -> Columns:
        """Return what a student learns from, cached as fp16: ``features`` F, ``values`` h, ``logits`` o.

        Args:
            images: n images.
            view: number of the random view; None: the images as they are.
            every_teacher: also the teachers' own ``teacher_logits`` (n, teachers * classes).
        """
        manifest = {
            "kind": "fused",
            "head": self.state_hash,
            **self.views.manifest(images, view, len(self.classes)),
        }

        def chunks(first: int) -> Iterator[Columns]:
            features = [self._columns(k, images, view)["features"] for k in range(len(self.teachers))]
            for start in range(first, len(images), _ROWS):
                parts = self._fuse([column[start : start + _ROWS] for column in features])
                yield self._target_columns(FusedOutputs(*parts[0]))

        columns = self.cache.stream(manifest, chunks)
        if every_teacher:
            columns |= self.cache.get(
                manifest | {"kind": "teacher logits"},
                lambda: {"teacher_logits": torch.cat(self.teacher_logits(images, view), 1)},
            )
        return columns

    def live_targets(self, pixels: Tensor, *, every_teacher: bool = False) -> Columns:
        """Run the teachers on uint8 images (b, 3, h, w); float32 columns as those of :meth:`targets`.

        Raises:
            ValueError: a teacher of stored features, which can be shown nothing.
        """
        found = []
        for teacher in self.teachers:
            if not isinstance(teacher, Teacher):
                raise ValueError(f"teacher {teacher.name} has stored features and cannot be run live")
            found.append(teacher.outputs(pixels, teacher.named(self.classes)))
        outputs = FusedOutputs(*self._fuse([columns["features"] for columns in found])[0])
        targets = self._target_columns(outputs)
        if every_teacher:
            own = [self._own_logits(k, columns) for k, columns in enumerate(found)]
            targets["teacher_logits"] = torch.cat(own, 1)
        # Not inference tensors: the student's terms are differentiated beside them.
        return {name: column.clone() for name, column in targets.items()}

    @staticmethod
    def _target_columns(outputs: FusedOutputs) -> Columns:
        columns = {"features": outputs.features, "values": outputs.values, "logits": outputs.logits}
        return {name: column for name, column in columns.items() if column.shape[1]}

    def _own_logits(self, k: int, columns: Columns) -> Tensor:
        if not isinstance(self.network, FusedNetwork):
            raise ValueError("a FusedTeacher without labels names no classes")
        if "logits" in columns:
            return columns["logits"].float()
        with torch.inference_mode():
            logits: Tensor = self.network.probes[str(k)](
                self.network.standardizations[k](columns["features"])
            )
        return logits

    def _columns(self, k: int, images: ImageSet, view: int | None) -> Columns:
        return self.views.columns(k, images, view, self.classes)

    def _fuse(self, features: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        self.network.eval()
        with torch.inference_mode():
            chunks = zip(*(torch.split(column, _ROWS) for column in features), strict=True)
            return [self.network(list(chunk)) for chunk in chunks]
