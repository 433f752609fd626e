"""``search``, ``evaluate`` and ``bench``: files in, the library's answers out."""

import json
from pathlib import Path

import numpy as np
import pytest
from commandline import Files, Run

import dmth_fast
from dmth_fast import lookup, rivals
from dmth_fast.codefiles import write_codes
from dmth_fast.retrieval.presets import PRESETS


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_search_writes_what_the_library_finds(run: Run, files: Files, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"r.{suffix}"
    code, _, err = run("search", files.database, files.queries, "-k", 5, "--out", out, "--threads", 1)
    assert code == 0
    assert "7 queries in 300 codes" in err
    expected = dmth_fast.search(np.load(files.database), np.load(files.queries), 5)
    if suffix == "npz":
        found = dict(np.load(out))
    else:
        from safetensors.numpy import load_file

        found = load_file(out)
    np.testing.assert_array_equal(found["ids"], expected.ids)
    np.testing.assert_array_equal(found["distances"], expected.distances)


def test_search_does_not_depend_on_the_cut_into_batches(
    run: Run, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, batch in (("whole", lookup._BATCH), ("cut", 600)):
        monkeypatch.setattr(lookup, "_BATCH", batch)
        assert (
            run("search", files.database, files.queries, "-k", 500, "-o", tmp_path / f"{name}.npz").code == 0
        )
        assert (
            run("search", files.database, files.queries, "-r", 9, "-o", tmp_path / f"{name}-r.npz").code == 0
        )
    for kind in ("", "-r"):
        whole, cut = (dict(np.load(tmp_path / f"{name}{kind}.npz")) for name in ("whole", "cut"))
        assert whole.keys() == cut.keys()
        for key in whole:
            np.testing.assert_array_equal(whole[key], cut[key])


def test_search_by_radius_as_text(run: Run, files: Files) -> None:
    code, out, _ = run("search", files.database, files.queries, "--radius", 6, "--out", "-")
    assert code == 0
    expected = dmth_fast.range_search(np.load(files.database), np.load(files.queries), 6)
    lines = [[int(word) for word in line.split("\t")] for line in out.splitlines()[1:]]
    assert out.splitlines()[0] == "query\trank\tid\tdistance"
    assert [line[2] for line in lines] == expected.ids.tolist()
    assert [line[3] for line in lines] == expected.distances.tolist()
    assert [line[0] for line in lines] == np.repeat(np.arange(7), np.diff(expected.offsets)).tolist()


def test_search_table_with_names(run: Run, files: Files, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("".join(f"image {i} [x].png\n" for i in range(300)))
    code, out, _ = run("search", files.database, files.queries, "-k", 2, "--names", tmp_path / "names.txt")
    assert code == 0
    nearest = int(dmth_fast.search(np.load(files.database), np.load(files.queries), 1).ids[0, 0])
    assert f"image {nearest} [x].png" in out


def test_search_table_of_many_queries_says_what_it_leaves_out(run: Run, files: Files) -> None:
    code, out, _ = run("search", files.database, files.database, "-k", 30)
    assert code == 0
    assert "290 more queries" in out
    assert "and 10 more" in out


def test_search_with_none_to_be_found(run: Run, files: Files, tmp_path: Path) -> None:
    np.save(files.database, np.zeros((0, 3), np.uint8))
    assert run("search", files.database, files.queries).code == 0
    np.save(files.queries, np.zeros((0, 3), np.uint8))
    assert run("search", files.database, files.queries, "-r", 3, "-o", tmp_path / "r.npz").code == 0
    assert np.load(tmp_path / "r.npz")["offsets"].tolist() == [0]


def test_search_refuses_bad_input_in_one_line(run: Run, files: Files, tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((3, 4), np.uint8))
    np.save(tmp_path / "real.npy", np.zeros((3, 4), np.float32))
    write_codes(tmp_path / "dirty.npy", np.full((3, 3), 255, np.uint8))
    (tmp_path / "few.txt").write_text("a\nb\n")
    cases: list[tuple[tuple[object, ...], str]] = [
        ((tmp_path / "none.npy", files.queries), "no such file"),
        ((tmp_path, files.queries), "is a folder"),
        ((files.database, tmp_path / "wide.npy"), "codes of 24 bits"),
        ((files.database, tmp_path / "real.npy"), "got float32 of shape (3, 4)"),
        ((files.database, files.queries, "-k", 0), "k must be an integer >= 1, got 0"),
        ((files.database, files.queries, "-r", -1), "radius must be an integer from 0 to 24, got -1"),
        ((files.database, files.queries, "-r", 25), "radius must be an integer from 0 to 24, got 25"),
        ((files.database, files.queries, "--bits", 64), "64 bits need 8 bytes"),
        ((tmp_path / "dirty.npy", tmp_path / "dirty.npy", "--bits", 20), "padding bits set"),
        ((files.database, files.queries, "--threads", 0), "threads"),
        ((files.database, files.queries, "--names", tmp_path / "few.txt"), "it has 2 lines"),
        ((files.database, files.queries, "--out", "r.txt"), "must end in .npz or .safetensors"),
    ]
    for words, message in cases:
        code, out, err = run("search", *words)
        assert (code, out) == (2, ""), words
        assert message in err
        assert err.count("\n") == 1


def test_evaluate_prints_and_writes_what_the_library_measures(run: Run, files: Files, tmp_path: Path) -> None:
    code, out, err = run(
        "evaluate", files.queries, files.query_labels, files.database, files.database_labels,
        "--top-k", 50, "--ties", "stable", "--normalizer", "min", "--at", 5,
        "--json", tmp_path / "e.json", "--plot", tmp_path / "e.png",
    )  # fmt: skip
    assert (code, err) == (0, "")
    arrays = [
        np.load(path) for path in (files.queries, files.query_labels, files.database, files.database_labels)
    ]
    expected = dmth_fast.evaluate(*arrays, top_k=50, ties="stable", normalizer="min", precision_at=[5])
    assert "mAP@50" in out
    assert f"{expected.map:.4f}" in out
    assert f"{expected.precision_at[5]:.4f}" in out
    written = json.loads((tmp_path / "e.json").read_text())
    assert written["map"] == expected.map
    assert written["settings"]["ties"] == "stable"
    assert written["environment"]["versions"]["dmth_fast"] == dmth_fast.__version__
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("preset", "top_k"), [("hashnet", 20), ("pml_map_at_r", None), ("deephash", None)])
def test_evaluate_by_the_rule_of_a_repository(
    run: Run, files: Files, tmp_path: Path, preset: str, top_k: int | None
) -> None:
    paths = (files.queries, files.query_labels, files.database, files.database_labels)
    cut = () if top_k is None else ("--top-k", top_k)
    code, out, err = run("evaluate", *paths, "--preset", preset, *cut, "--json", tmp_path / "e.json")
    assert (code, err) == (0, "")
    arrays = [np.load(path) for path in paths]
    expected = dmth_fast.evaluate_as(preset, *arrays, top_k=top_k)
    assert f"{expected.map:.4f}" in out
    assert f"preset={preset}" in out
    assert PRESETS[preset].repository in out
    written = json.loads((tmp_path / "e.json").read_text())
    assert (written["map"], written["settings"]["preset"]) == (expected.map, preset)


def test_evaluate_graded_leaving_one_out(run: Run, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    codes, rows = generator.integers(0, 256, (60, 2), dtype=np.uint8), generator.random((60, 5)) < 0.4
    write_codes(tmp_path / "c.safetensors", codes, bits=16, labels=rows.astype(np.uint8))
    both = (tmp_path / "c.safetensors",) * 2
    words = ("--graded", "cosine", "--gain", "linear", "--at", 5, "--at", 9, "--empty-ball", "skip")
    code, out, err = run(
        "evaluate", *both, *both, *words, "--exclude-self", "--json", tmp_path / "e.json", "--per-query",
        "--plot", tmp_path / "e.png",
    )  # fmt: skip
    assert (code, err) == (0, "")
    chosen = {"graded": "cosine", "gain": "linear", "precision_at": [5, 9], "empty_ball": "skip"}
    expected = dmth_fast.evaluate(codes, rows, codes, rows, exclude="self", **chosen)  # type: ignore[arg-type]
    assert f"{expected.wap_at[9]:.4f}" in out
    written = json.loads((tmp_path / "e.json").read_text())
    assert written["ramap"] == expected.ramap
    assert written["per_query"]["ndcg_at_5"] == expected.per_query["ndcg_at_5"].tolist()
    assert written["map_confidence"]["low"] < written["map"] < written["map_confidence"]["high"]


def test_the_words_of_options_are_those_of_the_library() -> None:
    from dmth_fast import options
    from dmth_fast.learning.recipes import RECIPES
    from dmth_fast.retrieval import metrics, summary

    for words, known in (
        (options.Ties, metrics.TIES),
        (options.Normalizer, metrics.NORMALIZERS),
        (options.Empty, metrics.EMPTY),
        (options.EmptyBall, metrics.EMPTY_BALLS),
        (options.Graded, summary.GRADES),
        (options.Gain, summary.GAINS),
        (options.Preset, PRESETS),
        (options.System, ("dmth", *RECIPES)),
    ):
        assert sorted(word.value for word in words) == sorted(known)


def test_evaluate_takes_names_as_labels(run: Run, files: Files) -> None:
    words = np.array(["ape", "bee", "cat", "dog"])
    for path in (files.query_labels, files.database_labels):
        path.with_suffix(".txt").write_text("\n".join(words[np.load(path)]) + "\n")
    named = [path.with_suffix(".txt") for path in (files.query_labels, files.database_labels)]
    by_name = run("evaluate", files.queries, named[0], files.database, named[1])
    by_number = run("evaluate", files.queries, files.query_labels, files.database, files.database_labels)
    assert by_name.code == 0
    assert by_name.out == by_number.out


def test_evaluate_refuses_bad_input_in_one_line(run: Run, files: Files, tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", np.zeros((0, 3), np.uint8))
    np.save(tmp_path / "empty.npy", np.zeros(0, np.int64))
    np.save(tmp_path / "real.npy", np.zeros(7))
    np.save(tmp_path / "negative.npy", np.full(7, -1))
    np.save(tmp_path / "few.npy", np.eye(7, dtype=bool))
    right = (files.queries, files.query_labels, files.database, files.database_labels)
    cases: list[tuple[tuple[object, ...], str]] = [
        ((right[0], right[3], *right[2:]), "labels must be as many as codes"),
        ((right[0], tmp_path / "real.npy", *right[2:]), "float64"),
        ((tmp_path / "none.npy", tmp_path / "empty.npy", *right[2:]), "at least one code"),
        ((*right, "--top-k", "0"), "top_k must be an integer >= 1, got 0"),
        ((*right, "--json", "e.txt"), "must end in .json"),
        ((*right, "--plot", "e.npy"), "must end in .png"),
        ((*right, "--per-query"), "--per-query needs --json"),
        ((*right, "--preset", "dsh"), "'dsh'"),
        ((*right, "--preset", "csq", "--ties", "stable", "--empty", "zero"), "leave --ties, --empty out"),
        (
            (*right, "--preset", "pml_map_at_r", "--top-k", "5"),
            "top_k must be None for preset 'pml_map_at_r'",
        ),
        ((*right, "--ties", "random"), "'random'"),
        ((*right, "--at", "0"), "precision_at must be an integer >= 1, got 0"),
        ((*right, "--at", "x"), "'x'"),
        ((*right, "--graded", "shared"), "--graded shared needs --at"),
        ((*right, "--gain", "linear"), "gain must be left alone unless the evaluation is graded"),
        ((*right, "--exclude-self"), "exclude='self' needs the database codes as query codes"),
        ((*right, "--bits", "20"), "padding bits set"),
        ((right[0], tmp_path / "negative.npy", *right[2:]), "class ids from 0 to 2**63 - 1, got -1 in row 0"),
        ((right[0], tmp_path / "few.npy", *right[2:]), "must both be class ids (1-D) or multi-hot"),
        ((right[0], tmp_path / "none.txt", *right[2:]), "no such file"),
    ]
    for words, message in cases:
        code, out, err = run("evaluate", *words)
        assert (code, out) == (2, ""), words
        assert message in err
        assert err.count("\n") == 1


def test_bench_measures_and_writes(run: Run, tmp_path: Path) -> None:
    words = ("-n", 2000, "--bits", 64, "--bits", 20, "--queries", 3, "--rounds", 3, "--threads", 1)
    code, out, err = run("bench", *words, "--json", tmp_path / "b.json")
    assert code == 0, err
    assert "search" in out
    written = json.loads((tmp_path / "b.json").read_text())
    assert [row["bits"] for row in written["rows"]] == [64, 20]
    for row in written["rows"]:
        low, median, high = row["ratios"]["NumPy"]
        assert 0 < low <= median <= high
    assert "FAISS" in written["rows"][1]["absent"]
    assert written["environment"]["hardware"]["cores"] >= 1


def test_bench_times_nothing_when_a_rival_disagrees(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    right = rivals.numpy_search

    def wrong(*arguments: np.ndarray) -> rivals.Answer:
        distances, ids = right(*arguments)  # type: ignore[arg-type]
        return distances, ids[:, ::-1]

    monkeypatch.setattr(rivals, "numpy_search", wrong)
    code, out, err = run("bench", "-n", 500, "--bits", 64, "--queries", 2, "--rounds", 3)
    assert (code, out) == (1, "")
    assert "NumPy" in err
    assert "AssertionError" in err
