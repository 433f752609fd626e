"""Evaluation of a database that comes in parts, or is spread over processes."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import (
    AnyArray,
    Array,
    are_tensors,
    as_numpy,
    describe,
    integer,
    optional_integer,
)
from dmth_fast.retrieval.codes import MAX_BITS, checked_codes
from dmth_fast.retrieval.labels import bit_masks, checked_label_rows, unlabelled_rows
from dmth_fast.retrieval.rankings import TiedRankings
from dmth_fast.retrieval.report import Report
from dmth_fast.retrieval.summary import checked_settings, summarised, values_of


class Evaluator:
    """:func:`dmth_fast.evaluate` with the database added shard by shard.

    It keeps two histograms of distances a query, O(q * bits) memory whatever the database. They add up,
    so one shot, a stream, and merged evaluators give equal reports, to the last digit. What needs the
    order of the database's rows or more than histograms is not offered: ``ties="stable"``, presets,
    graded relevance, and excluded rows.

    Args:
        query_codes: (q, ceil(bits / 8)) uint8, q >= 1.
        query_labels: (q,) integer class ids >= 0 or (q, C) multi-hot.
        bits: bits of a code.
        top_k: as in :func:`dmth_fast.evaluate`.
        ties: "expected", "optimistic" or "pessimistic".
        normalizer: as in :func:`dmth_fast.evaluate`.
        empty: as in :func:`dmth_fast.evaluate`.
        empty_ball: as in :func:`dmth_fast.evaluate`.
        precision_at: as in :func:`dmth_fast.evaluate`.
        threads: as in :func:`dmth_fast.evaluate`.

    Raises:
        TypeError: wrong dtype, or arrays mixed with tensors.
        ValueError: wrong shape or value, or ``ties="stable"``.

    >>> import numpy as np
    >>> codes, labels = np.array([[0], [1], [3]], dtype=np.uint8), np.array([0, 1, 0])
    >>> evaluator = Evaluator(codes, labels, bits=2)
    >>> evaluator.update(codes[:2], labels[:2])
    >>> evaluator.update(codes[2:], labels[2:])
    >>> round(evaluator.compute().map, 4)
    0.8889
    """

    def __init__(
        self,
        query_codes: AnyArray,
        query_labels: AnyArray,
        *,
        bits: int,
        top_k: int | None = None,
        ties: str = "expected",
        normalizer: str = "relevant",
        empty: str = "zero",
        empty_ball: str = "zero",
        precision_at: Iterable[int] = (),
        threads: int | None = None,
    ) -> None:
        if ties == "stable":
            raise ValueError(
                "ties must be 'expected', 'optimistic' or 'pessimistic' in a streamed evaluation, got "
                "'stable': it needs the rows of the whole database in order; use evaluate()"
            )
        self._settings = {
            "bits": integer(bits, "bits", 1, MAX_BITS),
            **checked_settings(
                top_k=top_k,
                ties=ties,
                normalizer=normalizer,
                empty=empty,
                empty_ball=empty_ball,
                precision_at=precision_at,
            ),
        }
        self._threads = optional_integer(threads, "threads", 1)
        are_tensors(query_codes=query_codes, query_labels=query_labels)
        self._queries = checked_codes(as_numpy(query_codes, "query_codes"), "query_codes", bits)
        if not len(self._queries):
            raise ValueError(f"query_codes must hold at least one code, got {describe(self._queries)}")
        self._labels = checked_label_rows(query_labels, "query_labels", len(self._queries), "query ")
        self._every = np.zeros((len(self._queries), bits + 1), dtype=np.int64)
        self._relevant = np.zeros_like(self._every)
        self._counts = np.zeros(2, dtype=np.int64)  # items, items without a label

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the queries, their labels and every setting: evaluators merge where it is equal."""
        digest = hashlib.sha256(json.dumps(self._settings, sort_keys=True).encode())
        for array in (self._queries, self._labels):
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        """Database items seen so far."""
        return int(self._counts[0])

    def update(self, database_codes: AnyArray, database_labels: AnyArray) -> None:
        """Add a part of the database, possibly an empty one.

        Raises:
            TypeError: wrong dtype, or arrays mixed with tensors.
            ValueError: wrong shape or value; the evaluator is then unchanged.
        """
        are_tensors(database_codes=database_codes, database_labels=database_labels)
        bits = self._settings["bits"]
        codes = checked_codes(as_numpy(database_codes, "database_codes"), "database_codes", bits)
        labels = checked_label_rows(database_labels, "database_labels", len(codes), "database ")
        if labels.shape[1:] != self._labels.shape[1:]:
            raise ValueError(
                "database_labels must be of the kind of query_labels, which have shape "
                f"{self._labels.shape}, got {describe(labels)}"
            )
        if not len(codes):
            return
        pair = (labels, self._labels) if labels.ndim == 1 else (bit_masks(labels), bit_masks(self._labels))
        every, relevant = native.histograms(codes, self._queries, *pair, bits, threads=self._threads)
        self._every += every
        self._relevant += relevant
        self._counts += (len(codes), len(unlabelled_rows(labels)))

    def merge(self, other: "Evaluator") -> None:
        """Add what another evaluator of the same queries and settings has seen.

        Raises:
            TypeError: not an evaluator.
            ValueError: other queries, labels or settings.
        """
        if not isinstance(other, Evaluator):
            raise TypeError(f"other must be an Evaluator, got {describe(other)}")
        self._add(other.state_dict())

    def all_reduce(self, group: Any = None) -> None:
        """Sum over the processes of a ``torch.distributed`` group; all then hold the same result.

        Args:
            group: a process group; None for the default one.

        Raises:
            RuntimeError: torch.distributed was not initialised.
            ValueError: the processes have other queries or settings.
        """
        import torch
        import torch.distributed as distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            raise RuntimeError(
                "all_reduce needs an initialised process group: torch.distributed.init_process_group"
            )
        prints: list[Any] = [None] * distributed.get_world_size(group)
        distributed.all_gather_object(prints, self.fingerprint, group=group)
        if len(set(prints)) > 1:
            raise ValueError(
                f"every process must have the same queries and settings, got fingerprints {prints}"
            )
        device = "cuda" if distributed.get_backend(group) == "nccl" else "cpu"
        for array in (self._every, self._relevant, self._counts):
            total = torch.from_numpy(array).to(device)
            distributed.all_reduce(total, group=group)
            array[:] = total.cpu().numpy()

    def compute(self) -> Report:
        """The report of what has been seen.

        Raises:
            ValueError: nothing was added, or an empty query under ``empty="error"``.
        """
        if not len(self):
            raise ValueError("the database must hold at least one code to be evaluated, none was added")
        tied = TiedRankings(every=self._every.copy(), relevant=self._relevant.copy())
        return summarised(
            values_of(tied, self._settings),
            {**self._settings, "exclude": None},
            tied=tied,
            num_items=len(self),
            unlabelled_queries=unlabelled_rows(self._labels),
            num_unlabelled_items=int(self._counts[1]),
        )

    def state_dict(self) -> dict[str, Any]:
        """What was counted, and the fingerprint of what it was counted for."""
        return {
            "fingerprint": self.fingerprint,
            "every": self._every.copy(),
            "relevant": self._relevant.copy(),
            "counts": self._counts.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace what was counted by a saved state.

        Raises:
            ValueError: a state of other queries or settings, or with arrays of other shapes.
        """
        self._check(state)
        for array in (self._every, self._relevant, self._counts):
            array[:] = 0
        self._add(state)

    def _add(self, state: Mapping[str, Any]) -> None:
        self._check(state)
        self._every += state["every"]
        self._relevant += state["relevant"]
        self._counts += state["counts"]

    def _check(self, state: Mapping[str, Any]) -> None:
        if state.get("fingerprint") != self.fingerprint:
            raise ValueError(
                "evaluators must have the same queries, labels and settings to be merged, got fingerprint "
                f"{state.get('fingerprint')} for {self.fingerprint}"
            )
        for name, own in (("every", self._every), ("relevant", self._relevant), ("counts", self._counts)):
            array: Array | None = state.get(name)
            if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.shape != own.shape:
                raise ValueError(f"state[{name!r}] must be int64 of shape {own.shape}, got {describe(array)}")
