"""``index``, and ``search`` in what it wrote: ids as they were given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Files, Run
from numpy.typing import NDArray

import dmth_fast as df
from dmth_fast.codefiles import is_index_file, read_codes, read_ids, write_codes

IDS = np.random.default_rng(0).permutation(10_000)[:300]


def by_id(files: Files) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ids in order and their codes."""
    order = np.argsort(IDS)
    return IDS[order], np.load(files.database)[order]


@pytest.fixture(params=["npy", "txt"])
def ids_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"ids.{request.param}"
    if request.param == "npy":
        np.save(path, IDS.astype(np.uint16))
    else:
        path.write_text("".join(f"{i}\n" for i in IDS))
    return path


def test_an_index_has_the_ids_given(run: Run, files: Files, tmp_path: Path, ids_file: Path) -> None:
    out = tmp_path / "i.safetensors"
    code, said, err = run("index", files.database, "--out", out, "--ids", ids_file, "--bits", 24)
    assert (code, said) == (0, f"300 codes of 24 bits, ids {IDS.min()} to {IDS.max()}: {out}\n")
    assert err == "codes are in the order of their ids now, and so must be names and labels of them\n"
    ids, codes = by_id(files)
    opened = df.Index.open(out)
    np.testing.assert_array_equal(opened.ids, ids)
    np.testing.assert_array_equal(opened.rows(), codes)
    stored = read_codes(out)
    assert stored.bits == 24
    np.testing.assert_array_equal(stored.codes, codes)
    assert stored.ids is not None
    np.testing.assert_array_equal(stored.ids, ids)


def test_an_index_without_ids_has_row_numbers(run: Run, files: Files, tmp_path: Path) -> None:
    write_codes(tmp_path / "c.safetensors", np.load(files.database), labels=np.arange(300))
    out = tmp_path / "i.safetensors"
    code, said, err = run("index", tmp_path / "c.safetensors", "-o", out)
    assert (code, said) == (0, f"300 codes of 24 bits, ids 0 to 299: {out}\n")
    assert "an index holds no labels" in err
    assert is_index_file(out)
    assert not is_index_file(tmp_path / "c.safetensors")
    assert not is_index_file(files.database)
    assert read_codes(out).ids is None
    np.testing.assert_array_equal(df.Index.open(out).ids, np.arange(300))


def test_search_finds_ids(run: Run, files: Files, tmp_path: Path) -> None:
    index = tmp_path / "i.safetensors"
    np.save(tmp_path / "ids.npy", IDS)
    assert run("index", files.database, "--out", index, "--ids", tmp_path / "ids.npy").code == 0
    queries = np.load(files.queries)
    opened = df.Index.open(index)
    assert run("search", index, files.queries, "-k", 40, "--out", tmp_path / "k.npz").code == 0
    assert run("search", index, files.queries, "-r", 8, "--out", tmp_path / "r.npz").code == 0
    for path, expected in (("k.npz", opened.search(queries, 40)), ("r.npz", opened.range_search(queries, 8))):
        found = np.load(tmp_path / path)
        for name, part in expected._asdict().items():
            np.testing.assert_array_equal(found[name], part)
    code, out, _ = run("search", index, index, "-k", 1, "--out", "-")
    assert code == 0
    table = np.array([line.split("\t") for line in out.splitlines()[1:]], np.int64)
    np.testing.assert_array_equal(table[:, 0], np.arange(300))  # queries go by their place
    np.testing.assert_array_equal(table[:, 2], opened.search(opened.rows(), 1).ids[:, 0])


def test_names_are_in_the_order_of_ids(run: Run, files: Files, tmp_path: Path) -> None:
    index, names = tmp_path / "i.safetensors", tmp_path / "names.txt"
    np.save(tmp_path / "ids.npy", IDS)
    assert run("index", files.database, "--out", index, "--ids", tmp_path / "ids.npy").code == 0
    ids, _ = by_id(files)
    names.write_text("".join(f"image {i}\n" for i in ids))
    code, out, _ = run("search", index, files.queries, "-k", 3, "--names", names, "--out", "-")
    assert code == 0
    for line in out.splitlines()[1:]:
        _, _, found, _, name = line.split("\t")
        assert name == f"image {found}"
    nearest = int(df.Index.open(index).search(np.load(files.queries), 1).ids[0, 0])
    assert f"image {nearest}:" in run("search", index, files.queries, "-k", 3, "--names", names).out
    assert f"{nearest}:" in run("search", index, files.queries, "-k", 3).out


def test_codes_of_an_index_are_evaluated(run: Run, files: Files, tmp_path: Path) -> None:
    index = tmp_path / "i.safetensors"
    assert run("index", files.database, "--out", index).code == 0
    words = (files.queries, files.query_labels, files.database, files.database_labels)
    plain = run("evaluate", *words)
    assert run("evaluate", *words[:2], index, words[3]) == plain


def test_bad_input_is_refused_in_one_line(run: Run, files: Files, tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", np.arange(3))
    np.save(tmp_path / "real.npy", np.arange(300.0))
    np.save(tmp_path / "twice.npy", np.arange(300) // 2)
    (tmp_path / "words.txt").write_text("1\n1_000\n")
    (tmp_path / "huge.txt").write_text(f"{2**63}\n")
    write_codes(tmp_path / "dirty.npy", np.full((3, 3), 255, np.uint8))
    index, out = tmp_path / "i.safetensors", tmp_path / "o.safetensors"
    assert run("index", files.database, "--out", index).code == 0
    data = index.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[:-1])
    (tmp_path / "other.safetensors").write_bytes(data.replace(b'"version":"1"', b'"version":"7"'))
    cases: list[tuple[tuple[object, ...], str]] = [
        (("index", files.database), "Missing option '--out'"),
        (("index", files.database, "--out", "i.npy"), "i.npy must end in .safetensors"),
        (("index", tmp_path / "none.npy", "--out", out), "no such file"),
        (("index", index, "--out", out), "must hold codes alone, it is an index already"),
        (("index", tmp_path / "dirty.npy", "--out", out, "--bits", 20), "the codes of"),
        (("index", files.database, "--out", out, "--bits", 64), "64 bits need 8 bytes"),
        (("index", files.database, "--out", out, "--ids", tmp_path / "few.npy"), "few.npy: ids must be one"),
        (
            ("index", files.database, "--out", out, "--ids", tmp_path / "real.npy"),
            "real.npy: ids must be int",
        ),
        (("index", files.database, "--out", out, "--ids", tmp_path / "twice.npy"), "differ from each other"),
        (("index", files.database, "--out", out, "--ids", tmp_path / "words.txt"), "line 2 has '1_000'"),
        (("index", files.database, "--out", out, "--ids", tmp_path / "huge.txt"), "line 1 has"),
        (("index", files.database, "--out", out, "--ids", tmp_path / "ids.csv"), "no such file"),
        (("search", tmp_path / "cut.safetensors", files.queries), "cut.safetensors is not"),
        (("search", tmp_path / "other.safetensors", files.queries), "'version' must be '1', got '7'"),
        (("search", index, files.queries, "--bits", 20), "have 24 bits, got --bits 20"),
    ]
    for words, message in cases:
        code, said, err = run(*words)
        assert (code, said) == (2, ""), words
        assert message in err
        assert err.count("\n") == 1
    assert not out.exists()


def test_ids_as_text(tmp_path: Path) -> None:
    (tmp_path / "i.txt").write_text(f"7\n 0 \n{2**63 - 1}\n")
    assert read_ids(tmp_path / "i.txt").tolist() == [7, 0, 2**63 - 1]
    (tmp_path / "i.txt").write_text("")
    assert read_ids(tmp_path / "i.txt").dtype == np.int64
    with pytest.raises(ValueError, match=r"ids must be a file ending in \.npy, \.txt"):
        read_ids(Path(__file__))


def test_an_index_with_ids_is_not_evaluated_with_labels_in_another_order(
    run: Run, files: Files, tmp_path: Path
) -> None:
    ids, out = tmp_path / "ids.npy", tmp_path / "index.safetensors"
    np.save(ids, np.arange(300)[::-1] + 7)
    code, _, err = run("index", files.database, "--ids", ids, "--out", out)
    assert code == 0
    assert "so must be names and labels of them" in err
    code, _, err = run("evaluate", files.queries, files.query_labels, out, files.database_labels)
    assert code == 2
    assert f"codes must be in the order of their labels, {out} is an index" in err
