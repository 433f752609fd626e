from typing import Any

import numpy as np
import pytest
from commandline import Run

from dmth_fast import check
from dmth_fast.retrieval import native


def test_everything_is_as_specified(run: Run) -> None:
    code, out, err = run("check")
    assert (code, err) == (0, "")
    for isa in native.isas():
        assert f"kernels {isa}" in out
    assert "FAILED" not in out
    assert "accelerator" in out


def test_a_wrong_kernel_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    right = native.search

    def wrong(codes: Any, queries: Any, k: int, **options: Any) -> Any:
        distances, ids = right(codes, queries, k, **options)
        return (
            (distances, ids)
            if options.get("isa", "portable") == "portable"
            else (distances, np.flip(ids, axis=1))
        )

    monkeypatch.setattr(native, "search", wrong)
    bad = [finding.subject.split()[1] for finding in check.findings() if finding.good is False]
    assert bad == [isa for isa in native.isas() if isa != "portable"]
    if bad:
        code, out, err = run("check")
        assert code == 1
        assert "search of 1 bits differs from the reference" in out
        assert err.count("\n") == 1


def test_an_exception_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("gone")

    monkeypatch.setattr(native, "pack", broken)
    first = next(check.findings())
    assert first.good is False
    assert first.text == "OSError: gone"
