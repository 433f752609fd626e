"""The result of an evaluation: per-query values, their means, curves, and how they were obtained."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dmth_fast.retrieval.arguments import Array

if TYPE_CHECKING:
    from dmth_fast.retrieval.confidence import Interval

RECALL_LEVELS = tuple(level / 10 for level in range(11))
RADIUS_AWARE, RADIUS_AWARE_BY_COST = "radius_aware_ap", "radius_aware_ap_by_cost"


class PRCurve(NamedTuple):
    """Mean precision and recall over growing Hamming balls, one point a radius 0, 1, ..., bits.

    So ``precision[2]`` is P@H<=2. What an empty ball counts in the mean: ``empty_ball`` of the evaluation.

    Attributes:
        recall: (bits + 1,) float64, ascending.
        precision: (bits + 1,) float64.
    """

    recall: Array
    precision: Array


class DistanceHistograms(NamedTuple):
    """Items at each Hamming distance, summed over the counted queries.

    Attributes:
        relevant: (bits + 1,) int64.
        other: (bits + 1,) int64, items that are not relevant.
    """

    relevant: Array
    other: Array


@dataclass(frozen=True, kw_only=True)
class Report:
    """What :func:`dmth_fast.evaluate` found.

    Attributes:
        per_query: (q,) float64 values by metric: ``average_precision``, ``r_precision``, ``map_at_r``,
            ``reciprocal_rank``, ``first_rank``, ``radius_aware_ap``, ``precision_at_K``, ``recall_at_K``,
            ``ndcg_at_K``, ... .
        counted: (q,) bool, queries that enter the means; under ``empty="skip"`` those that found
            something to be relevant.
        map_interval: mAP with relevant items last and first among equal distances: what the order of
            ties alone can make of it. Bounds, except for ``normalizer="retrieved"``.
        pr_curve: mean (recall, precision) over radii.
        interpolated: mean over queries of the best precision at any radius whose recall reaches 0.0, 0.1,
            ..., 1.0; 0 where none does (Manning et al., Information Retrieval, 8.4, with radii for ranks).
        empty_balls: (bits + 1,) number of counted queries whose ball of each radius is empty; None for
            real-valued features.
        distances: items at each distance; None for real-valued features.
        num_queries: q.
        num_items: n.
        num_empty: queries that ``empty`` speaks of: with nothing relevant, or under
            ``normalizer="retrieved"`` with nothing relevant within the cut.
        num_unlabelled: all-zero multi-hot rows of (queries, database).
        unlabelled_queries: int64 rows of those queries.
        unlabelled_items: int64 rows of those items; None where the database came in parts.
        settings: every choice that the figures depend on.
    """

    per_query: Mapping[str, Array]
    counted: Array
    map_interval: tuple[float, float]
    pr_curve: PRCurve
    interpolated: Array
    empty_balls: Array | None
    distances: DistanceHistograms | None
    num_queries: int
    num_items: int
    num_empty: int
    num_unlabelled: tuple[int, int] = (0, 0)
    unlabelled_queries: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    unlabelled_items: Array | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def average_precision(self) -> Array:
        """(q,) float64 AP of each query; 0 for an empty one, whether it is counted or not."""
        return self.per_query["average_precision"]

    @property
    def map(self) -> float:
        """Mean average precision over the counted queries."""
        return self.mean("average_precision")

    @property
    def precision_at(self) -> dict[int, float]:
        """Mean P@K by K."""
        return self._by_cutoff("precision_at_")

    @property
    def recall_at(self) -> dict[int, float]:
        """Mean R@K by K."""
        return self._by_cutoff("recall_at_")

    @property
    def ndcg_at(self) -> dict[int, float]:
        """Mean NDCG@K by K; of relevance 0 and 1 unless the evaluation was graded."""
        return self._by_cutoff("ndcg_at_")

    @property
    def acg_at(self) -> dict[int, float]:
        """Mean ACG@K by K; graded evaluations only."""
        return self._by_cutoff("acg_at_")

    @property
    def wap_at(self) -> dict[int, float]:
        """Mean WAP@K by K; graded evaluations only."""
        return self._by_cutoff("wap_at_")

    @property
    def r_precision(self) -> float:
        """Mean R-precision: precision cut at the number of relevant items."""
        return self.mean("r_precision")

    @property
    def map_at_r(self) -> float:
        """Mean AP cut at R and divided by R."""
        return self.mean("map_at_r")

    @property
    def mrr(self) -> float:
        """Mean of 1 / (rank of the first relevant item), 0 where there is none (Voorhees, TREC-8 1999)."""
        return self.mean("reciprocal_rank")

    @property
    def ramap(self) -> float | None:
        """Radius-aware mAP: the mean over radii of P@H<=r, which needs no rule for ties.

        See :func:`dmth_fast.retrieval.metrics.radius_aware_average_precision`. It stands or falls with
        ``empty_ball``. None for real-valued features.
        """
        return self.mean(RADIUS_AWARE) if RADIUS_AWARE in self.per_query else None

    @property
    def ramap_by_cost(self) -> float | None:
        """The same with each radius divided by the number of buckets that a lookup of it opens."""
        return self.mean(RADIUS_AWARE_BY_COST) if RADIUS_AWARE_BY_COST in self.per_query else None

    def mean(self, metric: str) -> float:
        """Mean of a per-query metric over the counted queries.

        Raises:
            KeyError: no such metric; the message lists those there are.
        """
        if metric not in self.per_query:
            raise KeyError(f"metric must be one of {', '.join(self.per_query)}, got {metric!r}")
        return float(self.per_query[metric][self.counted].mean())

    def interval(
        self, metric: str = "average_precision", *, confidence: float = 0.95, seed: int = 0
    ) -> "Interval":
        """Bootstrap interval of a metric's mean over the counted queries.

        Raises:
            KeyError: no such metric.
            ValueError: confidence outside (0, 1).
        """
        from dmth_fast.retrieval.confidence import bootstrap

        self.mean(metric)  # names the metrics there are
        return bootstrap(self.per_query[metric][self.counted], confidence=confidence, seed=seed)

    def to_dict(self, *, per_query: bool = False) -> dict[str, Any]:
        """The means, curves, counts and settings as plain numbers, strings and lists.

        Args:
            per_query: also every query's value; infinity (no relevant item) becomes None.
        """
        result: dict[str, Any] = {
            "map": self.map,
            "map_interval": list(self.map_interval),
            "precision_at": {str(k): v for k, v in self.precision_at.items()},
            "recall_at": {str(k): v for k, v in self.recall_at.items()},
            "ndcg_at": {str(k): v for k, v in self.ndcg_at.items()},
            "acg_at": {str(k): v for k, v in self.acg_at.items()},
            "wap_at": {str(k): v for k, v in self.wap_at.items()},
            "r_precision": self.r_precision,
            "map_at_r": self.map_at_r,
            "mrr": self.mrr,
            "ramap": self.ramap,
            "ramap_by_cost": self.ramap_by_cost,
            "pr_curve": {
                "recall": self.pr_curve.recall.tolist(),
                "precision": self.pr_curve.precision.tolist(),
            },
            "interpolated_precision": self.interpolated.tolist(),
            "empty_balls": None if self.empty_balls is None else self.empty_balls.tolist(),
            "distances": None
            if self.distances is None
            else {"relevant": self.distances.relevant.tolist(), "other": self.distances.other.tolist()},
            "num_queries": self.num_queries,
            "num_items": self.num_items,
            "num_empty": self.num_empty,
            "num_unlabelled": list(self.num_unlabelled),
            "unlabelled_queries": self.unlabelled_queries.tolist(),
            "settings": dict(self.settings),
        }
        result = {key: value for key, value in result.items() if value is not None and value != {}}
        if per_query:
            result["counted"] = self.counted.tolist()
            result["per_query"] = {
                name: [value if np.isfinite(value) else None for value in values.tolist()]
                for name, values in self.per_query.items()
            }
        return result

    def to_json(self, *, per_query: bool = False) -> str:
        """:meth:`to_dict` as indented JSON text."""
        return json.dumps(self.to_dict(per_query=per_query), indent=2, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> "Report":
        """Read back what :meth:`to_json` wrote with ``per_query=True``, to compare with or to tabulate.

        Raises:
            ValueError: not such a text, or one without the values of each query.

        >>> from dmth_fast import evaluate
        >>> codes, labels = np.array([[0], [1], [3]], dtype=np.uint8), np.array([0, 0, 1])
        >>> report = evaluate(codes, labels, codes, labels)
        >>> Report.from_json(report.to_json(per_query=True)).map == report.map
        True
        """
        try:
            read: dict[str, Any] = {**json.loads(text)}
            distances, balls = read.get("distances"), read.get("empty_balls")
            return Report(
                per_query={
                    name: np.array([np.inf if value is None else value for value in values], dtype=np.float64)
                    for name, values in read["per_query"].items()
                },
                counted=np.array(read["counted"], dtype=bool),
                map_interval=(read["map_interval"][0], read["map_interval"][1]),
                pr_curve=PRCurve(*(np.array(read["pr_curve"][side]) for side in PRCurve._fields)),
                interpolated=np.array(read["interpolated_precision"]),
                empty_balls=None if balls is None else np.array(balls),
                distances=None
                if distances is None
                else DistanceHistograms(*(np.array(distances[side]) for side in DistanceHistograms._fields)),
                num_queries=read["num_queries"],
                num_items=read["num_items"],
                num_empty=read["num_empty"],
                num_unlabelled=(read["num_unlabelled"][0], read["num_unlabelled"][1]),
                unlabelled_queries=np.array(read["unlabelled_queries"], dtype=np.int64),
                settings=read["settings"],
            )
        except (KeyError, TypeError, IndexError, json.JSONDecodeError) as error:
            raise ValueError(
                f"text must be a report's JSON with per_query=True, but reading it failed: {error!r}"
            ) from error

    def to_markdown(self, name: str = "codes") -> str:
        """A Markdown table of one row; several methods: :func:`dmth_fast.retrieval.tables.to_markdown`."""
        from dmth_fast.retrieval import tables

        return tables.to_markdown({name: self})

    def to_latex(self, name: str = "codes") -> str:
        """A LaTeX table of one row; several methods: :func:`dmth_fast.retrieval.tables.to_latex`."""
        from dmth_fast.retrieval import tables

        return tables.to_latex({name: self})

    def plot(self, path: str | os.PathLike[str], *, name: str = "codes", title: str = "") -> None:
        """Draw the curves to a file; several methods: :func:`dmth_fast.retrieval.figures.plot`."""
        from dmth_fast.retrieval import figures

        figures.plot({name: self}, path, title=title)

    def rows(self) -> list[tuple[str, float]]:
        """Name and value of each mean, in the order of the text table."""
        cut = self.settings.get("top_k")
        rows = [("mAP" if cut is None else f"mAP@{cut}", self.map)]
        rows += [("mAP, ties worst", self.map_interval[0]), ("mAP, ties best", self.map_interval[1])]
        named = {"P": self.precision_at, "R": self.recall_at, "NDCG": self.ndcg_at}
        named |= {"ACG": self.acg_at, "WAP": self.wap_at}
        rows += [(f"{name}@{k}", value) for name, values in named.items() for k, value in values.items()]
        rows += [("R-precision", self.r_precision), ("MAP@R", self.map_at_r), ("MRR", self.mrr)]
        if self.distances is not None and len(self.distances.relevant) > 2:
            # The ball that the field's tables report.
            rows += [
                ("P@H<=2", float(self.pr_curve.precision[2])),
                ("R@H<=2", float(self.pr_curve.recall[2])),
            ]
        return rows if self.ramap is None else [*rows, ("RAMAP", self.ramap)]

    def __str__(self) -> str:
        """A table of the means under one line that says how they were obtained."""
        lines = [self._heading(), *(f"  {name:<18}{value:8.4f}" for name, value in self.rows())]
        return "\n".join([*lines, *(f"  {remark}" for remark in self._remarks())])

    def __rich__(self) -> Any:
        """The same for a terminal: ``rich.print(report)``."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        grid = Table("metric", box=box.SIMPLE_HEAVY, padding=(0, 1, 0, 0))
        grid.add_column("value", justify="right")
        for name, value in self.rows():
            grid.add_row(name, f"{value:.4f}")
        remarks = [Text(remark, style="dim") for remark in self._remarks()]
        return Group(Text(self._heading(), style="bold"), grid, *remarks)

    def _heading(self) -> str:
        stated = {name: value for name, value in self.settings.items() if value is not None and value != []}
        chosen = ", ".join(f"{name}={value}" for name, value in stated.items())
        return f"{self.num_queries:,} queries, {self.num_items:,} items; {chosen}"

    def _remarks(self) -> list[str]:
        """What the means leave out or count as 0."""
        remarks = []
        if self.num_empty:
            treated = {"zero": "counted as 0", "skip": "left out"}.get(str(self.settings.get("empty")), "")
            scope = scope_of_empty(self.settings)
            remarks.append(f"queries with nothing relevant{scope}: {self.num_empty} ({treated})")
        if any(self.num_unlabelled):
            known = np.zeros(0) if self.unlabelled_items is None else self.unlabelled_items
            queries = f"{self.num_unlabelled[0]} of the queries{_first(self.unlabelled_queries)}"
            items = f"{self.num_unlabelled[1]} of the database{_first(known)}"
            remarks.append(f"rows without a label: {queries}, {items}")
        return remarks

    def _by_cutoff(self, prefix: str) -> dict[int, float]:
        names = [name for name in self.per_query if name.startswith(prefix)]
        return {int(name.removeprefix(prefix)): self.mean(name) for name in names}


def scope_of_empty(settings: Mapping[str, Any]) -> str:
    """Where an empty query has nothing relevant, in words: anywhere, or within the cut."""
    cut = settings.get("normalizer") == "retrieved" and settings.get("top_k") is not None
    return " within the cut" if cut else ""


def _first(rows: Array) -> str:
    """The first few numbers of rows, in words; nothing for none."""
    named = ", ".join(map(str, rows[:5].tolist())) + (", ..." if len(rows) > 5 else "")
    return f" (rows {named})" if len(rows) else ""
