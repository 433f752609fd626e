"""How an index looks for neighbours, and what it decides from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

METHODS = ("auto", "scan", "mih")
"""How an index may look for neighbours: by a scan of all codes, by multi-index hashing, or, for each query,
by whichever of the two is estimated to be cheaper."""


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """How each of some queries would be answered, and what it was decided from.

    Attributes:
        method: One of :data:`METHODS`.
        tables: The number of hash tables, each of a substring of the code; 0 if there are none, and every
            query is scanned.
        rows: Rows in the tables; those added since are scanned for every query.
        distinct: Different codes among them.
        hashed: ``(q,)`` bool, whether a query is answered from the tables; else it is scanned.
        radius: ``(q,)`` int32, everything within this distance was found in the tables, -1 if nothing was.
        keys: ``(q,)`` int64, keys looked up in the tables.
        candidates: ``(q,)`` int64, codes compared with the query; of a query that left for the scan, before
            it left.
        hashed_ns: ``(q,)`` float64, estimated cost in the tables, ns; where a query left for the scan, of
            what it would have taken to stay.
        scan_ns: ``(q,)`` float64, estimated cost of its share of the scan, ns; 0 if none was considered.

    Example:
        >>> from dmth_fast import Index
        >>> index = Index(8, method="mih")
        >>> _ = index.add(np.array([[1], [255], [2]], np.uint8))
        >>> plan = index.explain(np.array([[3]], np.uint8), 2)
        >>> plan.hashed, plan.distinct
        (array([ True]), 3)
        >>> print(str(plan).splitlines()[0])
        mih: 1 of 1 queries from 1 table of 3 distinct codes, 0 scanned
    """

    method: str
    tables: int
    rows: int
    distinct: int
    hashed: npt.NDArray[np.bool_]
    radius: npt.NDArray[np.int32]
    keys: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]
    hashed_ns: npt.NDArray[np.float64]
    scan_ns: npt.NDArray[np.float64]

    def __str__(self) -> str:
        total, kept = len(self.hashed), int(self.hashed.sum())
        if not self.tables:
            return f"{self.method}: no tables; {total} queries scanned"
        tables = f"{self.tables} table{'s' * (self.tables > 1)} of {self.distinct:,} distinct codes"
        lines = [f"{self.method}: {kept} of {total} queries from {tables}, {total - kept} scanned"]
        if kept:
            parts = (("radius", self.radius), ("keys", self.keys), ("candidates", self.candidates))
            shown = (
                f"{name} {np.median(values[self.hashed]):,.0f} ({values[self.hashed].max():,})"
                for name, values in parts
            )
            lines.append(f"in the tables, median (most): {', '.join(shown)}")
        if self.scan_ns.any():
            hashed, scanned = np.median(self.hashed_ns) / 1e3, np.median(self.scan_ns) / 1e3
            lines.append(f"estimated median cost: {hashed:,.1f} us in the tables, {scanned:,.1f} us scanned")
        return "\n".join(lines)
