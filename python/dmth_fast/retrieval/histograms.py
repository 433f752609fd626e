"""Histograms of distances: everything that a tie-aware metric needs to know of a query."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import Array, describe, is_array, is_tensor, on_host
from dmth_fast.retrieval.labels import Labels
from dmth_fast.retrieval.rankings import StrictRankings, TiedRankings

# Pairs of query and item whose distances or ranks are held at one time: 128 MiB of int64.
_PAIRS_AT_ONCE = 2**24


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Checked inputs of an evaluation: what is searched, in what, and what counts as a hit.

    Attributes:
        query_codes: (q, bytes) uint8.
        database_codes: (n, bytes) uint8.
        labels: labels of both sides.
        bits: bits of a code.
        excluded: (q,) int64 database row that each query must not retrieve, -1 for none; or None.
        threads: threads to use; None for all cores.
        counter: counts all and relevant items at each distance where the codes are on another device.
    """

    query_codes: Array
    database_codes: Array
    labels: Labels
    bits: int
    excluded: Array | None = None
    threads: int | None = None
    counter: Callable[[], tuple[Array, Array]] | None = None

    def blocks(self) -> list[slice]:
        """Slices of queries small enough for a (queries, n) array."""
        step = max(1, _PAIRS_AT_ONCE // max(1, len(self.database_codes)))
        return [slice(i, i + step) for i in range(0, len(self.query_codes), step)]

    def histograms(self) -> TiedRankings:
        """Counts of all and of relevant items at each distance, in one pass without sorting."""
        every, relevant = self._counts()
        if self.excluded is not None:
            rows = np.flatnonzero(self.excluded >= 0)
            own = self.excluded[rows]
            difference: Array = np.bitwise_xor(self.query_codes[rows], self.database_codes[own])
            distance = np.unpackbits(difference, axis=1).sum(axis=1, dtype=np.int64)
            every[rows, distance] -= 1
            relevant[rows, distance] -= self._own_relevance(rows, own)
        return TiedRankings(every=every, relevant=relevant, threads=self.threads)

    def _counts(self) -> tuple[Array, Array]:
        if self.labels.matrix is not None:
            parts = [self._matrix_counts(rows) for rows in self.blocks()]
            every, relevant = (np.concatenate(side) for side in zip(*parts, strict=True))
            return every, relevant
        if self.counter is not None:
            return self.counter()
        return native.histograms(
            self.database_codes,
            self.query_codes,
            self.labels.database,
            self.labels.query,
            self.bits,
            threads=self.threads,
        )

    def _matrix_counts(self, rows: slice) -> tuple[Array, Array]:
        """Histograms of the queries in ``rows`` by a matrix of relevance, from all their distances."""
        assert self.labels.matrix is not None
        matrix, width = self.labels.matrix[rows], self.bits + 1
        keys = self.distances(rows) + np.arange(len(matrix))[:, None] * width
        size = len(matrix) * width
        every = np.bincount(keys.ravel(), minlength=size).reshape(-1, width)
        return every, np.bincount(keys[matrix], minlength=size).reshape(-1, width)

    def strict_rankings(self, rows: slice) -> StrictRankings:
        """Ranks of the relevant items of the queries in ``rows``, ties broken by database row."""
        if self.labels.matrix is not None:
            # 16 bits hold every distance, and NumPy sorts them by counting.
            order = np.argsort(self.distances(rows).astype(np.uint16), axis=1, kind="stable")
            owner, place = np.nonzero(np.take_along_axis(self.labels.matrix[rows], order, axis=1))
            offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(order)))])
            ranks = place + 1
        else:
            offsets, ranks = native.relevant_ranks(
                self.database_codes,
                self.query_codes[rows],
                self.labels.database,
                self.labels.query[rows],
                threads=self.threads,
            )
        items = np.full(len(offsets) - 1, len(self.database_codes), dtype=np.int64)
        if self.excluded is not None:
            own = self._own_ranks(rows)
            owner = np.repeat(np.arange(len(items)), np.diff(offsets))
            kept = ranks != own[owner]
            ranks = (ranks - (ranks > own[owner]))[kept]
            offsets = np.concatenate([[0], np.cumsum(np.bincount(owner[kept], minlength=len(items)))])
            items = items - (self.excluded[rows] >= 0)
        return StrictRankings(offsets=offsets, ranks=ranks, num_items=items, threads=self.threads)

    def distances(self, rows: slice) -> Array:
        """(q', n) int32 distances of the queries in ``rows``."""
        return native.hamming_distances(self.database_codes, self.query_codes[rows], threads=self.threads)

    def _own_relevance(self, rows: Array, own: Array) -> Array:
        """Whether each query counts its excluded row as relevant."""
        if self.labels.matrix is not None:
            return self.labels.matrix[rows, own]
        if not self.labels.is_multi_hot:
            return np.equal(self.labels.query[rows], self.labels.database[own])
        shared: Array = np.bitwise_and(self.labels.query[rows], self.labels.database[own])
        relevant: Array = np.any(shared, axis=1)
        return relevant

    def _own_ranks(self, rows: slice) -> Array:
        """Rank of each query's excluded row; beyond every rank where there is none."""
        assert self.excluded is not None
        own = self.excluded[rows]
        ranks = native.self_ranks(self.database_codes, self.query_codes[rows], own, threads=self.threads)
        return np.where(own < 0, np.iinfo(np.int64).max, ranks)


def checked_exclusion(exclude: object, queries: Array, database: Array) -> Array | None:
    """(q,) int64 database rows to leave out, -1 for none: "self" means that query i is row i.

    Raises:
        TypeError: as :func:`excluded_ids`.
        ValueError: as :func:`excluded_ids`, "self" for other codes than the database's, or rows beyond it.
    """
    rows = excluded_ids(exclude, len(queries))
    if rows is None:
        return None
    if isinstance(exclude, str) and not np.array_equal(queries, database):
        raise ValueError("exclude='self' needs the database codes as query codes, got others")
    wrong = rows[rows >= len(database)]
    if wrong.size:
        raise ValueError(f"exclude must hold rows from -1 to {len(database) - 1}, got {wrong[0]}")
    return rows


def excluded_ids(exclude: object, count: int) -> Array | None:
    """(count,) int64 ids of the items that queries must not find, -1 for none: "self" gives 0, 1, 2, ....

    Raises:
        TypeError: neither None, "self" nor signed integers in an array or tensor.
        ValueError: another word, another length, or an id below -1.
    """
    expected = f"exclude must be None, 'self' or signed integers of shape ({count},), array or tensor"
    if exclude is None:
        return None
    if isinstance(exclude, str):
        if exclude != "self":
            raise ValueError(f"{expected}, got {exclude!r}")
        return np.arange(count, dtype=np.int64)
    if not (is_array(exclude) or is_tensor(exclude)):
        raise TypeError(f"{expected}, got {describe(exclude)}")
    ids = on_host(exclude, "exclude")  # type: ignore[arg-type]  # it is one of the two
    if ids.dtype.kind != "i":
        raise TypeError(f"{expected}, got {describe(exclude)}")
    if ids.shape != (count,):
        raise ValueError(f"{expected}, got {describe(exclude)}")
    if (ids < -1).any():
        raise ValueError(f"{expected}, each >= 0 or -1 for none, got {ids[ids < -1][0]}")
    return ids.astype(np.int64)
