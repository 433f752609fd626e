"""Every kind of arm, trained for seconds; orderings are asked for only where they are beyond noise."""

import json
from pathlib import Path
from typing import Any

import pytest

from dmth_fast.grid.config import load_grid
from dmth_fast.grid.document import grid_markdown
from dmth_fast.grid.queue import work
from dmth_fast.grid.table import gather

GRID = Path(__file__).with_name("digits.toml")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grid")


@pytest.fixture(scope="module")
def result(out: Path) -> dict[str, Any]:
    pytest.importorskip("sklearn")
    grid = load_grid(GRID)
    outcome = work(grid, out, progress=False)
    assert not outcome.failed
    assert outcome.done == len(grid.cells)
    gather(grid, out, command="dmth-fast grid", settings=GRID.read_text())
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found


def test_every_row_says_what_it_costs(result: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in result["rows"]}
    assert len(rows) == 3 + 1 + 4 + 9 + 10 + 1
    for name, row in rows.items():
        assert 0 < row["map"] < 1
        assert row["seeds"] == 2
        assert row["query_microseconds"] > 0
        assert (row["images_per_second"] is None) == (name == "random codes")
        assert "networks" not in row
        if name != "random codes":
            assert row["macs"] > row["parameters"] > 0
    students = [row for row in result["rows"] if row["kind"] == "student"]
    assert len({row["macs"] for row in students}) == len({row["images_per_second"] for row in students}) == 1
    assert rows["attention"]["macs"] == rows["teacher ten"]["macs"] + rows["teacher eight"]["macs"]
    assert result["missing"] == []


def test_what_learned_is_above_random_codes(result: dict[str, Any]) -> None:
    above = [item for item in result["comparisons"] if item["second"] == "random codes"]
    assert [item["first"] for item in above] == [
        *("labels only", "labels + feature + code + relational", "attention")
    ]
    for item in above:
        assert item["metric"] == "map"
        assert item["low"] > 0.05
        assert item["interval"] == "95 %, paired bootstrap over queries and 2 seeds"
    for row in result["rows"]:
        assert row["kind"] == "random" or row["map"] > 0.13


def test_what_cannot_be_told_apart_is_not_put_in_order(result: dict[str, Any]) -> None:
    pairs = {(item["first"], item["second"], item["metric"]): item for item in result["comparisons"]}
    for metric in ("map", "accuracy"):
        for first, second in (
            ("labels + feature + code + relational", "labels only"),
            ("softmax average of the teachers", "best teacher"),
        ):
            item = pairs[first, second, metric]
            # Wrong only if noise cannot explain it.
            assert not item["high"] < 0, item
    assert pairs["attention", "static", "map"]["seeds"] == 2


def test_attention_says_which_teacher_spoke_for_which_class(out: Path, result: dict[str, Any]) -> None:
    assert {path.parent.name.split("-")[2] for path in out.glob("cells/*/weights.png")} == {"attention"}
    row = next(row for row in result["rows"] if row["name"] == "attention")
    assert len(row["class_weights"]) == 10
    assert all(sum(weights) == pytest.approx(1, abs=1e-5) for weights in row["class_weights"])
    assert 0.5 <= row["mean_largest_weight"] < 1
    assert 0 < row["shuffled_accuracy"] < 1


def test_the_tables_of_a_document_hold_every_row_and_every_difference(result: dict[str, Any]) -> None:
    text = "\n".join(grid_markdown(result))
    for row in result["rows"]:
        assert f"| {row['name']} (" in text
    assert "| method | accuracy | mAP | parameters | MACs | images/s | query |" in text
    assert "| attention minus static | " in text
    assert "- attention: mean largest weight 0." in text
    assert "queries and 2 seeds; seeds (0, 1)" in text
    assert "34 of 34 cells. Made by `dmth-fast grid`" in text
    assert f"`{result['splits']['digits, seed 0']['query'][:8]}`" in text
