"""CUKDFIR: context-unaware knowledge distillation for image retrieval (arXiv 2207.09070).

Step 1, no labels: a student from scratch learns the features of a teacher that was never tuned on these
images. ``L = MSE(P s, F)``; as published there is no projector P, and the flattened map of the student is as
long as the teacher's feature (``cuk_v1-flatten`` and ResNet-50). ``cosine`` and ``balanced`` are beside MSE,
and F may be standardised first.

Step 2, labels: a hash layer on the student, everything fine-tuned with DCH (gamma 20, lambda .1) or CSQ
(lambda 1e-4).

Where we differ from the public code, and why. Its v2 branch cannot run (an undefined width; a teacher's
feature of 9216 against a student's of 4096), and its step 2 removes a key that step 1 does not write. A
flattened map ties each channel of the teacher to a place in the image and every input to 224 pixels:
``cuk_v1`` pools the map instead, and P is a linear map that only step 1 trains. The split is seeded and
hashed; the last epoch is kept, not the best on the test images; nothing is left out of the ranking. AdamW
stands for Adam and RMSprop.

ImageNet weights of ResNet-50 and AlexNet are read from local files.
"""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmth_fast.learning.config import (
    STANDARDIZATIONS,
    AugmentationConfig,
    LossConfig,
    TrainingConfig,
    at_least,
    one_of,
)
from dmth_fast.learning.distillation import FEATURE_TERMS
from dmth_fast.learning.feature_distillation import ViewConfig, distil_features
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.protocols import DataConfig, ImageSplit, open_split, seen_by
from dmth_fast.learning.recipes.arms import (
    Run,
    check_batch,
    comparison,
    measure_hasher,
    named_classes,
    refuse_set,
    with_seed,
)
from dmth_fast.learning.recipes.results import Row, write_result
from dmth_fast.learning.recipes.untuned import UntunedTeacher
from dmth_fast.learning.stored import PREFIX
from dmth_fast.methods import Floats, random_codes

LOSSES: dict[str, LossConfig] = {
    "dch": LossConfig(hash_loss="dch", gamma=20.0, quantizer="cauchy", quantization=0.1),
    "csq": LossConfig(hash_loss="csq", quantizer="l2", quantization=1e-4),
}
"""Losses of step 2 by name."""

STARTS = ("scratch", "distilled", "teacher")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Both steps, and the arms that show what step 1 is worth.

    Attributes:
        protocol: of step 2; step 1 takes the whole database without labels.
        data: where the images are; ``size`` is the student's input.
        teacher: its backbone's name, or ``features:FILE`` (stored features, no network).
        weights: of the teacher, below the data's root; ``random`` tries the recipe out without any.
        seen: what these weights were trained on, which the protocol checks; none given: what the end of the
            file's name says (``-imagenet``), or the file of features.
        teacher_size: side in pixels that the teacher sees; None: what it wants.
        precision: of teacher and student, ``fp32`` or ``bf16``.
        views: cached random views of the teacher's features; epoch e uses view e mod V.
        cache: folder of cached features; None: ``cache`` inside the run's folder.
        student: ``cuk_v1`` or ``cuk_v2`` (pooled), ``-flatten`` as published, or any backbone.
        feature_loss: of step 1, a key of ``distillation.FEATURE_TERMS``.
        feature_standardization: of the teacher's features in step 1: ``none``, ``dimension`` or ``phi-s``.
        losses: of step 2, keys of :data:`LOSSES`.
        starts: what step 2 starts from: ``scratch``, ``distilled``, ``teacher`` (the teacher itself).
        bits: widths.
        seed: of everything.
        threads: of torch; 0 leaves torch's choice.
        augmentation: of the student's images, and of the teacher's.
        step1: training without labels.
        step2: training with labels, equal for all arms.
        teacher_lr: factor of the learning rate for the teacher's own backbone in step 2.
    """

    protocol: str
    data: DataConfig
    teacher: str = "mobilenet_v2"
    weights: str = "weights/mobilenet_v2-imagenet.safetensors"
    seen: tuple[str, ...] = ()
    teacher_size: int | None = None
    precision: str = "fp32"
    views: int = 1
    cache: str | None = None
    student: str = "cuk_v1"
    feature_loss: str = "mse"
    feature_standardization: str = "none"
    losses: tuple[str, ...] = ("dch", "csq")
    starts: tuple[str, ...] = STARTS
    bits: tuple[int, ...] = (64, 48, 32, 16)
    seed: int = 0
    threads: int = 0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    step1: TrainingConfig = field(default_factory=lambda: TrainingConfig(optimizer="adamw", lr=1e-3))
    step2: TrainingConfig = field(default_factory=lambda: TrainingConfig(optimizer="adamw", lr=1e-3))
    teacher_lr: float = 0.01

    def __post_init__(self) -> None:
        one_of("feature_loss", self.feature_loss, FEATURE_TERMS)
        one_of("feature_standardization", self.feature_standardization, STANDARDIZATIONS)
        for name, known in (("losses", LOSSES), ("starts", STARTS)):
            for value in getattr(self, name):
                one_of(name, value, known)
        if self.teacher.startswith(PREFIX) and "teacher" in self.starts:
            raise ValueError(
                "starts must be without 'teacher' where the teacher is stored features: there is no network"
            )
        at_least("views", self.views, 1)
        at_least("threads", self.threads, 0)
        idle = "nothing is validated here"
        for name in ("step1", "step2"):
            own = {"seed": "set seed, at the top", "precision": "set precision, at the top"}
            refuse_set(name, getattr(self, name), **own, keep=idle)
        refuse_set("step2", self.step2, backbone_lr="set teacher_lr, which is the teacher's own")
        refuse_set("data", self.data, validation_fraction=idle, unlabelled="step 1 sees the whole database")


def toy(seed: int = 0) -> Config:
    """Seconds on the digits, with an untrained teacher: it runs, and shows nothing else."""
    training = TrainingConfig(optimizer="adamw", lr=3e-3, epochs=2)
    return Config(
        protocol="digits",
        data=DataConfig(),
        teacher="tiny-16",
        weights="random",
        student="tiny-8",
        bits=(32,),
        seed=seed,
        threads=1,
        augmentation=AugmentationConfig(padding=1, flip=False),
        step1=training,
        step2=training,
    )


def run(config: Config, out_dir: str | Path, *, progress: bool = True) -> dict[str, Any]:
    """Distil without labels, fine-tune every arm, measure.

    Writes ``result.json`` after each arm, ``tradeoff.png``, ``step1.safetensors`` and the students; started
    again in the same folder it goes on where it stopped.

    Raises:
        ValueError: a folder with a run of other settings, a teacher that saw what the protocol asks about, or
            anything the parts refuse.
        FileNotFoundError: missing images or weights.
    """
    work = Run(config, out_dir)
    split = open_split(config.protocol, config.data, work.root, config.seed)
    check_batch("step2", config.step2, len(split.train))
    if "distilled" in config.starts:
        check_batch("step1", config.step1, len(split.database))
    teacher = UntunedTeacher(config, work)
    if not work.claimed and set(config.starts) != {"scratch"}:
        teacher.check(config.protocol, split)
    work.claim()
    history = []
    if "distilled" in config.starts:
        history = distil_features(
            config.student,
            split.database,
            teacher.open,
            term=config.feature_loss,
            standardization=config.feature_standardization,
            views=ViewConfig(views=config.views, seed=config.seed, augmentation=config.augmentation),
            cache=Path(config.cache) if config.cache else work.out / "cache",
            training=with_seed(config.step1, config.seed, precision=config.precision),
            out=work.out,
            progress=progress,
        )
    rows: list[Row] = []
    precisions: dict[tuple[str, int], dict[str, list[Floats]]] = {}
    arms = list(itertools.product(config.bits, config.starts, config.losses))
    result: dict[str, Any] = {}
    baselines = [random_codes(split, bits, seed=config.seed).row for bits in config.bits]
    for done, (bits, start, loss) in enumerate(arms, start=1):
        hasher = fine_tune(config, split, teacher, start, loss, bits, work, progress)
        name = f"{config.teacher if start == 'teacher' else config.student}, {start}, {loss}"
        folder = work.out / f"{start}-{loss}-{bits}"
        row, precision = measure_hasher(folder, split, hasher, name, start=start, loss=loss)
        rows.append(row)
        if hasher.names_classes:
            baselines.append(named_classes(split, hasher, folder, row))
        precisions.setdefault((loss, bits), {})[start] = [precision]
        result = write_result(
            work.out,
            recipe="cukdfir",
            config=config,
            protocol=config.protocol,
            metric="mAP over the whole database, expected over ties",
            split={**split.hashes(), "queries": len(split.query), "unlabelled": len(split.database)},
            rows=rows + baselines,
            comparisons=[
                comparison(first, "scratch", per_query, bits=bits, metric="map")
                | {"first": f"{first}, {loss}", "second": f"scratch, {loss}"}
                for (loss, bits), per_query in precisions.items()
                for first in ("distilled", "teacher")
                if {first, "scratch"} <= per_query.keys()
            ],
            seconds=work.seconds,
            seed=config.seed,
            history=history,
            complete=done == len(arms),
        )
    from dmth_fast.plots import plot_tradeoff

    plot_tradeoff(rows, work.out / "tradeoff.png", title=f"{config.student} taught by {config.teacher}")
    return result


def fine_tune(
    config: Config,
    split: ImageSplit,
    teacher: UntunedTeacher,
    start: str,
    loss: str,
    bits: int,
    work: Run,
    progress: bool,
) -> Hasher:
    """Step 2 from scratch, from step 1, or from the teacher itself, at the size it taught at."""
    folder = work.out / f"{start}-{loss}-{bits}"
    if (folder / "config.json").exists():
        return Hasher.load(folder)
    own, side = start == "teacher", f"@{config.teacher_size}" if config.teacher_size else ""
    factor = config.teacher_lr if own else 1.0
    weights = None
    if start != "scratch":
        weights = teacher.weights() if own else work.out / "step1.safetensors"
    hasher = Hasher(
        f"{config.teacher}{side}" if own else config.student,
        bits,
        weights=weights,
        training=with_seed(config.step2, config.seed, precision=config.precision, backbone_lr=factor),
        augmentation=config.augmentation,
        loss=LOSSES[loss],
    )
    seen = seen_by(config.protocol, split, unlabelled=start == "distilled")
    if start != "scratch":
        seen += teacher.seen
    hasher.fit(split.train, progress=progress, seen=seen, run_dir=folder, resume=True).save(folder)
    return hasher
