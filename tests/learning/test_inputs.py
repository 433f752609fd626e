"""Every form in which images may be handed over, and on which device."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dmth_fast import FusedTeacher, Hasher
from dmth_fast.learning.augmentation import IMAGENET, normalize
from dmth_fast.learning.backbones import build_backbone
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.network import prepare
from dmth_fast.learning.sources import resize

SETTINGS: dict[str, Any] = {"padding": 1, "flip": False, "batch_size": 4, "epochs": 1}
RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    return root


def test_a_picture_is_turned_as_its_file_is(single: Hasher, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    photo.save(tmp_path / "turned.png", exif=exif)
    expected = single.values(tmp_path / "turned.png")
    with Image.open(tmp_path / "turned.png") as opened:
        assert np.array_equal(single.values(opened), expected)
        assert np.array_equal(single.values([opened]), expected)
    assert not np.array_equal(single.values(photo), expected)


def test_lists_keep_their_order(single: Hasher, folder: Path) -> None:
    paths = [folder / "dog" / "1.png", folder / "cat" / "1.png", folder / "cat" / "0.png"]
    expected = np.concatenate([single.encode(path) for path in paths])
    assert np.array_equal(single.encode(paths), expected)
    assert np.array_equal(single.encode([str(path) for path in paths]), expected)
    pictures = [Image.open(path) for path in paths]
    assert np.array_equal(single.encode(pictures), expected)
    assert np.array_equal(single.encode([np.asarray(picture) for picture in pictures]), expected)
    larger = [pictures[0].resize((20, 12)), pictures[1]]
    assert np.array_equal(single.encode(larger), np.concatenate([single.encode(part) for part in larger]))
    grey = [np.asarray(picture.convert("L")) for picture in pictures]
    assert np.array_equal(single.encode(grey), single.encode(np.stack(grey)[:, None]))
    for picture in pictures:
        picture.close()
    with pytest.raises(ValueError, match=r"must have one size before training, got \[\(8, 8\), \(9, 9\)\]"):
        Hasher("tiny-4").values([np.zeros((9, 9, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(TypeError, match="source must be a path"):
        single.encode([np.zeros((8, 8, 3), np.uint8), 3])


def test_a_path_can_be_trained_on(folder: Path, single: Hasher, train: ImageSet) -> None:
    hasher = Hasher("tiny-4", 16, **SETTINGS)
    hasher.fit(str(folder), validation=folder, progress=False)
    assert hasher.classes == ("cat", "dog")
    assert hasher.recalibrate(str(folder)) is hasher
    fused = FusedTeacher([hasher], bits=16, views=1, dim=8, **SETTINGS).fit(folder, progress=False)
    Hasher("tiny-4", 16, **SETTINGS).fit(folder, teacher=fused, unlabelled=folder, progress=False)
    (folder / "cat" / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"bad\.png cannot be decoded"):
        hasher.fit(folder, progress=False)
    with pytest.raises(TypeError, match=r"train must be an ImageSet or a path, got tuple: use from_array"):
        hasher.fit((train.images, train.labels), progress=False)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="validation must be an ImageSet or a path, got Tensor"):
        hasher.fit(train, validation=train.images, progress=False)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"teacher must be a FusedTeacher, got Hasher: FusedTeacher\(\[teach"):
        hasher.fit(train, teacher=single, progress=False)  # type: ignore[arg-type]


def test_resizing_off_the_cpu_gives_the_same_pixels() -> None:
    images = torch.from_numpy(RNG.integers(0, 256, (3, 3, 20, 31), dtype=np.uint8))
    images[0] = images[0] // 128 * 255
    for size in ((8, 8), (45, 33)):
        expected, found = resize(images, size), resize(images, size, as_float=True)
        assert found.dtype == torch.uint8
        difference = (found.int() - expected.int()).abs()
        assert int(difference.max()) <= 2
        assert float((difference > 0).float().mean()) < 0.02
    backbone = build_backbone("tiny-4")
    assert torch.equal(prepare(backbone, images, 8), normalize(resize(images, (8, 8)), IMAGENET))


def test_a_tensor_is_answered_on_its_own_device(single: Hasher, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    found = single._run(images, 256, lambda _, h: h)
    monkeypatch.setattr(Hasher, "_run", lambda *_: found)
    for answer in (single.encode, single.values, single.features, single.predict, single.logits):
        assert answer(images.to("meta")).device.type == "meta"
        assert answer(images).device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_averaging_and_encoding_on_a_gpu(train: ImageSet) -> None:
    settings = {**SETTINGS, "batch_size": 64, "ema": 0.9}
    hasher = Hasher("tiny-4", 16, **settings).fit(train, progress=False).to("cuda")
    assert hasher.recalibrate(train).encode(train.images[:4].to("cuda")).device.type == "cuda"
    assert len(resize(train.images[:4].to("cuda"), (16, 16))) == 4
