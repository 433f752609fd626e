"""Published systems, a file each: stages, equations and defaults over the shared parts."""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from dmth_fast.learning.config import from_mapping, one_of
from dmth_fast.trainconfig import read_values

RECIPES = ("cukdfir", "qiang", "sakdh")
"""Names of the modules here. Each has a ``Config`` dataclass, ``run(config, out_dir)`` and ``toy()``."""


def run_file(
    recipe: str,
    config_file: str | Path,
    out_dir: str | Path,
    *,
    overrides: Iterable[str] = (),
    progress: bool = True,
) -> dict[str, Any]:
    """Run a recipe from a TOML file; returns what ``result.json`` in ``out_dir`` holds.

    Raises:
        ValueError: an unknown recipe, an unknown key, or a value out of range.
        FileNotFoundError: no such file.
    """
    module = _module(recipe)
    config = from_mapping(module.Config, read_values(config_file, overrides))
    result: dict[str, Any] = module.run(config, out_dir, progress=progress)
    return result


def run_toy(recipe: str, out_dir: str | Path, *, seed: int = 0, progress: bool = False) -> dict[str, Any]:
    """Run a recipe for seconds on scikit-learn's digits; its figures show that it runs, not what it can do.

    Raises:
        ValueError: an unknown recipe.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    module = _module(recipe)
    result: dict[str, Any] = module.run(module.toy(seed), out_dir, progress=progress)
    return result


def _module(recipe: str) -> Any:
    one_of("recipe", recipe, RECIPES)
    return import_module(f"dmth_fast.learning.recipes.{recipe}")
