import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commandline import Files, Run

from dmth_fast import __version__, lookup
from dmth_fast.program import main

COMMANDS = ("demo", "train", "encode", "index", "search", "evaluate", "bench", "check")


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"dmth-fast {__version__}\n", "")


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help(run: Run, command: tuple[str, ...]) -> None:
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert "Usage: dmth-fast" in out
    if not command:
        assert all(name in out for name in COMMANDS)


def test_no_command_shows_the_help_and_is_wrong_usage(run: Run) -> None:
    code, out, err = run()
    assert code == 2
    assert "Usage: dmth-fast" in out
    assert err == ""


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; from dmth_fast.program import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(sorted({'torch', 'numpy', 'matplotlib', 'sklearn'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

    def seconds(*words: str) -> float:
        """Processor time, which other work on the machine does not lengthen much."""
        times = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *words], capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        return min(times)

    assert seconds("-m", "dmth_fast", "--help") < 4 * seconds("-c", "import typer, rich.console")


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        (("serch",), ("No such command 'serch'", "dmth-fast --help")),
        (("search",), ("Missing argument 'DATABASE'", "dmth-fast search --help")),
        (("search", "a", "b", "c"), ("unexpected extra argument",)),
        (("search", "a", "b", "-k", "ten"), ("'-k'", "valid integer", "'ten'")),
        (("search", "a", "b", "--nope"), ("No such option", "--nope")),
        (("search", "a", "b", "-k", "3", "--radius", "2"), ("exclude each other",)),
        (("evaluate", "a", "b", "c", "d", "--ties", "best"), ("--ties", "'expected'", "'best'")),
        (("demo", "--system", "dhd"), ("--system", "'sakdh'", "'dhd'")),
        (("demo", "--system", "qiang", "--quick"), ("--quick", "qiang is a toy already")),
        (("demo", "--system", "qiang", "--out", __file__), ("--out must be a folder",)),
        (("train", "--recipe", "dhd"), ("--recipe", "'cukdfir'", "'dhd'")),
        (("train", "--recipe", "qiang"), ("--recipe qiang needs --config",)),
        (("train", "a", "--recipe", "qiang", "--config", "b"), ("takes none of SOURCE",)),
        (("train", "--recipe", "sakdh", "--config", "b", "--dry-run"), ("--dry-run",)),
        (("train", "--recipe", "sakdh", "--config", "b", "--labels", "none"), ("--labels",)),
        (("train", "--recipe", "sakdh", "--config", "none.toml"), ("none.toml does not exist",)),
        (("train", "a", "--labels", "some"), ("--labels", "'folders'", "'some'")),
        (("train", "a", "--dry-run", "--resume"), ("exclude each other",)),
        (("bench", "--rounds", "1"), ("rounds must be at least 3, got 1",)),
        (("bench", "-n", "0"), ("n must be at least 1, got 0",)),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    run: Run, words: tuple[str, ...], pieces: tuple[str, ...]
) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("dmth-fast")
    assert err.count("\n") == 1
    for piece in pieces:
        assert piece in err


@pytest.mark.parametrize(
    ("words", "before", "after"),
    [
        (("train",), None, "passive"),
        (("demo", "--seed", "-1"), None, "passive"),
        (("train",), "active", "active"),
        (("search", "train"), None, None),
    ],
)
def test_only_training_keeps_openmp_from_spinning_and_never_against_the_user(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], before: str | None, after: str | None
) -> None:
    if before is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", before)
    assert run(*words).code == 2
    assert os.environ.get("OMP_WAIT_POLICY") == after


def _raising(error: BaseException) -> Any:
    def body(*_: object, **__: object) -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("k must be\nan integer"), 2, "dmth-fast: k must be an integer\n"),
        (TypeError("codes must be uint8"), 2, "dmth-fast: codes must be uint8\n"),
        (FileNotFoundError(2, "No such file", "x.npy"), 2, "dmth-fast: No such file: x.npy\n"),
        (RuntimeError("bad luck"), 1, "dmth-fast: failed: RuntimeError: bad luck (--debug shows where)\n"),
        (OSError(28, "No space left on device", "r.npz"), 1,
         "dmth-fast: failed: OSError: No space left on device: r.npz (--debug shows where)\n"),
        (MemoryError(), 1, "dmth-fast: failed: MemoryError: MemoryError (--debug shows where)\n"),
        (KeyboardInterrupt(), 130, "dmth-fast: interrupted\n"),
    ],
)  # fmt: skip
def test_exit_codes(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    monkeypatch.setattr(lookup, "run", _raising(error))
    assert run("search", "a", "b") == (code, "", line)


@pytest.mark.usefixtures("run")
def test_debug_shows_where_at_any_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "run", _raising(RuntimeError("here")))
    for words in (["--debug", "search", "a", "b"], ["search", "a", "b", "--debug"]):
        with pytest.raises(RuntimeError, match="here"):
            main(words)


def test_reader_that_leaves_early_is_no_error(files: Files) -> None:
    words = [
        sys.executable,
        "-m",
        "dmth_fast",
        "search",
        str(files.database),
        str(files.database),
        "-k",
        "300",
        "-o",
        "-",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_no_half_written_file(tmp_path: Path, number: signal.Signals, code: int) -> None:
    program = (
        "import time, dmth_fast.lookup as lookup\n"
        "from dmth_fast.atomic import writing\n"
        "from dmth_fast.program import main\n"
        "def body(*_, **__):\n"
        f"    with writing({str(tmp_path / 'r.npz')!r}) as temporary:\n"
        "        temporary.write_bytes(b'half')\n"
        "        print('started', flush=True)\n"
        "        time.sleep(60)\n"
        "lookup.run = body\n"
        "main(['search', 'a', 'b'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        assert process.wait(30) == code
        assert process.stderr.read() == ("dmth-fast: interrupted\n" if number == signal.SIGINT else "")
    assert not list(tmp_path.iterdir())
