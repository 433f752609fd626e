"""What every benchmark by pytest-benchmark records."""

from typing import Any

import pytest

from dmth_fast import environment


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:  # noqa: ARG001
    """The host, its instruction sets and the versions of all rivals stand in the JSON; its name does not."""
    machine_info["node"] = ""
    machine_info["release"] = machine_info["release"].partition("-")[0]
    machine_info["dmth_fast"] = environment.describe()
