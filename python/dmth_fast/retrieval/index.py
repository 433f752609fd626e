"""A growing set of packed codes to search in."""

from typing import TYPE_CHECKING

import numpy as np

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import (
    AnyArray,
    Array,
    as_numpy,
    choice,
    describe,
    integer,
    is_array,
    like,
    neighbours,
    optional_integer,
)
from dmth_fast.retrieval.codes import MAX_BITS, checked_codes, num_bytes
from dmth_fast.retrieval.plan import METHODS, SearchPlan
from dmth_fast.retrieval.search import RangeResult, SearchResult

if TYPE_CHECKING:
    from dmth_fast.retrieval.device_index import DeviceIndex


class Index:
    """An exact index of packed codes; ids are the row numbers in the order of adding.

    Codes are held twice, as rows and as bit planes, so that a search need not transpose them first; the
    memory of rows grows by half when full. Threads may search while others add: a search sees all of an
    :meth:`add` or nothing of it, and every add that had returned before the search began. NumPy queries give
    NumPy results, tensors give tensors. An index cannot be pickled or copied; add its :meth:`rows` to
    another.

    Args:
        bits: bits of a code, 1 to 4096; every code and query is checked against it.
        method: how neighbours are found; the answers are the same. ``scan`` looks at every code; ``mih``
            (multi-index hashing, Norouzi et al., TPAMI 2014) looks codes up in hash tables of substrings,
            made by the first search or :meth:`build`; ``auto`` estimates for each query which of the two is
            cheaper, and makes the tables once the searches so far would have been paid back by them.

    Raises:
        TypeError: bits is not an integer.
        ValueError: bits out of range, or an unknown method.

    >>> import numpy as np
    >>> index = Index(bits=4)
    >>> index.add(np.array([[0b0000], [0b0111], [0b0001]], dtype=np.uint8))
    array([0, 1, 2])
    >>> len(index)
    3
    >>> index.search(np.array([[0b0011]], dtype=np.uint8), k=2)
    SearchResult(distances=array([[1, 1]], dtype=int32), ids=array([[1, 2]]))
    """

    def __init__(self, bits: int, method: str = "auto") -> None:
        self._bits = integer(bits, "bits", 1, MAX_BITS)
        self._method = choice(method, "method", METHODS)
        self._store = native.Store(num_bytes(self._bits))

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self._bits

    @property
    def method(self) -> str:
        """How searches are done."""
        return self._method

    def __len__(self) -> int:
        """The number of codes."""
        return len(self._store)

    def __repr__(self) -> str:
        return f"Index(bits={self._bits}, method={self._method!r}, codes={len(self)})"

    def __copy__(self) -> "Index":
        raise TypeError("an Index cannot be copied: add its rows() to another")

    def __deepcopy__(self, memo: object) -> "Index":
        return self.__copy__()

    def __reduce__(self) -> str:
        raise TypeError("an Index cannot be pickled: save its rows() and add them to another")

    def add(self, codes: AnyArray) -> Array:
        """Append codes and return their ids, (n,) int64.

        Args:
            codes: (n, ceil(bits / 8)) uint8, copied.

        Raises:
            TypeError: not uint8.
            ValueError: wrong shape or dirty padding; the index is then unchanged.
        """
        rows = checked_codes(as_numpy(codes, "codes"), "codes", self._bits)
        first = self._store.add(rows)
        return np.arange(first, first + len(rows), dtype=np.int64)

    def rows(self, ids: Array | None = None) -> Array:
        """A copy of the stored codes of ``ids``, or of all of them in order (read-only).

        Args:
            ids: (m,) integers in [0, len(self)).

        Raises:
            TypeError: ids are not integers.
            IndexError: an id that is not stored.
        """
        count = len(self)
        if ids is None:
            stored = self._store.rows(np.arange(count))
            stored.flags.writeable = False  # writing to a copy would be lost
            return stored
        if not is_array(ids) or ids.dtype.kind not in "iu" or ids.ndim != 1:
            raise TypeError(f"ids must be a 1-D array of integers, got {describe(ids)}")
        wrong = ids[(ids < 0) | (ids >= count)]
        if wrong.size:
            raise IndexError(f"ids must be in [0, {count}), got {wrong[0]}")
        return self._store.rows(np.ascontiguousarray(ids, dtype=np.int64))

    def search(self, queries: AnyArray, k: int = 10, *, threads: int | None = None) -> SearchResult:
        """The k codes nearest to each query; arguments, result and errors of :func:`dmth_fast.search`."""
        wanted = checked_codes(as_numpy(queries, "queries"), "queries", self._bits)
        count, workers = neighbours(k), optional_integer(threads, "threads", 1)
        found = self._store.search(wanted, count, method=self._method, threads=workers)
        return SearchResult(*(like(part, queries) for part in found))

    def range_search(self, queries: AnyArray, radius: int, *, threads: int | None = None) -> RangeResult:
        """All codes within ``radius``, inclusive; as :func:`dmth_fast.range_search`."""
        wanted = checked_codes(as_numpy(queries, "queries"), "queries", self._bits)
        limit, workers = integer(radius, "radius", 0, self._bits), optional_integer(threads, "threads", 1)
        found = self._store.range_search(wanted, limit, method=self._method, threads=workers)
        return RangeResult(*(like(part, queries) for part in found))

    def build(self, *, threads: int | None = None) -> None:
        """Build the tables of multi-index hashing now, for all codes added so far.

        Raises:
            ValueError: the method is "scan", which has none.
        """
        if self._method == "scan":
            raise ValueError(
                'an Index with method "scan" has no tables to build: make it with "auto" or "mih"'
            )
        self._store.build(threads=optional_integer(threads, "threads", 1))

    def explain(self, queries: AnyArray, k: int = 10, *, threads: int | None = None) -> SearchPlan:
        """How :meth:`search` would answer these queries; arguments and errors as there.

        Queries go through the tables as in a search, those that leave for the scan are not scanned.
        """
        wanted = checked_codes(as_numpy(queries, "queries"), "queries", self._bits)
        count, workers = neighbours(k), optional_integer(threads, "threads", 1)
        return self._store.explain(wanted, count, method=self._method, threads=workers)

    def to(self, device: str) -> "DeviceIndex":
        """A copy of this index on a torch device such as "cuda" or "cuda:1", with the same ids.

        Raises:
            RuntimeError: there is no such device.
        """
        from dmth_fast.retrieval.device_index import DeviceIndex

        moved = DeviceIndex(self._bits, device)
        moved.add(self._store.rows(np.arange(len(self))))
        return moved
