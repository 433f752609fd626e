"""From a configuration to a measured table: teachers, their fusion, a student alone and distilled."""

import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dmth_fast import environment
from dmth_fast.atomic import write_json, write_text
from dmth_fast.comparison import Floats, Row, class_codes, measure, paired_interval, speed
from dmth_fast.learning.data import ImageSet
from dmth_fast.learning.frozen import Teacher
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.network import image_batches
from dmth_fast.learning.protocols import Split, open_split
from dmth_fast.learning.teacher import FusedTeacher
from dmth_fast.retrieval.codes import pack
from dmth_fast.trainconfig import TeacherConfig, TrainConfig, dump_config, load_config

__all__ = ["TeacherConfig", "TrainConfig", "load_config", "train"]

FORMAT = "dmth-fast-result-1"


class Stopwatch:
    """Seconds of each stage, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to the stage ``name``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - begin, 2)


def train(
    config: TrainConfig,
    out_dir: str | Path,
    *,
    resume: bool = False,
    progress: bool = True,
    command: str | None = None,
) -> dict[str, Any]:
    """Cache teachers, fuse them, train the student without and with them, and measure everything.

    Writes ``config.toml`` (every default), ``result.json``, the students ``plain/`` and ``student/``, and a
    folder of checkpoint and metrics for each training.

    Args:
        config: of the run.
        out_dir: folder of the run; a folder that already holds one is refused without ``resume``.
        resume: continue an interrupted run of the same config.
        progress: show progress on standard error.
        command: written to the result; by default the one of this process.

    Returns:
        What ``result.json`` holds: protocol, split, seed, hardware, versions, ``seconds``, ``rows``,
        ``comparisons``.

    Raises:
        ValueError: a folder with another run, or anything the parts refuse.
        FileNotFoundError: missing images or weights.
    """
    out = Path(out_dir)
    _refuse_other_run(out, config, resume)
    if config.threads:
        torch.set_num_threads(config.threads)
    watch, root = Stopwatch(), _root(config)
    with watch.stage("images"):
        split = open_split(config.protocol, config.data, root, config.seed)
    for weights in (config.weights, *(card.weights for card in config.teachers)):
        if weights is not None and not (root / weights).is_file():
            raise FileNotFoundError(f"weights {root / weights} do not exist")
    # Only now: a mistyped path must not leave a folder behind that the corrected command would refuse.
    write_text(out / "config.toml", dump_config(config))
    with watch.stage("teachers"):
        teachers = [
            _teacher(config, k, split.train, root, out, resume, progress) for k in range(len(config.teachers))
        ]
    cache = Path(config.cache) if config.cache else out / "cache"
    sections = {item.name: getattr(config.fusion, item.name) for item in dataclasses.fields(config.fusion)}
    fused = FusedTeacher(teachers, bits=config.bits, cache=cache, **sections)
    with watch.stage("fused teacher"):
        fused.fit(split.train, progress, run_dir=out / "fused", resume=resume)
    students: dict[str, Hasher] = {}
    for name, teacher in (("plain", None), ("student", fused)):
        with watch.stage(f"{name} student"):
            students[name] = _student(config, root).fit(
                split.train,
                teacher=teacher,
                progress=progress,
                run_dir=out / f"{name}-run",
                resume=resume,
            )
            students[name].save(out / name)
    with watch.stage("evaluation"):
        rows, precisions = compare(config, split, fused, students["plain"], students["student"])
    result = {
        "format": FORMAT,
        "command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "protocol": config.protocol,
        "metric": "mAP over the whole database, expected over ties",
        "split": {
            **split.hashes(),
            "queries": len(split.query),
            "database_images": len(split.database),
            "training_images": len(split.train),
            "classes": len(split.train.classes),
            "skipped": len(split.train.skipped) + len(split.query.skipped),
        },
        "seed": config.seed,
        **environment.describe(),
        "torch_threads": torch.get_num_threads(),
        "seconds": {**watch.seconds, "of which caching teacher features": round(fused.cache_seconds, 2)},
        "resumed": resume,
        "rows": rows,
        "comparisons": _comparisons(rows, precisions, config.seed),
        "history": {"fused": fused.history, **{name: student.history for name, student in students.items()}},
        "config": dump_config(config),
    }
    write_json(out / "result.json", result)
    return result


def compare(
    config: TrainConfig, split: Split, fused: FusedTeacher, plain: Hasher, distilled: Hasher
) -> tuple[list[Row], dict[str, Floats]]:
    """Measure each teacher, their average, the fused teacher, both students and the trivial baseline."""
    query, database, classes = split.query, split.database, len(split.train.classes)
    rows: list[Row] = []
    precisions: dict[str, Floats] = {}

    def add(name: str, **values: Any) -> None:
        row, precision = measure(name, query=query, database=database, **values)
        rows.append(row)
        precisions[name] = precision

    def trivial(name: str, guesses: tuple[Any, Any], **values: Any) -> None:
        codes = (class_codes(guesses[0], classes), class_codes(guesses[1], classes))
        add(name, codes=codes, predicted=guesses[0], bits=classes, **values)

    own = [fused.teacher_logits(part) for part in (query, database)]
    speeds = [speed(partial(_run, teacher, classes), query) for teacher in fused.teachers]
    for k, teacher in enumerate(fused.teachers):
        guesses = (own[0][k].argmax(1).numpy(), own[1][k].argmax(1).numpy())
        trivial(
            f"teacher {teacher.name}",
            guesses,
            parameters=teacher.num_parameters,
            images_per_second=speeds[k],
            kind="teacher",
            note="code: one-hot of its predicted class",
        )
    together = 1 / sum(1 / value for value in speeds)
    average = [torch.stack([torch.softmax(o, 1) for o in part]).mean(0).argmax(1).numpy() for part in own]
    trivial(
        "softmax average of the teachers",
        (average[0], average[1]),
        parameters=sum(teacher.num_parameters for teacher in fused.teachers),
        images_per_second=together,
        kind="average",
        note="code: one-hot of its predicted class",
    )
    outputs = fused.outputs(query)
    add(
        f"fused teacher ({config.fusion.fusion})",
        codes=(pack(outputs.values.numpy()), fused.codes(database)),
        predicted=outputs.logits.argmax(1).numpy(),
        bits=config.bits,
        parameters=fused.num_parameters,
        images_per_second=together,
        kind="fused",
        mean_largest_weight=float(outputs.weights.amax(1).mean()),
        mean_weights=outputs.weights.mean(0).tolist(),
        section=True,
    )
    for student, name, kind in (
        (plain, "student, labels only", "plain"),
        (distilled, "student, distilled", "student"),
    ):
        add(
            name,
            codes=(student.encode(query), student.encode(database)),
            predicted=student.predict(query),
            bits=config.bits,
            parameters=student.num_parameters,
            images_per_second=speed(student.encode, query),
            kind=kind,
        )
    trivial(
        "trivial: the distilled student's class",
        (distilled.predict(query), distilled.predict(database)),
        parameters=distilled.num_parameters,
        images_per_second=rows[-1]["images_per_second"],
        kind="trivial",
        baseline=True,
        note="code: one-hot of its predicted class",
    )
    return rows, precisions


def _comparisons(rows: list[Row], precisions: dict[str, Floats], seed: int) -> list[dict[str, Any]]:
    by_kind = {row["kind"]: row for row in rows}
    pairs = (("student", "plain"), ("student", "fused"), ("student", "trivial"))
    results = []
    for first, second in pairs:
        names = by_kind[first]["name"], by_kind[second]["name"]
        interval = paired_interval(precisions[names[0]], precisions[names[1]], seed=seed)
        results.append(
            {
                "first": names[0],
                "second": names[1],
                "metric": "map",
                **interval,
                "accuracy_difference": by_kind[first]["accuracy"] - by_kind[second]["accuracy"],
                "interval": "95 %, paired bootstrap over queries, one seed",
            }
        )
    return results


def _refuse_other_run(out: Path, config: TrainConfig, resume: bool) -> None:
    text, path = dump_config(config), out / "config.toml"
    if path.exists():
        if not resume:
            raise ValueError(f"folder {out} already holds a run: choose another, or resume it")
        if path.read_text(encoding="utf-8") != text:
            raise ValueError(f"folder {out} holds a run of another config (see {path}): it cannot be resumed")


def _root(config: TrainConfig) -> Path:
    return Path(config.data.root or os.environ.get("DMTH_FAST_DATA", "."))


def _student(config: TrainConfig, root: Path) -> Hasher:
    student = config.student
    return Hasher(
        config.backbone,
        config.bits,
        weights=None if config.weights is None else root / config.weights,
        **{item.name: getattr(student, item.name) for item in dataclasses.fields(student)},
    )


def _teacher(
    config: TrainConfig, k: int, train_images: ImageSet, root: Path, out: Path, resume: bool, progress: bool
) -> Teacher:
    card = config.teachers[k]
    if card.weights is not None:
        return Teacher(
            card.backbone,
            root / card.weights,
            name=card.name,
            input_size=card.input_size,
            precision=card.precision,
            seen=card.seen,
            licence=card.licence,
        )
    student = config.student
    # Teachers of one architecture differ by their seed.
    training = dataclasses.replace(student.training, epochs=card.epochs, seed=config.seed + k + 1)
    hasher = Hasher(
        card.backbone, config.bits, training=training, augmentation=config.augmentation, loss=student.loss
    ).fit(train_images, progress=progress, run_dir=out / f"teacher-{k}-run", resume=resume)
    return Teacher(hasher, name=card.name, input_size=card.input_size, precision=card.precision)


def _run(teacher: Teacher, classes: int, images: ImageSet) -> None:
    for _, pixels in image_batches(images, 256):
        teacher.outputs(pixels, classes)
