"""Multi-index hashing gives the answers of the reference and of the scan, ids included."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nativecodes import Array, assert_same, clustered_codes, random_codes

import dmth_fast as df
from dmth_fast.retrieval import native, reference
from dmth_fast.retrieval.plan import METHODS


@st.composite
def databases(draw: st.DrawFn) -> tuple[Array, Array, int]:
    """Codes, queries (some of them codes) and bits: uniform, clustered, repeated or all equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits, rows = draw(st.integers(1, 300)), draw(st.sampled_from([1, 2, 9, 100, 700]))
    kind = draw(st.sampled_from(["uniform", "clustered", "repeated", "equal"]))
    codes = {
        "uniform": lambda: random_codes(rng, rows, bits),
        "clustered": lambda: clustered_codes(rng, rows, bits, 5, 0.05),
        "repeated": lambda: random_codes(rng, 7, bits)[rng.integers(0, 7, rows)],
        "equal": lambda: np.repeat(random_codes(rng, 1, bits), rows, axis=0),
    }[kind]()
    near = codes[rng.integers(0, rows, 3)] ^ np.packbits(
        rng.random((3, bits)) < 0.05, axis=1, bitorder="little"
    )
    return codes, np.concatenate([near, codes[:1], random_codes(rng, 2, bits)]), bits


def stored(codes: Array) -> native.Store:
    store = native.Store(codes.shape[1])
    store.add(codes)
    return store


@given(databases(), st.integers(1, 40), st.integers(1, 3), st.sampled_from(["auto", "mih"]))
def test_nearest_are_those_of_the_reference(database, k, threads, method):
    codes, queries, _ = database
    store = stored(codes)
    store.build()
    for count in (1, k, len(codes), len(codes) + 1):
        found = store.search(queries, count, method=method, threads=threads)
        assert_same(found, reference.search(codes, queries, count), f"k {count}")


@given(databases(), st.integers(0, 300), st.sampled_from(["auto", "mih"]))
def test_range_is_that_of_the_reference(database, radius, method):
    codes, queries, bits = database
    store = stored(codes)
    store.build()
    for limit in (0, 1, min(radius, bits), bits):
        found = store.range_search(queries, limit, method=method)
        assert_same(found, reference.range_search(codes, queries, limit), f"radius {limit}")


@pytest.mark.parametrize("bits", [16, 31, 64, 100, 500])
def test_thousands_of_codes_as_scanned(bits: int, isa: str) -> None:
    """Enough codes that balls of keys grow, and that answers lie at all distances."""
    rng = np.random.default_rng(bits)
    codes = np.concatenate(
        [
            clustered_codes(rng, 12_000, bits, 40, 0.1),
            random_codes(rng, 4000, bits),
            np.zeros_like(random_codes(rng, 999, bits)),
        ]
    )[rng.permutation(16_999)]
    queries = np.concatenate([codes[:20], random_codes(rng, 10, bits)])
    store = stored(codes)
    for k in (1, 10, 300):
        expected = store.search(queries, k, isa=isa)
        for method in METHODS:
            assert_same(store.search(queries, k, method=method, isa=isa), expected, f"{method} k {k}")
    for radius in (0, 3, bits // 4):
        expected = store.range_search(queries, radius, isa=isa)
        for method in METHODS:
            found = store.range_search(queries, radius, method=method, isa=isa)
            assert_same(found, expected, f"{method} radius {radius}")


@given(databases(), st.lists(st.integers(0, 80), min_size=1, max_size=5), st.integers(1, 30))
def test_codes_added_after_the_tables_were_built(database, sizes, k):
    codes, queries, bits = database
    index = df.Index(bits, method="mih")
    begin = 0
    for size in [1, *sizes, len(codes)]:
        index.add(codes[begin : begin + size])
        begin = min(len(codes), begin + size)
        assert_same(tuple(index.search(queries, k)), reference.search(codes[:begin], queries, k), str(begin))
        radius = min(2, bits)
        expected = reference.range_search(codes[:begin], queries, radius)
        assert_same(tuple(index.range_search(queries, radius)), expected, str(begin))


def test_tables_are_built_anew_when_an_eighth_was_added() -> None:
    codes = random_codes(np.random.default_rng(0), 2000, 64)
    index = df.Index(64, method="mih")
    rows = []
    for end in (800, 801, 900, 901, 1013, 1014):
        index.add(codes[len(index) : end])
        rows.append(index.explain(codes[:1], 1).rows)
    assert rows == [800, 800, 800, 901, 901, 1014]
    index.add(codes[1014:])
    index.build()
    assert index.explain(codes[:1], 1).rows == 2000
    index.build()  # nothing to do


def test_auto_builds_tables_once_they_have_paid() -> None:
    """Searches of near duplicates save time with tables; those of random codes never do."""
    rng = np.random.default_rng(0)
    near, far = clustered_codes(rng, 500_000, 64, 25_000, 0.03), random_codes(rng, 3000, 64)
    index = df.Index(64)
    index.add(near)
    assert index.explain(near[:1], 1).tables == 0
    for _ in range(5000):  # how many it takes is a matter of this machine
        index.search(near[:50], 10, threads=1)
        if index.explain(near[:1], 1).tables:
            break
    assert index.explain(near[:1], 1).tables > 1
    index = df.Index(64)
    index.add(far)
    for _ in range(50):
        index.search(far[:50], 100, threads=1)
    assert index.explain(far[:1], 1).tables == 0


@given(databases(), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_a_mask_on_everything_changes_nothing(database, k, seed):
    codes, queries, bits = database
    mask = random_codes(np.random.default_rng(seed), 1, bits)
    plain, masked = stored(codes), stored(codes ^ mask)
    found = plain.search(queries, k, method="mih")
    assert_same(masked.search(queries ^ mask, k, method="mih"), found, "mask")


def test_threads_search_while_one_adds() -> None:
    """Eight threads search by tables that are built beside them; each sees a whole prefix of the adds."""
    rng = np.random.default_rng(3)
    batch, batches = 90, 20
    codes, queries = clustered_codes(rng, batch * batches, 64, 6, 0.1), random_codes(rng, 3, 64)
    expected = {n: reference.search(codes[:n], queries, 7) for n in range(batch, len(codes) + 1, batch)}
    failures: list[BaseException] = []
    done = threading.Event()
    index = df.Index(64, method="mih")
    index.add(codes[:batch])

    def look(method: str) -> None:
        try:
            last = False
            while not last:
                last = done.is_set()
                least = len(index)
                found = index._rows.settled().store.search(queries, len(codes) + 1, method=method, threads=2)
                seen = found[0].shape[1]
                assert least <= seen
                assert_same(tuple(part[:, :7] for part in found), expected[seen], method)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=look, args=(METHODS[i % 3],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for first in range(batch, len(codes), batch):
        index.add(codes[first : first + batch])
    done.set()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_a_plan_agrees_with_itself() -> None:
    rng = np.random.default_rng(5)
    codes = clustered_codes(rng, 30_000, 64, 30, 0.03)
    queries = np.concatenate([codes[:20], random_codes(rng, 20, 64)])
    index = df.Index(64)
    index.add(codes)
    before = index.explain(queries, 5)
    assert before.tables == before.rows == 0
    assert not before.hashed.any()
    assert (before.scan_ns > 0).all()
    assert "40 queries scanned" in str(before)
    index.build()
    plan = index.explain(queries, 5)
    assert plan.method == "auto"
    assert plan.rows == 30_000
    assert plan.distinct == len(np.unique(codes, axis=0))
    assert (plan.hashed_ns > 0).all()
    assert (plan.scan_ns > 0).all()
    assert (plan.keys >= plan.tables).all()
    distances = index.search(queries, 5).distances
    assert (plan.radius[plan.hashed] >= distances[plan.hashed, -1]).all()
    assert (plan.candidates[plan.hashed] <= plan.tables * plan.distinct).all()
    assert f"{plan.hashed.sum()} of 40 queries" in str(plan)
    forced = df.Index(64, method="mih")
    forced.add(codes)
    plan = forced.explain(queries, 5)
    assert plan.hashed.all()
    assert not plan.scan_ns.any()
    assert (plan.radius >= distances[:, -1]).all()


def test_an_empty_index() -> None:
    for method in METHODS:
        index = df.Index(20, method=method)
        queries = np.zeros((2, 3), np.uint8)
        assert index.search(queries, 3).ids.shape == (2, 0)
        assert index.range_search(queries, 3).offsets.tolist() == [0, 0, 0]
        assert index.explain(queries, 3).tables == 0
        index.add(np.zeros((4, 3), np.uint8))
        none = queries[:0]
        assert index.search(none, 3).ids.shape == (0, 3)
        assert index.range_search(none, 3).offsets.tolist() == [0]
        assert len(index.explain(none, 3).hashed) == 0


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="method must be one of 'auto', 'scan', 'mih', got 'tree'"):
        df.Index(64, method="tree")
    with pytest.raises(ValueError, match="method must be one of auto, scan, mih, got 'tree'"):
        native.Store(8).search(np.zeros((1, 8), np.uint8), 1, method="tree")
    with pytest.raises(ValueError, match='method "scan" has no tables'):
        df.Index(64, method="scan").build()
    index = df.Index(12)
    for queries, error, match in (
        (np.zeros((1, 3), np.uint8), ValueError, r"queries must be uint8 of shape \(n, 2\) for 12 bits"),
        (np.zeros((1, 2), np.int8), TypeError, "queries must be uint8"),
        (np.full((1, 2), 255, np.uint8), ValueError, "zero padding"),
    ):
        with pytest.raises(error, match=match):
            index.explain(queries, 1)
    with pytest.raises(ValueError, match="k must be"):
        index.explain(np.zeros((1, 2), np.uint8), 0)
    with pytest.raises(ValueError, match="threads must be"):
        index.build(threads=0)
