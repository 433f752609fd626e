"""The kernels and the host's plan, run on the emulated device, against the reference.

What the emulator cannot say: whether the device's compiler, memory model and instructions do the same; the
tests in test_device.py ask that where there is a device.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from emulated import METHODS, NO_NAN, EmulatedDevice, Settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dmth_fast.retrieval import reference

Array = NDArray[Any]

WIDTHS = (1, 7, 8, 12, 16, 24, 32, 48, 64, 96, 100, 128, 200, 256, 300, 512, 520, 1024)
emulation = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def random_codes(rng: np.random.Generator, count: int, bits: int, *, flips: float = 0.5) -> Array:
    """Codes around one centre: ``flips`` = 0.5 is uniform, small values give many ties."""
    centre = np.random.default_rng(bits).random(bits) < 0.5
    return np.packbits(centre ^ (rng.random((count, bits)) < flips), axis=1, bitorder="little")


@st.composite
def cases(draw: st.DrawFn, max_rows: int = 700) -> tuple[Array, Array, int, np.random.Generator]:
    """Database, queries, bits, and a generator for what else a test draws."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits = draw(st.sampled_from(WIDTHS))
    rows, count = draw(st.integers(1, max_rows)), draw(st.integers(1, 20))
    flips = draw(st.sampled_from((0.5, 0.1, 0.01)))
    return random_codes(rng, rows, bits, flips=flips), random_codes(rng, count, bits, flips=flips), bits, rng


devices = st.builds(
    Settings,
    method=st.sampled_from(METHODS),
    multiprocessors=st.sampled_from((1, 3)),
    shared_bytes=st.sampled_from((48 * 1024, 219 * 1024)),
    budget=st.sampled_from((1 << 22, 1 << 26)),
    seed=st.integers(1, 1000),
)


def allowed_for(setup: Settings, bits: int) -> Settings:
    """The setup with a method that takes codes of this width."""
    too_wide = bits > {"tensor": 512, "warpgroup": 512, "sliced": 64}.get(setup.method, 4096)
    return replace(setup, method="popcount") if too_wide else setup


def equal(found: tuple[Array, ...], expected: tuple[Array, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@emulation
@given(case=cases(max_rows=200), setup=devices)
def test_hamming_distances(emulated: EmulatedDevice, case: Any, setup: Settings) -> None:
    codes, queries, _, _ = case
    equal(
        (emulated.hamming_distances(codes, queries, setup),), (reference.hamming_distances(codes, queries),)
    )


@emulation
@given(case=cases(), setup=devices, data=st.data())
def test_search(emulated: EmulatedDevice, case: Any, setup: Settings, data: st.DataObject) -> None:
    codes, queries, bits, _ = case
    k = data.draw(st.one_of(st.integers(1, 12), st.integers(1, len(codes) + 1)))
    wanted = allowed_for(setup, bits)
    equal(emulated.search(codes, queries, k, wanted), reference.search(codes, queries, k))


@pytest.mark.parametrize("bits", [376, 704, 1408, 3000])
def test_counters_and_queries_share_what_a_block_gets_unasked(emulated: EmulatedDevice, bits: int) -> None:
    """Widths whose counters alone take less than 48 KiB, and more beside the scan's own arrays."""
    rng = np.random.default_rng(bits)
    codes, queries = random_codes(rng, 90, bits, flips=0.1), random_codes(rng, 9, bits, flips=0.1)
    equal(emulated.search(codes, queries, 90, Settings()), reference.search(codes, queries, 90))
    found = emulated.range_search(codes, queries, bits // 6, Settings())
    equal(found, reference.range_search(codes, queries, bits // 6))


def test_the_emulated_device_refuses_what_a_device_refuses(emulated: EmulatedDevice) -> None:
    emulated.launch(48 * 1024 - 5000)
    emulated.launch(227 * 1024 - 5000, asked=227 * 1024 - 5000)
    for shared, asked in (
        (48 * 1024 - 4999, -1),  # with the kernel's own
        (64 * 1024, -1),
        (50_000, 49_999),  # more than was asked for
        (227 * 1024 - 4999, 227 * 1024),
    ):
        with pytest.raises(ValueError, match="launching: invalid argument"):
            emulated.launch(shared, asked)
    with pytest.raises(ValueError, match="asking: invalid argument"):
        emulated.launch(0, 227 * 1024 + 1)
    emulated.launch(0)


STAGED = [
    (method, bits) for method in ("popcount", "tensor", "warpgroup") for bits in (12, 48, 64, 128, 200, 512)
]


@pytest.mark.parametrize(
    ("method", "bits"), [*STAGED, *(("sliced", bits) for bits in (8, 12, 32, 48, 61, 64))]
)
def test_search_in_stages(emulated: EmulatedDevice, method: str, bits: int) -> None:
    """Enough rows for three stages and their bounds, and more queries than a tile."""
    rng = np.random.default_rng(bits)
    codes, queries = random_codes(rng, 5000, bits, flips=0.2), random_codes(rng, 70, bits, flips=0.2)
    found = emulated.search(codes, queries, 5, Settings(method=method))
    equal(found, reference.search(codes, queries, 5))


def test_rows_that_come_nearer_and_nearer_overflow_and_are_counted(emulated: EmulatedDevice) -> None:
    rng = np.random.default_rng(1)
    codes, queries = random_codes(rng, 6000, 64), random_codes(rng, 1, 64)
    order = np.argsort(-reference.hamming_distances(codes, queries)[0], kind="stable")
    codes = np.ascontiguousarray(codes[order])
    queries = np.concatenate([queries, random_codes(rng, 8, 64)])
    equal(emulated.search(codes, queries, 10, Settings()), reference.search(codes, queries, 10))


@pytest.mark.parametrize("k", [1, 3, 40, 3000])
def test_equal_codes_come_in_the_order_of_rows(emulated: EmulatedDevice, k: int) -> None:
    codes = np.zeros((3000, 8), np.uint8)
    distances, ids = emulated.search(codes, codes[:9], k, Settings())
    assert (distances == 0).all()
    assert (ids == np.arange(k)).all()


@emulation
@given(case=cases(max_rows=900), setup=devices, data=st.data())
def test_filter(emulated: EmulatedDevice, case: Any, setup: Settings, data: st.DataObject) -> None:
    codes, queries, bits, rng = case
    keep = rng.random(len(codes)) < data.draw(st.sampled_from((0.02, 0.5)))
    keep[rng.integers(len(codes))] = True
    rows = np.flatnonzero(keep)
    k = data.draw(st.integers(1, len(rows)))
    wanted = allowed_for(setup, bits)
    found = emulated.search(codes, queries, k, wanted, keep=np.packbits(keep, bitorder="little"))
    distances, ids = reference.search(np.ascontiguousarray(codes[rows]), queries, k)
    equal(found, (distances, rows[ids]))


@emulation
@given(case=cases(), setup=devices, data=st.data())
def test_range_search(emulated: EmulatedDevice, case: Any, setup: Settings, data: st.DataObject) -> None:
    codes, queries, bits, _ = case
    radius = data.draw(st.integers(0, bits))
    equal(
        emulated.range_search(codes, queries, radius, setup), reference.range_search(codes, queries, radius)
    )


@emulation
@given(case=cases(), setup=devices, data=st.data())
def test_range_search_with_a_filter(
    emulated: EmulatedDevice, case: Any, setup: Settings, data: st.DataObject
) -> None:
    codes, queries, bits, rng = case
    keep = rng.random(len(codes)) < data.draw(st.sampled_from((0.0, 0.02, 0.5, 1.0)))
    radius = data.draw(st.integers(0, bits))
    mask, rows = np.packbits(keep, bitorder="little"), np.flatnonzero(keep)
    expected = reference.range_search(np.ascontiguousarray(codes[rows]), queries, radius)
    found = emulated.range_search(codes, queries, radius, setup, keep=mask)
    equal(found, (*expected[:2], rows[expected[2]]))


def test_range_search_in_several_passes(emulated: EmulatedDevice) -> None:
    rng = np.random.default_rng(3)
    codes, queries = random_codes(rng, 900, 64), random_codes(rng, 41, 64)
    small = Settings(budget=96 * 1024)
    equal(emulated.range_search(codes, queries, 27, small), reference.range_search(codes, queries, 27))
    equal(emulated.search(codes, queries, 400, small), reference.search(codes, queries, 400))


@emulation
@given(case=cases(max_rows=300), setup=devices, words=st.integers(0, 3))
def test_histograms(emulated: EmulatedDevice, case: Any, setup: Settings, words: int) -> None:
    codes, queries, bits, rng = case
    if words == 0:
        labels = [rng.integers(0, 3, len(side)) for side in (codes, queries)]
    else:
        shapes = [(len(side), words) for side in (codes, queries)]
        labels = [rng.integers(0, 2**63, shape, dtype=np.uint64) & np.uint64(1 << 40 | 5) for shape in shapes]
    wanted = allowed_for(
        replace(setup, method=setup.method if setup.method in METHODS[:3] else "tensor"), bits
    )
    if 16 * (8 * (8 * codes.shape[1] + 1) + 8) > setup.shared_bytes:
        wanted = replace(wanted, method="auto")  # tensor cores would need more shared memory
    equal(
        emulated.histograms(codes, queries, *labels, bits, wanted),
        reference.histograms(codes, queries, *labels, bits),
    )


def test_histograms_refuse_what_does_not_fit(emulated: EmulatedDevice) -> None:
    codes, labels = np.zeros((9, 64), np.uint8), np.zeros(9, np.int64)
    small = Settings(method="tensor", shared_bytes=48 * 1024)
    with pytest.raises(ValueError, match=r"a histogram needs a workspace of 65792 bytes .* 49152 bytes"):
        emulated.histograms(codes, codes, labels, labels, 512, small)
    for method in ("sliced", "warpgroup"):
        with pytest.raises(
            ValueError, match=f"histograms take method auto, popcount or tensor, got {method}"
        ):
            emulated.histograms(codes, codes, labels, labels, 512, Settings(method=method))


@pytest.mark.parametrize(("method", "bits"), [("tensor", 128), ("tensor", 256), ("warpgroup", 256)])
def test_products_add_half_of_their_bits_to_each_sum(
    emulated: EmulatedDevice, method: str, bits: int
) -> None:
    assert (emulated.products(method, bits, 3) == 3 * 32 * bits // 2).all()


def test_products_of_other_bits_are_refused(emulated: EmulatedDevice) -> None:
    with pytest.raises(ValueError, match="products are of 128 or 256 bits"):
        emulated.products("warpgroup", 128, 1)


@pytest.mark.parametrize("element", ["float16", "float32", "float64", "bool"])
@pytest.mark.parametrize("bits", [1, 8, 12, 32, 33, 64, 100])
def test_pack(emulated: EmulatedDevice, element: str, bits: int) -> None:
    rng = np.random.default_rng(bits)
    values = rng.integers(-3, 4, (23, bits)) / 2 if element != "bool" else rng.random((23, bits)) < 0.5
    typed = np.ascontiguousarray(values.astype(element))
    for threshold in (0.0, 0.5, 0.1, -1e-300, 1e-300):
        found, nan = emulated.pack(typed, element, threshold)
        assert nan == NO_NAN
        np.testing.assert_array_equal(found, reference.pack(typed, threshold))


def test_pack_reads_every_half(emulated: EmulatedDevice) -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(1024, 64)
    with np.errstate(invalid="ignore"):
        finite = np.ascontiguousarray(np.where(np.isnan(halves), np.float16(0), halves))
    for threshold in (0.0, 1e-7, 3.3e-5, -2.0, 70000.0):
        np.testing.assert_array_equal(
            emulated.pack(finite, "float16", threshold)[0], reference.pack(finite, threshold)
        )
    first = int(np.flatnonzero(np.isnan(halves).ravel())[0])
    assert emulated.pack(halves, "float16", 0.0)[1] == first


def test_pack_reads_bfloat16(emulated: EmulatedDevice) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((9, 40)).astype(np.float32)
    brain = (values.view(np.uint32) >> 16).astype(np.uint16)
    exact = (brain.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(emulated.pack(brain, "bfloat16", 0.0)[0], reference.pack(exact, 0.0))


def test_a_budget_that_is_too_small_names_the_bytes(emulated: EmulatedDevice) -> None:
    codes = np.zeros((100, 8), np.uint8)
    with pytest.raises(ValueError, match=r"search needs a workspace of \d+ bytes .* only 4096 bytes"):
        emulated.search(codes, codes, 3, Settings(budget=4096))
