"""Networks of torchvision as backbones, by the names that torchvision gives them."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dmth_fast.learning.backbone import Backbone
from dmth_fast.learning.weights import load_weights

__all__ = ["PREFIX", "TorchvisionNetwork", "build_torchvision"]

PREFIX = "torchvision:"
DOWNLOAD = "download"
"""In place of a weights file: let the library fetch the published weights in its usual way."""

_SIDE = 224


class TorchvisionNetwork(Backbone):
    """A torchvision classifier whose last layer is linear; features are what that layer reads.

    Args:
        name: ``torchvision:<name>``.
        model: the model with its classifier.

    Raises:
        ValueError: the last layer is not linear, so that nothing says which values are the features.
    """

    def __init__(self, name: str, model: nn.Module) -> None:
        path, last = list(model.named_modules())[-1]
        if not isinstance(last, nn.Linear):
            raise ValueError(f"backbone {name} must end in a linear layer, it ends in {type(last).__name__}")
        super().__init__(name, last.in_features, input_size=_SIDE, num_classes=last.out_features)
        model.set_submodule(path, nn.Identity())
        self.model, self.last, self.path = model, last, path

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, feature_dim)."""
        features: Tensor = self.model(images)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of the model's own classifier."""
        if self.last is None:
            return super().classify(features)
        logits: Tensor = self.last(features)
        return logits

    def drop_classifier(self) -> None:
        """Take the classifier off: a student answers with its codes."""
        self.last, self.num_classes = None, 0  # type: ignore[assignment]


def build_torchvision(name: str, weights: str | Path | None) -> TorchvisionNetwork:
    """Build ``torchvision:<name>``: random, from a local safetensors file, or downloaded (``"download"``).

    Raises:
        ValueError: a name that torchvision does not know, or a checkpoint of another architecture.
        FileNotFoundError: no such weights file.
        ConnectionError: the download failed.
    """
    from torchvision import models

    from dmth_fast.learning.backbones import fill

    short = name.removeprefix(PREFIX)
    if short not in models.list_models(module=models):
        raise ValueError(f"backbone {name!r} is unknown to torchvision; see torchvision.models.list_models()")
    options: dict[str, Any] = {"weights": None}
    if weights == DOWNLOAD:
        options = {"weights": "DEFAULT"}
    try:
        model = models.get_model(short, **options)
    except OSError as error:
        raise not_downloaded(name, error) from None
    if weights is not None and weights != DOWNLOAD:
        fill(model, load_weights(weights), f"checkpoint {weights}", name)
    return TorchvisionNetwork(name, model)


def not_downloaded(name: str, error: Exception) -> ConnectionError:
    """Return the error for weights that could not be fetched, with what can be done."""
    short = name.partition(":")[2]
    return ConnectionError(
        f"weights of {name} could not be downloaded ({error}). Without a network give teachers that are on "
        f"this machine: a safetensors file (backbone='{short}', weights='FILE'), the folder of a saved "
        "student, or features computed elsewhere (backbone='features:FILE')"
    )
