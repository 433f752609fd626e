"""One row a method: how well it names classes, how well its codes retrieve, what it costs."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmth_fast.learning.data import ImageSet
from dmth_fast.retrieval.codes import pack
from dmth_fast.retrieval.evaluation import evaluate

Row = dict[str, Any]
Floats = NDArray[np.float64]


def class_codes(predicted: NDArray[np.int64], num_classes: int) -> NDArray[np.uint8]:
    """The trivial code of an image: one bit a class, that of the predicted class set.

    Example:
        >>> class_codes(np.array([0, 9]), 10).tolist()
        [[1, 0], [0, 2]]
    """
    codes: NDArray[np.uint8] = pack(np.eye(num_classes, dtype=bool)[predicted])
    return codes


def measure(
    name: str,
    *,
    codes: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    predicted: NDArray[np.int64],
    query: ImageSet,
    database: ImageSet,
    bits: int,
    parameters: int | None,
    images_per_second: float | None,
    **extra: Any,
) -> tuple[Row, Floats]:
    """Measure codes of (queries, database) and predictions of the queries.

    Returns:
        The row, with accuracy and mAP over the whole database (expected over ties), and each query's average
        precision (q,).
    """
    labels, others = query.required_labels("evaluation"), database.required_labels("evaluation")
    report = evaluate(codes[0], labels.numpy(), codes[1], others.numpy(), bits=bits)
    row = {
        "name": name,
        **extra,
        "accuracy": float((predicted == labels.numpy()).mean()),
        "map": float(report.map),
        "bits": bits,
        "parameters": parameters,
        "images_per_second": images_per_second,
    }
    return row, np.asarray(report.average_precision, dtype=np.float64)


def paired_interval(first: Floats, second: Floats, *, seed: int, draws: int = 2000) -> dict[str, float]:
    """Mean of ``first - second`` with its 95 % bootstrap interval.

    Args:
        first: (q,) values of the same queries, resampled; or (seeds, q), seeds resampled too.
        second: the same shape.
        seed: of the bootstrap.
        draws: of the bootstrap.

    Example:
        >>> paired_interval(np.ones(10), np.zeros(10), seed=0)
        {'difference': 1.0, 'low': 1.0, 'high': 1.0}
    """
    difference = np.atleast_2d(first - second)
    rng = np.random.default_rng(seed)
    seeds, queries = difference.shape
    means = [
        float(difference[rng.integers(0, seeds, seeds)].mean(0)[rng.integers(0, queries, queries)].mean())
        for _ in range(draws)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return {"difference": float(difference.mean()), "low": float(low), "high": float(high)}


def speed(run: Callable[[ImageSet], Any], images: ImageSet, count: int = 1024) -> float:
    """Images a second that ``run`` takes in, after one warm-up, on up to ``count`` images."""
    import torch

    some = images.select(torch.arange(min(count, len(images))))
    run(images.select(torch.arange(min(256, len(images)))))
    begin = time.perf_counter()
    run(some)
    return len(some) / (time.perf_counter() - begin)
