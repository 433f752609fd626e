"""Pictures of a result: precision over recall, queries with their nearest neighbours, cost as work grows.

Drawn without a display (the Agg canvas, no pyplot state). Colours are the set of Okabe and Ito, which people
with any common colour blindness can tell apart; no meaning is carried by colour alone.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmth_fast.retrieval.figures import (
    COLOURS,
    MARKERS,
    clean,
    draw_curves,
    draw_legend,
    new_figure,
    save,
    style_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["NeighbourRow", "plot_growth", "plot_neighbours", "plot_pr_curves", "plot_tradeoff"]

_INK, _MUTED = "#1a1a1a", "#5c5c5c"
_RIGHT, _WRONG = "#0072B2", "#D55E00"

_CHECK, _CROSS = "\N{CHECK MARK}", "\N{BALLOT X}"
# The picture of neighbours, in inches: an image, from one to the next, between query and neighbours, from row
# to row, a heading, and the space around.
_CELL, _STEP, _GAP, _LINE, _HEADING, _MARGIN, _TOP, _BOTTOM = 0.66, 0.84, 0.25, 0.98, 0.42, 0.25, 0.8, 0.5


class NeighbourRow(NamedTuple):
    """One query of the neighbour picture."""

    query: NDArray[np.uint8]
    """Image of the query, uint8 of shape (3, h, w)."""
    label: str
    """Its class, printed beside it."""
    neighbours: Sequence[NDArray[np.uint8]]
    """Images of its nearest neighbours, nearest first."""
    distances: Sequence[int]
    """Their Hamming distances."""
    relevant: Sequence[bool]
    """Whether each neighbour is of the query's class."""


def plot_pr_curves(
    curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    path: str | os.PathLike[str],
    *,
    title: str,
    subtitle: str = "",
    labels: Mapping[str, str] | None = None,
) -> None:
    """Draw precision over recall, one curve a method, one point a Hamming radius.

    Args:
        curves: Name to (recall, precision), each float64 of shape (radii,), mean over queries.
        path: Where the picture goes; the suffix chooses the format (``.png``, ``.svg``, ``.pdf``).
        title: What was compared.
        subtitle: The protocol.
        labels: Text of the legend by name, where it shall say more than the name.

    Raises:
        ValueError: No curve at all, or recall and precision of different lengths.
    """
    if not curves:
        raise ValueError("curves must hold at least one curve, got none")
    figure = new_figure(7.2, 4.8)
    axes = figure.add_subplot()
    for name, (recall, precision) in curves.items():
        if len(recall) != len(precision):
            raise ValueError(
                f"curve {name!r} must have as many recalls as precisions, "
                f"got {len(recall)} and {len(precision)}"
            )
    words = labels or {}
    draw_curves(axes, {words.get(name, name): curve for name, curve in curves.items()})
    low = min(float(np.min(precision)) for _, precision in curves.values())
    axes.set(xlim=(0, 1.01), ylim=(max(0.0, low - 0.04), 1.015))
    axes.tick_params(labelsize=10.5)
    clean(axes)
    draw_legend(axes, "lower left", size=10)
    _titles(figure, axes, title, subtitle)
    save(figure, path)


def plot_tradeoff(
    rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], *, title: str, subtitle: str = ""
) -> None:
    """Draw mAP against multiply-accumulates and against parameters, one mark a row.

    Args:
        rows: Dictionaries with ``name``, ``map``, ``macs`` and ``parameters``.
        path: Where the picture goes; the suffix chooses the format.
        title: What was compared.
        subtitle: The protocol.

    Raises:
        ValueError: No row at all.
    """
    if not rows:
        raise ValueError("rows must hold at least one row, got none")
    figure = new_figure(10.5, 4.8)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key, unit, label in (
        (left, "macs", 1e6, "MACs, millions"),
        (right, "parameters", 1e6, "parameters, millions"),
    ):
        for index, row in enumerate(rows):
            axes.plot(
                row[key] / unit,
                row["map"],
                linestyle="none",
                marker=MARKERS[index % len(MARKERS)],
                color=COLOURS[index % len(COLOURS)],
                markersize=9,
                label=f"{row['name']}, {row['bits']} bits" if "bits" in row else row["name"],
            )
        axes.set_xlabel(label, fontsize=12)
        axes.set_xlim(0, 1.08 * max(row[key] / unit for row in rows))
        clean(axes)
    left.set_ylabel("mAP", fontsize=12)
    right.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=9)
    _titles(figure, left, title, subtitle)
    save(figure, path)


def plot_growth(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    path: str | os.PathLike[str],
    *,
    cost: str,
    title: str,
    subtitle: str = "",
) -> None:
    """Draw a cost over what makes it grow, both axes logarithmic, one panel for each thing that grows.

    Args:
        panels: What grows to contender to points (how much, cost). A contender has the same colour, mark and
            dashes in every panel.
        path: Where the picture goes; the suffix chooses the format.
        cost: What is paid, with its unit.
        title: What was compared.
        subtitle: The protocol.

    Raises:
        ValueError: No panel, or one without a point.
    """
    if not panels or not all(any(lines.values()) for lines in panels.values()):
        raise ValueError("panels must hold at least one panel, each with at least one point")
    names = list(dict.fromkeys(name for lines in panels.values() for name, points in lines.items() if points))
    columns = min(3, len(panels))
    height = -(-len(panels) // columns)
    figure = new_figure(3.9 * columns, 3.3 * height + 1.1)
    handles: dict[str, Any] = {}
    for place, (grows, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(height, columns, place + 1, xscale="log", yscale="log")
        for name, points in lines.items():
            if not points:
                continue
            x, y = zip(*points, strict=True)
            (handles[name],) = axes.plot(x, y, markersize=4.5, **style_of(names.index(name)))
        axes.set_xlabel(grows, fontsize=10.5)
        if place % columns == 0:
            axes.set_ylabel(cost, fontsize=10.5)
        clean(axes)
    figure.text(0.012, 1 - 0.25 / figure.get_figheight(), title, fontsize=13, weight="bold", color=_INK)
    figure.text(0.012, 1 - 0.47 / figure.get_figheight(), subtitle, fontsize=9.5, color=_MUTED)
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="lower left",
        ncols=len(names),
        frameon=False,
        fontsize=10,
    )
    figure.tight_layout(rect=(0, 0.42 / figure.get_figheight(), 1, 1 - 0.55 / figure.get_figheight()))
    save(figure, path)


def plot_neighbours(
    blocks: Mapping[str, Sequence[NeighbourRow]],
    path: str | os.PathLike[str],
    *,
    title: str,
    subtitle: str = "",
    legend: tuple[str, str] = ("same class", "another class"),
) -> None:
    """Draw queries with their nearest neighbours, right and wrong marked by colour, frame and sign.

    Args:
        blocks: Heading to rows, for example "five drawn at random" and "the five worst"; the headings say how
            the queries were chosen, so that nobody takes a chosen picture for a typical one.
        path: Where the picture goes; the suffix chooses the format.
        title: What was searched.
        subtitle: The protocol.
        legend: What a right and a wrong neighbour is.

    Raises:
        ValueError: No row, or a row without neighbours.
    """
    rows = [row for block in blocks.values() for row in block]
    if not rows or not all(row.neighbours for row in rows):
        raise ValueError("blocks must hold at least one query, each with at least one neighbour")
    count = max(len(row.neighbours) for row in rows)
    width = _MARGIN + _STEP * (count + 1) + _GAP + _MARGIN
    height = _TOP + _BOTTOM + _HEADING * len(blocks) + _LINE * len(rows)
    figure = new_figure(width, height)
    # One pair of axes measured in inches: a pair for each image would take seconds to make.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    axes.text(_MARGIN, 0.3, title, fontsize=13, weight="bold", color=_INK, va="center")
    axes.text(_MARGIN, 0.6, subtitle, fontsize=9.5, color=_MUTED, va="center")
    y = _TOP
    for heading, block in blocks.items():
        axes.text(_MARGIN, y + _HEADING / 2, heading, fontsize=11, color=_INK, weight="bold", va="center")
        y += _HEADING
        for row in block:
            _draw_row(axes, y, row)
            y += _LINE
    foot = height - 0.25
    marks = (
        (0, "query", _INK),
        (0.8, f"{_CHECK} {legend[0]}", _RIGHT),
        (2.5, f"{_CROSS} {legend[1]}", _WRONG),
    )
    for x, words, colour in marks:
        axes.text(_MARGIN + x, foot, words, color=colour, fontsize=10, weight="bold", va="center")
    hint = "below each image: its Hamming distance to the query"
    axes.text(width - _MARGIN, foot, hint, color=_MUTED, fontsize=9, ha="right", va="center")
    save(figure, path)


def _draw_row(axes: "Axes", y: float, row: NeighbourRow) -> None:
    _image(axes, _MARGIN, y, row.query, _INK, "-", row.label)
    for column, image in enumerate(row.neighbours):
        right = row.relevant[column]
        x = _MARGIN + _GAP + _STEP * (column + 1)
        words = f"{_CHECK if right else _CROSS} {row.distances[column]}"
        _image(axes, x, y, image, _RIGHT if right else _WRONG, "-" if right else (0, (2.5, 1.2)), words)


def _image(
    axes: "Axes", x: float, y: float, image: NDArray[np.uint8], colour: str, style: Any, words: str
) -> None:
    from matplotlib.patches import Rectangle

    pixels = np.moveaxis(image, 0, -1)
    longest = max(pixels.shape[:2])
    width, height = (_CELL * side / longest for side in (pixels.shape[1], pixels.shape[0]))
    extent = (x, x + width, y + height, y)
    axes.imshow(pixels, interpolation="nearest", extent=extent, vmin=0, vmax=255, aspect="auto")
    frame = Rectangle((x, y), width, height, fill=False, edgecolor=colour, linestyle=style, linewidth=2.4)
    axes.add_patch(frame)
    axes.text(
        x + width / 2,
        y + height + 0.13,
        words,
        fontsize=9.5,
        color=colour,
        weight="bold",
        ha="center",
        va="center",
    )


def _titles(figure: "Figure", axes: "Axes", title: str, subtitle: str) -> None:
    axes.set_title(title, loc="left", fontsize=13, weight="bold", color=_INK, pad=24 if subtitle else 8)
    if subtitle:
        axes.text(0, 1.025, subtitle, transform=axes.transAxes, fontsize=9.5, color=_MUTED)
    figure.set_layout_engine("tight")
