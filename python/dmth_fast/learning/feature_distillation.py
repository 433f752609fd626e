"""Distillation of a frozen teacher's features into a backbone, without labels."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dmth_fast.learning.augmentation import crop_and_flip
from dmth_fast.learning.backbone import Backbone, Resized
from dmth_fast.learning.backbones import build_backbone
from dmth_fast.learning.config import AugmentationConfig, TrainingConfig, at_least, to_mapping
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.distillation import FEATURE_TERMS
from dmth_fast.learning.features import FeatureCache
from dmth_fast.learning.frozen import AnyTeacher
from dmth_fast.learning.network import prepare, run_backbone
from dmth_fast.learning.standardization import Standardization
from dmth_fast.learning.timm_backbone import TimmNetwork
from dmth_fast.learning.torchvision_backbone import TorchvisionNetwork
from dmth_fast.learning.training import METRICS, Metrics, train_objective
from dmth_fast.learning.weights import save_tensors

__all__ = ["FeatureBatches", "FeatureObjective", "ViewConfig", "distil_features", "file_state"]


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """Which views of the images teacher and student see.

    Attributes:
        views: V; epoch e shows view e mod V.
        seed: of the views.
        augmentation: shifts and flips.
    """

    views: int = 1
    seed: int = 0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def __post_init__(self) -> None:
        at_least("views", self.views, 1)


class FeatureObjective(nn.Module):
    """The named term between the (projected) student features and the teacher's, perhaps standardised."""

    def __init__(
        self, backbone: Backbone, feature_dim: int, term: str, precision: str, standardization: str = "none"
    ) -> None:
        super().__init__()
        flat = backbone.name.endswith("-flatten")
        if flat and backbone.feature_dim != feature_dim:
            raise ValueError(
                f"student {backbone.name} has features of {backbone.feature_dim} values and no projector, "
                f"the teacher's have {feature_dim}: take {backbone.name.removesuffix('-flatten')}, "
                "or a teacher that fits"
            )
        if flat and standardization != "none":
            raise ValueError(
                f"student {backbone.name} has no projector that would take features of another scale: "
                f"feature_standardization must be 'none', got {standardization!r}"
            )
        self.backbone, self.term, self.precision = backbone, FEATURE_TERMS[term], precision
        self.projection = nn.Identity() if flat else nn.Linear(backbone.feature_dim, feature_dim)
        self.standardization = Standardization(standardization, feature_dim)

    def forward(self, images: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the term of normalised images and the teacher's features of them."""
        features = run_backbone(self.backbone, images, self.precision)
        return {"loss": self.term(self.projection(features), self.standardization(target))}


class FeatureBatches:
    """Views of unlabelled images with the teacher's cached features of the same views."""

    def __init__(
        self,
        config: ViewConfig,
        images: ImageSet,
        teacher: AnyTeacher,
        student: Backbone,
        directory: Path | None,
    ) -> None:
        self._config, self._images, self._student = config, images, student
        cache = FeatureCache(directory)
        self._features = [cache.get(*self._view(teacher, view)) for view in range(config.views)]

    def __len__(self) -> int:
        return len(self._images)

    def features(self) -> Tensor:
        """The teacher's features (n, d) of the first view."""
        return self._features[0]["features"].float()

    def batch(self, index: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return normalised images and features (b, d) of the images at ``index``."""
        view = epoch % self._config.views
        pixels = self._pixels(self._images.images[index], index, view)
        return prepare(self._student, pixels), self._features[view]["features"][index].float()

    def _pixels(self, pixels: Tensor, index: Tensor, view: int) -> Tensor:
        kind = self._config.augmentation
        return crop_and_flip(
            pixels, index, seed=self._config.seed, view=view, padding=kind.padding, flip=kind.flip
        )

    def _view(self, teacher: AnyTeacher, view: int) -> tuple[dict[str, Any], Callable[[], dict[str, Tensor]]]:
        manifest = {
            "kind": "view",
            "teacher": teacher.identity,
            "images": self._images.content_hash(),
            "rows": len(self._images),
            "view": [view, self._config.seed, asdict(self._config.augmentation)],
        }

        def compute() -> dict[str, Tensor]:
            return teacher.columns(self._images, 0, lambda pixels, index: self._pixels(pixels, index, view))

        return manifest, compute


def distil_features(
    student: str,
    images: ImageSet,
    teacher: Callable[[], AnyTeacher],
    *,
    term: str,
    standardization: str,
    views: ViewConfig,
    cache: Path | None,
    training: TrainingConfig,
    out: Path,
    progress: bool,
) -> list[Metrics]:
    """Train a backbone from scratch on the teacher's features and write ``step1.safetensors``.

    Args:
        student: name of the backbone.
        images: whose labels are not looked at.
        teacher: opens the teacher; not called where the student is there already.
        term: key of ``distillation.FEATURE_TERMS``.
        standardization: of the teacher's features, by their first view (see
            :class:`~dmth_fast.learning.standardization.Standardization`).
        views: that both see.
        cache: folder of the teacher's features; None keeps them in memory.
        training: of the student.
        out: folder of the weights, and of ``step1`` with the checkpoint that an interrupted run goes on from.
        progress: show progress on standard error.

    Returns:
        One dict of metrics an epoch.

    Raises:
        ValueError: a student without projector that does not fit, fewer images than a batch, or an
            interrupted run of other settings, images or another teacher.
    """
    done = out / "step1.safetensors"
    if done.exists():
        return [json.loads(line) for line in (out / "step1" / METRICS).read_text().splitlines()]
    source = teacher()
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        backbone = build_backbone(student).to(memory_format=torch.channels_last)
        dim, precision = source.feature_dim, training.precision
        objective = FeatureObjective(backbone, dim, term, precision, standardization)
    batches = FeatureBatches(views, images, source, backbone, cache)
    objective.standardization.fit(batches.features())
    history = train_objective(
        objective,
        batches,
        training,
        title="step 1",
        settings={
            "student": student,
            "term": term,
            "standardization": standardization,
            "views": to_mapping(views),
            "training": to_mapping(training),
            "images": images.content_hash(),
            "teacher": source.identity,
        },
        run_dir=out / "step1",
        resume=True,
        progress=progress,
    )
    save_tensors(done, file_state(backbone))
    return history


def file_state(backbone: Backbone) -> dict[str, Tensor]:
    """Return the weights under the names by which ``build_backbone(backbone.name, FILE)`` reads them."""
    if isinstance(backbone, Resized):
        return file_state(backbone.network)
    if isinstance(backbone, TimmNetwork):
        return dict(backbone.model.state_dict())
    if isinstance(backbone, TorchvisionNetwork):
        last = {f"{backbone.path}.{key}": value for key, value in backbone.last.state_dict().items()}
        return {**backbone.model.state_dict(), **last}
    return dict(backbone.state_dict())
