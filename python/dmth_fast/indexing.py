"""The ``index`` command: codes and ids in files, an index in a file."""

import sys
from pathlib import Path

import numpy as np

from dmth_fast import codefiles

__all__ = ["run"]


def run(codes: Path, *, out: Path, ids: Path | None, bits: int | None) -> None:
    """Write the index of ``codes`` and say what was written.

    Args:
        codes: Packed codes, ``.npy`` or ``.safetensors``.
        out: Where :meth:`dmth_fast.Index.save` writes it, ``.safetensors``.
        ids: Ids of the codes, ``.npy`` or ``.txt``, in their order; ``None`` numbers them.
        bits: Width of a code; ``None`` takes the stored one, or eight times the bytes.

    Raises:
        FileNotFoundError: No such file.
        TypeError: Codes of another type, or ids that are no integers.
        ValueError: Codes that do not fit, ids that do not, or an index in place of codes; the file or option
            is named.
    """
    from dmth_fast.retrieval.codes import checked_codes
    from dmth_fast.retrieval.index import Index

    codefiles.check_suffix(out, (".safetensors",))
    stored = codefiles.read_codes(codes, bits=bits)
    if codefiles.is_index_file(codes):
        raise ValueError(f"{codes} must hold codes alone, it is an index already")
    index = Index(stored.bits)
    packed = checked_codes(stored.codes, f"the codes of {codes}", stored.bits)
    given = None if ids is None else codefiles.read_ids(ids)
    try:
        numbers = index.add(packed, given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"--ids {ids}: {error}") from None
    index.save(out)
    named = f", ids {numbers.min()} to {numbers.max()}" if len(numbers) else ""
    print(f"{len(index):,} codes of {index.bits} bits{named}: {out}")
    if stored.labels is not None:
        print(f"an index holds no labels: those of {codes} are left out", file=sys.stderr)
    if (np.diff(numbers) < 0).any():
        print(
            "codes are in the order of their ids now, and so must be names and labels of them",
            file=sys.stderr,
        )
