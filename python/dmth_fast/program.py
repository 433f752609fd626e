"""Running the command line: what an error looks like, and the exit codes.

0 done; 1 the run failed; 2 wrong usage or bad input; 130 interrupted. An error is one line on stderr that
says what was expected and what came; ``--debug`` shows where it arose.
"""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import typer

from dmth_fast.cli import app

__all__ = ["main"]

_BAD_INPUT = (
    TypeError,
    ValueError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)

_TRAINING = ("demo", "train", "grid")


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
