"""Every kind of arm, trained for seconds; orderings are asked for only where they are beyond noise."""

import json
from pathlib import Path
from typing import Any

import pytest

from dmth_fast.grid.config import load_grid
from dmth_fast.grid.document import grid_markdown
from dmth_fast.grid.queue import work
from dmth_fast.grid.table import _rows, gather

GRID = Path(__file__).parents[2] / "benchmarks" / "experiments" / "digits-100.toml"

# Seconds instead of minutes.
SHORT = (
    "seeds=[0]",
    "backbone=tiny-6",
    "student.training.epochs=20",
    "student.training.unlabelled_batch=100",
    "student.training.lr=0.004",
    "fusion.views=8",
    "fusion.unlabelled_views=1",
    "fusion.training.epochs=24",
    'teachers=[{backbone="tiny-16", name="wide", epochs=30}, {backbone="tiny-12", name="slim", epochs=30}]',
)

ALL = "labels + feature + code + relational"
MORE = f"{ALL}, unlabelled images"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grid")


@pytest.fixture(scope="module")
def result(out: Path) -> dict[str, Any]:
    pytest.importorskip("sklearn")
    grid = load_grid(GRID, SHORT)
    outcome = work(grid, out, progress=False)
    assert not outcome.failed
    assert outcome.done == len(grid.cells)
    gather(grid, out, command="dmth-fast grid", settings=GRID.read_text())
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found


def test_every_row_says_what_it_costs(result: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in result["rows"]}
    for name, row in rows.items():
        assert 0 < row["map"] < 1
        assert row["seeds"] == 1
        assert row["query_microseconds"] > 0
        assert (row["images_per_second"] is None) == (name == "random codes")
        assert "networks" not in row
        if name != "random codes":
            assert row["macs"] > row["parameters"] > 0
    students = [row for row in result["rows"] if row["kind"] == "student"]
    assert len({row["macs"] for row in students}) == len({row["images_per_second"] for row in students}) == 1
    assert rows["attention"]["macs"] == rows["teacher wide"]["macs"] + rows["teacher slim"]["macs"]
    assert result["missing"] == []


def test_what_learned_is_above_random_codes(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        assert (row["kind"] == "random") == (row["map"] < 0.12), row["name"]


def test_orderings_are_asked_for_where_they_are_beyond_noise(result: dict[str, Any]) -> None:
    pairs = {
        (item["first"], item["second"]): item for item in result["comparisons"] if item["metric"] == "map"
    }
    # Few labels: the database without labels gives several points, at any length of training.
    assert pairs[MORE, ALL]["low"] > 0
    assert pairs[MORE, "labels only"]["low"] > 0
    assert pairs[MORE, ALL]["interval"] == "95 %, paired bootstrap over queries, one seed"
    for first, second in ((ALL, "labels only"), ("labels + feature", "labels only"), ("attention", "mean")):
        item = pairs[first, second]
        assert item["low"] <= item["difference"] <= item["high"]
        # Either order may come out; the wrong one only if noise can explain it.
        assert item["high"] > 0 or second == "mean", item


def test_attention_says_which_teacher_spoke_for_which_class(out: Path, result: dict[str, Any]) -> None:
    assert {path.parent.name.split("-")[2] for path in out.glob("cells/*/weights.png")} == {"attention"}
    row = next(row for row in result["rows"] if row["name"] == "attention")
    assert len(row["class_weights"]) == 10
    assert all(sum(weights) == pytest.approx(1, abs=1e-5) for weights in row["class_weights"])
    assert 0.5 <= row["mean_largest_weight"] < 1
    assert 0 < row["shuffled_accuracy"] < 1


def test_weights_are_means_over_seeds_as_their_largest_is() -> None:
    def row(first: float) -> dict[str, Any]:
        own = {"mean_largest_weight": first, "mean_weights": [first, 1 - first], "class_weights": []}
        return {"name": "attention", "kind": "fused", "bits": 8, "accuracy": 0.5, "map": 0.5, **own}

    shared = {"set": "", "bits": 8, "split": {"database_images": 9}}
    found: Any = [(None, {**shared, "rows": [row(first)]}) for first in (0.9, 0.5)]
    (merged,) = _rows(found, {})
    assert merged["mean_largest_weight"] == pytest.approx(0.7)
    assert merged["mean_weights"] == pytest.approx([0.7, 0.3])


def test_the_tables_of_a_document_hold_every_row_and_every_difference(result: dict[str, Any]) -> None:
    text = "\n".join(grid_markdown(result))
    for row in result["rows"]:
        assert f"| {row['name']} | " in text
    assert "| method | accuracy | mAP | parameters | MACs | images/s | query |" in text
    assert "| attention minus static | " in text
    assert "- attention: mean largest weight 0." in text
    assert "queries; one seed (0)" in text
    assert "100 training images, 1,198 without labels where the row says so" in text
    assert "26 of 26 cells. Made by `dmth-fast grid`" in text
    assert f"`{result['splits']['digits-100, seed 0']['query'][:8]}`" in text
