import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dmth_fast import report
from dmth_fast.plots import NeighbourRow, plot_growth, plot_neighbours, plot_pr_curves

ROWS = [
    {"name": "teacher", "accuracy": 0.9126, "map": 0.8, "parameters": 1_200_345, "section": True},
    {
        "name": "student | small",
        "accuracy": 0.8,
        "map": 0.9,
        "parameters": 950,
        "images_per_second": 12_345.0,
    },
    {"name": "trivial", "accuracy": 0.95, "map": 0.95, "baseline": True},
]


def _printed(grid: object) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(grid)
    return console.export_text()


def test_table_shows_what_there_is_and_a_dash_for_what_is_not() -> None:
    text = _printed(report.table(ROWS, title="the title", caption="the caption"))
    for piece in ("the title", "the caption", "91.3 %", "0.900", "1.2 M", "950", "12.3 k", "student | small"):
        assert piece in text
    assert "seconds" not in text
    assert text.count(" - ") >= 2


def test_best_value_is_bold_and_baselines_do_not_count() -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(report.table(ROWS, title=""))
    markup = console.export_text(styles=True)
    assert "\x1b[1m0.900" in markup
    assert "\x1b[1m0.950" not in markup


def test_markdown_escapes_bars() -> None:
    lines = report.markdown(ROWS).splitlines()
    assert lines[0] == "| method | accuracy | mAP | parameters | images/s |"
    assert lines[3] == "| student \\| small | 80.0 % | 0.900 | 950 | 12.3 k |"


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (999, "999"), (1000, "1 k"), (999_999, "1000 k"), (1_234_567, "1.23 M")]
)
def test_counts(value: float, shown: str) -> None:
    assert report.markdown([{"name": "", "parameters": value}]).splitlines()[-1] == f"|  | {shown} |"


def test_curves_are_drawn(tmp_path: Path) -> None:
    recall = np.linspace(0, 1, 9)
    plot_pr_curves(
        {"a": (recall, 1 - recall / 2), "b": (recall, 1 - recall / 3)}, tmp_path / "c.png", title="t"
    )
    with Image.open(tmp_path / "c.png") as picture:
        assert min(picture.size) > 400
        # Both colours of the palette have been put on the paper.
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or ()}
        assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours
    assert list(tmp_path.iterdir()) == [tmp_path / "c.png"]


def test_curves_refuse_nonsense(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one curve"):
        plot_pr_curves({}, tmp_path / "c.png", title="t")
    with pytest.raises(ValueError, match="got 3 and 2"):
        plot_pr_curves({"a": (np.ones(3), np.ones(2))}, tmp_path / "c.png", title="t")
    assert not list(tmp_path.iterdir())


def test_neighbours_are_drawn(tmp_path: Path) -> None:
    image = np.full((3, 8, 8), 128, np.uint8)
    row = NeighbourRow(image, "“7”", [image, image], [0, 3], [True, False])
    plot_neighbours({"two queries": [row, row]}, tmp_path / "n.png", title="t", subtitle="s")
    with Image.open(tmp_path / "n.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or ()}
        assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (128, 128, 128)} <= colours
    with pytest.raises(ValueError, match="at least one query"):
        plot_neighbours({}, tmp_path / "m.png", title="t")


def test_growth_is_drawn_or_refused(tmp_path: Path) -> None:
    panels = {"codes": {"a": [(1, 2.0), (10, 20.0)], "b": [(10, 3.0)], "c": []}, "k": {"b": [(1, 1.0)]}}
    plot_growth(panels, tmp_path / "g.png", cost="ms", title="t", subtitle="s")
    assert (tmp_path / "g.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="panels must hold"):
        plot_growth({"codes": {"a": []}}, tmp_path / "h.png", cost="ms", title="t")
    assert not (tmp_path / "h.png").exists()
