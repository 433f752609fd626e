"""SAKDH: unsupervised cross-modal hashing by a semantic-alignment teacher (Li et al. 2021).

Li, Li, Tang, Peng, Ma, Yang, Computational Intelligence and Neuroscience 2021, 5107034. Known from the
abstract: the teacher is an unsupervised semantic-alignment hashing method that builds a modal-fusion
similarity matrix; the matrix that is reconstructed from the teacher supervises the student.

Stage 1, teacher (DSAH, Yang et al. 2020): codes whose cosines follow ``S = k (a S_I + (1 - a) S_T)``, with
decoders across the modalities.

Stage 2, student, from scratch: ``R = cos`` of the teacher's codes, those of image and text side by side.

* ``soft``: ``MSE(cos(U_I, U_T), R) + .5 MSE(cos(U_I, U_I), R) + .5 MSE(cos(U_T, U_T), R)``, the
  relational term that also distils image students;
* ``hard``: likelihood of ``S_ij = 1`` where j is among the n nearest of i under R.

Both with quantisation towards ``sign(U_I + U_T)`` and balanced bits.

Unknown: the student's networks and loss, its weights, the schedule. Chosen here: small towers on frozen
features for teacher and student alike, the losses above after UKD (Hu et al. 2020), AdamW, equal schedules.
"""

import dataclasses
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dmth_fast import evaluate, pack
from dmth_fast.comparison import Floats
from dmth_fast.learning.alignment import CrossModalConfig
from dmth_fast.learning.baselines import cca_codes
from dmth_fast.learning.config import at_least, one_of
from dmth_fast.learning.crossmodal import CrossModalHasher
from dmth_fast.learning.pairdata import PairDataConfig, open_pair_split
from dmth_fast.learning.pairs import PairSplit
from dmth_fast.learning.recipes.arms import Run, check_batch, comparison, refuse_set, with_seed
from dmth_fast.learning.recipes.pictures import draw_keywords
from dmth_fast.learning.recipes.results import Row, over_seeds, write_result

BASELINES = ("random", "pca-cca", "itq-cca")
TEACHERS = ("djsrh", "jdsh", "dsah")
STUDENTS = ("hard", "soft")
ORDER = (*BASELINES, *TEACHERS, *STUDENTS)
METRIC = "mAP over all, and over the first 50 divided by the relevant among them; expected over ties"
COLUMNS = ("image_to_text_50", "image_to_text", "text_to_image_50", "text_to_image")

Codes = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Config:
    """A comparison of cross-modal hashing methods on one set of pairs.

    Attributes:
        data: the pairs.
        bits: widths.
        seeds: of networks, batches and rotations.
        methods: of :data:`BASELINES`, :data:`TEACHERS` and :data:`STUDENTS`; students follow the DSAH teacher
            of their width and seed.
        ridge: of CCA.
        threads: of torch; 0 leaves torch's choice.
        model: of the teachers.
        student: of the students.
    """

    data: PairDataConfig
    bits: tuple[int, ...] = (16, 32, 64, 128)
    seeds: tuple[int, ...] = (0, 1, 2)
    methods: tuple[str, ...] = ORDER
    ridge: float = 0.1
    threads: int = 0
    model: CrossModalConfig = field(default_factory=CrossModalConfig)
    student: CrossModalConfig = field(default_factory=CrossModalConfig)

    def __post_init__(self) -> None:
        for method in self.methods:
            one_of("methods", method, ORDER)
        if set(self.methods) & set(STUDENTS) and "dsah" not in self.methods:
            raise ValueError("methods must include 'dsah', the teacher of 'hard' and 'soft'")
        for name in ("bits", "seeds", "methods"):
            if not getattr(self, name):
                raise ValueError(f"{name} must hold at least one value, got none")
        at_least("threads", self.threads, 0)
        for name in ("model", "student"):
            training = getattr(self, name).training
            why = {"seed": "set seeds, at the top", "keep": "nothing is validated here"}
            refuse_set(f"{name}.training", training, **why)


def toy(seed: int = 0) -> Config:
    """Seconds on digit images paired with words made from their label and shape: a toy, not a result."""
    training = dataclasses.replace(CrossModalConfig().training, epochs=5)
    return Config(
        data=PairDataConfig(source="digits"),
        bits=(32,),
        seeds=(seed,),
        threads=1,
        model=CrossModalConfig(hidden=64, training=training),
        student=CrossModalConfig(hidden=64, neighbours=100, training=training),
    )


def run(config: Config, out_dir: str | Path, *, progress: bool = True) -> dict[str, Any]:
    """Train and measure every method at every width and seed.

    Writes ``result.json`` after each width, the last seed's students, and what they find by keywords.

    Raises:
        ValueError: a folder with a run of other settings, or anything the parts refuse.
        FileNotFoundError: missing pairs, images or weights.
    """
    work = Run(config, out_dir)
    split = open_pair_split(config.data, work.root, work.out)
    for name, its in (("model", TEACHERS), ("student", STUDENTS)):
        if not set(config.methods).isdisjoint(its):
            check_batch(f"{name}.training", getattr(config, name).training, len(split.train))
    work.claim()
    runs: list[Row] = []
    precisions: dict[tuple[int, str], dict[str, list[Floats]]] = {}
    skipped: set[str] = set()
    result: dict[str, Any] = {}
    for bits in config.bits:
        hashers: dict[str, CrossModalHasher] = {}
        # Teachers before their students, whatever the order asked for.
        methods = [name for name in ORDER if name in config.methods]
        for seed, method in itertools.product(config.seeds, methods):
            try:
                codes = _codes(method, split, bits, seed, config, hashers, progress)
            except ValueError as error:
                if method not in ("itq-cca", "pca-cca"):
                    raise
                skipped.add(f"{method}, {bits} bits: {error}")
                continue
            figures, per_query = measure(codes, split, bits)
            runs.append({"name": method, "bits": bits, "seed": seed, **figures})
            for metric, values in per_query.items():
                precisions.setdefault((bits, metric), {}).setdefault(method, []).append(values)
        for method in set(STUDENTS) & set(hashers):
            hashers[method].save(work.out / f"{method}-{bits}")
            if split.images is not None:
                draw_keywords(work.out / f"keywords-{method}-{bits}.png", split, hashers[method])
        result = write_result(
            work.out,
            recipe="sakdh",
            config=config,
            protocol=split.name,
            metric=METRIC,
            split={
                "hash": split.hash,
                "queries": len(split.query),
                "database": len(split.database),
                "train": len(split.train),
                "unlabelled": split.pairs.num_unlabelled,
            },
            rows=over_seeds(runs, by=("name", "bits"), columns=COLUMNS),
            comparisons=[
                comparison(*pair, rows, bits=b, metric=m, seeds=len(config.seeds))
                for pair in (*((student, "dsah") for student in STUDENTS), ("dsah", "itq-cca"))
                for (b, m), rows in precisions.items()
                if set(pair) <= rows.keys()
            ],
            seconds=work.seconds,
            runs=runs,
            left_out=sorted(skipped),
            complete=bits == config.bits[-1],
        )
    return result


def measure(codes: Codes, split: PairSplit, bits: int) -> tuple[dict[str, float], dict[str, Floats]]:
    """Search texts by images and images by texts; returns the figures and each query's average precision."""
    figures: dict[str, float] = {}
    per_query: dict[str, Floats] = {}
    labels = split.pairs.labels.numpy()
    queries, searched = labels[split.query.numpy()], labels[split.database.numpy()]
    for direction, query, database in (
        ("image_to_text", codes["query_image"], codes["database_text"]),
        ("text_to_image", codes["query_text"], codes["database_image"]),
    ):
        whole = evaluate(query, queries, database, searched, bits=bits)
        top = evaluate(query, queries, database, searched, bits=bits, top_k=50, normalizer="retrieved")
        figures |= {direction: whole.map, f"{direction}_50": top.map}
        per_query |= {direction: whole.average_precision, f"{direction}_50": top.average_precision}
    return figures, per_query


def _codes(
    method: str,
    split: PairSplit,
    bits: int,
    seed: int,
    config: Config,
    hashers: dict[str, CrossModalHasher],
    progress: bool,
) -> Codes:
    train = split.pairs.select(split.train)
    if method == "random":
        generator = torch.Generator().manual_seed(seed)
        image, text = (torch.randn(len(split.pairs), bits, generator=generator) for _ in range(2))
    elif method in BASELINES:
        sides = (train.image, train.text)
        maps = cca_codes(*sides, bits, ridge=config.ridge, rotate=method == "itq-cca", seed=seed)
        image, text = maps[0](split.pairs.image), maps[1](split.pairs.text)
    else:
        model = config.student if method in STUDENTS else config.model
        sections = {item.name: getattr(model, item.name) for item in dataclasses.fields(model)}
        sections["training"] = with_seed(model.training, seed)
        hasher = CrossModalHasher(train.image.shape[1], train.text.shape[1], bits, **sections)
        teacher = hashers["dsah"] if method in STUDENTS else None
        hashers[method] = hasher.fit(train, recipe=method, teacher=teacher, progress=progress)
        image, text = hasher.values_image(split.pairs.image), hasher.values_text(split.pairs.text)
    packed = {"image": pack(image.numpy()), "text": pack(text.numpy())}
    parts = {"query": split.query.numpy(), "database": split.database.numpy()}
    return {f"{part}_{side}": packed[side][index] for part, index in parts.items() for side in packed}
