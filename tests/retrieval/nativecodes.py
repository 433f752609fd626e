"""Codes for the native tests, and how results are compared."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def packed(bits01: Array) -> Array:
    return np.ascontiguousarray(np.packbits(bits01, axis=1, bitorder="little"))


def random_codes(rng: np.random.Generator, rows: int, bits: int) -> Array:
    return packed(rng.integers(0, 2, (rows, bits), dtype=np.uint8))


def clustered_codes(rng: np.random.Generator, rows: int, bits: int, centres: int, flip: float) -> Array:
    """Learned codes repeat: random centres, each bit flipped with a small probability."""
    middle = rng.integers(0, 2, (centres, bits), dtype=np.uint8)[rng.integers(0, centres, rows)]
    return packed(middle ^ (rng.random((rows, bits)) < flip))


def assert_same(got: Any, expected: Any, note: str) -> None:
    got = got if isinstance(got, tuple) else (got,)
    expected = expected if isinstance(expected, tuple) else (expected,)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == other.dtype, note
        np.testing.assert_array_equal(one, other, err_msg=note)
