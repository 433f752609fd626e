"""The ``train`` command: its words become a configuration, which is run, or whose cost is estimated.

Also the toys that ``demo`` runs of the systems that have a recipe.
"""

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from dmth_fast.trainconfig import TrainConfig

__all__ = ["run", "toy"]

_LABELS = {
    "folders": ("labels=true", 'data.labels="folders"'),
    "none": ("labels=false", 'data.labels="none"'),
}
"""What the word after ``--labels`` sets."""


def run(
    source: Path | None,
    config: Path | None,
    *,
    changes: Sequence[str],
    labels: str | None,
    out: Path,
    recipe: str,
    resume: bool,
    dry_run: bool,
    console: "Console",
) -> None:
    """Train from images, a configuration or both, and say what was found and written.

    Args:
        source: Training images; None leaves them to ``config``.
        config: TOML file; None takes the settings for a folder, ``folder.toml``, or ``photos.toml`` without
            labels.
        changes: ``a.b=value``, applied last.
        labels: ``folders`` or ``none``; None leaves it to ``config``.
        out: Folder of the run.
        recipe: Name of the published system.
        resume: Continue an interrupted run in ``out``.
        dry_run: Print what the run would cost instead; nothing is written to ``out``.
        console: Where the tables go.

    Raises:
        ValueError: Words that do not go together, or anything the configuration or the run refuses.
        FileNotFoundError: No such configuration, images or weights.
        NotADirectoryError: ``out`` is a file.
    """
    if recipe != "dmth":
        if config is None or source is not None or resume or dry_run or labels is not None:
            raise ValueError(
                f"--recipe {recipe} needs --config, and takes none of SOURCE, --labels, --resume, --dry-run"
            )
        _refuse_file(out)
        from dmth_fast.learning.recipes import run_file

        _print_recipe(run_file(recipe, config, out, overrides=changes), out, console)
        return
    if source is None and config is None:
        raise ValueError("train needs images (SOURCE) or a configuration (--config), got neither")
    if dry_run and resume:
        raise ValueError("--dry-run and --resume exclude each other: a dry run leaves nothing to resume")
    _refuse_file(out)
    from dmth_fast import report
    from dmth_fast.trainconfig import load_config

    # Before the changes, which are more exact: what they contradict, the configuration refuses.
    overrides = [*(_LABELS[labels] if labels is not None else ()), *changes]
    if source is not None:
        # An absolute path: relative ones in a configuration start from its own root of data.
        overrides.append(f"data.train={dumps(str(source.absolute()))}")
    default = "photos.toml" if labels == "none" else "folder.toml"
    chosen = Path(__file__).with_name(default) if config is None else config
    settings = load_config(chosen, overrides)
    if dry_run:
        _rehearse(settings, console)
        return
    from dmth_fast.pipeline import train

    result = train(settings, out, resume=resume)
    if not result:  # one of several processes; another writes and prints
        return
    console.print(report.result_table(result))
    if count := result["split"]["skipped"]:
        named = [f"{name} ({' '.join(reason.split())})" for name, reason in result["split"]["skipped_files"]]
        more = f" and {count - len(named)} more" if count > len(named) else ""
        console.print(f"{count} files skipped: {', '.join(named)}{more}", soft_wrap=True, markup=False)
    console.print(f"Written to {out}: result.json, config.toml, student. Next:", soft_wrap=True)
    console.print(f"  dmth-fast encode {out}/student YOUR_IMAGES --out codes.npy", soft_wrap=True)


def toy(system: str, out: Path, *, seed: int, quick: bool, console: "Console") -> None:
    """Run the toy of a system that has a recipe, and print its table.

    Args:
        system: Name of the recipe.
        out: Folder of the results.
        seed: Of weights and batches.
        quick: Refused: a toy has no shorter form.
        console: Where the table goes.

    Raises:
        ValueError: ``quick``.
        NotADirectoryError: ``out`` is a file.
    """
    if quick:
        raise ValueError(f"--quick is for --system dmth alone, {system} is a toy already")
    _refuse_file(out)
    from dmth_fast.learning.recipes import run_toy

    _print_recipe(run_toy(system, out, seed=seed), out, console)


def _print_recipe(result: dict[str, Any], out: Path, console: "Console") -> None:
    from dmth_fast.learning.recipes.results import result_table

    console.print(result_table(result))
    console.print(f"Written to {out}: result.json, config.toml, a folder for each arm.", soft_wrap=True)


def _rehearse(settings: "TrainConfig", console: "Console") -> None:
    import torch

    from dmth_fast import report
    from dmth_fast.estimate import estimate

    console.print(report.estimate_table(estimate(settings), protocol=settings.protocol))
    if torch.cuda.is_available() and settings.student.training.device == "auto":
        console.print("Training was timed on the processor; on the GPU it takes less.", soft_wrap=True)


def _refuse_file(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out must be a folder, {out} is a file")
