"""Multi-index hashing beside our own scan: learned-like codes and uniform ones; answers compared first.

Times are processor time of the process, so that a busy machine slows no contestant more than another; medians
of alternating runs. Every timed run has queries that nobody has asked before, and comes after an untimed run
of the same contestant with yet others: caches hold what a stream of queries leaves in them, and never the
answer. With ``--benchmark-disable`` everything runs once on small sizes.
"""

import functools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pytest

from codes import Sample, clustered_codes, random_codes
from dmth_fast.retrieval import native

ROWS, SMALL_ROWS = 10_000_000, 20_000
BITS, QUERIES, ROUNDS = 64, 100, 5
KINDS = {
    "10,000 centres, p = .03": (10_000, 0.03),
    "100 centres, p = .05": (100, 0.05),
    "10,000 centres, p = .15": (10_000, 0.15),
    "100 centres, p = .15": (100, 0.15),
    "uniform": None,
}
ISAS = native.isas()[-2:]
METHODS = ("scan", "mih", "auto")
ASKED = 2 * ROUNDS * QUERIES * len(ISAS) * len(METHODS)


@functools.lru_cache(maxsize=1)
def database(kind: str, rows: int) -> tuple[Sample, native.Store, float]:
    drawn = KINDS[kind]
    if drawn is None:
        sample = Sample(random_codes(rows, BITS, seed=1), random_codes(ASKED, BITS, seed=2))
    else:
        sample = clustered_codes(rows, BITS, drawn[0], drawn[1], seed=1, queries=ASKED)
    store = native.Store(BITS // 8)
    store.add(sample.codes)
    start = time.process_time()
    store.build(threads=1)
    return sample, store, time.process_time() - start


def medians(contestants: dict[str, Callable[[Any], Any]], queries: Any) -> dict[str, float]:
    """Seconds of processor time a query, contestants in turn."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    batches = iter(np.split(queries, len(queries) // QUERIES))
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            run(next(batches))
            batch = next(batches)
            start = time.process_time()
            run(batch)
            taken[name].append((time.process_time() - start) / QUERIES)
    return {name: median(times) for name, times in taken.items()}


@pytest.mark.benchmark(group="multi-index")
@pytest.mark.parametrize("k", [10, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_multi_index(benchmark, kind, k):
    small = benchmark.disabled
    rows = SMALL_ROWS if small else ROWS
    sample, store, build = database(kind, rows)
    asked = sample.queries[:QUERIES]
    expected = store.search(asked, k)
    contestants = {}
    for isa in ISAS:
        for method in METHODS:
            run = functools.partial(store.search, k=k, method=method, threads=1, isa=isa)
            for part, other in zip(run(asked), expected, strict=True):
                np.testing.assert_array_equal(part, other)
            contestants[f"{method} {isa}"] = run
    plan = store.explain(asked, k, method="mih")
    benchmark.extra_info.update(
        codes=kind,
        rows=rows,
        bits=BITS,
        k=k,
        queries=QUERIES,
        threads=1,
        tables=plan.tables,
        distinct=plan.distinct,
        build_seconds=build,
        memory=store.memory,
        radius=float(np.median(plan.radius)),
        keys=float(plan.keys.mean()),
        candidates=float(plan.candidates.mean()),
        hashed={isa: int(store.explain(asked, k, threads=1, isa=isa).hashed.sum()) for isa in ISAS},
    )
    if not small:
        benchmark.extra_info["seconds_per_query"] = medians(contestants, sample.queries)
    benchmark.pedantic(contestants[f"auto {ISAS[-1]}"], args=(asked,), rounds=1, iterations=1)
