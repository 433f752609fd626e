"""The native verbs of evaluation against the slow reference, on every instruction set."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nativecodes import Array, assert_same, clustered_codes

import dmth_fast as df
from dmth_fast.retrieval import metrics, native, reference
from dmth_fast.retrieval.harmonic import cumulated_discounts
from dmth_fast.retrieval.rankings import TiedRankings
from dmth_fast.retrieval.summary import interpolated_precision

VARIANTS = list(itertools.product(native.isas(), (1, 2, 3)))
WIDTHS = (1, 3, 8, 12, 31, 48, 63, 64, 65, 96, 127, 128, 192, 255, 256, 257, 512, 1000, 4096)
ROWS = (0, 1, 63, 511, 512, 513, 1024, 1537, 3000)

thorough = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(verb: str, *arguments: Any) -> None:
    expected = getattr(reference, verb)(*arguments)
    for isa, threads in VARIANTS:
        got = getattr(native, verb)(*arguments, threads=threads, isa=isa)
        assert_same(got, expected, f"{verb} on {isa} with {threads} threads")


def masks(rng: np.random.Generator, rows: int, labels: int, share: float) -> Array:
    """(rows, words) multi-hot masks of `labels` labels, each there with probability `share`."""
    words = -(-labels // 64)
    hot = np.zeros((rows, words * 64), dtype=np.uint8)
    hot[:, :labels] = rng.random((rows, labels)) < share
    return np.packbits(hot, axis=1, bitorder="little").view("<u8").astype(np.uint64)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Array, Array, int, np.random.Generator]:
    """Database, queries, width: few and many queries, seams of blocks, heavy and no ties."""
    bits = draw(st.one_of(st.sampled_from(WIDTHS), st.integers(1, 300)))
    rows = draw(st.one_of(st.sampled_from(ROWS), st.integers(1, 2000)))
    if bits > 600:
        rows = min(rows, 600)
    queries = draw(st.sampled_from([1, 2, 5, 11, 16, 33]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    flip = draw(st.sampled_from([0.0, 0.05, 0.5]))
    codes = clustered_codes(rng, rows + queries, bits, 3, flip)
    return codes[:rows].copy(), codes[rows:].copy(), bits, rng


@thorough
@given(problems(), st.sampled_from([1, 2, 7, 50]), st.sampled_from([1, 10**15]))
def test_class_ids(problem: tuple[Array, Array, int, np.random.Generator], classes: int, spread: int) -> None:
    codes, queries, bits, rng = problem
    database_labels = rng.integers(-1, classes, len(codes)) * spread
    query_labels = rng.integers(-2, classes + 1, len(queries)) * spread
    check("histograms", codes, queries, database_labels, query_labels, bits)


@thorough
@given(problems(), st.sampled_from([1, 5, 64, 65, 130]), st.sampled_from([0.0, 0.02, 0.5]), st.integers(1, 9))
def test_multi_hot(
    problem: tuple[Array, Array, int, np.random.Generator], labels: int, share: float, levels: int
) -> None:
    codes, queries, bits, rng = problem
    database_labels, query_labels = (
        masks(rng, len(codes), labels, share),
        masks(rng, len(queries), labels, 0.1),
    )
    check("histograms", codes, queries, database_labels, query_labels, bits)
    check("graded_histograms", codes, queries, database_labels, query_labels, bits, levels)


@pytest.mark.parametrize("queries", [130, 300])
@pytest.mark.parametrize(("bits", "rows"), [(64, 30_000), (48, 9_000), (256, 9_000)])
def test_several_chunks_and_groups(bits: int, rows: int, queries: int) -> None:
    """More blocks than a chunk holds, more queries than a group, classes that end inside blocks."""
    rng = np.random.default_rng(queries)
    codes, asked = clustered_codes(rng, rows, bits, 5, 0.1), clustered_codes(rng, queries, bits, 5, 0.3)
    labels, wanted = rng.integers(0, 3, rows), rng.integers(0, 4, queries)
    hot, hot_wanted = masks(rng, rows, 20, 0.1), masks(rng, queries, 20, 0.1)
    distances = reference.hamming_distances(codes, asked)
    place = distances + np.arange(queries)[:, None] * (bits + 1)
    size = queries * (bits + 1)

    def counted(chosen: Array) -> Array:
        return np.bincount(place[chosen], minlength=size).reshape(queries, -1)

    every = counted(np.ones_like(place, dtype=bool))
    for isa, threads in VARIANTS:
        options = {"isa": isa, "threads": threads}
        got = native.histograms(codes, asked, labels, wanted, bits, **options)
        assert_same(got, (every, counted(labels == wanted[:, None])), isa)
        got = native.histograms(codes, asked, hot, hot_wanted, bits, **options)
        assert_same(got, (every, counted(reference.relevance(hot, hot_wanted))), isa)


@thorough
@given(problems(), st.booleans(), st.sampled_from([1, 3, 70]))
def test_ranks(problem: tuple[Array, Array, int, np.random.Generator], multi_hot: bool, labels: int) -> None:
    codes, queries, _, rng = problem
    if multi_hot:
        of_rows, of_queries = masks(rng, len(codes), labels, 0.1), masks(rng, len(queries), labels, 0.3)
    else:
        of_rows, of_queries = rng.integers(-1, labels, len(codes)), rng.integers(-1, labels, len(queries))
    check("relevant_ranks", codes, queries, of_rows, of_queries)
    check("self_ranks", codes, queries, rng.integers(-1, len(codes), len(queries)))


def test_ranks_of_several_groups() -> None:
    """More queries than histograms are kept at one time."""
    rng = np.random.default_rng(3)
    codes, queries = clustered_codes(rng, 300, 20, 5, 0.2), clustered_codes(rng, 1700, 20, 5, 0.2)
    check("relevant_ranks", codes, queries, rng.integers(0, 3, 300), rng.integers(0, 4, 1700))


@given(st.lists(st.sets(st.integers(1, 300), max_size=40), min_size=1, max_size=5), st.integers(0, 400))
def test_rank_sums(found: list[set[int]], cutoff: int) -> None:
    offsets = np.cumsum([0, *map(len, found)])
    ranks = np.array([rank for row in found for rank in sorted(row)], dtype=np.int64)
    hits, precisions = native.rank_sums(offsets, ranks, np.full(len(found), cutoff), threads=2)
    for i, row in enumerate(found):
        within = sorted(rank for rank in row if rank <= cutoff)
        assert hits[i] == len(within)
        assert precisions[i] == pytest.approx(sum(j / rank for j, rank in enumerate(within, 1)), rel=1e-13)


def histograms_of(rng: np.random.Generator, queries: int, bins: int, most: int) -> tuple[Array, Array]:
    """Histograms with empty balls, empty groups, and queries without anything relevant."""
    every = rng.integers(0, most, (queries, bins)) * (rng.random((queries, bins)) < 0.7)
    every[: queries // 3, : bins // 2] = 0
    relevant = rng.binomial(every, 0.3)
    relevant[::5] = 0
    return every, relevant


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(("queries", "bins", "most"), [(1, 1, 9), (300, 9, 4), (9000, 5, 30), (130, 65, 900)])
def test_radius_curves(queries: int, bins: int, most: int, skip: bool) -> None:
    """Against the metrics one by one; the same to the last digit for any number of threads."""
    rng = np.random.default_rng(bins)
    every, relevant = histograms_of(rng, queries, bins, most)
    counted = rng.random(queries) < 0.8
    weights, levels = metrics.lookup_weights(bins - 1), np.arange(11) / 10
    tied = TiedRankings(every=every, relevant=relevant)
    precision, recall = metrics.precision_within(tied), metrics.recall_within(tied)
    policy = "skip" if skip else "zero"
    expected = native.RadiusCurves(
        metrics.radius_aware_average_precision(precision, policy),
        metrics.radius_aware_average_precision(precision, policy, by_cost=True),
        np.nansum(precision[counted], axis=0),
        recall[counted].sum(axis=0),
        interpolated_precision(precision[counted], recall[counted]).sum(axis=0),
        np.isnan(precision[counted]).sum(axis=0),
        relevant[counted].sum(axis=0),
        every[counted].sum(axis=0),
    )
    first = native.radius_curves(every, relevant, counted, weights, levels, skip_empty=skip, threads=1)
    for name, found, wanted in zip(first._fields, first, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15, err_msg=name)
    for threads in (2, 3):
        again = native.radius_curves(
            every, relevant, counted, weights, levels, skip_empty=skip, threads=threads
        )
        for name, found, wanted in zip(first._fields, again, first, strict=True):
            np.testing.assert_array_equal(found, wanted, err_msg=name)


@pytest.mark.parametrize("ties", ["expected", "pessimistic", "optimistic"])
def test_tied_verbs_do_not_depend_on_threads(ties: str) -> None:
    every, relevant = histograms_of(np.random.default_rng(1), 500, 17, 40)
    cutoffs = np.arange(500)

    def found(threads: int) -> tuple[Array, ...]:
        options: dict[str, Any] = {"ties": ties, "threads": threads}
        return (
            *native.tied_sums(every, relevant, cutoffs, **options),
            native.tied_discounts(every, relevant, cutoffs, cumulated_discounts(500), **options),
            *native.tied_firsts(every, relevant, **options),
        )

    for one, three in zip(found(1), found(3), strict=True):
        np.testing.assert_array_equal(one, three)


def test_tied_arguments_are_checked() -> None:
    every, cutoffs, discounts = np.ones((3, 2), np.int64), np.full(3, 2), np.zeros(3)
    for others in (np.ones((3, 3), np.int64), np.ones((2, 2), np.int64), np.ones(3, np.int64)):
        with pytest.raises(ValueError, match="every and relevant must have the same shape"):
            native.tied_firsts(every, others)
    with pytest.raises(ValueError, match="ties must be expected, pessimistic or optimistic, got 'stable'"):
        native.tied_firsts(every, every, ties="stable")
    for verb in (native.tied_sums, lambda *given: native.tied_discounts(*given, discounts)):
        with pytest.raises(ValueError, match=r"cutoffs must have shape \(3,\)"):
            verb(every, every, cutoffs[:2])
        with pytest.raises(TypeError):
            verb(every, every.astype(np.int32), cutoffs)
    with pytest.raises(ValueError, match="longer than every cut-off"):
        native.tied_discounts(every, every, cutoffs, discounts[:2])
    counted, levels = np.ones(3, bool), np.zeros(1)
    with pytest.raises(ValueError, match=r"counted must have shape \(3,\)"):
        native.radius_curves(every, every, counted[:2], np.ones(2), levels)
    with pytest.raises(ValueError, match="weights must have one entry a group"):
        native.radius_curves(every, every, counted, np.ones(3), levels)


def peak_of_memory() -> int:
    """Bytes that this process held at most since its mark was last reset."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of memory")
def test_memory_is_that_of_rows_and_of_queries() -> None:
    """400 queries against 300,000 rows: a number for each pair would be 120 MB at least."""
    rng = np.random.default_rng(0)
    codes, queries = (rng.integers(0, 256, (n, 8), dtype=np.uint8) for n in (300_000, 400))
    labels, wanted = rng.integers(0, 10, 300_000), rng.integers(0, 10, 400)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_of_memory()
    df.evaluate(queries, wanted, codes, labels, bits=64, precision_at=(10,), threads=2)
    assert peak_of_memory() - before < 40e6


def test_ranks_are_checked() -> None:
    codes = np.zeros((3, 2), np.uint8)
    for rows, message in (
        ([0, 1], "rows must have one entry"),
        ([0, 1, 3], "rows must be from -1 to 2, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            native.self_ranks(codes, codes, np.array(rows))
    ranks, cutoffs = np.array([1, 2]), np.array([5])
    for offsets in ([0], [0, 3], [1, 0], [-1, 2]):
        with pytest.raises(ValueError, match="offsets must"):
            native.rank_sums(np.array(offsets), ranks, cutoffs)
    with pytest.raises(TypeError):
        native.rank_sums(np.array([0, 2]), ranks.astype(np.int32), cutoffs)


def test_grades_are_checked() -> None:
    codes, labels = np.zeros((3, 2), np.uint8), np.ones((3, 1), np.uint64)
    for levels in (0, 4098):
        with pytest.raises(ValueError, match=f"levels must be 1 to 4097, got {levels}"):
            native.graded_histograms(codes, codes, labels, labels, 16, levels)
    with pytest.raises(TypeError):
        native.graded_histograms(codes, codes, np.ones(3, np.int64), labels, 16, 2)
    with pytest.raises(ValueError, match="bits must need 2 bytes"):
        native.graded_histograms(codes, codes, labels, labels, 17, 2)
    with pytest.raises(ValueError, match="same kind"):
        native.graded_histograms(codes, codes, labels, np.ones((3, 2), np.uint64), 16, 2)
