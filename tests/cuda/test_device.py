"""The CUDA verbs on a device, against the CPU's answers; skipped, with the reason, where there is none."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import dmth_fast as df
from dmth_fast.retrieval import cuda, native, ops, reference
from dmth_fast.retrieval.device_index import DeviceIndex
from dmth_fast.retrieval.index import Index
from dmth_fast.retrieval.streaming import search_streamed

STATUS = native.cuda_available()
pytestmark = pytest.mark.skipif(not STATUS, reason=f"no CUDA device: {STATUS.reason}")

WIDTHS = (1, 8, 12, 24, 32, 48, 64, 96, 100, 128, 200, 256, 300, 376, 512, 520, 704, 1024, 1408, 3000, 4096)


@functools.cache  # shared by the tests, which only read them
def random_codes(seed: int, count: int, bits: int, flips: float = 0.5) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    centre = np.random.default_rng(bits).random(bits) < 0.5
    return np.packbits(centre ^ (rng.random((count, bits)) < flips), axis=1, bitorder="little")


def on_device(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array).cuda()


def equal(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.cpu().numpy(), other)


@pytest.mark.parametrize("flips", [0.5, 0.02])
@pytest.mark.parametrize("bits", WIDTHS)
def test_every_width(bits: int, flips: float) -> None:
    codes, queries = random_codes(1, 3001, bits, flips), random_codes(2, 37, bits, flips)
    database, wanted = on_device(codes), on_device(queries)
    equal([df.hamming_distances(database, wanted)], [native.hamming_distances(codes, queries)])
    for k in (1, 10, 700, 3001):
        equal(df.search(database, wanted, k), native.search(codes, queries, k))
    for radius in (0, bits // 3, bits):
        equal(df.range_search(database, wanted, radius), native.range_search(codes, queries, radius))


CASES = [
    (method, bits) for method in ("popcount", "tensor", "warpgroup") for bits in (12, 48, 64, 128, 256, 512)
]


@pytest.mark.parametrize(("method", "bits"), [*CASES, *(("sliced", bits) for bits in (12, 32, 48, 64))])
@pytest.mark.parametrize("k", [1, 10, 100, 1000])
def test_each_method_over_many_rows(method: str, bits: int, k: int) -> None:
    if method == "warpgroup" and not native.cuda().device(0)["warpgroup"]:
        pytest.skip("method warpgroup needs compute capability 9.0")
    codes, queries = random_codes(3, 300_000, bits, 0.2), random_codes(4, 150, bits, 0.2)
    found = cuda.search_rows(on_device(codes), on_device(queries), k, method=method)
    equal(found, native.search(codes, queries, k))


@pytest.mark.parametrize("offset", range(1, 8))
def test_rows_at_any_address(offset: int) -> None:
    codes, queries = random_codes(5, 2000, 64), random_codes(6, 9, 64)
    store = torch.empty(codes.nbytes + 16, dtype=torch.uint8, device="cuda")
    shifted = store[offset : offset + codes.nbytes].view(codes.shape)
    shifted.copy_(torch.from_numpy(codes))
    equal(df.search(shifted, on_device(queries), 20), native.search(codes, queries, 20))


def test_rows_in_falling_distance_overflow_the_candidates() -> None:
    codes, queries = random_codes(7, 200_000, 64), random_codes(8, 1, 64)
    order = np.argsort(-native.hamming_distances(codes, queries)[0], kind="stable")
    codes = np.ascontiguousarray(codes[order])
    equal(df.search(on_device(codes), on_device(queries), 50), native.search(codes, queries, 50))


def test_filter() -> None:
    codes, queries = random_codes(9, 100_000, 64), random_codes(10, 40, 64)
    keep = np.random.default_rng(0).random(len(codes)) < 0.1
    rows = np.flatnonzero(keep)
    mask = on_device(np.packbits(keep, bitorder="little"))
    for k in (10, 5000):
        found = cuda.search_rows(on_device(codes), on_device(queries), k, keep=mask)
        distances, ids = native.search(np.ascontiguousarray(codes[rows]), queries, k)
        equal(found, (distances, rows[ids]))


def test_little_memory_means_several_passes() -> None:
    codes, queries = random_codes(11, 20_000, 64), random_codes(12, 500, 64)
    for k in (10, 6000):
        found = cuda.search_rows(on_device(codes), on_device(queries), k, workspace_bytes=1 << 21)
        equal(found, native.search(codes, queries, k))
    with pytest.raises(MemoryError, match="needs a workspace of"):
        cuda.search_rows(on_device(codes), on_device(queries), 10, workspace_bytes=1 << 12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool])
@pytest.mark.parametrize("bits", [1, 12, 64, 100])
def test_pack(dtype: torch.dtype, bits: int) -> None:
    values = torch.randn((999, bits), generator=torch.Generator().manual_seed(bits)).to(dtype)
    for threshold in (0.0, 0.1):
        found = df.pack(values.cuda(), threshold)
        assert torch.equal(found.cpu(), df.pack(values, threshold))


def test_pack_names_the_first_nan() -> None:
    values = torch.zeros((300, 20), device="cuda")
    values[200, 3] = values[250, 1] = float("nan")
    with pytest.raises(ValueError, match="NaN at row 200, column 3"):
        df.pack(values)
    assert df.pack(values[:200]).sum() == 0


@pytest.mark.parametrize("multi_hot", [False, True])
@pytest.mark.parametrize("ties", ["expected", "stable", "pessimistic"])
def test_evaluation(multi_hot: bool, ties: str) -> None:
    rng = np.random.default_rng(13)
    codes, queries = random_codes(14, 5000, 48, 0.2), random_codes(15, 200, 48, 0.2)
    shapes = [(len(side), 70) if multi_hot else len(side) for side in (queries, codes)]
    labels = [rng.integers(0, 2 if multi_hot else 10, shape) for shape in shapes]
    arguments = (queries, labels[0], codes, labels[1])
    report = df.evaluate(*map(on_device, arguments), ties=ties, precision_at=[10, 100])
    assert report.to_json() == df.evaluate(*arguments, ties=ties, precision_at=[10, 100]).to_json()
    found = ops.average_precision(*map(on_device, arguments), 100, ties)
    expected = ops.average_precision(*map(torch.from_numpy, arguments), 100, ties)
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("words", [0, 2])
@pytest.mark.parametrize("bits", [12, 48, 64, 128, 200, 512])
@pytest.mark.parametrize("method", ["popcount", "tensor"])
def test_histograms(method: str, bits: int, words: int) -> None:
    rng = np.random.default_rng(bits)
    codes, queries = random_codes(20, 7001, bits, 0.2), random_codes(21, 133, bits, 0.2)
    shapes = [(len(side), words) if words else len(side) for side in (codes, queries)]
    labels = [rng.integers(0, 10, shape).astype(np.uint64 if words else np.int64) for shape in shapes]
    found = cuda.histograms(on_device(codes), on_device(queries), *labels, bits, method)
    for one, other in zip(found, native.histograms(codes, queries, *labels, bits), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_streamed_evaluation_counts_on_the_device() -> None:
    rng = np.random.default_rng(17)
    codes, queries = random_codes(18, 5000, 48, 0.2), random_codes(19, 200, 48, 0.2)
    labels, wanted = rng.integers(0, 10, 5000), rng.integers(0, 10, 200)
    evaluator = df.Evaluator(on_device(queries), on_device(wanted), precision_at=[10])
    for rows in (slice(0, 1700), slice(1700, 5000)):
        evaluator.update(on_device(codes[rows]), on_device(labels[rows]))
    expected = df.evaluate(queries, wanted, codes, labels, precision_at=[10])
    assert evaluator.compute().to_json() == expected.to_json()


@pytest.mark.parametrize(("method", "bits"), [("tensor", 128), ("tensor", 256), ("warpgroup", 256)])
def test_products(method: str, bits: int) -> None:
    if method == "warpgroup" and not native.cuda().device(0)["warpgroup"]:
        pytest.skip("method warpgroup needs compute capability 9.0")
    totals = torch.empty(native.cuda().product_threads(0), dtype=torch.int32, device="cuda")
    place = 0, int(torch.cuda.current_stream().cuda_stream)
    native.cuda().repeat_products(method, bits, 1000, totals.data_ptr(), *place)
    assert (totals == 1000 * 32 * bits // 2).all()


CODES = random_codes(16, 50, 16)
LABELS = np.arange(50) % 3
ARGUMENTS = {
    "pack": (np.random.default_rng(0).standard_normal((6, 12)), 0.25),
    "search": (CODES, CODES[:4], 7, 16, 1),
    "range_search": (CODES, CODES[:4], 4, 16, None),
    "hamming_distances": (CODES, CODES[:4]),
    "average_precision": (CODES[:4], LABELS[:4], CODES, LABELS, 10, "expected", "min", 16, None),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_opcheck(name: str) -> None:
    arguments = [on_device(a) if isinstance(a, np.ndarray) else a for a in ARGUMENTS[name]]
    torch.library.opcheck(getattr(torch.ops.dmth_fast, name).default, tuple(arguments))


@pytest.mark.parametrize("k", [10, 2000])
def test_a_graph_captures_a_search(k: int) -> None:
    codes, queries = random_codes(17, 50_000, 64), [random_codes(s, 30, 64) for s in (18, 19)]
    database, wanted = on_device(codes), on_device(queries[0])
    df.search(database, wanted, k)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = df.search(database, wanted, k)
    for batch in queries:
        wanted.copy_(torch.from_numpy(batch))
        graph.replay()
        equal(found, native.search(codes, batch, k))


def test_the_current_stream_is_used() -> None:
    codes, queries = random_codes(20, 100_000, 64), random_codes(21, 64, 64)
    database = torch.zeros(codes.shape, dtype=torch.uint8, device="cuda")
    wanted, source = on_device(queries), torch.from_numpy(codes).pin_memory()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        database.copy_(source, non_blocking=True)
        found = df.search(database, wanted, 25)
    stream.synchronize()
    equal(found, native.search(codes, queries, 25))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c, q: df.search(c, q.cpu(), 3), ValueError, "on one device"),
        (lambda c, q: df.search(c.float(), q, 3), TypeError, "codes must be uint8"),
        (lambda c, q: df.search(c, q[:, :1], 3), ValueError, "queries must have"),
        (lambda c, q: df.search(c, q, 3, bits=9), ValueError, "zero padding"),
        (lambda c, q: df.range_search(c, q, -1), ValueError, "radius must be"),
    ],
)
def test_after_an_error_the_next_call_works(call: Any, error: type[Exception], message: str) -> None:
    codes = on_device(CODES | 128)
    with pytest.raises(error, match=message):
        call(codes, codes[:3])
    equal(df.search(codes, codes[:3], 5), native.search(CODES | 128, CODES[:3] | 128, 5))


def test_empty_sets() -> None:
    codes = on_device(CODES)
    assert df.search(codes, codes[:0], 3).ids.shape == (0, 3)
    assert df.search(codes[:0], codes[:2], 3).ids.shape == (2, 0)
    assert df.range_search(codes[:0], codes[:2], 3).offsets.tolist() == [0, 0, 0]
    assert df.hamming_distances(codes, codes[:0]).shape == (0, 50)


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("rows", [1, 5000, 20_000])
def test_a_streamed_database_is_searched_like_a_resident_one(rows: int, pinned: bool) -> None:
    codes, queries = random_codes(24, rows, 48, 0.1), random_codes(25, 33, 48, 0.1)
    host = torch.from_numpy(codes).pin_memory() if pinned else codes
    for k in (1, 50, 6000):
        found = search_streamed(host, on_device(queries), k, chunk_bytes=6 * 3200)
        equal(found, native.search(codes, queries, k))


def test_the_index_on_a_device() -> None:
    codes, queries = random_codes(26, 30_000, 64, 0.2), random_codes(27, 20, 64, 0.2)
    index = DeviceIndex(64)
    for first, last in ((0, 7), (7, 20_000), (20_000, 30_000)):
        index.add(codes[first:last] if first else on_device(codes[first:last]))
    wanted = on_device(queries)
    equal(index.search(wanted, 30), native.search(codes, queries, 30))
    equal(index.range_search(wanted, 12), native.range_search(codes, queries, 12))
    selected = np.random.default_rng(0).random(len(codes)) < 0.001
    rows = np.flatnonzero(selected)
    distances, ids = native.search(np.ascontiguousarray(codes[rows]), queries, 100)
    equal(index.search(wanted, 100, filter=on_device(selected)), (distances, rows[ids]))


def test_ids_and_filters_of_the_index_on_a_device() -> None:
    rng = np.random.default_rng(1)
    codes, queries = random_codes(28, 20_000, 48, 0.1), random_codes(29, 20, 48, 0.1)
    host, ids = Index(48), rng.permutation(10**6)[: len(codes)]
    index = DeviceIndex(48)
    for each in (host, index):
        for rows in (slice(0, 12_000), slice(12_000, None)):
            each.add(codes[rows], ids[rows])
        each.remove(ids[::3])
    wanted = on_device(queries)
    mask = rng.random(len(host)) < 0.3
    for there, here in ((None, None), (on_device(mask), mask), (host.ids[mask], mask)):
        equal(index.search(wanted, 40, filter=there), host.search(queries, 40, filter=here))
        equal(index.range_search(wanted, 6, filter=there), host.range_search(queries, 6, filter=here))
    back = host.to("cuda").cpu()
    equal(map(torch.from_numpy, (back.ids.copy(), back.rows().copy())), (index.ids, host.rows()))


def test_more_than_2_to_the_31_rows() -> None:
    rows = 2**31 + 1000
    if torch.cuda.mem_get_info()[0] < 3 * rows:
        pytest.skip("not enough device memory")
    codes = torch.full((rows, 1), 255, dtype=torch.uint8, device="cuda")
    codes[5], codes[2**31 + 7] = 1, 1
    query = torch.zeros((1, 1), dtype=torch.uint8, device="cuda")
    distances, ids = df.search(codes, query, 4)
    assert ids.tolist() == [[5, 2**31 + 7, 0, 1]]
    assert distances.tolist() == [[1, 1, 8, 8]]
    assert df.range_search(codes, query, 7).ids.tolist() == [5, 2**31 + 7]


def test_the_reference_agrees_too() -> None:
    codes, queries = random_codes(22, 400, 40), random_codes(23, 5, 40)
    equal(df.search(on_device(codes), on_device(queries), 60), reference.search(codes, queries, 60))
