"""Images that stay files until they are looked at."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from dmth_fast.learning.sources import ImageFile, decode

__all__ = ["DECODERS", "LazyImages"]

DECODERS = min(4, os.cpu_count() or 1)
"""Threads that decode at a time."""


class LazyImages:
    """Images that are decoded whenever they are indexed; stands in for a uint8 tensor (n, 3, size, size)."""

    dtype = torch.uint8

    def __init__(self, files: Sequence[ImageFile], size: tuple[int, int], resize: int | None) -> None:
        self.files = tuple(files)
        self.shape = torch.Size((len(self.files), 3, *size))
        self._resize = resize

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: "Tensor | slice") -> Tensor:
        """Decode the chosen images to uint8 (b, 3, h, w)."""
        chosen = torch.arange(len(self.files))[index].tolist()
        with ThreadPoolExecutor(DECODERS) as pool:
            return torch.stack(list(pool.map(lambda i: decode(self.files[i].read(), self._resize), chosen)))

    def subset(self, index: Tensor) -> "LazyImages":
        """Return the chosen images, still undecoded."""
        height, width = self.shape[2:]
        return LazyImages([self.files[i] for i in index.tolist()], (height, width), self._resize)
