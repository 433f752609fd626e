"""What a training run shows: a bar on a terminal, a line an epoch elsewhere, nothing when it is off."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Context manager around the epochs of one run; writes to standard error."""

    def __init__(self, title: str, epochs: int, steps: int, *, enabled: bool) -> None:
        self._title, self._epochs, self._enabled = title, epochs, enabled
        self._console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
        self._bar: Progress | None = None
        if enabled and self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]:.3f}"),
                TextColumn("{task.fields[images]:.0f} images/s"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task(title, total=epochs * steps, loss=0.0, images=0.0)
        self._steps = steps

    def __enter__(self) -> "Reporter":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, epoch: int, images: int, loss: float) -> None:
        """Count one step of ``images`` images."""
        if self._bar is not None:
            speed = (self._bar.tasks[0].speed or 0.0) * images
            description = f"{self._title} {epoch + 1}/{self._epochs}"
            self._bar.update(self._task, advance=1, description=description, loss=loss, images=speed)

    def epoch(self, metrics: dict[str, float]) -> None:
        """Report the means of one epoch, above the bar if there is one."""
        if self._enabled:
            rest = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "epoch")
            console = self._console if self._bar is None else self._bar.console
            console.print(f"{self._title} {metrics['epoch']}/{self._epochs}: {rest}")


@contextmanager
def counting(title: str, images: int, *, enabled: bool) -> Iterator[Callable[[int], None]]:
    """Show how many of ``images`` are done: call what it gives with the number of further ones."""
    console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
    begin = time.perf_counter()
    if not (enabled and console.is_terminal):
        yield lambda _: None
        if enabled:
            console.print(f"{title}: {images} images, {time.perf_counter() - begin:.1f} s")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=images)
        yield lambda count: bar.advance(task, count)
