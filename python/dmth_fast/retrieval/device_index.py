"""A growing set of packed codes in the memory of a CUDA device."""

import numpy as np
import torch
from torch import Tensor

from dmth_fast.retrieval import cuda
from dmth_fast.retrieval.arguments import AnyArray, Array, describe, integer, is_tensor
from dmth_fast.retrieval.codes import MAX_BITS, num_bytes
from dmth_fast.retrieval.codes import checked_codes as checked_array
from dmth_fast.retrieval.collection import Collection, Generation
from dmth_fast.retrieval.ids import Ids, let_through
from dmth_fast.retrieval.index import Index
from dmth_fast.retrieval.search import RangeResult, SearchResult


class DeviceRows:
    """Rows in one tensor that doubles when full, where the device has so much left.

    Args:
        width: bytes of a code.
        device: where the rows are.
        capacity: rows that there is room for.
    """

    def __init__(self, width: int, device: torch.device, capacity: int) -> None:
        self._codes = torch.empty((capacity, width), dtype=torch.uint8, device=device)
        self._count = 0

    def __len__(self) -> int:
        """The number of rows."""
        return self._count

    @property
    def stored(self) -> Tensor:
        """All rows, not copied."""
        count = self._count
        return self._codes[:count]

    def add(self, codes: Tensor) -> None:
        """Append rows."""
        first, count = self._count, self._count + len(codes)
        if count > len(self._codes):
            try:
                grown = self._codes.new_empty((max(count, 2 * len(self._codes)), self._codes.shape[1]))
            except torch.OutOfMemoryError:
                grown = self._codes.new_empty((count, self._codes.shape[1]))
            grown[:first] = self._codes[:first]
            self._codes = grown
        self._codes[first:count] = codes.to(self._codes.device)
        self._count = count

    def rows(self, ids: Ids) -> Tensor:
        """A copy of the rows of these numbers."""
        numbers = torch.from_numpy(ids if ids.flags.writeable else ids.copy())
        return self._codes[numbers.to(self._codes.device)]

    def first(self, count: int) -> Tensor:
        """A copy of the first rows."""
        return self._codes[:count].clone()


class DeviceIndex:
    """An exact index whose codes and searches are on one device; in all else as the CPU's :class:`Index`.

    Queries are tensors on that device, and so are the results; both are those of the CPU's index, bit for
    bit. Ids are held on the host, and on the device too once a search has found some; both only where ids
    are not row numbers. Threads may share one as they share an Index, all on one stream of the device.

    Args:
        bits: bits of a code, 1 to 4096; every code and query is checked against it.
        device: where the codes are.

    Raises:
        TypeError: bits is not an integer.
        ValueError: bits out of range.

    >>> index = DeviceIndex(bits=4, device="cpu")  # holds codes anywhere, searches on CUDA devices
    >>> index.add(np.array([[0b0000], [0b0111]], dtype=np.uint8))
    array([0, 1])
    >>> index.add(np.array([[0b0001]], dtype=np.uint8), ids=np.array([9]))
    array([9])
    >>> index.remove(np.array([1]))
    >>> index.ids, index.rows().tolist()
    (array([0, 9]), [[0], [1]])
    """

    def __init__(self, bits: int, device: str | torch.device = "cuda") -> None:
        self._bits = integer(bits, "bits", 1, MAX_BITS)
        place = torch.device(device)
        if place.type == "cuda" and place.index is None:
            place = torch.device("cuda", torch.cuda.current_device())
        self._device, width = place, num_bytes(self._bits)
        self._rows = Collection(
            lambda capacity: DeviceRows(width, place, capacity), lambda parts: torch.cat(list(parts))
        )
        self._ids_there: tuple[Ids, Tensor] | None = None  # ids on the host and the device's copy

    @classmethod
    def _of(
        cls, codes: Array, bits: int, ids: Ids | None, next_id: int, *, device: str | torch.device
    ) -> "DeviceIndex":
        """The index of these rows, as :meth:`Index.to` hands them over."""
        index = cls(bits, device)
        store = DeviceRows(num_bytes(bits), index._device, len(codes))
        store.add(torch.from_numpy(codes))
        index._rows.restore(store, ids, next_id)
        return index

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self._bits

    @property
    def device(self) -> torch.device:
        """Where the codes are."""
        return self._device

    @property
    def ids(self) -> Array:
        """The ids in ascending order, (n,) int64, a NumPy array; a copy that cannot be written."""
        return self._rows.ids()

    def __len__(self) -> int:
        """The number of codes."""
        return len(self._rows)

    def __repr__(self) -> str:
        return f"DeviceIndex(bits={self._bits}, codes={len(self)}, device={str(self._device)!r})"

    def __copy__(self) -> "DeviceIndex":
        raise TypeError(
            "a DeviceIndex cannot be copied: bring it to the host by cpu(), and from there by to()"
        )

    def __deepcopy__(self, memo: object) -> "DeviceIndex":
        return self.__copy__()

    def __reduce__(self) -> str:
        raise TypeError(
            "a DeviceIndex cannot be pickled: cpu().save() it, and open() the file where it is wanted"
        )

    def cpu(self) -> Index:
        """A copy of this index in the host's memory, with the same ids."""
        codes, ids, next_id = self._rows.snapshot()
        return Index._of(codes.cpu().numpy(), self._bits, ids, next_id)

    def add(self, codes: AnyArray, ids: AnyArray | None = None) -> Array:
        """Store codes and return their ids, (n,) int64; as :meth:`Index.add`.

        Args:
            codes: (n, ceil(bits / 8)) uint8, an array or a tensor of any device, copied.
            ids: (n,) integers from 0 to 2**63 - 1 that no code has, an array or a tensor; by default those
                that follow the largest id ever used.

        Raises:
            TypeError: codes not uint8, or ids no integers.
            ValueError: wrong shape or dirty padding, or ids that are refused; the index is then unchanged.
        """
        # Moved before all else: codes that wait for their places are joined with what is on the device.
        if is_tensor(codes):
            rows = cuda.checked_codes(torch.as_tensor(codes), "codes", self._bits)
        else:
            array = checked_array(codes, "codes", self._bits)
            rows = torch.from_numpy(array if array.flags.writeable else array.copy())
        return self._rows.add(rows.to(self._device), ids)

    def remove(self, ids: AnyArray) -> None:
        """Remove the codes of these ids, (m,) integers; the others are copied. As :meth:`Index.remove`.

        Raises:
            TypeError: ids are not integers.
            ValueError: an id that comes twice.
            KeyError: an id that no code has; it is named, and the index is unchanged.
        """
        self._rows.remove(ids)

    def rows(self, ids: AnyArray | None = None) -> Tensor:
        """The codes of ``ids``, (m,) integers, or of all in ascending order of ids; a copy.

        Raises:
            TypeError: ids are not integers.
            KeyError: an id that no code has.
        """
        stored: Tensor = self._rows.rows(ids)
        return stored

    def search(
        self,
        queries: Tensor,
        k: int = 10,
        *,
        filter: AnyArray | None = None,  # noqa: A002 - as Index
    ) -> SearchResult:
        """The k codes nearest to each query.

        Args:
            queries: (q, ceil(bits / 8)) uint8 on the index's device.
            k: how many, >= 1; the result has at most as many columns as codes take part.
            filter: the codes that take part: (len(self),) bool tensor on the device, in ascending order of
                ids, or (m,) integer ids, an array or a tensor of any device; None for all. With a mask the
                device is waited for, to know how many codes that are; ids are looked up on the host.

        Raises:
            TypeError: wrong dtype.
            ValueError: wrong shape or value, or another device.
            KeyError: an id in the filter that no code has.
        """
        wanted, most = self._checked(queries), integer(k, "k", 1)
        generation = self._rows.settled()
        stored = generation.store.stored
        keep, allowed = self._taking_part(generation, filter, len(stored))
        distances, rows = cuda.search_rows(stored, wanted, min(most, allowed), keep=keep)
        return SearchResult(distances, self._ids_of(generation, rows))

    def range_search(
        self,
        queries: Tensor,
        radius: int,
        *,
        filter: AnyArray | None = None,  # noqa: A002 - as Index
    ) -> RangeResult:
        """All codes within ``radius``, inclusive; as :func:`dmth_fast.range_search`, ``filter`` as above."""
        wanted, limit = self._checked(queries), integer(radius, "radius", 0, self._bits)
        generation = self._rows.settled()
        stored = generation.store.stored
        keep, _ = self._taking_part(generation, filter, len(stored))
        offsets, distances, rows = cuda.range_search(stored, wanted, limit, keep=keep)
        return RangeResult(offsets, distances, self._ids_of(generation, rows))

    def _checked(self, queries: Tensor) -> Tensor:
        if not is_tensor(queries):
            raise TypeError(f"queries must be a tensor on {self._device}, got {type(queries).__name__}")
        wanted = cuda.checked_codes(queries, "queries", self._bits)
        if wanted.device != self._device:
            raise ValueError(f"queries must be on {self._device}, got a tensor on {wanted.device}")
        return wanted

    def _taking_part(
        self, generation: Generation[DeviceRows], selected: AnyArray | None, count: int
    ) -> tuple[Tensor | None, int]:
        """One bit a row on the device, or None for all of the ``count`` rows, and how many take part."""
        if selected is None:
            return None, count
        if is_tensor(selected) and selected.dtype == torch.bool:
            return self._mask(torch.as_tensor(selected), count)
        if getattr(selected, "dtype", None) == np.bool_:
            raise TypeError(f"a bool filter must be a tensor on {self._device}, got {describe(selected)}")
        selection = let_through(selected, generation.ids, count)
        if selection is None:
            return None, count
        bits = torch.from_numpy(np.packbits(selection.mask, bitorder="little"))
        return bits.to(self._device), len(selection)

    def _mask(self, selected: Tensor, count: int) -> tuple[Tensor, int]:
        """One bit a row, and how many rows take part."""
        if selected.shape != (count,) or selected.device != self._device:
            raise ValueError(
                f"filter must be bool of shape ({count},) on {self._device}, got shape "
                f"{tuple(selected.shape)} on {selected.device}"
            )
        padded = torch.zeros((-(-count // 8) * 8,), dtype=torch.uint8, device=self._device)
        padded[:count].copy_(selected)
        # In bytes and in place: a filter has as many as there are rows, and int64 eight times that.
        groups = padded.view(-1, 8)
        allowed = int(groups.sum(dim=1, dtype=torch.uint8).sum().item())
        groups *= torch.tensor([1 << bit for bit in range(8)], dtype=torch.uint8, device=self._device)
        return groups.sum(dim=1, dtype=torch.uint8), allowed

    def _ids_of(self, generation: Generation[DeviceRows], rows: Tensor) -> Tensor:
        """The ids of rows that were found; copied to the device where there are more than last time."""
        count, known = generation.known()
        if known is None:
            return rows
        held = self._ids_there
        if held is None or held[0] is not known or len(held[1]) < count:
            self._ids_there = held = known, torch.from_numpy(known[:count]).to(self._device)
        return held[1][rows]
