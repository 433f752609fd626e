"""The ``search`` command: codes in files, neighbours in a table, in text or in a file."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmth_fast import codefiles

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]

# Distances computed in a batch of queries; results are the same however queries are cut.
_BATCH = 2_000_000_000
_SHOWN_QUERIES = 10
_SHOWN_NEIGHBOURS = 20


class Neighbours(NamedTuple):
    """What was found, of all queries one after the other."""

    offsets: NDArray[np.int64]
    """(q + 1,) where each query's begin and end."""
    distances: NDArray[np.int32]
    rows: NDArray[np.int64]
    """Places in the database, by which names are counted."""
    ids: NDArray[np.int64]
    """What the database calls them: the same, unless it is an index with ids of its own."""


def run(
    database: Path,
    queries: Path,
    *,
    k: int,
    radius: int | None,
    bits: int | None,
    threads: int | None,
    names: Path | None,
    out: str | None,
    console: "Console",
) -> None:
    """Search ``queries`` in ``database`` and print or write what was found.

    Args:
        database: Packed codes, ``.npy`` or ``.safetensors``, or an index, whose ids are printed.
        queries: The same; they are numbered by their rows.
        k: Neighbours a query; ignored where ``radius`` is given.
        radius: All within this distance instead.
        bits: Width of a code; ``None`` takes the stored one, or eight times the bytes.
        threads: ``None`` means all cores.
        names: Names of the database's codes in the order of their ids, one a line, printed beside or instead.
        out: ``.npz`` or ``.safetensors`` for arrays, ``-`` for text on stdout, ``None`` for a table.
        console: Where the table goes.

    Raises:
        TypeError: Codes of another type.
        ValueError: Codes that do not fit, or any other bad argument; each is named.
    """
    if out not in (None, "-"):
        codefiles.check_suffix(Path(out), (".npz", ".safetensors"))
    stored, asked = codefiles.read_codes(database, bits=bits), codefiles.read_codes(queries, bits=bits)
    if stored.bits != asked.bits:
        raise ValueError(
            f"queries must have the width of the database: {database} has codes of {stored.bits} bits, "
            f"{queries} of {asked.bits}"
        )
    known = None if names is None else codefiles.read_names(names)
    if known is not None and len(known) != len(stored.codes):
        raise ValueError(
            f"{names} must name each of the {len(stored.codes)} codes of {database}, "
            f"it has {len(known)} lines"
        )
    start = time.perf_counter()
    offsets, distances, rows = _search(stored.codes, asked.codes, k, radius, stored.bits, threads)
    found = Neighbours(offsets, distances, rows, rows if stored.ids is None else stored.ids[rows])
    seconds = time.perf_counter() - start
    if out is None:
        _print_table(found, known, console, f"{database}: {len(stored.codes):,} codes of {stored.bits} bits")
    elif out == "-":
        _print_text(found, known, sys.stdout)
    else:
        codefiles.write_arrays(out, _arrays(found, len(stored.codes), k, radius))
    took = f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.1f} s"
    line = f"{len(offsets) - 1:,} queries in {len(stored.codes):,} codes: {len(rows):,} neighbours in {took}"
    print(f"{line}; written to {out}" if out not in (None, "-") else line, file=sys.stderr)


def _search(
    codes: NDArray[np.uint8],
    queries: NDArray[np.uint8],
    k: int,
    radius: int | None,
    bits: int,
    threads: int | None,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    from dmth_fast import range_search, search

    counts, distances, ids = [], [], []
    for part in _batches(queries, len(codes)):
        if radius is None:
            nearest = search(codes, part, k, bits=bits, threads=threads)
            counts.append(np.full(len(part), nearest.ids.shape[1], dtype=np.int64))
            distances.append(nearest.distances.reshape(-1))
            ids.append(nearest.ids.reshape(-1))
        else:
            within = range_search(codes, part, radius, bits=bits, threads=threads)
            counts.append(np.diff(within.offsets))
            distances.append(within.distances)
            ids.append(within.ids)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate(counts))])
    return offsets, np.concatenate(distances), np.concatenate(ids)


def _batches(queries: NDArray[np.uint8], n: int) -> Iterator[NDArray[np.uint8]]:
    size = max(1, _BATCH // max(1, n))
    for start in range(0, max(1, len(queries)), size):
        yield queries[start : start + size]


def _arrays(found: Neighbours, n: int, k: int, radius: int | None) -> dict[str, NDArray[Any]]:
    offsets, distances, _, ids = found
    if radius is not None:
        return {"offsets": offsets, "distances": distances, "ids": ids}
    shape = (len(offsets) - 1, min(k, n))
    return {"distances": distances.reshape(shape), "ids": ids.reshape(shape)}


def _print_table(found: Neighbours, names: Sequence[str] | None, console: "Console", title: str) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    offsets, distances, rows, ids = found
    grid = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAVY)
    grid.add_column("query", justify="right")
    grid.add_column(f"nearest first, {'name' if names else 'id'}:distance")
    shown = min(_SHOWN_QUERIES, len(offsets) - 1)
    for query in range(shown):
        first, last = int(offsets[query]), int(offsets[query + 1])
        cells = [
            f"{names[rows[i]] if names else ids[i]}:{distances[i]}"
            for i in range(first, min(last, first + _SHOWN_NEIGHBOURS))
        ]
        more = last - first - len(cells)
        text = "  ".join(cells) or "none"
        grid.add_row(str(query), escape(text) + (f"   and {more:,} more" if more else ""))
    console.print(grid)
    if shown < len(offsets) - 1:
        rest = len(offsets) - 1 - shown
        console.print(f"and {rest:,} more queries: --out result.npz writes all, --out - prints all as text")


def _print_text(found: Neighbours, names: Sequence[str] | None, stream: IO[str]) -> None:
    offsets, distances, rows, ids = found
    stream.write("query\trank\tid\tdistance" + ("\tname\n" if names else "\n"))
    for query in range(len(offsets) - 1):
        for rank, i in enumerate(range(offsets[query], offsets[query + 1]), start=1):
            name = f"\t{names[rows[i]]}" if names else ""
            stream.write(f"{query}\t{rank}\t{ids[i]}\t{distances[i]}{name}\n")
