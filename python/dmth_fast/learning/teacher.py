"""Several frozen networks, fused by a small trained head into one teacher."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import dmth_fast
from dmth_fast.learning.augmentation import crop_and_flip
from dmth_fast.learning.config import FusionConfig, configure, one_of, to_mapping
from dmth_fast.learning.data import ImageSet, open_images
from dmth_fast.learning.features import Columns, FeatureCache
from dmth_fast.learning.frozen import Teacher
from dmth_fast.learning.fusion import FUSIONS, AttentionFusion, FusedNetwork, entropy
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.losses import QUANTIZERS, HashLoss, build_centers, build_loss
from dmth_fast.learning.network import image_batches
from dmth_fast.learning.training import Metrics, train_objective
from dmth_fast.learning.unlabelled import UnlabelledNetwork
from dmth_fast.learning.weights import state_hash

__all__ = ["FusedOutputs", "FusedTeacher", "Teacher"]


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
        teachers: :class:`Teacher` objects or trained Hashers, at least one.
        fusion: ``attention``, ``mean``, ``concat`` or ``static``.
        bits: width of the hash layer.
        cache: folder for cached features, shared between runs; None keeps them in memory.
        config: fields of :class:`~dmth_fast.learning.config.FusionConfig` or of its sections.

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
        teachers: Sequence["Teacher | Hasher"],
        fusion: str = "attention",
        bits: int = 64,
        *,
        cache: str | Path | None = None,
        **config: Any,
    ) -> None:
        if not teachers:
            raise ValueError("teachers must hold at least one teacher, got none")
        one_of("fusion", fusion, FUSIONS)
        if not 1 <= bits <= 4096:
            raise ValueError(f"bits must lie in 1..4096, got {bits}")
        self.teachers = tuple(item if isinstance(item, Teacher) else Teacher(item) for item in teachers)
        self.bits = bits
        self.config = configure(FusionConfig, {"fusion": fusion, **config})
        self.classes: tuple[str, ...] = ()
        self.history: list[Metrics] = []
        self.cache = FeatureCache(None if cache is None else Path(cache))
        self.cache_seconds = 0.0
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
        """Class codes +-1 (classes, bits), which a student of the same width shares."""
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
    def num_parameters(self) -> int:
        """Number of values in all teachers and the head."""
        head = sum(parameter.numel() for parameter in self.network.parameters())
        return head + sum(teacher.num_parameters for teacher in self.teachers)

    def fit(
        self,
        train: ImageSet,
        progress: bool = True,
        *,
        run_dir: str | Path | None = None,
        resume: bool = False,
    ) -> "FusedTeacher":
        """Cache the teachers' features of V views, then train fusion, hash layer and classifier on them.

        Args:
            train: labelled images.
            progress: show progress on standard error.
            run_dir: folder for a checkpoint and ``metrics.jsonl`` after each epoch.
            resume: continue from the checkpoint in ``run_dir``.

        Raises:
            ValueError: no labels, one class only, fewer images than a batch, or a cache that does not match.
        """
        config = self.config
        if not config.labels:
            return self._fit_without_labels(train)
        labels = train.required_labels("a fused teacher with labels=True")
        if len(train.classes) < 2:
            raise ValueError(f"training needs at least two classes, got {len(train.classes)}")
        self.classes = train.classes
        views = [[self._columns(k, train, v) for k in range(len(self.teachers))] for v in range(config.views)]
        with torch.random.fork_rng():
            torch.manual_seed(config.training.seed)
            network = FusedNetwork(
                tuple(teacher.backbone.feature_dim for teacher in self.teachers),
                fusion=config.fusion,
                dim=config.dim,
                bits=self.bits,
                num_classes=len(train.classes),
                temperature=config.attention_temperature,
                dropout=config.dropout,
                standardization=config.standardization,
                probes=tuple(teacher.num_classes != len(train.classes) for teacher in self.teachers),
            )
        network.set_statistics([columns["features"] for columns in views[0]])
        self._centers = build_centers(config.loss, len(train.classes), self.bits, seed=config.training.seed)
        objective = _FusionObjective(network, build_loss(config.loss, self._centers), config)
        self.history = train_objective(
            objective,
            _FusionBatches(views, labels),
            config.training,
            title=f"{config.fusion} of {len(self.teachers)} teachers",
            settings={
                "teachers": self.cards,
                "bits": self.bits,
                "config": to_mapping(config),
                "images": train.content_hash(),
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
            tuple(teacher.backbone.feature_dim for teacher in self.teachers),
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

    def teacher_logits(self, images: ImageSet) -> list[Tensor]:
        """Return each teacher's own logits (n, classes): of its classifier, or a linear one on features."""
        if not isinstance(self.network, FusedNetwork):
            raise ValueError("a FusedTeacher without labels names no classes")
        results = []
        for k in range(len(self.teachers)):
            columns = self._columns(k, images, None)
            if "logits" in columns:
                results.append(columns["logits"].float())
            else:
                with torch.inference_mode():
                    standardized = self.network.standardizations[k](columns["features"])
                    results.append(self.network.probes[str(k)](standardized))
        return results

    def average_probabilities(self, images: ImageSet) -> Tensor:
        """Return the mean of the teachers' own softmax outputs (n, classes): the baseline of any fusion."""
        return torch.stack([torch.softmax(logits, 1) for logits in self.teacher_logits(images)]).mean(0)

    def targets(self, images: ImageSet, view: int | None) -> Columns:
        """Return what a student learns from, cached as fp16: ``features`` F, ``values`` h, ``logits`` o.

        Of one random view, or of the images as they are (None).
        """
        manifest = {"kind": "fused", "head": self.state_hash, **self._view_manifest(images, view)}

        def compute() -> Columns:
            columns = self.outputs(images, view)._asdict()
            return {
                name: columns[name] for name in ("features", "values", "logits") if columns[name].shape[1]
            }

        return self.cache.get(manifest, compute)

    def _view_manifest(self, images: ImageSet, view: int | None) -> dict[str, Any]:
        augmentation = None if view is None else to_mapping(self.config.augmentation)
        seed = None if view is None else self.config.training.seed
        return {
            "images": images.content_hash(),
            "rows": len(images),
            "view": view,
            "augmentation": augmentation,
            "seed": seed,
            "teachers": [teacher.identity for teacher in self.teachers],
            "classes": len(self.classes),
        }

    def _columns(self, k: int, images: ImageSet, view: int | None) -> Columns:
        manifest = self._view_manifest(images, view)
        manifest |= {"kind": "teacher", "teachers": [manifest["teachers"][k]]}
        # Features do not depend on the classes: a run without labels shares them with one that has labels.
        manifest["classes"] *= self.teachers[k].num_classes == len(self.classes)
        return self.cache.get(manifest, lambda: self._compute(k, images, view))

    def _compute(self, k: int, images: ImageSet, view: int | None) -> Columns:
        begin = time.perf_counter()
        rows: dict[str, list[Tensor]] = {}
        augmentation, seed = self.config.augmentation, self.config.training.seed
        for index, pixels in image_batches(images, 500):
            if view is not None:
                pixels = crop_and_flip(
                    pixels, index, seed=seed, view=view, padding=augmentation.padding, flip=augmentation.flip
                )
            for name, column in self.teachers[k].outputs(pixels, len(self.classes)).items():
                rows.setdefault(name, []).append(column)
        self.cache_seconds += time.perf_counter() - begin
        return {name: torch.cat(columns) for name, columns in rows.items()}

    def _fuse(self, features: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        self.network.eval()
        with torch.inference_mode():
            chunks = zip(*(torch.split(column, 4096) for column in features), strict=True)
            return [self.network(list(chunk)) for chunk in chunks]


class _FusionObjective(nn.Module):
    """``CE(o, y) + eta L_hash(h, y) + lambda quant(h) - rho H(a)``, and the cross-entropy of each probe."""

    def __init__(self, network: FusedNetwork, hash_loss: HashLoss, config: FusionConfig) -> None:
        super().__init__()
        self.network, self.hash_loss, self._config = network, hash_loss, config

    def forward(self, features: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        config, cross_entropy = self._config, nn.functional.cross_entropy
        _, h, logits, weights = self.network(features)
        terms = {"classifier": cross_entropy(logits, labels), "hash": self.hash_loss(h, labels)}
        terms["entropy"] = entropy(weights)
        loss = (
            terms["classifier"] + config.hash_weight * terms["hash"] - config.entropy_bonus * terms["entropy"]
        )
        if config.loss.quantization:
            terms["quantization"] = QUANTIZERS[config.loss.quantizer](h)
            loss = loss + config.loss.quantization * terms["quantization"]
        standardized = self.network.standardize(features)
        for k, probe in self.network.probes.items():
            loss = loss + cross_entropy(probe(standardized[int(k)]), labels)
        return {"loss": loss, **terms}


class _FusionBatches:
    """Cached features of view e mod V with the labels."""

    def __init__(self, views: list[list[Columns]], labels: Tensor) -> None:
        self._views, self._labels = views, labels

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, index: Tensor, epoch: int) -> tuple[list[Tensor], Tensor]:
        """Return each teacher's float32 features and the labels."""
        columns = self._views[epoch % len(self._views)]
        return [column["features"][index].float() for column in columns], self._labels[index]
