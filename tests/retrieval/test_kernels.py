"""Every native verb, on every instruction set and number of threads, against the slow reference."""

import functools
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nativecodes import Array, assert_same, clustered_codes, packed, random_codes

from dmth_fast.retrieval import native, reference

THREADS = (1, 2, 3)
WIDTHS = (
    1,
    3,
    7,
    8,
    12,
    16,
    24,
    31,
    32,
    33,
    48,
    63,
    64,
    65,
    96,
    127,
    128,
    192,
    255,
    256,
    257,
    512,
    513,
    1000,
    4096,
)
ROWS = (1, 2, 31, 32, 33, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 1537)

thorough = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@functools.cache
def variants() -> list[tuple[str, int]]:
    return list(itertools.product(native.isas(), THREADS))


def check(verb: str, *arguments: Any) -> None:
    """Compares a verb with the reference on every instruction set and number of threads."""
    expected = getattr(reference, verb)(*arguments)
    for isa, threads in variants():
        got = getattr(native, verb)(*arguments, threads=threads, isa=isa)
        assert_same(got, expected, f"{verb} on {isa} with {threads} threads")


@st.composite
def problems(draw: st.DrawFn) -> tuple[Array, Array, int]:
    """Database, queries and their width: random, clustered with heavy ties, or all equal."""
    bits = draw(st.one_of(st.sampled_from(WIDTHS), st.integers(1, 300)))
    rows = draw(st.one_of(st.sampled_from(ROWS), st.integers(1, 1300)))
    if bits > 600:
        rows = min(rows, 600)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["random", "clustered", "equal"]))
    queries = draw(st.sampled_from([1, 2, 3, 9, 17]))
    total = rows + queries
    if kind == "random":
        codes = random_codes(rng, total, bits)
    elif kind == "clustered":
        codes = clustered_codes(rng, total, bits, 3, 0.05)
    else:
        codes = np.repeat(random_codes(rng, 1, bits), total, axis=0)
    return codes[:rows].copy(), codes[rows:].copy(), bits


KEPT = (0.0, 0.002, 0.1, 0.9, 1.0)


def kept_reference(verb: str, codes: Array, queries: Array, argument: int, mask: Array) -> Any:
    """The verb over the rows of a mask alone."""
    rows = np.flatnonzero(mask)
    *parts, places = getattr(reference, verb)(np.ascontiguousarray(codes[rows]), queries, argument)
    return (*parts, rows[places])


def check_kept(codes: Array, queries: Array, mask: Array, ks: tuple[int, ...], radius: int) -> None:
    """Searches of rows that take part, one-shot and in an index that has grown since."""
    keep, total = native.kept_rows(mask), len(codes)
    store = native.Store(codes.shape[1])
    store.add(codes)
    store.add(queries)  # rows that the mask is not for
    for isa, threads in variants():
        options = {"threads": threads, "isa": isa}
        note = f"{isa} with {threads} threads, {int(mask.sum())} of {total} rows"
        for k in ks:
            expected = kept_reference("search", codes, queries, k, mask)
            assert_same(native.search(codes, queries, k, keep=keep, **options), expected, note)
            assert_same(store.search_kept(queries, k, keep, total, **options), expected, note)
        expected = kept_reference("range_search", codes, queries, radius, mask)
        assert_same(native.range_search(codes, queries, radius, keep=keep, **options), expected, note)
        assert_same(store.range_search_kept(queries, radius, keep, total, **options), expected, note)


@thorough
@given(problems(), st.sampled_from(KEPT), st.integers(0, 2**32))
def test_rows_that_take_part(problem: tuple[Array, Array, int], share: float, seed: int) -> None:
    codes, queries, bits = problem
    mask = np.random.default_rng(seed).random(len(codes)) < share
    check_kept(codes, queries, mask, (1, 7, len(codes) + 1), bits // 3)


@pytest.mark.parametrize("queries", [1, 40])
@pytest.mark.parametrize("place", ["anywhere", "every 8th", "one stretch", "the last"])
def test_many_rows_of_which_some_take_part(place: str, queries: int) -> None:
    """Enough rows for sampled bounds; those that take part lie where a sample finds them, or does not."""
    rng = np.random.default_rng(7)
    codes, asked = random_codes(rng, 30_000, 64), random_codes(rng, queries, 64)
    mask = np.zeros(len(codes), np.bool_)
    if place == "anywhere":
        mask[:] = rng.random(len(codes)) < 0.4
    elif place == "every 8th":
        mask[3::8] = True
    elif place == "one stretch":
        mask[9_000:20_000] = True
    else:
        mask[-3:] = True
    check_kept(codes, asked, mask, (10, 1500), 22)


def test_a_mask_is_for_its_rows() -> None:
    codes, queries = np.zeros((600, 8), np.uint8), np.zeros((2, 8), np.uint8)
    keep = native.kept_rows(np.ones(600, np.bool_))
    with pytest.raises(ValueError, match="keep must have 16 words for 600 rows"):
        native.search(codes, queries, 3, keep=keep[:8])
    with pytest.raises(ValueError, match="keep must be zero behind row 598"):
        native.search(codes[:599], queries, 3, keep=keep)
    with pytest.raises(TypeError):
        native.search(codes, queries, 3, keep=keep.view(np.int64))
    store = native.Store(8)
    store.add(codes)
    with pytest.raises(ValueError, match="rows must be from 0 to 600, got 601"):
        store.search_kept(queries, 3, keep, 601)
    with pytest.raises(ValueError, match="k must be at least 1"):
        store.search_kept(queries, 0, keep, 600)


@thorough
@given(problems(), st.data())
def test_search(problem: tuple[Array, Array, int], data: st.DataObject) -> None:
    codes, queries, _ = problem
    n = len(codes)
    k = data.draw(st.one_of(st.sampled_from([1, 10, n, n + 1]), st.integers(1, n)))
    check("search", codes, queries, k)


@thorough
@given(problems(), st.data())
def test_range_search(problem: tuple[Array, Array, int], data: st.DataObject) -> None:
    codes, queries, bits = problem
    radius = data.draw(st.one_of(st.sampled_from([0, bits // 3, bits // 2, bits]), st.integers(0, bits)))
    check("range_search", codes, queries, radius)
    offsets = reference.range_search(codes, queries, radius)[0]
    for isa, threads in variants():
        assert_same(
            native.range_count(codes, queries, radius, threads=threads, isa=isa), np.diff(offsets), isa
        )


@thorough
@given(problems())
def test_hamming_distances(problem: tuple[Array, Array, int]) -> None:
    codes, queries, _ = problem
    check("hamming_distances", codes, queries)


@settings(thorough, max_examples=15)
@given(problems(), st.integers(1, 6), st.booleans(), st.integers(0, 2**32))
def test_evaluation(problem: tuple[Array, Array, int], classes: int, multi_hot: bool, seed: int) -> None:
    codes, queries, bits = problem
    rng = np.random.default_rng(seed)
    if multi_hot:
        words = int(rng.integers(1, 3))
        database_labels = rng.integers(0, 2**64, (len(codes), words), dtype=np.uint64)
        database_labels &= rng.integers(0, 2**64, (len(codes), words), dtype=np.uint64)
        query_labels = np.uint64(1) << rng.integers(0, 64, (len(queries), words), dtype=np.uint64)
    else:
        database_labels = rng.integers(-1, classes, len(codes))
        query_labels = rng.integers(-1, classes + 1, len(queries))
    check("histograms", codes, queries, database_labels, query_labels, bits)
    check("relevant_ranks", codes, queries, database_labels, query_labels)


@pytest.mark.parametrize("bits", WIDTHS)
def test_every_width(bits: int) -> None:
    rng = np.random.default_rng(bits)
    codes, queries = random_codes(rng, 1100, bits), random_codes(rng, 40, bits)
    expected = reference.hamming_distances(codes, queries)
    order = np.argsort(expected, axis=1, kind="stable")
    for isa in native.isas():
        for k in (1, 25, 700):
            distances, ids = native.search(codes, queries, k, threads=2, isa=isa)
            np.testing.assert_array_equal(ids, order[:, :k], err_msg=isa)
            np.testing.assert_array_equal(distances, np.take_along_axis(expected, order[:, :k], axis=1))


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("bits", [8, 64, 100])
def test_ends_of_blocks(rows: int, bits: int) -> None:
    rng = np.random.default_rng(rows)
    codes, queries = random_codes(rng, rows, bits), random_codes(rng, 12, bits)
    check("search", codes, queries, min(rows, 7))
    check("range_search", codes, queries, bits * 2 // 5)


@pytest.mark.parametrize("queries", [1, 7, 8, 50, 130, 300])
@pytest.mark.parametrize(
    ("rows", "bits", "k"), [(20_000, 64, 10), (20_000, 64, 3000), (9_000, 48, 100), (6_000, 200, 1)]
)
def test_many_queries(queries: int, rows: int, bits: int, k: int) -> None:
    """Batches of every size take their own path: rows one by one, planes, several groups of queries."""
    rng = np.random.default_rng(queries)
    codes = clustered_codes(rng, rows, bits, 20, 0.1)
    asked = np.concatenate([random_codes(rng, (queries + 1) // 2, bits), codes[: queries // 2]])
    expected = reference.hamming_distances(codes, asked)
    ids = np.argsort(expected, axis=1, kind="stable")[:, :k]
    for isa in native.isas():
        got = native.search(codes, asked, k, threads=2, isa=isa)
        assert_same(got, (np.take_along_axis(expected, ids, axis=1), ids), isa)


@pytest.mark.parametrize("rows", [9000, 40_000])
@pytest.mark.parametrize("spread", [0.05, 0.5])
def test_many_of_few_rows(rows: int, spread: float, isa: str) -> None:
    """The bound from a sample of rows, for a k that is a large part of them."""
    rng = np.random.default_rng(rows)
    codes, queries = clustered_codes(rng, rows, 64, 10, spread), clustered_codes(rng, 9, 64, 10, spread)
    for count in (1, 9):
        for k in (1000, rows // 8, rows // 2, rows // 2 + 1):
            expected = reference.search(codes, queries[:count], k)
            assert_same(native.search(codes, queries[:count], k, threads=2, isa=isa), expected, isa)


def test_codes_in_an_unlucky_order(isa: str) -> None:
    """The nearest rows come last, or the sample holds none of them: every threshold must recover."""
    rng = np.random.default_rng(5)
    codes = random_codes(rng, 30_000, 64)
    queries = random_codes(rng, 20, 64)
    distances = reference.hamming_distances(codes, queries)
    for order in (np.argsort(-distances[0], kind="stable"), np.argsort(distances[0], kind="stable")):
        expected = distances[:, order]
        for k in (1, 50, 5000):
            ids = np.argsort(expected, axis=1, kind="stable")[:, :k]
            got = native.search(codes[order], queries, k, threads=2, isa=isa)
            assert_same(got, (np.take_along_axis(expected, ids, axis=1), ids), isa)


def test_two_distances_only(isa: str) -> None:
    """Half of the rows equal the query and half its complement: no threshold separates fewer rows."""
    codes = np.zeros((5000, 8), np.uint8)
    codes[::2] = 255
    for count in (1, 30):
        queries = np.zeros((count, 8), np.uint8)
        for k in (1, 2500, 2501, 5000):
            distances, ids = native.search(codes, queries, k, isa=isa)
            expected = np.concatenate([np.arange(1, 5000, 2), np.arange(0, 5000, 2)])[:k]
            np.testing.assert_array_equal(ids, np.tile(expected, (count, 1)))
            np.testing.assert_array_equal(distances[:, -1], 0 if k <= 2500 else 64)


def test_metamorphic(isa: str) -> None:
    """Distances do not change under a common XOR mask or a common order of bits."""
    rng = np.random.default_rng(3)
    bits = 72
    codes, queries = clustered_codes(rng, 3000, bits, 10, 0.1), clustered_codes(rng, 30, bits, 10, 0.4)
    expected = native.search(codes, queries, 40, isa=isa)
    mask = rng.integers(0, 256, bits // 8, dtype=np.uint8)
    assert_same(native.search(codes ^ mask, queries ^ mask, 40, isa=isa), expected, "mask")
    order = rng.permutation(bits)

    def permuted(array: Array) -> Array:
        return packed(np.unpackbits(array, axis=1, bitorder="little")[:, order])

    assert_same(native.search(permuted(codes), permuted(queries), 40, isa=isa), expected, "bits")
    rows = rng.permutation(len(codes))
    distances, _ = native.search(codes[rows], queries, 40, isa=isa)
    np.testing.assert_array_equal(distances, expected[0])


def test_prefix_of_a_larger_k(isa: str) -> None:
    rng = np.random.default_rng(8)
    codes, queries = clustered_codes(rng, 4000, 32, 5, 0.1), clustered_codes(rng, 25, 32, 5, 0.1)
    long = native.search(codes, queries, 1000, isa=isa)
    for k in (1, 10, 100):
        assert_same(native.search(codes, queries, k, isa=isa), (long[0][:, :k], long[1][:, :k]), isa)


@pytest.mark.parametrize("bits", [8, 24, 64, 128, 256, 520])
def test_faiss_agrees_on_distances(bits: int, isa: str) -> None:
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(bits)
    codes, queries = random_codes(rng, 5000, bits), random_codes(rng, 20, bits)
    index = faiss.IndexBinaryFlat(bits)
    index.add(codes)
    expected, _ = index.search(queries, 50)
    np.testing.assert_array_equal(native.search(codes, queries, 50, isa=isa)[0], expected)


@pytest.mark.parametrize(("rows", "queries"), [(0, 0), (0, 3), (5, 0)])
def test_empty(rows: int, queries: int) -> None:
    rng = np.random.default_rng(0)
    codes, asked = random_codes(rng, rows, 24), random_codes(rng, queries, 24)
    for isa, threads in variants():
        options = {"isa": isa, "threads": threads}
        distances, ids = native.search(codes, asked, 4, **options)
        assert distances.shape == ids.shape == (queries, min(4, rows))
        assert native.hamming_distances(codes, asked, **options).shape == (queries, rows)
        offsets, distances, ids = native.range_search(codes, asked, 24, **options)
        assert offsets.tolist() == [0] * (queries + 1)
        assert len(distances) == len(ids) == 0
        assert native.range_count(codes, asked, 24, **options).tolist() == [0] * queries
        labels = np.zeros(rows, np.int64), np.zeros(queries, np.int64)
        every, relevant = native.histograms(codes, asked, *labels, 24, **options)
        assert every.shape == relevant.shape == (queries, 25)
        assert not every.any()
        offsets, ranks = native.relevant_ranks(codes, asked, *labels, **options)
        assert offsets.tolist() == [0] * (queries + 1)
        assert len(ranks) == 0
        assert native.pack(np.zeros((rows, 20)), 0.0, **options).shape == (rows, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.bool_])
@pytest.mark.parametrize("bits", [1, 5, 8, 13, 64, 100, 129])
def test_pack(dtype: Any, bits: int) -> None:
    rng = np.random.default_rng(bits)
    values = rng.normal(size=(37, bits)).astype(dtype)
    values[:, 0] = 0
    values[3, bits // 2] = -0.0 if dtype is not np.bool_ else 0
    for threshold in (0.0, 0.1, -1.0, float("inf"), float("-inf")):
        check("pack", values, threshold)


def test_pack_reads_every_half(isa: str) -> None:
    values = np.arange(2**16, dtype=np.uint16).view(np.float16)
    values = values[~np.isnan(values)].reshape(-1, 2)
    for threshold in (0.0, 6e-8, 1.5e-5, -2.0, 65000.0):
        assert_same(native.pack(values, threshold, isa=isa), reference.pack(values, threshold), isa)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_pack_names_the_first_nan(dtype: Any) -> None:
    values = np.zeros((5000, 20), dtype)
    values[4100, 3] = values[3977, 13] = values[3977, 15] = np.nan
    for isa, threads in variants():
        with pytest.raises(ValueError, match=r"NaN in row 3977, column 13"):
            native.pack(values, 0.0, isa=isa, threads=threads)


def test_unknown_choices() -> None:
    codes = np.zeros((3, 2), np.uint8)
    with pytest.raises(ValueError, match=r"isa must be one of portable.*got 'sse9'"):
        native.search(codes, codes, 1, isa="sse9")
    for threads in (0, -1):
        with pytest.raises(ValueError, match="threads must be at least 1"):
            native.search(codes, codes, 1, threads=threads)
    with pytest.raises(TypeError, match="threads must be an integer"):
        native.search(codes, codes, 1, threads=1.5)  # type: ignore[arg-type]


def test_forced_isa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMTH_FAST_ISA", "portable")
    assert native.isa() == "portable"
    monkeypatch.setenv("DMTH_FAST_ISA", "mmx")
    with pytest.raises(ValueError, match=r"DMTH_FAST_ISA must be one of portable.*got 'mmx'"):
        native.isa()


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros((3, 2), np.float32),
        np.zeros((3, 2), bool),
        np.zeros((3, 2), np.int8),
        np.zeros((3, 4), np.uint8)[:, ::2],
    ],
)
def test_the_binding_converts_nothing(codes: Array) -> None:
    with pytest.raises(TypeError):
        native.search(codes, np.zeros((1, 2), np.uint8), 1)


def test_the_binding_checks_shapes() -> None:
    codes, labels = np.zeros((3, 2), np.uint8), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="codes have 2 bytes a row, queries 3"):
        native.search(codes, np.zeros((1, 3), np.uint8), 1)
    with pytest.raises(ValueError, match="two dimensions"):
        native.search(codes[0], codes, 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        native.search(codes, codes, 0)
    with pytest.raises(ValueError, match="radius must be at least 0"):
        native.range_search(codes, codes, -1)
    with pytest.raises(ValueError, match="database_labels must have one entry"):
        native.histograms(codes, codes, labels[:2], labels, 16)
    with pytest.raises(TypeError, match="query_labels must be"):
        native.histograms(codes, codes, labels, labels.astype(np.float64), 16)
    with pytest.raises(ValueError, match="same kind"):
        native.histograms(codes, codes, labels, np.zeros((3, 1), np.uint64), 16)
    with pytest.raises(ValueError, match="bits must need 2 bytes"):
        native.histograms(codes, codes, labels, labels, 17)
