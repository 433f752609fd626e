"""Codes to search in: uniform, clustered as learned codes are, and of a trained student; seeded and fast.

Ten million clustered codes of 64 bits take about a second. Padding bits are zero.
"""

import functools
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmth_fast.bench import random_codes

__all__ = ["Sample", "clustered_codes", "random_codes", "student_codes"]

STUDENT_VARIABLE = "DMTH_FAST_STUDENT"
"""Names the folder of a trained student, as ``dmth-fast train`` leaves it."""

_DIGITS = 16
_CHUNK = 1 << 14


class Sample(NamedTuple):
    """A database and its queries."""

    codes: NDArray[np.uint8]
    """(n, bytes)"""
    queries: NDArray[np.uint8]
    """(q, bytes), drawn alike, none of them in the database on purpose."""


def clustered_codes(
    n: int, bits: int, centres: int, p: float, seed: int = 0, *, queries: int = 100
) -> Sample:
    """Random centres, equally often up to one, in random order; each bit of each copy flipped with ``p``.

    The queries are further copies of centres drawn at random. ``p`` is rounded to a multiple of 2^-16.
    """
    if centres < 1 or not 0 <= p <= 1:
        raise ValueError(f"there must be at least 1 centre and p in [0, 1], got {centres} and {p}")
    generator = np.random.default_rng(seed)
    middle = random_codes(centres, bits, seed=generator)
    member = generator.permutation(np.arange(n + queries, dtype=np.int32) % centres)
    both = middle[member]
    flat = both.reshape(-1)
    for start in range(0, flat.size, 8 * _CHUNK):
        part = flat[start : start + 8 * _CHUNK]
        part ^= _bernoulli((part.size + 7) // 8, p, generator).view(np.uint8)[: part.size]
    if bits % 8:
        both[:, -1] &= np.uint8((1 << bits % 8) - 1)
    return Sample(both[:n], both[n:])


def _bernoulli(words: int, p: float, generator: np.random.Generator) -> NDArray[np.uint64]:
    """Words whose bits are one with probability ``p``, independently: one random word a binary digit of p.

    With digits d1 d2 ... of p, from the last to the first: ``one |= r`` where the digit is 1 makes the
    probability (1 + before) / 2, ``one &= r`` makes it before / 2.
    """
    digits = round(p * (1 << _DIGITS))
    one = np.zeros(words, np.uint64)
    if digits == 1 << _DIGITS:
        return ~one
    for place in range(_DIGITS):
        random = generator.integers(0, 1 << 64, words, np.uint64)
        if digits >> place & 1:
            one |= random
        else:
            one &= random
    return one


@functools.lru_cache(maxsize=1)
def student_codes() -> Sample:
    """CIFAR-10's 50,000 training images and 10,000 test images by the student in ``DMTH_FAST_STUDENT``.

    Raises:
        FileNotFoundError: No such student, or no CIFAR-10 in ``DMTH_FAST_DATA``; says what is missing.
    """
    folder = os.environ.get(STUDENT_VARIABLE)
    if not folder:
        raise FileNotFoundError(f"{STUDENT_VARIABLE} names no trained student")
    data = Path(os.environ.get("DMTH_FAST_DATA", "../shared/data")) / "cifar10"
    for needed in (Path(folder), data):
        if not needed.exists():
            raise FileNotFoundError(f"{needed} does not exist")
    from dmth_fast import Hasher
    from dmth_fast.learning.data import open_images

    hasher = Hasher.load(folder)
    train, test = (open_images(sorted(data.glob(name))) for name in ("train-*.zip", "test.zip"))
    return Sample(np.asarray(hasher.encode(train)), np.asarray(hasher.encode(test)))
