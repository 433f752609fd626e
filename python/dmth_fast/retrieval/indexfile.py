"""An index in a file: a checked profile of safetensors, read whole or mapped.

Tensors ``codes``, (n, ceil(bits / 8)) uint8 with zero padding, and, only where ids are not 0 to n - 1,
``ids``, (n,) int64, ascending from 0 or above; rows are in the order of ids. Metadata ``format``
("dmth_fast.index"), ``version`` ("1"), ``bits`` and ``next_id``, the id that the next code gets unless it is
given one: above all that were ever used, so that a removed id does not come back.
"""

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dmth_fast.atomic import writing
from dmth_fast.retrieval.arguments import Array
from dmth_fast.retrieval.codes import MAX_BITS, checked_codes
from dmth_fast.retrieval.ids import LARGEST, Ids, unless_row_numbers

FORMAT, VERSION = "dmth_fast.index", "1"
_KINDS = {"codes": ("U8", "u1", 2), "ids": ("I64", "<i8", 1)}  # dtype there and here, dimensions


class Contents(NamedTuple):
    """What an index file holds; arrays are read-only views of the mapped file."""

    codes: Array
    """Packed codes, (n, bytes) uint8, in the order of their ids."""
    bits: int
    """Bits of a code."""
    ids: Ids | None
    """(n,) int64, ascending; None where they are row numbers."""
    next_id: int
    """The id that the next code gets."""


def write_index(path: str | os.PathLike[str], codes: Array, bits: int, ids: Ids | None, next_id: int) -> None:
    """Write an index, whole or not at all; arguments as :class:`Contents` has them.

    Raises:
        ValueError: the path does not end in ``.safetensors``.
    """
    from safetensors.numpy import save_file

    target = _checked_suffix(path)
    tensors = {"codes": codes} if ids is None else {"codes": codes, "ids": ids}
    metadata = {"format": FORMAT, "version": VERSION, "bits": str(bits), "next_id": str(next_id)}
    with writing(target) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def read_index(path: str | os.PathLike[str]) -> Contents:
    """Map an index file and check all of it but the values of whole bytes of codes, which may be any.

    Padding bits and ids are read for that, codes of a multiple of 8 bits are not.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: a file that is damaged, of another kind or version, or whose tensors, ids, bits or next id
            are not as above. More metadata than these are passed over.
    """
    source = _checked_suffix(path)
    if source.is_dir():
        raise IsADirectoryError(f"an index must be a file, {source} is a folder")
    if not source.is_file():
        raise FileNotFoundError(f"no such file: {source}")
    try:
        header, data = _mapped(source)
        metadata = header.pop("__metadata__", None) or {}
        _check_format(metadata, header)
        bits = _number(metadata, "bits", 1, MAX_BITS)
        tensors = {name: _tensor(data, name, entry) for name, entry in header.items()}
        _check_spans([entry["data_offsets"] for entry in header.values()], len(data))
        codes = checked_codes(tensors["codes"], "codes", bits)
        ids = tensors.get("ids")
        if ids is not None:
            _check_ids(ids, len(codes))
        largest = len(codes) - 1 if ids is None or not len(ids) else int(ids[-1])
        next_id = _number(metadata, "next_id", largest + 1, LARGEST + 1)
    except ValueError as error:
        raise ValueError(f"{source} is not an index that can be opened: {error}") from None
    return Contents(codes, bits, None if ids is None else unless_row_numbers(ids), next_id)


def is_index(metadata: dict[str, str]) -> bool:
    """Whether the metadata of a safetensors file say that it is an index, of whatever version."""
    return metadata.get("format") == FORMAT


def _checked_suffix(path: str | os.PathLike[str]) -> Path:
    checked = Path(path)
    if checked.suffix != ".safetensors":
        raise ValueError(f"an index is a file ending in .safetensors, got {checked}")
    return checked


def _mapped(path: Path) -> tuple[dict[str, Any], Array]:
    """Header and data of a file that safetensors finds sound; its own arrays are copies, these are not."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise ValueError(f"not a readable .safetensors file: {error}") from None
    everything = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    begin = 8 + int.from_bytes(everything[:8].tobytes(), "little")
    header: dict[str, Any] = json.loads(everything[8:begin].tobytes())
    return header, everything[begin:]


def _check_format(metadata: dict[str, str], tensors: dict[str, Any]) -> None:
    found = metadata.get("format")
    if found is None and "codes" in tensors:
        raise ValueError(
            "it holds codes, but no index of them: add them to an Index, or make a file by `dmth-fast index`"
        )
    if found != FORMAT:
        raise ValueError(f"metadata 'format' must be {FORMAT!r}, got {found!r}")
    if metadata.get("version") != VERSION:
        raise ValueError(f"metadata 'version' must be {VERSION!r}, got {metadata.get('version')!r}")
    if not {"codes"} <= tensors.keys() <= _KINDS.keys():
        raise ValueError(f"tensors must be 'codes' and perhaps 'ids', got {sorted(tensors)}")


def _number(metadata: dict[str, str], name: str, least: int, most: int) -> int:
    text = metadata.get(name, "")
    if not re.fullmatch("0|[1-9][0-9]{0,18}", text) or not least <= int(text) <= most:
        raise ValueError(f"metadata {name!r} must be an integer from {least} to {most}, got {text[:40]!r}")
    return int(text)


def _tensor(data: Array, name: str, entry: dict[str, Any]) -> Array:
    kind, dtype, dimensions = _KINDS[name]
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    if entry["dtype"] != kind or len(shape) != dimensions:
        raise ValueError(
            f"tensor {name!r} must have dtype {kind} and {dimensions} dimension(s), got {entry['dtype']} of "
            f"shape {tuple(shape)}"
        )
    tensor: Array = data[begin:end].view(dtype).reshape(shape)
    return tensor


def _check_spans(spans: list[list[int]], size: int) -> None:
    """Tensors lie side by side from the first byte to the last."""
    end = 0
    for begin, following in sorted(spans):
        if begin != end or following < begin:
            raise ValueError(f"tensors must follow each other, one begins at byte {begin} and not {end}")
        end = following
    if end != size:
        raise ValueError(f"tensors must fill the file, they end at byte {end} of {size}")


def _check_ids(ids: Ids, count: int) -> None:
    if len(ids) != count:
        raise ValueError(f"tensor 'ids' must have an id for each of the {count} codes, got {len(ids)}")
    if count and ids[0] < 0:
        raise ValueError(f"ids must be 0 or above, got {ids[0]}")
    falls = np.flatnonzero(ids[1:] <= ids[:-1])
    if falls.size:
        before, after = ids[falls[0] : falls[0] + 2]
        raise ValueError(f"ids must ascend, got {before} before {after}")
