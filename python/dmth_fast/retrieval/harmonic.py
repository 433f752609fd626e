"""Differences of harmonic numbers and cumulated discounts, for closed forms over ties."""

from functools import lru_cache

import numpy as np

from dmth_fast.retrieval.arguments import Array

_SMALL = 64
_KEPT = 2**14  # discounts of so many ranks are kept for the next caller
_TABLE = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, _SMALL + 1))])


def harmonic_difference(start: Array, stop: Array) -> Array:
    """H_stop - H_start = 1 / (start + 1) + ... + 1 / stop, for 0 <= start <= stop.

    Subtracting two sums of a million terms would lose up to seven digits in the products of the closed
    forms. Below 64 a table is used; above, ``log1p`` and the Euler-Maclaurin tail, whose relative error
    is that of the arithmetic.

    Args:
        start: integers.
        stop: integers of a shape that broadcasts with it.

    >>> import numpy as np
    >>> bool(np.isclose(harmonic_difference(np.array(2), np.array(4)), 1 / 3 + 1 / 4, rtol=1e-15))
    True
    """
    first, last = np.asarray(start, np.float64), np.asarray(stop, np.float64)
    large_first, large_last = np.maximum(first, _SMALL), np.maximum(last, _SMALL)
    value: Array = np.log1p((large_last - large_first) / large_first)
    value = value + (_tail(large_last) - _tail(large_first))
    if np.min(first, initial=_SMALL) < _SMALL:
        small_first, small_last = (np.minimum(x, _SMALL).astype(np.intp) for x in (first, last))
        value += _TABLE[small_last] - _TABLE[small_first]
    return value


def cumulated_discounts(count: int) -> Array:
    """(count + 1,) float64: the sum of 1 / log2(1 + rank) over the first 0, 1, ..., ``count`` ranks.

    >>> cumulated_discounts(1).tolist()
    [0.0, 1.0]
    """
    return _cumulated_discounts(count) if count <= _KEPT else _cumulated_discounts.__wrapped__(count)


@lru_cache(maxsize=16)
def _cumulated_discounts(count: int) -> Array:
    ranks = np.arange(1, count + 1, dtype=np.float64)
    sums = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(1.0 + ranks))])
    sums.setflags(write=False)
    return sums


def _tail(x: Array) -> Array:
    """H_x - ln(x) - gamma, for x >= 64 exact to the last digit."""
    inverse = 1.0 / x
    square = inverse * inverse
    tail: Array = inverse / 2 - square * (1 / 12 - square * (1 / 120 - square / 252))
    return tail
