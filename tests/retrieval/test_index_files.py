"""An index in a file: what was saved is opened, what is no such file is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from samples import random_codes

import dmth_fast as df
from dmth_fast.retrieval.mappedrows import MappedRows

Array = NDArray[Any]
RNG = np.random.default_rng(0)
METADATA = {"format": "dmth_fast.index", "version": "1", "bits": "20", "next_id": "50"}
CODES = random_codes(RNG, 4, 20)
IDS = np.array([3, 5, 6, 40])


def made(bits: int, count: int, ids: Array | None = None) -> df.Index:
    index = df.Index(bits)
    index.add(random_codes(np.random.default_rng(count), count, bits), ids)
    return index


def equal(one: df.Index, other: df.Index, k: int = 9) -> None:
    """Codes, ids, answers, and the ids that come next."""
    queries = random_codes(RNG, 3, one.bits)
    assert (one.bits, len(one)) == (other.bits, len(other))
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.rows(), other.rows())
    np.testing.assert_array_equal(one.rows(one.ids[::-2]), other.rows(one.ids[::-2]))
    mask = RNG.random(len(one)) < 0.5
    for options in ({}, {"filter": mask}, {"filter": one.ids[mask]}, {"filter": mask | True}):
        for part, expected in zip(
            one.search(queries, k, **options), other.search(queries, k, **options), strict=True
        ):
            np.testing.assert_array_equal(part, expected)
        pair = [index.range_search(queries, one.bits // 2, **options) for index in (one, other)]
        for part, expected in zip(*pair, strict=True):
            np.testing.assert_array_equal(part, expected)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 70), st.integers(0, 40), st.booleans(), st.sampled_from(df.retrieval.plan.METHODS))
def test_what_was_saved_is_opened(tmp_path: Path, bits: int, count: int, own: bool, method: str) -> None:
    index = made(bits, count, RNG.choice(200, count, replace=False) if own else None)
    index.remove(index.ids[:: RNG.integers(2, 5)])
    path = tmp_path / "i.safetensors"
    index.save(path)
    for mmap in (False, True):
        opened = df.Index.open(path, mmap, method)
        assert opened.method == method
        equal(opened, index)
        code = np.zeros((1, opened.rows().shape[1]), np.uint8)
        assert opened.add(code).tolist() == [index._rows.snapshot()[2]]
        assert len(opened) == len(index) + 1


def test_the_file_is_safetensors_with_ids_where_they_are_not_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "i.safetensors"
    made(20, 4).save(path)
    assert load_file(path).keys() == {"codes"}
    index = made(20, 4, np.array([7, 3, 9, 2**63 - 1]))
    index.save(path)
    stored = load_file(path)
    assert stored["ids"].tolist() == [3, 7, 9, 2**63 - 1]
    np.testing.assert_array_equal(stored["codes"], index.rows())
    with pytest.raises(ValueError, match="ids must be given"):
        df.Index.open(path).add(CODES[:1])
    assert [file.name for file in tmp_path.iterdir()] == ["i.safetensors"]


def test_a_mapped_index_is_copied_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "i.safetensors"
    original = made(20, 500, np.random.default_rng(1).permutation(900)[:500])
    original.save(path)
    new = CODES[:1]
    changes = {
        "append": lambda index: index.add(new),
        "late": lambda index: index.add(new, np.setdiff1d(np.arange(900), original.ids)[:1]),
        "remove": lambda index: index.remove(original.ids[5:80]),
        "build": lambda index: index.build(),
    }
    for name, change in changes.items():
        mapped, read = df.Index.open(path, mmap=True), df.Index.open(path)
        assert isinstance(mapped._rows.settled().store, MappedRows)
        assert str(mapped.explain(new)) == "auto: no tables; 1 queries scanned"
        change(mapped)
        change(read)
        equal(mapped, read)
        assert not isinstance(mapped._rows.settled().store, MappedRows), name
        mapped.save(path)
        equal(df.Index.open(path, mmap=True), read)
        original.save(path)
    mapped = df.Index.open(path, mmap=True)
    with pytest.raises(ValueError, match="a code has already"):
        mapped.add(new, original.ids[:1])
    with pytest.raises(KeyError):
        mapped.remove(np.array([10_000]))
    mapped.save(path)  # over the file that is mapped
    equal(mapped, original)
    store = mapped._rows.settled().store
    assert isinstance(store, MappedRows)
    assert not store._codes.flags.owndata
    assert not store._codes.flags.writeable


def test_an_index_goes_to_a_device_with_ids_and_back(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    index = made(20, 9, np.arange(9) * 3)
    index.remove(np.array([24, 0]))
    path = tmp_path / "i.safetensors"
    index.save(path)
    for mmap in (False, True):
        back = df.Index.open(path, mmap).to("cpu").cpu()
        equal(back, index)
        assert back.add(CODES[:1]).tolist() == [25]


def test_ids_that_are_row_numbers_may_stand_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "i.safetensors"
    save_file({"codes": CODES, "ids": np.arange(4)}, path, metadata=METADATA)
    for mmap in (False, True):
        assert df.Index.open(path, mmap)._rows.settled().ids is None


REFUSED: list[tuple[dict[str, Array], dict[str, str], str]] = [
    ({"codes": CODES}, {"format": "faiss"}, "'format' must be 'dmth_fast.index', got 'faiss'"),
    ({"codes": CODES}, {"version": "2"}, "'version' must be '1', got '2'"),
    ({"codes": CODES}, {"version": ""}, "'version' must be '1', got None"),
    ({"ids": IDS}, {}, r"tensors must be 'codes' and perhaps 'ids', got \['ids'\]"),
    ({"codes": CODES, "labels": IDS}, {}, r"got \['codes', 'labels'\]"),
    ({"codes": CODES.astype(np.int8)}, {}, r"tensor 'codes' must have dtype U8 and 2 .*, got I8 of"),
    ({"codes": CODES[0]}, {}, r"got U8 of shape \(3,\)"),
    ({"codes": CODES, "ids": IDS.astype(np.int32)}, {}, "tensor 'ids' must have dtype I64 .*, got I32"),
    ({"codes": CODES, "ids": IDS[:, None]}, {}, r"got I64 of shape \(4, 1\)"),
    ({"codes": CODES, "ids": IDS[:3]}, {}, "an id for each of the 4 codes, got 3"),
    ({"codes": CODES}, {"bits": "64"}, r"uint8 of shape \(n, 8\) for 64 bits, got uint8 of shape \(4, 3\)"),
    ({"codes": CODES}, {"bits": "4097"}, "'bits' must be an integer from 1 to 4096, got '4097'"),
    ({"codes": CODES}, {"bits": "2e1"}, "'bits' must be an integer from 1 to 4096, got '2e1'"),
    ({"codes": CODES}, {"bits": ""}, "'bits' must be an integer from 1 to 4096, got ''"),
    ({"codes": CODES | 128}, {}, "zero padding after bit 19"),
    ({"codes": CODES, "ids": IDS[::-1].copy()}, {}, "ids must ascend, got 40 before 6"),
    ({"codes": CODES, "ids": np.array([1, 2, 2, 3])}, {}, "ids must ascend, got 2 before 2"),
    ({"codes": CODES, "ids": IDS - 4}, {}, "ids must be 0 or above, got -1"),
    ({"codes": CODES}, {"next_id": "3"}, "'next_id' must be an integer from 4 to .*, got '3'"),
    ({"codes": CODES, "ids": IDS}, {"next_id": "40"}, "'next_id' must be an integer from 41 to .*, got '40'"),
    ({"codes": CODES}, {"next_id": str(2**63 + 1)}, f"'next_id' must be .* to {2**63}, got"),
    ({"codes": CODES}, {"next_id": "9" * 5000}, "'next_id' must be"),
    ({"codes": CODES}, {"next_id": "\u0667"}, "'next_id' must be"),
    ({"codes": CODES}, {"next_id": ""}, "'next_id' must be"),
]


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(("tensors", "changed", "message"), REFUSED)
def test_other_files_are_refused(
    tmp_path: Path, tensors: dict[str, Array], changed: dict[str, str], message: str, mmap: bool
) -> None:
    path = tmp_path / "other.safetensors"
    metadata = {name: value for name, value in (METADATA | changed).items() if value}
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path, metadata=metadata)
    with pytest.raises(ValueError, match=message) as caught:
        df.Index.open(path, mmap)
    assert str(path) in str(caught.value)


def test_a_file_of_codes_is_refused_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "codes.safetensors"
    for metadata in (None, {"bits": "20"}):
        save_file({"codes": CODES}, path, metadata=metadata)
        with pytest.raises(ValueError, match=r"holds codes, but no index .* `dmth-fast index`"):
            df.Index.open(path)


def test_other_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ending in \.safetensors, got .*\.npy"):
        made(20, 3).save(tmp_path / "i.npy")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"ending in \.safetensors"):
        df.Index.open(tmp_path / "i.npy")
    with pytest.raises(FileNotFoundError, match="no such file"):
        df.Index.open(tmp_path / "none.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(IsADirectoryError):
        df.Index.open(tmp_path / "folder.safetensors")
    with pytest.raises(IsADirectoryError):
        made(20, 3).save(tmp_path / "folder.safetensors")
    with pytest.raises(ValueError, match="method must be one of"):
        df.Index.open(tmp_path / "none.safetensors", method="scna")


def outcome(path: Path, data: bytes, mmap: bool) -> str:
    """What becomes of a file: opened, or refused by a ValueError that names it."""
    path.unlink(missing_ok=True)  # not written into: it may be mapped
    path.write_bytes(data)
    try:
        index = df.Index.open(path, mmap)
    except ValueError as error:
        return "refused" if str(path) in str(error) else str(error)
    index.search(np.zeros((1, 3), np.uint8), 3)
    return "opened"


@pytest.mark.parametrize("mmap", [False, True])
def test_every_truncated_file_is_refused(tmp_path: Path, mmap: bool) -> None:
    made(20, 4, IDS).save(tmp_path / "i.safetensors")
    whole = (tmp_path / "i.safetensors").read_bytes()
    for end in range(len(whole)):
        assert outcome(tmp_path / "part.safetensors", whole[:end], mmap) == "refused"
    assert outcome(tmp_path / "part.safetensors", whole + b"\0", mmap) == "refused"
    assert outcome(tmp_path / "part.safetensors", whole, mmap) == "opened"


@pytest.mark.parametrize("value", [0x01, 0x80, 0xFF, 0x20])
def test_a_damaged_header_is_refused_or_means_the_same(tmp_path: Path, value: int) -> None:
    made(20, 4, IDS).save(tmp_path / "i.safetensors")
    whole = (tmp_path / "i.safetensors").read_bytes()
    begin = 8 + int.from_bytes(whole[:8], "little")
    opened = 0
    for at in range(len(whole) - CODES.nbytes):
        damaged = bytearray(whole)
        damaged[at] ^= value
        opened += outcome(tmp_path / "d.safetensors", bytes(damaged), at % 2 == 0) == "opened"
    assert opened < 40  # digits of next_id, blanks, and ids that still ascend
    header = json.loads(whole[8:begin])
    for name, entry in (("codes", {"dtype": "U8", "shape": [4, 3], "data_offsets": [0, 12]}), ("ids", 3)):
        text = json.dumps(header | {name: entry}).encode()
        data = len(text).to_bytes(8, "little") + text + whole[begin:]
        assert outcome(tmp_path / "d.safetensors", data, True) == "refused"


@pytest.mark.parametrize(
    "content", [b"", b"nonsense" * 5, b"\x80\x04K\x01.", b"\xff" * 64, b"\2" + b"\0" * 7 + b"{}"]
)
def test_what_is_no_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    for mmap in (False, True):
        assert outcome(tmp_path / "n.safetensors", content, mmap) == "refused"


def test_a_header_without_metadata_is_told(tmp_path: Path) -> None:
    header = b'{"__metadata__":null,"codes":{"dtype":"U8","shape":[1,8],"data_offsets":[0,8]}}'
    path = tmp_path / "null.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match="it holds codes, but no index of them"):
        df.Index.open(path)


def test_mmap_is_yes_or_no(tmp_path: Path) -> None:
    df.Index(8).save(tmp_path / "index.safetensors")
    with pytest.raises(TypeError, match="mmap must be True or False, got 'no'"):
        df.Index.open(tmp_path / "index.safetensors", mmap="no")  # type: ignore[arg-type]
