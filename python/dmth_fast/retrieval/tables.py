"""Reports side by side, as Markdown and LaTeX; drawn: :mod:`dmth_fast.retrieval.figures`."""

from collections.abc import Mapping, Sequence

from dmth_fast.retrieval.figures import plot as plot
from dmth_fast.retrieval.report import Report


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
    | method | mAP | mAP, ties worst | mAP, ties best | R-precision | MAP@R | MRR | P@H<=2 | R@H<=2 | RAMAP |
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


def _columns(reports: Mapping[str, Report]) -> Sequence[str]:
    """Names of the figures that every report has."""
    if not reports:
        raise ValueError("reports must hold at least one report, got none")
    rows = [[name for name, _ in report.rows()] for report in reports.values()]
    return [name for name in rows[0] if all(name in other for other in rows)]


def _escaped(text: str) -> str:
    escaped = "".join("\\" + letter if letter in "&%$#_{}" else letter for letter in text)
    return escaped.replace("<=", r"$\leq$")
