"""Codes, labels and ids on disk: ``.npy``, ``.safetensors``, and text for all but codes. Never pickle."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmth_fast.atomic import write_text, writing
from dmth_fast.retrieval.arguments import describe, integer
from dmth_fast.retrieval.codes import MAX_BITS, checked_codes
from dmth_fast.retrieval.ids import LARGEST
from dmth_fast.retrieval.indexfile import is_index, read_index

__all__ = [
    "CodeFile",
    "check_names",
    "is_index_file",
    "read_codes",
    "read_ids",
    "read_label_pair",
    "read_labels",
    "read_names",
    "write_arrays",
    "write_codes",
]

Labels = NDArray[Any]


class CodeFile(NamedTuple):
    """Packed codes and what their file says about them."""

    codes: NDArray[np.uint8]
    """Packed codes, uint8 of shape (n, ceil(bits / 8))."""
    bits: int
    """Width of a code: as asked for, as stored beside the codes, or eight times their bytes."""
    labels: Labels | None
    """Labels stored beside the codes (``.safetensors`` only)."""
    ids: NDArray[np.int64] | None = None
    """(n,) ascending ids of the codes of an index; ``None`` where they are row numbers."""


def read_codes(path: str | os.PathLike[str], *, bits: int | None = None) -> CodeFile:
    """Read packed codes.

    Args:
        path: A ``.npy`` file holding a uint8 array of shape (n, bytes), or a ``.safetensors`` file with such
            a tensor named ``codes`` (and optionally ``labels`` and the metadata ``bits``), or an index that
            :meth:`dmth_fast.Index.save` wrote, which is mapped and checked as one.
        bits: Width of a code; ``None`` takes the stored one, or else eight times the bytes.

    Returns:
        The codes, their width and the labels or ids stored beside them.

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: The array is not uint8.
        ValueError: Another suffix, a file that is no such array, another shape, ``bits`` that do not fit, or
            another number of labels than of codes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_codes(Path(folder) / "c.npy", np.array([[3, 1]], dtype=np.uint8))
    ...     read_codes(Path(folder) / "c.npy").bits
    16
    """
    path = _existing(path, (".npy", ".safetensors"), "codes")
    labels: Labels | None = None
    ids: NDArray[np.int64] | None = None
    stored: int | None = None
    if path.suffix == ".npy":
        codes = _load_npy(path)
    elif is_index_file(path):
        codes, stored, ids, _ = read_index(path)
    else:
        tensors, metadata = _load_safetensors(path)
        if "codes" not in tensors:
            raise ValueError(f"{path} must hold a tensor named 'codes', it holds {sorted(tensors)}")
        codes, labels = tensors["codes"], tensors.get("labels")
        stored = _stored_bits(path, metadata)
    shape = f"{codes.dtype} of shape {codes.shape}"
    if codes.dtype != np.uint8:
        hint = "; pack real values first (dmth_fast.pack)" if codes.dtype.kind in "fb" else ""
        raise TypeError(f"{path} must hold packed codes, uint8 of shape (n, bytes), got {shape}{hint}")
    if codes.ndim != 2 or codes.shape[1] == 0:
        raise ValueError(f"{path} must hold packed codes, uint8 of shape (n, bytes), got {shape}")
    if bits is not None and stored is not None and bits != stored:
        raise ValueError(f"{path} says that its codes have {stored} bits, got --bits {bits}")
    width = bits if bits is not None else stored
    width = 8 * codes.shape[1] if width is None else width
    if (width + 7) // 8 != codes.shape[1]:
        raise ValueError(f"{width} bits need {(width + 7) // 8} bytes a code, {path} has {codes.shape[1]}")
    if labels is not None and labels.shape[:1] != codes.shape[:1]:
        raise ValueError(
            f"{path} must hold a label for each of its {len(codes)} codes, got {describe(labels)}"
        )
    return CodeFile(np.ascontiguousarray(codes), width, labels, ids)


def is_index_file(path: str | os.PathLike[str]) -> bool:
    """Whether a ``.safetensors`` file says that it is an index; False for all other files.

    Raises:
        ValueError: A ``.safetensors`` file that cannot be read.
    """
    path = Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    with _safetensors(path) as file:
        return is_index(file.metadata() or {})


def write_codes(
    path: str | os.PathLike[str],
    codes: NDArray[np.uint8],
    *,
    bits: int | None = None,
    labels: Labels | None = None,
) -> None:
    """Write packed codes, whole or not at all.

    Args:
        path: ``.npy`` (the codes alone) or ``.safetensors`` (with their width, and labels where given).
        codes: Packed codes, uint8 of shape (n, bytes).
        bits: Width of a code; ``None`` means eight times the bytes. Stored in ``.safetensors``; a ``.npy``
            has no room for it, so that :func:`read_codes` must be told a width that is no multiple of 8.
        labels: Stored beside the codes in ``.safetensors``, one a code.

    Raises:
        TypeError: Codes that are not uint8, or ``bits`` that are no integer.
        ValueError: Another suffix, labels for ``.npy``, which has no room for them, another number of labels
            than of codes, codes of another shape or width, or padding bits that are not zero.
    """
    target = Path(path)
    codes = checked_codes(codes, "codes", None if bits is None else integer(bits, "bits", 1, MAX_BITS))
    if target.suffix == ".npy" and labels is not None:
        raise ValueError(
            f"a .npy file holds codes alone; name {target} .safetensors to keep labels beside them"
        )
    if labels is not None and labels.shape[:1] != codes.shape[:1]:
        raise ValueError(f"labels must be one for each of the {len(codes)} codes, got {describe(labels)}")
    arrays = {"codes": codes} if labels is None else {"codes": codes, "labels": labels}
    write_arrays(target, arrays, metadata={"bits": str(8 * codes.shape[1] if bits is None else bits)})


def write_arrays(
    path: str | os.PathLike[str], arrays: dict[str, NDArray[Any]], *, metadata: dict[str, str] | None = None
) -> None:
    """Write named arrays to ``.npz`` or ``.safetensors``, or a single one to ``.npy``, whole or not at all.

    Raises:
        ValueError: Another suffix, or several arrays for ``.npy``.
    """
    target = Path(path)
    known = (".npy", ".npz", ".safetensors") if len(arrays) == 1 else (".npz", ".safetensors")
    check_suffix(target, known)
    with writing(target) as temporary:
        if target.suffix == ".npy":
            np.save(temporary, next(iter(arrays.values())), allow_pickle=False)
        elif target.suffix == ".npz":
            np.savez(temporary, **arrays)  # type: ignore[arg-type]  # its stub takes no **
        else:
            from safetensors.numpy import save_file

            contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
            save_file(contiguous, temporary, metadata=metadata)


def check_suffix(path: Path, known: Sequence[str]) -> None:
    """Refuse a file to be written whose suffix names no format we write; to be called before the work."""
    if path.suffix not in known:
        raise ValueError(f"{path} must end in {' or '.join(known)}, got {path.suffix or 'no suffix'!r}")


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Read labels.

    Args:
        path: ``.npy`` or ``.safetensors`` (tensor ``labels``): integer class ids of shape (n,) or multi-hot
            of shape (n, C); or ``.txt`` or ``.csv``, one label a line: integers, or names.

    Returns:
        The array as stored; text gives int64 of shape (n,), or strings of shape (n,) where not all are
        integers.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file that is no such array, or text with an empty line, with several columns or numbers
            in a line, or with an integer beyond 64 bits.
    """
    path = _existing(path, (".npy", ".safetensors", ".txt", ".csv"), "labels")
    if path.suffix == ".npy":
        return _load_npy(path)
    if path.suffix == ".safetensors":
        tensors, _ = _load_safetensors(path)
        if "labels" not in tensors:
            raise ValueError(f"{path} must hold a tensor named 'labels', it holds {sorted(tensors)}")
        return tensors["labels"]
    return _text_labels(path, read_names(path))


def _text_labels(path: Path, lines: list[str]) -> Labels:
    for number, line in enumerate(lines, start=1):
        if "," in line and (path.suffix == ".csv" or re.fullmatch(r"[\d\s,+-]+", line)):
            raise ValueError(
                f"{path} must have one label a line, line {number} has several columns: {line!r}; several "
                "labels an item go as multi-hot rows into a .npy file"
            )
    try:
        ids = [int(line) for line in lines]
    except ValueError:
        return np.array(lines)
    for number, value in enumerate(ids, start=1):
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{path} must hold class ids below 2**63, line {number} has {value}")
    return np.array(ids, dtype=np.int64)


def read_ids(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read ids of codes.

    Args:
        path: ``.npy``, any array, or ``.txt``, one integer from 0 to 2**63 - 1 a line.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file that is no such array, or a line that is no such integer.
    """
    path = _existing(path, (".npy", ".txt"), "ids")
    if path.suffix == ".npy":
        return _load_npy(path)
    lines = read_names(path)
    for number, line in enumerate(lines, start=1):
        if not re.fullmatch("[0-9]{1,19}", line) or int(line) > LARGEST:
            raise ValueError(f"{path} must have an id from 0 to 2**63 - 1 a line, line {number} has {line!r}")
    return np.array([int(line) for line in lines], dtype=np.int64)


def read_label_pair(
    queries: str | os.PathLike[str], database: str | os.PathLike[str]
) -> tuple[Labels, Labels]:
    """Read the labels of queries and database; names are given the same class ids in both.

    Raises:
        FileNotFoundError: One of the files is missing.
        TypeError: One file has names and the other numbers.
        ValueError: As :func:`read_labels`.
    """
    first, second = read_labels(queries), read_labels(database)
    named = first.dtype.kind in "US", second.dtype.kind in "US"
    if named[0] != named[1]:
        kinds = ["names" if name else "numbers" for name in named]
        raise TypeError(
            f"both label files must hold numbers or both names: {queries} holds {kinds[0]}, "
            f"{database} holds {kinds[1]}"
        )
    if named[0]:
        _, ids = np.unique(np.concatenate([first, second]), return_inverse=True)
        ids = ids.reshape(-1).astype(np.int64)
        return ids[: len(first)], ids[len(first) :]
    return first, second


def read_names(path: str | os.PathLike[str]) -> list[str]:
    """Read one name a line, without blanks around it; a byte order mark at the beginning is no part of it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: An empty line, or bytes that are not UTF-8.
    """
    path = _existing(path, None, "names")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text, one entry a line: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise ValueError(f"{path} must have one entry a line, line {number} of {len(lines)} is empty")
    return [line.strip() for line in lines]


def write_names(path: str | os.PathLike[str], names: Sequence[str]) -> None:
    """Write one name a line, whole or not at all.

    Raises:
        ValueError: A name that :func:`check_names` refuses.
    """
    check_names(names)
    write_text(path, "".join(f"{name}\n" for name in names))


def check_names(names: Sequence[str]) -> None:
    """Refuse names that :func:`read_names` would not give back; to be called before the work.

    Raises:
        ValueError: An empty name, or one with a line break, blanks around it or a byte order mark before it.
    """
    for row, name in enumerate(names):
        if name != name.strip() or len(name.splitlines()) != 1 or name.startswith("\ufeff"):
            raise ValueError(
                f"names must be one line of text without blanks around it, got {name!r} for row {row}"
            )


def _existing(path: str | os.PathLike[str], suffixes: Sequence[str] | None, what: str) -> Path:
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{what} must be a file, {path} is a folder")
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if suffixes is not None and path.suffix not in suffixes:
        raise ValueError(f"{what} must be a file ending in {', '.join(suffixes)}, got {path}")
    return path


def _load_npy(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
    except Exception as error:  # a damaged header is parsed as Python, and fails in as many ways
        raise ValueError(f"{path} is not a readable .npy array: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, np.ndarray):
        raise ValueError(f"{path} must hold one array, it is an archive of {sorted(loaded.files)}")
    return loaded


@contextmanager
def _safetensors(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a readable .safetensors file: {error}") from None


def _load_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    with _safetensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _stored_bits(path: Path, metadata: dict[str, str]) -> int | None:
    if "bits" not in metadata:
        return None
    if not re.fullmatch("[1-9][0-9]{0,3}", metadata["bits"]) or int(metadata["bits"]) > MAX_BITS:
        raise ValueError(
            f"{path}: metadata 'bits' must be an integer from 1 to {MAX_BITS}, got {metadata['bits']!r}"
        )
    return int(metadata["bits"])
