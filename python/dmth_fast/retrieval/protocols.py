"""Named, seeded splits into queries, database and training items, saved with a hash and verified.

Figures compare only inside one protocol, on one split. A split names items by source ("train", "test",
...) and row, and carries a digest of the labels it was drawn from, so that it fits one data set in one
order.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dmth_fast.atomic import write_text
from dmth_fast.retrieval.arguments import Array, integer
from dmth_fast.retrieval.labels import checked_class_ids

Rows = Mapping[str, Array]
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which items are queries, which are searched, and which may be learned from.

    Attributes:
        protocol: its name, see :data:`PROTOCOLS`.
        seed: of the draw.
        metric: what the protocol prints, "mAP@all" or "mAP@1000".
        sources: number of items of each source.
        labels_digest: SHA-256 of the labels of all sources.
        query: ascending int64 rows by source.
        database: the same of what is searched.
        train: the same of what may be learned from, with labels.
    """

    protocol: str
    seed: int
    metric: str
    sources: Mapping[str, int]
    labels_digest: str
    query: Rows
    database: Rows
    train: Rows

    @property
    def hash(self) -> str:
        """SHA-256 of everything above: two splits are the same where it is equal."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def sizes(self) -> dict[str, int]:
        """Items of each role."""
        return {role: sum(len(rows) for rows in getattr(self, role).values()) for role in _ROLES}

    def verify(self, *, labels: Rows | None = None, teacher: Rows | None = None) -> None:
        """Refuse a split that measures what was learned, or that belongs to other data.

        Args:
            labels: class ids by source; if given, they must be those the split was drawn from.
            teacher: rows by source whose labels a teacher was trained with; if given, they must lie
                within ``train``.

        Raises:
            ValueError: queries among the training items or in the database, an empty role, rows out of
                range or twice, other labels, or a teacher that has seen more labels than allowed.
        """
        for role in _ROLES:
            rows_by_source: Rows = getattr(self, role)
            if not any(len(rows) for rows in rows_by_source.values()):
                raise ValueError(f"{role} of a split must not be empty")
            for source, rows in rows_by_source.items():
                if source not in self.sources:
                    raise ValueError(f"{role} names source {source!r}, known are {', '.join(self.sources)}")
                inside = rows.size == 0 or (rows[0] >= 0 and rows[-1] < self.sources[source])
                if not inside or (np.diff(rows) <= 0).any():
                    raise ValueError(
                        f"{role} rows of {source!r} must ascend within 0 to {self.sources[source] - 1}"
                    )
        for role in ("train", "database"):
            shared = _overlap(self.query, getattr(self, role))
            if shared:
                raise ValueError(f"queries must not be in the {role}, but {shared} are")
        if labels is not None and labels_digest(labels) != self.labels_digest:
            raise ValueError(
                "labels must be those the split was drawn from, in their order; the digest differs"
            )
        if teacher is not None:
            seen = sum(len(np.unique(rows)) for rows in teacher.values())
            allowed = _overlap(teacher, self.train)
            if seen > allowed:
                raise ValueError(
                    f"a teacher under protocol {self.protocol!r} may have seen only labels of train, but "
                    f"{seen - allowed} of its {seen} labelled items are not in it "
                    f"({_overlap(teacher, self.query)} are queries)"
                )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the split and its hash as JSON, whole or not at all."""
        write_text(path, json.dumps({**self._content(), "hash": self.hash}, sort_keys=True) + "\n")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Split":
        """Read a split that :meth:`save` wrote, and verify it.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not a split, content that does not match its hash, or a split :meth:`verify` refuses.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            stored = content["hash"]
            if content["format"] != _FORMAT:
                raise ValueError(f"split file {path} must have format {_FORMAT}, got {content['format']!r}")
            query, database, train = (
                {source: _from_runs(runs) for source, runs in content[role].items()} for role in _ROLES
            )
            split = Split(
                protocol=content["protocol"],
                seed=content["seed"],
                metric=content["metric"],
                sources=content["sources"],
                labels_digest=content["labels_digest"],
                query=query,
                database=database,
                train=train,
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} must be a split file, but reading it failed: {error!r}") from error
        if split.hash != stored:
            raise ValueError(
                f"split file {path} was changed: its content has hash {split.hash}, it says {stored}"
            )
        split.verify()
        return split

    def _content(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "protocol": self.protocol,
            "seed": self.seed,
            "metric": self.metric,
            "sources": dict(self.sources),
            "labels_digest": self.labels_digest,
            **{role: {s: _to_runs(r) for s, r in getattr(self, role).items()} for role in _ROLES},
        }


_ROLES = ("query", "database", "train")


def make_split(protocol: str, labels: Rows, *, seed: int = 0) -> Split:
    """Draw the split of a protocol.

    Args:
        protocol: one of

            * ``"cifar10-official"``: test as queries, train as database and training set;
            * ``"cifar10-5k"``: the same, but 500 training items a class;
            * ``"cifar10-I"``: 100 queries a class from both sources together, the rest as database, 500
              of it a class for training; ``"cifar10-I-disjoint"`` takes the training items out of the
              database;
            * ``"cifar100-20k"``: 40 queries a class of one source, the rest as database and training set;
              named for the 20,000 images it is drawn from, and known as ``"cifar100-40k"``, too;
            * ``"unseen:k/C"``: training on k of C classes, queries (a tenth) and database from the others;
              ``"unseen-mixed:k/C"`` adds the training items to the database;
            * ``"folder:f"``: a fraction f of each class as queries, the rest as database and training set.
        labels: (n,) integer class ids by source: "train" and "test" for CIFAR-10, any one name elsewhere.
        seed: of the draw.

    Raises:
        ValueError: unknown protocol, other sources than it takes, or too few items of a class.

    >>> import numpy as np
    >>> split = make_split("folder:0.2", {"all": np.repeat(np.arange(3), 10)}, seed=1)
    >>> split.sizes()
    {'query': 6, 'database': 24, 'train': 24}
    """
    number, protocol = integer(seed, "seed", 0), ALIASES.get(protocol, protocol)
    checked = {name: checked_class_ids(ids, f"labels[{name!r}]", len(ids)) for name, ids in labels.items()}
    for pattern, draw in PROTOCOLS.items():
        match = re.fullmatch(pattern, protocol)
        if match:
            roles = draw(checked, np.random.default_rng(number), *match.groups())
            query, database, train = (
                {source: np.sort(rows) for source, rows in roles[role].items()} for role in _ROLES
            )
            split = Split(
                protocol=protocol,
                seed=number,
                metric="mAP@all",
                sources={name: len(ids) for name, ids in checked.items()},
                labels_digest=labels_digest(checked),
                query=query,
                database=database,
                train=train,
            )
            split.verify()
            return split
    raise ValueError(
        "protocol must be one of cifar10-official, cifar10-5k, cifar10-I, cifar10-I-disjoint, cifar100-20k, "
        f"unseen:k/C, unseen-mixed:k/C, folder:f, got {protocol!r}"
    )


def labels_digest(labels: Rows) -> str:
    """SHA-256 of class ids by source, in the order of their rows."""
    digest = hashlib.sha256()
    for source in sorted(labels):
        ids = checked_class_ids(labels[source], f"labels[{source!r}]", len(labels[source]))
        digest.update(f"{source} {len(ids)} ".encode())
        digest.update(ids.astype("<i8").tobytes())
    return digest.hexdigest()


def _official(labels: Rows, rng: np.random.Generator, few: str | None = None) -> dict[str, Rows]:
    _need(labels, "train", "test")
    every = {"train": np.arange(len(labels["train"]))}
    train = {"train": _each_class(labels["train"], 500, rng)} if few else every
    return {"query": {"test": np.arange(len(labels["test"]))}, "database": every, "train": train}


def _first(labels: Rows, rng: np.random.Generator, disjoint: str | None = None) -> dict[str, Rows]:
    _need(labels, "train", "test")
    together = np.concatenate([labels["train"], labels["test"]])
    query = _each_class(together, 100, rng)
    rest = np.setdiff1d(np.arange(len(together)), query)
    train = rest[_each_class(together[rest], 500, rng)]
    database = np.setdiff1d(rest, train) if disjoint else rest
    border = len(labels["train"])
    return {
        role: {"train": rows[rows < border], "test": rows[rows >= border] - border}
        for role, rows in (("query", query), ("database", database), ("train", train))
    }


def _forty(labels: Rows, rng: np.random.Generator) -> dict[str, Rows]:
    source = _one(labels)
    query = _each_class(labels[source], 40, rng)
    rest = np.setdiff1d(np.arange(len(labels[source])), query)
    return {"query": {source: query}, "database": {source: rest}, "train": {source: rest}}


def _unseen(
    labels: Rows, rng: np.random.Generator, mixed: str | None, seen: str, total: str
) -> dict[str, Rows]:
    source = _one(labels)
    ids = labels[source]
    classes = rng.permutation(np.unique(ids))
    if len(classes) != int(total) or not 0 < int(seen) < int(total):
        raise ValueError(f"unseen:k/C needs 0 < k < C = {len(classes)} classes, got {seen}/{total}")
    train = np.flatnonzero(np.isin(ids, classes[: int(seen)]))
    others = np.setdiff1d(np.arange(len(ids)), train)
    query = others[_share_of_each_class(ids[others], 0.1, rng)]
    database = np.setdiff1d(np.arange(len(ids)) if mixed else others, query)
    return {"query": {source: query}, "database": {source: database}, "train": {source: train}}


def _folder(labels: Rows, rng: np.random.Generator, fraction: str) -> dict[str, Rows]:
    source = _one(labels)
    if not 0 < float(fraction) < 1:
        raise ValueError(f"folder:f needs a fraction between 0 and 1, got {fraction}")
    query = _share_of_each_class(labels[source], float(fraction), rng)
    rest = np.setdiff1d(np.arange(len(labels[source])), query)
    return {"query": {source: query}, "database": {source: rest}, "train": {source: rest}}


PROTOCOLS: dict[str, Callable[..., dict[str, Rows]]] = {
    "cifar10-(?:official|(5k))": _official,
    "cifar10-I(-disjoint)?": _first,
    "cifar100-20k": _forty,
    r"unseen(-mixed)?:(\d+)/(\d+)": _unseen,
    r"folder:(\d*\.?\d+)": _folder,
}
"""How the splits of a name are drawn, by a regular expression of the name."""

ALIASES = {"cifar100-40k": "cifar100-20k"}
"""Other names of protocols; a split carries the name on the right."""


def _each_class(ids: Array, count: int, rng: np.random.Generator) -> Array:
    """``count`` rows of every class, drawn without replacement."""
    chosen = []
    for label in np.unique(ids):
        rows = np.flatnonzero(ids == label)
        if len(rows) < count:
            raise ValueError(
                f"the protocol needs {count} items of every class, class {label} has {len(rows)}"
            )
        chosen.append(rng.choice(rows, count, replace=False))
    return np.concatenate(chosen)


def _share_of_each_class(ids: Array, share: float, rng: np.random.Generator) -> Array:
    """A share of every class, at least one item and never all of them."""
    chosen = []
    for label in np.unique(ids):
        rows = np.flatnonzero(ids == label)
        if len(rows) < 2:
            raise ValueError(f"the protocol needs 2 items of every class, class {label} has {len(rows)}")
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        chosen.append(rng.choice(rows, count, replace=False))
    return np.concatenate(chosen)


def _need(labels: Rows, *sources: str) -> None:
    if set(labels) != set(sources):
        raise ValueError(f"labels must have the sources {', '.join(sources)}, got {', '.join(labels)}")


def _one(labels: Rows) -> str:
    if len(labels) != 1:
        raise ValueError(f"labels must have one source for this protocol, got {', '.join(labels)}")
    return next(iter(labels))


def _overlap(a: Rows, b: Rows) -> int:
    """Items in both."""
    return sum(len(np.intersect1d(rows, b[source])) for source, rows in a.items() if source in b)


def _to_runs(rows: Array) -> list[list[int]]:
    """Ascending rows as [start, stop) runs: a whole source is one."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    return [[int(run[0]), int(run[-1]) + 1] for run in np.split(rows, breaks) if len(run)]


def _from_runs(runs: list[list[int]]) -> Array:
    return np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(a, b, dtype=np.int64) for a, b in runs)])
