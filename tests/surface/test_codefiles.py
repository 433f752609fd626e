from pathlib import Path

import numpy as np
import pytest

from dmth_fast.codefiles import (
    read_codes,
    read_label_pair,
    read_labels,
    read_names,
    write_arrays,
    write_codes,
    write_names,
)

CODES = np.arange(12, dtype=np.uint8).reshape(4, 3)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_codes_come_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"codes{suffix}"
    write_codes(path, CODES)
    stored = read_codes(path)
    np.testing.assert_array_equal(stored.codes, CODES)
    assert stored.codes.dtype == np.uint8
    assert stored.bits == 24


def test_safetensors_keeps_bits_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "codes.safetensors"
    write_codes(path, CODES, bits=20, labels=np.array([1, 2, 3, 4]))
    stored = read_codes(path)
    assert stored.bits == 20
    np.testing.assert_array_equal(read_labels(path), [1, 2, 3, 4])
    with pytest.raises(ValueError, match="have 20 bits, got --bits 24"):
        read_codes(path, bits=24)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize(
    ("codes", "bits", "error", "message"),
    [
        (CODES.astype(np.float32), None, TypeError, "codes must be uint8 of shape"),
        (CODES[0], None, ValueError, r"codes must be uint8 of shape \(n, bytes\), got uint8 of shape \(3,\)"),
        (CODES, 16, ValueError, r"shape \(n, 2\) for 16 bits, got uint8 of shape \(4, 3\)"),
        (CODES + 250, 20, ValueError, "zero padding after bit 19"),
        (CODES, 0, ValueError, "bits must be an integer from 1 to 4096"),
        (CODES, "24", TypeError, "bits must be an integer from 1 to 4096, got str"),
    ],
)
def test_wrong_codes_are_not_written(
    tmp_path: Path, suffix: str, codes: np.ndarray, bits: int | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_codes(tmp_path / f"c{suffix}", codes, bits=bits)
    assert not list(tmp_path.iterdir())


def test_npy_keeps_the_bytes_of_a_width(tmp_path: Path) -> None:
    write_codes(tmp_path / "c.npy", CODES, bits=20)
    assert read_codes(tmp_path / "c.npy").bits == 24
    assert read_codes(tmp_path / "c.npy", bits=20).bits == 20


def test_labels_are_as_many_as_codes(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(ValueError, match=r"one for each of the 4 codes, got int64 of shape \(3,\)"):
        write_codes(path, CODES, labels=np.arange(3))
    assert not list(tmp_path.iterdir())
    write_arrays(path, {"codes": CODES, "labels": np.arange(3)})
    with pytest.raises(
        ValueError, match=r"c\.safetensors must hold a label for each of its 4 codes, got int64"
    ):
        read_codes(path)


@pytest.mark.parametrize("bits", ["\u00b2", "\u0661", "0", "-8", "", "4097", "9" * 5000])
def test_stored_bits_must_be_a_number(tmp_path: Path, bits: str) -> None:
    write_arrays(tmp_path / "c.safetensors", {"codes": CODES}, metadata={"bits": bits})
    with pytest.raises(
        ValueError, match=r"c\.safetensors: metadata 'bits' must be an integer from 1 to 4096"
    ):
        read_codes(tmp_path / "c.safetensors")


def test_npy_has_no_room_for_labels(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="codes alone"):
        write_codes(tmp_path / "a.npy", CODES, labels=np.arange(4))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros((3, 4), np.float32), TypeError, r"float32 of shape \(3, 4\); pack real values first"),
        (np.zeros((3, 4), np.int8), TypeError, r"got int8 of shape \(3, 4\)"),
        (np.zeros((3, 4), bool), TypeError, "got bool"),
        (np.zeros(4, np.uint8), ValueError, r"got uint8 of shape \(4,\)"),
        (np.zeros((2, 2, 2), np.uint8), ValueError, r"got uint8 of shape \(2, 2, 2\)"),
        (np.zeros((2, 0), np.uint8), ValueError, r"got uint8 of shape \(2, 0\)"),
    ],
)
def test_other_arrays_are_refused_by_name(
    tmp_path: Path, array: np.ndarray, error: type[Exception], message: str
) -> None:
    path = tmp_path / "codes.npy"
    np.save(path, array)
    with pytest.raises(error, match=message) as caught:
        read_codes(path)
    assert str(path) in str(caught.value)


def test_bits_must_fit_the_bytes(tmp_path: Path) -> None:
    write_codes(tmp_path / "c.npy", CODES)
    assert read_codes(tmp_path / "c.npy", bits=17).bits == 17
    with pytest.raises(ValueError, match="16 bits need 2 bytes a code"):
        read_codes(tmp_path / "c.npy", bits=16)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 5, b"\x93NUMPY\x01\x00"])
def test_broken_files_are_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="broken"):
        read_codes(path)


HEADERS = [
    "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 3",  # tokenize.TokenError
    "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 3)]",  # SyntaxError
    "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000000,)}",  # MemoryError
    "{[]: 1}",  # TypeError
    "-" * 5000 + "1",  # RecursionError
]


@pytest.mark.parametrize("header", [*HEADERS, None])
def test_a_damaged_npy_is_named(tmp_path: Path, header: str | None) -> None:
    path = tmp_path / "c.npy"
    size = 0 if header is None else len(header)
    start = b"PK\x03\x04" if header is None else b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little")
    path.write_bytes(start + (header or "").encode() + bytes(12))
    for read in (read_codes, read_labels):
        with pytest.raises(ValueError, match=r"c\.npy is not a readable \.npy array"):
            read(path)


def test_truncated_npy(tmp_path: Path) -> None:
    path = tmp_path / "c.npy"
    np.save(path, CODES)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"not a readable \.npy"):
        read_codes(path)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="readable"):
        read_codes(tmp_path / "c.npy")


def test_missing_folder_and_suffix(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_codes(tmp_path / "none.npy")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_codes(tmp_path)
    (tmp_path / "c.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"ending in \.npy, \.safetensors"):
        read_codes(tmp_path / "c.bin")


def test_labels_as_text(tmp_path: Path) -> None:
    (tmp_path / "numbers.txt").write_text("3\n1\n2\n")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    (tmp_path / "more.txt").write_text("dog\nape\ncat\n")
    np.testing.assert_array_equal(read_labels(tmp_path / "numbers.txt"), [3, 1, 2])
    queries, database = read_label_pair(tmp_path / "names.txt", tmp_path / "more.txt")
    assert queries.tolist() == [database[2], database[0]]
    assert len({*database.tolist()}) == 3
    with pytest.raises(TypeError, match=r"names\.txt holds names, .*numbers\.txt holds numbers"):
        read_label_pair(tmp_path / "names.txt", tmp_path / "numbers.txt")
    (tmp_path / "gap.txt").write_text("1\n\n2\n")
    with pytest.raises(ValueError, match="line 2 of 3 is empty"):
        read_labels(tmp_path / "gap.txt")


def test_an_id_beyond_64_bits_is_named(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text(f"{2**63 - 1}\n{-(2**63)}\n")
    assert read_labels(tmp_path / "l.txt").tolist() == [2**63 - 1, -(2**63)]
    (tmp_path / "l.txt").write_text(f"1\n{2**63}\n")
    with pytest.raises(ValueError, match=r"l\.txt must hold class ids below 2\*\*63, line 2 has 92233"):
        read_labels(tmp_path / "l.txt")


def test_a_byte_order_mark_is_no_part_of_a_label(tmp_path: Path) -> None:
    (tmp_path / "numbers.txt").write_text("3\n1\n", encoding="utf-8-sig")
    (tmp_path / "names.txt").write_text("cat\ncat\n", encoding="utf-8-sig")
    assert read_labels(tmp_path / "numbers.txt").tolist() == [3, 1]
    assert read_labels(tmp_path / "names.txt").tolist() == ["cat", "cat"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("l.csv", "1,0,1\n"), ("l.txt", "1, 0, 1\n"), ("l.csv", "cat,dog\n"), ("l.csv", "3,\n")],
)
def test_several_columns_are_no_name(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text("1\n" + text)
    with pytest.raises(ValueError, match=r"one label a line, line 2 has several columns.*multi-hot rows"):
        read_labels(tmp_path / name)


def test_names_in_text_may_have_commas(tmp_path: Path) -> None:
    write_names(tmp_path / "l.txt", ["Smith, John", "1, 2, cat"])
    assert read_labels(tmp_path / "l.txt").tolist() == ["Smith, John", "1, 2, cat"]


def test_names_come_back(tmp_path: Path) -> None:
    names = ["a.png", "odd name.png", "größe.png"]
    write_names(tmp_path / "n.txt", names)
    assert read_names(tmp_path / "n.txt") == names


@pytest.mark.parametrize(
    "name", ["", " ", " a.png", "a.png ", "a\t", "a\nb", "a\r", "a\u2028b", "\x0c", "\ufeffa.png"]
)
def test_names_that_would_not_come_back_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"one line of text without blanks around it, got .* for row 1"):
        write_names(tmp_path / "n.txt", ["a.png", name])
    assert not list(tmp_path.iterdir())


def test_arrays_by_suffix(tmp_path: Path) -> None:
    write_arrays(tmp_path / "r.npz", {"a": CODES, "b": CODES + 1})
    with np.load(tmp_path / "r.npz") as stored:
        assert set(stored.files) == {"a", "b"}
    with pytest.raises(ValueError, match=r"must end in \.npz or \.safetensors"):
        write_arrays(tmp_path / "r.npy", {"a": CODES, "b": CODES})
