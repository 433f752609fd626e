"""The card of a saved student, ``config.json``: how it was made, what it has seen, how it sees images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dmth_fast
from dmth_fast.learning.config import to_mapping
from dmth_fast.learning.weights import load_weights

if TYPE_CHECKING:
    from dmth_fast.learning.hasher import Hasher

__all__ = ["FORMAT", "describe", "read_card"]

FORMAT = "dmth-fast-hasher-1"
_KEYS = ("backbone", "bits", "classes", "config", "history", "input_size", "recipe", "teachers")


def describe(hasher: "Hasher") -> dict[str, Any]:
    """Return the card of a trained student as JSON values."""
    mean, deviation = hasher.network.backbone.normalization
    return {
        "format": FORMAT,
        "version": dmth_fast.__version__,
        "backbone": hasher.backbone,
        "bits": hasher.bits,
        "classes": list(hasher.classes),
        "input_size": list(hasher.input_size or ()),
        "preprocessing": {
            "channels": "RGB, turned as EXIF says",
            "resize": "shorter side to the input size (bicubic, antialiased), then its central part",
            "scale": 1 / 255,
            "mean": list(mean),
            "deviation": list(deviation),
        },
        "parameters": hasher.num_parameters,
        "recipe": hasher.recipe,
        "labels": hasher.hash_loss is not None,
        "seen": list(hasher.seen),
        "teachers": hasher.teachers,
        "metrics": hasher.metrics,
        "config": to_mapping(hasher.config),
        "history": hasher.history,
    }


def read_card(directory: str | Path) -> dict[str, Any]:
    """Read the card of a saved student.

    Raises:
        FileNotFoundError: no such folder or file.
        ValueError: a file instead of a folder (pickles are named as such), no JSON, another format, or a key
            that is missing.
    """
    directory = Path(directory)
    path = directory / "config.json"
    if directory.is_file():
        load_weights(directory)  # says so if it is a pickle
        raise ValueError(f"directory must be the folder of a saved Hasher, {directory} is a file")
    if not path.is_file():
        raise FileNotFoundError(f"directory {directory} holds no config.json of a saved Hasher")
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise ValueError(f"{path} must have the format {FORMAT}, got {found!r}")
    if missing := [key for key in _KEYS if key not in card]:
        raise ValueError(f"{path} must have the key {missing[0]!r}, it has {', '.join(card)}")
    return card
