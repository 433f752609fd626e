"""The student: a backbone with a hash head, trained on labels and, if there is one, a fused teacher."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import dmth_fast
from dmth_fast.atomic import write_json
from dmth_fast.learning.agreement import refuse_disagreement
from dmth_fast.learning.backbones import build_backbone, fill
from dmth_fast.learning.batches import StudentBatches
from dmth_fast.learning.card import describe, read_card
from dmth_fast.learning.config import (
    HasherConfig,
    at_least,
    check_bits,
    configure,
    from_mapping,
    one_of,
    to_mapping,
)
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.inputs import open_inputs, open_set
from dmth_fast.learning.losses import HashLoss, build_centers, build_loss, center_kind
from dmth_fast.learning.network import HashNetwork, image_batches, prepare
from dmth_fast.learning.norms import NORM_IMAGES, unfold_norms
from dmth_fast.learning.objective import StudentObjective
from dmth_fast.learning.parallel import join_processes
from dmth_fast.learning.selection import kept_epoch, recompute_norms
from dmth_fast.learning.sources import fit_size
from dmth_fast.learning.training import Metrics, train_objective
from dmth_fast.learning.validation import validator
from dmth_fast.learning.weights import load_weights, save_tensors

if TYPE_CHECKING:
    from dmth_fast.learning.teacher import FusedTeacher

RECIPES = ("dmth", "plain")
STATISTICS_ROWS = 8192
"""Images from which statistics at the start of training are taken."""


class Hasher:
    """A network from images to packed binary codes.

    Args:
        backbone: a name that :func:`~dmth_fast.learning.backbones.build_backbone` knows.
        bits: width of the codes, 1 to 4096.
        weights: safetensors file to start from; None starts from random weights of the seed.
        config: fields of :class:`~dmth_fast.learning.config.HasherConfig` or of its sections
            (``epochs=30, lr=0.1, margin=0.2, feature=4.0, ...``).

    Attributes:
        backbone: the name.
        bits: width of the codes.
        config: the settings.
        classes: names of the classes it was trained on.
        input_size: height and width of the images it was trained on; None before training.
        history: one dict of metrics an epoch.
        recipe: how it was trained; None before training.
        teachers: the cards of its teachers.
        seen: what it and its teachers were trained on, in all trainings, such as ``cifar10-train``.
        metrics: figures for its card; after training those of the validation of the epoch that was kept.

    Raises:
        TypeError: an unknown setting, or a value of another type.
        ValueError: a value out of range.

    Example:
        >>> from dmth_fast.learning.data import digits
        >>> train, test = digits()
        >>> hasher = Hasher("tiny-4", bits=16, epochs=1, padding=1, flip=False).fit(train, progress=False)
        >>> hasher.encode(test).shape
        (599, 2)
    """

    def __init__(
        self, backbone: str, bits: int = 64, *, weights: str | Path | None = None, **config: Any
    ) -> None:
        check_bits(bits)
        self.backbone, self.bits = backbone, bits
        self.config = configure(HasherConfig, config)
        self.classes: tuple[str, ...] = ()
        self.input_size: tuple[int, int] | None = None
        self.history: list[Metrics] = []
        self.recipe: str | None = None
        self.teachers: list[dict[str, Any]] = []
        self.seen: tuple[str, ...] = ()
        self.metrics: dict[str, Any] = {}
        self.hash_loss: HashLoss | None = None
        self._pretrained = weights is not None
        with torch.random.fork_rng():
            torch.manual_seed(self.config.training.seed)
            network = build_backbone(backbone, weights)
            network.drop_classifier()
            if self.config.head_init == "itq" and bits > network.feature_dim:
                raise ValueError(
                    f"head_init='itq' takes at most {network.feature_dim} bits, the length of {backbone}'s "
                    f"features; got {bits}"
                )
            self.network = HashNetwork(network, bits, self.config.head).to(memory_format=torch.channels_last)
        self.network.eval()

    @property
    def num_parameters(self) -> int:
        """Number of trainable values in backbone and hash head."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def names_classes(self) -> bool:
        """Whether :meth:`predict` can answer: it was trained with labels, by a loss that knows classes."""
        return self.hash_loss is not None and type(self.hash_loss).logits is not HashLoss.logits

    def to(self, device: str | torch.device) -> "Hasher":
        """Move the network to a device, where it encodes from then on; return self."""
        self.network.to(device)
        if self.hash_loss is not None:
            self.hash_loss.to(device)
        return self

    def fit(
        self,
        train: ImageSet | str | Path,
        recipe: str | None = None,
        teacher: "FusedTeacher | None" = None,
        validation: ImageSet | str | Path | None = None,
        progress: bool = True,
        *,
        unlabelled: ImageSet | str | Path | None = None,
        seen: Sequence[str] = (),
        run_dir: str | Path | None = None,
        resume: bool = False,
    ) -> "Hasher":
        """Train, keeping the last epoch, or the best if ``keep="best"``.

        With a teacher, epoch e shows view e mod V of each image, whose teacher outputs are cached; without
        one each epoch shows a new view.

        Args:
            train: labelled images; a path is opened as by ``open_images(path, strict=True)``.
            recipe: ``"dmth"``: labels and a teacher; ``"plain"``: labels alone; None: as ``teacher`` says.
            teacher: a fitted :class:`~dmth_fast.learning.teacher.FusedTeacher`.
            validation: labelled images of the same classes, measured after each epoch (accuracy; mAP of each
                image against all others).
            progress: show progress on standard error.
            unlabelled: further images; ``unlabelled_batch`` a step follow the teacher without labels.
            seen: names of what the images are, for the card: a protocol may refuse the student as a teacher.
            run_dir: folder for a checkpoint and ``metrics.jsonl`` after each epoch.
            resume: continue from the checkpoint in ``run_dir``.

        Returns:
            self.

        Raises:
            TypeError: images that are neither an ImageSet nor a path, or another kind of teacher.
            ValueError: recipe and teacher disagree, no labels, one class only, more classes than codes, fewer
                images than a batch, validation images of other classes or all of different ones, or views,
                classes or bits that the teacher does not share.
            FloatingPointError: a loss term is not finite.
        """
        join_processes(self.config.training.device)
        recipe = ("plain" if teacher is None else "dmth") if recipe is None else recipe
        one_of("recipe", recipe, RECIPES)
        if (recipe == "dmth") != (teacher is not None):
            raise ValueError(f"recipe {recipe!r} {'needs a' if teacher is None else 'takes no'} teacher")
        seed = self.config.training.seed
        train = open_set("train", train, "folders" if self.config.loss.hash_loss != "none" else "none")
        validation = None if validation is None else open_set("validation", validation)
        unlabelled = None if unlabelled is None else open_set("unlabelled", unlabelled, "none")
        if unlabelled is not None and (teacher is None or unlabelled.size != train.size):
            raise ValueError(
                f"unlabelled images need a teacher and the size of the others, {train.size}; got "
                f"{'no teacher' if teacher is None else unlabelled.size}"
            )
        if teacher is not None:
            refuse_disagreement(self.config, self.bits, teacher, train)
        self.hash_loss = self._build_loss(train, teacher)
        self.classes = () if self.hash_loss is None else train.classes
        measure = None if validation is None else validator(self, validation)
        self.input_size, self.recipe = train.size, recipe
        self.teachers = [] if teacher is None else teacher.cards
        if self._pretrained:
            some = train.images[torch.linspace(0, len(train) - 1, min(len(train), NORM_IMAGES)).long()]
            backbone = self.network.backbone
            unfold_norms(backbone, (prepare(backbone, part) for part in torch.split(some, 128)))
        known = [name for card in self.teachers for name in card["seen"]]
        self.seen = tuple(dict.fromkeys([*self.seen, *seen, *known]))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            objective = StudentObjective(self.network, self.hash_loss, self.config, teacher)
        batches = StudentBatches(train, self.network.backbone, self.config, teacher, unlabelled)
        self._start(objective, batches, teacher, train)
        self.history = train_objective(
            objective,
            batches,
            self.config.training,
            title=f"{self.backbone} {recipe}",
            settings={
                "backbone": self.backbone,
                "bits": self.bits,
                "recipe": recipe,
                "config": to_mapping(self.config),
                "images": train.content_hash(),
                "labels": None if self.hash_loss is None else train.labels_hash(),
                "unlabelled": None if unlabelled is None else unlabelled.content_hash(),
                "teacher": None if teacher is None else teacher.state_hash,
            },
            run_dir=None if run_dir is None else Path(run_dir),
            resume=resume,
            progress=progress,
            on_epoch=measure,
        )
        kept = kept_epoch(self.history, self.config.training.keep).items()
        self.metrics = {name: value for name, value in kept if name.startswith("validation_")}
        self.to("cpu").network.eval()
        return self

    def recalibrate(self, images: Any, batch_size: int = 256) -> "Hasher":
        """Take the statistics of batch norm anew from images of another domain, which need no labels.

        An error leaves them as they were.

        Args:
            images: of the new domain, at least two, as :meth:`encode` takes them.
            batch_size: images a batch at most, at least 2; the batches are equally large to within an image.

        Returns:
            self.

        Raises:
            ValueError: a single image, or one that cannot be decoded.
        """
        at_least("batch_size", batch_size, 2)
        opened = self._open(images)
        if len(opened) < 2:
            raise ValueError(f"recalibrate needs at least two images, got {len(opened)}")
        # A batch norm cannot measure one image.
        count = min(-(-len(opened) // batch_size), len(opened) // 2)

        def batches() -> Iterator[tuple[Tensor]]:
            for index in torch.tensor_split(torch.arange(len(opened)), count):
                yield (self._prepared(opened.images[index]),)

        recompute_norms(self.network, batches())
        return self

    def encode(self, images: Any, batch_size: int = 256) -> Any:
        """Return the packed codes of images.

        Args:
            images: a path, a folder, a zip archive, a PIL image, a uint8 array or tensor, an ImageSet, or a
                list of paths, or of PIL images and arrays of one image each; images of another size than the
                training images are resized and cut to it, as by ``open_images(size=...)``.
            batch_size: images a step; the codes do not depend on it.

        Returns:
            uint8 (n, ceil(bits / 8)): a tensor on the same device for a tensor, else NumPy.

        Raises:
            TypeError: nothing of that.
            FileNotFoundError: a path does not exist.
            ValueError: an image that cannot be decoded; ``open_images`` leaves such out and names them.
        """
        return _returned(dmth_fast.pack(self._run(images, batch_size, lambda _, h: h)), images)

    def values(self, images: Any, batch_size: int = 256) -> Any:
        """Return the code values (n, bits), float32, before they are cut to bits; as :meth:`encode`."""
        return _returned(self._run(images, batch_size, lambda _, h: h), images)

    def features(self, images: Any, batch_size: int = 256) -> Any:
        """Return the backbone's features (n, feature_dim), float32; as :meth:`encode`."""
        return _returned(self._run(images, batch_size, lambda features, _: features), images)

    def logits(self, images: Any, batch_size: int = 256) -> Any:
        """Return class logits (n, classes), float32; as :meth:`encode`."""
        loss = self._fitted()
        return _returned(self._run(images, batch_size, lambda _, h: loss.logits(h)), images)

    def predict(self, images: Any, batch_size: int = 256) -> Any:
        """Return the class id of each image, int64 (n,); as :meth:`encode`."""
        loss = self._fitted()
        return _returned(self._run(images, batch_size, lambda _, h: loss.logits(h).argmax(1)), images)

    def save(self, directory: str | Path) -> None:
        """Write ``config.json``, the card, and ``model.safetensors``, each in one atomic step.

        The card holds the settings, preprocessing, classes, what it has seen, its teachers with their cards,
        and metrics.

        Raises:
            ValueError: not trained yet.
        """
        if self.recipe is None:
            self._fitted()
        directory = Path(directory)
        tensors = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        if self.hash_loss is not None:
            tensors |= {f"loss.{key}": value for key, value in self.hash_loss.state_dict().items()}
        save_tensors(directory / "model.safetensors", tensors)
        write_json(directory / "config.json", describe(self))

    @classmethod
    def load(cls, directory: str | Path) -> "Hasher":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: no such folder or files.
            ValueError: another format, a missing key, or weights of another architecture.
        """
        directory = Path(directory)
        card = read_card(directory)
        config = from_mapping(HasherConfig, card["config"], "config")
        hasher = cls(
            card["backbone"], card["bits"], **{name: getattr(config, name) for name in to_mapping(config)}
        )
        hasher.classes, hasher.recipe = tuple(card["classes"]), card["recipe"]
        hasher.input_size = (card["input_size"][0], card["input_size"][1])
        hasher.history, hasher.teachers = card["history"], card["teachers"]
        hasher.seen, hasher.metrics = tuple(card.get("seen", ())), card.get("metrics", {})
        state = load_weights(directory / "model.safetensors")
        what = f"checkpoint {directory / 'model.safetensors'}"
        parts: dict[str, torch.nn.Module] = {"network": hasher.network}
        if config.loss.hash_loss != "none":
            hasher.hash_loss = build_loss(config.loss, torch.ones(len(hasher.classes), hasher.bits))
            parts["loss"] = hasher.hash_loss
        for prefix, part in parts.items():
            own = {
                key.split(".", 1)[1]: value for key, value in state.items() if key.startswith(f"{prefix}.")
            }
            fill(part, own, what, hasher.backbone)
        return hasher

    def _fitted(self) -> HashLoss:
        if self.recipe is None:
            raise ValueError("this Hasher is not trained yet: call fit, or Hasher.load a saved one")
        if self.hash_loss is None:
            raise ValueError("this Hasher was trained without labels and names no classes")
        return self.hash_loss

    def _build_loss(self, train: ImageSet, teacher: "FusedTeacher | None") -> HashLoss | None:
        name, classes = self.config.loss.hash_loss, len(train.classes)
        if name == "none":
            weights = self.config.distillation
            if teacher is None or not (weights.feature or weights.code or weights.relational):
                raise ValueError("hash loss 'none' needs a teacher and a feature, code or relational term")
            return None
        train.required_labels(f"hash loss {name!r}")
        if classes < 2:
            raise ValueError(f"training needs at least two classes, got {classes}")
        if teacher is not None and teacher.bits == self.bits and teacher.config.labels:
            kinds = {center_kind(loss) for loss in (name, teacher.config.loss.hash_loss)}
            if len(kinds) == 1:
                return build_loss(self.config.loss, teacher.centers)
        centers = build_centers(self.config.loss, classes, self.bits, seed=self.config.training.seed)
        return build_loss(self.config.loss, centers)

    def _start(
        self,
        objective: StudentObjective,
        batches: StudentBatches,
        teacher: "FusedTeacher | None",
        train: ImageSet,
    ) -> None:
        """Take the statistics that training starts from: of the targets, and of the first features."""
        some = torch.linspace(0, len(train) - 1, min(len(train), STATISTICS_ROWS)).long()
        if objective.standardization is not None and teacher is not None:
            cached = batches.target_features
            features = teacher.features(train.select(some)) if cached is None else cached[some]
            objective.standardization.fit(features)
        if self.config.head_init == "itq":
            first = self._run(train.select(some), 256, lambda features, _: features)
            self.network.head.initialize(first, seed=self.config.training.seed)

    def _run(self, images: Any, batch_size: int, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        at_least("batch_size", batch_size, 1)
        image_set = self._open(images)
        training = self.network.training
        self.network.eval()
        results = []
        with torch.inference_mode():
            for _, pixels in image_batches(image_set, batch_size):
                features, h = self.network(self._prepared(pixels))
                results.append(choose(features, h).cpu())
        self.network.train(training)
        return torch.cat(results)

    def _open(self, images: Any) -> ImageSet:
        square = self.input_size if self.input_size and self.input_size[0] == self.input_size[1] else None
        return open_inputs(images, square[0] if square else None)

    def _prepared(self, pixels: Tensor) -> Tensor:
        """Bring uint8 images to the size of the training images, to the network's device, and normalise."""
        size, device = tuple(pixels.shape[-2:]), next(self.network.parameters()).device
        if self.input_size not in (None, size):
            if self.input_size[0] != self.input_size[1]:
                raise ValueError(f"images must have the size {self.input_size}, got {size}")
            pixels = fit_size(pixels, self.input_size[0])
        return prepare(self.network.backbone, pixels.to(device))


def _returned(values: Tensor, images: Any) -> Any:
    """Answer tensors with tensors of their device, else with NumPy."""
    return values.to(images.device) if isinstance(images, Tensor) else values.numpy()
