"""What frozen networks say about images, computed once: fp16 safetensors with a manifest, or memory."""

import hashlib
import json
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dmth_fast.atomic import write_json
from dmth_fast.learning.columnfile import ColumnFile, to_half
from dmth_fast.learning.weights import load_file

__all__ = ["Columns", "FeatureCache"]

FORMAT = "dmth-fast-features-1"

Columns = dict[str, Tensor]

_ROWS = 16_384
"""Rows that are brought into memory at once."""


class FeatureCache:
    """Named columns of one row an image, found by a manifest that says how they came about.

    The manifest (weights, preprocessing, view, images) names the file, so anything that changes makes a new
    file, and equal runs share one: of several processes that want it one computes it and the others wait. A
    computation that is interrupted is continued at the rows it reached. Columns of files are memory-mapped.

    Beside each file stands its manifest, ``.json``: also the statistics of each column and a checksum. A file
    that contradicts them is refused, never used.

    Args:
        directory: of the files; None keeps everything in memory.

    Attributes:
        recorded_seconds: what computing the files that were used took, in this run or an earlier one.

    Example:
        >>> cache = FeatureCache()
        >>> manifest = {"weights": "abc", "rows": 2}
        >>> first = cache.get(manifest, lambda: {"features": torch.ones(2, 3)})
        >>> cache.get(manifest, lambda: {})["features"].dtype
        torch.float16
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory
        self._memory: dict[str, Columns] = {}
        self._checked: dict[Path, tuple[int, int]] = {}
        self.recorded_seconds = 0.0

    def get(self, manifest: Mapping[str, Any], compute: Callable[[], Columns]) -> Columns:
        """Return the columns of ``manifest``, computing and storing them as fp16 if there are none yet.

        Args:
            manifest: JSON values; ``rows`` is the number of rows that every column must have.
            compute: makes the columns, float (rows, any).

        Raises:
            ValueError: a stored file that is damaged or does not match, or a value that fp16 cannot hold.
            OSError: no space for the file.
        """

        def chunks(first: int) -> Iterable[Columns]:
            yield {name: column[first:] for name, column in compute().items()}

        return self.stream(manifest, chunks)

    def stream(self, manifest: Mapping[str, Any], chunks: Callable[[int], Iterable[Columns]]) -> Columns:
        """Return the columns of ``manifest`` as :meth:`get`, computed a few rows at a time.

        Args:
            manifest: as for :meth:`get`.
            chunks: called with a row; gives the columns of the rows from there on, piece by piece.
        """
        described = {"format": FORMAT, **manifest}
        text = json.dumps(described, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        if self.directory is None:
            if key not in self._memory:
                self._memory[key] = _collected(chunks(0))
            return self._memory[key]
        path = self.directory / f"features-{key}.safetensors"
        if not path.exists():
            begin = time.perf_counter()
            with ColumnFile(path, described["rows"], {"manifest": text}) as file:
                if not file.finished:
                    for columns in chunks(file.done):
                        file.append(columns)
                    file.finish()
                    _describe(path, described, time.perf_counter() - begin)
        return self._read(path, text, described)

    def _read(self, path: Path, text: str, described: Mapping[str, Any]) -> Columns:
        columns, metadata = load_file(path)
        advice = "delete it to have it made again"
        if metadata.get("manifest") != text:
            raise ValueError(f"feature cache {path} does not match its manifest; {advice}")
        for name, value in columns.items():
            if value.dtype != torch.float16 or value.ndim != 2 or value.shape[0] != described["rows"]:
                raise ValueError(
                    f"feature cache {path}: column {name} must be float16 with {described['rows']} rows, "
                    f"got {value.dtype} of shape {tuple(value.shape)}; {advice}"
                )
        status = path.stat()
        state = (status.st_mtime_ns, status.st_size)
        if self._checked.get(path) != state:
            beside = path.with_suffix(".json")
            if not beside.exists():
                _describe(path, described, None)
            try:
                found = json.loads(beside.read_text())
                checksum, seconds = found["crc32"], found["seconds"] or 0.0
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"manifest {beside} is damaged; delete it to have it made again") from None
            if checksum != _checksum(path):
                raise ValueError(f"feature cache {path} is damaged: its checksum differs; {advice}")
            self._checked[path] = state
            self.recorded_seconds += seconds
        return columns


def _collected(chunks: Iterable[Columns]) -> Columns:
    parts: dict[str, list[Tensor]] = {}
    for columns in chunks:
        for name, column in columns.items():
            parts.setdefault(name, []).append(to_half(column, name))
    return {name: columns[0] if len(columns) == 1 else torch.cat(columns) for name, columns in parts.items()}


def _describe(path: Path, described: Mapping[str, Any], seconds: float | None) -> None:
    """Write the manifest beside a file: what it is of, its statistics and its checksum."""
    columns, _ = load_file(path)
    whole = {
        **described,
        "columns": {name: _statistics(column) for name, column in columns.items()},
        "seconds": seconds,
        "bytes": path.stat().st_size,
        "crc32": _checksum(path),
    }
    write_json(path.with_suffix(".json"), whole)


def _statistics(column: Tensor) -> dict[str, Any]:
    """Width, least and largest value, and mean and deviation of each dimension."""
    total, squares = torch.zeros(2, column.shape[1], dtype=torch.float64)
    for rows in torch.split(column, _ROWS):
        total += rows.double().sum(0)
        squares += rows.double().square().sum(0)
    mean = total / len(column)
    deviation = (squares / len(column) - mean.square()).clamp_min(0).sqrt()
    return {
        "width": column.shape[1],
        "least": float(column.min()),
        "largest": float(column.max()),
        "mean": [float(f"{value:.6g}") for value in mean.tolist()],
        "deviation": [float(f"{value:.6g}") for value in deviation.tolist()],
    }


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            value = zlib.crc32(block, value)
    return value
