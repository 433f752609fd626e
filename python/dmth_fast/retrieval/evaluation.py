"""Evaluation of retrieval by packed codes: one pass of histograms, every choice explicit.

Ties are part of the definition of a metric of Hamming distances: with few bits many items share one
distance, and the order inside it decides. By default every figure is its exact expectation over all
orders of equal distances (McSherry & Najork, ECIR 2008; He et al., CVPR 2018), in closed form.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from dmth_fast.retrieval import metrics
from dmth_fast.retrieval.arguments import (
    AnyArray,
    Array,
    are_tensors,
    is_tensor,
    on_host,
    optional_integer,
)
from dmth_fast.retrieval.codes import checked_pair
from dmth_fast.retrieval.graded import graded_per_query
from dmth_fast.retrieval.histograms import Comparison, checked_exclusion
from dmth_fast.retrieval.labels import Labels, checked_labels
from dmth_fast.retrieval.report import Report
from dmth_fast.retrieval.summary import checked_settings, metrics_per_query, summarised, tie_bounds, values_of


def evaluate(
    query_codes: AnyArray,
    query_labels: AnyArray,
    database_codes: AnyArray,
    database_labels: AnyArray | None,
    *,
    top_k: int | None = None,
    bits: int | None = None,
    ties: str = "expected",
    normalizer: str = "relevant",
    empty: str = "zero",
    empty_ball: str = "zero",
    precision_at: Iterable[int] = (),
    graded: str | None = None,
    gain: str = "exponential",
    exclude: AnyArray | str | None = None,
    threads: int | None = None,
) -> Report:
    """Measure how well codes retrieve items of the same label.

    An item is relevant to a query if both have the same class id, or for multi-hot labels at least one
    label in common. All arrays are NumPy arrays, or all are tensors of one device; the report holds NumPy
    arrays. On a CUDA device the histograms are counted there, and the metrics follow from them on the CPU.

    Args:
        query_codes: (q, bytes) uint8, q >= 1.
        query_labels: (q,) integer class ids >= 0, or (q, C) multi-hot, bool or 0/1 integers; or, where
            database_labels is None, a (q, n) bool matrix of what is relevant (a slower path).
        database_codes: (n, bytes) uint8, n >= 1.
        database_labels: (n,) or (n, C), the same kind; or None.
        top_k: cut-off of the average precision; None ranks the whole database.
        bits: the true number of bits; if given, width and zero padding are checked.
        ties: order of equal distances: "expected" over all orders, "stable" (by database row; a counting
            pass), "optimistic" (relevant first) or "pessimistic" (relevant last).
        normalizer: what AP divides by: the "relevant" items R, the "min" of R and top_k, or the relevant
            items "retrieved" within top_k. The same without top_k.
        empty: a query with nothing relevant (with "retrieved": nothing within top_k in any order that
            ``ties`` allows) counts "zero", is "skip"-ped in every mean, or is an "error".
        empty_ball: a query with an empty Hamming ball counts "zero" in the mean precision of that
            radius, or is "skip"-ped there. A radius that is empty for all counts zero either way.
        precision_at: cut-offs K of P@K, R@K and NDCG@K, and in graded evaluations of ACG@K and WAP@K.
        graded: grade of a relevant item in NDCG, ACG and WAP: the number of "shared" labels, or the
            "cosine" of the label vectors; None makes NDCG one of relevance 0 and 1.
        gain: NDCG's gain of a grade r: "exponential", 2^r - 1, or "linear", r.
        exclude: database rows that a query must not find: "self" where the queries are the database
            (leave one out), or (q,) signed integers with one row a query and -1 for none.
        threads: threads to use; all cores by default.

    Returns:
        :class:`~dmth_fast.retrieval.report.Report`.

    Raises:
        TypeError: wrong dtype, or arrays mixed with tensors.
        ValueError: wrong shape or value, an empty set, unknown names, or an empty query under "error".

    >>> import numpy as np
    >>> codes = np.array([[0b0001], [0b0011], [0b1100]], dtype=np.uint8)
    >>> report = evaluate(codes[:1], np.array([0]), codes, np.array([0, 0, 1]), precision_at=[1, 3])
    >>> report.map
    1.0
    >>> {k: round(value, 3) for k, value in report.precision_at.items()}
    {1: 1.0, 3: 0.667}
    """
    comparison = checked_comparison(
        query_codes, query_labels, database_codes, database_labels, bits, exclude, threads
    )
    settings = checked_settings(
        top_k=top_k,
        ties=ties,
        normalizer=normalizer,
        empty=empty,
        empty_ball=empty_ball,
        precision_at=precision_at,
        graded=graded,
        gain=gain,
    )
    return report_of(comparison, settings)


def average_precision(
    query_codes: AnyArray,
    query_labels: AnyArray,
    database_codes: AnyArray,
    database_labels: AnyArray | None,
    *,
    top_k: int | None = None,
    ties: str = "expected",
    normalizer: str = "relevant",
    bits: int | None = None,
    threads: int | None = None,
) -> Array:
    """(q,) float64 AP of each query, 0 where nothing is relevant; arguments as in :func:`evaluate`.

    >>> import numpy as np
    >>> codes = np.array([[0], [1], [1]], dtype=np.uint8)
    >>> average_precision(codes[:1], np.array([5]), codes, np.array([6, 5, 6]))  # (1/2 + 1/3) / 2
    array([0.41666667])
    """
    comparison = checked_comparison(
        query_codes, query_labels, database_codes, database_labels, bits, None, threads
    )
    settings = checked_settings(top_k=top_k, ties=ties, normalizer=normalizer)
    if ties == "stable":
        parts = [comparison.strict_rankings(rows) for rows in comparison.blocks()]
        return np.concatenate(
            [metrics.average_precision(part, settings["top_k"], normalizer) for part in parts]
        )
    tied = comparison.histograms()
    ranked = tied if ties == "expected" else tied.ordered(ties)
    return metrics.average_precision(ranked, settings["top_k"], normalizer)


def report_of(comparison: Comparison, settings: Mapping[str, Any], *, counted: Array | None = None) -> Report:
    """Evaluate a checked comparison; ``counted`` (q,) bool leaves queries out of every mean."""
    tied = comparison.histograms()
    if settings["ties"] == "stable":
        parts = [
            metrics_per_query(comparison.strict_rankings(rows), settings) for rows in comparison.blocks()
        ]
        per_query = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        per_query |= tie_bounds(tied, settings)
    else:
        per_query = values_of(tied, settings)
    if settings["graded"] is not None and settings["precision_at"]:
        per_query |= graded_per_query(comparison, settings)
    return summarised(
        per_query,
        {"bits": comparison.bits, **settings, "exclude": None if comparison.excluded is None else True},
        tied=tied,
        num_items=len(comparison.database_codes),
        unlabelled_queries=comparison.labels.unlabelled_queries,
        unlabelled_items=comparison.labels.unlabelled_items,
        counted=counted,
    )


def checked_comparison(
    query_codes: AnyArray,
    query_labels: AnyArray,
    database_codes: AnyArray,
    database_labels: AnyArray | None,
    bits: int | None,
    exclude: AnyArray | str | None,
    threads: int | None,
) -> Comparison:
    """The arrays of an evaluation, checked once; arguments and errors as in :func:`evaluate`."""
    given: dict[str, Any] = {
        "query_codes": query_codes,
        "query_labels": query_labels,
        "database_codes": database_codes,
    }
    if database_labels is not None:
        given["database_labels"] = database_labels
    are_tensors(**given)
    host = {name: on_host(value, name) for name, value in given.items()}
    codes, queries, width = checked_pair(
        host["database_codes"], host["query_codes"], bits, names=("database_codes", "query_codes")
    )
    for array, name in ((queries, "query_codes"), (codes, "database_codes")):
        if not len(array):
            raise ValueError(f"{name} must hold at least one code to be evaluated, got shape {array.shape}")
    labels = checked_labels(host["query_labels"], host.get("database_labels"), len(queries), len(codes))
    return Comparison(
        query_codes=queries,
        database_codes=codes,
        labels=labels,
        bits=width,
        excluded=checked_exclusion(exclude, queries, codes),
        threads=optional_integer(threads, "threads", 1),
        counter=device_counter(database_codes, query_codes, labels, width),
    )


def device_counter(
    database_codes: AnyArray, query_codes: AnyArray, labels: Labels, bits: int
) -> Callable[[], tuple[Array, Array]] | None:
    """What counts the histograms on the device of the database's codes; None where that is the CPU.

    A matrix of relevance is counted on the CPU.
    """
    if not is_tensor(database_codes) or labels.matrix is not None:
        return None
    codes: Any = database_codes
    if not codes.is_cuda:
        return None
    import torch

    from dmth_fast.retrieval import cuda

    queries: Any = query_codes
    if not is_tensor(queries) or queries.device != codes.device:
        queries = torch.tensor(on_host(queries, "query_codes"), device=codes.device)
    return partial(cuda.histograms, codes, queries, labels.database, labels.query, bits)
