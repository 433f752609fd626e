"""Rows of a file that is mapped and not read: searched where they are."""

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import Array
from dmth_fast.retrieval.ids import Ids
from dmth_fast.retrieval.plan import SearchPlan

Distances = npt.NDArray[np.int32]
Kept = npt.NDArray[np.uint64]


class MappedRows:
    """What a :class:`~dmth_fast.retrieval.native.Store` does, for rows that never change.

    A search reads the rows as they are, through the system's cache of the file; there are neither planes nor
    tables, so ``method`` changes nothing.

    Args:
        codes: (n, bytes) uint8, C-contiguous, usually read-only.

    >>> rows = MappedRows(np.array([[1], [255], [2]], dtype=np.uint8))
    >>> rows.search(np.array([[3]], dtype=np.uint8), 2)
    (array([[1, 1]], dtype=int32), array([[0, 2]]))
    """

    def __init__(self, codes: Array) -> None:
        self._codes = codes

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._codes)

    def add(self, codes: Array) -> NoReturn:
        """Refused.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"mapped rows do not grow, got {len(codes)} more")

    def rows(self, ids: Ids) -> Array:
        """A copy of the rows of ``ids``, (m,) int64."""
        found: Array = self._codes[ids]
        return found

    def first(self, count: int) -> Array:
        """A copy of the first ``count`` rows."""
        return self._codes[:count].copy()

    def search(
        self, queries: Array, k: int, *, method: str = "scan", threads: int | None = None
    ) -> tuple[Distances, Ids]:
        """As the function :func:`~dmth_fast.retrieval.native.search`."""
        del method
        return native.search(self._codes, queries, k, threads=threads)

    def range_search(
        self, queries: Array, radius: int, *, method: str = "scan", threads: int | None = None
    ) -> tuple[Ids, Distances, Ids]:
        """As the function :func:`~dmth_fast.retrieval.native.range_search`."""
        del method
        return native.range_search(self._codes, queries, radius, threads=threads)

    def search_kept(
        self, queries: Array, k: int, keep: Kept, rows: int, *, threads: int | None = None
    ) -> tuple[Distances, Ids]:
        """As the function :func:`~dmth_fast.retrieval.native.search` with ``keep``, of the first rows."""
        return native.search(self._codes[:rows], queries, k, keep=keep, threads=threads)

    def range_search_kept(
        self, queries: Array, radius: int, keep: Kept, rows: int, *, threads: int | None = None
    ) -> tuple[Ids, Distances, Ids]:
        """As the function :func:`~dmth_fast.retrieval.native.range_search` with ``keep``."""
        return native.range_search(self._codes[:rows], queries, radius, keep=keep, threads=threads)

    def build(self, *, threads: int | None = None) -> NoReturn:
        """Refused, as :meth:`add`.

        Raises:
            TypeError: always.
        """
        del threads
        raise TypeError("mapped rows have no tables")

    def explain(
        self, queries: Array, k: int, *, method: str = "auto", threads: int | None = None
    ) -> SearchPlan:
        """That every query is scanned."""
        del k, threads
        zeros = np.zeros(len(queries), dtype=np.int64)
        return SearchPlan(
            method=method,
            tables=0,
            rows=0,
            distinct=0,
            hashed=zeros.astype(np.bool_),
            radius=zeros.astype(np.int32) - 1,
            keys=zeros,
            candidates=zeros.copy(),
            hashed_ns=zeros.astype(np.float64),
            scan_ns=zeros.astype(np.float64),
        )
