"""Search beside FAISS and NumPy: random codes, equal threads, answers compared before time is.

FAISS runs in whichever of its two modes (heap or counting) is faster at that k. NumPy is given a few of the
queries, since it takes tens of milliseconds for each; it gains nothing from more, and rates are distances a
second. With ``--benchmark-disable`` everything runs once on small sizes.
"""

import functools
import time

import numpy as np
import pytest

from dmth_fast.retrieval import native

ROWS, SMALL_ROWS = 1 << 20, 20_000
NUMPY_QUERIES = 2
ROUNDS = 5


@functools.lru_cache(maxsize=1)
def database(bits, rows):
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 256, (rows, bits // 8), dtype=np.uint8)
    store = native.Store(bits // 8)
    store.add(codes)
    return codes, rng.integers(0, 256, (100, bits // 8), dtype=np.uint8), store


@functools.lru_cache(maxsize=1)
def faiss_index(bits, rows):
    try:
        import faiss
    except ImportError:
        return None
    index = faiss.IndexBinaryFlat(bits)
    index.add(database(bits, rows)[0])
    return faiss, index


def numpy_search(codes, queries, k):
    """The k nearest rows in the order (distance, id), a query at a time."""
    distances = np.empty((len(queries), k), np.int32)
    ids = np.empty((len(queries), k), np.int64)
    words = {0: np.uint64, 4: np.uint32, 2: np.uint16}.get(codes.shape[1] % 8, np.uint8)
    wide = codes.view(words)
    for i, query in enumerate(queries.view(words)):
        every = np.bitwise_count(wide ^ query).sum(axis=1, dtype=np.int32)
        # One key orders by distance, then by id: partition it instead of sorting all.
        key = every.astype(np.int64) * len(codes) + np.arange(len(codes))
        nearest = np.sort(np.partition(key, k - 1)[:k]) if k < len(codes) else np.sort(key)
        distances[i], ids[i] = nearest // len(codes), nearest % len(codes)
    return distances, ids


@pytest.mark.benchmark(group="search")
@pytest.mark.parametrize("threads", sorted({1, native.thread_count()}))
@pytest.mark.parametrize("queries", [1, 100])
@pytest.mark.parametrize("k", [10, 100, 5000])
@pytest.mark.parametrize("bits", [48, 64, 128, 256])
def test_search(benchmark, ratios, bits, k, queries, threads):
    small = benchmark.disabled
    rows = SMALL_ROWS if small else ROWS
    codes, asked, store = database(bits, rows)
    asked = asked[:queries]
    contestants = {
        "search": lambda: native.search(codes, asked, k, threads=threads),
        "store": lambda: store.search(asked, k, threads=threads),
    }
    work = {"search": rows * queries, "store": rows * queries}

    ours = native.search(codes, asked, k, threads=threads)
    for part, again in zip(ours, store.search(asked, k, threads=threads), strict=True):
        np.testing.assert_array_equal(part, again)
    if hasattr(np, "bitwise_count"):
        few = asked[:NUMPY_QUERIES]
        for part, expected in zip(ours, numpy_search(codes, few, k), strict=True):
            np.testing.assert_array_equal(part[: len(few)], expected)
        contestants["NumPy"] = lambda: numpy_search(codes, few, k)
        work["NumPy"] = rows * len(few)
    rival = faiss_index(bits, rows)
    if rival is not None:
        faiss, index = rival
        faiss.omp_set_num_threads(threads)
        taken = {}
        for heap in (True, False):
            index.use_heap = heap
            start = time.perf_counter()
            distances, _ = index.search(asked, k)
            taken[heap] = time.perf_counter() - start
            np.testing.assert_array_equal(ours[0], distances)
        index.use_heap = taken[True] <= taken[False]
        contestants["FAISS"] = lambda: index.search(asked, k)
        work["FAISS"] = rows * queries

    benchmark.extra_info.update(bits=bits, k=k, queries=queries, threads=threads, rows=rows, isa=native.isa())
    if not small:
        rates = ratios.measure((bits, k, queries, threads), contestants, work, ROUNDS)
        benchmark.extra_info["distances_per_second"] = rates
    benchmark.pedantic(contestants["search"], rounds=1 if small else ROUNDS, iterations=1)
    if rival is None:
        pytest.skip("faiss-cpu is not installed: nothing to compare with (pip install '.[bench]')")
