"""Codes that no method should lose to: the predicted class in one-hot form, and random bits."""

import numpy as np

from dmth_fast.retrieval.arguments import AnyArray, Array, integer
from dmth_fast.retrieval.codes import MAX_BITS, num_bytes
from dmth_fast.retrieval.labels import checked_class_ids


def one_hot_codes(predictions: AnyArray, num_classes: int) -> Array:
    """Codes of ``num_classes`` bits with one bit set: the class that a classifier predicts.

    Where the training set holds the classes of the queries, a classifier's answer is already a code, and
    its mAP is a floor for learned codes (Sablayrolles et al. 2017, arXiv 1609.06753). Use predictions on
    both sides; labels in the database would tell it the answer.

    Args:
        predictions: (n,) integer class ids, 0 to num_classes - 1.
        num_classes: C, the width of the codes.

    Returns:
        (n, ceil(C / 8)) uint8.

    Raises:
        TypeError: predictions are not integers.
        ValueError: a class id out of range.

    >>> import numpy as np
    >>> one_hot_codes(np.array([0, 2]), num_classes=3)
    array([[1],
           [4]], dtype=uint8)
    """
    count = integer(num_classes, "num_classes", 1, MAX_BITS)
    ids = checked_class_ids(predictions, "predictions", len(predictions))
    if ids.size and ids.max() >= count:
        raise ValueError(f"predictions must be below num_classes={count}, got {ids.max()}")
    codes = np.zeros((len(ids), num_bytes(count)), dtype=np.uint8)
    codes[np.arange(len(ids)), ids // 8] = 1 << (ids % 8)
    return codes


def random_codes(count: int, bits: int, *, seed: int = 0) -> Array:
    """Independent fair bits: what codes that know nothing reach.

    Args:
        count: n.
        bits: bits of a code.
        seed: of NumPy's generator.

    Returns:
        (n, ceil(bits / 8)) uint8 with zero padding.

    >>> random_codes(2, 12).shape
    (2, 2)
    """
    n, width = integer(count, "count", 0), integer(bits, "bits", 1, MAX_BITS)
    codes = np.random.default_rng(seed).integers(0, 256, (n, num_bytes(width)), dtype=np.uint8)
    if width % 8:
        codes[:, -1] &= (1 << (width % 8)) - 1
    return codes
