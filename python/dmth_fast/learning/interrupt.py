"""Ctrl-C and termination, held back until a step is whole."""

import signal
import threading
from types import FrameType, TracebackType

__all__ = ["Interrupt"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Context manager in which the first SIGINT or SIGTERM only sets :attr:`asked`; a second one acts.

    Outside the main thread, which alone may watch signals, it watches nothing.

    Args:
        enabled: whether to watch at all.

    Example:
        >>> with Interrupt() as interrupt:
        ...     signal.raise_signal(signal.SIGINT)
        ...     interrupt.asked
        True
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled and threading.current_thread() is threading.main_thread()
        self._number: int | None = None

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self._number is not None

    def act(self) -> None:
        """Let what was held back happen: KeyboardInterrupt, or whatever the program does on SIGTERM."""
        self._restore()
        signal.raise_signal(self._number or signal.SIGINT)

    def __enter__(self) -> "Interrupt":
        if self._enabled:
            former = {number: signal.signal(number, self._note) for number in _SIGNALS}
            # None stands for a handler that Python did not set and cannot set again.
            self._former = {number: signal.SIG_DFL if h is None else h for number, h in former.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._number is not None:
            self.act()
        self._number = number

    def _restore(self) -> None:
        if self._enabled:
            for number, former in self._former.items():
                signal.signal(number, former)
            self._enabled = False
