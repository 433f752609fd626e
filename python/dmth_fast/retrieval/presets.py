"""What common repositories print as mAP: their rules by name, to compare with a published figure.

They differ in what they divide by, in which queries they leave out, and in the cut. All of them rank
equal distances by whatever order their sort leaves; here it is the order of the database.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dmth_fast.retrieval.arguments import AnyArray, choice
from dmth_fast.retrieval.evaluation import checked_comparison, report_of
from dmth_fast.retrieval.report import Report
from dmth_fast.retrieval.summary import checked_settings


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A repository's rule for mAP.

    Attributes:
        repository: where it is used.
        normalizer: as in :func:`dmth_fast.evaluate`.
        empty: what a query without a hit counts: "zero" or "skip".
        drops_last: without a cut, the last item of the ranking is never looked at.
        skips_unlabelled: queries without any label are left out.
        cut_at_relevant: the cut is each query's number of relevant items.
        remark: what it does differently, in words.
    """

    repository: str
    normalizer: str = "retrieved"
    empty: str = "zero"
    drops_last: bool = False
    skips_unlabelled: bool = False
    cut_at_relevant: bool = False
    remark: str


PRESETS: dict[str, Preset] = {
    "deephash": Preset(
        repository="swuxyj/DeepHash-pytorch",
        drops_last=True,
        remark="divides by the relevant items within the cut; topK = -1 slices the last item away",
    ),
    "hashnet": Preset(
        repository="thuml/HashNet",
        empty="skip",
        remark="divides by the relevant items within the cut; leaves out a query that finds none; its "
        "PyTorch script ranks by the outputs themselves, here their signs are ranked",
    ),
    "csq": Preset(
        repository="yuanli2333/Hadamard-Matrix-for-hashing",
        skips_unlabelled=True,
        remark="divides by the relevant items within the cut; leaves out a query that has no label",
    ),
    "orthohash": Preset(
        repository="kamwoh/orthohash",
        remark="divides by the relevant items within the cut; a query that finds none counts 0",
    ),
    "thulab": Preset(
        repository="thulab/DeepHash",
        empty="skip",
        remark="as hashnet; its mAP inside a Hamming ball re-ranks by features and is not given here",
    ),
    "pml_map_at_r": Preset(
        repository="KevinMusgrave/pytorch-metric-learning",
        normalizer="relevant",
        empty="skip",
        cut_at_relevant=True,
        remark="MAP@R: cut at and divided by R; a query whose label is nowhere else is left out",
    ),
}
"""Rules by name."""


def evaluate_as(
    preset: str,
    query_codes: AnyArray,
    query_labels: AnyArray,
    database_codes: AnyArray,
    database_labels: AnyArray | None,
    *,
    top_k: int | None = None,
    bits: int | None = None,
    precision_at: Iterable[int] = (),
    exclude: AnyArray | str | None = None,
    threads: int | None = None,
) -> Report:
    """Evaluate by the rule of a repository, ties in the order of the database.

    Args:
        preset: one of :data:`PRESETS`; ties, divisor and empty queries follow from it.
        query_codes: (q, bytes) uint8.
        query_labels: (q,) class ids or (q, C) multi-hot; or (q, n) bool relevance.
        database_codes: (n, bytes) uint8, in the order that the repository would see.
        database_labels: (n,) or (n, C); or None.
        top_k: its cut ("R" or "topK"); None ranks all, as the repository would.
        bits: as in :func:`dmth_fast.evaluate`.
        precision_at: as in :func:`dmth_fast.evaluate`.
        exclude: as in :func:`dmth_fast.evaluate`; "self" for one set that is query and reference.
        threads: as in :func:`dmth_fast.evaluate`.

    Returns:
        A report whose ``map`` is the repository's figure.

    Raises:
        ValueError: unknown preset, or a ``top_k`` beside "pml_map_at_r", which sets its own; otherwise as
            in :func:`dmth_fast.evaluate`.

    >>> import numpy as np
    >>> codes = np.array([[0b000], [0b001], [0b011], [0b111]], dtype=np.uint8)
    >>> labels = np.array([0, 1, 1, 0])
    >>> arrays = codes[:1], labels[:1], codes, labels
    >>> [evaluate_as(name, *arrays, top_k=3).map for name in ("deephash", "hashnet")]
    [1.0, 1.0]
    >>> evaluate_as("pml_map_at_r", *arrays).map
    0.5
    """
    rule = PRESETS[choice(preset, "preset", PRESETS)]
    if rule.cut_at_relevant and top_k is not None:
        raise ValueError(f"top_k must be None for preset {preset!r}, which cuts at R, got {top_k}")
    comparison = checked_comparison(
        query_codes, query_labels, database_codes, database_labels, bits, exclude, threads
    )
    settings = checked_settings(
        top_k=top_k, ties="stable", normalizer=rule.normalizer, empty=rule.empty, precision_at=precision_at
    )
    if rule.cut_at_relevant:
        settings["top_k"] = "R"
    elif rule.drops_last and top_k is None:
        # What is left out is not in the ranking, so its length is then that of each query.
        everything = len(comparison.database_codes) - 1
        settings["top_k"] = everything if comparison.excluded is None else "n-1"
    counted = None
    if rule.skips_unlabelled and comparison.labels.is_multi_hot:
        counted = np.any(comparison.labels.query, axis=1)
    return report_of(comparison, {"preset": preset, **settings}, counted=counted)
