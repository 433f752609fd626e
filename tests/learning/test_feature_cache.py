"""The cache of teacher features: equal manifests share, other manifests and damaged files do not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dmth_fast.learning.features import FeatureCache

MANIFEST = {"weights": "abc", "view": 1, "rows": 3}


def columns(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"features": torch.full((3, 2), value)}


def never() -> dict[str, torch.Tensor]:
    raise AssertionError("computed again")


@pytest.mark.parametrize("on_disk", [False, True])
def test_equal_manifests_are_computed_once(tmp_path: Path, on_disk: bool) -> None:
    cache = FeatureCache(tmp_path if on_disk else None)
    first = cache.get(MANIFEST, columns)
    assert first["features"].dtype == torch.float16
    assert torch.equal(cache.get(dict(reversed(MANIFEST.items())), never)["features"], first["features"])


def test_runs_share_files(tmp_path: Path) -> None:
    FeatureCache(tmp_path).get(MANIFEST, columns)
    assert FeatureCache(tmp_path).get(MANIFEST, never)["features"].shape == (3, 2)


def test_any_change_makes_another_file(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.get(MANIFEST, columns)
    changed = cache.get({**MANIFEST, "weights": "abd"}, lambda: columns(2.0))
    assert float(changed["features"][0, 0]) == 2.0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_contradicts_its_manifest_is_refused(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.get(MANIFEST, columns)
    path = next(tmp_path.iterdir())
    save_file(load_file(path), path, {"manifest": "{}"})
    with pytest.raises(ValueError, match="does not match its manifest"):
        cache.get(MANIFEST, never)


def test_a_file_with_lost_rows_is_refused(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.get({**MANIFEST, "rows": 4}, columns)
    with pytest.raises(ValueError, match="must be float16 with 4 rows"):
        cache.get({**MANIFEST, "rows": 4}, never)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.get(MANIFEST, columns)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        cache.get(MANIFEST, never)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
def test_values_that_fp16_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="column features holds values that are not finite"):
        FeatureCache(tmp_path).get(MANIFEST, lambda: columns(value))
    assert not list(tmp_path.iterdir())
