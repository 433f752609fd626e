"""Reports drawn: precision over recall, precision at K, distances; one figure for many methods.

Drawn without a display (the Agg canvas, no pyplot state). Colours are the set of Okabe and Ito, which people
with any common colour blindness can tell apart; dashes and markers carry the same meaning.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dmth_fast.atomic import writing
from dmth_fast.retrieval.arguments import Array
from dmth_fast.retrieval.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8a6d00")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), "-", "--")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_GRID = "#d9d9d9"


def plot(
    reports: Mapping[str, Report], path: str | os.PathLike[str], *, title: str = "", subtitle: str = ""
) -> None:
    """Draw precision over recall, P@K where it was asked for, and distances of relevant and other items.

    Args:
        reports: report by the name of its method.
        path: where the figure goes; the suffix chooses the format. Written whole or not at all.
        title: what was compared.
        subtitle: the protocol.

    Raises:
        ValueError: no report.

    >>> import tempfile
    >>> from dmth_fast import evaluate
    >>> codes, labels = np.array([[0], [1], [3]], dtype=np.uint8), np.array([0, 0, 1])
    >>> report = evaluate(codes, labels, codes, labels, precision_at=[1, 2])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot({"mine": report, "yours": report}, os.path.join(folder, "figure.png"))
    """
    if not reports:
        raise ValueError("reports must hold at least one report, got none")
    panels = [_curve_panel]
    panels += [_cutoff_panel] if all(len(report.precision_at) > 1 for report in reports.values()) else []
    panels += [_distance_panel] if any(report.distances for report in reports.values()) else []
    figure = new_figure(4.8 * len(panels), 4.6)
    figure.set_layout_engine("constrained", w_pad=0.12)
    for draw, axes in zip(panels, np.atleast_1d(figure.subplots(1, len(panels))), strict=True):
        draw(axes, reports)
        clean(axes)
    heading = "\n".join(line for line in (title, subtitle) if line)
    if heading:
        figure.suptitle(heading, fontsize=12, x=0.01, ha="left")
    save(figure, path)


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, with its own canvas: no global state, and none left open."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure whole or not at all; the suffix chooses the format."""
    with writing(path) as temporary:
        figure.savefig(temporary)


def clean(axes: "Axes") -> None:
    """A light grid, no box."""
    axes.grid(color=_GRID, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def draw_curves(axes: "Axes", curves: Mapping[str, tuple[Array, Array]]) -> None:
    """Draw precision over recall, a curve (recall, precision) by the words of its legend."""
    for index, (name, (recall, precision)) in enumerate(curves.items()):
        style: dict[str, Any] = style_of(index)
        axes.plot(recall, precision, markersize=4.5, markevery=_spread(recall), label=name, **style)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")


def draw_legend(axes: "Axes", place: str = "best", size: float = 9) -> None:
    """A legend that lets what lies below shine through."""
    named: dict[str, Any] = {"loc": place}
    axes.legend(framealpha=0.92, edgecolor=_GRID, fontsize=size, **named)


def _curve_panel(axes: "Axes", reports: Mapping[str, Report]) -> None:
    curves = {f"{name}: mAP {report.map:.3f}": _defined(report) for name, report in reports.items()}
    draw_curves(axes, curves)
    radii = all(report.distances for report in reports.values())
    axes.set(xlim=(0, 1.02), ylim=(0, 1.03), title="Precision over recall" + (", by radius" if radii else ""))
    draw_legend(axes)


def _defined(report: Report) -> tuple[Array, Array]:
    """The curve without the radii at which every ball is empty: there is no precision to draw."""
    recall, precision = report.pr_curve
    if report.empty_balls is None:
        return recall, precision
    filled = report.empty_balls < report.counted.sum()
    return recall[filled], precision[filled]


def _cutoff_panel(axes: "Axes", reports: Mapping[str, Report]) -> None:
    for index, (name, report) in enumerate(reports.items()):
        cutoffs = sorted(report.precision_at)
        axes.plot(
            cutoffs, [report.precision_at[k] for k in cutoffs], markersize=4.5, label=name, **style_of(index)
        )
    axes.set(xlabel="K", xscale="log", ylabel="precision", ylim=(0, 1.03), title="Precision at K")
    draw_legend(axes)


def _distance_panel(axes: "Axes", reports: Mapping[str, Report]) -> None:
    """Relevant items drawn through, others dashed, a colour a method."""
    drawn = [(name, report.distances) for name, report in reports.items() if report.distances is not None]
    alone, one_width = len(drawn) == 1, len({len(counts.relevant) for _, counts in drawn}) == 1
    highest = 0.0
    for index, (name, histograms) in enumerate(drawn):
        for counts, kind, dashes in zip(histograms, ("relevant", "other"), ("-", "--"), strict=True):
            # A share of items a bit where widths differ, so that they can stand on one axis.
            bits = 1 if one_width else len(counts) - 1
            place, share = np.arange(len(counts)) / bits, bits * counts / max(int(counts.sum()), 1)
            colour = COLOURS[kind == "other"] if alone else COLOURS[index % len(COLOURS)]
            if alone:
                axes.fill_between(place, share, step="mid", alpha=0.22, color=colour)
            label = kind if alone else name if kind == "relevant" else None
            axes.step(place, share, where="mid", color=colour, linestyle=dashes, linewidth=1.6, label=label)
            highest = max(highest, float(share.max()))
    axes.set(xlabel="Hamming distance" if one_width else "Hamming distance / bits")
    axes.set(
        ylabel="share of items" if one_width else "density", ylim=(0, highest * (1.05 + 0.09 * len(drawn)))
    )
    axes.set_title("Distances" if alone else "Distances: relevant, and other items dashed")
    draw_legend(axes, "upper right")


def style_of(index: int) -> dict[str, Any]:
    """Colour, dashes and mark of the contender of this number."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
        "linewidth": 1.9,
    }


def _spread(recall: Array, step: float = 0.09) -> list[int]:
    """Points to mark: evenly along the recall, since the radii crowd at both ends."""
    chosen: list[int] = []
    for index, value in enumerate(recall):
        if not chosen or value - recall[chosen[-1]] >= step:
            chosen.append(index)
    return chosen
