"""Every part of the benchmarks of search on a few thousand codes: it runs, and all answers agree."""

import json
from pathlib import Path

import pytest

import search


@pytest.mark.parametrize("part", search.PARTS)
def test_part(part: str, tmp_path: Path) -> None:
    try:
        result = search.measured(part, small=True, on_row=lambda row, _: print(search.line(row)))
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    assert result["rows"]
    search.save(tmp_path / "result.json", {"benchmark": "search", "parts": {part: result}})
    assert json.loads((tmp_path / "result.json").read_text())["parts"][part] == result
    absent = {why for row in result["rows"] for why in row.get("absent", {}).values()}
    missing = sorted(why for why in absent if "not installed" in why)
    if missing:
        pytest.skip(f"without a rival: {'; '.join(missing)}")
