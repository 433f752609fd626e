"""Types of the fixtures that run the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


class Files(NamedTuple):
    database: Path
    queries: Path
    database_labels: Path
    query_labels: Path
