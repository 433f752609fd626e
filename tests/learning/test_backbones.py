"""Backbones: shapes, published weights, and checkpoints that are refused."""

import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from dmth_fast import Hasher
from dmth_fast.learning.augmentation import normalize
from dmth_fast.learning.backbones import build_backbone
from dmth_fast.learning.data import ImageSet, open_images
from dmth_fast.learning.frozen import Teacher
from dmth_fast.learning.weights import load_weights


@pytest.mark.parametrize(
    ("name", "side", "parameters"),
    [
        ("resnet20", 32, 269_072),
        ("resnet56", 32, 852_368),
        ("tiny", 8, 72_304),
        ("tiny-4", 32, None),
    ],
)
def test_shapes(name: str, side: int, parameters: int | None) -> None:
    network = build_backbone(name).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, side, side)).shape == (2, network.feature_dim)
    if parameters is not None:
        assert sum(p.numel() for p in network.parameters()) == parameters


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"backbone must be one of resnet20, .*got 'resnet18'"):
        build_backbone("resnet18")


def test_own_classifier_is_refused_without_one() -> None:
    with pytest.raises(ValueError, match="no classifier of its own"):
        build_backbone("resnet20").classify(torch.zeros(1, 64))


def test_checkpoint_of_another_architecture(tmp_path: Path) -> None:
    save_file(build_backbone("resnet20").state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"is not of the architecture resnet32: keys 60 missing \(layer1\.3"):
        build_backbone("resnet32", tmp_path / "a.safetensors")
    save_file(build_backbone("tiny-4").state_dict(), tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="of another shape"):
        build_backbone("tiny-8", tmp_path / "b.safetensors")


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        build_backbone("tiny", tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        build_backbone("tiny", tmp_path / "a.safetensors")
    network = build_backbone("tiny")
    for name in ("a.pth", "renamed.safetensors"):
        torch.save(network.state_dict(), tmp_path / name)
        with pytest.raises(ValueError, match=r"is a pickle, .* Convert it .*safetensors\.torch\.save_file"):
            build_backbone("tiny", tmp_path / name)
    (tmp_path / "old.safetensors").write_bytes(pickle.dumps({"weight": 1}))
    # A header of 640 bytes: the file begins as a pickle does.
    tensor = {"x": torch.zeros(1)}
    save_file(tensor, tmp_path / "long.safetensors", {"text": "x" * (640 - 82)})
    assert (tmp_path / "long.safetensors").read_bytes()[:2] == b"\x80\x02"
    assert load_weights(tmp_path / "long.safetensors").keys() == {"x"}
    with pytest.raises(ValueError, match="is a pickle"):
        build_backbone("tiny", tmp_path / "old.safetensors")


def test_published_cifar_weights_still_know_cifar(data_root: Path) -> None:
    network = build_backbone("resnet20", data_root / "weights" / "resnet20-cifar10.safetensors").eval()
    images = open_images(data_root / "cifar10" / "test.zip")
    assert images.labels is not None
    index = torch.arange(0, 10_000, 40)
    with torch.inference_mode():
        logits = network.classify(network(normalize(images.images[index], network.normalization)))
    assert float((logits.argmax(1) == images.labels[index]).float().mean()) > 0.88


@pytest.mark.parametrize(("name", "classes"), [("mobilenet_v2", 1000), ("squeezenet1_1", 1000)])
def test_published_imagenet_weights_load(data_root: Path, name: str, classes: int) -> None:
    network = build_backbone(name, data_root / "weights" / f"{name}-imagenet.safetensors").eval()
    with torch.inference_mode():
        features = network(torch.zeros(1, 3, 96, 96))
        assert features.shape == (1, network.feature_dim)
        assert network.classify(features).shape == (1, classes)


def test_timm_networks_by_name(tmp_path: Path, train: ImageSet) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_resnet", pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    network = build_backbone("timm:test_resnet", tmp_path / "a.safetensors").eval()
    assert (network.input_size, network.num_classes) == (160, 1000)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = network(images)
        assert features.shape == (2, network.feature_dim)
        torch.testing.assert_close(network.classify(features), model(images))
    with pytest.raises(ValueError, match="unknown to timm"):
        build_backbone("timm:nothing_of_the_kind")
    with pytest.raises(ValueError, match="is not of the architecture timm:test_vit"):
        build_backbone("timm:test_vit", tmp_path / "a.safetensors")
    teacher = Teacher("timm:test_resnet", tmp_path / "a.safetensors", input_size=32, seen=["imagenet"])
    assert teacher.outputs(train.images[torch.arange(2)], 10)["features"].shape == (2, network.feature_dim)
    student = Hasher("timm:test_resnet", 16, weights=tmp_path / "a.safetensors", epochs=1, batch_size=64)
    student.fit(train.select(torch.arange(64)), progress=False).save(tmp_path / "student")
    assert Hasher.load(tmp_path / "student").num_parameters == student.num_parameters


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5"])
def test_torchvision_networks_by_name(name: str, tmp_path: Path, train: ImageSet) -> None:
    model = models.get_model(name, weights=None).eval()
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    network = build_backbone(f"torchvision:{name}", tmp_path / "a.safetensors").eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = network(images)
        assert features.shape == (2, network.feature_dim)
        torch.testing.assert_close(network.classify(features), model(images))
    teacher = Teacher(f"torchvision:{name}", tmp_path / "a.safetensors", input_size=32, seen=["imagenet"])
    assert teacher.outputs(train.images[torch.arange(2)], 10)["features"].shape == (2, network.feature_dim)
    assert (teacher.card["classes"], teacher.card["labels"]) == (1000, True)
    student = Hasher(f"torchvision:{name}", 8, epochs=1, batch_size=32, padding=1)
    student.fit(train.select(torch.arange(32)), progress=False).save(tmp_path / "student")
    assert Hasher.load(tmp_path / "student").num_parameters == student.num_parameters


def test_torchvision_names_and_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown to torchvision"):
        build_backbone("torchvision:nothing_of_the_kind")
    with pytest.raises(ValueError, match="must end in a linear layer"):
        build_backbone("torchvision:squeezenet1_0")
    save_file(build_backbone("tiny").state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="is not of the architecture torchvision:resnet18"):
        build_backbone("torchvision:resnet18", tmp_path / "a.safetensors")

    def unreachable(*_: object, **options: object) -> None:
        assert options == {"weights": "DEFAULT"}
        raise URLError("no route to host")

    monkeypatch.setattr(models, "get_model", unreachable)
    with pytest.raises(ConnectionError, match=r"could not be downloaded .*no route.*features:FILE"):
        build_backbone("torchvision:resnet18", "download")
