"""Folded batch norms: what they are, what training would do to them, and their statistics given back."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from dmth_fast import Hasher
from dmth_fast.learning.backbones import build_backbone
from dmth_fast.learning.norms import folded_norms, unfold_norms
from dmth_fast.learning.weights import save_tensors


@pytest.fixture
def network() -> nn.Sequential:
    """Two convolutions whose batch norms are folded: mean 0, variance 1, weight 1, any bias."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)]
    network = nn.Sequential(*layers).eval()
    with torch.no_grad():
        layers[0].weight.mul_(torch.tensor([0.1, 1.0, 5.0, 20.0])[:, None, None, None])
        for norm in folded_norms(network):
            norm.bias.normal_()
    return network


def test_the_function_stays_and_training_keeps_its_scales(network: nn.Sequential) -> None:
    images = torch.randn(64, 3, 8, 8)
    with torch.no_grad():
        before = network(images)
        folded = copy.deepcopy(network).train()(images)
    assert unfold_norms(network, torch.split(images, 16)) == 2
    assert not folded_norms(network)
    with torch.no_grad():
        assert torch.allclose(network(images), before, atol=1e-4)
        trained = network.train()(images)
    assert torch.allclose(trained, before, atol=0.05 * float(before.abs().max()))
    # A folded norm in training gives every channel the same loudness, whatever the network had learned.
    assert not torch.allclose(folded, before, atol=0.5 * float(before.abs().max()))


def test_other_networks_are_left_as_they_are() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    nn.init.normal_(network[1].weight)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    assert unfold_norms(network, [torch.randn(4, 3, 2, 2)]) == 0
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_a_hasher_unfolds_before_it_is_tuned(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from dmth_fast.learning.data import digits

    backbone = build_backbone("tiny-4")
    save_tensors(tmp_path / "folded.safetensors", backbone.state_dict())
    train, _ = digits()
    hasher = Hasher("tiny-4", bits=8, weights=tmp_path / "folded.safetensors", epochs=1, lr=0.0, padding=0)
    assert len(folded_norms(hasher.network.backbone)) == 6
    hasher.fit(train, progress=False)
    assert not folded_norms(hasher.network.backbone)


def test_a_resized_network_sees_its_own_size() -> None:
    plain, resized = build_backbone("tiny-4"), build_backbone("tiny-4@16")
    resized.network.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 8, 8)
    larger = nn.functional.interpolate(images, size=(16, 16), mode="bicubic", antialias=True)
    with torch.no_grad():
        assert torch.equal(resized.eval()(images), plain.eval()(larger))
        assert torch.equal(resized(larger), plain(larger))
    assert resized.name == "tiny-4@16"
    with pytest.raises(ValueError, match="backbone must be one of"):
        build_backbone("tiny-4@0")
