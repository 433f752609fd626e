"""Evaluation beside the loops that the field uses, on the same work; answers are compared before time is.

CIFAR-10's test set against its training set in size: 10,000 queries, 50,000 codes of 64 bits, 10 classes.
BLAS is held to one thread; ours runs on one thread and on two. DMTH_FAST_ISA chooses our kernels.
"""

import time
from pathlib import Path

import numpy as np
import pytest

import dmth_fast as df
from dmth_fast.retrieval import native
from dmth_fast.retrieval.evaluator import Evaluator

threadpoolctl = pytest.importorskip("threadpoolctl")

QUERIES, ITEMS, BITS, CLASSES = 10_000, 50_000, 64, 10
LOOPED = 100  # queries given to a rival that takes tens of milliseconds for each


@pytest.fixture(scope="module")
def codes():
    """Codes around class centres, a fifth of the bits flipped: mAP near 0.9, as learned codes have."""
    rng = np.random.default_rng(0)
    centres = rng.random((CLASSES, BITS)) < 0.5

    def draw(count):
        labels = rng.integers(0, CLASSES, count)
        flipped = rng.random((count, BITS)) < 0.2
        return np.packbits(centres[labels] ^ flipped, axis=1, bitorder="little"), labels

    return *draw(QUERIES), *draw(ITEMS)


def numpy_loop(query_signs, query_one_hot, signs, one_hot):
    """AP a query as the field's scripts find it: a product, a sort and a cumulative sum."""
    values = []
    for query, label in zip(query_signs, query_one_hot, strict=True):
        relevant = one_hot @ label > 0
        distances = 0.5 * (BITS - signs @ query)
        ranks = np.flatnonzero(relevant[np.argsort(distances, kind="stable")]) + 1.0
        values.append(np.mean(np.arange(1, len(ranks) + 1) / ranks) if len(ranks) else 0.0)
    return np.array(values)


def signs_of(packed):
    return 2.0 * df.unpack(packed, BITS).astype(np.float64) - 1.0


@pytest.fixture(scope="module")
def rates(request):
    """Queries a second by contestant, printed at the end beside the loop's."""
    found = {}
    yield found
    loop = found.get("NumPy loop")
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        for name, rate in found.items():
            ratio = f"{rate / loop:8.1f}x the NumPy loop" if loop else ""
            print(f"\nevaluation: {name:32} {rate:10,.0f} queries/s {ratio}", end="")


@pytest.fixture
def record(benchmark, rates):
    """Note what was measured, and its rate where it was timed: of the best round, the least disturbed one."""

    def note(name, queries, threads):
        benchmark.extra_info.update(
            contestant=name, queries=queries, items=ITEMS, bits=BITS, threads=threads, isa=native.isa()
        )
        if benchmark.stats is not None:
            rates[name] = queries / benchmark.stats.stats.min
            benchmark.extra_info["queries_per_second"] = rates[name]

    return note


@pytest.mark.benchmark(group="evaluation")
def test_numpy_loop(benchmark, codes, record):
    """Ties in the order of its sort, made stable here so that the answer is one."""
    queries, query_labels, items, labels = codes
    classes = np.eye(CLASSES)
    arguments = (signs_of(queries[:LOOPED]), classes[query_labels[:LOOPED]], signs_of(items), classes[labels])
    ours = df.evaluate(queries[:LOOPED], query_labels[:LOOPED], items, labels, bits=BITS, ties="stable")
    with threadpoolctl.threadpool_limits(1):
        np.testing.assert_allclose(numpy_loop(*arguments), ours.average_precision, rtol=1e-12)
        benchmark.pedantic(numpy_loop, arguments, rounds=2)
    record("NumPy loop", LOOPED, 1)


@pytest.mark.benchmark(group="evaluation")
def test_sklearn_loop(benchmark, codes, record):
    """A group of ties is one point of scikit-learn's curve: a rule of its own, found in our histograms."""
    score = pytest.importorskip("sklearn.metrics").average_precision_score
    queries, query_labels, items, labels = (part[:LOOPED] if i < 2 else part for i, part in enumerate(codes))

    def loop():
        distances = df.hamming_distances(items, queries, threads=1)
        return [score(labels == label, -row) for label, row in zip(query_labels, distances, strict=True)]

    evaluator = Evaluator(queries, query_labels, bits=BITS)
    evaluator.update(items, labels)
    every, relevant = (evaluator.state_dict()[name] for name in ("every", "relevant"))
    inside, found = np.cumsum(every, axis=1), np.cumsum(relevant, axis=1)
    expected = (relevant * found / np.maximum(inside, 1)).sum(axis=1) / relevant.sum(axis=1)
    np.testing.assert_allclose(loop(), expected, rtol=1e-12)
    benchmark.pedantic(loop, rounds=2)
    record("scikit-learn", LOOPED, 1)


@pytest.mark.benchmark(group="evaluation")
def test_torchmetrics(benchmark, codes, record):
    """Scores must be above 0, or it takes an item for irrelevant; its order of ties is that of topk."""
    retrieval = pytest.importorskip("torchmetrics.retrieval")
    import torch

    queries, query_labels, items, labels = (part[:LOOPED] if i < 2 else part for i, part in enumerate(codes))

    def measure():
        scores = BITS + 1.0 - torch.from_numpy(df.hamming_distances(items, queries, threads=1)).float()
        relevant = torch.from_numpy(query_labels[:, None] == labels[None])
        owners = torch.arange(LOOPED)[:, None].expand(scores.shape)
        metric = retrieval.RetrievalMAP()
        metric.update(scores.ravel(), relevant.ravel(), indexes=owners.ravel())
        return float(metric.compute())

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        low, high = df.evaluate(queries, query_labels, items, labels, bits=BITS).map_interval
        assert low - 1e-6 <= measure() <= high + 1e-6
        benchmark.pedantic(measure, rounds=2)
    finally:
        torch.set_num_threads(threads)
    record("torchmetrics", LOOPED, 1)


@pytest.mark.benchmark(group="evaluation")
def test_pytorch_metric_learning(benchmark, codes, record):
    """MAP@R alone, from signs as features; its order of ties is that of its nearest-neighbour search."""
    accuracy = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    import torch

    queries, query_labels, items, labels = (part[:LOOPED] if i < 2 else part for i, part in enumerate(codes))
    signs, query_signs = (torch.from_numpy(signs_of(part)).float() for part in (items, queries))
    reference = {"reference": signs, "reference_labels": torch.from_numpy(labels)}
    calculator = accuracy.AccuracyCalculator(
        include=("mean_average_precision_at_r",), device=torch.device("cpu"), knn_func=nearest
    )

    def measure():
        found = calculator.get_accuracy(query_signs, torch.from_numpy(query_labels), **reference)
        return found["mean_average_precision_at_r"]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        bounds = [
            df.evaluate(queries, query_labels, items, labels, bits=BITS, ties=ties).map_at_r
            for ties in ("pessimistic", "optimistic")
        ]
        assert bounds[0] - 1e-6 <= measure() <= bounds[1] + 1e-6
        benchmark.pedantic(measure, rounds=2)
    finally:
        torch.set_num_threads(threads)
    record("pytorch-metric-learning", LOOPED, 1)


def nearest(query, k, reference, _includes_query):
    """Squared distances and rows of the k nearest, by a product and torch.topk."""
    import torch

    distances = 2 * (BITS - query @ reference.T)
    return torch.topk(distances, k, largest=False)


@pytest.mark.benchmark(group="evaluation")
@pytest.mark.parametrize("ties", ["expected", "stable"])
@pytest.mark.parametrize("threads", [1, 2], ids=["one-thread", "two-threads"])
def test_dmth_fast(benchmark, codes, record, threads, ties):
    """Every metric of the default report, not the mAP alone."""
    named = {"bits": BITS, "threads": threads, "ties": ties, "precision_at": (1, 10, 100, 1000)}
    rounds = 7 if ties == "expected" else 2
    benchmark.pedantic(df.evaluate, codes, named, rounds=rounds, warmup_rounds=1)
    record(f"dmth_fast, {ties}, {threads} thread(s)", QUERIES, threads)


@pytest.mark.benchmark(group="evaluation")
@pytest.mark.parametrize("threads", [1, 2], ids=["one-thread", "two-threads"])
def test_multi_hot(benchmark, codes, record, threads):
    """The same with the labels as rows of 0 and 1: relevant where at least one is shared."""
    queries, query_labels, items, labels = codes
    hot = np.eye(CLASSES, dtype=np.uint8)
    given = (queries, hot[query_labels], items, hot[labels])
    named = {"bits": BITS, "threads": threads, "precision_at": (1, 10, 100, 1000)}
    report = df.evaluate(*given, **named)
    assert report.map == df.evaluate(*codes, **named).map
    benchmark.pedantic(df.evaluate, given, named, rounds=3)
    record(f"dmth_fast, multi-hot labels, {threads} thread(s)", QUERIES, threads)


def kibibytes(name):
    """A number of Linux's /proc/self/status: VmRSS is the memory held, VmHWM the most that ever was."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0])


def forget_peak():
    """Let the peak begin anew; KiB held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return kibibytes("VmRSS")


@pytest.mark.benchmark(group="histograms")
@pytest.mark.parametrize(
    ("bits", "items", "queries"),
    [(64, 10_000_000, 10_000), (256, 2_000_000, 10_000), (512, 1_000_000, 10_000)],
)
@pytest.mark.parametrize("threads", [1, 2], ids=["one-thread", "two-threads"])
def test_histograms_beside_the_bare_scan(benchmark, request, bits, items, queries, threads):
    """Both histograms of every query, and the search for the 10 nearest, on the same codes in turn."""
    if not benchmark.enabled:
        items, queries = 5000, 50
    rng = np.random.default_rng(0)
    database, asked = (rng.integers(0, 256, (n, bits // 8), dtype=np.uint8) for n in (items, queries))
    labels, wanted = rng.integers(0, CLASSES, items), rng.integers(0, CLASSES, queries)
    taken, grown = {"search": [], "histograms": []}, []

    def both():
        start = time.perf_counter()
        native.search(database, asked, 10, threads=threads)
        taken["search"].append(time.perf_counter() - start)
        held = forget_peak()
        start = time.perf_counter()
        every, _ = native.histograms(database, asked, labels, wanted, bits, threads=threads)
        taken["histograms"].append(time.perf_counter() - start)
        grown.append((kibibytes("VmHWM") - held) / 1024)
        assert (every.sum(axis=1) == items).all()

    benchmark.pedantic(both, rounds=3)
    if not benchmark.enabled:
        return
    seconds = {name: float(np.median(values)) for name, values in taken.items()}
    ratio = float(np.median(np.divide(taken["histograms"], taken["search"])))
    benchmark.extra_info.update(
        queries=queries,
        items=items,
        bits=bits,
        threads=threads,
        isa=native.isa(),
        seconds=seconds,
        ratio=ratio,
    )
    benchmark.extra_info["mebibytes"] = max(grown)
    pair = seconds["histograms"] / queries / items * 1e9
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        print(
            f"\nhistograms: {bits} bits, {threads} thread(s): {pair:.3f} ns a pair, "
            f"{ratio:.2f}x the bare scan, {max(grown):.0f} MiB more",
            end="",
        )
