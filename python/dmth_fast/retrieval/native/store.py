"""Codes kept for many searches."""

import numpy as np
import numpy.typing as npt

from dmth_fast import _core
from dmth_fast.retrieval.native.machine import Codes, Distances, Ids, instruction_set, thread_count
from dmth_fast.retrieval.plan import METHODS, SearchPlan


class Store:
    """Codes kept for many searches, as rows and as bit planes; rows are numbered in the order of adding.

    Searching is safe while another thread adds: a search sees all of an :meth:`add` or nothing of it.
    Searches take a ``method``, one of :data:`dmth_fast.retrieval.plan.METHODS`; it changes the time that they
    take, never the answer.

    Args:
        bytes: Bytes of a code, 1 to 512.

    Raises:
        ValueError: ``bytes`` out of range.

    Example:
        >>> store = Store(1)
        >>> store.add(np.array([[1], [255], [2]], np.uint8))
        0
        >>> len(store)
        3
        >>> store.search(np.array([[3]], np.uint8), 2)
        (array([[1, 1]], dtype=int32), array([[0, 2]]))
    """

    def __init__(self, bytes: int) -> None:  # noqa: A002 - the field's word
        self._index = _core.Index(bytes)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._index)

    @property
    def memory(self) -> int:
        """Bytes that rows, planes and tables hold."""
        return self._index.memory

    def add(self, codes: Codes, *, threads: int | None = None, isa: str | None = None) -> int:
        """Append rows, ``(n, bytes)`` uint8, copied; the number of the first of them."""
        return self._index.add(codes, thread_count(threads), instruction_set(isa))

    def rows(self, ids: Ids) -> Codes:
        """A copy of the rows of ``ids``, ``(m,)`` int64; IndexError where there is no such row."""
        return self._index.rows(ids)

    def first(self, count: int) -> Codes:
        """A copy of the first ``count`` rows; IndexError where there are not so many."""
        return self._index.rows(np.arange(count, dtype=np.int64))

    def search(
        self,
        queries: Codes,
        k: int,
        *,
        method: str = "scan",
        threads: int | None = None,
        isa: str | None = None,
    ) -> tuple[Distances, Ids]:
        """As the function :func:`search`, of the stored rows."""
        return self._index.search(queries, k, _method(method), thread_count(threads), instruction_set(isa))

    def range_search(
        self,
        queries: Codes,
        radius: int,
        *,
        method: str = "scan",
        threads: int | None = None,
        isa: str | None = None,
    ) -> tuple[npt.NDArray[np.int64], Distances, Ids]:
        """As the function :func:`range_search`, of the stored rows."""
        return self._index.range_search(
            queries, radius, _method(method), thread_count(threads), instruction_set(isa)
        )

    def search_kept(
        self,
        queries: Codes,
        k: int,
        keep: npt.NDArray[np.uint64],
        rows: int,
        *,
        threads: int | None = None,
        isa: str | None = None,
    ) -> tuple[Distances, Ids]:
        """As the function :func:`search` with ``keep``, of the first ``rows`` rows: always a scan."""
        return self._index.search_kept(queries, k, keep, rows, thread_count(threads), instruction_set(isa))

    def range_search_kept(
        self,
        queries: Codes,
        radius: int,
        keep: npt.NDArray[np.uint64],
        rows: int,
        *,
        threads: int | None = None,
        isa: str | None = None,
    ) -> tuple[npt.NDArray[np.int64], Distances, Ids]:
        """As the function :func:`range_search` with ``keep``, of the first ``rows`` rows."""
        return self._index.range_search_kept(
            queries, radius, keep, rows, thread_count(threads), instruction_set(isa)
        )

    def range_count(
        self, queries: Codes, radius: int, *, threads: int | None = None, isa: str | None = None
    ) -> npt.NDArray[np.int64]:
        """As the function :func:`range_count`, of the stored rows."""
        return self._index.range_count(queries, radius, thread_count(threads), instruction_set(isa))

    def build(self, *, threads: int | None = None, isa: str | None = None) -> None:
        """Make the tables of method "mih" for all rows now, unless there are such."""
        self._index.build(thread_count(threads), instruction_set(isa))

    def explain(
        self,
        queries: Codes,
        k: int,
        *,
        method: str = "auto",
        threads: int | None = None,
        isa: str | None = None,
    ) -> SearchPlan:
        """How :meth:`search` would find its answer; builds tables where it would."""
        (tables, rows, distinct), parts = self._index.explain(
            queries, k, _method(method), thread_count(threads), instruction_set(isa)
        )
        hashed, radius, keys, postings, cost, scan = parts
        return SearchPlan(
            method=method,
            tables=tables,
            rows=rows,
            distinct=distinct,
            hashed=hashed,
            radius=radius,
            keys=keys,
            candidates=postings,
            hashed_ns=cost,
            scan_ns=scan,
        )


def _method(wanted: str) -> str:
    if wanted not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {wanted!r}")
    return wanted
