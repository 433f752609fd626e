"""Codes for images and texts in one Hamming space, learned from pairs without labels."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import dmth_fast
from dmth_fast.atomic import write_json
from dmth_fast.learning.alignment import (
    TARGETS,
    AlignmentObjective,
    CrossModalConfig,
    PairBatches,
    PairStudentObjective,
    Tower,
)
from dmth_fast.learning.backbones import fill
from dmth_fast.learning.config import at_least, configure, from_mapping, one_of, to_mapping
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.frozen import Teacher
from dmth_fast.learning.network import image_batches
from dmth_fast.learning.pairs import Pairs
from dmth_fast.learning.similarity import SIMILARITIES, check_features
from dmth_fast.learning.training import Metrics, train_objective
from dmth_fast.learning.weights import load_weights, save_tensors, state_hash

__all__ = ["CrossModalConfig", "CrossModalHasher"]

FORMAT = "dmth-fast-crossmodal-1"


class CrossModalHasher:
    """Two small networks that give images and texts packed codes of one Hamming space.

    Args:
        image_features: length of an image's feature vector.
        text_features: length of a text's feature vector, the size of the vocabulary for bags of words.
        bits: width of the codes, 1 to 4096.
        backbone: a frozen network from which :meth:`encode_image` takes the features of images; None where
            feature arrays are given.
        config: fields of :class:`CrossModalConfig` or of its ``training`` section.

    Attributes:
        recipe: how it was trained; None before training.
        vocabulary: what the columns of the text features mean; empty where unknown.
        history: one dict of metrics an epoch.

    Raises:
        TypeError: an unknown setting.
        ValueError: a value out of range, or a backbone with features of another length.

    >>> pairs = Pairs(image=torch.rand(64, 5), text=torch.rand(64, 3), labels=torch.arange(64))
    >>> hasher = CrossModalHasher(5, 3, bits=16, epochs=1, batch_size=32).fit(pairs, progress=False)
    >>> hasher.encode_image(pairs.image.numpy()).shape, hasher.encode_text(pairs.text.numpy()).shape
    ((64, 2), (64, 2))
    """

    def __init__(
        self,
        image_features: int,
        text_features: int,
        bits: int = 64,
        *,
        backbone: Teacher | None = None,
        **config: Any,
    ) -> None:
        for name, dim in (("image_features", image_features), ("text_features", text_features)):
            at_least(name, dim, 1)
        if not 1 <= bits <= 4096:
            raise ValueError(f"bits must lie in 1..4096, got {bits}")
        if backbone is not None and backbone.backbone.feature_dim != image_features:
            raise ValueError(
                f"image_features must be the {backbone.backbone.feature_dim} of backbone {backbone.name}, "
                f"got {image_features}"
            )
        self.image_features, self.text_features, self.bits = image_features, text_features, bits
        self.backbone = backbone
        self.config = configure(CrossModalConfig, config)
        self.recipe: str | None = None
        self.vocabulary: tuple[str, ...] = ()
        self.history: list[Metrics] = []
        with torch.random.fork_rng():
            torch.manual_seed(self.config.training.seed)
            self.image_tower = Tower(image_features, self.config.hidden, bits).eval()
            self.text_tower = Tower(text_features, self.config.hidden, bits).eval()

    @property
    def num_parameters(self) -> int:
        """Number of trainable values in both towers."""
        towers = (self.image_tower, self.text_tower)
        return sum(parameter.numel() for tower in towers for parameter in tower.parameters())

    def fit(
        self,
        pairs: Pairs,
        recipe: str = "dsah",
        teacher: "CrossModalHasher | None" = None,
        progress: bool = True,
        *,
        run_dir: str | Path | None = None,
        resume: bool = False,
    ) -> "CrossModalHasher":
        """Train on pairs; their labels are not looked at.

        Args:
            pairs: image and text features.
            recipe: a similarity of features, ``dsah``, ``djsrh`` or ``jdsh``; or the similarity of a
                ``teacher``'s codes, ``hard`` (its n nearest) or ``soft`` (its cosines).
            teacher: a trained hasher, of any width.
            progress: show progress on standard error.
            run_dir: folder for a checkpoint and ``metrics.jsonl`` after each epoch.
            resume: continue from the checkpoint in ``run_dir``.

        Returns:
            self.

        Raises:
            ValueError: an unknown recipe, a recipe and a teacher that disagree, features of another length,
                fewer pairs than a batch, more neighbours than pairs, or a checkpoint of other settings, pairs
                or another teacher.
            FloatingPointError: a loss term is not finite.
        """
        one_of("recipe", recipe, [*SIMILARITIES, *TARGETS])
        if (recipe in TARGETS) != (teacher is not None):
            raise ValueError(f"recipe {recipe!r} {'needs a' if teacher is None else 'takes no'} teacher")
        check_features("image features", pairs.image, self.image_features)
        check_features("text features", pairs.text, self.text_features)
        self.recipe, self.vocabulary = recipe, pairs.vocabulary
        self.image_tower.set_statistics(pairs.image, self.config.scaling)
        self.text_tower.set_statistics(pairs.text, self.config.scaling)
        with torch.random.fork_rng():
            torch.manual_seed(self.config.training.seed)
            objective = self._objective(pairs, recipe, teacher)
        self.history = train_objective(
            objective,
            PairBatches(pairs),
            self.config.training,
            title=f"{recipe} {self.bits} bits",
            settings={
                "bits": self.bits,
                "recipe": recipe,
                "config": to_mapping(self.config),
                "pairs": state_hash({"image": pairs.image, "text": pairs.text}),
                "teacher": None if teacher is None else state_hash(teacher._tensors()),
            },
            run_dir=None if run_dir is None else Path(run_dir),
            resume=resume,
            progress=progress,
        )
        for tower in (self.image_tower, self.text_tower):
            tower.to("cpu").eval()
        return self

    def values_image(self, images: Any) -> Tensor:
        """Return the code values (n, bits) of image features, or of images through the backbone."""
        return self._values(self.image_tower, self._image_features(images))

    def values_text(self, texts: Any) -> Tensor:
        """Return the code values (n, bits) of text features, or of texts in words."""
        return self._values(self.text_tower, self._text_features(texts))

    def encode_image(self, images: Any) -> Any:
        """Return the packed codes of images.

        Args:
            images: float features (n, image_features), array or tensor; with a backbone also an
                :class:`~dmth_fast.learning.data.ImageSet`.

        Returns:
            uint8 (n, ceil(bits / 8)): a tensor for a tensor, else NumPy.

        Raises:
            ValueError: not trained yet, features of another length, NaN or infinity.
        """
        return self._pack(self.values_image(images), images)

    def encode_text(self, texts: Any) -> Any:
        """Return the packed codes of texts.

        Args:
            texts: float features (n, text_features), array or tensor; where the vocabulary is known also a
                sequence of texts, each words of it with blanks between.

        Returns:
            uint8 (n, ceil(bits / 8)): a tensor for a tensor, else NumPy.

        Raises:
            ValueError: not trained yet, a vocabulary of another size, an unknown word, NaN or infinity.
        """
        return self._pack(self.values_text(texts), texts)

    def save(self, directory: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``; the backbone is named there, not copied.

        Raises:
            ValueError: not trained yet.
        """
        self._check_fitted()
        directory = Path(directory)
        save_tensors(directory / "model.safetensors", self._tensors())
        card = {
            "format": FORMAT,
            "version": dmth_fast.__version__,
            "image_features": self.image_features,
            "text_features": self.text_features,
            "bits": self.bits,
            "recipe": self.recipe,
            "vocabulary": list(self.vocabulary),
            "backbone": None if self.backbone is None else self.backbone.card,
            "parameters": self.num_parameters,
            "config": to_mapping(self.config),
            "history": self.history,
        }
        write_json(directory / "config.json", card)

    @classmethod
    def load(cls, directory: str | Path, *, backbone: Teacher | None = None) -> "CrossModalHasher":
        """Read what :meth:`save` wrote.

        Args:
            directory: the folder.
            backbone: the frozen network it was trained with, where images are to be encoded.

        Raises:
            FileNotFoundError: no such folder or files.
            ValueError: another format, other weights, or another backbone.
        """
        directory = Path(directory)
        if not (directory / "config.json").is_file():
            raise FileNotFoundError(f"directory {directory} holds no config.json of a saved CrossModalHasher")
        card = json.loads((directory / "config.json").read_text())
        if card.get("format") != FORMAT:
            raise ValueError(
                f"{directory / 'config.json'} must have the format {FORMAT}, got {card.get('format')!r}"
            )
        if backbone is not None and (card["backbone"] or {}).get("weights") != backbone.weights_hash:
            raise ValueError(f"backbone {backbone.name} is not the one this hasher was trained with")
        config = from_mapping(CrossModalConfig, card["config"], "config")
        fields: Mapping[str, Any] = {name: getattr(config, name) for name in to_mapping(config)}
        hasher = cls(card["image_features"], card["text_features"], card["bits"], backbone=backbone, **fields)
        hasher.recipe, hasher.history = card["recipe"], card["history"]
        hasher.vocabulary = tuple(card["vocabulary"])
        state = load_weights(directory / "model.safetensors")
        for side, tower in (("image", hasher.image_tower), ("text", hasher.text_tower)):
            own = {
                key.removeprefix(f"{side}."): value for key, value in state.items() if key.startswith(side)
            }
            fill(tower, own, f"checkpoint {directory / 'model.safetensors'}", f"{side} tower")
        return hasher

    def _tensors(self) -> dict[str, Tensor]:
        """The weights of both towers by the names in a file."""
        towers = {"image": self.image_tower, "text": self.text_tower}
        return {f"{side}.{key}": value for side, t in towers.items() for key, value in t.state_dict().items()}

    def _objective(self, pairs: Pairs, recipe: str, teacher: "CrossModalHasher | None") -> nn.Module:
        towers = (self.image_tower, self.text_tower)
        if teacher is None:
            return AlignmentObjective(*towers, recipe, self.config)
        codes = torch.cat(
            [
                nn.functional.normalize(torch.tanh(values))
                for values in (teacher.values_image(pairs.image), teacher.values_text(pairs.text))
            ],
            dim=1,
        )
        return PairStudentObjective(*towers, codes, recipe, self.config)

    def _values(self, tower: Tower, features: Tensor) -> Tensor:
        self._check_fitted()
        with torch.inference_mode():
            return torch.cat([tower(part) for part in torch.split(features, 4096)])

    def _image_features(self, images: Any) -> Tensor:
        if isinstance(images, ImageSet):
            if self.backbone is None:
                raise ValueError("images need a backbone; this hasher has none and takes image features")
            parts = [self.backbone.outputs(pixels, 0)["features"] for _, pixels in image_batches(images, 100)]
            return torch.cat(parts)
        return _as_features("image features", images, self.image_features)

    def _text_features(self, texts: Any) -> Tensor:
        if isinstance(texts, Sequence) and texts and all(isinstance(text, str) for text in texts):
            return self._bags(texts)
        return _as_features("text features", texts, self.text_features)

    def _bags(self, texts: Sequence[str]) -> Tensor:
        if not self.vocabulary:
            raise ValueError("texts must be feature arrays: this hasher knows no vocabulary")
        position = {word: i for i, word in enumerate(self.vocabulary)}
        bags = torch.zeros(len(texts), self.text_features)
        for row, text in enumerate(texts):
            if unknown := [word for word in text.split() if word not in position]:
                raise ValueError(
                    f"texts must be of the {len(position)} known words, got {', '.join(unknown)}"
                )
            for word in text.split():
                bags[row, position[word]] = 1.0
        return bags

    def _check_fitted(self) -> None:
        if self.recipe is None:
            raise ValueError("this CrossModalHasher is not trained yet: call fit, or load a saved one")

    @staticmethod
    def _pack(values: Tensor, source: Any) -> Any:
        return dmth_fast.pack(values if isinstance(source, Tensor) else values.numpy())


def _as_features(name: str, features: Any, width: int) -> Tensor:
    if not isinstance(features, Tensor | np.ndarray):
        raise TypeError(f"{name} must be an array or a tensor, got {type(features).__name__}")
    values = torch.as_tensor(features)
    check_features(name, values, width)
    return values.float()
