"""The ``serve`` command: the collection behind the page, and the page itself where gradio is installed."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from commandline import Run
from PIL import Image

import dmth_fast as df
from dmth_fast import encoding, serve
from dmth_fast.learning.data import ImageSet, digits, open_images
from dmth_fast.learning.hasher import Hasher


@pytest.fixture(scope="module")
def hasher() -> Hasher:
    train, _ = digits()
    some = train.select(torch.arange(64))
    return Hasher("tiny-4", bits=12, epochs=1, batch_size=16, device="cpu").fit(some)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine digits as PNG files, one of them in a folder of its own."""
    images, _ = digits()
    for row in range(9):
        pixels = np.moveaxis(images.images[torch.tensor([row])][0].numpy(), 0, -1)
        path = tmp_path / "images" / ("deep" if row == 4 else "") / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "images"


def opened(folder: Path) -> ImageSet:
    return open_images(folder, size=8, labels="none", memory_limit=0)


def test_an_image_of_the_collection_is_its_own_nearest_neighbour(hasher: Hasher, folder: Path) -> None:
    images = opened(folder)
    collection = serve.Collection(hasher, images)
    codes = hasher.encode(images)
    assert len(collection) == 9
    for row in range(9):
        found = collection.nearest(collection.picture(row), 4)
        distances, ids = df.search(codes, codes[row : row + 1], 4)
        assert [one.distance for one in found.neighbours] == distances[0].tolist()
        assert [one.name for one in found.neighbours] == [images.names[i] for i in ids[0]]
        assert found.neighbours[0].distance == 0
        assert found.encoding_ms > 0
        assert found.search_ms > 0
    assert len(collection.nearest(collection.picture(0), 100).neighbours) == 9
    with pytest.raises(ValueError, match="k must be"):
        collection.nearest(collection.picture(0), 0)


def test_codes_of_a_file_are_compared_with_the_images(hasher: Hasher, folder: Path) -> None:
    images = opened(folder)
    codes = hasher.encode(images)
    assert len(serve.Collection(hasher, images, codes)) == 9
    with pytest.raises(ValueError, match="one for each of the 9 images, got 8"):
        serve.Collection(hasher, images, codes[:8])
    with pytest.raises(ValueError, match=r"2 bytes \(12 bits\), got 3"):
        serve.Collection(hasher, images, np.zeros((9, 3), np.uint8))
    other = codes ^ np.array([0b10101010, 0b1010], np.uint8)
    with pytest.raises(ValueError, match="of 9 codes made anew 54 of 108 bits differ"):
        serve.Collection(hasher, images, other)


def test_images_in_memory_are_refused(hasher: Hasher, folder: Path) -> None:
    with pytest.raises(TypeError, match="images must stay files"):
        serve.Collection(hasher, open_images(folder, size=8, labels="none"))


@pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed")
def test_the_page_answers(folder: Path) -> None:
    worker = Path(__file__).with_name("page_worker.py")
    done = subprocess.run(
        [sys.executable, worker, folder], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert len(answer["captions"]) == 4
    assert answer["captions"][0].startswith("0 ")
    assert "4 nearest of 9 codes" in answer["words"]
    assert answer["sliders"] == [[1, 9, 3], [1, 9, 9]]
    assert answer["single"][2] == 1


def test_images_that_are_not_square_are_shown_to_a_student_of_such(tmp_path: Path) -> None:
    images = ImageSet(images=torch.randint(0, 256, (20, 3, 8, 6), dtype=torch.uint8))
    labelled = ImageSet(images=images.images, labels=torch.arange(20) % 2)
    hasher = Hasher("tiny-4", bits=8, epochs=1, batch_size=10, device="cpu").fit(labelled)
    for row in range(3):
        Image.fromarray(np.moveaxis(images.images[row].numpy(), 0, -1)).save(tmp_path / f"{row}.png")
    assert encoding.side_of(hasher) is None
    opened_as_they_are = open_images(tmp_path, labels="none", memory_limit=0)
    assert len(serve.Collection(hasher, opened_as_they_are)) == 3


@pytest.mark.parametrize(("size", "shown"), [((8, 4), (160, 80)), ((200, 100), (200, 100))])
def test_small_images_are_enlarged(size: tuple[int, int], shown: tuple[int, int]) -> None:
    assert serve._fit(Image.new("RGB", size)).size == shown
    assert max(serve._fit(Image.new("RGB", (4000, 100))).size) == 512


def test_the_command_says_what_is_missing(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, _, err = run("serve", tmp_path, folder)
    assert code != 0
    assert 'pip install "dmth-fast[serve]"' in err
    monkeypatch.setitem(sys.modules, "gradio", ModuleType("gradio"))
    code, _, err = run("serve", tmp_path / "student", folder)
    assert (code, "student" in err) == (2, True)
    code, _, err = run("serve", tmp_path, folder, "-k", 0)
    assert (code, err) == (2, "dmth-fast: -k must be at least 1, got 0\n")
    code, _, err = run("serve", tmp_path, folder, "--batch-size", 0)
    assert (code, err) == (2, "dmth-fast: --batch-size must be at least 1, got 0\n")
