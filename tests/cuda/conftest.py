"""The emulated device, built once a session."""

from pathlib import Path

import pytest
from emulated import EmulatedDevice, build, compiler


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> EmulatedDevice:
    """The kernels on the emulated device."""
    if compiler() is None:
        pytest.skip("no C++ compiler to build the kernels for the emulated device")
    folder: Path = tmp_path_factory.mktemp("emulation")
    return EmulatedDevice(build(folder))
