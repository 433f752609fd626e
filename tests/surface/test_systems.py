"""The further published systems from the command line: their toys, and runs of a configuration."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
from commandline import Run

from dmth_fast.learning.recipes import RECIPES
from dmth_fast.trainconfig import dump_config


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """The recipes set torch's number of threads, which the other tests are to keep."""
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.mark.parametrize("command", ["demo", "train"])
def test_help_names_every_system(run: Run, command: str) -> None:
    printed = run(command, "--help").out
    assert all(name in printed for name in ("dmth", *RECIPES))


@pytest.mark.parametrize("system", RECIPES)
def test_demo_runs_the_toy_of_a_system(run: Run, tmp_path: Path, system: str) -> None:
    code, printed, err = run("demo", "--system", system, "--seed", 2, "--out", tmp_path / "toy")
    assert code == 0, err
    result = json.loads((tmp_path / "toy" / "result.json").read_text())
    assert result["recipe"] == system
    assert result["protocol"].split(",")[0] in printed
    assert f"Written to {tmp_path / 'toy'}: result.json, config.toml" in printed
    for row in result["rows"]:
        assert row["name"] in printed
    assert {row["bits"] for row in result["rows"]} == {32}
    assert dump_config(import_module(f"dmth_fast.learning.recipes.{system}").toy(2)) == result["config"]


def test_each_run_has_a_folder_of_its_own(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("demo", "--system", "sakdh").code == 0
    toy = import_module("dmth_fast.learning.recipes.sakdh").toy(1)
    (tmp_path / "mine.toml").write_text(dump_config(toy))
    assert run("train", "--recipe", "sakdh", "--config", "mine.toml").code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["demo-sakdh", "mine"]


def test_train_runs_the_recipe_of_a_configuration(run: Run, tmp_path: Path) -> None:
    toy = import_module("dmth_fast.learning.recipes.sakdh").toy(1)
    (tmp_path / "run.toml").write_text(dump_config(toy))
    words = ("train", "--recipe", "sakdh", "--config", tmp_path / "run.toml", "--out", tmp_path / "run")
    code, printed, err = run(*words, "--set", "bitz=3")
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert "'bitz'" in err
    assert not (tmp_path / "run").exists()

    code, printed, err = run(*words, "--set", "data.source=elsewhere.npz")
    assert (code, printed) == (2, "")
    assert "elsewhere.npz does not exist" in err
    code, printed, err = run(*words, "--set", "model.training.batch_size=5000")
    assert (code, printed) == (2, "")
    assert "model.training.batch_size must be at most the 1198 images or pairs" in err
    assert not (tmp_path / "run" / "settings.json").exists()

    code, printed, err = run(*words, "--set", "bits=[8]", "--set", "model.training.epochs=1")
    assert code == 0, err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["recipe"] == "sakdh"
    assert {row["bits"] for row in result["rows"]} == {8}
    assert "sakdh:" in printed
    assert "epochs = 1" in (tmp_path / "run" / "config.toml").read_text()
