"""Training in two processes takes the steps of one, terms on pairs of images included."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import process_worker
import pytest
import torch

from dmth_fast.learning import parallel
from dmth_fast.learning.data import ImageSet, join
from dmth_fast.learning.weights import load_weights, save_tensors


def test_two_processes_take_the_steps_of_one(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    images = join(sets)
    features = images.images[:].float().flatten(1)[:, ::4] / 255
    names = {"names": json.dumps(images.names)}
    save_tensors(tmp_path / "features.safetensors", {"features": features}, names)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, process_worker.__file__, str(tmp_path)]
    processes = [
        subprocess.Popen(words, env={**shared, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE)
        for rank in ("0", "1")
    ]
    try:
        alone = process_worker.learn(tmp_path)
        for process in processes:
            error = process.communicate(timeout=120)[1]
            assert process.returncode == 0, error.decode()[-2000:]
    finally:
        for process in processes:
            process.kill()
    first, second = (load_weights(tmp_path / f"result-{rank}.safetensors") for rank in range(2))
    assert first.keys() == alone.keys()
    for key, value in alone.items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], value, atol=1e-5, rtol=1e-5, msg=key)
    # Two steps: the first fills the queue, the second is compared with it.
    assert float(alone["terms"][0, 1]) > 0


@pytest.mark.parametrize(("count", "expected"), [(10, [(0, 5), (5, 10)]), (7, [(0, 3), (3, 7)])])
def test_shares_of_rows(monkeypatch: pytest.MonkeyPatch, count: int, expected: list[tuple[int, int]]) -> None:
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    found = []
    for number in range(2):
        monkeypatch.setattr(parallel, "rank", lambda number=number: number)
        part = parallel.share(count)
        found.append((part.start, part.stop))
    assert found == expected
