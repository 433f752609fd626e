"""What a run would cost, before it is run: parameters, operations, cache size and time."""

import time
from collections.abc import Callable
from typing import Any

import torch

from dmth_fast.learning.frozen import Teacher
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.losses import build_loss, random_centers
from dmth_fast.learning.macs import count_macs
from dmth_fast.learning.objective import StudentObjective
from dmth_fast.preparation import data_root, new_student, open_teacher, prepare
from dmth_fast.trainconfig import TrainConfig

__all__ = ["estimate", "step_seconds"]


def estimate(config: TrainConfig) -> dict[str, Any]:
    """Open the images, build every network, time a few steps, and add up; nothing is written.

    Args:
        config: of the run.

    Returns:
        ``images`` (query, database, train), ``student`` and ``teachers`` (name, parameters, macs an
        image), ``cache_bytes`` of teacher features and student targets, and estimated ``seconds`` by stage on
        this machine as it is now. The fusion's training, augmentation and evaluation are not counted.

    Raises:
        ValueError: anything that the run itself would refuse before it trains.
        FileNotFoundError: missing images or weights.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    root = data_root(config)
    split, learned, _, unlabelled = prepare(config)
    rows, classes, fusion = len(learned), len(learned.classes), config.fusion
    more = 0 if unlabelled is None else len(unlabelled)
    # What teachers look at: views of the training and unlabelled images, queries and database as they are.
    looks = rows * fusion.views + more * fusion.unlabelled_views + len(split.query) + len(split.database)
    if not fusion.views and rows != len(split.database):
        looks += rows
    training = config.student.training
    batches = rows // training.batch_size
    teachers: list[dict[str, Any]] = []
    caching, teaching, teaching_live, width = 0.0, 0.0, 0.0, 0
    pixels = learned.images[: min(64, rows)]
    for card in config.teachers:
        if card.stored:
            stored = open_teacher(card, root)
            teachers.append(
                {"name": stored.name, "parameters": None, "macs": None, "images_per_second": None}
            )
            continue
        if card.trained_here:
            hasher = Hasher(card.backbone, config.bits, training=training, loss=config.student.loss)
            teaching += card.epochs * batches * _step(config, hasher, classes, learned.size)
            teacher = Teacher(hasher, input_size=card.input_size, precision=card.precision)
        else:
            opened = open_teacher(card, root)
            assert isinstance(opened, Teacher)
            teacher = opened
        seconds = _seconds(lambda teacher=teacher: teacher.outputs(pixels, 0))  # type: ignore[misc]
        rate = len(pixels) / seconds
        caching += looks / rate
        teaching_live += 1 / rate
        side = teacher.input_size
        size = learned.size if side is None else (side, side)
        width += teacher.feature_dim
        teachers.append(
            {
                "name": card.name or card.backbone,
                "parameters": teacher.num_parameters,
                "macs": count_macs(teacher.backbone, size),
                "images_per_second": round(rate, 1),
            }
        )
    student = new_student(config, root)
    live = config.student.distillation.live
    fused = fusion.dim * (len(config.teachers) if fusion.fusion == "concat" else 1)
    targets = fused + config.bits + classes
    target_rows = 0 if live else rows * max(1, fusion.views) + more * max(1, fusion.unlabelled_views)
    step = _step(config, student, classes, learned.size)
    shown = training.batch_size + (min(training.unlabelled_batch, more) if more else 0)
    distilled = step * shown / training.batch_size + (shown * teaching_live if live else 0.0)
    students = training.epochs * batches * (distilled + (step if config.labels else 0.0))
    return {
        "images": {"query": len(split.query), "database": len(split.database), "train": rows},
        "student": {
            "name": config.backbone,
            "parameters": student.num_parameters,
            "macs": count_macs(student.network, learned.size),
        },
        "teachers": teachers,
        "cache_bytes": 2 * (width * looks + targets * target_rows),
        "seconds": {
            "training teachers": round(teaching),
            "caching teacher features": round(caching),
            "training students": round(students),
        },
    }


def step_seconds(config: TrainConfig, classes: int, size: tuple[int, int]) -> float:
    """Seconds of one training step of a config's student, timed on noise.

    Args:
        config: of the run.
        classes: that the labels name.
        size: height and width of the images.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    return _step(config, new_student(config, data_root(config)), classes, size)


def _step(config: TrainConfig, student: Hasher, classes: int, size: tuple[int, int]) -> float:
    """Seconds of one forward and backward pass."""
    training = config.student.training
    count = training.batch_size
    labels = torch.arange(count) % max(classes, 1)
    # Not zeros: the batch norm of constants makes numbers that processors are slow at.
    noise = torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(0))
    images = noise.to(memory_format=torch.channels_last)
    loss = None
    if config.labels:
        centers = random_centers(max(classes, 2), config.bits, seed=0, draws=1)
        loss = build_loss(config.student.loss, centers)
    objective = StudentObjective(student.network, loss, config.student, None).train()

    def run() -> None:
        _, h = objective.network(images, training.precision)
        (h.square().mean() if loss is None else loss(h, labels)).backward()

    return _seconds(run)


def _seconds(run: Callable[[], object]) -> float:
    """Seconds of the faster of two calls, after one that warms up."""
    run()
    taken = []
    for _ in range(2):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return min(taken)
