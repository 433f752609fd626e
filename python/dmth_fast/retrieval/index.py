"""A growing set of packed codes to search in."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import (
    AnyArray,
    Array,
    as_numpy,
    choice,
    integer,
    like,
    neighbours,
    optional_integer,
)
from dmth_fast.retrieval.codes import MAX_BITS, checked_codes, num_bytes
from dmth_fast.retrieval.collection import Collection
from dmth_fast.retrieval.ids import Selection, ids_of, let_through
from dmth_fast.retrieval.indexfile import read_index, write_index
from dmth_fast.retrieval.mappedrows import MappedRows
from dmth_fast.retrieval.plan import METHODS, SearchPlan
from dmth_fast.retrieval.search import RangeResult, SearchResult

if TYPE_CHECKING:
    import torch

    from dmth_fast.retrieval.device_index import DeviceIndex

_Storage = native.Store | MappedRows


class Index:
    """An exact index of packed codes, each with an id: its row number in the order of adding, unless given.

    Results are in the order (distance, id), whatever the order of adding. Codes are held twice, as rows and
    as bit planes, so that a search need not transpose them first; the memory of rows grows by half when full.
    Ids take 8 bytes a code, and nothing where they are row numbers.

    Threads may search while others add and remove: a search sees all of an :meth:`add` or :meth:`remove` or
    nothing of it, and every one that had returned before the search began. Changes take turns with each
    other. NumPy queries give NumPy results, tensors give tensors. An index cannot be pickled or copied:
    :meth:`save` it.

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
    >>> index.add(np.array([[0b0010]], dtype=np.uint8), ids=np.array([70]))
    array([70])
    >>> index.remove(np.array([1]))
    >>> index.search(np.array([[0b0011]], dtype=np.uint8), k=2).ids
    array([[ 2, 70]])
    """

    def __init__(self, bits: int, method: str = "auto") -> None:
        self._bits = integer(bits, "bits", 1, MAX_BITS)
        self._method = choice(method, "method", METHODS)
        width = num_bytes(self._bits)
        self._rows: Collection[_Storage] = Collection(lambda _: native.Store(width), np.concatenate)

    @classmethod
    def open(cls, path: str | os.PathLike[str], mmap: bool = False, method: str = "auto") -> "Index":
        """The index that :meth:`save` wrote.

        Args:
            path: a file ending in ``.safetensors``.
            mmap: map the file instead of reading it. It opens at once (where bits are no multiple of 8 the
                padding is checked, and ids are, which reads these) and takes no memory of its own; batches
                of queries are a little slower than over bit planes, and nothing is hashed. The first
                :meth:`add`, :meth:`remove` or :meth:`build` copies all codes into memory. The file must not
                be written to meanwhile; :meth:`save` puts another in its place and is allowed.
            method: as of :class:`Index`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not such a file, or a damaged one; names it and what is wrong. There is no checksum:
                a file in which codes were changed to other codes opens.
        """
        choice(method, "method", METHODS)
        if not isinstance(mmap, bool):
            raise TypeError(f"mmap must be True or False, got {mmap!r}")
        codes, bits, ids, next_id = read_index(path)
        if not mmap:
            return cls._of(codes, bits, None if ids is None else ids.copy(), next_id, method=method)
        index = cls(bits, method)
        index._rows.restore(MappedRows(codes), ids, next_id, fixed=True)
        return index

    @classmethod
    def _of(
        cls, codes: Array, bits: int, ids: Array | None, next_id: int, *, method: str = "auto"
    ) -> "Index":
        """The index of these checked rows, as a file or a device hands them over; codes are copied."""
        index = cls(bits, method)
        store = native.Store(num_bytes(bits))
        store.add(codes)
        index._rows.restore(store, ids, next_id)
        return index

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write codes, ids and the next id to ``path``, whole or not at all; tables are not written.

        The file is a profile of safetensors (:mod:`dmth_fast.retrieval.indexfile`), which every reader of
        these can read.

        Args:
            path: a file ending in ``.safetensors``; another there is replaced.

        Raises:
            ValueError: another suffix.
        """
        write_index(path, *self._contents())

    def _contents(self) -> tuple[Array, int, Array | None, int]:
        codes, ids, next_id = self._rows.snapshot()
        return codes, self._bits, ids, next_id

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self._bits

    @property
    def method(self) -> str:
        """How searches are done."""
        return self._method

    @property
    def ids(self) -> Array:
        """The ids in ascending order, (n,) int64; a copy that cannot be written."""
        return self._rows.ids()

    def __len__(self) -> int:
        """The number of codes."""
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Index(bits={self._bits}, method={self._method!r}, codes={len(self)})"

    def __copy__(self) -> "Index":
        raise TypeError(
            "an Index cannot be copied: save() it and open() the file, or add its rows() to another"
        )

    def __deepcopy__(self, memo: object) -> "Index":
        return self.__copy__()

    def __reduce__(self) -> str:
        raise TypeError("an Index cannot be pickled: save() it, and open() the file where it is wanted")

    def add(self, codes: AnyArray, ids: AnyArray | None = None) -> Array:
        """Store codes and return their ids, (n,) int64.

        Codes whose ids are above all others are appended. Those with ids below wait for the next search,
        which puts all that wait in their places: a copy of the index, once however many were added.

        Args:
            codes: (n, ceil(bits / 8)) uint8, copied.
            ids: (n,) integers from 0 to 2**63 - 1 that no code has, each once, in any order; by default
                those that follow the largest id ever used, so that one that was removed does not come back.

        Raises:
            TypeError: codes not uint8, or ids no integers.
            ValueError: wrong shape or dirty padding; another number of ids, or one that is negative, comes
                twice or is taken, which is named. The index is then unchanged, as with every error.
        """
        return self._rows.add(checked_codes(as_numpy(codes, "codes"), "codes", self._bits), ids)

    def remove(self, ids: AnyArray) -> None:
        """Remove the codes of these ids.

        The codes that stay are copied, and tables of multi-index hashing are gone until they are built again:
        O(n) a call, so remove many at once.

        Args:
            ids: (m,) integers, each once.

        Raises:
            TypeError: ids are not integers.
            ValueError: an id that comes twice.
            KeyError: an id that no code has; it is named, and the index is unchanged.
        """
        self._rows.remove(ids)

    def rows(self, ids: AnyArray | None = None) -> Array:
        """A copy of the codes of ``ids``, or of all in ascending order of ids (read-only).

        Args:
            ids: (m,) integers, in any order, repeated or not.

        Raises:
            TypeError: ids are not integers.
            KeyError: an id that no code has.
        """
        stored: Array = self._rows.rows(ids)
        if ids is None:
            stored.flags.writeable = False  # writing to a copy would be lost
        return stored

    def search(
        self,
        queries: AnyArray,
        k: int = 10,
        *,
        filter: AnyArray | None = None,  # noqa: A002 - the field's word
        threads: int | None = None,
    ) -> SearchResult:
        """The k codes nearest to each query; queries, k, result and errors of :func:`dmth_fast.search`.

        Args:
            queries: (q, ceil(bits / 8)) uint8.
            k: how many, >= 1; the result has at most as many columns as codes take part.
            filter: the codes that take part: (len(self),) bool in ascending order of ids, as :attr:`ids` and
                :meth:`rows` have them, or (m,) integer ids, in any order, repeated or not; None for all.
                All codes are scanned, those that take part kept; where these are few beside the queries, a
                copy of them is searched instead. Beside threads that change the index, pass ids: a mask is
                for the codes that are there when the search begins.
            threads: threads to use; all cores by default.

        Raises:
            TypeError: wrong dtype.
            ValueError: wrong shape or value.
            KeyError: an id in the filter that no code has.
        """
        wanted = checked_codes(as_numpy(queries, "queries"), "queries", self._bits)
        count, workers = neighbours(k), optional_integer(threads, "threads", 1)
        found = self._found(
            filter,
            len(wanted),
            lambda store: store.search(wanted, count, method=self._method, threads=workers),
            lambda store, *kept: store.search_kept(wanted, count, *kept, threads=workers),
            lambda codes: native.search(codes, wanted, count, threads=workers),
        )
        return SearchResult(*(like(part, queries) for part in found))

    def range_search(
        self,
        queries: AnyArray,
        radius: int,
        *,
        filter: AnyArray | None = None,  # noqa: A002 - the field's word
        threads: int | None = None,
    ) -> RangeResult:
        """All codes within ``radius``, inclusive; as :func:`dmth_fast.range_search`, ``filter`` as above."""
        wanted = checked_codes(as_numpy(queries, "queries"), "queries", self._bits)
        limit, workers = integer(radius, "radius", 0, self._bits), optional_integer(threads, "threads", 1)
        found = self._found(
            filter,
            len(wanted),
            lambda store: store.range_search(wanted, limit, method=self._method, threads=workers),
            lambda store, *kept: store.range_search_kept(wanted, limit, *kept, threads=workers),
            lambda codes: native.range_search(codes, wanted, limit, threads=workers),
        )
        return RangeResult(*(like(part, queries) for part in found))

    def _found(
        self,
        selected: AnyArray | None,
        queries: int,
        search: Callable[[_Storage], tuple[Array, ...]],
        search_kept: Callable[[_Storage, Array, int], tuple[Array, ...]],
        search_codes: Callable[[Array], tuple[Array, ...]],
    ) -> tuple[Array, ...]:
        """What a search finds, of which rows come last: with their ids for rows."""
        generation = self._rows.settled()
        count, selection = 0, None
        if selected is not None:
            count, known = generation.known()
            selection = let_through(selected, known, count)
        with self._rows.reading:
            if selection is None:
                *parts, rows = search(generation.store)
                if selected is not None and rows.size and rows.max() >= count:
                    selection = Selection(count, np.arange(count))  # others were added meanwhile
            if selection is not None and _copy_pays(selection, count, queries):
                *parts, places = search_codes(generation.store.rows(selection.rows))
                rows = selection.rows[places]
            elif selection is not None:
                *parts, rows = search_kept(generation.store, native.kept_rows(selection.mask), count)
        # Read only now: whatever the search saw has its id there.
        return (*parts, ids_of(rows, generation.ids))

    def build(self, *, threads: int | None = None) -> None:
        """Build the tables of multi-index hashing now, for all codes added so far.

        Raises:
            ValueError: the method is "scan", which has none.
        """
        if self._method == "scan":
            raise ValueError(
                'an Index with method "scan" has no tables to build: make it with "auto" or "mih"'
            )
        workers = optional_integer(threads, "threads", 1)
        store = self._rows.settled(growing=True).store
        with self._rows.reading:
            store.build(threads=workers)

    def explain(self, queries: AnyArray, k: int = 10, *, threads: int | None = None) -> SearchPlan:
        """How :meth:`search` would answer these queries; arguments and errors as there.

        Queries go through the tables as in a search, those that leave for the scan are not scanned.
        """
        wanted = checked_codes(as_numpy(queries, "queries"), "queries", self._bits)
        count, workers = neighbours(k), optional_integer(threads, "threads", 1)
        store = self._rows.settled().store
        with self._rows.reading:
            return store.explain(wanted, count, method=self._method, threads=workers)

    def to(self, device: "str | torch.device") -> "DeviceIndex":
        """A copy of this index on a torch device such as "cuda" or "cuda:1", with the same ids.

        Raises:
            RuntimeError: there is no such device.
        """
        from dmth_fast.retrieval.device_index import DeviceIndex

        return DeviceIndex._of(*self._contents(), device=device)


def _copy_pays(selection: Selection, count: int, queries: int) -> bool:
    """Whether a copy of the rows that take part is searched faster than all rows with a mask.

    Copying a row takes about as long as comparing it with sixty queries, and finding out whether a mask has
    it as comparing it with twenty (64 bits, two threads of a Zen 4).
    """
    return len(selection) * (60 + queries) + selection.is_mask * count * 20 < count * queries
