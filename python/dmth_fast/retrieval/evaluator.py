"""Evaluation of a database that comes in parts, or is spread over processes."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dmth_fast.retrieval.arguments import (
    AnyArray,
    Array,
    are_tensors,
    describe,
    integer,
    on_host,
    optional_integer,
)
from dmth_fast.retrieval.codes import MAX_BITS, checked_codes
from dmth_fast.retrieval.evaluation import device_counter
from dmth_fast.retrieval.graded import GradedCounts, graded_counts, graded_values
from dmth_fast.retrieval.histograms import Comparison, excluded_ids
from dmth_fast.retrieval.labels import Labels, checked_label_rows, checked_labels, unlabelled_rows
from dmth_fast.retrieval.rankings import TiedRankings
from dmth_fast.retrieval.report import Report
from dmth_fast.retrieval.summary import checked_settings, summarised, values_of


class Evaluator:
    """:func:`dmth_fast.evaluate` with the database added shard by shard.

    It keeps histograms of distances, O(q * bits) memory whatever the database. They are integers that add
    up, so one shot, a stream, and merged or reduced evaluators give equal reports, to the last digit. What
    needs the order of the database's rows is not offered: ``ties="stable"`` and the presets.

    Args:
        query_codes: (q, ceil(bits / 8)) uint8, q >= 1; copied, as are the labels.
        query_labels: (q,) integer class ids >= 0 or (q, C) multi-hot; None where each update brings a bool
            matrix of what is relevant instead of labels.
        bits: as in :func:`dmth_fast.evaluate`.
        top_k: as in :func:`dmth_fast.evaluate`.
        ties: "expected", "optimistic" or "pessimistic".
        normalizer: as in :func:`dmth_fast.evaluate`.
        empty: as in :func:`dmth_fast.evaluate`.
        empty_ball: as in :func:`dmth_fast.evaluate`.
        precision_at: as in :func:`dmth_fast.evaluate`.
        graded: as in :func:`dmth_fast.evaluate`; "cosine" keeps a histogram for each number of labels that
            items have, O(q * bits * labels of a query * those numbers) memory.
        gain: as in :func:`dmth_fast.evaluate`.
        exclude: the id of the item that each query must not find, (q,) signed integers (array or tensor)
            with -1 for none, or "self" where query i is item i (leave one out). Each update must then bring
            its items' ids.
        threads: as in :func:`dmth_fast.evaluate`.
        preset: refused, with the reason.

    Raises:
        TypeError: wrong dtype, or arrays mixed with tensors.
        ValueError: wrong shape or value, ``ties="stable"``, or a preset.

    >>> import numpy as np
    >>> codes, labels = np.array([[0], [1], [3]], dtype=np.uint8), np.array([0, 1, 0])
    >>> evaluator = Evaluator(codes, labels, bits=2)
    >>> evaluator.update(codes[:2], labels[:2])
    >>> evaluator.update(codes[2:], labels[2:])
    >>> round(evaluator.compute().map, 4)
    0.8889

    Over the processes of ``torch.distributed``, so of ``accelerate`` and ``torchrun`` too, each updates with
    its own part of the database, and ``evaluator.all_reduce()`` before ``compute()`` makes it whole.
    """

    def __init__(
        self,
        query_codes: AnyArray,
        query_labels: AnyArray | None,
        *,
        bits: int | None = None,
        top_k: int | None = None,
        ties: str = "expected",
        normalizer: str = "relevant",
        empty: str = "zero",
        empty_ball: str = "zero",
        precision_at: Iterable[int] = (),
        graded: str | None = None,
        gain: str = "exponential",
        exclude: AnyArray | str | None = None,
        threads: int | None = None,
        preset: str | None = None,
    ) -> None:
        if preset is not None:
            raise ValueError(
                f"preset must be None in a streamed evaluation, got {preset!r}: the figure of a repository "
                "depends on the order of the whole database's rows; use evaluate_as()"
            )
        if ties == "stable":
            raise ValueError(
                "ties must be 'expected', 'optimistic' or 'pessimistic' in a streamed evaluation, got "
                "'stable': it needs the rows of the whole database in order; use evaluate()"
            )
        self._threads = optional_integer(threads, "threads", 1)
        labelled = {} if query_labels is None else {"query_labels": query_labels}
        are_tensors(query_codes=query_codes, **labelled)
        given = None if bits is None else integer(bits, "bits", 1, MAX_BITS)
        # Copies: what the caller does to the arrays between updates must not mix into the counts.
        self._queries = checked_codes(on_host(query_codes, "query_codes"), "query_codes", given).copy()
        count, width = len(self._queries), 8 * self._queries.shape[1] if given is None else given
        if not count:
            raise ValueError(f"query_codes must hold at least one code, got {describe(self._queries)}")
        self._labels: Array | None = None
        if query_labels is not None:
            labels = on_host(query_labels, "query_labels")
            self._labels = checked_label_rows(labels, "query_labels", count, "query ").copy()
        self._settings = {
            "bits": width,
            **checked_settings(
                top_k=top_k,
                ties=ties,
                normalizer=normalizer,
                empty=empty,
                empty_ball=empty_ball,
                precision_at=precision_at,
                graded=graded,
                gain=gain,
            ),
        }
        self._excluded = excluded_ids(exclude, count)
        self._leaves_one_out = isinstance(exclude, str)
        self._left_out = np.zeros(count, dtype=np.int64)  # times that each query's own item came
        self._every = np.zeros((count, width + 1), dtype=np.int64)
        self._relevant = np.zeros_like(self._every)
        self._graded: GradedCounts = {}
        self._reduced = False
        self._counts = np.zeros(2, dtype=np.int64)  # items, items without a label

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the queries, their labels and every setting: evaluators merge where it is equal."""
        digest = hashlib.sha256(json.dumps(self._settings, sort_keys=True).encode())
        for array in (self._queries, self._labels, self._excluded):
            digest.update(describe(array).encode())
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        """Database items seen so far."""
        return int(self._counts[0])

    def update(
        self, database_codes: AnyArray, database_labels: AnyArray, *, ids: AnyArray | None = None
    ) -> None:
        """Add a part of the database, possibly an empty one; on a CUDA device it is counted there.

        Args:
            database_codes: (n, bytes) uint8.
            database_labels: (n,) or (n, C) as ``query_labels``; where those are None, (q, n) bool, what of
                this part is relevant to each query.
            ids: (n,) integers >= 0 that ``exclude`` speaks of, distinct over all updates; with ``exclude``
                alone. Of the ids of earlier updates, those that ``exclude`` names are remembered.

        Raises:
            TypeError: wrong dtype, or arrays mixed with tensors.
            ValueError: wrong shape or value, or an id that ``exclude`` names came before; the evaluator is
                then unchanged.
        """
        self._refuse_reduced("update")
        are_tensors(database_codes=database_codes, database_labels=database_labels)
        bits = self._settings["bits"]
        codes = checked_codes(on_host(database_codes, "database_codes"), "database_codes", bits)
        labels = self._checked_labels(on_host(database_labels, "database_labels"), len(codes))
        excluded = self._excluded_rows(ids, codes)
        if not len(codes):
            return
        comparison = Comparison(
            query_codes=self._queries,
            database_codes=codes,
            labels=labels,
            bits=bits,
            excluded=excluded,
            threads=self._threads,
            counter=device_counter(database_codes, self._queries, labels, bits),
        )
        tied = comparison.histograms()
        graded = graded_counts(comparison, self._settings["graded"]) if self._settings["graded"] else {}
        self._add_graded(graded)
        self._left_out += 0 if excluded is None else excluded >= 0
        self._every += tied.every
        self._relevant += tied.relevant
        self._counts += (len(codes), len(labels.unlabelled_items))

    def merge(self, other: "Evaluator") -> None:
        """Add what another evaluator of the same queries and settings has seen.

        Raises:
            TypeError: not an evaluator.
            ValueError: other queries, labels or settings, or both have seen an item that a query leaves out.
        """
        if not isinstance(other, Evaluator):
            raise TypeError(f"other must be an Evaluator, got {describe(other)}")
        self._refuse_reduced("merge")
        self._add(other.state_dict())

    def all_reduce(self, group: Any = None) -> None:
        """Sum over the processes of a ``torch.distributed`` group; all then hold the same result, for good.

        Args:
            group: a process group; None for the default one.

        Raises:
            RuntimeError: torch.distributed was not initialised, or the sum was made before.
            ValueError: the processes have other queries or settings, or two of them have seen an item that a
                query leaves out.
        """
        import torch
        import torch.distributed as distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            raise RuntimeError(
                "all_reduce needs an initialised process group: torch.distributed.init_process_group"
            )
        self._refuse_reduced("all_reduce")
        prints: list[Any] = [None] * distributed.get_world_size(group)
        distributed.all_gather_object(prints, self.fingerprint, group=group)
        if len(set(prints)) > 1:
            raise ValueError(
                f"every process must have the same queries and settings, got fingerprints {prints}"
            )
        device = "cuda" if distributed.get_backend(group) == "nccl" else "cpu"

        def summed(array: Array) -> Array:
            total = torch.tensor(array, device=device)
            distributed.all_reduce(total, group=group)
            result: Array = total.cpu().numpy()
            return result

        left_out = summed(self._left_out)
        self._refuse_repeats(left_out)
        sizes: list[Any] = [None] * len(prints)
        distributed.all_gather_object(sizes, sorted(self._graded), group=group)
        self._add_graded({size: np.zeros(self._graded_shape, dtype=np.int64) for size in set().union(*sizes)})
        graded = [self._graded[size] for size in sorted(self._graded)]
        for array in (self._every, self._relevant, self._counts, *graded):
            array[:] = summed(array)
        self._left_out, self._reduced = left_out, True

    def compute(self) -> Report:
        """The report of what has been seen.

        Raises:
            ValueError: nothing was added, or an empty query under ``empty="error"``.
        """
        if not len(self):
            raise ValueError("the database must hold at least one code to be evaluated, none was added")
        tied = TiedRankings(every=self._every.copy(), relevant=self._relevant.copy(), threads=self._threads)
        values = values_of(tied, self._settings)
        if self._settings["graded"]:
            values |= graded_values(self._graded, self._num_labels, self._settings)
        return summarised(
            values,
            {**self._settings, "exclude": None if self._excluded is None else True},
            tied=tied,
            num_items=len(self),
            unlabelled_queries=unlabelled_rows(np.zeros(0) if self._labels is None else self._labels),
            unlabelled_items=int(self._counts[1]),
        )

    def state_dict(self) -> dict[str, Any]:
        """What was counted, and the fingerprint of what it was counted for."""
        sizes = sorted(self._graded)
        return {
            "fingerprint": self.fingerprint,
            "every": self._every.copy(),
            "relevant": self._relevant.copy(),
            "counts": self._counts.copy(),
            "left_out": self._left_out.copy(),
            "graded_sizes": np.array(sizes, dtype=np.int64),
            "graded": np.stack([np.zeros(self._graded_shape, np.int64), *(self._graded[s] for s in sizes)])[
                1:
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace what was counted by a saved state.

        Raises:
            ValueError: a state of other queries or settings, or with arrays of other shapes.
        """
        self._check(state)
        for array in (self._every, self._relevant, self._counts, self._left_out):
            array[:] = 0
        self._graded, self._reduced = {}, False
        self._add(state)

    def _refuse_reduced(self, what: str) -> None:
        if self._reduced:
            raise RuntimeError(
                f"{what} must come before all_reduce, which was called: every process holds the whole, and "
                "adding to it would count twice"
            )

    @property
    def _num_labels(self) -> Array:
        """(q,) int64 labels of each query; where relevance is all that is known, 1."""
        if self._labels is None or self._labels.ndim == 1:
            return np.ones(len(self._queries), dtype=np.int64)
        number: Array = self._labels.sum(axis=1, dtype=np.int64)
        return number

    @property
    def _graded_shape(self) -> tuple[int, ...]:
        """Of one histogram over distance and shared labels."""
        return (*self._every.shape, int(self._num_labels.max()) + 1)

    def _add_graded(self, counts: Mapping[int, Array]) -> None:
        for size, part in counts.items():
            self._graded[size] = self._graded.get(size, 0) + part

    def _add(self, state: Mapping[str, Any]) -> None:
        self._check(state)
        self._refuse_repeats(self._left_out + state["left_out"])
        self._left_out += state["left_out"]
        self._every += state["every"]
        self._relevant += state["relevant"]
        self._counts += state["counts"]
        self._add_graded(dict(zip(state["graded_sizes"].tolist(), state["graded"], strict=True)))

    def _check(self, state: Mapping[str, Any]) -> None:
        if state.get("fingerprint") != self.fingerprint:
            raise ValueError(
                "evaluators must have the same queries, labels and settings to be merged, got fingerprint "
                f"{state.get('fingerprint')} for {self.fingerprint}"
            )
        sizes = state.get("graded_sizes")
        count = len(sizes) if isinstance(sizes, np.ndarray) else 0
        for name, shape in (
            ("every", self._every.shape),
            ("relevant", self._every.shape),
            ("counts", self._counts.shape),
            ("left_out", self._left_out.shape),
            ("graded_sizes", (count,)),
            ("graded", (count, *self._graded_shape)),
        ):
            array: Array | None = state.get(name)
            if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.shape != shape:
                raise ValueError(f"state[{name!r}] must be int64 of shape {shape}, got {describe(array)}")

    def _checked_labels(self, labels: Array, count: int) -> Labels:
        """Labels of the queries and of a part of the database, or what of it is relevant to each query."""
        queries = len(self._queries)
        if self._labels is not None:
            return checked_labels(self._labels, labels, queries, count)
        if labels.dtype != np.bool_ or labels.shape != (queries, count):
            error = TypeError if labels.dtype != np.bool_ else ValueError
            raise error(
                f"database_labels must be bool of shape ({queries}, {count}), what is relevant to each "
                f"query, since query_labels are None; got {describe(labels)}"
            )
        return checked_labels(labels, None, queries, count)

    def _excluded_rows(self, ids: AnyArray | None, codes: Array) -> Array | None:
        """(q,) row of this part that each query must not find, -1 where it lies elsewhere."""
        if (ids is None) != (self._excluded is None):
            raise ValueError(
                "ids must be given where exclude is, and only there, got "
                + ("exclude without ids" if ids is None else "ids without exclude")
            )
        if ids is None or self._excluded is None:
            return None
        numbers = on_host(ids, "ids")
        if numbers.dtype.kind not in "iu":
            raise TypeError(f"ids must be integers of shape ({len(codes)},), got {describe(numbers)}")
        if numbers.shape != (len(codes),):
            raise ValueError(f"ids must have shape ({len(codes)},), got {describe(numbers)}")
        row_of = {number: row for row, number in enumerate(numbers.tolist())}
        if len(row_of) < len(codes) or min(row_of, default=0) < 0:
            raise ValueError("ids must be distinct integers >= 0, got a negative or repeated one")
        rows = np.array([row_of.get(number, -1) for number in self._excluded.tolist()], dtype=np.int64)
        own = np.flatnonzero(rows >= 0)
        if self._leaves_one_out and not np.array_equal(codes[rows[own]], self._queries[own]):
            raise ValueError("exclude='self' needs item i of the database to have query i's code, got others")
        self._refuse_repeats(self._left_out + (rows >= 0))
        return rows

    def _refuse_repeats(self, left_out: Array) -> None:
        """No item that a query leaves out may come twice."""
        again = np.flatnonzero(left_out > 1)
        if again.size and self._excluded is not None:
            raise ValueError(
                f"ids must be distinct over all updates, got {self._excluded[again[0]]} again, which query "
                f"{again[0]} leaves out"
            )
