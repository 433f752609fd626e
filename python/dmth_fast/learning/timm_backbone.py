"""Networks of the timm library (extra ``timm``) as backbones, by the names that timm gives them."""

from pathlib import Path
from typing import Any

from torch import Tensor

from dmth_fast.learning.backbone import Backbone
from dmth_fast.learning.torchvision_backbone import DOWNLOAD, not_downloaded
from dmth_fast.learning.weights import load_weights

PREFIX = "timm:"


class TimmNetwork(Backbone):
    """A timm model; features are what its classifier reads, (b, feature_dim).

    Args:
        name: ``timm:<name>``.
        model: the model, with or without its classifier.
    """

    def __init__(self, name: str, model: Any) -> None:
        settings = model.pretrained_cfg
        mean, deviation = tuple(settings["mean"]), tuple(settings["std"])
        super().__init__(
            name,
            getattr(model, "head_hidden_size", None) or model.num_features,
            input_size=settings["input_size"][1],
            normalization=(mean, deviation),
            num_classes=model.num_classes,
        )
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, feature_dim)."""
        features: Tensor = self.model.forward_head(self.model.forward_features(images), pre_logits=True)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of the model's own classifier."""
        if not self.num_classes:
            return super().classify(features)
        logits: Tensor = self.model.get_classifier()(features)
        return logits

    def drop_classifier(self) -> None:
        """Take the classifier off: a student answers with its codes."""
        self.model.reset_classifier(0)
        self.num_classes = 0


def build_timm(name: str, weights: str | Path | None) -> TimmNetwork:
    """Build ``timm:<name>``: random, from a local safetensors file, or downloaded (``weights="download"``).

    Raises:
        ModuleNotFoundError: timm is not installed.
        ValueError: a name that timm does not know, or a checkpoint of another architecture.
        FileNotFoundError: no such weights file.
        ConnectionError: the download failed.
    """
    try:
        import timm
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f'backbone {name} needs timm: pip install "dmth-fast[timm]"') from None
    from dmth_fast.learning.backbones import fill

    short = name.removeprefix(PREFIX)
    if not timm.is_model(short.split(".")[0]):
        raise ValueError(f"backbone {name!r} is unknown to timm {timm.__version__}; see timm.list_models()")
    if weights is None or weights == DOWNLOAD:
        try:
            return TimmNetwork(name, timm.create_model(short, pretrained=weights is not None))
        except OSError as error:
            raise not_downloaded(name, error) from None
    network = TimmNetwork(name, timm.create_model(short, pretrained=False))
    fill(network.model, load_weights(weights), f"checkpoint {weights}", name)
    return network
