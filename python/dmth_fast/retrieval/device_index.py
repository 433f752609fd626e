"""A growing set of packed codes in the memory of a CUDA device."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dmth_fast.retrieval import cuda
from dmth_fast.retrieval.arguments import AnyArray, Array, integer, is_tensor
from dmth_fast.retrieval.codes import MAX_BITS, num_bytes
from dmth_fast.retrieval.codes import checked_codes as checked_array
from dmth_fast.retrieval.index import Index
from dmth_fast.retrieval.search import RangeResult, SearchResult


class DeviceIndex:
    """An exact index whose codes and searches are on one device; ids are row numbers in the order of adding.

    Codes are held in one tensor that doubles when full, where the device has so much left. Queries are
    tensors on that device, and so are the results; both are those of the CPU's index, bit for bit.

    Args:
        bits: bits of a code, 1 to 4096; every code and query is checked against it.
        device: where the codes are.

    Raises:
        TypeError: bits is not an integer.
        ValueError: bits out of range.

    >>> index = DeviceIndex(bits=4, device="cpu")  # holds codes anywhere, searches on CUDA devices
    >>> index.add(np.array([[0b0000], [0b0111]], dtype=np.uint8))
    array([0, 1])
    >>> len(index), index.rows().tolist()
    (2, [[0], [7]])
    """

    def __init__(self, bits: int, device: str | torch.device = "cuda") -> None:
        self._bits = integer(bits, "bits", 1, MAX_BITS)
        self._device = torch.device(device)
        if self._device.type == "cuda" and self._device.index is None:
            self._device = torch.device("cuda", torch.cuda.current_device())
        self._store = torch.empty((0, num_bytes(self._bits)), dtype=torch.uint8, device=self._device)
        self._count = 0

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self._bits

    @property
    def device(self) -> torch.device:
        """Where the codes are."""
        return self._device

    def __len__(self) -> int:
        """The number of codes."""
        return self._count

    def __repr__(self) -> str:
        return f"DeviceIndex(bits={self._bits}, codes={self._count}, device={str(self._device)!r})"

    def cpu(self) -> Index:
        """A copy of this index in the host's memory, with the same ids."""
        moved = Index(self._bits)
        moved.add(self.rows().cpu().numpy())
        return moved

    def add(self, codes: AnyArray) -> Array:
        """Append codes and return their ids, (n,) int64.

        Args:
            codes: (n, ceil(bits / 8)) uint8, an array or a tensor of any device, copied.

        Raises:
            TypeError: not uint8.
            ValueError: wrong shape or dirty padding; the index is then unchanged.
        """
        if is_tensor(codes):
            rows = cuda.checked_codes(torch.as_tensor(codes), "codes", self._bits)
        else:
            array = checked_array(codes, "codes", self._bits)
            rows = torch.from_numpy(array if array.flags.writeable else array.copy())
        first, count = self._count, self._count + len(rows)
        if count > len(self._store):
            try:
                grown = self._store.new_empty((max(count, 2 * len(self._store)), self._store.shape[1]))
            except torch.OutOfMemoryError:
                grown = self._store.new_empty((count, self._store.shape[1]))
            grown[:first] = self._store[:first]
            self._store = grown
        self._store[first:count] = rows.to(self._device)
        self._count = count
        return np.arange(first, count, dtype=np.int64)

    def rows(self, ids: Tensor | None = None) -> Tensor:
        """The stored codes of ``ids``, (m,) int64 on any device, or all of them in order; a copy.

        Raises:
            IndexError: an id that is not stored.
        """
        stored = self._store[: self._count]
        if ids is None:
            return stored.clone()
        wrong = ids[(ids < 0) | (ids >= self._count)]
        if wrong.numel():
            raise IndexError(f"ids must be in [0, {self._count}), got {int(wrong[0])}")
        return stored[ids.to(self._device)]

    def search(self, queries: Tensor, k: int = 10, *, filter: Any = None) -> SearchResult:  # noqa: A002 - as Index
        """The k codes nearest to each query.

        Args:
            queries: (q, ceil(bits / 8)) uint8 on the index's device.
            k: how many, >= 1; the result has at most as many columns as rows take part.
            filter: (len(self),) bool tensor on the device: the rows that take part; None for all. With a
                filter the device is waited for, to know how many rows that are.

        Raises:
            TypeError: wrong dtype.
            ValueError: wrong shape or value, or another device.
        """
        wanted, count = self._checked(queries), min(integer(k, "k", 1), self._count)
        keep = None
        if filter is not None:
            keep, allowed = self._mask(filter)
            count = min(count, allowed)
        return SearchResult(*cuda.search_rows(self._store[: self._count], wanted, count, keep=keep))

    def range_search(self, queries: Tensor, radius: int) -> RangeResult:
        """All codes within ``radius``, inclusive; as :func:`dmth_fast.range_search`."""
        found = cuda.range_search(
            self._store[: self._count],
            self._checked(queries),
            integer(radius, "radius", 0, self._bits),
        )
        return RangeResult(*found)

    def _checked(self, queries: Tensor) -> Tensor:
        if not is_tensor(queries):
            raise TypeError(f"queries must be a tensor on {self._device}, got {type(queries).__name__}")
        wanted = cuda.checked_codes(queries, "queries", self._bits)
        if wanted.device != self._device:
            raise ValueError(f"queries must be on {self._device}, got a tensor on {wanted.device}")
        return wanted

    def _mask(self, selected: Any) -> tuple[Tensor, int]:
        """One bit a row, and how many rows take part."""
        expected = f"filter must be bool of shape ({self._count},) on {self._device}"
        if not is_tensor(selected) or selected.dtype != torch.bool:
            raise TypeError(f"{expected}, got {getattr(selected, 'dtype', type(selected).__name__)}")
        if selected.shape != (self._count,) or selected.device != self._device:
            raise ValueError(f"{expected}, got shape {tuple(selected.shape)} on {selected.device}")
        padded = torch.zeros((-(-self._count // 8) * 8,), dtype=torch.uint8, device=self._device)
        padded[: self._count].copy_(selected)
        # In bytes and in place: a filter has as many as there are rows, and int64 eight times that.
        groups = padded.view(-1, 8)
        count = int(groups.sum(dim=1, dtype=torch.uint8).sum().item())
        groups *= torch.tensor([1 << bit for bit in range(8)], dtype=torch.uint8, device=self._device)
        return groups.sum(dim=1, dtype=torch.uint8), count
