"""The cache of teacher features: equal manifests share, other manifests and damaged files do not."""

import errno
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dmth_fast.learning.features import FeatureCache

MANIFEST = {"weights": "abc", "view": 1, "rows": 3}


def columns(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"features": torch.full((3, 2), value)}


def load_metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


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
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_a_file_that_contradicts_its_manifest_is_refused(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.get(MANIFEST, columns)
    path = next(tmp_path.glob("*.safetensors"))
    save_file(load_file(path), path, {"manifest": "{}"})
    with pytest.raises(ValueError, match="does not match its manifest"):
        cache.get(MANIFEST, never)


def test_a_file_with_lost_rows_is_refused(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    with pytest.raises(ValueError, match=r"must have 4 rows, got 3"):
        cache.get({**MANIFEST, "rows": 4}, columns)
    cache.get(MANIFEST, columns)
    path = next(tmp_path.glob("*.safetensors"))
    save_file({"features": torch.ones(2, 2).half()}, path, load_metadata(path))
    with pytest.raises(ValueError, match="must be float16 with 3 rows"):
        cache.get(MANIFEST, never)


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    FeatureCache(tmp_path).get(MANIFEST, columns)
    path = next(tmp_path.glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is damaged: its checksum differs; delete it to have it made again"):
        FeatureCache(tmp_path).get(MANIFEST, never)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest .* is damaged"):
        FeatureCache(tmp_path).get(MANIFEST, never)


def test_the_manifest_has_statistics(tmp_path: Path) -> None:
    values = torch.randn(300, 4) * torch.arange(1.0, 5) + 2
    FeatureCache(tmp_path).get({**MANIFEST, "rows": 300}, lambda: {"features": values})
    manifest = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert (manifest["weights"], manifest["view"], manifest["rows"]) == ("abc", 1, 300)
    statistics = manifest["columns"]["features"]
    np.testing.assert_allclose(statistics["mean"], values.mean(0), atol=1e-2)
    np.testing.assert_allclose(statistics["deviation"], values.std(0, correction=0), rtol=1e-2)
    assert statistics["largest"] == float(values.half().max())
    again = FeatureCache(tmp_path)
    again.get({**MANIFEST, "rows": 300}, never)
    assert again.recorded_seconds == manifest["seconds"] > 0


def test_columns_are_memory_mapped(tmp_path: Path) -> None:
    found = FeatureCache(tmp_path).get(MANIFEST, columns)
    path = next(tmp_path.glob("*.safetensors"))
    assert any(str(path) in line for line in Path("/proc/self/maps").read_text().splitlines())
    assert found["features"].sum() == 6


def pieces(first: int, *, until: int = 10) -> Iterator[dict[str, torch.Tensor]]:
    for row in range(first, 10, 2):
        if row >= until:
            raise KeyboardInterrupt
        yield {"features": torch.full((2, 3), float(row)), "logits": torch.full((2, 1), -float(row))}


def test_an_interrupted_computation_is_continued(tmp_path: Path) -> None:
    manifest = {**MANIFEST, "rows": 10}
    whole = FeatureCache().stream(manifest, pieces)
    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path).stream(manifest, lambda first: pieces(first, until=6))
    assert not list(tmp_path.glob("*.safetensors"))
    started = []

    def rest(first: int) -> Iterator[dict[str, torch.Tensor]]:
        started.append(first)
        return pieces(first)

    found = FeatureCache(tmp_path).stream(manifest, rest)
    assert started == [6]
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]


@pytest.mark.parametrize("damage", ["progress", "header", "length"])
def test_what_cannot_be_continued_begins_anew(tmp_path: Path, damage: str) -> None:
    manifest = {**MANIFEST, "rows": 10}
    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path).stream(manifest, lambda first: pieces(first, until=6))
    partial, progress = next(tmp_path.glob("*.partial")), next(tmp_path.glob("*.progress"))
    if damage == "progress":
        progress.write_text("{")
    elif damage == "header":
        partial.write_bytes(b"x" + partial.read_bytes()[1:])
    else:
        partial.write_bytes(partial.read_bytes()[:-1])
    found = FeatureCache(tmp_path).stream(manifest, pieces)
    assert found["features"][:, 0].tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8]


def test_of_two_that_want_a_file_one_computes_it(tmp_path: Path) -> None:
    manifest, computed = {**MANIFEST, "rows": 10}, []

    def slow(first: int) -> Iterator[dict[str, torch.Tensor]]:
        computed.append(first)
        for columns in pieces(first):
            time.sleep(0.02)
            yield columns

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: FeatureCache(tmp_path).stream(manifest, slow), range(3)))
    assert computed == [0]
    assert all(torch.equal(part["features"], found[0]["features"]) for part in found)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]


@pytest.mark.parametrize("verb", ["posix_fallocate", "pwrite"])
def test_a_full_disk_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, verb, full)
        with pytest.raises(OSError, match=r"no space to cache features: 0\.0 MB are needed, .* MB are free"):
            FeatureCache(tmp_path).get(MANIFEST, columns)
    assert not list(tmp_path.iterdir())
    assert FeatureCache(tmp_path).get(MANIFEST, columns)["features"].shape == (3, 2)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.get(MANIFEST, columns)
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        cache.get(MANIFEST, never)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
def test_values_that_fp16_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="column features holds values that are not finite"):
        FeatureCache(tmp_path).get(MANIFEST, lambda: columns(value))
    assert not list(tmp_path.iterdir())
