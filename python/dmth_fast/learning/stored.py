"""Features computed elsewhere, such as CLIP's or DINO's, as a teacher: rows of files matched to images."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dmth_fast.codefiles import read_names
from dmth_fast.learning.columnfile import to_half
from dmth_fast.learning.data import ImageSet, LazyImages
from dmth_fast.learning.features import Columns
from dmth_fast.learning.weights import file_hash, load_file

__all__ = ["PREFIX", "StoredFeatures"]

PREFIX = "features:"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """One file: its rows, and the row of each name if it has names."""

    path: Path
    rows: Tensor
    positions: dict[str, int] | None
    metadata: dict[str, str]


class StoredFeatures:
    """Pre-computed features as a teacher; it knows only the images of its files.

    A file is ``.npy`` (n, d), or ``.safetensors`` with the tensor ``features`` (n, d); fp16, bf16, fp32 or
    fp64. Its rows are matched to images

    * by name, if the safetensors metadata have ``names`` (a JSON list) or a text file of the same name with
      the suffix ``.txt`` lies beside it (one name a line, as ``dmth-fast encode --names`` writes it): any
      images whose names are all there;
    * else by order: it belongs to the first image set of exactly as many images that it is asked about, and
      refuses every other set.

    Rows are of the images as they are: every random view of an image has the same features. Safetensors
    metadata may carry ``seen`` (a JSON list), ``licence`` and ``preprocessing`` for the card.

    Args:
        source: ``features:FILE``; several files, one an image set, are separated by commas.
        root: folder that relative paths start from.
        name: in tables; by default the first file's name.
        seen: what the network was trained on; by default the file's own ``seen``.
        licence: of the network; by default the file's own.

    Raises:
        FileNotFoundError: no such file.
        TypeError: features that are not floating point.
        ValueError: no such format, other than two axes, values that are not finite, files of different
            width, or names that do not fit the rows.

    Example:
        >>> import tempfile
        >>> from dmth_fast.learning.data import from_array
        >>> images = from_array(np.zeros((2, 4, 4, 3), np.uint8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/clip.npy", np.eye(2, 512, dtype=np.float32))
        ...     teacher = StoredFeatures(f"features:{folder}/clip.npy", seen=["web"])
        ...     teacher.feature_dim, teacher.columns(images)["features"].shape
        (512, torch.Size([2, 512]))
    """

    live = False
    num_classes = 0
    num_parameters: int | None = None

    def __init__(
        self,
        source: str,
        *,
        root: Path | None = None,
        name: str | None = None,
        seen: Sequence[str] = (),
        licence: str = "",
    ) -> None:
        words = source.removeprefix(PREFIX)
        if not source.startswith(PREFIX) or not words:
            raise ValueError(f"stored features must look like {PREFIX}FILE, got {source!r}")
        paths = [(root or Path()) / word.strip() for word in words.split(",")]
        self._tables = [_read(path) for path in paths]
        widths = [int(table.rows.shape[1]) for table in self._tables]
        if len(set(widths)) != 1:
            raise ValueError(f"feature files must have one width, got {widths} in {words}")
        metadata = self._tables[0].metadata
        self.feature_dim = widths[0]
        self.name = name or paths[0].stem
        self.seen = tuple(seen) or tuple(json.loads(metadata.get("seen", "[]")))
        self.licence = licence or metadata.get("licence", "")
        self._preprocessing = metadata.get("preprocessing", "")
        self._hashes = [file_hash(path) for path in paths]
        self._bound: dict[int, str] = {}
        self._found: dict[str, Columns] = {}
        self._met: dict[tuple[int, str, tuple[int, ...]], bytes] = {}

    @property
    def card(self) -> dict[str, Any]:
        """Return what a saved student says of this teacher."""
        return {
            "name": self.name,
            "seen": list(self.seen),
            "licence": self.licence,
            "classes": None,
            "labels": None,
            "preprocessing": self._preprocessing,
            **self.identity,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides its outputs."""
        return {"backbone": f"{PREFIX}{self._tables[0].path.name}", "weights": self._hashes}

    def named(self, classes: Sequence[str]) -> int:
        """Return 0: features name none of ``classes``."""
        del classes
        return 0

    def columns(
        self,
        images: ImageSet,
        num_classes: int = 0,
        show: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Columns:
        """Return ``features`` fp16 (n, feature_dim) of the images, whatever the view.

        Raises:
            ValueError: images that no file has, or that more than one has; an image whose name another image
                had, of the same size and with other pixels.
        """
        del num_classes, show
        key = images.content_hash() + images.split_hash()
        if key not in self._found:
            found = [k for k, table in enumerate(self._tables) if self._fits(k, table, images)]
            if len(found) != 1:
                raise ValueError(self._refusal(images, found))
            table = self._tables[found[0]]
            if table.positions is None:
                self._bound[found[0]] = images.content_hash()
                rows = table.rows
            else:
                self._refuse_namesakes(found[0], images)
                rows = table.rows[torch.tensor([table.positions[name] for name in images.names])]
            self._found[key] = {"features": to_half(rows, f"features of {table.path}")}
        return self._found[key]

    def _refuse_namesakes(self, k: int, images: ImageSet) -> None:
        """A row belongs to one image: two folders may both have a ``cat/1.jpg``."""
        for name, image in zip(images.names, _image_hashes(images), strict=True):
            if self._met.setdefault((k, name, images.size), image) != image:
                raise ValueError(
                    f"teacher {self.name}: {self._tables[k].path} has one row for {name}, but another image "
                    "of that name was asked about before: give each set a file of its own"
                )

    def _fits(self, k: int, table: _Table, images: ImageSet) -> bool:
        if table.positions is not None:
            return all(name in table.positions for name in images.names)
        return len(table.rows) == len(images) and self._bound.get(k) in (None, images.content_hash())

    def _refusal(self, images: ImageSet, found: list[int]) -> str:
        which = f"{len(images)} images ({images.names[0]}, ...)"
        if found:
            paths = ", ".join(str(self._tables[k].path) for k in found)
            return f"teacher {self.name}: more than one file has features of these {which}: {paths}"
        reasons = []
        for k, table in enumerate(self._tables):
            rows = len(table.rows)
            if table.positions is not None:
                absent = [name for name in images.names if name not in table.positions]
                reasons.append(
                    f"{table.path} has no row for {len(absent)} of the names (first: {absent[0]!r})"
                )
            elif rows == len(images) and k in self._bound:
                reasons.append(f"{table.path} has no names and belongs to another set of {rows} images")
            else:
                reasons.append(
                    f"{table.path} has {rows} rows and no names: write a row an image in order, or the "
                    f"names to {_beside(table.path)}"
                )
        return f"teacher {self.name} has no features of these {which}: {'; '.join(reasons)}"


def _image_hashes(images: ImageSet) -> Iterator[bytes]:
    """What tells each image from others: its pixels, or its file if it is decoded lazily."""
    if isinstance(images.images, LazyImages):
        yield from (hashlib.blake2b(file.fingerprint().encode()).digest() for file in images.images.files)
    else:
        pixels = images.images.contiguous().numpy()
        yield from (hashlib.blake2b(image.data, digest_size=16).digest() for image in pixels)


def _beside(path: Path) -> Path:
    return path.with_suffix(".txt")


def _read(path: Path) -> _Table:
    metadata: dict[str, str] = {}
    if path.suffix == ".npy":
        if not path.is_file():
            raise FileNotFoundError(f"features {path} do not exist")
        try:
            array = np.load(path, mmap_mode="c", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"features {path} is no whole .npy file of numbers: {error}") from None
        if array.dtype.kind != "f" or not array.dtype.isnative:
            raise TypeError(f"features {path} must be floating point in native byte order, got {array.dtype}")
        rows = torch.from_numpy(np.ascontiguousarray(array))
    elif path.suffix == ".safetensors":
        tensors, metadata = load_file(path)
        if "features" not in tensors:
            raise ValueError(f"features {path} must hold the tensor 'features', got {', '.join(tensors)}")
        rows = tensors["features"]
        if not rows.is_floating_point():
            raise TypeError(f"features {path} must be floating point, got {rows.dtype}")
    else:
        raise ValueError(f"features must be a .npy or .safetensors file, got {path}")
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"features {path} must have shape (n, d), got {tuple(rows.shape)}")
    names: list[str] | None = None
    if "names" in metadata:
        names = json.loads(metadata["names"])
    elif _beside(path).is_file():
        names = read_names(_beside(path))
    if names is None:
        return _Table(path=path, rows=rows, positions=None, metadata=metadata)
    positions = {name: i for i, name in enumerate(names)}
    if len(names) != len(rows) or len(positions) != len(names):
        raise ValueError(
            f"features {path} must have one unique name a row ({len(rows)}), got {len(names)} names, "
            f"{len(positions)} of them different"
        )
    return _Table(path=path, rows=rows, positions=positions, metadata=metadata)
