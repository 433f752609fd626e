"""Evaluation of real-valued features, exact and in blocks, for the same table as their codes."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dmth_fast.retrieval.arguments import AnyArray, Array, are_tensors, as_numpy, choice, describe
from dmth_fast.retrieval.histograms import checked_exclusion
from dmth_fast.retrieval.labels import Labels, checked_labels
from dmth_fast.retrieval.metrics import precision_within, recall_within
from dmth_fast.retrieval.rankings import StrictRankings, TiedRankings
from dmth_fast.retrieval.report import RECALL_LEVELS, Report
from dmth_fast.retrieval.summary import (
    BOUNDS,
    checked_settings,
    interpolated_precision,
    metrics_per_query,
    summarised,
    tie_bounds,
)

METRICS = ("cosine", "l2", "dot")
_PAIRS_AT_ONCE = 2**22
# A quarter of float64's range: 2 q x - |x|^2 then stays within it, whatever the vectors.
_LARGEST_SQUARE = np.finfo(np.float64).max / 4


def evaluate_features(
    query_features: AnyArray,
    query_labels: AnyArray,
    database_features: AnyArray,
    database_labels: AnyArray,
    *,
    metric: str = "cosine",
    top_k: int | None = None,
    ties: str = "expected",
    normalizer: str = "relevant",
    empty: str = "zero",
    precision_at: Iterable[int] = (),
    exclude: AnyArray | str | None = None,
) -> Report:
    """Measure retrieval by real-valued features as :func:`dmth_fast.evaluate` measures codes.

    Scores are float64 products of a block of queries with the database, so no (q, n) matrix is held.
    Ties follow the same rules, and ties mean equal vectors (for the cosine, once they have unit length):
    those always have one score. Other vectors are tied only where float64 rounds their scores alike, as it
    does those of signs. There are no Hamming balls: the report's ``pr_curve`` is the interpolated precision
    over recall, and it has no RAMAP.

    Args:
        query_features: (q, d) float16, float32 or float64, finite, no longer than about 6e153, q >= 1.
        query_labels: (q,) integer class ids or (q, C) multi-hot.
        database_features: (n, d) likewise, n >= 1.
        database_labels: (n,) or (n, C).
        metric: "cosine" (a zero vector is refused), "l2" (nearest first) or "dot" (largest first).
        top_k: as in :func:`dmth_fast.evaluate`.
        ties: as in :func:`dmth_fast.evaluate`.
        normalizer: as in :func:`dmth_fast.evaluate`.
        empty: as in :func:`dmth_fast.evaluate`.
        precision_at: as in :func:`dmth_fast.evaluate`.
        exclude: as in :func:`dmth_fast.evaluate`.

    Raises:
        TypeError: features are not floating point, or arrays mixed with tensors.
        ValueError: wrong shape or value, NaN or infinity in features, or vectors whose scores overflow.

    >>> import numpy as np
    >>> features = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> evaluate_features(features[:1], np.array([0]), features, np.array([0, 0, 1])).map
    1.0
    """
    are_tensors(
        query_features=query_features,
        query_labels=query_labels,
        database_features=database_features,
        database_labels=database_labels,
    )
    rule = choice(metric, "metric", METRICS)
    queries = _checked(query_features, "query_features", rule)
    items = _checked(database_features, "database_features", rule)
    if queries.shape[1] != items.shape[1]:
        raise ValueError(
            f"query_features must have the {items.shape[1]} columns of database_features, "
            f"got {describe(queries)}"
        )
    labels = checked_labels(query_labels, database_labels, len(queries), len(items))
    settings = checked_settings(
        top_k=top_k, ties=ties, normalizer=normalizer, empty=empty, precision_at=precision_at
    )
    excluded = checked_exclusion(exclude, queries, items)
    equal = _first_equal(items)
    parts = [
        _block(
            _scores(queries[rows], items, equal, rule),
            labels,
            rows,
            settings,
            None if excluded is None else excluded[rows],
        )
        for rows in _slices(len(queries), len(items))
    ]
    return summarised(
        {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]},
        {"metric": rule, **settings, "exclude": None if excluded is None else True},
        levels=np.concatenate([part[1] for part in parts]),
        num_items=len(items),
        unlabelled_queries=labels.unlabelled_queries,
        unlabelled_items=labels.unlabelled_items,
    )


def _slices(queries: int, items: int) -> list[slice]:
    step = max(1, _PAIRS_AT_ONCE // items)
    return [slice(start, start + step) for start in range(0, queries, step)]


def _first_equal(items: Array) -> Array | None:
    """(n,) int64 row of the first item that equals each; None where no two are equal."""
    first: dict[bytes, int] = {}
    # + 0.0 makes -0.0 the 0.0 that it equals.
    rows = (first.setdefault((item + 0.0).tobytes(), row) for row, item in enumerate(items))
    equal = np.fromiter(rows, dtype=np.int64, count=len(items))
    return None if len(first) == len(items) else equal


def _scores(queries: Array, items: Array, equal: Array | None, metric: str) -> Array:
    """(q', n) float64, larger is nearer.

    A matrix product may round the columns of equal items differently, so they take that of the first.
    """
    scores: Array = queries @ items.T
    if metric == "l2":
        # -|q - x|^2 without |q|^2, which is the same for all items of a query.
        scores = 2 * scores - np.einsum("nd,nd->n", items, items)
    return scores if equal is None else scores[:, equal]


def _block(
    scores: Array, labels: Labels, rows: slice, settings: Mapping[str, Any], excluded: Array | None
) -> tuple[dict[str, Array], Array]:
    """Per-query values and interpolated precision of some queries.

    Where no two scores are equal, the ranks of the hits say everything; only other rows need groups.
    """
    kept = np.ones(scores.shape, dtype=bool)
    if excluded is not None:
        asked = np.flatnonzero(excluded >= 0)
        scores[asked, excluded[asked]] = -np.inf  # last, behind every finite score, and out of the count
        kept[asked, -1] = False
    order = np.argsort(-scores, axis=1, kind="stable")
    relevant = np.take_along_axis(labels.shared(rows) > 0, order, axis=1) & kept
    ranked = np.take_along_axis(scores, order, axis=1)
    opens = np.ones(ranked.shape, dtype=bool)
    opens[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    has_ties = ~opens.all(axis=1)
    values: dict[str, Array] = {}
    levels = np.zeros((len(scores), len(RECALL_LEVELS)))
    for chosen, tied in ((np.flatnonzero(~has_ties), False), (np.flatnonzero(has_ties), True)):
        if not chosen.size:
            continue
        strict = _strict(relevant[chosen], kept[chosen])
        groups = _groups(relevant[chosen], opens[chosen], kept[chosen])
        for name, part in _values(strict, groups, settings, tied=tied).items():
            values.setdefault(name, np.zeros(len(scores)))[chosen] = part
        levels[chosen] = interpolated_precision(precision_within(groups), recall_within(groups))
    return values, levels


def _values(
    strict: StrictRankings, groups: TiedRankings, settings: Mapping[str, Any], *, tied: bool
) -> dict[str, Array]:
    """Every metric of rows that have ties, or of rows that have none."""
    if tied:
        bounds = tie_bounds(groups, settings)
    else:
        ap = metrics_per_query(strict, settings)["average_precision"]
        bounds = dict.fromkeys(BOUNDS, ap)
    if not tied or settings["ties"] == "stable":
        return metrics_per_query(strict, settings) | bounds
    rankings = groups if settings["ties"] == "expected" else groups.ordered(settings["ties"])
    return metrics_per_query(rankings, settings) | bounds


def _strict(relevant: Array, kept: Array) -> StrictRankings:
    owner, place = np.nonzero(relevant)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(relevant)))])
    return StrictRankings(offsets=offsets, ranks=place + 1, num_items=kept.sum(axis=1, dtype=np.int64))


def _groups(relevant: Array, opens: Array, kept: Array) -> TiedRankings:
    """Groups of equal scores, as many columns as the row with the most of them has."""
    number = np.cumsum(opens, axis=1) - 1
    width = int(number[:, -1].max()) + 1
    keys = (number + np.arange(len(opens))[:, None] * width).ravel()
    size = len(opens) * width
    every = np.bincount(keys[kept.ravel()], minlength=size).reshape(-1, width)
    hits = np.bincount(keys[relevant.ravel()], minlength=size).reshape(-1, width)
    return TiedRankings(every=every, relevant=hits)


def _checked(features: AnyArray, name: str, metric: str) -> Array:
    """(n, d) float64, scaled to unit length for the cosine."""
    array = as_numpy(features, name)
    if array.dtype.kind != "f" or not array.dtype.isnative:
        raise TypeError(f"{name} must be floating point of shape (n, d), got {describe(array)}")
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name} must have shape (n, d), not empty, got {describe(array)}")
    wide = array.astype(np.float64)
    wrong = np.argwhere(~np.isfinite(wide))
    if wrong.size:
        raise ValueError(f"{name} must be finite, got {wide[tuple(wrong[0])]} in row {wrong[0][0]}")
    with np.errstate(over="ignore"):
        long = np.flatnonzero(np.einsum("nd,nd->n", wide, wide) > _LARGEST_SQUARE)
    if long.size:
        raise ValueError(
            f"{name} must have vectors of length {math.sqrt(_LARGEST_SQUARE):.1e} at most to have finite "
            f"scores, got a longer one in row {long[0]}"
        )
    if metric == "cosine":
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        if not lengths.all():
            row = int(np.flatnonzero(lengths == 0)[0])
            raise ValueError(f"{name} must have no zero vector under metric='cosine', got one in row {row}")
        wide /= lengths
    return wide
