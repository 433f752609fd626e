"""Codes with ids, kept in the order of these, which threads search while others change them.

Results are in the order (distance, id), and storages number their rows. So rows lie in ascending order of
their ids: then a storage's (distance, row) is that order, ties at the cut included, and a row becomes its id
once it is found. Where ids are row numbers there is no array of them.
"""

import functools
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, ParamSpec, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from dmth_fast.retrieval.arguments import AnyArray
from dmth_fast.retrieval.ids import (
    LARGEST,
    Ids,
    checked_ids,
    checked_new_ids,
    do_ascend,
    first_repeated,
    known_ids,
    places_of,
    rows_of,
    unless_row_numbers,
)

_CHUNK_ROWS = 2**18  # copied at a time where a storage is made anew


class Storage(Protocol):
    """Rows that grow at the end, for searches to run beside."""

    def __len__(self) -> int: ...

    def add(self, codes: Any) -> object:
        """Append codes: all of them or, with an exception, none."""

    def rows(self, ids: Ids) -> Any:
        """A copy of the rows of these numbers."""

    def first(self, count: int) -> Any:
        """A copy of the first rows."""


S = TypeVar("S", bound=Storage)
P = ParamSpec("P")
T = TypeVar("T")


class Late(NamedTuple):
    """Codes whose place is between rows: added with ids below the largest."""

    codes: Any
    ids: Ids  # ascending


class Generation(Generic[S]):
    """What a search looks at; another one takes its place whenever more changes than rows at the end.

    A row's id is there before the row is, and neither changes after that. So whoever reads ``ids`` *after*
    searching ``store`` finds the id of each row that the search can have seen.

    Attributes:
        store: rows in ascending order of their ids.
        ids: the id of each row and room for more, or None while ids are row numbers.
        late: codes that wait for their place between the rows; ``store`` and ``ids`` stay as they are then.
        fixed: ``store`` cannot grow.
    """

    __slots__ = ("fixed", "ids", "late", "store")

    def __init__(
        self, store: S, ids: Ids | None = None, late: tuple[Late, ...] = (), *, fixed: bool = False
    ) -> None:
        self.store, self.ids, self.late, self.fixed = store, ids, late, fixed

    def known(self) -> tuple[int, Ids | None]:
        """The number of rows now, and ids for so many at least; not read the other way about."""
        count = len(self.store)
        return count, self.ids


def _changing(change: Callable[P, T]) -> Callable[P, T]:
    """A change of a collection takes its turn; a signal handler's is refused where it would wait for itself.

    A plain function: an interrupt inside a context manager's own code would leave the lock to its traceback.
    """

    @functools.wraps(change)
    def in_turn(*arguments: P.args, **named: P.kwargs) -> T:
        collection: Any = arguments[0]
        if collection.reading.depth and not collection._lock.acquire(blocking=False):
            # Whoever changes it may be waiting for the search that this handler interrupts.
            raise RuntimeError(
                "an index that its own thread is searching cannot be changed, or put in order for another "
                "search, by a signal handler while another thread changes it"
            )
        if collection.reading.depth:
            try:
                return alone(*arguments, **named)
            finally:
                collection._lock.release()
        with collection._lock:
            return alone(*arguments, **named)

    def alone(*arguments: P.args, **named: P.kwargs) -> T:
        collection: Any = arguments[0]
        if collection._is_changing:
            raise RuntimeError(
                "an index that its own thread is changing cannot be changed, or put in order for a search, "
                "by a signal handler"
            )
        try:
            collection._is_changing = True
            return change(*arguments, **named)
        finally:
            collection._is_changing = False

    return in_turn


class Reading(threading.local):
    """How many searches this thread is in, by ``with``: one, or more where a signal handler searches."""

    depth = 0

    def __enter__(self) -> None:
        """One more."""
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        """One less."""
        self.depth -= 1


class Collection(Generic[S]):
    """Generations of codes: changes take turns, searches wait for none but to put late codes in their places.

    Args:
        make: an empty storage for about so many rows.
        join: codes of a storage's kind put one after the other.
    """

    def __init__(self, make: Callable[[int], S], join: Callable[[Sequence[Any]], Any]) -> None:
        self._make, self._join = make, join
        self._generation = Generation(make(0))
        self._next = 0
        self.reading = Reading()
        self.renew_lock()
        _COLLECTIONS.add(self)

    def __len__(self) -> int:
        """The number of codes."""
        generation = self._generation
        return len(generation.store) + sum(len(part.ids) for part in generation.late)

    def ids(self) -> Ids:
        """The ids in ascending order, (n,) int64; a copy that cannot be written."""
        count, known = self.settled().known()
        ids = known_ids(known, count).copy()
        ids.flags.writeable = False  # writing to a copy would be lost
        return ids

    def rows(self, ids: AnyArray | None) -> Any:
        """A copy of the codes of ``ids``, (m,) integers, or of all in ascending order of ids.

        Raises:
            TypeError: ids are no integers.
            KeyError: an id that no code has.
        """
        generation = self.settled()
        count, known = generation.known()
        if ids is None:
            return generation.store.first(count)
        return generation.store.rows(rows_of(checked_ids(ids), known, count))

    @_changing
    def restore(self, store: S, ids: Ids | None, next_id: int, *, fixed: bool = False) -> None:
        """Begin with these rows; ids ascend, None for row numbers."""
        self._next = next_id
        self._generation = Generation(store, ids, fixed=fixed)

    def settled(self, *, growing: bool = False) -> Generation[S]:
        """What to search: a generation without late codes, and with ``growing`` one whose storage grows."""
        generation = self._generation
        if generation.late or (growing and generation.fixed):
            return self._settle(growing)
        return generation

    @_changing
    def _settle(self, growing: bool) -> Generation[S]:
        return self._settled(growing)

    def snapshot(self) -> tuple[Any, Ids | None, int]:
        """A copy of all codes, their ids (None for row numbers), and the next id that none has had."""
        generation = self.settled()
        count, ids = generation.known()
        return generation.store.first(count), None if ids is None else ids[:count].copy(), self._next

    def add(self, codes: Any, ids: AnyArray | None) -> Ids:
        """Store checked codes under ``ids``, or under the next that none has had; (n,) int64.

        Raises:
            TypeError: ids are no integers.
            ValueError: another number of ids, a negative one, one that comes twice, one that a code has.
        """
        given = None if ids is None else checked_new_ids(ids, len(codes))
        order = None if given is None or do_ascend(given) else np.argsort(given)
        return self._add(codes, given, order)

    @_changing
    def _add(self, codes: Any, given: Ids | None, order: Ids | None) -> Ids:
        mine = self._fresh(len(codes)) if given is None else self._unused(given)
        if not len(codes):
            return mine
        ascending = mine if order is None else mine[order]
        before = self._next
        self._next = max(before, int(ascending[-1]) + 1)
        try:
            self._place(codes, ascending, order)
        except Exception:
            if not self._are_taken(mine[:1]).any():  # a signal handler may raise when all is done
                self._next = before
            raise
        return mine

    def remove(self, ids: AnyArray) -> None:
        """Forget these codes: the others are copied to another storage.

        Raises:
            TypeError: ids are no integers.
            ValueError: not of one dimension, or an id that comes twice.
            KeyError: an id that no code has.
        """
        wanted = checked_ids(ids)
        repeated = first_repeated(wanted)
        if repeated is not None:
            raise ValueError(f"ids must differ from each other, got {repeated} twice")
        self._remove(wanted)

    @_changing
    def _remove(self, wanted: Ids) -> None:
        generation = self._settled()
        count = len(generation.store)
        stays = np.ones(count, dtype=bool)
        stays[rows_of(wanted, generation.ids, count)] = False
        if len(wanted):
            self._generation = self._copied(generation, np.flatnonzero(stays))

    def renew_lock(self) -> None:
        """Make the lock anew, as in the child of a fork, which lacks the thread that may hold it."""
        self._lock = threading.RLock()
        self._is_changing = False

    def _fresh(self, count: int) -> Ids:
        if self._next + count - 1 > LARGEST:
            raise ValueError(f"ids must be given: {count} from {self._next} on would not be below 2**63")
        return np.arange(count, dtype=np.int64) + min(self._next, LARGEST)

    def _are_taken(self, ids: Ids) -> npt.NDArray[np.bool_]:
        generation = self._generation
        taken = places_of(ids, generation.ids, len(generation.store))[1]
        for part in generation.late:
            taken |= places_of(ids, part.ids, len(part.ids))[1]
        return taken

    def _unused(self, ids: Ids) -> Ids:
        """``ids``, if no code has them."""
        taken = self._are_taken(ids)
        if taken.any():
            raise ValueError(f"ids must be new, got {ids[taken][0]}, which a code has already")
        return ids

    def _place(self, codes: Any, ids: Ids, order: Ids | None) -> None:
        """Append codes that come after all others, keep those that do not for the next search.

        ``ids`` ascend, and ``order`` makes the codes do so, None where they do.
        """
        generation = self._generation
        first = len(generation.store)
        last = first - 1 if generation.ids is None or not first else generation.ids[first - 1]
        if generation.late or ids[0] < last:
            late = Late(codes[np.arange(len(ids)) if order is None else order], ids.copy())
            parts = self._with(generation.late, late)
            self._generation = Generation(generation.store, generation.ids, parts, fixed=generation.fixed)
            return
        if generation.fixed:
            self._generation = generation = self._settled(growing=True)
        generation.ids = _extended(generation.ids, first, ids)
        generation.store.add(codes if order is None else codes[order])

    def _with(self, parts: tuple[Late, ...], part: Late) -> tuple[Late, ...]:
        """One more part, parts of like size made one: few to look into, and no row is moved often."""
        while parts and len(parts[-1].ids) < 2 * len(part.ids):
            part, parts = self._merged((parts[-1], part)), parts[:-1]
        return (*parts, part)

    def _merged(self, parts: tuple[Late, ...]) -> Late:
        ids = np.concatenate([part.ids for part in parts])
        order = np.argsort(ids, kind="stable")
        return Late(self._join([part.codes for part in parts])[order], ids[order])

    def _settled(self, growing: bool = False) -> Generation[S]:
        """:meth:`settled`, by who is changing already."""
        generation = self._generation
        if generation.late:
            self._generation = generation = self._in_order(generation)
        elif growing and generation.fixed:
            self._generation = generation = self._copied(generation, np.arange(len(generation.store)))
        return generation

    def _in_order(self, generation: Generation[S]) -> Generation[S]:
        """Late codes in their places."""
        store, late = generation.store, self._merged(generation.late)
        count = len(store)
        ids = np.concatenate([known_ids(generation.ids, count), late.ids])
        order = np.argsort(ids, kind="stable")

        def codes_of(rows: Ids) -> Any:
            is_late = rows >= count
            places = np.argsort(np.argsort(is_late, kind="stable"))
            return self._join([store.rows(rows[~is_late]), late.codes[rows[is_late] - count]])[places]

        return Generation(self._stored(codes_of, order), unless_row_numbers(ids[order]))

    def _copied(self, generation: Generation[S], rows: Ids) -> Generation[S]:
        """These of the rows, ascending, in another storage."""
        ids = rows if generation.ids is None else generation.ids[rows]
        return Generation(self._stored(generation.store.rows, rows), unless_row_numbers(ids))

    def _stored(self, codes_of: Callable[[Ids], Any], rows: Ids) -> S:
        store = self._make(len(rows))
        for begin in range(0, len(rows), _CHUNK_ROWS):
            store.add(codes_of(rows[begin : begin + _CHUNK_ROWS]))
        return store


def _extended(known: Ids | None, first: int, ids: Ids) -> Ids | None:
    """Ids of rows with those of the rows from ``first`` on: in the room left, or with half as much again."""
    total = first + len(ids)
    if known is None:
        if ids[0] == first and ids[-1] == total - 1:
            return None
        known = np.arange(first, dtype=np.int64)
    if len(known) < total:
        longer = np.empty(max(total, len(known) + len(known) // 2), dtype=np.int64)
        longer[:first] = known[:first]
        known = longer
    known[first:total] = ids
    return known


_COLLECTIONS: "weakref.WeakSet[Collection[Any]]" = weakref.WeakSet()


def _renew_locks() -> None:
    for collection in _COLLECTIONS:
        collection.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
