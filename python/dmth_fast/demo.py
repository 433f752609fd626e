"""The ``demo`` command: the whole method on 1,797 real images, in under a minute on two cores.

Few labels make it worth looking at: with ten labelled images a class the networks differ, and the question is
what a student fifty times smaller than its teachers can learn from them.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import dmth_fast
from dmth_fast import environment, plots, report
from dmth_fast.atomic import write_json, write_text
from dmth_fast.codefiles import write_arrays, write_codes

if TYPE_CHECKING:
    from rich.console import Console

    from dmth_fast.demo_networks import DemoConfig, Trained
    from dmth_fast.learning.data import ImageSet
    from dmth_fast.retrieval.report import Report

__all__ = ["run"]

_TRIVIAL, _RANDOM = "trivial: class as code", "random codes"


def run(
    out: Path,
    *,
    seed: int = 0,
    quick: bool = False,
    console: "Console",
    config: "DemoConfig | None" = None,
    sets: "tuple[ImageSet, ImageSet] | None" = None,
) -> dict[str, Any]:
    """Train, fuse, distil, measure; print the table and write everything to ``out``.

    Args:
        out: Folder for ``result.json``, ``table.md``, the pictures, ``split.json``, codes and student.
        seed: Of the split, the weights and the batches.
        quick: Train for seconds only; the figures then mean little.
        console: Where the table goes; progress goes to stderr.
        config: Other settings than the default.
        sets: (database, queries) instead of the digits' split, as when settings are chosen.

    Returns:
        What ``result.json`` holds.

    Raises:
        ModuleNotFoundError: scikit-learn, whose images these are, is not installed.
        NotADirectoryError: ``out`` is a file.
    """
    begin = time.perf_counter()
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out must be a folder, {out} is a file")
    from dmth_fast.demo_networks import DemoConfig, one_thread, pick, train
    from dmth_fast.learning.data import digits

    config = config or DemoConfig()
    config = config.shortened() if quick else config
    database, queries = digits(seed) if sets is None else sets
    labelled = pick(database, config.labels_per_class, seed)
    with one_thread():
        trained = train(config, database, labelled, seed)
        rows, reports = _measure(trained, queries, database, config.bits, turns=1 if quick else 3)
    known = database.select(labelled)
    split = {"queries": queries, "database": database, "labelled": known}
    result = {
        "name": "demo-digits",
        "quick": quick,
        "protocol": _protocol(queries, database, config),
        "split_hash": {name: images.split_hash() for name, images in split.items()},
        "seed": seed,
        "config": asdict(config),
        "rows": rows,
        "comparisons": _comparisons(reports, seed),
        "labels_named_rightly_by_fused_teacher": trained.answered,
        "environment": environment.describe(),
    }
    write_json(out / "split.json", {name: list(images.names) for name, images in split.items()})
    _write_codes(out, trained, queries, database, config.bits)
    _draw(out, trained, reports, queries, database, config, seed)
    write_text(out / "table.md", report.markdown(rows) + "\n")
    result["seconds"] = round(time.perf_counter() - begin, 1)
    write_json(out / "result.json", result)
    _print(result, out, console)
    return result


def _protocol(queries: "ImageSet", database: "ImageSet", config: "DemoConfig") -> dict[str, str]:
    per_class = config.labels_per_class
    count = per_class * len(database.classes)
    return {
        "data": "scikit-learn's handwritten digits, 8 x 8 pixels, 10 classes",
        "split": f"{len(queries):,} queries, database of {len(database):,}, labels for {count} of it",
        "training": f"all learn from the {count} labelled images ({per_class} a class); 'more data': also "
        f"from the other {len(database) - count:,}, with the fused teacher's answers for labels",
        "trivial": "the class that this last student names, as a one-hot code, on both sides",
        "metric": "mAP: whole database, expected over ties; accuracy: of the class named for a query",
        "speed": "images encoded a second: one thread, batches of 256, from memory",
    }


def _measure(
    trained: "Trained", queries: "ImageSet", database: "ImageSet", bits: int, turns: int
) -> tuple[list[dict[str, Any]], dict[str, "Report"]]:
    """The table's rows, and the full evaluation of each that has codes."""
    from dmth_fast.retrieval.baselines import one_hot_codes, random_codes

    labels = queries.required_labels("the demo").numpy()
    rows: list[dict[str, Any]] = []
    reports: dict[str, Report] = {}
    for method in trained.methods:
        row: dict[str, Any] = {"name": method.name}
        row["accuracy"] = float((method.predict(queries) == labels).mean())
        if method.encode is not None:
            measured = _evaluate(method.encode(queries), method.encode(database), queries, database, bits)
            reports[method.name] = measured
            row |= {"map": measured.map, "map_ties": list(measured.map_interval), "bits": bits}
        row["parameters"] = method.parameters
        row["images_per_second"] = _speed(method.encode or method.predict, database, turns)
        rows.append(row | {"seconds": method.seconds, "section": method.section})
    classes, last = len(database.classes), rows[-1]
    sides = (queries, database)
    one_hot = [one_hot_codes(trained.student.predict(images), classes) for images in sides]
    drawn = [random_codes(len(images), bits, seed=side) for side, images in enumerate(sides)]
    kept = {name: last[name] for name in ("accuracy", "parameters", "images_per_second")}
    for name, codes, width, same in ((_TRIVIAL, one_hot, classes, kept), (_RANDOM, drawn, bits, {})):
        reports[name] = _evaluate(codes[0], codes[1], queries, database, width)
        found = {"map": reports[name].map, "map_ties": list(reports[name].map_interval), "bits": width}
        rows.append({"name": name, **found, **same, "baseline": True})
    return rows, reports


def _evaluate(
    query_codes: NDArray[np.uint8],
    database_codes: NDArray[np.uint8],
    queries: "ImageSet",
    database: "ImageSet",
    bits: int,
) -> "Report":
    labels = (images.required_labels("the demo").numpy() for images in (queries, database))
    # Curves over radii: a ball that is empty has no precision, and counting it as zero would bend them down.
    return dmth_fast.evaluate(
        query_codes, next(labels), database_codes, next(labels), bits=bits, empty_ball="skip"
    )


def _speed(encode: Callable[["ImageSet"], Any], images: "ImageSet", turns: int) -> float:
    """Images a second, the best turn; each in another order, so that no cache of features answers."""
    import torch

    best = 0.0
    for _ in range(turns):
        shuffled = images.select(torch.randperm(len(images)))
        begin = time.perf_counter()
        encode(shuffled)
        best = max(best, len(images) / (time.perf_counter() - begin))
    return round(best, 1)


def _comparisons(reports: dict[str, "Report"], seed: int) -> list[dict[str, Any]]:
    """Paired differences of mAP, each with its interval over queries."""
    from dmth_fast.comparison import paired_interval

    names = list(reports)
    fused = next(name for name in names if name.startswith("fused"))
    alone, distilled, more = (name for name in names if name.startswith("student"))
    best = max((name for name in names if name.startswith("teacher")), key=lambda name: reports[name].map)
    pairs = ((fused, best), (distilled, alone), (more, distilled), (more, fused), (more, _TRIVIAL))
    return [
        {
            "first": first,
            "second": second,
            "metric": "map",
            **paired_interval(reports[first].average_precision, reports[second].average_precision, seed=seed),
            "interval": "95 %, paired bootstrap over queries, one seed",
        }
        for first, second in pairs
    ]


def _write_codes(out: Path, trained: "Trained", queries: "ImageSet", database: "ImageSet", bits: int) -> None:
    trained.student.save(out / "student")
    for name, images in (("queries", queries), ("database", database)):
        write_codes(out / f"{name}.npy", trained.student.encode(images), bits=bits)
        labels = images.required_labels("the demo").numpy()
        write_arrays(out / f"{name}-labels.npy", {"labels": labels})


def _draw(
    out: Path,
    trained: "Trained",
    reports: dict[str, "Report"],
    queries: "ImageSet",
    database: "ImageSet",
    config: "DemoConfig",
    seed: int,
) -> None:
    """Precision over recall, and queries with their neighbours: some at random, and the worst."""
    subtitle = f"digits; {_protocol(queries, database, config)['split']}; seed {seed}"
    shown = [name for name in reports if name != _RANDOM and not name.startswith("teacher")]
    plots.plot_pr_curves(
        {name: (reports[name].pr_curve.recall, reports[name].pr_curve.precision) for name in shown},
        out / "pr-curves.png",
        title=f"Precision over recall, Hamming radius 0 to {config.bits}",
        subtitle=subtitle,
        labels={name: f"{name}: mAP {reports[name].map:.3f}" for name in shown},
    )
    name = trained.methods[-1].name
    precision = reports[name].average_precision
    worst = np.argsort(precision, kind="stable")[:5]
    drawn = np.random.default_rng(seed).choice(np.delete(np.arange(len(queries)), worst), 5, replace=False)
    blocks = {
        f"five queries drawn at random (seed {seed}), those below left out": _neighbours(
            trained, queries, database, drawn
        ),
        "the five queries with the lowest average precision": _neighbours(trained, queries, database, worst),
    }
    plots.plot_neighbours(
        blocks,
        out / "neighbours.png",
        title=f"Nearest images by {config.bits}-bit code: {name}",
        subtitle=subtitle,
    )


def _neighbours(
    trained: "Trained", queries: "ImageSet", database: "ImageSet", chosen: NDArray[np.int64]
) -> list[plots.NeighbourRow]:
    import torch

    picked = queries.select(torch.from_numpy(np.asarray(chosen, dtype=np.int64)))
    found = dmth_fast.search(trained.student.encode(database), trained.student.encode(picked), 10)
    truth = database.required_labels("the demo").numpy()
    wanted = picked.required_labels("the demo").numpy()
    pixels = [np.asarray(images.images[torch.arange(len(images))]) for images in (picked, database)]
    return [
        plots.NeighbourRow(
            query=pixels[0][row],
            label=f"“{picked.classes[wanted[row]]}”",
            neighbours=[pixels[1][i] for i in found.ids[row]],
            distances=[int(distance) for distance in found.distances[row]],
            relevant=[bool(truth[i] == wanted[row]) for i in found.ids[row]],
        )
        for row in range(len(picked))
    ]


def _print(result: dict[str, Any], out: Path, console: "Console") -> None:
    protocol = result["protocol"]
    students = f"students: {result['config']['alone']['backbone']}, {result['config']['bits']} bits"
    lines = [f"{students}; {protocol['training']}", f"trivial: {protocol['trivial']}", protocol["metric"]]
    lines += [environment.summary(result["environment"])]
    if result["quick"]:
        lines.append("--quick: two epochs a network; these figures mean little")
    title = f"Digits: {protocol['split']}, seed {result['seed']}"
    console.print(report.table(result["rows"], title=title, caption="\n".join(lines)))
    console.print(report.comparison_table(result["comparisons"]))
    console.print(
        f"\nWritten to {out} in {result['seconds']:.0f} s: result.json, pictures, codes, student. Next:"
    )
    console.print(f"  dmth-fast search {out}/database.npy {out}/queries.npy -k 5", soft_wrap=True)
    console.print(f"  dmth-fast encode {out}/student YOUR_IMAGES --out codes.npy", soft_wrap=True)
