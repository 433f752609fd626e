"""The ``evaluate`` command: codes and labels in files, figures in a table, a JSON file, a plot."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmth_fast import codefiles, environment
from dmth_fast.atomic import write_json

if TYPE_CHECKING:
    from rich.console import Console

    from dmth_fast.retrieval.report import Report

__all__ = ["run"]


def run(
    query_files: tuple[Path, Path],
    database_files: tuple[Path, Path],
    *,
    preset: str | None,
    settings: Mapping[str, Any],
    bits: int | None,
    exclude_self: bool,
    threads: int | None,
    json: Path | None,
    per_query: bool,
    plot: Path | None,
    console: "Console",
) -> None:
    """Evaluate and print; write the figures and the curves where asked.

    Args:
        query_files: Codes and labels of the queries.
        database_files: Codes and labels of the database.
        preset: Rule of a repository, see :func:`dmth_fast.evaluate_as`; ``None`` leaves it to ``settings``.
        settings: What was asked for of the keywords of :func:`dmth_fast.evaluate`; ``None`` was not.
        bits: Width of a code; ``None`` takes the stored one, or eight times the bytes.
        exclude_self: Queries and database are one set, and no query finds itself.
        threads: ``None`` means all cores.
        json: Where the figures go, with definition, environment and file names.
        per_query: Each query's values go there, too.
        plot: Where the curves go.
        console: Where the table goes.

    Raises:
        TypeError: Codes or labels of another type.
        ValueError: Codes or labels that do not fit together, or options that exclude each other; the file
            or argument is named.
    """
    if json is not None:
        codefiles.check_suffix(json, (".json",))
    elif per_query:
        raise ValueError("--per-query needs --json to write to")
    if plot is not None:
        codefiles.check_suffix(plot, (".png", ".svg", ".pdf"))
    chosen = {name: value for name, value in settings.items() if value is not None}
    if preset is not None:
        own = [f"--{name.replace('_', '-')}" for name in chosen if name not in ("top_k", "precision_at")]
        if own:
            raise ValueError(f"--preset {preset} says how to count: leave {', '.join(own)} out")
    if "graded" in chosen and not chosen.get("precision_at"):
        raise ValueError(
            f"--graded {chosen['graded']} needs --at, the cut-offs of NDCG, ACG and WAP; got none"
        )
    queries, database = (codefiles.read_codes(files[0], bits=bits) for files in (query_files, database_files))
    query_labels, database_labels = codefiles.read_label_pair(query_files[1], database_files[1])
    for codes, labels, files in (
        (queries, query_labels, query_files),
        (database, database_labels, database_files),
    ):
        if codes.ids is not None:
            raise ValueError(
                f"codes must be in the order of their labels, {files[0]} is an index, in the order of its ids"
            )
        if len(codes.codes) != len(labels):
            raise ValueError(
                f"labels must be as many as codes: {files[1]} has {len(labels)}, {files[0]} has "
                f"{len(codes.codes)}"
            )
    from dmth_fast import evaluate, evaluate_as
    from dmth_fast.retrieval.presets import PRESETS

    measure: Callable[..., Report] = evaluate if preset is None else partial(evaluate_as, preset)
    result = measure(
        queries.codes,
        query_labels,
        database.codes,
        database_labels,
        bits=database.bits,
        exclude="self" if exclude_self else None,
        threads=threads,
        **chosen,
    )
    interval = result.interval()
    console.print(result)
    if preset is not None:
        rule = PRESETS[preset]
        console.print(f"as {rule.repository}: {rule.remark}", style="dim")
    console.print(f"mAP with its 95 % interval over queries: {interval}", style="dim")
    if json is not None:
        more = {"map_confidence": dataclasses.asdict(interval), **_origin(query_files, database_files)}
        write_json(json, result.to_dict(per_query=per_query) | more)
    if plot is not None:
        result.plot(plot, name=query_files[0].stem, title=_title(result))


def _title(result: "Report") -> str:
    bits = result.settings["bits"]
    return f"{result.num_queries:,} queries, {result.num_items:,} in the database, {bits} bits"


def _origin(query_files: tuple[Path, Path], database_files: tuple[Path, Path]) -> dict[str, Any]:
    return {
        "files": {
            "queries": [str(file) for file in query_files],
            "database": [str(file) for file in database_files],
        },
        "environment": environment.describe(),
    }
