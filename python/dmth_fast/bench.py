"""A short benchmark of search on this machine, beside FAISS and NumPy, to be trusted by whoever runs it.

Every contender answers the same queries over the same random codes in one process. Equal answers are
asserted first; then the contenders take turns, so that a busy neighbour or a changing clock hits all of them
alike, and what is reported is the median over rounds of the ratio within a round.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmth_fast import environment

__all__ = ["Setting", "measure", "random_codes", "run"]

Answer = tuple[NDArray[np.int32], NDArray[np.int64]]
Contender = Callable[[], Answer]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is searched.

    Raises:
        ValueError: A size below 1, or fewer than three rounds, whose median says nothing.

    >>> Setting(n=0)
    Traceback (most recent call last):
    ValueError: n must be at least 1, got 0
    """

    n: int = 1_000_000
    """Codes in the database."""
    bits: int = 64
    k: int = 10
    queries: int = 100
    threads: int = 1
    rounds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"n": 1, "bits": 1, "k": 1, "queries": 1, "threads": 1, "rounds": 3}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


def run(
    settings: Sequence[Setting], *, on_result: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any]:
    """Measure several settings.

    Args:
        settings: What to measure, in order.
        on_result: Called with each row as soon as it is measured.

    Returns:
        ``rows`` (see :func:`measure`) and the ``environment`` they were measured in.
    """
    rows = []
    for setting in settings:
        rows.append(measure(setting))
        on_result(rows[-1])
    return {"benchmark": "search", "environment": environment.describe(), "rows": rows}


def measure(setting: Setting) -> dict[str, Any]:
    """Measure one setting.

    Args:
        setting: What to search.

    Returns:
        The setting's fields; ``milliseconds``: contender to the median time of one call that answers all
        queries; ``ratios``: rival to (lowest, median, highest) over rounds of its time divided by ours in the
        same round; ``absent``: rival to the reason why it was not measured.

    Raises:
        AssertionError: A rival's answer differs from ours: nothing is timed then.
    """
    both = random_codes(setting.n + setting.queries, setting.bits, setting.seed)
    codes, queries = both[: setting.n], both[setting.n :]
    contenders, absent = _contenders(setting, codes, queries)
    ours = contenders["dmth_fast"]()
    for name, contender in contenders.items():
        if name != "dmth_fast":
            _assert_equal(name, ours, contender(), codes, queries)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(setting.rounds):
        # Another one goes first in each round: none always finds the caches as the same rival left them.
        names = list(contenders)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            contenders[name]()
            seconds[name].append(time.perf_counter() - start)
    ratios = {}
    for name in contenders:
        if name != "dmth_fast":
            quotients = [
                theirs / own for theirs, own in zip(seconds[name], seconds["dmth_fast"], strict=True)
            ]
            ratios[name] = [round(value, 3) for value in (min(quotients), median(quotients), max(quotients))]
    return {
        **{name: getattr(setting, name) for name in Setting.__dataclass_fields__},
        "milliseconds": {name: round(1e3 * median(values), 4) for name, values in seconds.items()},
        "ratios": ratios,
        "absent": absent,
    }


def random_codes(n: int, bits: int, seed: int | np.random.Generator = 0) -> NDArray[np.uint8]:
    """Uniform random codes: the worst case for every pruning, so nobody is flattered.

    Args:
        n: How many.
        bits: Width of each; padding bits are zero.
        seed: A number, or a generator to draw from.

    Returns:
        (n, ceil(bits / 8)) uint8.

    >>> random_codes(2, 12).shape
    (2, 2)
    """
    codes = np.random.default_rng(seed).integers(0, 256, (n, (bits + 7) // 8), np.uint8)
    if bits % 8:
        codes[:, -1] &= np.uint8((1 << bits % 8) - 1)
    return codes


def _contenders(
    setting: Setting, codes: NDArray[np.uint8], queries: NDArray[np.uint8]
) -> tuple[dict[str, Contender], dict[str, str]]:
    from dmth_fast import search

    k = min(setting.k, setting.n)

    def ours() -> Answer:
        found = search(codes, queries, k, threads=setting.threads)
        return found.distances, found.ids

    contenders: dict[str, Contender] = {"dmth_fast": ours}
    absent = {}
    try:
        import faiss
    except ImportError:
        absent["faiss"] = "not installed (pip install faiss-cpu)"
    else:
        if setting.bits % 8:
            absent["faiss"] = f"takes multiples of 8 bits, not {setting.bits}"
        else:
            faiss.omp_set_num_threads(setting.threads)
            flat = faiss.IndexBinaryFlat(setting.bits)
            flat.add(codes)
            contenders["faiss"] = lambda: flat.search(queries, k)
    contenders["numpy"] = lambda: _numpy_search(codes, queries, k)
    return contenders, absent


def _numpy_search(codes: NDArray[np.uint8], queries: NDArray[np.uint8], k: int) -> Answer:
    """What a careful user writes with NumPy alone: words, a population count, a partial sort. One thread."""
    word = np.dtype(np.uint64) if codes.shape[1] % 8 == 0 else np.dtype(np.uint8)
    words, query_words = codes.view(word), queries.view(word)
    distances = np.empty((len(queries), k), dtype=np.int32)
    ids = np.empty((len(queries), k), dtype=np.int64)
    for row, query in enumerate(query_words):
        distance = _population(words ^ query)
        near = np.argpartition(distance, k - 1)[:k] if k < len(codes) else np.arange(k)
        near = near[np.lexsort((near, distance[near]))]
        distances[row], ids[row] = distance[near], near
    return distances, ids


def _population(words: NDArray[Any]) -> NDArray[np.int32]:
    if hasattr(np, "bitwise_count"):
        counts = np.bitwise_count(words)
    else:  # NumPy before 2.0
        table = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)
        counts = table[words.view(np.uint8)]
    population: NDArray[np.int32] = counts.sum(axis=1, dtype=np.int32)
    return population


def _assert_equal(
    name: str, ours: Answer, theirs: Answer, codes: NDArray[np.uint8], queries: NDArray[np.uint8]
) -> None:
    """Distances must be equal; ids may differ only where distances tie, which is checked by recounting."""
    if not np.array_equal(ours[0], theirs[0]):
        raise AssertionError(f"{name} and dmth_fast give different distances; nothing was timed")
    for row, query in enumerate(queries):
        for found in (ours[1][row], theirs[1][row]):
            if not np.array_equal(_population(codes[found] ^ query), ours[0][row]):
                raise AssertionError(f"{name} and dmth_fast give ids that do not have their distances")
