"""Results as tables: rich for a terminal, Markdown for a document, one set of rows for both.

A result is a plain dictionary, the one written as ``result.json``. Its ``rows`` are dictionaries with
``name`` and any of the columns of :data:`COLUMNS`; what a row lacks is printed as a dash, never as a zero.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

__all__ = [
    "COLUMNS",
    "Column",
    "bench_table",
    "comparison_table",
    "duration",
    "estimate_table",
    "markdown",
    "table",
    "used_columns",
]

Row = Mapping[str, Any]

MISSING = "-"


class Column(NamedTuple):
    """One column: where its value stands in a row, its heading, and how it is printed."""

    key: str
    heading: str
    show: Callable[[Any], str]
    higher_is_better: bool = False


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _thousandths(value: float) -> str:
    return f"{value:.3f}"


def _count(value: float) -> str:
    """Print a count so that three digits are seen: 912, 45.6 k, 1.23 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}" if value < 999.5 * size else f"{value / size:.0f}{unit}"
    return f"{value:.0f}"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def duration(value: float) -> str:
    """Print seconds, minutes or hours, two digits or so.

    >>> duration(4_000)
    '67 min'
    """
    minutes = round(value / 60)
    if value < 100:
        return f"{value:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _microseconds(value: float) -> str:
    return f"{value:.0f} us" if value < 999.5 else f"{value / 1e3:.1f} ms"


COLUMNS: tuple[Column, ...] = (
    Column("accuracy", "accuracy", _percent, higher_is_better=True),
    Column("map", "mAP", _thousandths, higher_is_better=True),
    Column("parameters", "parameters", _count),
    Column("macs", "MACs", _count),
    Column("images_per_second", "images/s", _count),
    Column("query_microseconds", "query", _microseconds),
    Column("seconds", "training", _seconds),
)
"""The columns a table of methods may have, in order."""


def used_columns(rows: Sequence[Row]) -> list[Column]:
    """Choose the columns of which at least one row has a value."""
    return [column for column in COLUMNS if any(row.get(column.key) is not None for row in rows)]


def table(
    rows: Sequence[Row], *, title: str, caption: str | None = None, columns: Sequence[Column] = ()
) -> "Group":
    """Lay out rows for a terminal.

    Args:
        rows: Dictionaries with ``name``, any column's value, and optionally ``note``, ``section`` (true: a
            line is drawn below the row) and ``baseline`` (true: the row cannot be the best).
        title: Says what was measured; the protocol belongs here or in ``caption``.
        caption: Stands below, for hardware and protocol.
        columns: Which columns; none means those in use.

    Returns:
        Title, table and caption; print them with ``rich.console.Console``.

    >>> _, grid, _ = table([{"name": "student", "map": 0.91}], title="digits", caption="-").renderables
    >>> [column.header for column in grid.columns]
    ['method', 'mAP']
    """
    columns = columns or used_columns(rows)
    best = {column.key: _best(rows, column) for column in columns}
    grid = _grid("method", *(column.heading for column in columns))
    notes = any(row.get("note") for row in rows)
    if notes:
        grid.add_column("", style="dim")
    for row in rows:
        cells = [str(row["name"])]
        for column in columns:
            text = _cell(row, column)
            cells.append(f"[bold]{text}[/bold]" if text != MISSING and text == best[column.key] else text)
        if notes:
            cells.append(str(row.get("note") or ""))
        grid.add_row(*cells, end_section=bool(row.get("section")))
    return _framed(title, grid, caption)


def markdown(rows: Sequence[Row], *, columns: Sequence[Column] = ()) -> str:
    """Lay out the same rows as a Markdown table, for a README or an issue.

    >>> print(markdown([{"name": "student", "map": 0.91, "parameters": 270_896}]))
    | method | mAP | parameters |
    |---|---:|---:|
    | student | 0.910 | 271 k |
    """
    columns = columns or used_columns(rows)
    lines = ["| " + " | ".join(["method", *(column.heading for column in columns)]) + " |"]
    lines.append("|---|" + "---:|" * len(columns))
    for row in rows:
        cells = [str(row["name"]).replace("|", "\\|"), *(_cell(row, column) for column in columns)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Row, column: Column) -> str:
    value = row.get(column.key)
    return MISSING if value is None else column.show(value)


def _best(rows: Sequence[Row], column: Column) -> str | None:
    """The printed form of the best value, so that values that print alike are marked alike."""
    values = [row[column.key] for row in rows if row.get(column.key) is not None and not row.get("baseline")]
    return column.show(max(values)) if column.higher_is_better and values else None


def bench_table(result: Mapping[str, Any]) -> "Group":
    """Lay out a search benchmark: our time, and each rival's with how many times as long it took.

    Args:
        result: What ``dmth_fast.bench.run`` returns, possibly read from its JSON.
    """
    from dmth_fast import environment
    from dmth_fast.bench import OURS

    rows = result["rows"]
    first = rows[0]
    rivals = list(dict.fromkeys(name for row in rows for name in row["ratios"] if name not in OURS))
    grid = _grid("bits", "queries", *OURS, *(text for name in rivals for text in (name, "")))
    for row in rows:
        cells = [str(row["bits"]), f"{row['queries']:,}"]
        cells += [_milliseconds(row["milliseconds"][name]) for name in OURS]
        for name in rivals:
            known = name in row["ratios"]
            cells.append(_milliseconds(row["milliseconds"][name]) if known else MISSING)
            cells.append(f"{row['ratios'][name][1]:.2f}x" if known else "")
        grid.add_row(*cells)
    title = (
        f"Exact search, {first['n']:,} random codes, k = {first['k']}, "
        f"{first['threads']} thread{'s' if first['threads'] != 1 else ''}; equal answers asserted"
    )
    caption = ["time of a call for all its queries, and how many times that of search (medians of rounds)"]
    caption.append("search takes plain rows, index was built before; slow rivals get fewer queries, scaled")
    if "NumPy" in rivals and first["threads"] != 1:
        caption.append("NumPy uses one thread")
    caption += [
        f"{name}: {why}" for name, why in {k: v for row in rows for k, v in row["absent"].items()}.items()
    ]
    caption.append(environment.summary(result["environment"]))
    return _framed(title, grid, "\n".join(caption))


def result_table(result: Mapping[str, Any]) -> "Group":
    """Lay out what a training run found, for the terminal.

    Args:
        result: What ``dmth_fast.pipeline.train`` returns, or the JSON it wrote.
    """
    from rich.console import Group

    from dmth_fast import environment

    split = result["split"]
    title = (
        f"{result['protocol']}: {split['queries']:,} queries, database of {split['database_images']:,}, "
        f"{split['training_images']:,} to learn from, {split['classes']} classes, seed {result['seed']}"
    )
    rows = [{**row, "note": None} for row in result["rows"]]
    measured = any(row.get("map") is not None for row in rows)
    metric = result["metric"] if measured else "no labels: size and speed alone are measured"
    main = table(rows, title=title, caption=f"{metric}\n{environment.summary(dict(result))}")
    comparisons = result["comparisons"]
    return Group(main, comparison_table(comparisons)) if comparisons else Group(main)


def estimate_table(costs: Mapping[str, Any], *, protocol: str) -> "Group":
    """Lay out what a run would cost.

    Args:
        costs: What ``dmth_fast.estimate.estimate`` returns.
        protocol: Which images are queries, database and training set.
    """
    from rich.console import Group

    images, seconds = costs["images"], costs["seconds"]
    networks = _grid("network", "parameters", "MACs", "images/s")
    for role, row in [*(("teacher", row) for row in costs["teachers"]), ("student", costs["student"])]:
        speed = row.get("images_per_second")
        cells = (_count(row["parameters"]), _count(row["macs"]), MISSING if speed is None else _count(speed))
        networks.add_row(f"{role} {row['name']}", *cells)
    stages = _grid("stage", "time")
    for stage, value in seconds.items():
        stages.add_row(stage, duration(value))
    stages.add_row("together", duration(sum(seconds.values())), style="bold")
    title = (
        f"Dry run, {protocol}: {images['query']:,} queries, database of {images['database']:,}, "
        f"{images['train']:,} to learn from"
    )
    caption = (
        "timed over a few steps on this machine as it is now; not counted: the fusion's own training, "
        "augmentation, evaluation"
    )
    return Group(
        _framed(title, networks, f"cached teacher features: {_count(costs['cache_bytes'])}B"),
        _framed("Estimated time", stages, caption),
    )


def comparison_table(comparisons: Sequence[Mapping[str, Any]]) -> "Group":
    """Lay out paired differences of mAP in points (hundredths).

    Args:
        comparisons: Dictionaries with ``first``, ``second``, ``difference`` of mAP (first minus second), and
            the bounds ``low`` and ``high`` of its 95 % interval over queries, and over ``seeds`` if several.
    """
    from rich.markup import escape

    grid = _grid("first", "second", "points", "interval")
    grid.columns[1].justify = "left"
    for gain in comparisons:
        low, high = 100 * gain["low"], 100 * gain["high"]
        style = "bold" if low > 0 or high < 0 else ""
        interval = escape(f"[{low:+.1f}, {high:+.1f}]")
        points = f"{100 * gain['difference']:+.1f}"
        grid.add_row(gain["first"], gain["second"], points, interval, style=style)
    seeds = max(gain.get("seeds", 1) for gain in comparisons)
    over = "queries, one seed" if seeds == 1 else f"queries and {seeds} seeds"
    caption = f"mAP of first minus second; 95 % interval over {over}; bold: excludes 0"
    return _framed("Paired differences", grid, caption)


def _grid(*headings: str) -> "Table":
    """A table with its first column to the left and the others to the right."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAVY, padding=(0, 1, 0, 0))
    for index, heading in enumerate(headings):
        grid.add_column(heading, justify="right" if index else "left", no_wrap=True)
    return grid


def _framed(title: str, grid: "Table", caption: str | None) -> "Group":
    """Title and caption as lines of their own: rich would break them at the width of the table."""
    from rich.console import Group
    from rich.text import Text

    return Group(Text(title, style="bold"), grid, *([Text(caption, style="dim")] if caption else []))


def _milliseconds(value: float) -> str:
    return f"{value:.3g} ms" if value < 999.5 else f"{value / 1e3:.3g} s"
