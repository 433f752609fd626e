"""Cross-modal hashing: codes of both modalities, files, splits, and what is refused."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor

from dmth_fast import unpack
from dmth_fast.learning.alignment import AlignmentObjective, CrossModalConfig, Tower
from dmth_fast.learning.crossmodal import CrossModalHasher
from dmth_fast.learning.pairdata import PairDataConfig, digit_pairs, open_pair_split
from dmth_fast.learning.pairs import Pairs, open_pairs, read_wikipedia, split_pairs

QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 32, "hidden": 16}


def pairs(n: int = 96) -> Pairs:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 4
    image = torch.eye(4)[labels] @ torch.randn(4, 6, generator=generator)
    text = (torch.eye(4)[labels] + 0.1 * torch.rand(n, 4, generator=generator)).float()
    noise = 0.1 * torch.randn(n, 6, generator=generator)
    return Pairs(image=image + noise, text=text, labels=labels, vocabulary=("a", "b", "c", "d"))


@pytest.fixture(scope="module")
def teacher() -> CrossModalHasher:
    return CrossModalHasher(6, 4, bits=16, **QUICK).fit(pairs(), progress=False)


@pytest.mark.parametrize("recipe", ["djsrh", "jdsh"])
def test_other_similarities_train_and_repeat(recipe: str) -> None:
    first, second = (
        CrossModalHasher(6, 4, bits=16, **QUICK).fit(pairs(), recipe, progress=False) for _ in range(2)
    )
    assert torch.equal(first.values_image(pairs().image), second.values_image(pairs().image))
    assert first.history[-1]["loss"] <= first.history[0]["loss"]


@pytest.mark.parametrize("recipe", ["hard", "soft"])
def test_students_of_another_width_learn_from_a_teacher(recipe: str, teacher: CrossModalHasher) -> None:
    student = CrossModalHasher(6, 4, bits=12, neighbours=24, **QUICK)
    student.fit(pairs(), recipe, teacher=teacher, progress=False)
    codes = student.encode_image(pairs().image.numpy())
    assert codes.shape == (96, 2)
    assert not unpack(codes, 16)[:, 12:].any()


def test_labels_are_not_looked_at(teacher: CrossModalHasher) -> None:
    data = pairs()
    other = Pairs(image=data.image, text=data.text, labels=data.labels.flip(0), vocabulary=data.vocabulary)
    again = CrossModalHasher(6, 4, bits=16, **QUICK).fit(other, progress=False)
    assert torch.equal(teacher.values_text(data.text), again.values_text(data.text))


def test_saved_hashers_give_the_same_codes(teacher: CrossModalHasher, tmp_path: Path) -> None:
    teacher.save(tmp_path)
    loaded = CrossModalHasher.load(tmp_path)
    data = pairs()
    assert np.array_equal(loaded.encode_text(data.text.numpy()), teacher.encode_text(data.text.numpy()))
    assert torch.equal(loaded.encode_image(data.image), teacher.encode_image(data.image))
    assert loaded.vocabulary == data.vocabulary
    one_by_one = [loaded.encode_image(data.image[i : i + 1]) for i in range(5)]
    assert torch.equal(torch.cat(one_by_one), loaded.encode_image(data.image[:5]))
    (tmp_path / "config.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="must have the format dmth-fast-crossmodal-1, got 'other'"):
        CrossModalHasher.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        CrossModalHasher.load(tmp_path / "none")


def test_words_are_the_same_as_their_bag(teacher: CrossModalHasher) -> None:
    bags = np.array([[1, 0, 1, 0], [0, 1, 0, 0]], dtype=np.float32)
    assert np.array_equal(teacher.encode_text(["a c", "b"]), teacher.encode_text(bags))
    with pytest.raises(ValueError, match="4 known words, got zebra"):
        teacher.encode_text(["a zebra"])


def test_published_gradient_stops_at_the_codes() -> None:
    torch.manual_seed(0)
    data = pairs(16)
    gradients = {}
    for gradient in ("published", "straight-through"):
        towers = Tower(6, 8, 16), Tower(4, 8, 16)
        objective = AlignmentObjective(*towers, "dsah", CrossModalConfig(gradient=gradient))
        terms = objective(data.image, data.text, torch.arange(16), torch.tensor(0))
        found = torch.autograd.grad(
            terms["reconstruction"], [towers[0].hidden.weight, objective.to_text.weight], allow_unused=True
        )
        gradients[gradient] = [item is not None and bool(item.abs().sum() > 0) for item in found]
    assert gradients == {"published": [False, True], "straight-through": [True, True]}


@pytest.mark.parametrize(
    ("image", "text", "message"),
    [
        (torch.ones(3, 2), torch.ones(4, 2), "same pairs, got 3 and 4 rows"),
        (
            torch.tensor([[math.nan, 1.0]]),
            torch.ones(1, 2),
            "image features must be finite, got nan at row 0",
        ),
    ],
)
def test_pairs_must_be_pairs_and_finite(image: Tensor, text: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pairs(image=image, text=text, labels=torch.zeros(len(image), dtype=torch.int64))


def test_bad_use_is_refused(teacher: CrossModalHasher) -> None:
    with pytest.raises(ValueError, match="text features must have 4 columns"):
        teacher.encode_text(np.ones((2, 5), dtype=np.float32))
    with pytest.raises(TypeError, match="image features must be an array or a tensor, got list"):
        teacher.encode_image([[1.0]])
    with pytest.raises(ValueError, match="not trained yet"):
        CrossModalHasher(6, 4).encode_image(np.ones((1, 6), dtype=np.float32))
    with pytest.raises(ValueError, match="recipe 'soft' needs a teacher"):
        CrossModalHasher(6, 4, **QUICK).fit(pairs(), "soft")
    with pytest.raises(ValueError, match="recipe 'dsah' takes no teacher"):
        CrossModalHasher(6, 4, **QUICK).fit(pairs(), "dsah", teacher=teacher)
    with pytest.raises(ValueError, match="recipe must be one of dsah, djsrh, jdsh, hard, soft; got 'cmfh'"):
        CrossModalHasher(6, 4, **QUICK).fit(pairs(), "cmfh")
    with pytest.raises(ValueError, match=r"neighbours must lie in 1\.\.96"):
        CrossModalHasher(6, 4, neighbours=97, **QUICK).fit(pairs(), "hard", teacher=teacher, progress=False)
    with pytest.raises(ValueError, match="gradient must be one of straight-through, published"):
        CrossModalHasher(6, 4, gradient="none")


def test_an_interrupted_fit_is_not_continued_on_other_pairs(
    teacher: CrossModalHasher, tmp_path: Path
) -> None:
    def fit(data: Pairs, taught: CrossModalHasher) -> None:
        student = CrossModalHasher(6, 4, bits=16, neighbours=24, **QUICK)
        student.fit(data, "soft", teacher=taught, progress=False, run_dir=tmp_path, resume=True)

    fit(pairs(), teacher)
    fit(pairs(), teacher)
    data = pairs()
    other = Pairs(image=data.image + 1, text=data.text, labels=data.labels, vocabulary=data.vocabulary)
    another = CrossModalHasher(6, 4, bits=16, seed=1, **QUICK).fit(data, progress=False)
    for changed in ((other, teacher), (data, another)):
        with pytest.raises(ValueError, match="belongs to other settings"):
            fit(*changed)


def test_a_trained_hasher_is_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training may have moved the towers to a GPU."""
    asked: list[object] = []
    moved = Tower.to

    def note(tower: Tower, device: object) -> Tower:
        asked.append(device)
        return moved(tower, device)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(Tower, "to", note)
    CrossModalHasher(6, 4, bits=16, **QUICK).fit(pairs(), progress=False)
    assert asked[-2:] == ["cpu", "cpu"]


def test_labels_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    features = np.ones((2, 3), dtype=np.float32)
    np.savez(tmp_path / "pairs.npz", image=features, text=features, labels=np.array(["cat", "dog"]))
    with pytest.raises(TypeError, match=r"pairs\.npz: labels must be class ids or 0/1 rows, got <U3"):
        open_pairs(tmp_path / "pairs.npz")
    with pytest.raises(ValueError, match="protocol must be fraction:F with a number F, got 'fraction:x'"):
        split_pairs(pairs(), "fraction:x", seed=0)


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".safetensors"])
def test_pairs_come_from_files_of_arrays(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.random((5, 3), dtype=np.float32),
        "text": rng.random((5, 2), dtype=np.float32),
        "labels": np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]], dtype=np.uint8),
    }
    path = tmp_path / f"pairs{suffix}"

    def write(content: dict[str, Any]) -> None:
        if suffix == ".npz":
            np.savez(path, **content)
        elif suffix == ".mat":
            pytest.importorskip("scipy.io").savemat(path, content)
        else:
            save_file(content, path)

    write(arrays)
    opened = open_pairs(path)
    assert np.array_equal(opened.image.numpy(), arrays["image"])
    assert opened.labels.dtype == torch.bool
    assert opened.num_unlabelled == 1
    del arrays["text"]
    write(arrays)
    with pytest.raises(ValueError, match="must hold image, text, labels; it lacks text and has"):
        open_pairs(path)


def test_other_files_and_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_pairs(tmp_path / "none.npz")
    (tmp_path / "pairs.csv").write_text("1")
    with pytest.raises(ValueError, match=r"must end in \.npz, \.mat or \.safetensors"):
        open_pairs(tmp_path / "pairs.csv")
    with pytest.raises(ValueError, match="source must be wikipedia, corel5k, digits, or an"):
        open_pair_split(PairDataConfig(source="flickr30k"), tmp_path, tmp_path)


def test_mirflickr_protocol_on_arrays_of_its_shape() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(20015, 24, generator=generator) < 0.15
    labels[torch.arange(20015), torch.arange(20015) % 24] = True
    data = Pairs(image=torch.ones(20015, 4), text=torch.ones(20015, 3), labels=labels)
    split = split_pairs(data, "mirflickr25k", seed=1)
    assert len(split.query) == 160 + 23 * 80
    assert len(split.train) == 5000
    assert len(split.database) == 20015 - len(split.query)
    assert set(split.train.tolist()) <= set(split.database.tolist())
    assert split.hash == split_pairs(data, "mirflickr25k", seed=1).hash
    assert split.hash != split_pairs(data, "mirflickr25k", seed=2).hash


def test_nus_wide_protocol_on_arrays_of_its_shape() -> None:
    labels = torch.nn.functional.one_hot(torch.arange(20000) % 10, 10).bool()
    data = Pairs(image=torch.ones(20000, 2), text=torch.ones(20000, 2), labels=labels)
    split = split_pairs(data, "nus-wide", seed=0)
    assert (len(split.query), len(split.train)) == (2000, 5000)
    with pytest.raises(ValueError, match="one of mirflickr25k, nus-wide, fraction:F; got 'coco'"):
        split_pairs(data, "coco", seed=0)
    single = Pairs(image=torch.ones(4, 2), text=torch.ones(4, 2), labels=torch.arange(4))
    with pytest.raises(ValueError, match="needs multi-hot labels"):
        split_pairs(single, "nus-wide", seed=0)


def test_wikipedia_has_its_published_size(data_root: Path) -> None:
    pytest.importorskip("scipy")
    split = read_wikipedia(data_root / "wikipedia")
    assert (len(split.train), len(split.query)) == (2173, 693)
    assert split.pairs.image.shape[1] == 128
    assert split.pairs.text.shape[1] == 10
    assert sorted(split.pairs.labels.unique().tolist()) == list(range(10))


def test_the_toy_pairs_are_named_a_toy() -> None:
    pytest.importorskip("sklearn")
    split = digit_pairs(0)
    assert "toy" in split.name
    assert len(split.pairs) == 1797


def test_held_out_pairs_leave_training_and_database() -> None:
    split = digit_pairs(0)
    held = split.held_out(50, 1)
    assert (len(held.query), len(held.train), len(held.database)) == (
        50,
        len(split.train) - 50,
        len(split.database) - 50,
    )
    assert not set(held.query.tolist()) & set(split.query.tolist())
    with pytest.raises(ValueError, match=r"held_out must lie in 1\.\."):
        split.held_out(len(split.train), 0)
