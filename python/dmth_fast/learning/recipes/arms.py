"""Arms of a comparison, kept one by one: a run that was interrupted goes on where it stopped."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dmth_fast.comparison import Floats, paired_interval
from dmth_fast.learning.config import to_mapping
from dmth_fast.learning.weights import load_file, save_tensors

Codes = dict[str, NDArray[np.uint8]]

LISTS = ("arms", "bits", "seeds", "methods", "losses", "starts", "threads", "cache")
"""Settings that say which arms there are and where, but change none of them."""


def kept_codes(path: Path, config: Any, make: Callable[[], Codes], **arm: Any) -> Codes:
    """Read the codes of one arm, or make and write them.

    Args:
        path: safetensors file.
        config: of the whole run; what it lists of :data:`LISTS` may change between runs.
        make: trains the arm and returns its packed codes by name.
        arm: what tells it from the others.

    Raises:
        ValueError: the file holds an arm of other settings.
    """
    told = {key: value for key, value in to_mapping(config).items() if key not in LISTS}
    text = json.dumps({"config": told, "arm": arm}, sort_keys=True)
    if path.exists():
        tensors, metadata = load_file(path)
        if metadata.get("settings") != text:
            raise ValueError(f"{path} holds the codes of other settings: use another folder")
        return {name: value.numpy() for name, value in tensors.items()}
    codes = make()
    save_tensors(path, {name: torch.from_numpy(value) for name, value in codes.items()}, {"settings": text})
    return codes


def with_seed(training: Any, seed: int, **changes: Any) -> Any:
    """The training settings of one seed."""
    return dataclasses.replace(training, seed=seed, **changes)


def comparison(
    first: str,
    second: str,
    per_query: Mapping[str, Sequence[Floats]],
    *,
    bits: int,
    metric: str,
    seeds: int = 1,
) -> dict[str, Any]:
    """The paired difference of two arms over queries (and seeds), with its ratio."""
    pair = [np.stack(list(per_query[name])) for name in (first, second)]
    over = "queries, one seed" if seeds == 1 else f"queries and {seeds} seeds"
    return {
        "first": first,
        "second": second,
        "bits": bits,
        "metric": metric,
        "ratio": float(pair[0].mean() / pair[1].mean()),
        **paired_interval(pair[0], pair[1], seed=0),
        "interval": f"95 %, paired bootstrap over {over}",
    }
