"""Near-duplicate images between two sets, by a perceptual hash and our own range search."""

from typing import NamedTuple

import numpy as np

from dmth_fast.retrieval.arguments import AnyArray, Array, as_numpy, describe, integer
from dmth_fast.retrieval.codes import pack
from dmth_fast.retrieval.search import range_search

HASH_BITS = 64
_SIZE = 32
_FREQUENCIES = 8
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


class NearDuplicates(NamedTuple):
    """Pairs of a query and another image whose hashes are near.

    Attributes:
        query_rows: (m,) int64, ascending.
        rows: (m,) int64 rows of the other set.
        distances: (m,) int32 Hamming distances of the 64-bit hashes.
        share: share of the queries that have such a pair.
    """

    query_rows: Array
    rows: Array
    distances: Array
    share: float


def perceptual_codes(images: AnyArray) -> Array:
    """A 64-bit hash of how an image looks: the signs of its low frequencies about their median.

    Luma is reduced to 32 x 32 by averaging, transformed by a type-II cosine transform, and the 8 x 8
    coefficients after the constant row and column are compared with their median. Scaling, recompression
    and changes of brightness or contrast move few bits; a flat image has no hash worth comparing.

    Args:
        images: (n, 3, h, w) or (n, 1, h, w) uint8, h and w at least 32.

    Returns:
        (n, 8) uint8 codes of 64 bits.

    Raises:
        TypeError: images are not uint8.
        ValueError: another shape.

    >>> import numpy as np
    >>> image = np.arange(32 * 32, dtype=np.int64).reshape(1, 1, 32, 32) % 251
    >>> perceptual_codes(image.astype(np.uint8)).shape
    (1, 8)
    """
    array = as_numpy(images, "images")
    if array.dtype != np.uint8:
        raise TypeError(f"images must be uint8 of shape (n, 3, h, w), got {describe(array)}")
    if array.ndim != 4 or array.shape[1] not in (1, 3) or min(array.shape[2:]) < _SIZE:
        raise ValueError(
            f"images must have shape (n, 3, h, w) or (n, 1, h, w) with at least {_SIZE} x {_SIZE} pixels, "
            f"got {describe(array)}"
        )
    angle = np.pi * (2 * np.arange(_SIZE) + 1) / (2 * _SIZE)
    cosines = np.cos(np.arange(1, _FREQUENCIES + 1)[:, None] * angle)
    rows, columns = (cosines @ _averaging(length) for length in array.shape[2:])
    codes = np.zeros((len(array), HASH_BITS // 8), dtype=np.uint8)
    for start in range(0, len(array), 1024):
        block = array[start : start + 1024]
        luma = block[:, 0].astype(np.float64) if block.shape[1] == 1 else np.tensordot(_LUMA, block, (0, 1))
        low = (rows @ luma @ columns.T).reshape(len(block), -1)
        codes[start : start + 1024] = pack(low - np.median(low, axis=1, keepdims=True))
    return codes


def near_duplicates(query_images: AnyArray, images: AnyArray, *, radius: int = 6) -> NearDuplicates:
    """Find images that look alike in both sets; in a split they measure memory, not retrieval.

    Args:
        query_images: (q, 3, h, w) uint8.
        images: (n, 3, h, w) uint8, for example the training images.
        radius: largest Hamming distance of the 64-bit hashes, inclusive. Look at the pairs: what is alike
            to a hash need not be to the eye, and the other way round.

    Raises:
        TypeError: images are not uint8.
        ValueError: another shape, or a radius outside 0 to 64.

    >>> import numpy as np
    >>> noise = np.random.default_rng(0).integers(0, 256, (3, 1, 32, 32)).astype(np.uint8)
    >>> near_duplicates(noise[1:2], noise).rows
    array([1])
    """
    return near_duplicate_codes(perceptual_codes(query_images), perceptual_codes(images), radius=radius)


def near_duplicate_codes(query_codes: AnyArray, codes: AnyArray, *, radius: int = 6) -> NearDuplicates:
    """:func:`near_duplicates` of hashes made before, for images that come in parts.

    Args:
        query_codes: (q, 8) uint8, from :func:`perceptual_codes`.
        codes: (n, 8) uint8.
        radius: largest Hamming distance, inclusive.

    Raises:
        TypeError: codes are not uint8.
        ValueError: another shape, or a radius outside 0 to 64.

    >>> import numpy as np
    >>> codes = np.arange(16, dtype=np.uint8).reshape(2, 8)
    >>> near_duplicate_codes(codes[1:], codes, radius=0).rows
    array([1])
    """
    limit = integer(radius, "radius", 0, HASH_BITS)
    found = range_search(codes, query_codes, limit, bits=HASH_BITS)
    counts = np.diff(found.offsets)
    share = float((counts > 0).mean()) if len(counts) else 0.0
    return NearDuplicates(np.repeat(np.arange(len(counts)), counts), found.ids, found.distances, share)


def _averaging(length: int) -> Array:
    """(32, length) matrix that averages ``length`` pixels into 32 equal cells, edges in part."""
    edges = np.linspace(0, length, _SIZE + 1)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: Array = np.clip(overlap, 0, None) * (_SIZE / length)
    return weights
