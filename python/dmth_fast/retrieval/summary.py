"""From rankings to a report: the choices of an evaluation, its values per query, their means."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dmth_fast.retrieval import metrics, native
from dmth_fast.retrieval.arguments import Array, choice, describe, native_integer, optional_integer
from dmth_fast.retrieval.graded import GAINS, GRADES
from dmth_fast.retrieval.rankings import Rankings, TiedRankings
from dmth_fast.retrieval.report import (
    RADIUS_AWARE,
    RADIUS_AWARE_BY_COST,
    RECALL_LEVELS,
    DistanceHistograms,
    PRCurve,
    Report,
    scope_of_empty,
)

BOUNDS = ("average_precision_pessimistic", "average_precision_optimistic")


def checked_settings(
    *,
    top_k: int | None = None,
    ties: str = "expected",
    normalizer: str = "relevant",
    empty: str = "zero",
    empty_ball: str = "zero",
    precision_at: Iterable[int] = (),
    graded: str | None = None,
    gain: str = "exponential",
) -> dict[str, Any]:
    """Every choice of an evaluation, checked, as plain values; errors as in :func:`evaluate`."""
    if not isinstance(precision_at, Iterable):
        raise TypeError(f"precision_at must hold integers, got {describe(precision_at)}")
    if graded is None and gain != "exponential":
        raise ValueError(f"gain must be left alone unless the evaluation is graded, got {gain!r}")
    cutoffs = [native_integer(k, "precision_at", 1) for k in precision_at]
    if graded is not None and not cutoffs:
        raise ValueError(
            f"precision_at must name the cut-offs of a graded evaluation, got none with graded={graded!r}"
        )
    return {
        "top_k": optional_integer(top_k, "top_k", 1),
        "ties": choice(ties, "ties", metrics.TIES),
        "normalizer": choice(normalizer, "normalizer", metrics.NORMALIZERS),
        "empty": choice(empty, "empty", metrics.EMPTY),
        "empty_ball": choice(empty_ball, "empty_ball", metrics.EMPTY_BALLS),
        "precision_at": cutoffs,
        "graded": None if graded is None else choice(graded, "graded", GRADES),
        "gain": choice(gain, "gain", GAINS) if graded is not None else None,
    }


def cutoff(rankings: Rankings, settings: Mapping[str, Any]) -> Array:
    """(q,) cut-off of the average precision: all items, K, or one a query.

    That is "R", the relevant items of each, or "n-1", all of its items but the last.
    """
    top_k = settings["top_k"]
    if top_k is None:
        return rankings.num_items
    if top_k == "n-1":
        shorter: Array = np.maximum(rankings.num_items - 1, 0)
        return shorter
    return rankings.num_relevant if top_k == "R" else np.full(rankings.num_items.shape, top_k)


def metrics_per_query(rankings: Rankings, settings: Mapping[str, Any]) -> dict[str, Array]:
    """(q,) float64 of each metric that ``settings`` ask for, by its name in the report."""
    top = cutoff(rankings, settings)
    values = {
        "average_precision": metrics.average_precision(rankings, top, settings["normalizer"]),
        "r_precision": metrics.r_precision(rankings),
        "map_at_r": metrics.map_at_r(rankings),
        "first_rank": rankings.first_rank(),
        "reciprocal_rank": rankings.reciprocal_rank(),
        "num_relevant": rankings.num_relevant.astype(np.float64),
    }
    values["hits"] = rankings.hits_within(np.minimum(top, rankings.num_items))
    for k in settings["precision_at"]:
        values[f"precision_at_{k}"] = metrics.precision_at(rankings, k)
    for k in settings["precision_at"]:
        values[f"recall_at_{k}"] = metrics.recall_at(rankings, k)
    for k in settings["precision_at"]:
        values[f"ndcg_at_{k}"] = metrics.ndcg_at(rankings, k)
    return values


def values_of(tied: TiedRankings, settings: Mapping[str, Any]) -> dict[str, Array]:
    """:func:`metrics_per_query` under any rule but "stable", and :func:`tie_bounds`."""
    ranked = tied if settings["ties"] == "expected" else tied.ordered(settings["ties"])
    return metrics_per_query(ranked, settings) | tie_bounds(tied, settings)


def tie_bounds(tied: TiedRankings, settings: Mapping[str, Any]) -> dict[str, Array]:
    """(q,) AP with relevant items last, and first, among ties: what the order of ties can make of it."""
    bounds = {}
    for name, ties in zip(BOUNDS, ("pessimistic", "optimistic"), strict=True):
        ordered = tied.ordered(ties)
        bounds[name] = metrics.average_precision(ordered, cutoff(ordered, settings), settings["normalizer"])
    return bounds


def summarised(
    per_query: Mapping[str, Array],
    settings: Mapping[str, Any],
    *,
    tied: TiedRankings | None = None,
    levels: Array | None = None,
    num_items: int,
    unlabelled_queries: Array,
    unlabelled_items: Array | int,
    counted: Array | None = None,
) -> Report:
    """The report of per-query values.

    Args:
        per_query: (q,) values by name, with those of :func:`tie_bounds`.
        settings: every choice made.
        tied: histograms over Hamming distances, for curves over radii.
        levels: without them, (q, recall levels) interpolated precision.
        num_items: database items.
        unlabelled_queries: rows of the queries without a label.
        unlabelled_items: rows of the database items without a label; their number where rows come in parts.
        counted: (q,) bool, which queries enter the means; all by default.

    Raises:
        ValueError: an empty query under "error", or no query left to count.
    """
    found = per_query["hits"] if settings["normalizer"] == "retrieved" else per_query["num_relevant"]
    scope = scope_of_empty(settings)
    chosen = np.ones(len(found), dtype=bool) if counted is None else counted
    empty = chosen & (found == 0)
    if empty.any() and settings["empty"] == "error":
        raise ValueError(
            f"every query must have a relevant item{scope} under empty='error', but {int(empty.sum())} have "
            f"none, the first is query {int(np.argmax(empty))}"
        )
    chosen = chosen & ~empty if settings["empty"] == "skip" else chosen
    if not chosen.any():
        raise ValueError(f"at least one query must have a relevant item{scope} under empty='skip', none has")
    empty_balls, distances, values = None, None, dict(per_query)
    if tied is not None:
        curves = native.radius_curves(
            *tied.whole_groups,
            np.ascontiguousarray(chosen),
            metrics.lookup_weights(tied.every.shape[1] - 1),
            np.array(RECALL_LEVELS),
            skip_empty=settings["empty_ball"] == "skip",
            threads=tied.threads,
        )
        values |= {RADIUS_AWARE: curves.mean, RADIUS_AWARE_BY_COST: curves.mean_by_cost}
        empty_balls = curves.empty_balls
        number = np.count_nonzero(chosen)
        interpolated = curves.levels / number
        distances = DistanceHistograms(curves.relevant, curves.every - curves.relevant)
        filled = np.maximum(number - empty_balls, 1)
        curve = PRCurve(
            curves.recall / number,
            curves.precision / (filled if settings["empty_ball"] == "skip" else number),
        )
    else:
        assert levels is not None
        interpolated = levels[chosen].mean(axis=0)
        curve = PRCurve(np.array(RECALL_LEVELS), interpolated)
    low, high = (float(per_query[name][chosen].mean()) for name in BOUNDS)
    return Report(
        per_query=values,
        counted=chosen,
        map_interval=(low, high),
        pr_curve=curve,
        interpolated=interpolated,
        empty_balls=empty_balls,
        distances=distances,
        num_queries=len(chosen),
        num_items=num_items,
        num_empty=int(empty.sum()),
        num_unlabelled=(
            len(unlabelled_queries),
            unlabelled_items if isinstance(unlabelled_items, int) else len(unlabelled_items),
        ),
        unlabelled_queries=unlabelled_queries,
        unlabelled_items=None if isinstance(unlabelled_items, int) else unlabelled_items,
        settings=dict(settings),
    )


def interpolated_precision(precision: Array, recall: Array) -> Array:
    """(q, recall levels) best precision of each query at any depth whose recall reaches each level.

    Args:
        precision: (q, depths), NaN where nothing is retrieved yet.
        recall: (q, depths), ascending.
    """
    # A running maximum from the largest depth down; where nothing is retrieved, recall is 0.
    best = np.maximum.accumulate(np.nan_to_num(precision)[:, ::-1], axis=1)[:, ::-1]
    levels = np.zeros((len(best), len(RECALL_LEVELS)))
    for column, level in enumerate(RECALL_LEVELS):
        first = np.count_nonzero(recall < level - 1e-12, axis=1)
        reached = first < recall.shape[1]
        levels[:, column] = np.where(reached, best[np.arange(len(best)), first * reached], 0.0)
    return levels
