"""A time at which training stops by itself, after the epoch in progress and its checkpoint."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_END: ContextVar[float | None] = ContextVar("end", default=None)


class OutOfTimeError(Exception):
    """The time given is over; what was trained so far is in the checkpoint."""


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Within the block, training that leaves checkpoints stops after the epoch in which the time runs out.

    Args:
        seconds: from now; None: no end.

    Example:
        >>> with deadline(0.0):
        ...     out_of_time()
        True
        >>> out_of_time()
        False
    """
    token = _END.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _END.reset(token)


def out_of_time() -> bool:
    """Whether the time given is over."""
    end = _END.get()
    return end is not None and time.monotonic() >= end
