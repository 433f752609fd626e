"""From a configuration to a measured table: teachers, their fusion, a student alone and distilled."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dmth_fast import environment
from dmth_fast.atomic import write_json, write_text
from dmth_fast.comparison import compare, compare_without_labels, differences
from dmth_fast.learning.frozen import AnyTeacher, Teacher
from dmth_fast.learning.hasher import Hasher
from dmth_fast.learning.parallel import is_main, join_processes, wait
from dmth_fast.learning.protocols import seen_by
from dmth_fast.learning.teacher import FusedTeacher
from dmth_fast.preparation import Images, data_root, new_student, open_teacher, prepare, student_seen
from dmth_fast.trainconfig import TeacherConfig, TrainConfig, dump_config, load_config

__all__ = ["TeacherConfig", "TrainConfig", "load_config", "train"]

FORMAT = "dmth-fast-result-1"
SKIPPED = 5
"""Files left out that a result names."""


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

    Writes ``config.toml`` (every default), ``split.json`` where a protocol drew the split, ``result.json``,
    the students ``plain/`` and ``student/``, and a folder of checkpoint and metrics for each training.

    Args:
        config: of the run.
        out_dir: folder of the run; a folder that already holds one is refused without ``resume``.
        resume: continue an interrupted run of the same config.
        progress: show progress on standard error.
        command: written to the result; by default the one of this process.

    Returns:
        What ``result.json`` holds: protocol, split, seed, hardware, versions, ``seconds``, ``rows``,
        ``comparisons``. Under ``accelerate launch`` all processes train, and the first one alone measures
        and writes; the others return nothing.

    Raises:
        ValueError: a folder with another run, or anything the parts refuse.
        FileNotFoundError: missing images or weights.
    """
    out = Path(out_dir)
    join_processes(config.student.training.device)
    resumed = (out / "config.toml").exists()
    _refuse_other_run(out, config, resume)
    wait()  # until every process has looked: what one writes must not be refused by another
    if config.threads:
        torch.set_num_threads(config.threads)
    watch, root = Stopwatch(), data_root(config)
    with watch.stage("images"):
        images = prepare(config)
    split, learned, validation, unlabelled = images
    # Only now: a mistyped setting must not leave a folder behind that the corrected command would refuse.
    if is_main():
        write_text(out / "config.toml", dump_config(config))
    if split.drawn is not None and is_main():
        split.drawn.save(out / "split.json")
    with watch.stage("teachers"):
        teachers = [
            new_teacher(config, k, images, root, out / f"teacher-{k}-run", resume=resume, progress=progress)
            for k in range(len(config.teachers))
        ]
    cache = Path(config.cache) if config.cache else out / "cache"
    fused, *others = (
        new_fusion(config, teachers, cache, fusion=name)
        for name in (config.fusion.fusion, *config.compare_fusions)
    )
    with watch.stage("fused teacher"):
        fused.fit(learned, progress, run_dir=out / "fused", resume=resume)
    with watch.stage("further fusions"):
        for other in others:
            other.fit(learned, progress, run_dir=out / f"fused-{other.config.fusion}", resume=resume)
    students: dict[str, Hasher] = {}
    arms = (("plain", None), ("student", fused)) if config.labels else (("student", fused),)
    for name, teacher in arms:
        with watch.stage(f"{name} student"):
            students[name] = new_student(config, root).fit(
                learned,
                teacher=teacher,
                validation=validation,
                unlabelled=None if teacher is None else unlabelled,
                progress=progress,
                seen=student_seen(config, split, distilled=teacher is not None),
                run_dir=out / f"{name}-run",
                resume=resume,
            )
            if is_main():
                students[name].save(out / name)
    if not is_main():
        return {}
    with watch.stage("evaluation"):
        if config.labels:
            rows, precisions = compare(split, [fused, *others], students["plain"], students["student"])
        else:
            rows, precisions = compare_without_labels(split, fused, students["student"], config.seed)
    taught = students["student"].history[-1]["teacher_seconds"]
    if progress:
        print(
            f"teacher features: {fused.cache.recorded_seconds:.1f} s to compute and cache once, "
            f"{fused.cache_seconds:.1f} s of it in this run; "
            f"teacher cost per student epoch: {taught:.3g} s",
            file=sys.stderr,
        )
    for row in rows:
        if row["kind"] in students:
            figures = {key: row[key] for key in ("accuracy", "map") if row[key] is not None}
            queries, database = len(split.query), len(split.database)
            student = students[row["kind"]]
            student.metrics |= {"protocol": config.protocol, "queries": queries, "database": database}
            student.metrics |= figures
            student.save(out / row["kind"])
    result = {
        "format": FORMAT,
        "command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "protocol": config.protocol,
        "metric": "mAP over the whole database, expected over ties",
        "split": {
            **split.hashes(),
            **({} if split.drawn is None else {"drawn": split.drawn.hash}),
            "queries": len(split.query),
            "database_images": len(split.database),
            "training_images": len(learned),
            "unlabelled_images": 0 if unlabelled is None else len(unlabelled),
            "validation_images": len(split.train) - len(learned),
            "classes": len(split.train.classes),
            "skipped": len(split.skipped),
            "skipped_files": [list(item) for item in split.skipped[:SKIPPED]],
            "near_duplicates": split.near_duplicates(),
        },
        "seed": config.seed,
        **environment.describe(),
        "torch_threads": torch.get_num_threads(),
        "seconds": {**watch.seconds, "of which caching teacher features": round(fused.cache_seconds, 2)},
        "cached_features_seconds": round(fused.cache.recorded_seconds, 2),
        "teacher_seconds_per_student_epoch": taught,
        "resumed": resumed,
        "rows": rows,
        "comparisons": differences(rows, precisions, config.seed),
        "history": {"fused": fused.history, **{name: student.history for name, student in students.items()}},
        "config": dump_config(config),
    }
    write_json(out / "result.json", result)
    return result


def _refuse_other_run(out: Path, config: TrainConfig, resume: bool) -> None:
    path = out / "config.toml"
    if path.exists():
        if not resume:
            raise ValueError(f"folder {out} already holds a run: choose another, or resume it")
        try:
            same = load_config(path) == config  # settings that it does not have yet are at their defaults
        except (ValueError, TypeError):
            same = False
        if not same:
            raise ValueError(f"folder {out} holds a run of another config (see {path}): it cannot be resumed")


def new_fusion(
    config: TrainConfig, teachers: Sequence[AnyTeacher], cache: Path, *, fusion: str | None = None
) -> FusedTeacher:
    """Return the untrained fusion of a config, or another of the same settings."""
    sections = {item.name: getattr(config.fusion, item.name) for item in dataclasses.fields(config.fusion)}
    return FusedTeacher(
        teachers, bits=config.bits, cache=cache, **{**sections, "fusion": fusion or config.fusion.fusion}
    )


def new_teacher(
    config: TrainConfig,
    k: int,
    images: Images,
    root: Path,
    run_dir: Path,
    *,
    resume: bool,
    progress: bool,
) -> AnyTeacher:
    """Return teacher ``k`` of a config: opened, or trained in ``run_dir`` if it has no weights."""
    card = config.teachers[k]
    if not card.trained_here:
        return open_teacher(card, root)
    student = config.student
    # A teacher sees no validation images, so it ends with its last epoch.
    training = dataclasses.replace(
        student.training, epochs=card.epochs, seed=teacher_seed(config, k), keep="last"
    )
    hasher = Hasher(
        card.backbone, config.bits, training=training, augmentation=config.augmentation, loss=student.loss
    ).fit(
        images.learned,
        progress=progress,
        seen=seen_by(config.protocol, images.split),
        run_dir=run_dir,
        resume=resume,
    )
    return Teacher(hasher, name=card.name, input_size=card.input_size, precision=card.precision)


def teacher_seed(config: TrainConfig, k: int) -> int:
    """Return the seed of teacher ``k``: those of one backbone are far apart, as seeds of runs are not."""
    backbone = config.teachers[k].backbone
    before = sum(card.trained_here and card.backbone == backbone for card in config.teachers[:k])
    return config.seed + k + 1 + 1000 * before
