"""The commands of ``dmth-fast``: from images to codes, search and measured results.

Results go to stdout, remarks and progress to stderr. Heavy imports stand inside the commands, so that
``--help`` answers at once. :mod:`dmth_fast.program` runs them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmth_fast import __version__
from dmth_fast.options import (
    Bits,
    Empty,
    EmptyBall,
    Gain,
    Graded,
    Labels,
    Normalizer,
    Preset,
    System,
    Threads,
    Ties,
)

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["app"]

app = typer.Typer(
    name="dmth-fast",
    help="Image retrieval by learned binary codes: distil, pack, search, measure.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dmth-fast {__version__}")
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")] = False,
) -> None:
    """Image retrieval by learned binary codes: distil, pack, search, measure."""


@app.command()
def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the results.", show_default="runs/demo, or runs/demo-SYSTEM"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of split, weights and batches.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Train seconds only; the figures mean little.")
    ] = False,
    system: Annotated[
        System, typer.Option(help="Which published system; the others are toys of seconds.")
    ] = System.dmth,
) -> None:
    """Train three teachers, fuse and distil them on scikit-learn's digits: under a minute, no download."""
    if system is not System.dmth:
        from dmth_fast import launch

        folder = out or Path(f"runs/demo-{system.value}")
        launch.toy(system.value, folder, seed=seed, quick=quick, console=_console())
        return
    from dmth_fast import demo as demonstration

    demonstration.run(out or Path("runs/demo"), seed=seed, quick=quick, console=_console())


@app.command()
def train(
    source: Annotated[
        Path | None, typer.Argument(help="Training images: a folder or zip, one sub-folder a class.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Settings as a TOML file.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override one setting, a.b=value."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for student, settings and results.",
            show_default="runs/train, or runs/ and the name of --config",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run in --out.")] = False,
    labels: Annotated[
        Labels | None,
        typer.Option(
            help="Folders are classes, or none: SOURCE is any folder, the student follows teachers that "
            "have weights.",
            show_default="as --config says",
        ),
    ] = None,
    recipe: Annotated[System, typer.Option(help="Which published system --config is for.")] = System.dmth,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would cost; nothing is written to --out.")
    ] = False,
) -> None:
    """Train teachers and a student from a configuration; write student, settings and measured result."""
    from dmth_fast import launch

    launch.run(
        source,
        config,
        changes=changes or (),
        labels=None if labels is None else labels.value,
        out=out or Path("runs") / ("train" if config is None else config.stem),
        recipe=recipe.value,
        resume=resume,
        dry_run=dry_run,
        console=_console(),
    )


@app.command()
def grid(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Sets, widths, seeds and arms, as TOML.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the cells, shared by all processes.")],
    seconds: Annotated[
        float | None, typer.Option("--time", min=0, help="Stop cleanly after so many seconds.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes that share the queue.")] = 1,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a setting of all cells, a.b=value."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the cells, what is done, and the time left.")
    ] = False,
    is_worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False,
) -> None:
    """Run many arms from one file as a queue of cells; the same command goes on where it was stopped."""
    from dmth_fast.grid import command

    if is_worker:
        from dmth_fast.grid.config import load_grid

        chosen = load_grid(path, changes or ())
        code = command.worker(chosen, out, seconds=seconds, remarks=_console(stderr=True))
    else:
        code = command.run(
            path,
            out,
            changes=changes or (),
            seconds=seconds,
            jobs=jobs,
            dry_run=dry_run,
            console=_console(),
            remarks=_console(stderr=True),
        )
    if code:
        raise typer.Exit(code)


@app.command()
def encode(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="Folder of a saved student.")],
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="A folder, a zip, or one image.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Packed codes: .npy, or .safetensors (keeps the bits).")
    ] = Path("codes.npy"),
    names: Annotated[
        Path | None, typer.Option(help="Also write the image names, one a line, in the order of the codes.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Also write the class of each image (its folder), one a line.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images at a time.")] = 256,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an unreadable image, do not skip it.")
    ] = False,
) -> None:
    """Turn images into packed binary codes."""
    from dmth_fast import encoding

    encoding.run(model, images, out=out, names=names, labels=labels, batch_size=batch_size, strict=strict)


@app.command()
def index(
    codes: Annotated[Path, typer.Argument(metavar="CODES", help="Packed codes, .npy or .safetensors.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The index, .safetensors.")],
    ids: Annotated[
        Path | None,
        typer.Option(help="Ids of the codes: .npy, or .txt, one a line.", show_default="0, 1, 2 and so on"),
    ] = None,
    bits: Bits = None,
) -> None:
    """Write codes with their ids as an index, which search and Index.open read."""
    from dmth_fast import indexing

    indexing.run(codes, out=out, ids=ids, bits=bits)


@app.command()
def search(
    database: Annotated[
        Path, typer.Argument(metavar="DATABASE", help="Packed codes, .npy or .safetensors, or an index.")
    ],
    queries: Annotated[Path, typer.Argument(metavar="QUERIES", help="Packed codes, .npy or .safetensors.")],
    k: Annotated[int | None, typer.Option("-k", help="Neighbours a query.", show_default="10")] = None,
    radius: Annotated[
        int | None, typer.Option("--radius", "-r", help="All within this Hamming distance instead.")
    ] = None,
    bits: Bits = None,
    threads: Threads = None,
    names: Annotated[
        Path | None, typer.Option(help="Names of the codes by ascending id, one a line.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="Write all results: .npz, .safetensors, or - for text on stdout."),
    ] = None,
) -> None:
    """Find the nearest codes by Hamming distance, exactly."""
    from dmth_fast import lookup

    if k is not None and radius is not None:
        raise ValueError(
            "-k and --radius exclude each other: -k finds the nearest, --radius all within a distance"
        )
    lookup.run(
        database,
        queries,
        k=10 if k is None else k,
        radius=radius,
        bits=bits,
        threads=threads,
        names=names,
        out=out,
        console=_console(),
    )


@app.command()
def serve(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="Folder of a saved student.")],
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="The collection: a folder or a zip.")],
    codes: Annotated[
        Path | None,
        typer.Option(help="Its codes, as `encode` wrote them with this student; not to encode it again."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Neighbours shown at first.")] = 12,
    host: Annotated[str, typer.Option(help="Address of the page; by default for this machine alone.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port of the page.", min=1, max=65535)] = 7860,
    batch_size: Annotated[int, typer.Option(help="Images encoded at a time.")] = 256,
) -> None:
    """Show a web page: an image in, the nearest images of a collection out."""
    from dmth_fast import serve as web

    web.run(model, images, codes=codes, k=k, host=host, port=port, batch_size=batch_size)


@app.command()
def evaluate(
    query_codes: Annotated[
        Path,
        typer.Argument(metavar="QUERY_CODES", help="Packed codes of the queries, .npy or .safetensors."),
    ],
    query_labels: Annotated[
        Path,
        typer.Argument(
            metavar="QUERY_LABELS",
            help="Their labels: .npy or .safetensors (ids or multi-hot), or .txt, one id or name a line.",
        ),
    ],
    database_codes: Annotated[
        Path, typer.Argument(metavar="DATABASE_CODES", help="Packed codes of the database.")
    ],
    database_labels: Annotated[Path, typer.Argument(metavar="DATABASE_LABELS", help="Their labels.")],
    preset: Annotated[
        Preset | None,
        typer.Option(help="What a repository would have reported: its rule.", show_default="our own"),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Count the first so many only.", show_default="all")
    ] = None,
    precision_at: Annotated[
        list[int] | None,
        typer.Option("--at", help="Also precision, recall and NDCG at this cut-off; may be repeated."),
    ] = None,
    ties: Annotated[
        Ties | None, typer.Option(help="How equal distances count.", show_default="expected")
    ] = None,
    normalizer: Annotated[
        Normalizer | None, typer.Option(help="What AP is divided by.", show_default="relevant")
    ] = None,
    empty: Annotated[
        Empty | None,
        typer.Option(help="What a query with nothing relevant counts.", show_default="zero"),
    ] = None,
    empty_ball: Annotated[
        EmptyBall | None,
        typer.Option(help="What a query with nothing within a radius counts there.", show_default="zero"),
    ] = None,
    graded: Annotated[
        Graded | None,
        typer.Option(
            help="Multi-hot labels: NDCG, ACG and WAP at each --at count how much is shared.",
            show_default="no",
        ),
    ] = None,
    gain: Annotated[
        Gain | None, typer.Option(help="What a grade is worth in NDCG.", show_default="exponential")
    ] = None,
    exclude_self: Annotated[
        bool, typer.Option("--exclude-self", help="Queries are the database, and none finds itself.")
    ] = False,
    bits: Bits = None,
    threads: Threads = None,
    json: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
    per_query: Annotated[
        bool, typer.Option("--per-query", help="With --json: every query's values, too.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Also draw precision over recall, at K, and the distances here."),
    ] = None,
) -> None:
    """Measure retrieval: mAP with ties accounted for, precision and recall."""
    from dmth_fast import measured

    named = {
        "ties": ties,
        "normalizer": normalizer,
        "empty": empty,
        "empty_ball": empty_ball,
        "graded": graded,
        "gain": gain,
    }
    measured.run(
        (query_codes, query_labels),
        (database_codes, database_labels),
        preset=None if preset is None else preset.value,
        settings={
            "top_k": top_k,
            "precision_at": precision_at,
            **{name: None if value is None else value.value for name, value in named.items()},
        },
        bits=bits,
        exclude_self=exclude_self,
        threads=threads,
        json=json,
        per_query=per_query,
        plot=plot,
        console=_console(),
    )


@app.command()
def bench(
    n: Annotated[int, typer.Option("--n", "-n", help="Codes in the database.")] = 1_000_000,
    bits: Annotated[
        list[int] | None,
        typer.Option("--bits", "-b", help="Width of a code; may be repeated.", show_default="64, 128"),
    ] = None,
    queries: Annotated[
        list[int] | None,
        typer.Option("--queries", "-q", help="Queries a call; may be repeated.", show_default="1, 100"),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Neighbours a query.")] = 10,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(help="Turns that each takes.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random codes.")] = 0,
    json: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Time search on this machine beside FAISS and NumPy; equal answers are asserted first."""
    from dmth_fast import bench as benchmark

    benchmark.command(
        n=n,
        widths=bits or (64, 128),
        counts=queries or (1, 100),
        k=k,
        threads=threads,
        rounds=rounds,
        seed=seed,
        json=json,
        console=_console(),
        remarks=_console(stderr=True),
    )


@app.command()
def check() -> None:
    """Check this installation: every kernel against the reference, the torch operators, the accelerator."""
    from dmth_fast import check as self_test

    failed = self_test.run(_console())
    if failed:
        raise RuntimeError(f"{failed} of the checks failed, see the table")


def _console(stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)
