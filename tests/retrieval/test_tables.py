"""Tables hold the figures of the reports, and the figure is drawn whole or not at all."""

import io

import numpy as np
import pytest
from rich.console import Console
from samples import random_codes

import dmth_fast as df
from dmth_fast.retrieval import tables
from dmth_fast.retrieval.report import Report

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 200)


def report(bits, **named):
    codes = random_codes(RNG, 200, bits)
    return df.evaluate(codes[:30], LABELS[:30], codes, LABELS, bits=bits, **named)


def test_markdown_and_latex_hold_the_figures():
    reports = {"a|b": report(8, precision_at=[5]), "c_d": report(16, precision_at=[5, 9])}
    markdown, latex = tables.to_markdown(reports), tables.to_latex(reports)
    head, rule, *rows = markdown.splitlines()
    assert "P@5" in head
    assert "P@9" not in head  # only one of them has it
    assert rule.count("|") == head.count("|") == rows[1].count("|")
    assert rows[0].startswith(r"| a\|b |")
    for text, row in ((markdown, rows[1]), (latex, latex.splitlines()[5])):
        assert f"{reports['c_d'].map:.4f}" in row
        assert text.count(f"{reports['c_d'].precision_at[5]:.4f}") >= 1
    assert r"c\_d &" in latex
    assert r"P@H$\leq$2 & R@H$\leq$2" in latex
    assert f"{reports['c_d'].pr_curve.precision[2]:.4f}" in rows[1]
    assert reports["c_d"].to_markdown("x").splitlines()[2].startswith("| x |")
    assert r"\toprule" in reports["c_d"].to_latex()


def test_a_report_prints_itself():
    found = report(8, precision_at=[5], empty="skip")
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(found)
    printed = console.export_text()
    for name, value in found.rows():
        assert f"{value:.4f}" in printed
        assert name in printed
    assert "30 queries, 200 items; bits=8, ties=expected" in printed


def test_a_report_comes_back_from_its_text():
    codes = report(8, precision_at=[5], empty="skip")
    features = df.evaluate_features(RNG.random((9, 3)), LABELS[:9], RNG.random((200, 3)), LABELS)
    for found in (codes, features):
        again = Report.from_json(found.to_json(per_query=True))
        assert again.to_json(per_query=True) == found.to_json(per_query=True)
        assert str(again) == str(found)
    assert df.compare(Report.from_json(codes.to_json(per_query=True)), codes).mean == 0.0
    for text in (codes.to_json(), "not json", "[1]"):
        with pytest.raises(ValueError, match="text must be a report's JSON with per_query=True"):
            Report.from_json(text)


def test_distances_of_relevant_and_other_items_add_up():
    found = report(8)
    assert found.distances.relevant.sum() == found.per_query["num_relevant"].sum()
    assert found.distances.relevant.sum() + found.distances.other.sum() == 30 * 200


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_plot(tmp_path, suffix):
    path = tmp_path / f"figure{suffix}"
    tables.plot(
        {"a": report(8, precision_at=[1, 10]), "b": report(16, precision_at=[1, 10])}, path, title="Two"
    )
    assert path.stat().st_size > 5000
    features = df.evaluate_features(RNG.random((9, 3)), LABELS[:9], RNG.random((200, 3)), LABELS)
    features.plot(tmp_path / "features.png")
    assert sorted(child.name for child in tmp_path.iterdir()) == sorted({path.name, "features.png"})


def test_nothing_to_show():
    for call in (tables.to_markdown, tables.to_latex):
        with pytest.raises(ValueError, match="at least one report"):
            call({})
