"""How sure a figure is: intervals over queries and seeds, and paired differences on the same queries.

Queries are many and are bootstrapped. Seeds are few, and drawing two or three of them again says next to
nothing: their mean differs from the true one by ``t s / sqrt(S)``, where t follows Student's distribution
with S - 1 degrees of freedom and s is the spread between the runs. Both sources are drawn together (the
fiducial interval of Behrens and Fisher), which covers a little more than it says, never much less.

"A is above B" means that the interval of the paired difference leaves out 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dmth_fast.retrieval.arguments import Array, describe, integer, is_array
from dmth_fast.retrieval.report import Report

# Resampled values held at one time.
_VALUES_AT_ONCE = 2**22


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its interval.

    Attributes:
        mean: the mean of the values themselves.
        low: lower end.
        high: upper end.
        confidence: share of resamples between the ends.
        num_queries: queries resampled.
        num_seeds: runs whose spread counts as well; 1 says nothing about the spread of training.
    """

    mean: float
    low: float
    high: float
    confidence: float
    num_queries: int
    num_seeds: int = 1

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside: for a difference, that one side is above the other."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        """``0.1234 [0.1200, 0.1267]``."""
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def bootstrap(values: Array, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean over queries, and Student's over seeds if there are several.

    Args:
        values: (q,) float64, one value a query, or (seeds, q) of runs on the same queries; then each resample
            of queries is moved by Student's t times the standard error between the runs. Two runs say
            little: their t has one degree of freedom, and 95 % of it lie within 12.7 standard errors.
        confidence: share of resampled means within the interval.
        resamples: how often to draw.
        seed: of NumPy's generator; equal seeds give equal intervals.

    Raises:
        TypeError: values are not floating point.
        ValueError: no value, NaN or infinity among them, or a confidence outside (0, 1).

    >>> import numpy as np
    >>> interval = bootstrap(np.linspace(0.0, 1.0, 101))
    >>> round(interval.mean, 3), interval.low < 0.5 < interval.high
    (0.5, True)
    """
    if not is_array(values) or values.dtype.kind != "f":
        raise TypeError(f"values must be floating point of shape (q,) or (seeds, q), got {describe(values)}")
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"values must have shape (q,) or (seeds, q), not empty, got {describe(values)}")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite, got NaN or infinity")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    runs = np.atleast_2d(values).astype(np.float64)
    draws = integer(resamples, "resamples", 1)
    rng = np.random.default_rng(seed)
    num_seeds, num_queries = runs.shape
    queries = runs.mean(axis=0)
    step = max(1, _VALUES_AT_ONCE // num_queries)
    counts = [min(step, draws - start) for start in range(0, draws, step)]
    means = np.concatenate(
        [queries[rng.integers(0, num_queries, (count, num_queries))].mean(axis=1) for count in counts]
    )
    if num_seeds > 1:
        error = runs.mean(axis=1).std(ddof=1) / math.sqrt(num_seeds)
        means += error * rng.permutation(_student(draws, num_seeds - 1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(
        mean=float(runs.mean()),
        low=float(low),
        high=float(high),
        confidence=confidence,
        num_queries=num_queries,
        num_seeds=num_seeds,
    )


def _student(count: int, freedom: int) -> Array:
    """Evenly spread quantiles of Student's t: with t = sqrt(f) tan(x) its density is as cos(x)^(f - 1)."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, 100_001)
    density = np.cos(angles).clip(0) ** (freedom - 1)
    share = (density.cumsum() - density / 2) / density.sum()
    return math.sqrt(freedom) * np.tan(np.interp((np.arange(count) + 0.5) / count, share, angles))


def compare(
    a: Report | Sequence[Report],
    b: Report | Sequence[Report],
    *,
    metric: str = "average_precision",
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean difference a - b of a metric on the same queries, with its interval.

    Args:
        a: a report, or the reports of several seeds.
        b: the same for what it is compared with; with several seeds, as many.
        metric: a name in ``per_query``.
        confidence: as in :func:`bootstrap`.
        resamples: as in :func:`bootstrap`.
        seed: as in :func:`bootstrap`.

    Raises:
        ValueError: other queries in number, other choices (ties, normalizer, cut, ...), or other numbers
            of seeds.
        KeyError: a report has no such metric.

    >>> import numpy as np
    >>> from dmth_fast import evaluate
    >>> codes, labels = np.arange(8, dtype=np.uint8)[:, None], np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> report = evaluate(codes, labels, codes, labels)
    >>> compare(report, report).excludes_zero
    False
    """
    first = [a] if isinstance(a, Report) else list(a)
    second = [b] if isinstance(b, Report) else list(b)
    if not first or len(first) != len(second):
        raise ValueError(f"a and b must be as many reports, got {len(first)} and {len(second)}")
    reports = [*first, *second]
    for report in reports[1:]:
        # Width and distance belong to what is compared, not to how.
        for name in sorted({*reports[0].settings, *report.settings} - {"bits", "metric"}):
            if report.settings.get(name) != reports[0].settings.get(name):
                raise ValueError(
                    f"reports must be of one protocol, but {name} is {reports[0].settings.get(name)!r} and "
                    f"{report.settings.get(name)!r}"
                )
        if report.num_queries != reports[0].num_queries or report.num_items != reports[0].num_items:
            raise ValueError(
                "reports must be of the same queries and database, got "
                f"{reports[0].num_queries} x {reports[0].num_items} and "
                f"{report.num_queries} x {report.num_items}"
            )
        if not np.array_equal(report.per_query["num_relevant"], reports[0].per_query["num_relevant"]):
            raise ValueError("reports must be of the same queries in the same order, but their labels differ")
    counted = np.logical_and.reduce([report.counted for report in reports])
    ours, theirs = (
        np.stack([_values(report, metric)[counted] for report in side]) for side in (first, second)
    )
    return bootstrap(ours - theirs, confidence=confidence, resamples=resamples, seed=seed)


def _values(report: Report, metric: str) -> Array:
    report.mean(metric)  # names the metrics there are
    return report.per_query[metric]
