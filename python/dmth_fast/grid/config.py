"""A grid as TOML: settings of a run, and what is varied; each cell is the settings of one measured thing."""

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmth_fast.learning.config import from_mapping, one_of, to_mapping, within
from dmth_fast.trainconfig import TrainConfig, read_values, refuse_late

__all__ = ["AVERAGE", "BEST", "KINDS", "Arm", "Cell", "Grid", "load_grid"]

KINDS = ("student", "fusion", "teachers", "untrained", "random")
"""What an arm can be: a trained student, a fusion of the teachers, each teacher and their average, codes of
the teachers that need no training (LSH, PCA, ITQ), random codes."""

BEST = "best teacher"
"""In comparisons: the teacher that names most queries rightly, which favours it."""

AVERAGE = "softmax average of the teachers"

_GRID_KEYS = ("sets", "arms", "comparisons", "bits", "seeds", "title")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One line of the table.

    Attributes:
        name: of the row.
        kind: one of :data:`KINDS`.
        distilled: whether a student learns from the fused teacher; without, from labels alone.
        trivial: whether the one-hot code of the student's predicted class is measured beside it.
        sets: to which the arm is confined; none means all.
        bits: to which the arm is confined; none means all.
    """

    name: str
    kind: str = "student"
    distilled: bool = True
    trivial: bool = False
    sets: tuple[str, ...] = ()
    bits: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        if self.trivial and self.kind != "student":
            raise ValueError(f"arm {self.name!r}: trivial is for a student, not for kind {self.kind!r}")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One arm at one set, width and seed.

    Attributes:
        key: names its folder; it changes with any setting.
        set_name: of the set.
        arm: the arm.
        config: the settings of the run.
        shared: those of the set alone, by which teachers without weights are trained.
    """

    key: str
    set_name: str
    arm: Arm
    config: TrainConfig
    shared: TrainConfig

    @property
    def place(self) -> tuple[str, int, str]:
        """What the seeds of one row share: set, bits and arm."""
        return self.set_name, self.config.bits, self.arm.name

    @property
    def title(self) -> str:
        """For a person."""
        where = f"{self.set_name}, " if self.set_name else ""
        return f"{where}{self.config.bits} bits, seed {self.config.seed}: {self.arm.name}"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All cells, in the order in which they are run: the whole table of the first seed comes first.

    Attributes:
        title: of the table.
        cells: at least one.
        comparisons: pairs of rows whose difference is measured on the same queries, first minus second.
    """

    title: str
    cells: tuple[Cell, ...]
    comparisons: tuple[tuple[str, str], ...] = field(default=())


def load_grid(path: str | Path, overrides: Iterable[str] = ()) -> Grid:
    """Read a grid: the keys of a run, and ``[[sets]]``, ``bits``, ``seeds``, ``[[arms]]``, ``comparisons``.

    ``[[sets]]`` and ``[[arms]]`` carry a name and any settings of a run, which replace those of the file, an
    arm's those of the set. ``teachers`` of a set may be a list of names out of ``[[teachers]]``.

    Args:
        path: of the TOML file.
        overrides: ``a.b=value`` for the settings of the file, as for a run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no arm, an unknown key, name or value, or two of one name; every cell is checked.
        TypeError: a value of another type.
    """
    values = read_values(path, overrides)
    grid = {name: values.pop(name) for name in _GRID_KEYS if name in values}
    arms = _tables(grid, "arms")
    if not arms:
        raise ValueError(f"grid {path} must hold at least one [[arms]] table, got none")
    sets = _tables(grid, "sets") or [("", {})]
    widths, seeds = _numbers(grid, "bits", 64), _numbers(grid, "seeds", 0)
    names = {"sets": [name for name, _ in sets], "arms": [name for name, _ in arms]}
    cells = []
    for seed in seeds:
        for set_name, of_set in sets:
            for bits in widths:
                for name, of_arm in arms:
                    arm, settings = _arm(name, of_arm)
                    for chosen in arm.sets:
                        one_of(f"arm {name!r}: sets", chosen, names["sets"])
                    if (arm.sets and set_name not in arm.sets) or (arm.bits and bits not in arm.bits):
                        continue
                    shared = _merged(values, of_set) | {"bits": bits, "seed": seed}
                    _choose_teachers(shared, values)
                    cells.append(_cell(set_name, arm, shared, _merged(shared, settings)))
    if not cells:
        raise ValueError(f"grid {path} has no cell: no arm is for these sets and bits")
    return Grid(
        title=str(grid.get("title", "")),
        cells=tuple(cells),
        comparisons=tuple(_comparisons(grid, {name for cell in cells for name in _row_names(cell)})),
    )


def _arm(name: str, table: Mapping[str, Any]) -> tuple[Arm, dict[str, Any]]:
    # ``bits`` of an arm confines it; every other key that is not the arm's own is a setting of the run.
    own = {key: value for key, value in table.items() if key in Arm.__dataclass_fields__}
    rest = {key: value for key, value in table.items() if key not in own}
    for key in ("teachers", "protocol", "seed", "labels"):
        if key in rest:
            raise ValueError(f"arm {name!r}: {key} belongs to the file or to one of [[sets]]")
    return from_mapping(Arm, {"name": name, **own}, f"arm {name!r}"), rest


def _cell(set_name: str, arm: Arm, shared: Mapping[str, Any], merged: Mapping[str, Any]) -> Cell:
    config = from_mapping(TrainConfig, {"teachers": [], **merged})
    if arm.kind == "student":
        if not arm.distilled and not config.labels:
            raise ValueError(f"arm {arm.name!r}: a student without labels needs distilled = true, got false")
        refuse_late(config, distilled=arm.distilled)
    settings = to_mapping(config)
    # A cell keeps its name where it has no need of a setting.
    for name in ("cache", "threads", *(() if config.seen else ("seen",))):
        settings.pop(name)
    described = {"set": set_name, "arm": to_mapping(arm), "config": settings}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:8]
    words = f"{set_name}-{config.bits}-{config.seed}-{arm.name}".lower()
    slug = re.sub(r"[^a-z0-9]+", "-", words).strip("-")
    return Cell(
        key=f"{slug[:60]}-{digest}",
        set_name=set_name,
        arm=arm,
        config=config,
        shared=from_mapping(TrainConfig, {"teachers": [], **shared}),
    )


def _tables(grid: Mapping[str, Any], name: str) -> list[tuple[str, dict[str, Any]]]:
    tables = grid.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise TypeError(f"{name} must be [[{name}]] tables, got {tables!r}")
    found: dict[str, dict[str, Any]] = {}
    for table in tables:
        key = table.get("name")
        if not isinstance(key, str) or not key:
            raise ValueError(f"each of [[{name}]] needs a name, got {key!r}")
        if key in found:
            raise ValueError(f"two of [[{name}]] have the name {key!r}")
        found[key] = {inner: value for inner, value in table.items() if inner != "name"}
    return list(found.items())


def _numbers(grid: Mapping[str, Any], name: str, default: int) -> list[int]:
    value = grid.get(name, default)
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(type(number) is int for number in numbers):
        raise TypeError(f"{name} must be an integer or a list of integers, got {value!r}")
    for number in numbers:
        within(name, number, 1 if name == "bits" else 0, 4096 if name == "bits" else 2**31)
    return list(dict.fromkeys(numbers))


def _row_names(cell: Cell) -> Iterator[str]:
    """The rows that a cell gives."""
    arm, names = cell.arm, [card.name or card.backbone for card in cell.config.teachers]
    if arm.kind == "teachers":
        yield from (BEST, AVERAGE, *(f"teacher {name}" for name in names))
    elif arm.kind == "untrained":
        yield from (f"{how} of {name}" for name in (*names, "all teachers") for how in ("LSH", "PCA", "ITQ"))
    else:
        yield arm.name
        yield f"trivial: class of {arm.name}"


def _comparisons(grid: Mapping[str, Any], rows: set[str]) -> Iterator[tuple[str, str]]:
    for pair in grid.get("comparisons", []):
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"comparisons must be pairs of rows, got {pair!r}")
        for name in pair:
            one_of("comparisons", name, sorted(rows))
        yield pair[0], pair[1]


def _choose_teachers(merged: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Replace names of teachers by the tables of the file that have them."""
    chosen = merged.get("teachers", [])
    if not isinstance(chosen, list) or not all(isinstance(name, str) for name in chosen):
        return
    cards = values.get("teachers", [])
    if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
        return  # no tables to choose from: reading the settings says so
    known = {card.get("name") or card.get("backbone"): card for card in cards}
    for name in chosen:
        one_of("teachers", name, known)
    merged["teachers"] = [known[name] for name in chosen]


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(first))
    for key, value in second.items():
        inner = merged.get(key)
        if isinstance(inner, dict) and isinstance(value, Mapping):
            merged[key] = _merged(inner, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged
