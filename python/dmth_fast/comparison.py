"""One row a method: how well it names classes, how well its codes retrieve, what it costs."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmth_fast.learning.baselines import Projection, itq_rotation, lsh, pca
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.frozen import AnyTeacher, Teacher
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.network import image_batches
from dmth_fast.learning.protocols import Split
from dmth_fast.learning.teacher import FusedTeacher
from dmth_fast.retrieval.baselines import one_hot_codes
from dmth_fast.retrieval.codes import pack
from dmth_fast.retrieval.confidence import bootstrap
from dmth_fast.retrieval.evaluation import evaluate

Row = dict[str, Any]
Floats = NDArray[np.float64]


def measure(
    name: str,
    *,
    codes: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    predicted: NDArray[np.int64] | None,
    query: ImageSet,
    database: ImageSet,
    bits: int,
    parameters: int | None,
    images_per_second: float | None,
    **extra: Any,
) -> tuple[Row, Floats]:
    """Measure codes of (queries, database) and, if there are any, predictions of the queries.

    Returns:
        The row, with accuracy and mAP over the whole database (expected over ties), and each query's average
        precision (q,).
    """
    if query.labels is None or database.labels is None:
        accuracy, mean, precision = None, None, np.zeros(0)
    else:
        labels = query.labels.numpy()
        report = evaluate(codes[0], labels, codes[1], database.labels.numpy(), bits=bits)
        accuracy = None if predicted is None else float((predicted == labels).mean())
        mean, precision = float(report.map), np.asarray(report.average_precision, dtype=np.float64)
    row = {
        "name": name,
        **extra,
        "accuracy": accuracy,
        "map": mean,
        "bits": bits,
        "parameters": parameters,
        "images_per_second": images_per_second,
    }
    return row, precision


def paired_interval(first: Floats, second: Floats, *, seed: int) -> dict[str, float]:
    """Mean of ``first - second``, per query or per seed and query, with its 95 % bootstrap interval.

    Example:
        >>> paired_interval(np.ones(10), np.zeros(10), seed=0)
        {'difference': 1.0, 'low': 1.0, 'high': 1.0}
    """
    interval = bootstrap(first - second, seed=seed)
    return {"difference": interval.mean, "low": interval.low, "high": interval.high}


def speed(run: Callable[[ImageSet], Any], images: ImageSet, count: int = 1024) -> float:
    """Images a second that ``run`` takes in, after one warm-up, on up to ``count`` images."""
    some = images.select(torch.arange(min(count, len(images))))
    run(images.select(torch.arange(min(256, len(images)))))
    begin = time.perf_counter()
    run(some)
    return len(some) / (time.perf_counter() - begin)


def compare(
    split: Split, fusions: Sequence[FusedTeacher], plain: Hasher, distilled: Hasher
) -> tuple[list[Row], dict[str, Floats]]:
    """Measure each teacher, their average, the fusions, both students and the trivial baseline.

    The first fusion is the student's teacher.
    """
    fused = fusions[0]
    query, database, classes = split.query, split.database, len(split.train.classes)
    rows: list[Row] = []
    precisions: dict[str, Floats] = {}

    def add(name: str, **values: Any) -> None:
        row, precision = measure(name, query=query, database=database, **values)
        rows.append(row)
        precisions[name] = precision

    def trivial(name: str, guesses: tuple[Any, Any], **values: Any) -> None:
        codes = (one_hot_codes(guesses[0], classes), one_hot_codes(guesses[1], classes))
        add(name, codes=codes, predicted=guesses[0], bits=classes, **values)

    own = [fused.teacher_logits(part) for part in (query, database)]
    speeds = [_teacher_speed(teacher, classes, query) for teacher in fused.teachers]
    for k, teacher in enumerate(fused.teachers):
        guesses = (own[0][k].argmax(1).numpy(), own[1][k].argmax(1).numpy())
        trivial(
            f"teacher {teacher.name}",
            guesses,
            parameters=teacher.num_parameters,
            images_per_second=speeds[k],
            kind="teacher",
            note="code: one-hot of its predicted class",
        )
    together = _together(speeds)
    average = [torch.stack([torch.softmax(o, 1) for o in part]).mean(0).argmax(1).numpy() for part in own]
    trivial(
        "softmax average of the teachers",
        (average[0], average[1]),
        parameters=_total([teacher.num_parameters for teacher in fused.teachers]),
        images_per_second=together,
        kind="average",
        note="code: one-hot of its predicted class",
    )
    for member in fusions:
        outputs = member.outputs(query)
        add(
            f"fused teacher ({member.config.fusion})",
            codes=(pack(outputs.values.numpy()), member.codes(database)),
            predicted=outputs.logits.argmax(1).numpy(),
            bits=member.bits,
            parameters=member.num_parameters,
            images_per_second=together,
            kind="fused" if member is fused else "fusion",
            mean_largest_weight=float(outputs.weights.amax(1).mean()),
            mean_weights=outputs.weights.mean(0).tolist(),
            shuffled_accuracy=_shuffled_accuracy(member, query),
        )
    rows[-1]["section"] = True
    for student, name, kind in (
        (plain, "student, labels only", "plain"),
        (distilled, "student, distilled", "student"),
    ):
        add(
            name,
            codes=(student.encode(query), student.encode(database)),
            predicted=student.predict(query) if student.names_classes else None,
            bits=fused.bits,
            parameters=student.num_parameters,
            images_per_second=speed(student.encode, query),
            kind=kind,
        )
    if distilled.names_classes:
        trivial(
            "trivial: the distilled student's class",
            (distilled.predict(query), distilled.predict(database)),
            parameters=distilled.num_parameters,
            images_per_second=rows[-1]["images_per_second"],
            kind="trivial",
            baseline=True,
            note="code: one-hot of its predicted class",
        )
    return rows, precisions


def compare_without_labels(
    split: Split, fused: FusedTeacher, student: Hasher, seed: int
) -> tuple[list[Row], dict[str, Floats]]:
    """Measure codes that need no training of each teacher and of all together, and the student.

    Labels, where the images have any, are used to measure alone.
    """
    parts = (split.train, split.query, split.database)
    columns = [fused.teacher_features(part) for part in parts]
    speeds = [_teacher_speed(teacher, 0, split.query) for teacher in fused.teachers]
    together = _together(speeds)
    rows: list[Row] = []
    precisions: dict[str, Floats] = {}

    def add(name: str, codes: tuple[Any, Any], **values: Any) -> None:
        row, precision = measure(
            name,
            codes=codes,
            predicted=None,
            query=split.query,
            database=split.database,
            bits=fused.bits,
            **values,
        )
        rows.append(row)
        precisions[name] = precision

    every = [
        (t.name, t.num_parameters, speeds[k], [c[k] for c in columns]) for k, t in enumerate(fused.teachers)
    ]
    joined = [fused.outputs(part).features for part in parts]
    parameters = _total([teacher.num_parameters for teacher in fused.teachers])
    for name, size, images_per_second, (train, query, database) in [
        *every,
        ("all teachers", parameters, together, joined),
    ]:
        for method, build in _UNTRAINED.items():
            if method != "LSH" and fused.bits > train.shape[1]:
                continue
            project = build(train.float(), fused.bits, seed)
            add(
                f"{method} of {name}",
                (pack(project(query.float()).numpy()), pack(project(database.float()).numpy())),
                parameters=size,
                images_per_second=images_per_second,
                kind="fused" if (method, name) == ("ITQ", "all teachers") else "untrained",
            )
    add(
        "student, no labels",
        (student.encode(split.query), student.encode(split.database)),
        parameters=student.num_parameters,
        images_per_second=speed(student.encode, split.query),
        kind="student",
    )
    return rows, precisions


def differences(rows: list[Row], precisions: dict[str, Floats], seed: int) -> list[dict[str, Any]]:
    """Compare the student with what it could replace, query by query."""
    by_kind = {row["kind"]: row for row in rows if row["map"] is not None}
    pairs = [
        ("student", kind) for kind in ("plain", "fused", "trivial") if {kind, "student"} <= by_kind.keys()
    ]
    results = []
    for first, second in pairs:
        names = by_kind[first]["name"], by_kind[second]["name"]
        interval = paired_interval(precisions[names[0]], precisions[names[1]], seed=seed)
        results.append(
            {
                "first": names[0],
                "second": names[1],
                "metric": "map",
                **interval,
                "accuracy_difference": _less(by_kind[first]["accuracy"], by_kind[second]["accuracy"]),
                "interval": "95 %, paired bootstrap over queries, one seed",
            }
        )
    return results


def _itq(features: Tensor, bits: int, seed: int) -> Projection:
    projection = pca(features, bits)
    return projection.then(itq_rotation(projection(features), seed=seed))


_UNTRAINED: dict[str, Callable[[Tensor, int, int], Projection]] = {
    "LSH": lambda features, bits, seed: lsh(features, bits, seed=seed),
    "PCA": lambda features, bits, _: pca(features, bits),
    "ITQ": _itq,
}


def _shuffled_accuracy(teacher: FusedTeacher, images: ImageSet) -> float | None:
    """Accuracy when each image gets another image's weights: what choosing by image is worth."""
    found = teacher.logits_with_shuffled_weights(images)
    if found is None:
        return None
    return float((found.argmax(1) == images.required_labels("accuracy")).float().mean())


def _less(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _teacher_speed(teacher: AnyTeacher, classes: int, images: ImageSet) -> float | None:
    """Images a second of a network; None for stored features, whose network is not here."""
    return speed(partial(_run, teacher, classes), images) if isinstance(teacher, Teacher) else None


def _together(speeds: Sequence[float | None]) -> float | None:
    """Images a second of networks that run one after the other; None where one is unknown."""
    known = [value for value in speeds if value is not None]
    return 1 / sum(1 / value for value in known) if len(known) == len(speeds) else None


def _total(numbers: Sequence[int | None]) -> int | None:
    """The sum, None where one is unknown."""
    known = [value for value in numbers if value is not None]
    return sum(known) if len(known) == len(numbers) else None


def _run(teacher: Teacher, classes: int, images: ImageSet) -> None:
    for _, pixels in image_batches(images, 256):
        teacher.outputs(pixels, classes)
