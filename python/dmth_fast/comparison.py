"""The table of a training run: teachers, fusions and students beside each other, and their differences."""

from collections.abc import Sequence
from typing import Any

from dmth_fast import methods
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.protocols import ImageSplit
from dmth_fast.learning.teacher import FusedTeacher
from dmth_fast.methods import Floats as Floats
from dmth_fast.methods import Measured, Row
from dmth_fast.methods import speed as speed
from dmth_fast.retrieval.confidence import bootstrap


def paired_interval(first: Floats, second: Floats, *, seed: int) -> dict[str, float]:
    """Mean of ``first - second``, per query or per seed and query, with its 95 % bootstrap interval.

    Example:
        >>> import numpy as np
        >>> paired_interval(np.ones(10), np.zeros(10), seed=0)
        {'difference': 1.0, 'low': 1.0, 'high': 1.0}
    """
    interval = bootstrap(first - second, seed=seed)
    return {"difference": interval.mean, "low": interval.low, "high": interval.high}


def compare(
    split: ImageSplit, fusions: Sequence[FusedTeacher], plain: Hasher, distilled: Hasher
) -> tuple[list[Row], dict[str, Floats]]:
    """Measure each teacher, their average, the fusions, both students and the baselines.

    The baselines are one-hot codes of the class that the distilled student names, and random codes. The first
    fusion is the student's teacher.
    """
    fused = fusions[0]
    found = list(methods.teachers(split, fused))
    found += [methods.fusion(split, item, kind="fused" if item is fused else "fusion")[0] for item in fusions]
    found[-1].row["section"] = True
    found.append(methods.student(split, plain, "student, labels only", kind="plain"))
    found.append(methods.student(split, distilled, "student, distilled"))
    if distilled.names_classes:
        found.append(methods.trivial(split, distilled, "trivial: the distilled student's class"))
    found.append(methods.random_codes(split, fused.bits, seed=0))
    return _table(split, found, fused, distilled)


def compare_without_labels(
    split: ImageSplit, fused: FusedTeacher, student: Hasher, seed: int
) -> tuple[list[Row], dict[str, Floats]]:
    """Measure codes that need no training of each teacher and of all together, and the student.

    Labels, where the images have any, are used to measure alone.
    """
    found = list(methods.untrained(split, fused, seed=seed))
    found.append(methods.student(split, student, "student, no labels"))
    if split.query.labels is not None and split.database.labels is not None:
        found.append(methods.random_codes(split, fused.bits, seed=seed))
    return _table(split, found, fused, student)


def _table(
    split: ImageSplit, found: Sequence[Measured], fused: FusedTeacher, student: Hasher
) -> tuple[list[Row], dict[str, Floats]]:
    rows = [item.row for item in found]
    methods.fill_rates(rows, methods.rates(split, fused.teachers, [student]))
    return rows, {item.row["name"]: item.precision for item in found}


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


def _less(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
