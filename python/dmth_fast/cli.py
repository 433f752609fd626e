"""The ``dmth-fast`` command: from images to codes, search and measured results.

Exit codes: 0 done; 1 the run failed; 2 wrong usage or bad input; 130 interrupted. An error is one line on
stderr that says what was expected and what came; ``--debug`` shows where it arose. Results go to stdout,
remarks and progress to stderr. Heavy imports stand inside the commands, so that ``--help`` answers at once.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

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

__all__ = ["app", "main"]

_BAD_INPUT = (
    TypeError,
    ValueError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)

_TRAINING = ("demo", "train", "grid")

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


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Args:
        arguments: Words after the program's name; ``None`` takes those of the process.

    Raises:
        SystemExit: Always, with the exit code that the module describes.
    """
    debug, words = _take_debug(list(sys.argv[1:] if arguments is None else arguments))
    if words[:1] and words[0] in _TRAINING:
        # By default OpenMP's threads spin while they wait. The layers of a tiny network last microseconds:
        # where other work wants the cores, each then waits for a thread that spins in the place of another.
        # OpenMP reads this once, when torch loads it.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        command = typer.main.get_command(app)
        status = command.main(args=words or ["--help"], prog_name="dmth-fast", standalone_mode=False)
        sys.stdout.flush()
        code = status if isinstance(status, int) else 0
        if code == 130:
            raise KeyboardInterrupt
        if not words:
            code = 2
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output has left (`| head`); there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        if debug:
            raise
        code = _report(error, words)
    sys.exit(code)


def _take_debug(words: list[str]) -> tuple[bool, list[str]]:
    """Accept --debug at any place before a bare ``--``, since it is added to a command that failed."""
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return len(kept) < end, kept + words[end:]


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # As Ctrl-C: unwinding lets every half-written temporary file be removed.
    raise SystemExit(128 + signal.SIGTERM)


def _report(error: Exception, words: list[str]) -> int:
    """Say in one line what went wrong; return the exit code."""
    # The parser's exceptions have no public base that all versions of typer share: known by what they can do.
    usage = getattr(error, "format_message", None)
    if usage is not None:
        context = getattr(error, "ctx", None)
        path = "dmth-fast" if context is None else context.command_path
        came = _given(getattr(getattr(error, "param", None), "opts", ()), words)
        return _fail(f"{usage().rstrip('.')}{came} (see {path} --help)", 2, path)
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.strerror}: {error.filename}"
    if isinstance(error, _BAD_INPUT):
        return _fail(text, 2)
    return _fail(f"failed: {type(error).__name__}: {text} (--debug shows where)", 1)


def _given(options: Sequence[str], words: list[str]) -> str:
    """What was given for an option, since the parser's messages say only what was expected."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in options:
            return f", got {value if equals else ' '.join(words[index + 1 : index + 2])!r}"
    return ""


def _fail(message: str, code: int, program: str = "dmth-fast") -> int:
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
    return code


def _console(stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


if __name__ == "__main__":
    main()
