"""The ``serve`` command: the collection behind the page, and the page itself where gradio is installed."""

import gc
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from commandline import Run
from PIL import Image

import dmth_fast as df
from dmth_fast import serve
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


@pytest.mark.filterwarnings("default")  # of gradio's own
def test_the_page_answers(hasher: Hasher, folder: Path) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed")
    client = pytest.importorskip("gradio_client")
    images = opened(folder)
    page = serve.page(serve.Collection(hasher, images), 3)
    _, address, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        query = client.handle_file(str(folder / images.names[2]))
        shown, words = client.Client(address, verbose=False).predict(query, 3, api_name="/search")
    finally:
        page.close(verbose=False)
        gc.collect()  # what gradio leaves open is closed here, not in another test
    assert len(shown) == 3
    assert shown[0]["caption"].startswith("0 ")
    assert "3 nearest of 9 codes" in words


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
