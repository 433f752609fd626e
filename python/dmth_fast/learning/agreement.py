"""Whether a student and its teacher can work together: classes, views, bits, labels, live or cached."""

from typing import TYPE_CHECKING

from dmth_fast.learning.config import HasherConfig
from dmth_fast.learning.data import ImageSet

if TYPE_CHECKING:
    from dmth_fast.learning.teacher import FusedTeacher

__all__ = ["refuse_disagreement"]


def refuse_disagreement(config: HasherConfig, bits: int, teacher: "FusedTeacher", train: ImageSet) -> None:
    """Raise ValueError where a student of ``config`` and ``bits`` cannot follow ``teacher`` on ``train``.

    Raises:
        TypeError: ``teacher`` is no fused teacher.
    """
    from dmth_fast.learning.teacher import FusedTeacher

    if not isinstance(teacher, FusedTeacher):
        raise TypeError(
            f"teacher must be a FusedTeacher, got {type(teacher).__name__}: "
            "FusedTeacher([teacher]).fit(train) makes one"
        )
    weights, labelled = config.distillation, config.loss.hash_loss != "none"
    if weights.logit and not (labelled and teacher.config.labels):
        raise ValueError("the logit term needs a teacher and a student with classes: pass logit=0")
    if teacher.config.labels and labelled and teacher.classes != train.classes:
        raise ValueError(
            f"teacher knows the classes {teacher.classes}, the training images have {train.classes}"
        )
    wanting = [name for name in ("mixup", "self_distillation") if getattr(weights, name)]
    if wanting and not weights.live:
        raise ValueError(
            f"{' and '.join(wanting)} needs the teachers live, since cached targets are of other pixels: "
            "pass live=True, or 0"
        )
    if weights.live and not teacher.live:
        raise ValueError("live=True needs networks as teachers: stored features have seen no such pixels")
    if teacher.config.augmentation != config.augmentation:
        raise ValueError(
            "the student must see the teacher's views: the teacher's augmentation is "
            f"{teacher.config.augmentation}, the student's {config.augmentation}"
        )
    if weights.code and teacher.bits != bits:
        raise ValueError(
            f"the code term needs equal bits, the teacher has {teacher.bits}, the student {bits}: "
            "pass code=0 or the same bits"
        )
