"""Arms of a comparison, kept one by one: a run that was interrupted goes on where it stopped."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dmth_fast
from dmth_fast.atomic import write_text
from dmth_fast.comparison import Floats, paired_interval
from dmth_fast.learning.config import TrainingConfig, to_mapping
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.macs import count_macs
from dmth_fast.learning.protocols import ImageSplit, data_root
from dmth_fast.learning.recipes.pictures import draw_images
from dmth_fast.learning.weights import load_weights, save_tensors
from dmth_fast.methods import fill_rates, measure, speed, student_key, trivial

SETTINGS = "settings.json"
LISTS = ("arms", "bits", "seeds", "methods", "losses", "starts", "threads", "cache")
"""Settings that say which arms there are and where, but change none of them."""


class Run:
    """One run of a recipe: its folder, where its data are, and since when it runs.

    The folder is the run's own from :meth:`claim` on, which comes after all that may be mistyped was opened.

    Args:
        config: with ``data.root`` and ``threads``.
        out_dir: folder of the run.

    Raises:
        ValueError: the folder holds a run of other settings.
    """

    def __init__(self, config: Any, out_dir: str | Path) -> None:
        self.out, self._begin = Path(out_dir), time.perf_counter()
        self.root = data_root(config.data.root)
        if config.threads:
            torch.set_num_threads(config.threads)
        self._config = config
        _settings(self.out, config)

    @property
    def claimed(self) -> bool:
        """Whether the folder holds arms of these settings, or was meant to."""
        return (self.out / SETTINGS).exists()

    def claim(self) -> None:
        """Note the settings in the folder; errors as :func:`claim_folder`."""
        claim_folder(self.out, self._config)

    @property
    def seconds(self) -> float:
        """Since the run was started; arms that were done before cost nothing."""
        return time.perf_counter() - self._begin


def claim_folder(out_dir: Path, config: Any) -> None:
    """Note in a run's folder what its arms were made with; what :data:`LISTS` names may change between runs.

    Raises:
        ValueError: the folder holds arms of other settings, which would be taken for these.
    """
    write_text(out_dir / SETTINGS, _settings(out_dir, config))


def _settings(out_dir: Path, config: Any) -> str:
    """What a folder must note, or already does; ValueError where it notes something else."""
    told = {key: value for key, value in to_mapping(config).items() if key not in LISTS}
    told["version"] = dmth_fast.__version__
    if not told.get("seen"):
        told.pop("seen", None)  # folders of before there was such a setting are the same
    note, text = out_dir / SETTINGS, json.dumps(told, sort_keys=True, indent=1)
    if note.exists() and note.read_text() != text:
        raise ValueError(f"folder {out_dir} holds a run of other settings: use another folder")
    return text


def refuse_set(where: str, settings: Any, **instead: str) -> None:
    """Raise ValueError for settings that a recipe sets itself or does without.

    Args:
        where: they stand in the configuration.
        settings: a dataclass of defaults.
        instead: for each of them, what to do instead.

    Example:
        >>> from dmth_fast.learning.config import TrainingConfig
        >>> refuse_set("training", TrainingConfig(seed=3), seed="set seeds")
        Traceback (most recent call last):
        ValueError: training.seed must be left at 0, got 3: set seeds
    """
    defaults = type(settings)()
    for key, words in instead.items():
        value, default = getattr(settings, key), getattr(defaults, key)
        if value != default:
            raise ValueError(f"{where}.{key} must be left at {default!r}, got {value!r}: {words}")


def check_batch(where: str, training: TrainingConfig, items: int) -> None:
    """Raise ValueError where the items to learn from do not fill a batch."""
    if training.batch_size > items:
        raise ValueError(
            f"{where}.batch_size must be at most the {items} images or pairs to learn from, "
            f"got {training.batch_size}"
        )


def kept_arrays(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Read the codes or logits of one arm, or make (train and encode) and write them.

    Args:
        path: safetensors file in a folder of :func:`claim_folder`.
        make: returns arrays by name.
    """
    if path.exists():
        return {name: value.numpy() for name, value in load_weights(path).items()}
    arrays = make()
    save_tensors(path, {name: torch.from_numpy(value) for name, value in arrays.items()})
    return arrays


def measure_hasher(
    folder: Path, split: ImageSplit, hasher: Hasher, name: str, **extra: Any
) -> tuple[dict[str, Any], Floats]:
    """The row of a hasher and each query's average precision; keeps its codes, draws what it finds."""
    codes = kept_arrays(
        folder / "codes.safetensors",
        lambda: {part: hasher.encode(getattr(split, part)) for part in ("query", "database")},
    )
    measured = measure(
        split,
        name,
        **extra,
        codes=(codes["query"], codes["database"]),
        predicted=None,
        bits=hasher.bits,
        parameters=hasher.num_parameters,
        macs=count_macs(hasher.network, split.query.size),
        images_per_second=round(speed(hasher.encode, split.query), 1),
    )
    labels = [part.required_labels("a picture") for part in (split.query, split.database)]
    title = f"Nearest images: {name}, {hasher.bits} bits"
    draw_images(folder / "neighbours.png", split, codes, labels, bits=hasher.bits, title=title)
    return measured.row, measured.precision


def named_classes(split: ImageSplit, hasher: Hasher, folder: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of the classes that a hasher names, as one-hot codes, beside its own; keeps its logits."""
    parts = ("query", "database")
    logits = kept_arrays(
        folder / "logits.safetensors", lambda: {part: hasher.logits(getattr(split, part)) for part in parts}
    )
    note = f"trivial, {len(split.train.classes)} bits: {row['name']}"
    one_hot = trivial(split, hasher, note, [logits[part] for part in parts]).row | {"bits": row["bits"]}
    fill_rates([one_hot], {student_key(hasher): row["images_per_second"]})
    return one_hot


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
    over = "queries, " + ("one seed" if seeds == 1 else f"Student's t over {seeds} seeds")
    return {
        "first": first,
        "second": second,
        "bits": bits,
        "metric": metric,
        "ratio": float(pair[0].mean() / pair[1].mean()),
        **paired_interval(pair[0], pair[1], seed=0),
        "interval": f"95 %, paired bootstrap over {over}",
    }
