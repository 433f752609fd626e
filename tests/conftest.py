"""Shared fixtures, and the machine in the header of every run."""

import os
from pathlib import Path

import pytest

from dmth_fast.retrieval import native


def pytest_report_header() -> str:
    """Name the instruction sets that the comparisons below run on."""
    return f"dmth_fast: ISAs on this machine: {', '.join(native.isas())}; in force: {native.isa()}"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data and weights; tests that need it are skipped where it is absent."""
    root = Path(os.environ.get("DMTH_FAST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no real data at {root}; set DMTH_FAST_DATA to its folder")
    return root


@pytest.fixture(params=native.isas())
def isa(request: pytest.FixtureRequest) -> str:
    """Each instruction set that this machine can run, in turn."""
    return str(request.param)
