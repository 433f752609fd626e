"""The command line, run inside the test process."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commandline import Files, Outcome, Run

from dmth_fast.program import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run ``dmth-fast`` with the given words and return exit code, stdout and stderr."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("COLUMNS", "200")
    # Set first, so that what a training command sets is taken back after the test.
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")

    def call(*words: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        streams = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), streams.out, streams.err)

    yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Random codes of 24 bits with the labels of four classes."""
    generator = np.random.default_rng(3)
    made = Files(*(tmp_path / f"{name}.npy" for name in Files._fields))
    for path, n in ((made.database, 300), (made.queries, 7)):
        np.save(path, generator.integers(0, 256, (n, 3), dtype=np.uint8))
    for path, n in ((made.database_labels, 300), (made.query_labels, 7)):
        np.save(path, generator.integers(0, 4, n))
    return made
