"""Reports side by side: Markdown, LaTeX, and one figure for many methods."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dmth_fast.atomic import writing
from dmth_fast.retrieval.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito: told apart by people with any common colour blindness; dashes carry the same meaning.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8a6d00")
_DASHES = ("-", "--", "-.", ":")


def to_markdown(reports: Mapping[str, Report], *, digits: int = 4) -> str:
    """A Markdown table, one row a method, one column a figure that every report has.

    Args:
        reports: report by the name of its method.
        digits: decimals.

    Raises:
        ValueError: no report.

    >>> import numpy as np
    >>> from dmth_fast import evaluate
    >>> codes, labels = np.array([[0], [1], [3]], dtype=np.uint8), np.array([0, 0, 1])
    >>> report = evaluate(codes[:1], labels[:1], codes, labels)
    >>> print(to_markdown({"codes": report}, digits=2).splitlines()[0])
    | method | mAP | mAP, ties worst | mAP, ties best | R-precision | MAP@R | MRR | RAMAP |
    """
    names = _columns(reports)
    lines = ["| " + " | ".join(["method", *names]) + " |", "|---|" + "---:|" * len(names)]
    for method, report in reports.items():
        values = dict(report.rows())
        cells = [method.replace("|", "\\|"), *(f"{values[name]:.{digits}f}" for name in names)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def to_latex(reports: Mapping[str, Report], *, digits: int = 4) -> str:
    """The same as a LaTeX ``tabular`` with rules of booktabs.

    Raises:
        ValueError: no report.
    """
    names = _columns(reports)
    lines = [r"\begin{tabular}{l" + "r" * len(names) + "}", r"\toprule"]
    lines += [" & ".join(["method", *(_escaped(name) for name in names)]) + r" \\", r"\midrule"]
    for method, report in reports.items():
        values = dict(report.rows())
        lines.append(" & ".join([_escaped(method), *(f"{values[n]:.{digits}f}" for n in names)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def plot(
    reports: Mapping[str, Report], path: str | os.PathLike[str], *, title: str = "", subtitle: str = ""
) -> None:
    """Draw precision over recall, P@K where it was asked for, and distances of relevant and other items.

    Args:
        reports: report by the name of its method; the distances are those of the first.
        path: where the figure goes; the suffix chooses the format. Written whole or not at all.
        title: what was compared.
        subtitle: the protocol.

    Raises:
        ValueError: no report.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    _columns(reports)
    name, first = next(iter(reports.items()))
    panels = ["curve"]
    panels += ["cutoffs"] if all(len(report.precision_at) > 1 for report in reports.values()) else []
    panels += [] if first.distances is None else ["distances"]
    figure = Figure(figsize=(4.6 * len(panels), 4.2), dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for panel, axes in zip(panels, np.atleast_1d(figure.subplots(1, len(panels))), strict=True):
        if panel == "distances":
            _draw_distances(axes, name, first)
        else:
            _draw_lines(axes, reports, panel)
        axes.grid(color="#d9d9d9", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=9, frameon=True, framealpha=0.9, edgecolor="#d9d9d9")
    heading = "\n".join(line for line in (title, subtitle) if line)
    if heading:
        figure.suptitle(heading, fontsize=12, x=0.01, ha="left")
    with writing(path) as temporary:
        figure.savefig(temporary)


def _draw_lines(axes: "Axes", reports: Mapping[str, Report], panel: str) -> None:
    for index, (name, report) in enumerate(reports.items()):
        cutoffs = sorted(report.precision_at)
        curve: tuple[Any, Any] = (cutoffs, [report.precision_at[k] for k in cutoffs])
        style: dict[str, Any] = {"color": _COLOURS[index % 8], "linestyle": _DASHES[index % 4], "label": name}
        axes.plot(
            *(report.pr_curve if panel == "curve" else curve),
            linewidth=1.8,
            marker="o",
            markersize=3,
            **style,
        )
    axes.set_ylim(0, 1.03)
    axes.set_ylabel("precision")
    if panel == "curve":
        axes.set(xlabel="recall", xlim=(0, 1.02), title="Precision over recall")
    else:
        axes.set(xlabel="K", xscale="log", title="Precision at K")


def _draw_distances(axes: "Axes", name: str, report: Report) -> None:
    assert report.distances is not None
    for index, label in enumerate(("relevant", "other")):
        counts = report.distances[index].astype(np.float64)
        share = counts / max(counts.sum(), 1.0)
        axes.fill_between(np.arange(len(share)), share, step="mid", alpha=0.25, color=_COLOURS[index])
        axes.step(
            np.arange(len(share)),
            share,
            where="mid",
            color=_COLOURS[index],
            label=label,
            linestyle=_DASHES[index],
        )
    axes.set(xlabel="Hamming distance", ylabel="share of items", title=f"Distances: {name}", ylim=(0, None))


def _columns(reports: Mapping[str, Report]) -> Sequence[str]:
    """Names of the figures that every report has."""
    if not reports:
        raise ValueError("reports must hold at least one report, got none")
    rows = [[name for name, _ in report.rows()] for report in reports.values()]
    return [name for name in rows[0] if all(name in other for other in rows)]


def _escaped(text: str) -> str:
    return "".join("\\" + letter if letter in "&%$#_{}" else letter for letter in text)
