"""The aims of the experiments, answered by results alone."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from aims import DISTILLED, UNLABELLED, aims_table

LABELS = "labels only"


def difference(first: str, second: str, metric: str, value: float, set_name: str = "") -> dict[str, Any]:
    places = {"set": set_name, "first": first, "second": second, "metric": metric, "seeds": 1}
    return {**places, "difference": value, "low": value - 0.005, "high": value + 0.005}


def answers(results: dict[str, Any]) -> list[str]:
    return [line.split(" | ")[-1].strip(" |") for line in aims_table(results.get)[2:]]


def test_nothing_is_answered_without_a_result() -> None:
    lines = aims_table(lambda _: None)
    assert len(lines) == 14
    assert all("| not run | - |" in line for line in lines[2:])


@pytest.mark.parametrize(("gain", "above", "met"), [(0.07, 0.02, "yes"), (0.05, 0.004, "no")])
def test_an_aim_is_met_where_the_interval_says_so(gain: float, above: float, met: str) -> None:
    few = {
        "comparisons": [
            difference("attention", "best teacher", "accuracy", above),
            difference(DISTILLED, LABELS, "map", gain),
            difference(UNLABELLED, LABELS, "map", 0.1),
            difference(UNLABELLED, "attention", "map", -0.1),
        ],
        "rows": [{"kind": "student", "name": UNLABELLED, "map": 0.66}],
    }
    found = answers({"cifar10-5k": few})
    assert found == [met, "-", "-", "-", "-", "-", met, "yes", "no", "no", "-", "-"]


def test_labels_free_aim_counts_the_share_of_the_bar() -> None:
    rows = [
        {"kind": "student", "name": "feature + code + relational", "map": 0.46},
        {"kind": "untrained", "name": "ITQ of mobilenet_v2", "map": 0.5},
        {"kind": "fused", "name": "ITQ of all teachers", "map": 0.6},
    ]
    lines = aims_table({"cifar10-label-free": {"rows": rows}}.get)
    assert "| 0.460: 92 % of 0.500, 77 % of both networks' 0.600 | yes |" in lines[-2]
