"""Labels of queries and database: class ids or multi-hot rows, and what is relevant to what."""

from dataclasses import dataclass

import numpy as np

from dmth_fast.retrieval.arguments import AnyArray, Array, as_numpy, describe


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Checked labels of both sides, in the form that the native verbs take.

    Attributes:
        query: (q,) int64 class ids, or (q, words) uint64 bit masks of multi-hot rows.
        database: the same for the database.
        query_rows: (q, C) uint8 multi-hot rows; None for class ids.
        database_rows: (n, C) uint8 multi-hot rows; None for class ids.
        matrix: (q, n) bool, what is relevant to what, where the caller says so instead of labels.
    """

    query: Array
    database: Array
    query_rows: Array | None = None
    database_rows: Array | None = None
    matrix: Array | None = None

    @property
    def is_multi_hot(self) -> bool:
        """Whether items carry any number of labels."""
        return self.query_rows is not None

    @property
    def unlabelled_queries(self) -> Array:
        """int64 rows of the queries without any label: all-zero multi-hot rows."""
        return unlabelled_rows(self.query if self.query_rows is None else self.query_rows)

    @property
    def unlabelled_items(self) -> Array:
        """int64 rows of the database items without any label."""
        return unlabelled_rows(self.database if self.database_rows is None else self.database_rows)

    def shared(self, rows: slice) -> Array:
        """(q', n) float32 number of labels that each query in ``rows`` has in common with each item."""
        if self.matrix is not None:
            return self.matrix[rows].astype(np.float32)
        if self.query_rows is None or self.database_rows is None:
            return np.equal(self.query[rows, None], self.database[None, :]).astype(np.float32)
        # Exact: float32 holds every count of labels up to 2**24.
        counts: Array = self.query_rows[rows].astype(np.float32) @ self.database_rows.T.astype(np.float32)
        return counts

    def label_counts(self) -> tuple[Array, Array]:
        """(q,) and (n,) int64 number of labels of each query and of each item."""
        if self.query_rows is None or self.database_rows is None:
            return np.ones(len(self.query), dtype=np.int64), np.ones(len(self.database), dtype=np.int64)
        return self.query_rows.sum(axis=1, dtype=np.int64), self.database_rows.sum(axis=1, dtype=np.int64)


def checked_labels(
    query_labels: AnyArray, database_labels: AnyArray | None, queries: int, items: int
) -> Labels:
    """Check both sides' labels against the numbers of queries and of database items.

    Args:
        query_labels: (q,) integer class ids >= 0, or (q, C) multi-hot rows, bool or 0/1 integers; (q, n)
            bool relevance without ``database_labels``.
        database_labels: (n,) or (n, C), the same kind; or None.
        queries: q.
        items: n.

    Raises:
        TypeError: floats, Booleans as class ids, or other types.
        ValueError: another length, negative class ids, multi-hot entries that are neither 0 nor 1, or
            two sides of different kinds.
    """
    if database_labels is None:
        matrix = as_numpy(query_labels, "query_labels")
        if matrix.dtype != np.bool_:
            raise TypeError(f"query_labels must be bool without database_labels, got {describe(matrix)}")
        if matrix.shape != (queries, items):
            raise ValueError(
                f"query_labels must have shape ({queries}, {items}) without database_labels, "
                f"got {describe(matrix)}"
            )
        return Labels(query=np.arange(queries), database=np.arange(items), matrix=matrix)
    query = checked_label_rows(query_labels, "query_labels", queries, "query ")
    database = checked_label_rows(database_labels, "database_labels", items, "database ")
    if query.shape[1:] != database.shape[1:]:
        raise ValueError(
            "query_labels and database_labels must both be class ids (1-D) or multi-hot over the same labels "
            f"(2-D), got shapes {query.shape} and {database.shape}"
        )
    if query.ndim == 1:
        return Labels(query=query, database=database)
    return Labels(
        query=bit_masks(query), database=bit_masks(database), query_rows=query, database_rows=database
    )


def unlabelled_rows(labels: Array) -> Array:
    """int64 numbers of the all-zero rows of multi-hot labels; class ids have none.

    >>> import numpy as np
    >>> unlabelled_rows(np.array([[0, 1], [0, 0]]))
    array([1])
    """
    return np.zeros(0, dtype=np.int64) if labels.ndim == 1 else np.flatnonzero(~labels.any(axis=1))


def bit_masks(rows: Array) -> Array:
    """(n, ceil(C / 64)) uint64 masks of (n, C) multi-hot rows.

    >>> import numpy as np
    >>> bit_masks(np.array([[1, 0, 1], [0, 0, 0]]))
    array([[5],
           [0]], dtype=uint64)
    """
    packed = np.packbits(rows != 0, axis=1, bitorder="little")
    padded = np.zeros((len(rows), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view("<u8").astype(np.uint64)


def checked_class_ids(labels: AnyArray, name: str, count: int) -> Array:
    """(count,) class ids as int64; multi-hot rows are refused.

    Raises:
        TypeError: not integers.
        ValueError: another shape, or negative ids.
    """
    array = checked_label_rows(labels, name, count, "")
    if array.ndim != 1:
        raise ValueError(
            f"{name} must be class ids of shape ({count},), got {describe(as_numpy(labels, name))}"
        )
    return array


def checked_label_rows(labels: AnyArray, name: str, count: int, owner: str) -> Array:
    """Class ids as (count,) int64 or multi-hot rows as (count, C) uint8; ``owner`` is for the message.

    Raises:
        TypeError: floats, Booleans as class ids, or other types.
        ValueError: another length, negative class ids, or entries of rows that are neither 0 nor 1.
    """
    array = as_numpy(labels, name)
    if array.ndim not in (1, 2) or len(array) != count or (array.ndim == 2 and not array.shape[1]):
        raise ValueError(
            f"{name} must have shape ({count},) or ({count}, C) for {count} {owner}codes, "
            f"got {describe(array)}"
        )
    allowed = "iu" if array.ndim == 1 else "iub"
    if array.dtype.kind not in allowed or not array.dtype.isnative:
        raise TypeError(
            f"{name} must be integer class ids of shape (n,) or bool or 0/1 integers of shape (n, C), "
            f"got {describe(array)}"
        )
    if array.ndim == 2:
        entries = np.argwhere((array != 0) & (array != 1))
        if entries.size:
            row, column = entries[0]
            raise ValueError(
                f"{name} of two dimensions must be multi-hot, 0 or 1, got {array[row, column]} in row {row}, "
                f"column {column}"
            )
        return np.ascontiguousarray(array, dtype=np.uint8)
    wrong = np.flatnonzero(array < 0) if array.dtype.kind == "i" else np.flatnonzero(array > 2**63 - 1)
    if wrong.size:
        raise ValueError(
            f"{name} must be class ids from 0 to 2**63 - 1, got {array[wrong[0]]} in row {wrong[0]}"
        )
    return np.ascontiguousarray(array, dtype=np.int64)
