"""The ``evaluate`` command: codes and labels in files, figures in a table, a JSON file, a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmth_fast import codefiles, environment, report
from dmth_fast.atomic import write_json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]


def run(
    query_files: tuple[Path, Path],
    database_files: tuple[Path, Path],
    *,
    top_k: int | None,
    bits: int | None,
    ties: str,
    normalizer: str,
    empty: str,
    precision_at: Sequence[int],
    threads: int | None,
    json: Path | None,
    plot: Path | None,
    console: "Console",
) -> None:
    """Evaluate and print; write the figures and the curve where asked.

    Args:
        query_files: Codes and labels of the queries.
        database_files: Codes and labels of the database.
        top_k: Count the first so many of a ranking; ``None`` means all.
        bits: Width of a code; ``None`` takes the stored one, or eight times the bytes.
        ties: How equal distances count, see :func:`dmth_fast.evaluate`.
        normalizer: What average precision is divided by.
        empty: What a query with nothing relevant counts.
        precision_at: Cut-offs of precision, recall and NDCG.
        threads: ``None`` means all cores.
        json: Where the figures go, with definition, environment and file names.
        plot: Where precision over recall goes.
        console: Where the table goes.

    Raises:
        TypeError: Codes or labels of another type.
        ValueError: Codes or labels that do not fit together; the file or argument is named.
    """
    from dmth_fast import evaluate

    if json is not None:
        codefiles.check_suffix(json, (".json",))
    if plot is not None:
        codefiles.check_suffix(plot, (".png", ".svg", ".pdf"))
    queries, database = (codefiles.read_codes(files[0], bits=bits) for files in (query_files, database_files))
    query_labels, database_labels = codefiles.read_label_pair(query_files[1], database_files[1])
    for codes, labels, files in (
        (queries.codes, query_labels, query_files),
        (database.codes, database_labels, database_files),
    ):
        if len(codes) != len(labels):
            raise ValueError(
                f"labels must be as many as codes: {files[1]} has {len(labels)}, {files[0]} has {len(codes)}"
            )
    result = evaluate(
        queries.codes,
        query_labels,
        database.codes,
        database_labels,
        top_k=top_k,
        bits=database.bits,
        ties=ties,
        normalizer=normalizer,
        empty=empty,
        precision_at=precision_at,
        threads=threads,
    )
    definition = f"ties {ties}, AP divided by {normalizer}, a query with nothing relevant: {empty}"
    if result.num_empty:
        definition += f" ({result.num_empty:,} such)"
    sizes = f"{len(queries.codes):,} queries, {len(database.codes):,} in the database, {database.bits} bits"
    console.print(report.measured_table(dict(result.rows()), title=sizes, caption=definition))
    if json is not None:
        write_json(json, result.to_dict() | _origin(query_files, database_files))
    if plot is not None:
        from dmth_fast import plots

        plots.plot_pr_curves(
            {f"mAP {result.map:.3f}": (result.pr_curve.recall, result.pr_curve.precision)},
            plot,
            title=f"Precision over recall, Hamming radius 0 to {database.bits}",
            subtitle=sizes,
        )


def _origin(query_files: tuple[Path, Path], database_files: tuple[Path, Path]) -> dict[str, Any]:
    return {
        "files": {
            "queries": [str(file) for file in query_files],
            "database": [str(file) for file in database_files],
        },
        "environment": environment.describe(),
    }
