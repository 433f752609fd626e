"""Image-text pairs as feature arrays, with labels that only the evaluation reads, and their named splits."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.similarity import check_pairs
from dmth_fast.learning.weights import load_weights

__all__ = ["SPLITS", "PairSplit", "Pairs", "open_pairs", "read_wikipedia", "split_pairs"]

_KEYS = ("image", "text", "labels")


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Features of n image-text pairs.

    Attributes:
        image: float32 (n, d_i).
        text: float32 (n, d_t), bag of words or any other features.
        labels: int64 (n,) or bool (n, C); what is relevant to what in an evaluation, never seen in training.
        vocabulary: what the columns of ``text`` mean; empty where unknown.

    Raises:
        TypeError: features that are not floating point, or labels that are neither integers nor multi-hot.
        ValueError: modalities of different length, NaN or infinity, wrong shapes.

    >>> pairs = Pairs(image=torch.ones(2, 3), text=torch.eye(2), labels=torch.tensor([0, 1]))
    >>> len(pairs), pairs.num_unlabelled
    (2, 0)
    """

    image: Tensor
    text: Tensor
    labels: Tensor
    vocabulary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_pairs(self.image, self.text)
        shape = tuple(self.labels.shape)
        if self.labels.dtype not in (torch.int64, torch.bool):
            raise TypeError(
                f"labels must be int64 of shape (n,) or bool of shape (n, classes), got {self.labels.dtype}"
            )
        if self.labels.ndim != (1 if self.labels.dtype == torch.int64 else 2):
            raise ValueError(f"labels must be int64 of shape (n,) or bool of shape (n, classes), got {shape}")
        if len(self.labels) != len(self.image):
            raise ValueError(f"labels must have a row for each of the {len(self.image)} pairs, got {shape}")
        if self.vocabulary and len(self.vocabulary) != self.text.shape[1]:
            raise ValueError(
                f"vocabulary must name the {self.text.shape[1]} columns of text, "
                f"got {len(self.vocabulary)} names"
            )

    def __len__(self) -> int:
        return len(self.image)

    @property
    def num_unlabelled(self) -> int:
        """Pairs whose multi-hot label row is all zero; nothing is relevant to them."""
        return 0 if self.labels.ndim == 1 else int((~self.labels.any(dim=1)).sum())

    def select(self, index: Tensor) -> "Pairs":
        """The pairs at ``index`` (int64)."""
        return Pairs(
            image=self.image[index],
            text=self.text[index],
            labels=self.labels[index],
            vocabulary=self.vocabulary,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PairSplit:
    """Which pairs are queries, which are searched, which are trained on.

    Attributes:
        name: of the protocol.
        pairs: all of them.
        query: int64 positions; never in ``database`` or ``train``.
        database: int64 positions.
        train: int64 positions, a part of ``database``.
        images: of all pairs, where there are any to be shown.
    """

    name: str
    pairs: Pairs
    query: Tensor
    database: Tensor
    train: Tensor
    images: ImageSet | None = None

    def __post_init__(self) -> None:
        queries = set(self.query.tolist())
        for part, index in (("database", self.database), ("train", self.train)):
            if queries & set(index.tolist()):
                raise ValueError(f"split {self.name}: queries must not be in {part}")

    def held_out(self, count: int, seed: int) -> "PairSplit":
        """Queries drawn from the training pairs, which leave database and training; the set's own are unused.

        Raises:
            ValueError: no training pair would be left.
        """
        if not 1 <= count < len(self.train):
            raise ValueError(f"held_out must lie in 1..{len(self.train) - 1}, got {count}")
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))
        query = self.train[order[:count]].sort().values
        return PairSplit(
            name=f"{self.name}, {count} training pairs held out as queries",
            pairs=self.pairs,
            query=query,
            database=self.database[~torch.isin(self.database, query)],
            train=self.train[~torch.isin(self.train, query)],
            images=self.images,
        )

    @property
    def hash(self) -> str:
        """SHA-256 over the positions and labels of the three parts."""
        digest = hashlib.sha256(self.name.encode())
        for index in (self.query, self.database, self.train):
            digest.update(index.numpy().tobytes() + self.pairs.labels[index].numpy().tobytes())
        return digest.hexdigest()


def open_pairs(path: str | Path) -> Pairs:
    """Read ``image``, ``text`` and ``labels`` from an ``.npz``, ``.mat`` or ``.safetensors`` file.

    Features of any float type become float32. Labels are class ids (n,), a column (n, 1) or 0/1 rows (n, C);
    label rows without any label are kept and counted in :attr:`Pairs.num_unlabelled`.

    Raises:
        FileNotFoundError: no such file.
        ModuleNotFoundError: a ``.mat`` file without SciPy.
        TypeError: features or labels that are no numbers.
        ValueError: another suffix, keys that are missing (those there are named), or labels that are neither
            class ids nor 0/1.
    """
    arrays = read_arrays(path, _KEYS)
    image, text = (torch.from_numpy(_floats(arrays[key], key, path)) for key in ("image", "text"))
    return Pairs(image=image, text=text, labels=_labels(arrays["labels"], path))


def read_arrays(path: str | Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """Read named arrays of an ``.npz``, ``.mat`` or ``.safetensors`` file; errors as :func:`open_pairs`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"pairs file {path} does not exist")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, Any] = {key: archive[key] for key in archive.files}
    elif path.suffix == ".mat":
        arrays = _read_mat(path)
    elif path.suffix == ".safetensors":
        arrays = {key: value.numpy() for key, value in load_weights(path).items()}
    else:
        raise ValueError(f"pairs file must end in .npz, .mat or .safetensors, got {path}")
    if missing := [key for key in keys if key not in arrays]:
        raise ValueError(
            f"{path} must hold {', '.join(keys)}; it lacks {', '.join(missing)} and has {', '.join(arrays)}"
        )
    return {key: arrays[key] for key in keys}


def read_wikipedia(folder: str | Path) -> PairSplit:
    """Read the Wikipedia articles of Rasiwasia et al. (ACM MM 2010): 2,173 to train and search, 693 queries.

    Images are 128 visual-word frequencies, texts 10 topic probabilities, labels 10 categories.

    Raises:
        FileNotFoundError: ``raw_features.mat`` or a ``*_txt_img_cat.list`` file is missing.
        ModuleNotFoundError: SciPy is not installed.
        ValueError: the file lacks a key, or a list does not fit it.
    """
    root = Path(folder)
    arrays = read_arrays(root / "raw_features.mat", ("I_tr", "T_tr", "I_te", "T_te"))
    labels = torch.cat([_categories(root / f"{part}set_txt_img_cat.list") for part in ("train", "test")])
    image, text = (
        torch.from_numpy(np.concatenate([arrays[f"{side}_tr"], arrays[f"{side}_te"]]).astype(np.float32))
        for side in "IT"
    )
    train = len(arrays["I_tr"])
    database = torch.arange(train)
    return PairSplit(
        name="wikipedia",
        pairs=Pairs(image=image, text=text, labels=labels),
        query=torch.arange(train, len(image)),
        database=database,
        train=database,
    )


def mirflickr25k(labels: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split as DJSRH, DSAH and JDSH do: 160 queries of the first label and 80 of each other, 5,000 to train.

    400 and 200 pairs a label are drawn for training, the rest up to 5,000 from the whole database, which is
    all but the queries.
    """
    return _split_by_label(labels, seed, queries=(160, 80), training=(400, 200), train=5000)


def nus_wide(labels: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split as DJSRH, DSAH and JDSH do on the ten largest concepts: 200 queries, 500 to train a label."""
    return _split_by_label(labels, seed, queries=(200, 200), training=(500, 500), train=5000)


SPLITS: dict[str, Callable[[Tensor, int], tuple[Tensor, Tensor, Tensor]]] = {
    "mirflickr25k": mirflickr25k,
    "nus-wide": nus_wide,
}
"""Published protocols by name: from multi-hot labels (n, C) and a seed to (query, database, train)."""


def split_pairs(pairs: Pairs, protocol: str, *, seed: int) -> PairSplit:
    """Split pairs by a named protocol, or by ``fraction:F``: a seeded fraction are queries.

    Raises:
        ValueError: an unknown protocol, or labels it cannot use.

    >>> pairs = Pairs(image=torch.ones(8, 3), text=torch.eye(8), labels=torch.arange(8))
    >>> [len(part) for part in (lambda s: (s.query, s.database))(split_pairs(pairs, "fraction:0.25", seed=0))]
    [2, 6]
    """
    if protocol.startswith("fraction:"):
        try:
            fraction = float(protocol.removeprefix("fraction:"))
        except ValueError:
            raise ValueError(f"protocol must be fraction:F with a number F, got {protocol!r}") from None
        if not 0 < fraction < 1:
            raise ValueError(f"the fraction of queries must lie between 0 and 1, got {fraction}")
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
        count = max(1, round(fraction * len(pairs)))
        query, database = order[:count].sort().values, order[count:].sort().values
        return PairSplit(name=protocol, pairs=pairs, query=query, database=database, train=database)
    if protocol not in SPLITS:
        raise ValueError(f"protocol must be one of {', '.join(SPLITS)}, fraction:F; got {protocol!r}")
    query, database, train = SPLITS[protocol](pairs.labels, seed)
    return PairSplit(
        name=f"{protocol} (seed {seed})", pairs=pairs, query=query, database=database, train=train
    )


def _split_by_label(
    labels: Tensor, seed: int, *, queries: tuple[int, int], training: tuple[int, int], train: int
) -> tuple[Tensor, Tensor, Tensor]:
    if labels.ndim != 2:
        raise ValueError(
            f"this protocol needs multi-hot labels (n, classes), got shape {tuple(labels.shape)}"
        )
    generator = torch.Generator().manual_seed(seed)
    query, chosen = (torch.zeros(len(labels), dtype=torch.bool) for _ in range(2))
    for label in range(labels.shape[1]):
        free = torch.nonzero(labels[:, label] & ~query & ~chosen).flatten()
        free = free[torch.randperm(len(free), generator=generator)]
        first, count = queries[label > 0], training[label > 0]
        query[free[:first]] = True
        chosen[free[first : first + count]] = True
    rest = torch.nonzero(~query & ~chosen).flatten()
    more = max(0, train - int(chosen.sum()))
    chosen[rest[torch.randperm(len(rest), generator=generator)[:more]]] = True
    queried, searched, trained = (torch.nonzero(mask).flatten() for mask in (query, ~query, chosen))
    return queried, searched, trained


def _read_mat(path: Path) -> dict[str, Any]:
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f'reading {path} needs SciPy: pip install "dmth-fast[mat]"') from None
    try:
        content: Mapping[str, Any] = loadmat(path)
    except NotImplementedError:
        raise ValueError(
            f"{path} is a MATLAB 7.3 file: save it again with -v7, or as .npz or .safetensors"
        ) from None
    return {key: value for key, value in content.items() if not key.startswith("__")}


def _floats(array: Any, name: str, path: str | Path) -> Any:
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{path}: {name} must be numbers of shape (n, d), got {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.float32)


def _labels(array: Any, path: str | Path) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{path}: labels must be class ids or 0/1 rows, got {array.dtype}")
    if not np.all(np.equal(np.mod(array, 1), 0)) or array.min() < 0:
        raise ValueError(f"{path}: labels must be class ids or 0/1 rows, got other values")
    if array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if array.ndim == 1:
        return torch.from_numpy(array.astype(np.int64))
    if array.max() > 1:
        raise ValueError(f"{path}: labels of shape {array.shape} must be 0 or 1, got {array.max()}")
    return torch.from_numpy(array.astype(bool))


def _categories(path: Path) -> Tensor:
    if not path.is_file():
        raise FileNotFoundError(f"category list {path} does not exist")
    return torch.tensor([int(line.split()[2]) - 1 for line in path.read_text().splitlines() if line.strip()])
