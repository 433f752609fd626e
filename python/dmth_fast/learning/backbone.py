"""What a backbone is."""

from torch import Tensor, nn

from dmth_fast.learning.augmentation import IMAGENET, Normalization

__all__ = ["Backbone", "Resized"]


class Backbone(nn.Module):
    """A network from normalised images (b, 3, h, w) to features (b, feature_dim).

    Attributes:
        name: the name :func:`build_backbone` knows it by.
        feature_dim: length of a feature vector.
        input_size: side in pixels that it wants; None takes any size the data have.
        normalization: mean and deviation of its inputs.
        num_classes: classes of its own classifier, 0 without one.
    """

    def __init__(
        self,
        name: str,
        feature_dim: int,
        *,
        input_size: int | None = None,
        normalization: Normalization = IMAGENET,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.name = name
        self.feature_dim = feature_dim
        self.input_size = input_size
        self.normalization = normalization
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, feature_dim) of normalised images (b, 3, h, w)."""
        raise NotImplementedError

    def drop_classifier(self) -> None:
        """Take its own classifier off, unless features need it: a student answers with its codes."""
        for name in ("linear", "classifier", "fc"):
            if getattr(self, name, None) is not None:
                setattr(self, name, None)
                self.num_classes = 0

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits (b, num_classes) of its own classifier."""
        del features
        raise ValueError(f"backbone {self.name} has no classifier of its own")


class Resized(Backbone):
    """A backbone that sees its input at another size: small images, and a network for larger ones.

    Args:
        network: the backbone.
        side: in pixels, to which normalised images are resized (bicubic).
    """

    def __init__(self, network: Backbone, side: int) -> None:
        super().__init__(f"{network.name}@{side}", network.feature_dim, normalization=network.normalization)
        self.network, self.side = network, side

    def drop_classifier(self) -> None:
        """Take the network's classifier off."""
        self.network.drop_classifier()

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, feature_dim) of normalised images of any size."""
        if tuple(images.shape[-2:]) != (self.side, self.side):
            images = nn.functional.interpolate(
                images, size=(self.side, self.side), mode="bicubic", antialias=True
            )
        features: Tensor = self.network(images)
        return features
