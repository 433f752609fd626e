"""What options of the command line may say, and options that several commands share.

The words are written out, so that ``--help`` answers without loading what they name; tests hold them equal.
"""

from enum import Enum
from typing import Annotated

import typer


class Ties(str, Enum):
    """How equal distances count in average precision."""

    expected = "expected"
    stable = "stable"
    optimistic = "optimistic"
    pessimistic = "pessimistic"


class Normalizer(str, Enum):
    """What average precision is divided by."""

    relevant = "relevant"
    min = "min"
    retrieved = "retrieved"


class EmptyBall(str, Enum):
    """What a query with nothing within a Hamming radius counts there."""

    zero = "zero"
    skip = "skip"


class Graded(str, Enum):
    """How relevant an item is that shares some labels."""

    shared = "shared"
    cosine = "cosine"


class Gain(str, Enum):
    """What a grade is worth in NDCG."""

    exponential = "exponential"
    linear = "linear"


class Preset(str, Enum):
    """Whose rule for mAP."""

    deephash = "deephash"
    hashnet = "hashnet"
    csq = "csq"
    orthohash = "orthohash"
    thulab = "thulab"
    pml_map_at_r = "pml_map_at_r"


class System(str, Enum):
    """The published systems."""

    dmth = "dmth"
    cukdfir = "cukdfir"
    qiang = "qiang"
    sakdh = "sakdh"


class Labels(str, Enum):
    """Where the classes of training images come from."""

    folders = "folders"
    none = "none"


class Empty(str, Enum):
    """What a query with nothing relevant counts."""

    zero = "zero"
    skip = "skip"
    error = "error"


Threads = Annotated[
    int | None, typer.Option("--threads", "-t", help="Threads to use.", show_default="all cores")
]
Bits = Annotated[
    int | None,
    typer.Option(help="Width of a code; padding bits are then checked.", show_default="8 x bytes"),
]
