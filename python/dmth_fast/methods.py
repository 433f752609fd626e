"""What can stand in a table of methods: each measured in the same way on the images of one protocol."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmth_fast.learning.baselines import Projection, itq_rotation, lsh, pca
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.frozen import AnyTeacher, Teacher
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.macs import count_macs
from dmth_fast.learning.network import image_batches
from dmth_fast.learning.protocols import ImageSplit
from dmth_fast.learning.teacher import FusedTeacher
from dmth_fast.protocols import one_hot_codes
from dmth_fast.protocols import random_codes as drawn_codes
from dmth_fast.retrieval.codes import pack
from dmth_fast.retrieval.evaluation import evaluate
from dmth_fast.retrieval.search import search

Row = dict[str, Any]
Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """One method.

    Attributes:
        row: of the table.
        precision: average precision of each query (q,); empty without labels.
        correct: 1.0 where the query's class was named rightly (q,); empty where none was named.
    """

    row: Row
    precision: Floats
    correct: Floats


def measure(
    split: ImageSplit,
    name: str,
    *,
    codes: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    predicted: NDArray[np.int64] | None,
    bits: int,
    **extra: Any,
) -> Measured:
    """Measure codes of (queries, database) and, if there are any, predictions of the queries.

    Returns:
        A row with accuracy, mAP over the whole database (expected over ties), bits, microseconds a query, and
        what ``extra`` holds.
    """
    query, database = split.query, split.database
    accuracy, mean, precision, correct = None, None, np.zeros(0), np.zeros(0)
    if query.labels is not None and database.labels is not None:
        labels = query.labels.numpy()
        report = evaluate(codes[0], labels, codes[1], database.labels.numpy(), bits=bits)
        mean, precision = float(report.map), np.asarray(report.average_precision, dtype=np.float64)
        if predicted is not None:
            correct = (predicted == labels).astype(np.float64)
            accuracy = float(correct.mean())
    row = {
        "name": name,
        **extra,
        "accuracy": accuracy,
        "map": mean,
        "bits": bits,
        "query_microseconds": round(1e6 * query_seconds(*codes), 2),
    }
    return Measured(row, precision, correct)


def query_seconds(queries: NDArray[np.uint8], database: NDArray[np.uint8], k: int = 100) -> float:
    """Seconds to find the k nearest of one query on one thread: the median over up to 31 queries."""
    taken = []
    for row in range(min(31, len(queries))):
        begin = time.perf_counter()
        search(database, queries[row : row + 1], k, threads=1)
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken))


def teachers(split: ImageSplit, fused: FusedTeacher) -> Iterator[Measured]:
    """Each teacher of a fused one by the class that it names, and the average of their softmax outputs."""
    own = [fused.teacher_logits(part) for part in (split.query, split.database)]
    for k, teacher in enumerate(fused.teachers):
        yield _one_hot(
            split,
            f"teacher {teacher.name}",
            [part[k] for part in own],
            kind="teacher",
            parameters=teacher.num_parameters,
            macs=teacher_macs(teacher, split),
            networks=[teacher.name],
        )
    yield _one_hot(
        split,
        "softmax average of the teachers",
        [torch.stack([torch.softmax(o, 1) for o in part]).mean(0) for part in own],
        kind="average",
        **_together(fused, split),
    )


def fusion(split: ImageSplit, fused: FusedTeacher, *, kind: str = "fused") -> tuple[Measured, Tensor]:
    """A trained fusion, and its weights of each query (q, teachers)."""
    outputs = fused.outputs(split.query)
    weights = outputs.weights
    by_class = []
    if split.query.labels is not None:
        by_class = [weights[split.query.labels == c].mean(0).tolist() for c in range(len(fused.classes))]
    measured = measure(
        split,
        f"fused teacher ({fused.config.fusion})",
        codes=(pack(outputs.values.numpy()), fused.codes(split.database)),
        predicted=outputs.logits.argmax(1).numpy(),
        bits=fused.bits,
        kind=kind,
        **(_together(fused, split) | {"parameters": fused.num_parameters}),
        mean_largest_weight=float(weights.amax(1).mean()),
        mean_weights=weights.mean(0).tolist(),
        class_weights=by_class,
        shuffled_accuracy=_shuffled_accuracy(fused, split.query),
    )
    return measured, weights


def student(split: ImageSplit, hasher: Hasher, name: str, *, kind: str = "student") -> Measured:
    """A trained student: its codes, and the class it names if it does."""
    return measure(
        split,
        name,
        codes=(hasher.encode(split.query), hasher.encode(split.database)),
        predicted=hasher.predict(split.query) if hasher.names_classes else None,
        bits=hasher.bits,
        kind=kind,
        **_student_cost(split, hasher),
    )


def trivial(split: ImageSplit, hasher: Hasher, name: str, logits: Sequence[Any] | None = None) -> Measured:
    """The class that a student names, as a one-hot code on both sides; its logits where they are known."""
    if logits is None:
        logits = [hasher.logits(part) for part in (split.query, split.database)]
    guesses = [torch.from_numpy(side) for side in logits]
    return _one_hot(split, name, guesses, kind="trivial", baseline=True, **_student_cost(split, hasher))


def untrained(split: ImageSplit, fused: FusedTeacher, *, seed: int) -> Iterator[Measured]:
    """Codes that need no training, of each teacher and of all joined: LSH, PCA and ITQ."""
    parts = (split.train, split.query, split.database)
    columns = [fused.teacher_features(part) for part in parts]
    every = [
        (
            teacher.name,
            [column[k] for column in columns],
            {
                "parameters": teacher.num_parameters,
                "macs": teacher_macs(teacher, split),
                "networks": [teacher.name],
            },
        )
        for k, teacher in enumerate(fused.teachers)
    ]
    joined = [fused.outputs(part).features for part in parts]
    together = _together(fused, split)
    for name, (train, query, database), cost in [*every, ("all teachers", joined, together)]:
        for method, build in _UNTRAINED.items():
            if method != "LSH" and fused.bits > train.shape[1]:
                continue
            project = build(train.float(), fused.bits, seed)
            yield measure(
                split,
                f"{method} of {name}",
                codes=(pack(project(query.float()).numpy()), pack(project(database.float()).numpy())),
                predicted=None,
                bits=fused.bits,
                kind="fused" if (method, name) == ("ITQ", "all teachers") else "untrained",
                **cost,
            )


def random_codes(split: ImageSplit, bits: int, *, seed: int) -> Measured:
    """Bits drawn at random: what a method must beat to know anything."""
    parts = (split.query, split.database)
    codes = [drawn_codes(len(part), bits, seed=2 * seed + side) for side, part in enumerate(parts)]
    return measure(
        split,
        "random codes",
        codes=(codes[0], codes[1]),
        predicted=None,
        bits=bits,
        kind="random",
        baseline=True,
    )


def rates(split: ImageSplit, teachers: Iterable[AnyTeacher], students: Iterable[Hasher]) -> dict[str, float]:
    """Images a second that each network takes in alone, by the names rows use; none of stored features."""
    found = {
        teacher.name: speed(partial(_run, teacher), split.query)
        for teacher in teachers
        if isinstance(teacher, Teacher)
    }
    return found | {student_key(hasher): speed(hasher.encode, split.query) for hasher in students}


def fill_rates(rows: Sequence[Row], found: Mapping[str, float]) -> None:
    """Put ``images_per_second`` into rows whose networks were timed: all of them run one after another."""
    for row in rows:
        networks = row.pop("networks", ())
        known = networks and all(name in found for name in networks)
        row["images_per_second"] = 1 / sum(1 / found[name] for name in networks) if known else None


def speed(run: Callable[[ImageSet], Any], images: ImageSet, count: int = 1024) -> float:
    """Images a second that ``run`` takes in, after one warm-up, on up to ``count`` images."""
    some = images.select(torch.arange(min(count, len(images))))
    run(images.select(torch.arange(min(256, len(images)))))
    begin = time.perf_counter()
    run(some)
    return len(some) / (time.perf_counter() - begin)


def student_key(hasher: Hasher) -> str:
    """Name of a student's architecture, under which its speed is kept."""
    return f"student {hasher.backbone}, {hasher.bits} bits"


def teacher_macs(teacher: AnyTeacher, split: ImageSplit) -> int | None:
    """Multiply-accumulates of a teacher for one image of the split, at the size to which it resizes.

    None for stored features, whose network is not here.
    """
    if not isinstance(teacher, Teacher):
        return None
    side = teacher.input_size
    return count_macs(teacher.backbone, split.query.size if side is None else (side, side))


def _one_hot(split: ImageSplit, name: str, logits: Sequence[Tensor], **extra: Any) -> Measured:
    guesses = [values.argmax(1).numpy() for values in logits]
    classes = len(split.train.classes)
    return measure(
        split,
        name,
        codes=(one_hot_codes(guesses[0], classes), one_hot_codes(guesses[1], classes)),
        predicted=guesses[0],
        bits=classes,
        note="code: one-hot of its predicted class",
        **extra,
    )


def _together(fused: FusedTeacher, split: ImageSplit) -> dict[str, Any]:
    return {
        "parameters": _total(teacher.num_parameters for teacher in fused.teachers),
        "macs": _total(teacher_macs(teacher, split) for teacher in fused.teachers),
        "networks": [teacher.name for teacher in fused.teachers],
    }


def _total(numbers: Iterable[int | None]) -> int | None:
    """The sum, None where one is unknown."""
    known = list(numbers)
    return None if None in known else sum(number or 0 for number in known)


def _student_cost(split: ImageSplit, hasher: Hasher) -> dict[str, Any]:
    return {
        "parameters": hasher.num_parameters,
        "macs": count_macs(hasher.network, split.query.size),
        "networks": [student_key(hasher)],
    }


def _itq(features: Tensor, bits: int, seed: int) -> Projection:
    projection = pca(features, bits)
    return projection.then(itq_rotation(projection(features), seed=seed))


_UNTRAINED: dict[str, Callable[[Tensor, int, int], Projection]] = {
    "LSH": lambda features, bits, seed: lsh(features, bits, seed=seed),
    "PCA": lambda features, bits, _: pca(features, bits),
    "ITQ": _itq,
}


def _shuffled_accuracy(fused: FusedTeacher, images: ImageSet) -> float | None:
    """Accuracy when each image gets another image's weights: what choosing by image is worth."""
    found = fused.logits_with_shuffled_weights(images)
    if found is None:
        return None
    return float((found.argmax(1) == images.required_labels("accuracy")).float().mean())


def _run(teacher: Teacher, images: ImageSet) -> None:
    for _, pixels in image_batches(images, 256):
        teacher.outputs(pixels, 0)
