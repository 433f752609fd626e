"""What each frozen teacher says of image sets and of their random views, computed once."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from dmth_fast.learning.augmentation import crop_and_flip
from dmth_fast.learning.config import AugmentationConfig, to_mapping
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.features import Columns, FeatureCache
from dmth_fast.learning.frozen import AnyTeacher, Teacher
from dmth_fast.learning.progress import counting

__all__ = ["TeacherViews"]


class TeacherViews:
    """Cached outputs of teachers; a view is decided by (seed, view, image index).

    Args:
        teachers: frozen networks, or stored features, which have one view and are not cached again.
        cache: where the outputs are kept.
        augmentation: of the views.
        seed: of the views.

    Attributes:
        seconds: what computing outputs has taken so far.
        progress: whether that is shown on standard error.
    """

    def __init__(
        self,
        teachers: Sequence[AnyTeacher],
        cache: FeatureCache,
        *,
        augmentation: AugmentationConfig,
        seed: int,
    ) -> None:
        self._teachers, self._cache = teachers, cache
        self._augmentation, self._seed = augmentation, seed
        self.seconds = 0.0
        self.progress = False

    def columns(self, k: int, images: ImageSet, view: int | None, classes: Sequence[str]) -> Columns:
        """Return fp16 ``features`` of teacher k, and ``logits`` where its classifier has these classes.

        Args:
            k: number of the teacher.
            images: n images.
            view: number of a random view; None: the images as they are.
            classes: of the task.
        """
        teacher = self._teachers[k]
        if not isinstance(teacher, Teacher):
            return teacher.columns(images)
        # Features do not depend on the classes: a run without labels shares them with one that has labels.
        num_classes = teacher.named(classes)
        manifest = self.manifest(images, view, num_classes)
        manifest |= {"kind": "teacher", "teachers": [manifest["teachers"][k]]}

        def show(pixels: Tensor, index: Tensor) -> Tensor:
            return pixels if view is None else self.show(pixels, index, view)

        def chunks(first: int) -> Iterator[Columns]:
            title = f"caching {teacher.name}, {'images as they are' if view is None else f'view {view}'}"
            with counting(title, len(images) - first, enabled=self.progress) as count:
                begin = time.perf_counter()
                for columns in teacher.chunks(images, num_classes, show, first):
                    self.seconds += time.perf_counter() - begin
                    count(len(columns["features"]))
                    yield columns
                    begin = time.perf_counter()

        return self._cache.stream(manifest, chunks)

    def show(self, pixels: Tensor, index: Tensor, view: int) -> Tensor:
        """Return uint8 images (b, 3, h, w), at ``index`` of their set, as ``view`` shows them."""
        kind = self._augmentation
        return crop_and_flip(pixels, index, seed=self._seed, view=view, padding=kind.padding, flip=kind.flip)

    def manifest(self, images: ImageSet, view: int | None, num_classes: int) -> dict[str, Any]:
        """Return what decides the outputs of all teachers."""
        return {
            "images": images.content_hash(),
            "rows": len(images),
            "view": view,
            "augmentation": None if view is None else to_mapping(self._augmentation),
            "seed": None if view is None else self._seed,
            "teachers": [teacher.identity for teacher in self._teachers],
            "classes": num_classes,
        }
