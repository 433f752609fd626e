"""Images from folders, archives and arrays, whole or damaged."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dmth_fast.learning.data import (
    ImageSet,
    LazyImages,
    digits,
    from_array,
    join,
    open_images,
    split_by_class,
)

RNG = np.random.default_rng(0)
PIXELS = {
    f"{name}/{i}.png": RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    for name in ("cat", "dog")
    for i in range(3)
}


def png(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for name, pixels in PIXELS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(pixels))
    return root


def archive(path: Path, names: list[str], prefix: str = "", method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name in names:
            file.writestr(prefix + name, png(PIXELS[name]))
    return path


def check(images: ImageSet) -> None:
    assert images.classes == ("cat", "dog")
    assert images.labels is not None
    for i, name in enumerate(images.names):
        key = name.removeprefix("train/")
        assert images.classes[int(images.labels[i])] == key.split("/")[0]
        pixels = images.images[torch.tensor([i])][0].permute(1, 2, 0).numpy()
        assert np.array_equal(pixels, PIXELS[key])


def test_folder(folder: Path) -> None:
    images = open_images(folder)
    assert len(images) == 6
    check(images)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("prefix", ["", "train/"])
def test_zip_is_read_in_place(tmp_path: Path, method: int, prefix: str) -> None:
    images = open_images(archive(tmp_path / "a.zip", list(PIXELS), prefix, method))
    assert len(images) == 6
    check(images)


def test_several_zips_of_one_layout(tmp_path: Path) -> None:
    names = list(PIXELS)
    archive(tmp_path / "a-0.zip", names[::2], "train/")
    archive(tmp_path / "a-1.zip", names[1::2], "train/")
    images = open_images(tmp_path / "a-*.zip")
    assert len(images) == 6
    check(images)
    assert images.split_hash() == open_images([tmp_path / "a-1.zip", tmp_path / "a-0.zip"]).split_hash()


def test_lazy_beyond_the_limit(folder: Path) -> None:
    lazy = open_images(folder, memory_limit=100)
    assert isinstance(lazy.images, LazyImages)
    assert lazy.images.shape == (6, 3, 6, 6)
    check(lazy)
    check(lazy.select(torch.tensor([4, 1])))
    assert lazy.images[1:3].shape == (2, 3, 6, 6)


def test_lazy_images_are_told_apart_by_their_files(folder: Path, tmp_path: Path) -> None:
    def found(source: Path) -> str:
        return open_images(source, memory_limit=100).content_hash()

    first, member = found(folder), found(archive(tmp_path / "a.zip", list(PIXELS)))
    assert found(folder) == first
    (folder / "cat" / "0.png").write_bytes(png(255 - PIXELS["cat/0.png"]))
    assert found(folder) != first
    path = tmp_path / "b" / "a.zip"
    path.parent.mkdir()
    assert found(archive(path, list(PIXELS))) == member
    with zipfile.ZipFile(path, "w") as file:
        for name, pixels in PIXELS.items():
            file.writestr(name, png(pixels[::-1]))
    assert found(path) != member


def test_resizing_keeps_the_centre(folder: Path) -> None:
    (folder / "cat" / "wide.png").write_bytes(png(RNG.integers(0, 256, (8, 20, 3), dtype=np.uint8)))
    assert open_images(folder, size=4).images.shape == (7, 3, 4, 4)
    with pytest.raises(ValueError, match=r"images differ in size .*pass size="):
        open_images(folder)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_any_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (5, 4)).save(tmp_path / "a.png")
    assert open_images(tmp_path / "a.png").images.shape == (1, 3, 4, 5)


def test_damaged_images_are_named_skipped_and_counted(folder: Path) -> None:
    whole = (folder / "cat" / "0.png").read_bytes()
    (folder / "cat" / "cut.png").write_bytes(whole[:-30])
    (folder / "dog" / "text.png").write_bytes(b"no image")
    (folder / "dog" / "notes.txt").write_text("not listed as an image")
    images = open_images(folder)
    assert len(images) == 6
    assert {name for name, _ in images.skipped} == {"cat/cut.png", "dog/text.png", "dog/notes.txt"}
    check(images)
    rest, held = split_by_class(images, fraction=0.5, seed=0)
    assert rest.skipped == held.skipped == join([rest, held]).skipped == images.skipped
    with pytest.raises(ValueError, match=r"cat/cut\.png cannot be decoded"):
        open_images(folder, strict=True)


def test_damaged_archive_member(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", list(PIXELS))
    data = bytearray(path.read_bytes())
    data[data.find(b"IDAT") + 8] ^= 0xFF
    path.write_bytes(bytes(data))
    images = open_images(path)
    assert len(images) == 5
    assert len(images.skipped) == 1


def test_missing_folder() -> None:
    with pytest.raises(FileNotFoundError, match="source no/such does not exist"):
        open_images("no/such")
    with pytest.raises(FileNotFoundError, match="matches no file"):
        open_images("no/such-*.zip")


def test_class_without_images(folder: Path) -> None:
    (folder / "bird").mkdir()
    with pytest.raises(ValueError, match="class folder without a readable image: bird"):
        open_images(folder)


def test_class_whose_images_are_all_damaged(folder: Path) -> None:
    (folder / "bird").mkdir()
    (folder / "bird" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="class folder without a readable image: bird"):
        open_images(folder)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image found"):
        open_images(tmp_path)


def test_no_zip(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="neither a folder nor a zip archive"):
        open_images(tmp_path / "a.zip")


def test_image_outside_a_class_folder(folder: Path) -> None:
    (folder / "loose.png").write_bytes(png(PIXELS["cat/0.png"]))
    with pytest.raises(ValueError, match=r"loose\.png lies outside a class folder"):
        open_images(folder)
    images = open_images(folder, labels="none")
    assert len(images) == 7
    assert images.labels is None


def test_same_name_in_two_archives(tmp_path: Path) -> None:
    paths = [archive(tmp_path / f"{i}.zip", ["cat/0.png", "dog/0.png"]) for i in range(2)]
    with pytest.raises(ValueError, match=r"cat/0\.png occurs more than once"):
        open_images(paths)


@pytest.mark.parametrize("shape", [(4, 3, 6, 8), (4, 6, 8, 3), (4, 6, 8)])
def test_arrays_of_each_layout(shape: tuple[int, ...]) -> None:
    assert from_array(np.zeros(shape, np.uint8)).images.shape == (4, 3, 6, 8)


def test_three_grey_images_and_one_in_colour_must_be_told_apart() -> None:
    pixels = RNG.integers(0, 256, (3, 8, 8), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"\(3, 8, 8\) could be one in colour or three in grey: pass images"):
        from_array(pixels)
    assert from_array(pixels[None]).images.shape == (1, 3, 8, 8)
    grey = from_array(pixels[:, None])
    assert grey.images.shape == (3, 3, 8, 8)
    assert np.array_equal(grey.images[:, 2].numpy(), pixels)
    assert len(from_array(pixels[:2])) == 2
    assert len(from_array(pixels.transpose(1, 2, 0))) == 1


def test_labels_are_hashed_in_order() -> None:
    pixels = np.zeros((2, 3, 4, 4), np.uint8)
    hashes = [
        from_array(pixels, labels=labels, classes=classes).labels_hash()
        for labels, classes in (([0, 1], "ab"), ([1, 0], "ab"), ([0, 1], "ba"))
    ]
    assert len(set(hashes)) == 3
    assert from_array(pixels).labels_hash() is None


def test_bad_arrays() -> None:
    with pytest.raises(TypeError, match=r"images must be uint8, got torch\.float32"):
        from_array(np.zeros((2, 3, 4, 4), np.float32))
    with pytest.raises(ValueError, match=r"could be \(n, 3, h, w\) or \(n, h, w, 3\)"):
        from_array(np.zeros((2, 3, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="images must have shape"):
        from_array(np.zeros((2, 4, 4, 5), np.uint8))
    with pytest.raises(TypeError, match="labels must be integers"):
        from_array(np.zeros((2, 3, 4, 4), np.uint8), labels=[0.0, 1.0])
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\)"):
        from_array(np.zeros((2, 3, 4, 4), np.uint8), labels=[0, 1, 1])
    with pytest.raises(ValueError, match="at least one image"):
        from_array(np.zeros((0, 3, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
        from_array(np.zeros((2, 3, 4, 4), np.uint8), labels=[-1, 1], classes=["a", "b"])


def test_digits_are_split_by_class_and_seed() -> None:
    pytest.importorskip("sklearn")
    train, test = digits()
    assert not set(train.names) & set(test.names)
    assert train.split_hash() == digits()[0].split_hash()
    assert train.split_hash() != digits(1)[0].split_hash()
    assert test.labels is not None
    assert test.labels.bincount().tolist() == [59, 61, 59, 61, 60, 61, 60, 60, 58, 60]


def test_split_needs_two_images_a_class() -> None:
    images = from_array(np.zeros((3, 3, 4, 4), np.uint8), labels=[0, 0, 1])
    with pytest.raises(ValueError, match="class 1 has 1 images"):
        split_by_class(images, fraction=0.5, seed=0)
