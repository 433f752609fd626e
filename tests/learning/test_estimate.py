"""The dry run: what a run costs, without running it."""

from pathlib import Path

import pytest

from dmth_fast import Hasher
from dmth_fast.estimate import estimate
from dmth_fast.learning.weights import save_tensors
from dmth_fast.pipeline import load_config


def test_costs_are_those_of_the_run(tmp_path: Path, single: Hasher) -> None:
    pytest.importorskip("sklearn")
    save_tensors(tmp_path / "teacher.safetensors", single.network.backbone.state_dict())
    (tmp_path / "run.toml").write_text(
        f"protocol = 'digits'\nbackbone = 'tiny-4'\nbits = 24\n[data]\nroot = '{tmp_path}'\n"
        "[[teachers]]\nbackbone = 'tiny-8'\nweights = 'teacher.safetensors'\n"
        "[[teachers]]\nbackbone = 'tiny-6'\nepochs = 1\n[fusion]\nviews = 3\ndim = 16\n"
    )
    costs = estimate(load_config(tmp_path / "run.toml"))
    assert costs["images"] == {"query": 599, "database": 1198, "train": 1198}
    assert costs["student"]["parameters"] == Hasher("tiny-4", 24).num_parameters
    assert [row["name"] for row in costs["teachers"]] == ["tiny-8", "tiny-6"]
    assert costs["teachers"][0]["macs"] > costs["student"]["macs"] > 0
    assert costs["cache_bytes"] == 2 * ((32 + 24) * (4 * 1198 + 599) + (16 + 24 + 10) * 3 * 1198)
    assert costs["seconds"].keys() == {"training teachers", "caching teacher features", "training students"}
    assert min(costs["seconds"].values()) >= 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.toml", "teacher.safetensors"]


def test_what_the_run_would_refuse_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "run.toml").write_text(
        "protocol = 'digits-100'\nbackbone = 'tiny-4'\n[[teachers]]\nbackbone = 'tiny-6'\nepochs = 1\n"
    )
    both = r"100 images .* student\.training\.batch_size = 128, fusion\.training\.batch_size = 256"
    with pytest.raises(ValueError, match=both):
        estimate(load_config(tmp_path / "run.toml"))
