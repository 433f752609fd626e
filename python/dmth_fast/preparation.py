"""What a run opens and checks before anything is trained: images, weights, teachers, sizes of batches."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from dmth_fast.learning import protocols
from dmth_fast.learning.data import ImageSet, split_by_class
from dmth_fast.learning.frozen import AnyTeacher, Teacher
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.protocols import ImageSplit, open_split, refuse_seen, seen_by
from dmth_fast.learning.stored import StoredFeatures
from dmth_fast.learning.torchvision_backbone import DOWNLOAD
from dmth_fast.trainconfig import STUDENT, TeacherConfig, TrainConfig, refuse_late

__all__ = [
    "Images",
    "check_batches",
    "check_teachers",
    "check_weights",
    "data_root",
    "new_student",
    "open_run",
    "open_teacher",
    "prepare",
    "student_seen",
]


class Images(NamedTuple):
    """The images of a run.

    Attributes:
        split: of the protocol.
        learned: training images without those held out.
        validation: those held out, or None.
        unlabelled: what the student sees without labels, or None.
    """

    split: ImageSplit
    learned: ImageSet
    validation: ImageSet | None
    unlabelled: ImageSet | None


def prepare(config: TrainConfig) -> Images:
    """Open the images of a run, and refuse all that can be known to fail later.

    Raises:
        ValueError: settings, images, weights or teachers that do not go together, or what the protocol
            forbids.
        FileNotFoundError: missing images or weights.
    """
    refuse_late(config)
    images, root = open_run(config), data_root(config)
    if config.labels and len(images.learned.classes) < 2:
        raise ValueError(f"training needs at least two classes, got {len(images.learned.classes)}")
    check_batches(config, len(images.learned))
    check_weights(config, images.split)
    new_student(config, root)
    check_teachers(config, images)
    return images


def open_run(config: TrainConfig) -> Images:
    """Open the images of a config; errors as of :func:`dmth_fast.learning.protocols.open_split`."""
    data = config.data
    split = open_split(config.protocol, data, data_root(config), config.seed)
    learned, validation = split.train, None
    if data.validation_fraction:
        learned, validation = split_by_class(learned, fraction=data.validation_fraction, seed=config.seed)
    return Images(split, learned, validation, split.unlabelled(validation) if data.unlabelled else None)


def data_root(config: TrainConfig) -> Path:
    """Return the folder that relative paths of images and weights start from."""
    return protocols.data_root(config.data.root)


def check_batches(config: TrainConfig, images: int, *, student: bool = True, fused: bool = True) -> None:
    """Refuse batches that the training images do not fill.

    Args:
        config: of the run.
        images: to learn from.
        student: whether a student is trained.
        fused: whether the fused teacher is.

    Raises:
        ValueError: a batch is larger; the setting is named.
    """
    sizes = {}
    if student or (fused and any(card.trained_here for card in config.teachers)):
        sizes["student.training.batch_size"] = config.student.training.batch_size
    if fused and config.labels:
        sizes["fusion.training.batch_size"] = config.fusion.training.batch_size
    if large := {key: size for key, size in sizes.items() if size > images}:
        given = ", ".join(f"{key} = {size}" for key, size in large.items())
        raise ValueError(f"batches must be of at most the {images} images to learn from, got {given}")


def check_weights(config: TrainConfig, split: ImageSplit, *, fused: bool = True) -> None:
    """Refuse weights that are not there, and those of the student if they have seen too much.

    Args:
        config: of the run.
        split: of its protocol.
        fused: whether the teachers' weights are needed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the protocol forbids what they have seen.
    """
    for weights in (config.weights, *(card.weights for card in config.teachers if fused)):
        place = weights_path(data_root(config), weights)
        if isinstance(place, Path) and not place.exists():
            raise FileNotFoundError(f"weights {place} do not exist")
    if config.weights is not None:
        refuse_seen(config.protocol, config.weights, config.seen, split=split, what=STUDENT)


def check_teachers(config: TrainConfig, images: Images) -> None:
    """Refuse teachers whose own card or stored features do not fit, and networks of an unknown name.

    Raises:
        ValueError: a teacher that has seen what the protocol forbids, stored features of other images, or an
            unknown backbone.
    """
    for card in config.teachers:
        if card.trained_here:
            Hasher(card.backbone, config.bits)
            continue
        teacher = open_teacher(card, data_root(config))
        refuse_seen(config.protocol, teacher.name, teacher.seen, split=images.split)
        if not teacher.live:
            for part in (images.split.query, images.split.database, images.learned, images.unlabelled):
                if part is not None:
                    teacher.columns(part)


def weights_path(root: Path, weights: str | None) -> Path | str | None:
    """Return where the weights are; the word that has them downloaded stays as it is."""
    return weights if weights in (None, DOWNLOAD) else root / str(weights)


def student_seen(config: TrainConfig, split: ImageSplit, *, distilled: bool) -> tuple[str, ...]:
    """Name what a student itself sees, with its start weights, for its card; teachers add their own."""
    unlabelled = distilled and config.data.unlabelled
    return (*seen_by(config.protocol, split, unlabelled=unlabelled), *config.seen)


def new_student(config: TrainConfig, root: Path) -> Hasher:
    """Return the untrained student of a config."""
    student = config.student
    return Hasher(
        config.backbone,
        config.bits,
        weights=weights_path(root, config.weights),
        **{item.name: getattr(student, item.name) for item in dataclasses.fields(student)},
    )


def open_teacher(card: TeacherConfig, root: Path) -> AnyTeacher:
    """Open the teacher of a card that is not trained here: weights of any kind, or stored features."""
    if card.stored:
        return StoredFeatures(card.backbone, root=root, name=card.name, seen=card.seen, licence=card.licence)
    place = weights_path(root, card.weights)
    network: str | Hasher = card.backbone
    if isinstance(place, Path) and place.is_dir():
        network, place = Hasher.load(place), None
        if network.backbone != card.backbone:
            raise ValueError(
                f"teacher {card.weights} is a {network.backbone}, the config says {card.backbone}"
            )
    return Teacher(
        network,
        place,
        name=card.name,
        input_size=card.input_size,
        precision=card.precision,
        seen=card.seen,
        licence=card.licence,
    )
