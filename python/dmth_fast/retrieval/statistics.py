"""What a set of codes looks like: balance and correlation of bits, repetition, spread of classes."""

from dataclasses import dataclass

import numpy as np

from dmth_fast.retrieval import native
from dmth_fast.retrieval.arguments import AnyArray, Array, as_numpy, describe, integer, optional_integer
from dmth_fast.retrieval.codes import MAX_BITS, checked_codes
from dmth_fast.retrieval.labels import bit_masks, checked_label_rows


@dataclass(frozen=True, kw_only=True)
class CodeStatistics:
    """Statistics of n codes of b bits.

    Attributes:
        num_codes: n.
        num_distinct: different codes among them.
        code_entropy: entropy in bits of the distribution over the distinct codes; at most log2(n).
        bit_balance: (b,) float64 share of ones of each bit; 0.5 is balanced.
        bit_entropy: mean entropy of a bit, 0 to 1; 1 is balanced.
        bit_correlation: (b, b) float64 Pearson correlation between bits; 0 for a constant bit.
        intra_class: (b + 1,) int64 unordered pairs of codes of one class at each distance; None without
            labels.
        inter_class: (b + 1,) int64 the same for pairs of different classes.
    """

    num_codes: int
    num_distinct: int
    code_entropy: float
    bit_balance: Array
    bit_entropy: float
    bit_correlation: Array
    intra_class: Array | None = None
    inter_class: Array | None = None

    @property
    def mean_absolute_correlation(self) -> float:
        """Mean |correlation| over pairs of different bits; 0 for one bit."""
        bits = len(self.bit_balance)
        if bits == 1:
            return 0.0
        total = np.abs(self.bit_correlation).sum() - np.abs(np.diag(self.bit_correlation)).sum()
        return float(total / (bits * (bits - 1)))


def code_statistics(
    codes: AnyArray, bits: int, labels: AnyArray | None = None, *, threads: int | None = None
) -> CodeStatistics:
    """Measure balance, correlation, repetition and, with labels, distances within and between classes.

    Args:
        codes: (n, ceil(bits / 8)) uint8, n >= 1.
        bits: bits of a code.
        labels: (n,) integer class ids >= 0 or (n, C) multi-hot; pairs of one class share a label. The
            histograms of distances take O(n^2) time, fused in the native scan.
        threads: threads to use; all cores by default.

    Raises:
        TypeError: wrong dtype.
        ValueError: wrong shape or width, dirty padding, no code.

    >>> import numpy as np
    >>> codes = np.array([[0b00], [0b01], [0b01], [0b11]], dtype=np.uint8)
    >>> found = code_statistics(codes, bits=2, labels=np.array([0, 0, 1, 1]))
    >>> found.num_distinct, found.bit_balance.tolist(), found.intra_class.tolist()
    (3, [0.75, 0.25], [0, 2, 0])
    """
    number = integer(bits, "bits", 1, MAX_BITS)
    rows = checked_codes(as_numpy(codes, "codes"), "codes", number)
    if not len(rows):
        raise ValueError(f"codes must hold at least one code, got {describe(rows)}")
    _, counts = np.unique(rows, axis=0, return_counts=True)
    ones = np.unpackbits(rows, axis=1, count=number, bitorder="little").astype(np.float32)
    balance = ones.mean(axis=0, dtype=np.float64)
    joint = (ones.T @ ones).astype(np.float64) / len(rows)
    deviation = np.sqrt(balance * (1 - balance))
    scale = np.outer(deviation, deviation)
    correlation = np.divide(
        joint - np.outer(balance, balance), scale, out=np.zeros_like(joint), where=scale > 0
    )
    intra, inter = None, None
    if labels is not None:
        intra, inter = _class_distances(rows, number, labels, optional_integer(threads, "threads", 1))
    return CodeStatistics(
        num_codes=len(rows),
        num_distinct=len(counts),
        code_entropy=float(_entropy(counts / len(rows)).sum()),
        bit_balance=balance,
        bit_entropy=float((_entropy(balance) + _entropy(1 - balance)).mean()),
        bit_correlation=correlation,
        intra_class=intra,
        inter_class=inter,
    )


def _class_distances(rows: Array, bits: int, labels: AnyArray, threads: int | None) -> tuple[Array, Array]:
    """Unordered pairs of the same and of different classes at each distance."""
    checked = checked_label_rows(labels, "labels", len(rows), "")
    native_labels = checked if checked.ndim == 1 else bit_masks(checked)
    every, relevant = native.histograms(rows, rows, native_labels, native_labels, bits, threads=threads)
    every, relevant = every.sum(axis=0), relevant.sum(axis=0)
    # Each code met itself once, at distance 0, as of its own class where it has one.
    every[0] -= len(rows)
    relevant[0] -= len(rows) if checked.ndim == 1 else int(checked.any(axis=1).sum())
    return relevant // 2, (every - relevant) // 2


def _entropy(probability: Array) -> Array:
    """-p log2 p, 0 at 0."""
    safe = np.where(probability > 0, probability, 1.0)
    entropy: Array = -probability * np.log2(safe)
    return entropy
