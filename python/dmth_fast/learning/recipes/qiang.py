"""Qiang et al.: deep hashing of multi-label images by graded pairwise similarity.

Qiang et al., ICACI 2019, doi 10.1109/ICACI.2019.8778549. Known from the abstract: a residual network with a
hash layer; the similarity of a pair is the cosine of its label vectors; fine-tuned; mAP improved 1.0432 and
1.1114 times on two sets.

``s_ij = <l_i, l_j> / (|l_i| |l_j|)``; pairs with s < .01 or s > .99 are hard, the others soft. The loss is
that of Zhang et al. (arXiv 1803.02987), whose similarity this is, in its two official forms, ``u = tanh h``:

* ``isdh``: hard pairs ten times the likelihood, soft pairs ``(s - sigma(5 phi / b))^2``;
* ``idhn``: hard pairs the likelihood, soft pairs ``.1 b ((phi + b) / (2 b) - s)^2``;

both with ``.1 mean ||u| - 1|``. A widely copied form, ``(u u^T / 2 + q - 2 s q)^2``, is not used: its minimum
is out of reach for s near 0 or 1.

Unknown: the network's depth, its loss on soft pairs, the sets' splits, the schedule. Chosen here: any
pre-trained backbone, at a hundredth of the hash layer's learning rate, or frozen with cached features; AdamW,
cosine schedule. The references, on the same network and schedule, are the same losses with s in {0, 1}, DCH,
OrthoHash with soft labels and CSQ.
"""

import itertools
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from dmth_fast.comparison import Floats
from dmth_fast.learning.config import (
    AugmentationConfig,
    HasherConfig,
    LossConfig,
    TrainingConfig,
    at_least,
    one_of,
)
from dmth_fast.learning.frozen import open_frozen
from dmth_fast.learning.multilabel import COLUMNS, METRIC, MultiLabelConfig, graded_figures, open_multilabel
from dmth_fast.learning.multilabel_network import ArmImages, Inputs
from dmth_fast.learning.pairdata import frozen_features
from dmth_fast.learning.protocols import refuse_seen, seen_by_weights
from dmth_fast.learning.recipes.arms import Run, check_batch, comparison, kept_arrays, refuse_set, with_seed
from dmth_fast.learning.recipes.pictures import Codes, draw_images
from dmth_fast.learning.recipes.results import Row, over_seeds, write_result
from dmth_fast.learning.stored import PREFIX

BINARY = ", 0/1 similarity"

GRADED: dict[str, LossConfig] = {
    "isdh": LossConfig(hash_loss="isdh", quantizer="l1", quantization=0.1),
    "idhn": LossConfig(hash_loss="idhn", quantizer="l1", quantization=0.1),
    "cosine": LossConfig(hash_loss="cosine", grade=0.7, quantizer="l1", quantization=0.1),
}
"""Graded losses; each has its reference beside it, the same with s in {0, 1}."""

ARMS: dict[str, LossConfig] = {
    **{f"{name}{BINARY}": replace(loss, similarity="binary") for name, loss in GRADED.items()},
    **GRADED,
    "dch": LossConfig(hash_loss="dch", similarity="binary", quantizer="cauchy", quantization=0.1),
    "ortho": LossConfig(hash_loss="ortho", margin=0.2),
    "csq": LossConfig(hash_loss="csq", quantizer="l2", quantization=1e-4),
}
"""The compared losses by name."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A comparison of losses on one set of multi-label images.

    Attributes:
        data: the images.
        backbone: its name; where it is frozen also ``features:FILE``, features computed elsewhere.
        weights: of the backbone, below the data's root; None: from scratch.
        seen: what these weights were trained on, which the protocol checks; none given: what the end of the
            file's name says (``-imagenet``, ``-cifar10``), or the file of features.
        frozen: keep the backbone as it is and train a hidden layer and the hash layer on its cached features.
        hidden: width of that hidden layer.
        cache: folder of cached features; None: ``cache`` inside the run's folder.
        arms: keys of :data:`ARMS`.
        bits: widths.
        seeds: of networks and batches.
        threads: of torch; 0 leaves torch's choice.
        augmentation: of images; none where the backbone is frozen.
        training: equal for all arms.
    """

    data: MultiLabelConfig
    backbone: str = "mobilenet_v2"
    weights: str | None = None
    seen: tuple[str, ...] = ()
    frozen: bool = False
    hidden: int = 512
    cache: str | None = None
    arms: tuple[str, ...] = tuple(ARMS)
    bits: tuple[int, ...] = (64, 48, 32, 16)
    seeds: tuple[int, ...] = (0, 1, 2)
    threads: int = 0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(optimizer="adamw", lr=1e-3, backbone_lr=0.01, epochs=10)
    )

    def __post_init__(self) -> None:
        for arm in self.arms:
            one_of("arms", arm, ARMS)
        for name in ("arms", "bits", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} must hold at least one value, got none")
        at_least("threads", self.threads, 0)
        at_least("hidden", self.hidden, 1)
        refuse_set("training", self.training, seed="set seeds, at the top", keep="nothing is validated here")
        stored = self.backbone.startswith(PREFIX)
        if stored and not self.frozen:
            raise ValueError("backbone features:FILE is no network to be tuned: it needs frozen = true")
        if self.frozen and self.weights is None and not stored:
            raise ValueError("a frozen backbone needs weights, got none")


def toy(seed: int = 0) -> Config:
    """Seconds on the digits, labelled with the digit, even, and below five."""
    return Config(
        data=MultiLabelConfig(source="digits"),
        backbone="tiny-8",
        bits=(32,),
        seeds=(seed,),
        threads=1,
        augmentation=AugmentationConfig(padding=1, flip=False),
        training=TrainingConfig(optimizer="adamw", lr=3e-3, epochs=3),
    )


def run(config: Config, out_dir: str | Path, *, progress: bool = True) -> dict[str, Any]:
    """Train and measure every arm at every width and seed.

    ``result.json`` is renewed after each width; started again in the same folder, arms that are done are
    read.

    Raises:
        ValueError: a folder with a run of other settings, weights that saw what the protocol asks about, or
            anything the parts refuse.
        FileNotFoundError: missing images or weights.
    """
    work = Run(config, out_dir)
    split = open_multilabel(config.data, work.root)
    check_batch("training", config.training, len(split.labelled))
    inputs: Inputs = (split.query, split.database)
    weights, seen = config.weights or "", seen_by_weights(config.weights or "", config.seen)
    if not work.claimed and weights and not (work.root / weights).is_file():
        raise FileNotFoundError(f"weights {work.root / weights} do not exist")
    if config.frozen:
        teacher = open_frozen(config.backbone, weights, root=work.root, input_size=config.data.size)
        seen = seen or teacher.seen
    if config.data.protocol is not None and (weights or config.frozen):
        refuse_seen(config.data.protocol, config.backbone, seen)
    work.claim()
    if config.frozen:
        cache = Path(config.cache) if config.cache else work.out / "cache"
        query, database = (frozen_features(teacher, x, cache) for x in (split.query, split.database))
        inputs = (query, database)
    images = ArmImages(
        split=split,
        inputs=inputs,
        backbone=config.backbone,
        weights=work.root / weights if weights else None,
        seen=(*seen, f"{config.data.source}-train"),
    )
    runs: list[Row] = []
    precisions: dict[tuple[int, str], dict[str, list[Floats]]] = {}
    result: dict[str, Any] = {}
    for bits in config.bits:
        for seed, arm in itertools.product(config.seeds, config.arms):
            folder = work.out / f"{arm.replace(BINARY, '-binary')}-{bits}-{seed}"
            codes = kept_arrays(
                folder / "codes.safetensors",
                partial(train_arm, config, images, arm, bits, seed, folder, progress),
            )
            figures, per_query = graded_figures(codes, split, bits)
            if arm == "cosine":
                draw_images(
                    folder / "neighbours.png",
                    split,
                    codes,
                    (split.query_labels, split.database_labels),
                    bits=bits,
                    title=f"Nearest images, {arm}, {bits} bits",
                    legend=("shares a label", "shares none"),
                )
            runs.append({"name": arm, "bits": bits, "seed": seed, **figures})
            for metric, values in per_query.items():
                precisions.setdefault((bits, metric), {}).setdefault(arm, []).append(values)
        result = write_result(
            work.out,
            recipe="qiang",
            config=config,
            protocol=split.name,
            metric=METRIC,
            split=split.summary(),
            rows=over_seeds(runs, by=("name", "bits"), columns=COLUMNS),
            # Each graded loss against the same loss with s in {0, 1}.
            comparisons=[
                comparison(arm, f"{arm}{BINARY}", arms, bits=b, metric=m, seeds=len(config.seeds))
                for (b, m), arms in precisions.items()
                for arm in GRADED
                if {arm, f"{arm}{BINARY}"} <= arms.keys()
            ],
            seconds=work.seconds,
            runs=runs,
            complete=bits == config.bits[-1],
        )
    return result


def train_arm(
    config: Config, arms: ArmImages, arm: str, bits: int, seed: int, folder: Path, progress: bool
) -> Codes:
    """Train one network on the labelled images of the database; returns the codes of both sides.

    A fine-tuned network is saved as a Hasher; one on frozen features only has codes.
    """
    training = with_seed(config.training, seed)
    settings = HasherConfig(loss=ARMS[arm], training=training, augmentation=config.augmentation)
    return arms.train(settings, bits, hidden=config.hidden, recipe="qiang", folder=folder, progress=progress)
