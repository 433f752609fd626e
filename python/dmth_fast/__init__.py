"""Image retrieval by learned binary codes: distil, pack, search, measure.

Two halves share one currency, the packed binary code (``uint8``, shape ``(n, ceil(bits / 8))``; bit ``j`` of
a row is bit ``j % 8`` of byte ``j // 8``):

* retrieval: :func:`pack`, :func:`search`, :func:`range_search`, :class:`Index`, :func:`evaluate`;
* learning: :class:`FusedTeacher` and :class:`Hasher`.

Names are loaded when first used, so a program that only searches NumPy arrays never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dmth_fast.learning.hasher import Hasher as Hasher
    from dmth_fast.learning.teacher import FusedTeacher as FusedTeacher
    from dmth_fast.retrieval.classification import classify_by_vote as classify_by_vote
    from dmth_fast.retrieval.classification import vote_accuracy as vote_accuracy
    from dmth_fast.retrieval.codes import convert_codes as convert_codes
    from dmth_fast.retrieval.codes import pack as pack
    from dmth_fast.retrieval.codes import unpack as unpack
    from dmth_fast.retrieval.confidence import bootstrap as bootstrap
    from dmth_fast.retrieval.confidence import compare as compare
    from dmth_fast.retrieval.evaluation import evaluate as evaluate
    from dmth_fast.retrieval.evaluator import Evaluator as Evaluator
    from dmth_fast.retrieval.features import evaluate_features as evaluate_features
    from dmth_fast.retrieval.index import Index as Index
    from dmth_fast.retrieval.presets import evaluate_as as evaluate_as
    from dmth_fast.retrieval.search import hamming_distances as hamming_distances
    from dmth_fast.retrieval.search import range_search as range_search
    from dmth_fast.retrieval.search import search as search
    from dmth_fast.retrieval.statistics import code_statistics as code_statistics

__version__ = "0.1.0"

_HOME = {
    "Evaluator": "dmth_fast.retrieval.evaluator",
    "FusedTeacher": "dmth_fast.learning.teacher",
    "Hasher": "dmth_fast.learning.hasher",
    "Index": "dmth_fast.retrieval.index",
    "bootstrap": "dmth_fast.retrieval.confidence",
    "classify_by_vote": "dmth_fast.retrieval.classification",
    "code_statistics": "dmth_fast.retrieval.statistics",
    "compare": "dmth_fast.retrieval.confidence",
    "convert_codes": "dmth_fast.retrieval.codes",
    "evaluate": "dmth_fast.retrieval.evaluation",
    "evaluate_as": "dmth_fast.retrieval.presets",
    "evaluate_features": "dmth_fast.retrieval.features",
    "hamming_distances": "dmth_fast.retrieval.search",
    "pack": "dmth_fast.retrieval.codes",
    "range_search": "dmth_fast.retrieval.search",
    "search": "dmth_fast.retrieval.search",
    "unpack": "dmth_fast.retrieval.codes",
    "vote_accuracy": "dmth_fast.retrieval.classification",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'dmth_fast' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
