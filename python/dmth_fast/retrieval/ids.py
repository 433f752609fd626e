"""Ids that users give to codes: their checks, and the rows that they stand for.

Rows are kept in ascending order of their ids, so ``known``, the ids of the rows, is ascending; it is None
where each id is its row number, which then costs neither memory nor time.
"""

import numpy as np
import numpy.typing as npt

from dmth_fast.retrieval.arguments import AnyArray, describe, is_array, is_tensor, on_host

Ids = npt.NDArray[np.int64]
LARGEST = 2**63 - 1


def checked_ids(ids: AnyArray, name: str = "ids") -> Ids:
    """``ids`` as int64, whatever integers they are.

    Args:
        ids: (m,) integers, an array or a tensor of any device.
        name: what the caller calls them.

    Raises:
        TypeError: not an array or a tensor of integers.
        ValueError: not of one dimension, or 2**63 and above.
    """
    array = on_host(ids, name)
    expected = f"{name} must be integers of shape (m,)"
    if array.dtype.kind not in "iu":
        raise TypeError(f"{expected}, got {describe(array)}")
    if array.ndim != 1:
        raise ValueError(f"{expected}, got {describe(array)}")
    if array.dtype.kind == "u" and array.size and array.max() > LARGEST:
        raise ValueError(f"{name} must be below 2**63, got {array[array > LARGEST][0]}")
    return np.ascontiguousarray(array, dtype=np.int64)


def checked_new_ids(ids: AnyArray, count: int) -> Ids:
    """The ids of ``count`` new codes, of which none comes twice, as a copy.

    Raises:
        TypeError: as :func:`checked_ids`.
        ValueError: as there; another number of ids, a negative one or one that comes twice, which is named.

    >>> checked_new_ids(np.array([7, 3], dtype=np.uint8), 2)
    array([7, 3])
    """
    wanted = checked_ids(ids)
    if len(wanted) != count:
        raise ValueError(f"ids must be one for each of the {count} codes, got {describe(wanted)}")
    negative = wanted[wanted < 0]
    if negative.size:
        raise ValueError(f"ids must be 0 or above, got {negative[0]}")
    repeated = first_repeated(wanted)
    if repeated is not None:
        raise ValueError(f"ids must differ from each other, got {repeated} twice")
    return wanted.copy()


def first_repeated(ids: Ids) -> int | None:
    """The first id that stands before in ``ids`` already.

    >>> first_repeated(np.array([5, 2, 2, 5]))
    2
    """
    if do_ascend(ids):
        return None
    firsts = np.unique(ids, return_index=True)[1]
    if len(firsts) == len(ids):
        return None
    again = np.ones(len(ids), dtype=bool)
    again[firsts] = False
    return int(ids[again][0])


def do_ascend(ids: Ids) -> bool:
    """Whether each is above the one before it."""
    return bool((ids[1:] > ids[:-1]).all())


def ids_of(rows: Ids, known: Ids | None) -> Ids:
    """The ids of ``rows``, of any shape; these themselves where ids are row numbers."""
    return rows if known is None else np.asarray(known[rows])


def places_of(wanted: Ids, known: Ids | None, count: int) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """(m,) the row of each id, and whether one of the ``count`` rows has it; else the row means nothing."""
    if known is None:
        return wanted, (wanted >= 0) & (wanted < count)
    rows = np.searchsorted(known[:count], wanted)
    if not count:
        return rows, np.zeros(len(wanted), dtype=bool)
    return rows, known[np.minimum(rows, count - 1)] == wanted


def rows_of(wanted: Ids, known: Ids | None, count: int) -> Ids:
    """(m,) the row of each id.

    Raises:
        KeyError: an id that none of the ``count`` rows has; the first is named.

    >>> rows_of(np.array([9, 4]), np.array([2, 4, 9]), 3)
    array([2, 1])
    """
    rows, found = places_of(wanted, known, count)
    if not found.all():
        raise KeyError(f"no code has the id {wanted[~found][0]}")
    return rows


class Selection:
    """The rows that a filter lets take part, as rows or as a mask, whichever is asked for.

    Args:
        count: the number of rows.
        taking_part: those that take part, ascending int64, or (count,) bool.

    >>> Selection(3, np.array([True, False, True])).rows
    array([0, 2])
    """

    def __init__(self, count: int, taking_part: Ids | npt.NDArray[np.bool_]) -> None:
        self._rows: Ids | None = None
        self._mask: npt.NDArray[np.bool_] | None = None
        self._count = count
        if taking_part.dtype == np.bool_:
            self._mask = np.asarray(taking_part, dtype=np.bool_)
            self._size = int(np.count_nonzero(taking_part))
        else:
            self._rows = np.asarray(taking_part, dtype=np.int64)
            self._size = len(taking_part)

    def __len__(self) -> int:
        """How many rows take part."""
        return self._size

    @property
    def is_mask(self) -> bool:
        """Whether its rows have yet to be found."""
        return self._rows is None

    @property
    def rows(self) -> Ids:
        """The rows, ascending."""
        if self._rows is None:
            self._rows = np.flatnonzero(self.mask)
        return self._rows

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Of each row whether it takes part."""
        if self._mask is None:
            self._mask = np.zeros(self._count, dtype=np.bool_)
            self._mask[self.rows] = True
        return self._mask


def let_through(selected: AnyArray, known: Ids | None, count: int) -> Selection | None:
    """The rows that a filter lets take part; None where these are all.

    Args:
        selected: (count,) bool in the order of rows, or (m,) integer ids, in any order, repeated or not.
        known: ids of the rows.
        count: the number of rows.

    Raises:
        TypeError: neither bool nor integers, or integers of 8 bits, which could be a mask.
        ValueError: another shape.
        KeyError: an id that no row has.

    >>> let_through(np.array([9, 2, 9]), np.array([2, 4, 9]), 3).mask
    array([ True, False,  True])
    >>> let_through(np.array([True, True, True]), np.array([2, 4, 9]), 3)
    """
    expected = f"filter must be bool of shape ({count},) or integer ids of shape (m,), got "
    expected += describe(selected)
    if not is_array(selected) and not is_tensor(selected):
        raise TypeError(expected)
    array = on_host(selected, "filter")
    if array.dtype.kind not in "biu":
        raise TypeError(expected)
    if array.dtype.kind != "b" and array.dtype.itemsize == 1:
        raise TypeError(f"{expected}: 8 bits could be a mask or ids; make them bool or wider")
    if array.ndim != 1 or (array.dtype.kind == "b" and len(array) != count):
        raise ValueError(expected)
    if array.dtype.kind == "b":
        selection = Selection(count, array)
    else:
        rows = rows_of(checked_ids(array, "filter"), known, count)
        selection = Selection(count, rows if do_ascend(rows) else np.unique(rows))
    return None if len(selection) == count else selection


def unless_row_numbers(ids: Ids) -> Ids | None:
    """``ids``, which ascend from 0 or above, or None where they are 0, 1, 2 and so on."""
    return ids if ids.size and ids[-1] != len(ids) - 1 else None


def known_ids(known: Ids | None, count: int) -> Ids:
    """The ids of the first ``count`` rows."""
    return np.arange(count, dtype=np.int64) if known is None else known[:count]
