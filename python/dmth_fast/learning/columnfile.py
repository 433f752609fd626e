"""A safetensors file of fp16 columns that is written row by row, and can be continued after a kill."""

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from dmth_fast.atomic import write_text

__all__ = ["ColumnFile", "to_half"]

_PROGRESS_SECONDS = 2.0
"""How often what is written is made sure of; a kill loses no more."""


class ColumnFile:
    """Context manager around one file under its temporary name, held by one process at a time.

    Space for the whole file is taken when the first rows come, so that a full disk is found at the start. If
    the block is left early, the rows so far stay for the next run; :meth:`finish` gives the file its name.

    Args:
        path: where the file shall stand.
        rows: of every column.
        metadata: written to the file's header; rows of other metadata are not continued.

    Attributes:
        done: rows that are written.
        finished: whether the file stands under its name, by this process or by another that was first.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import load_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.safetensors"
        ...     with ColumnFile(path, 3, {}) as file:
        ...         file.append({"x": torch.ones(2, 4)})
        ...         file.append({"x": torch.zeros(1, 4)})
        ...         file.finish()
        ...     load_file(path)["x"].sum(1).tolist()
        [4.0, 4.0, 0.0]
    """

    def __init__(self, path: Path, rows: int, metadata: Mapping[str, str]) -> None:
        self.path, self.rows, self._metadata = path, rows, dict(metadata)
        self._partial, self._progress = path.with_suffix(".partial"), path.with_suffix(".progress")
        self._widths: dict[str, int] = {}
        self.done, self.finished, self._saved = 0, False, 0.0

    def __enter__(self) -> "ColumnFile":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self._handle = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            # Another process that makes the same file is waited for, whatever becomes of its work.
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            self.finished = self.path.exists()
            same = os.fstat(self._handle)
            if self.finished or (self._partial.exists() and os.path.samestat(same, self._partial.stat())):
                break
            os.close(self._handle)
        if self.finished:
            self._drop_empty()
        else:
            self._continue()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self.finished and self.done:
                self._save()
            elif not self.finished:
                self._partial.unlink(missing_ok=True)
                self._progress.unlink(missing_ok=True)
        finally:
            os.close(self._handle)

    def append(self, columns: Mapping[str, Tensor]) -> None:
        """Write the next rows, float (n, width of the column).

        Raises:
            ValueError: a value that fp16 cannot hold, other columns than before, or too many rows.
            OSError: no space left.
        """
        halves = {name: to_half(column, name) for name, column in columns.items()}
        count = len(next(iter(halves.values())))
        widths = {name: int(half.shape[1]) for name, half in halves.items()}
        if not self._widths:
            self._begin(widths)
        if widths != self._widths or self.done + count > self.rows:
            raise ValueError(
                f"columns must be {self._widths} of {self.rows - self.done} rows at most, "
                f"got {widths} of {count}"
            )
        for name, half in halves.items():
            place = self._offsets[name] + 2 * self.done * widths[name]
            self._write(half.contiguous().numpy().tobytes(), place)
        self.done += count
        if time.monotonic() - self._saved > _PROGRESS_SECONDS:
            self._save()

    def finish(self) -> None:
        """Sync the file and give it its name.

        Raises:
            ValueError: rows are missing.
        """
        if self.done != self.rows:
            raise ValueError(f"{self.path.name} must have {self.rows} rows, got {self.done}")
        os.fsync(self._handle)
        self._partial.replace(self.path)
        self._progress.unlink(missing_ok=True)
        self.finished = True

    def _begin(self, widths: Mapping[str, int]) -> None:
        header = self._layout(widths)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._handle, 0, self._size)
            else:
                os.ftruncate(self._handle, self._size)
        except OSError as error:
            raise self._explained(error) from None
        self._write(header, 0)

    def _layout(self, widths: Mapping[str, int]) -> bytes:
        """Settle where each column stands; return the header."""
        entries: dict[str, object] = {"__metadata__": self._metadata} if self._metadata else {}
        end = 0
        starts = {}
        for name, width in widths.items():
            starts[name], end = end, end + 2 * self.rows * width
            entries[name] = {
                "dtype": "F16",
                "shape": [self.rows, width],
                "data_offsets": [starts[name], end],
            }
        text = json.dumps(entries).encode()
        text += b" " * (-len(text) % 8)
        first = 8 + len(text)
        self._widths = dict(widths)
        self._offsets = {name: first + start for name, start in starts.items()}
        self._size = first + end
        return len(text).to_bytes(8, "little") + text

    def _continue(self) -> None:
        """Take up the rows of an earlier run, if they are of this file."""
        try:
            progress = json.loads(self._progress.read_text())
            header = self._layout(progress["widths"])
            found = os.pread(self._handle, len(header), 0)
            if found == header and os.fstat(self._handle).st_size == self._size:
                self.done = int(progress["done"])
                return
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self._widths = {}
        os.ftruncate(self._handle, 0)

    def _save(self) -> None:
        # The rows first: what is said to be done must be there.
        os.fsync(self._handle)
        write_text(self._progress, json.dumps({"done": self.done, "widths": self._widths}))
        self._saved = time.monotonic()

    def _write(self, data: bytes, place: int) -> None:
        try:
            while data:
                written = os.pwrite(self._handle, data, place)
                data, place = data[written:], place + written
        except OSError as error:
            raise self._explained(error) from None

    def _explained(self, error: OSError) -> OSError:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return error
        # The rows so far are of no use to a disk that cannot hold the rest.
        self.done = 0
        os.ftruncate(self._handle, 0)
        free = shutil.disk_usage(self.path.parent).free
        return OSError(
            error.errno,
            f"no space to cache features: {self._size / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are "
            "free; free some, or set `cache` to a folder on another disk",
            str(self.path),
        )

    def _drop_empty(self) -> None:
        if os.fstat(self._handle).st_size == 0:
            self._partial.unlink(missing_ok=True)


def to_half(values: Tensor, name: str) -> Tensor:
    """Convert to fp16 on the CPU.

    Raises:
        ValueError: a value is NaN, infinite or beyond fp16's 65504.
    """
    half = values.detach().to(device="cpu", dtype=torch.float16)
    if not bool(torch.isfinite(half).all()):
        raise ValueError(
            f"column {name} holds values that are not finite in fp16 (largest {values.abs().max():.3g})"
        )
    return half
