"""Packed binary codes: the one currency between learning, search and evaluation.

``uint8``, C-contiguous, shape (n, ceil(bits / 8)). Bit j of a row is bit ``j % 8`` of byte ``j // 8``
(little, as in FAISS and ``numpy.packbits(..., bitorder="little")``); padding bits are zero.
"""

import math
from typing import Any

import numpy as np

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import (
    AnyArray,
    Array,
    are_tensors,
    as_numpy,
    choice,
    describe,
    integer,
    is_array,
    like,
)

MAX_BITS = 4096
LAYOUTS = ("bits", "signs", "bytes-little", "bytes-big", "int8-big", "uint64-little")


def num_bytes(bits: int) -> int:
    """Bytes of one packed row: ceil(bits / 8).

    >>> num_bytes(12)
    2
    """
    return -(-bits // 8)


def checked_codes(codes: object, name: str, bits: int | None = None) -> Array:
    """``codes`` as a C-contiguous array, if it keeps the contract of packed codes.

    A strided view is copied. With ``bits`` the width and the padding are checked too; without it only
    the shape, since any byte may then hold code bits.

    Raises:
        TypeError: not a uint8 NumPy array, or a masked one.
        ValueError: wrong number of dimensions, wrong width, or padding bits that are not zero.
    """
    width = "bytes" if bits is None else str(num_bytes(bits))
    expected = f"{name} must be uint8 of shape (n, {width})" + ("" if bits is None else f" for {bits} bits")
    if not is_array(codes) or codes.dtype != np.uint8:
        raise TypeError(f"{expected}, got {describe(codes)}")
    if codes.ndim != 2 or (bits is not None and codes.shape[1] != num_bytes(bits)):
        raise ValueError(f"{expected}, got {describe(codes)}")
    if not 1 <= codes.shape[1] <= num_bytes(MAX_BITS):
        raise ValueError(f"{expected} with 1 to {num_bytes(MAX_BITS)} bytes a row, got {describe(codes)}")
    if bits is not None and bits % 8:
        dirty = np.flatnonzero(codes[:, -1] >> (bits % 8))
        if dirty.size:
            raise ValueError(
                f"{name} must have zero padding after bit {bits - 1}, got {dirty.size} row(s) with "
                f"padding bits set, the first is row {dirty[0]}"
            )
    return np.ascontiguousarray(codes)


def checked_pair(
    codes: object, queries: object, bits: object = None, names: tuple[str, str] = ("codes", "queries")
) -> tuple[Array, Array, int]:
    """Database and query codes of one width, and the number of bits (8 a byte unless given).

    ``names`` are what the caller calls them, for the messages.

    Raises:
        TypeError: as :func:`checked_codes`.
        ValueError: as :func:`checked_codes`, or the widths differ.
    """
    number = None if bits is None else integer(bits, "bits", 1, MAX_BITS)
    database = checked_codes(codes, names[0], number)
    wanted = checked_codes(queries, names[1], number)
    if database.shape[1] != wanted.shape[1]:
        raise ValueError(
            f"{names[1]} must have the {database.shape[1]} bytes a row of {names[0]}, got {describe(wanted)}"
        )
    return database, wanted, 8 * database.shape[1] if number is None else number


def pack(values: AnyArray, threshold: float = 0.0) -> Any:
    """Pack real or Boolean values into binary codes: a bit is 1 iff its value is above the threshold.

    Args:
        values: (n, bits) float16, float32, float64 (or torch bfloat16) or bool; 1 to 4096 bits.
        threshold: a finite real number; at 0, both 0.0 and -0.0 give 0.

    Returns:
        (n, ceil(bits / 8)) uint8 codes; a tensor for a tensor.

    Raises:
        TypeError: values of another dtype, or a threshold that is no real number.
        ValueError: NaN in values (named by row and column), wrong shape, threshold not finite.

    >>> import numpy as np
    >>> pack(np.array([[0.3, -1.2, 0.0, 2.0], [-1.0, 4.0, -0.5, -0.5]]))
    array([[9],
           [2]], dtype=uint8)
    """
    limit = _checked_threshold(threshold)
    if are_tensors(values=values):
        from dmth_fast.retrieval import ops

        return ops.pack(values, limit)
    array = as_numpy(values, "values")
    if array.dtype not in (np.float16, np.float32, np.float64, np.bool_) or not array.dtype.isnative:
        raise TypeError(
            f"values must be float16, float32, float64 or bool of shape (n, bits), got {describe(array)}"
        )
    if array.ndim != 2 or not 1 <= array.shape[1] <= MAX_BITS:
        raise ValueError(f"values must have shape (n, bits) with 1 to {MAX_BITS} bits, got {describe(array)}")
    return native.pack(np.ascontiguousarray(array), limit)


def _checked_threshold(threshold: object) -> float:
    """A real, finite number as float64.

    Raises:
        TypeError: complex, bool, or no number.
        ValueError: NaN, infinity, or an integer beyond float64.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float, np.integer, np.floating)):
        raise TypeError(f"threshold must be a finite real number, got {describe(threshold)}")
    try:
        limit = float(threshold)
    except OverflowError:
        raise ValueError("threshold must be within the range of float64, got a larger integer") from None
    if not math.isfinite(limit):
        raise ValueError(f"threshold must be a finite real number, got {limit}")
    return limit


def unpack(packed: AnyArray, bits: int) -> Any:
    """Unpack codes into one 0 or 1 a bit.

    Args:
        packed: (n, ceil(bits / 8)) uint8 codes.
        bits: the number of bits of a code, 1 to 4096.

    Returns:
        (n, bits) uint8 of 0 and 1; a tensor for a tensor.

    Raises:
        TypeError: packed is not uint8.
        ValueError: wrong width for ``bits``, or padding bits that are not zero.

    >>> import numpy as np
    >>> unpack(np.array([[9], [2]], dtype=np.uint8), bits=4)
    array([[1, 0, 0, 1],
           [0, 1, 0, 0]], dtype=uint8)
    """
    number = integer(bits, "bits", 1, MAX_BITS)
    codes = checked_codes(as_numpy(packed, "packed"), "packed", number)
    return like(np.unpackbits(codes, axis=1, count=number, bitorder="little"), packed)


def convert_codes(values: AnyArray, *, source: str, bits: int | None = None) -> Any:
    """Bring binary codes from elsewhere into the packed form of this library.

    Args:
        values: (n, columns) codes in the layout that ``source`` names.
        source: the layout, always stated, never guessed:

            * ``"bits"``: one 0 or 1 a bit, any integer type, bool, or float;
            * ``"signs"``: one -1 or +1 a bit, signed integer or float (a 0 is refused);
            * ``"bytes-little"``: uint8 as here and in FAISS (checked, returned as it is);
            * ``"bytes-big"``: uint8 with the first bit highest, as ``numpy.packbits`` and
              sentence-transformers' ``ubinary`` give it;
            * ``"int8-big"``: the same minus 128 as int8, sentence-transformers' ``binary``;
            * ``"uint64-little"``: (n, words) uint64, bit j is bit ``j % 64`` of word ``j // 64``; a
              perceptual hash held in one integer is (n, 1).
        bits: bits of a code; packed layouts default to all their bits. Bits beyond it must be 0.

    Returns:
        (n, ceil(bits / 8)) uint8 codes; a tensor for a tensor.

    Raises:
        TypeError: values of a dtype that the layout does not have.
        ValueError: unknown layout, values out of the layout's alphabet, or set bits beyond ``bits``.

    >>> import numpy as np
    >>> convert_codes(np.array([[1, -1, -1, 1]]), source="signs")
    array([[9]], dtype=uint8)
    >>> convert_codes(np.packbits([[1, 0, 0, 1]], axis=1), source="bytes-big", bits=4)
    array([[9]], dtype=uint8)
    """
    layout = choice(source, "source", LAYOUTS)
    array = as_numpy(values, "values")
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"values must have shape (n, columns), got {describe(array)}")
    number = None if bits is None else integer(bits, "bits", 1, MAX_BITS)
    if layout in ("bits", "signs"):
        codes = _from_elements(array, layout, number)
    else:
        codes = _from_words(array, layout, number)
    return like(codes, values)


def _from_elements(array: Array, layout: str, bits: int | None) -> Array:
    """Pack an array that holds one element a bit."""
    kinds, alphabet = ("biuf", (0, 1)) if layout == "bits" else ("if", (-1, 1))
    if array.dtype.kind not in kinds:
        raise TypeError(f"values must hold {alphabet[0]} and {alphabet[1]} as numbers, got {describe(array)}")
    wrong = (array != alphabet[0]) & (array != alphabet[1])
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"values must hold only {alphabet[0]} and {alphabet[1]} for source={layout!r}, "
            f"got {array[row, column]} in row {row}, column {column}"
        )
    if bits is not None and bits != array.shape[1]:
        raise ValueError(f"values must have {bits} columns for bits={bits}, got {describe(array)}")
    integer(array.shape[1], "the number of columns of values", 1, MAX_BITS)
    return np.packbits(array > 0, axis=1, bitorder="little")


def _from_words(array: Array, layout: str, bits: int | None) -> Array:
    """Reorder the bits of codes that are packed already."""
    dtype = {"int8-big": np.int8, "uint64-little": np.uint64}.get(layout, np.uint8)
    if array.dtype != dtype or not array.dtype.isnative:
        raise TypeError(f"values must be {np.dtype(dtype).name} for source={layout!r}, got {describe(array)}")
    if layout == "uint64-little":
        packed = np.ascontiguousarray(array).astype("<u8").view(np.uint8)
    elif layout == "bytes-little":
        packed = np.ascontiguousarray(array)
    else:
        shifted = (array.astype(np.int16) + 128).astype(np.uint8) if layout == "int8-big" else array
        packed = np.packbits(np.unpackbits(shifted, axis=1), axis=1, bitorder="little")
    stored = 8 * packed.shape[1]
    number = stored if bits is None else bits
    if number > stored or (num_bytes(number) < packed.shape[1] and layout != "uint64-little"):
        raise ValueError(
            f"values must have {num_bytes(number)} bytes for {number} bits, got {describe(array)}"
        )
    surplus = packed[:, num_bytes(number) :]
    if surplus.any():
        row = int(np.flatnonzero(surplus.any(axis=1))[0])
        raise ValueError(f"values must have no bit set after bit {number - 1}, got one in row {row}")
    return checked_codes(packed[:, : num_bytes(number)], "values", integer(number, "bits", 1, MAX_BITS))
