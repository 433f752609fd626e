"""Metrics of rankings with groups of ties, in closed form."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dmth_fast import _core
from dmth_fast.retrieval.native.machine import instruction_set, thread_count


def tied_sums(
    every: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    cutoffs: npt.NDArray[np.int64],
    *,
    ties: str = "expected",
    precisions: bool = True,
    threads: int | None = None,
    isa: str | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What the average precision of a ranking with ties is made of.

    Args:
        every: ``(q, groups)`` int64, items in each group of ties, groups in ranked order.
        relevant: ``(q, groups)`` int64, the relevant ones among them.
        cutoffs: ``(q,)`` int64.
        ties: ``expected`` over the orders of ties, or relevant items last (``pessimistic``) or first
            (``optimistic``).
        precisions: Whether the second result is wanted.
        threads: See the module.
        isa: See the module.

    Returns:
        ``(q,)`` float64 numbers of relevant items up to the cut-off, and ``(q,)`` float64 sums of the
        precisions at their ranks (McSherry & Najork, ECIR 2008; He et al., CVPR 2018); empty unless wanted.

    Raises:
        TypeError: Another dtype.
        ValueError: Another shape, or unknown ``ties``.

    Example:
        >>> tied_sums(np.array([[1, 2]]), np.array([[1, 1]]), np.array([3]))  # 1 + (1 + 2/3) / 2
        (array([2.]), array([1.83333333]))
    """
    return _core.tied_sums(
        every, relevant, cutoffs, ties, precisions, thread_count(threads), instruction_set(isa)
    )


def tied_discounts(
    every: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    cutoffs: npt.NDArray[np.int64],
    discounts: npt.NDArray[np.float64],
    *,
    ties: str = "expected",
    threads: int | None = None,
    isa: str | None = None,
) -> npt.NDArray[np.float64]:
    """The sum of discounts at the relevant ranks of a ranking with ties.

    Args:
        every: As :func:`tied_sums`.
        relevant: As :func:`tied_sums`.
        cutoffs: ``(q,)`` int64.
        discounts: ``(n + 1,)`` float64 sums of the discounts of the first 0, 1, ..., n ranks; n is at least
            the largest cut-off.
        ties: As :func:`tied_sums`.
        threads: See the module.
        isa: See the module.

    Returns:
        ``(q,)`` float64.

    Raises:
        TypeError: Another dtype.
        ValueError: Another shape, too few discounts, or unknown ``ties``.

    Example:
        >>> tied_discounts(np.array([[1, 2]]), np.array([[1, 1]]), np.array([3]), np.array([0.0, 8, 12, 14]))
        array([11.])
    """
    return _core.tied_discounts(
        every, relevant, cutoffs, discounts, ties, thread_count(threads), instruction_set(isa)
    )


def tied_firsts(
    every: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    *,
    ties: str = "expected",
    threads: int | None = None,
    isa: str | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The rank of the first relevant item of a ranking with ties.

    Args:
        every: As :func:`tied_sums`.
        relevant: As :func:`tied_sums`.
        ties: As :func:`tied_sums`.
        threads: See the module.
        isa: See the module.

    Returns:
        ``(q,)`` float64 ranks, infinity where nothing is relevant, and ``(q,)`` float64 means of 1 / rank.

    Raises:
        TypeError: Another dtype.
        ValueError: Another shape, or unknown ``ties``.

    Example:
        >>> tied_firsts(np.array([[0, 2]]), np.array([[0, 1]]))
        (array([1.5]), array([0.75]))
    """
    return _core.tied_firsts(every, relevant, ties, thread_count(threads), instruction_set(isa))


class RadiusCurves(NamedTuple):
    """What :func:`radius_curves` returns.

    Attributes:
        mean: ``(q,)`` float64, mean of the precision over radii.
        mean_by_cost: ``(q,)`` float64, the same with each radius weighted.
        precision: ``(bins,)`` float64, sum over the counted queries of the precision within each radius.
        recall: ``(bins,)`` float64, that of the recall.
        levels: ``(levels,)`` float64, that of the best precision at any radius whose recall reaches a level.
        empty_balls: ``(bins,)`` int64, counted queries that find nothing within each radius.
        relevant: ``(bins,)`` int64, their relevant items at each distance.
        every: ``(bins,)`` int64, their items at each distance.
    """

    mean: npt.NDArray[np.float64]
    mean_by_cost: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    levels: npt.NDArray[np.float64]
    empty_balls: npt.NDArray[np.int64]
    relevant: npt.NDArray[np.int64]
    every: npt.NDArray[np.int64]


def radius_curves(
    every: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    counted: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64],
    levels: npt.NDArray[np.float64],
    *,
    skip_empty: bool = False,
    threads: int | None = None,
    isa: str | None = None,
) -> RadiusCurves:
    """Precision and recall within each radius, of histograms over distances.

    Args:
        every: ``(q, bins)`` int64, items at each distance.
        relevant: ``(q, bins)`` int64, the relevant ones among them.
        counted: ``(q,)`` bool, queries that enter the sums.
        weights: ``(bins,)`` float64 of the radii in ``mean_by_cost``.
        levels: float64 of recall, ascending.
        skip_empty: Leave empty balls out of a query's means, instead of counting them 0.
        threads: See the module.
        isa: See the module.

    Returns:
        :class:`RadiusCurves`.

    Raises:
        TypeError: Another dtype.
        ValueError: Another shape.

    Example:
        >>> one, levels = np.ones(2), np.array([0.0, 1.0])
        >>> found = radius_curves(np.array([[1, 2]]), np.array([[1, 1]]), np.array([True]), one, levels)
        >>> found.recall, found.levels.round(3)
        (array([0.5, 1. ]), array([1.   , 0.667]))
    """
    mean, by_cost, sums, counts = _core.radius_curves(
        every, relevant, counted, weights, levels, skip_empty, thread_count(threads), instruction_set(isa)
    )
    bins = len(weights)
    precision, recall, best = sums[0, :bins], sums[0, bins : 2 * bins], sums[0, 2 * bins :]
    return RadiusCurves(mean, by_cost, precision, recall, best, *counts)
