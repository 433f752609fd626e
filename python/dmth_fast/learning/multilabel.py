"""Images with any number of labels: the sets by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dmth_fast import evaluate
from dmth_fast.comparison import Floats
from dmth_fast.learning.cifar100 import SUPERCLASSES, graded_labels
from dmth_fast.learning.config import at_least, one_of
from dmth_fast.learning.corel5k import read_corel5k
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.labelfiles import label_rows, read_labelled, vocabulary
from dmth_fast.learning.protocols import DataConfig, open_split

__all__ = ["COLUMNS", "METRIC", "MultiLabelConfig", "MultiLabelSplit", "graded_figures", "open_multilabel"]

METRIC = (
    "mAP@all; mAP@1000, divided by the relevant among them; NDCG, ACG and WAP@100 of the number of shared "
    "labels; all expected over ties"
)
COLUMNS = ("map", "map_1000", "ndcg_100", "acg_100", "wap_100")


@dataclass(frozen=True, kw_only=True)
class MultiLabelConfig:
    """Where images with several labels come from.

    Attributes:
        source: ``files`` (any images, see :func:`~dmth_fast.learning.labelfiles.read_labelled`: the parts
            ``database`` and ``query``), ``corel5k`` (keywords), ``cifar100`` (class and superclass), or
            ``digits`` (a toy: the digit, whether it is even, and whether it is below five).
        root: folder that relative paths start from; None takes ``DMTH_FAST_DATA``, else the working folder.
        folder: of the set, below ``root``; None: the source's name.
        size: side of the images in pixels.
        minimum: database images that a label of ``files`` or ``corel5k`` must have to be kept.
        seed: of the split, where it is drawn.
        held_out: so many database images, drawn by the seed, are the queries in place of the set's own: for
            the choice of settings, or where ``files`` have no queries.
    """

    source: str
    root: str | None = None
    folder: str | None = None
    size: int = 160
    minimum: int = 5
    seed: int = 0
    held_out: int = 0

    def __post_init__(self) -> None:
        one_of("source", self.source, SOURCES)
        at_least("size", self.size, 1)
        at_least("minimum", self.minimum, 1)
        at_least("seed", self.seed, 0)
        at_least("held_out", self.held_out, 0)

    @property
    def protocol(self) -> str | None:
        """The named protocol that says which networks may take part; None where no rule is known."""
        return "cifar100-20k" if self.source == "cifar100" else None


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiLabelSplit:
    """Queries and database with their label rows; the database is trained on where a row has a label.

    Attributes:
        name: of the protocol.
        query: images.
        database: images.
        query_labels: bool (q, C).
        database_labels: bool (n, C).
        labels: what the C columns mean.
    """

    name: str
    query: ImageSet
    database: ImageSet
    query_labels: Tensor
    database_labels: Tensor
    labels: tuple[str, ...]

    @property
    def labelled(self) -> Tensor:
        """Positions in the database of the images that have a label (int64)."""
        return torch.nonzero(self.database_labels.any(dim=1)).flatten()

    def summary(self) -> dict[str, Any]:
        """Hashes and counts of both parts, for a result file."""
        return {
            "query": self.query.split_hash(),
            "database": self.database.split_hash(),
            "queries": len(self.query),
            "database_images": len(self.database),
            "unlabelled_queries": int((~self.query_labels.any(1)).sum()),
            "unlabelled_database": len(self.database) - len(self.labelled),
            "labels": self.query_labels.shape[1],
        }

    def held_out(self, count: int, seed: int) -> "MultiLabelSplit":
        """Queries drawn from the database, which keeps the rest; the set's own queries are not touched.

        Raises:
            ValueError: fewer than one image would be left.
        """
        if not 1 <= count < len(self.database):
            raise ValueError(f"held_out must lie in 1..{len(self.database) - 1}, got {count}")
        order = torch.randperm(len(self.database), generator=torch.Generator().manual_seed(seed))
        query, rest = order[:count].sort().values, order[count:].sort().values
        return MultiLabelSplit(
            name=f"{self.name}, {count} training images held out as queries",
            query=self.database.select(query),
            database=self.database.select(rest),
            query_labels=self.database_labels[query],
            database_labels=self.database_labels[rest],
            labels=self.labels,
        )


def open_multilabel(config: MultiLabelConfig, root: Path) -> MultiLabelSplit:
    """Open the images of a config; errors as the readers of the sets raise them."""
    split = SOURCES[config.source](config, root / (config.folder or config.source))
    return split.held_out(config.held_out, config.seed) if config.held_out else split


def _corel5k(config: MultiLabelConfig, folder: Path) -> MultiLabelSplit:
    corel = read_corel5k(folder, size=config.size).frequent(config.minimum)
    return MultiLabelSplit(
        name=f"corel5k, {len(corel.words)} keywords of at least {config.minimum} training images",
        query=corel.test,
        database=corel.train,
        query_labels=corel.test_keywords,
        database_labels=corel.train_keywords,
        labels=corel.words,
    )


def _files(config: MultiLabelConfig, folder: Path) -> MultiLabelSplit:
    database, lines = read_labelled(folder, "database", size=config.size)
    query, asked = database, lines  # until some are held out
    if not config.held_out:
        query, asked = read_labelled(folder, "query", size=config.size)
    kept = vocabulary(lines, config.minimum)
    return MultiLabelSplit(
        name=f"{folder.name}, {len(kept)} labels of at least {config.minimum} database images",
        query=query,
        database=database,
        query_labels=label_rows(query, asked, kept),
        database_labels=label_rows(database, lines, kept),
        labels=kept,
    )


def _cifar100(config: MultiLabelConfig, folder: Path) -> MultiLabelSplit:
    data = DataConfig(train=str(folder / "train-*.zip"))
    split = open_split("cifar100-20k", data, Path(), config.seed)
    names = (*split.database.classes, *SUPERCLASSES)
    return _graded("cifar100-20k, class and superclass", split.query, split.database, graded_labels, names)


def _digits(config: MultiLabelConfig, folder: Path) -> MultiLabelSplit:
    del folder
    split = open_split("digits", DataConfig(), Path(), config.seed)

    def labels(images: ImageSet) -> Tensor:
        number = images.required_labels("a toy label")
        extra = torch.stack([number % 2 == 0, number < 5], 1)
        return torch.cat([torch.nn.functional.one_hot(number, 10).bool(), extra], 1)

    names = (*split.database.classes, "even", "below five")
    return _graded("digits, even and below five (a toy)", split.query, split.database, labels, names)


SOURCES: dict[str, Callable[[MultiLabelConfig, Path], MultiLabelSplit]] = {
    "files": _files,
    "corel5k": _corel5k,
    "cifar100": _cifar100,
    "digits": _digits,
}
"""Readers by name."""


def _graded(
    name: str,
    query: ImageSet,
    database: ImageSet,
    labels: Callable[[ImageSet], Any],
    names: tuple[str, ...],
) -> MultiLabelSplit:
    return MultiLabelSplit(
        name=name,
        query=query,
        database=database,
        query_labels=labels(query),
        database_labels=labels(database),
        labels=names,
    )


def graded_figures(
    codes: Mapping[str, Any], split: MultiLabelSplit, bits: int
) -> tuple[dict[str, float], dict[str, Floats]]:
    """Figures of the codes, and each query's average precision and NDCG@100."""
    labels = split.query_labels.numpy(), split.database_labels.numpy()
    arguments = codes["query"], labels[0], codes["database"], labels[1]
    whole = evaluate(*arguments, bits=bits, precision_at=(100,), graded="shared")
    top = evaluate(*arguments, bits=bits, top_k=1000, normalizer="retrieved")
    figures = {
        "map": whole.map,
        "map_1000": top.map,
        "ndcg_100": whole.ndcg_at[100],
        "acg_100": whole.acg_at[100],
        "wap_100": whole.wap_at[100],
    }
    return figures, {"map": whole.average_precision, "ndcg_100": whole.per_query["ndcg_at_100"]}
