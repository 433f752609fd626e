"""Random codes and labels for the retrieval tests: few bits and few classes, so that ties are many."""

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Array = NDArray[Any]


class Sample(NamedTuple):
    """A database, queries, their labels and the number of bits."""

    codes: Array
    queries: Array
    database_labels: Array
    query_labels: Array
    bits: int


def random_codes(rng: np.random.Generator, count: int, bits: int) -> Array:
    return np.packbits(rng.random((count, bits)) < 0.5, axis=1, bitorder="little")


def random_labels(rng: np.random.Generator, count: int, classes: int, *, multi_hot: bool) -> Array:
    if multi_hot:
        return (rng.random((count, classes)) < 0.3).astype(np.uint8)
    return rng.integers(0, classes, count)


@st.composite
def samples(draw: st.DrawFn, *, max_items: int = 60, max_queries: int = 5, max_bits: int = 70) -> Sample:
    """Draw a :class:`Sample`; codes repeat when bits are few."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, q = draw(st.integers(1, max_items)), draw(st.integers(1, max_queries))
    bits, classes = draw(st.integers(1, max_bits)), draw(st.integers(1, 4))
    multi_hot = draw(st.booleans())
    return Sample(
        random_codes(rng, n, bits),
        random_codes(rng, q, bits),
        random_labels(rng, n, classes, multi_hot=multi_hot),
        random_labels(rng, q, classes, multi_hot=multi_hot),
        bits,
    )


def naive_relevance(sample: Sample) -> Array:
    """(q, n) bool: the same class, or a label in common."""
    if sample.query_labels.ndim == 1:
        return np.equal(sample.query_labels[:, None], sample.database_labels[None])
    shared: Array = (sample.query_labels[:, None, :] & sample.database_labels[None]).any(axis=2)
    return shared
