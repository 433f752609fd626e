"""Files that one process at a time may hold; the system lets go of them when it ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["held", "holding"]


@contextmanager
def holding(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock file ``path`` for the block.

    Args:
        path: made where it is missing, and never removed: a removed file could be held twice.
        wait: until whoever holds it lets go; without, the block is told that it is taken.

    Yields:
        Whether it is held; always True with ``wait``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "lock"
    ...     with holding(path, wait=False) as first, holding(path, wait=False) as second:
    ...         print(first, second)
    True False
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def held(path: Path) -> bool:
    """Whether some process holds the lock file now."""
    if not path.exists():
        return False
    with holding(path, wait=False) as free:
        return not free
