"""A growing set of packed codes to search in."""

from typing import TYPE_CHECKING

import numpy as np

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import (
    AnyArray,
    Array,
    as_numpy,
    describe,
    integer,
    like,
    optional_integer,
)
from dmth_fast.retrieval.codes import MAX_BITS, checked_codes, num_bytes
from dmth_fast.retrieval.search import RangeResult, SearchResult

if TYPE_CHECKING:
    from dmth_fast.retrieval.device_index import DeviceIndex


class Index:
    """An exact index of packed codes; ids are the row numbers in the order of adding.

    Codes are held in one array that doubles when full, so that n calls of :meth:`add` copy O(n) codes.
    NumPy queries give NumPy results, tensors give tensors.

    Args:
        bits: bits of a code, 1 to 4096; every code and query is checked against it.

    Raises:
        TypeError: bits is not an integer.
        ValueError: bits out of range.

    >>> import numpy as np
    >>> index = Index(bits=4)
    >>> index.add(np.array([[0b0000], [0b0111], [0b0001]], dtype=np.uint8))
    array([0, 1, 2])
    >>> len(index)
    3
    >>> index.search(np.array([[0b0011]], dtype=np.uint8), k=2)
    SearchResult(distances=array([[1, 1]], dtype=int32), ids=array([[1, 2]]))
    """

    def __init__(self, bits: int) -> None:
        self._bits = integer(bits, "bits", 1, MAX_BITS)
        self._store = np.empty((0, num_bytes(self._bits)), dtype=np.uint8)
        self._count = 0

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self._bits

    def __len__(self) -> int:
        """The number of codes."""
        return self._count

    def __repr__(self) -> str:
        return f"Index(bits={self._bits}, codes={self._count})"

    def add(self, codes: AnyArray) -> Array:
        """Append codes and return their ids, (n,) int64.

        Args:
            codes: (n, ceil(bits / 8)) uint8, copied.

        Raises:
            TypeError: not uint8.
            ValueError: wrong shape or dirty padding; the index is then unchanged.
        """
        rows = checked_codes(as_numpy(codes, "codes"), "codes", self._bits)
        first, self._count = self._count, self._count + len(rows)
        if self._count > len(self._store):
            grown = np.empty((max(self._count, 2 * len(self._store)), self._store.shape[1]), dtype=np.uint8)
            grown[:first] = self._store[:first]
            self._store = grown
        self._store[first : self._count] = rows
        return np.arange(first, self._count, dtype=np.int64)

    def rows(self, ids: Array | None = None) -> Array:
        """The stored codes of ``ids`` (a copy), or all of them in order (a read-only view).

        Args:
            ids: (m,) integers in [0, len(self)).

        Raises:
            TypeError: ids are not integers.
            IndexError: an id that is not stored.
        """
        view = self._store[: self._count]
        if ids is None:
            view.flags.writeable = False
            return view
        if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu" or ids.ndim != 1:
            raise TypeError(f"ids must be a 1-D array of integers, got {describe(ids)}")
        wrong = ids[(ids < 0) | (ids >= self._count)]
        if wrong.size:
            raise IndexError(f"ids must be in [0, {self._count}), got {wrong[0]}")
        return view[ids]

    def search(self, queries: AnyArray, k: int = 10, *, threads: int | None = None) -> SearchResult:
        """The k codes nearest to each query; arguments, result and errors of :func:`dmth_fast.search`."""
        wanted = checked_codes(as_numpy(queries, "queries"), "queries", self._bits)
        count, workers = integer(k, "k", 1), optional_integer(threads, "threads", 1)
        found = native.search(self._store[: self._count], wanted, count, threads=workers)
        return SearchResult(*(like(part, queries) for part in found))

    def range_search(self, queries: AnyArray, radius: int, *, threads: int | None = None) -> RangeResult:
        """All codes within ``radius``, inclusive; as :func:`dmth_fast.range_search`."""
        wanted = checked_codes(as_numpy(queries, "queries"), "queries", self._bits)
        limit, workers = integer(radius, "radius", 0, self._bits), optional_integer(threads, "threads", 1)
        found = native.range_search(self._store[: self._count], wanted, limit, threads=workers)
        return RangeResult(*(like(part, queries) for part in found))

    def to(self, device: str) -> "DeviceIndex":
        """A copy of this index on a torch device such as "cuda" or "cuda:1", with the same ids.

        Raises:
            RuntimeError: there is no such device.
        """
        from dmth_fast.retrieval.device_index import DeviceIndex

        moved = DeviceIndex(self._bits, device)
        moved.add(self._store[: self._count])
        return moved
