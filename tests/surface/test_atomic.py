import os
from pathlib import Path

import pytest

from dmth_fast.atomic import write_json, write_text, writing


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_interrupted_write_leaves_the_former_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "result.json"
    target.write_text("former")

    def interrupted() -> None:
        with writing(target) as temporary:
            temporary.write_text("ha")
            raise error

    with pytest.raises(error):
        interrupted()
    assert target.read_text() == "former"
    assert list(tmp_path.iterdir()) == [target]


def test_replaces_and_makes_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "result.txt"
    write_text(target, "first")
    write_text(target, "second")
    assert target.read_text() == "second"
    assert list(target.parent.iterdir()) == [target]


def test_mode_follows_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(former)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_temporary_name_keeps_the_suffix(tmp_path: Path) -> None:
    with writing(tmp_path / "a.npz") as temporary:
        assert temporary.suffix == ".npz"
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"x")


def test_refuses_a_folder_and_nan(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="must be a file"):
        write_text(tmp_path, "a")
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"map": float("nan")})
    assert not list(tmp_path.iterdir())
