"""Distillation of a frozen teacher's features into a backbone, without labels."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dmth_fast.learning.augmentation import crop_and_flip
from dmth_fast.learning.backbone import Backbone
from dmth_fast.learning.config import AugmentationConfig, at_least
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.distillation import FEATURE_TERMS
from dmth_fast.learning.features import FeatureCache
from dmth_fast.learning.frozen import AnyTeacher
from dmth_fast.learning.network import prepare, run_backbone

__all__ = ["FeatureBatches", "FeatureObjective", "ViewConfig"]


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
    """The named term between the (projected) student features and the teacher's."""

    def __init__(self, backbone: Backbone, feature_dim: int, term: str, precision: str) -> None:
        super().__init__()
        flat = backbone.name.endswith("-flatten")
        if flat and backbone.feature_dim != feature_dim:
            raise ValueError(
                f"student {backbone.name} has features of {backbone.feature_dim} values and no projector, "
                f"the teacher's have {feature_dim}: take {backbone.name.removesuffix('-flatten')}, "
                "or a teacher that fits"
            )
        self.backbone, self.term, self.precision = backbone, FEATURE_TERMS[term], precision
        self.projection = nn.Identity() if flat else nn.Linear(backbone.feature_dim, feature_dim)

    def forward(self, images: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the term of normalised images and the teacher's features of them."""
        features = run_backbone(self.backbone, images, self.precision)
        return {"loss": self.term(self.projection(features), target)}


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
