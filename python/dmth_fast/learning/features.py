"""What frozen networks say about images, computed once: fp16 safetensors with a manifest, or memory."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dmth_fast.learning.weights import load_file, save_tensors

FORMAT = "dmth-fast-features-1"

Columns = dict[str, Tensor]


class FeatureCache:
    """Named columns of one row an image, found by a manifest that says how they came about.

    The manifest (weights, preprocessing, view, images) names the file, so anything that changes makes a new
    file, and equal runs share one. A file that contradicts its manifest is refused, never used.

    Args:
        directory: of the files; None keeps everything in memory.

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

    def get(self, manifest: Mapping[str, Any], compute: Callable[[], Columns]) -> Columns:
        """Return the columns of ``manifest``, computing and storing them as fp16 if there are none yet.

        Args:
            manifest: JSON values; ``rows`` is the number of rows that every column must have.
            compute: makes the columns, float (rows, any).

        Raises:
            ValueError: a stored file that is damaged or does not match, or a value that fp16 cannot hold.
        """
        described = {"format": FORMAT, **manifest}
        text = json.dumps(described, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        path = None if self.directory is None else self.directory / f"features-{key}.safetensors"
        if path is None and key in self._memory:
            return self._memory[key]
        if path is not None and path.exists():
            return self._read(path, text, described["rows"])
        columns = {name: to_half(value, name) for name, value in compute().items()}
        if path is None:
            self._memory[key] = columns
        else:
            save_tensors(path, columns, {"manifest": text})
        return columns

    @staticmethod
    def _read(path: Path, text: str, rows: int) -> Columns:
        columns, metadata = load_file(path)
        if metadata.get("manifest") != text:
            raise ValueError(
                f"feature cache {path} does not match its manifest; delete it to have it made again"
            )
        for name, value in columns.items():
            if value.dtype != torch.float16 or value.ndim != 2 or value.shape[0] != rows:
                raise ValueError(
                    f"feature cache {path}: column {name} must be float16 with {rows} rows, "
                    f"got {value.dtype} of shape {tuple(value.shape)}; delete it to have it made again"
                )
        return columns


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
