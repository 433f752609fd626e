"""The measurements of ``gpu.py``, one part a process: ``gpu_parts.py PART ROWS.jsonl SECONDS``.

A row is written as soon as it is measured, and no row is begun that the time does not seem to allow. Searches
and histograms are compared with another way to the same answer (see ``gpu_measuring.py``). Times are medians
of CUDA events over repeated calls after warming up, inputs random; rates count pairs of query and code.
"""

# ruff: noqa: E402 - the clock starts before the imports, which take seconds of the part's time
import time

START = time.monotonic()

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import dmth_fast as df
from dmth_fast.environment import describe
from dmth_fast.retrieval import cuda, native
from gpu_measuring import (
    DEVICE,
    Clock,
    Row,
    agrees,
    clustered_codes,
    products,
    random_codes,
    roofs,
    rows_in_time,
    search_row,
    so_far,
)


def probe(_: Clock) -> Iterator[Row]:
    """One small search first; then the machine's own limits."""
    codes, queries = random_codes(100_000, 64), random_codes(50, 64, 1)
    for method in ("popcount", "sliced", *products()):
        found = cuda.search_rows(codes, queries, 10, method=method)
        yield {"check": f"100,000 codes, {method}", "value": agrees(found, codes, queries, 10)}
    most = roofs()
    yield {"check": "32-bit popcounts/s at the highest clock", "value": most.popcounts}
    yield {"check": "device copy, bytes/s read and written", "value": most.copied}
    for (method, bits), rate in most.bit_pairs.items():
        value = False if rate is None else rate  # false: wrong sums
        yield {"check": f"bit pairs/s of products alone, {method}, {bits} bits", "value": value}
    status, info = native.cuda_available(), native.cuda().device(0)
    yield {"check": "module", "value": json.dumps([list(status), info, native.cuda().architectures])}
    yield {"check": "environment", "value": json.dumps(describe())}
    yield {"check": "seconds of the part", "value": round(time.monotonic() - START, 1)}


def _bold_last(*methods: str) -> tuple[str, ...]:
    """Methods, and the warpgroup's where there is one: a fault in it would end the part."""
    return (*methods, *(method for method in products() if method == "warpgroup"))


def targets(clock: Clock) -> Iterator[Row]:
    """The sizes that the engine is judged by."""
    most = roofs()
    codes, queries = random_codes(100_000_000, 64), random_codes(10_000, 64, 1)
    for method in _bold_last("tensor", "popcount", "sliced"):
        yield search_row(clock, codes, queries, 100, method, "10,000 x 100 M", most)
    del codes
    codes, queries = random_codes(100_000_000, 256), random_codes(10_000, 256, 1)
    for method in _bold_last("tensor", "popcount"):
        yield search_row(clock, codes, queries[:2000], 100, method, "2,000 x 100 M", most)
    del codes
    if torch.cuda.mem_get_info()[0] > 20e9:
        codes = torch.empty((1_000_000_000, 8), dtype=torch.uint8, device=DEVICE)
        for i in range(0, len(codes), 100_000_000):
            codes[i : i + 100_000_000] = random_codes(100_000_000, 64, i)
        row = search_row(clock, codes, random_codes(1, 64, 5), 10, "popcount", "1 x 1 G", most)
        yield row | {
            "of popcount roof": row["rows GB/s"] * 1e9 / most.copied,
            "kind": "1 x 1 G (of copy rate)",
        }


def search(clock: Clock) -> Iterator[Row]:
    """Widths, queries, rows, k; uniform codes and codes with ties."""
    most = roofs(copied=False)
    both, all_three = _bold_last("popcount", "tensor"), _bold_last("popcount", "tensor", "sliced")
    cases: list[tuple[str, int, int, int, int, tuple[str, ...]]] = []
    cases += [
        ("queries", 64, q, 10_000_000, 100, all_three) for q in (1, 2, 4, 8, 16, 32, 64, 256, 1000, 10_000)
    ]
    cases += [("bits", b, 2000, 10_000_000, 100, all_three) for b in (32, 48)]
    cases += [("bits", b, 2000, 10_000_000, 100, both) for b in (96, 128, 256, 512)]
    cases += [("bits", 1024, 1000, 1_000_000, 100, both[:1])]
    cases += [
        ("k", 64, 1000, 10_000_000, k, both if k <= 1000 else both[:1]) for k in (1, 10, 1000, 5000, 100_000)
    ]
    cases += [("rows", 64, 1000, n, 100, both) for n in (10_000, 100_000, 1_000_000, 100_000_000)]
    cases += [("one query", b, 1, 10_000_000, 10, both[:1]) for b in (48, 128, 512)]
    made: tuple[int, int] = (0, 0)
    codes = random_codes(1, 8)
    for kind, bits, count, rows, k, methods in cases:
        if made != (rows, bits):
            codes, made = random_codes(rows, bits), (rows, bits)
        measured = []
        for method in methods:
            measured.append(search_row(clock, codes, random_codes(count, bits, 1), k, method, kind, most))
            yield measured[-1]
        if len(methods) > 1:
            yield choice_of(measured, auto_method(rows, count, bits, k))
    for k in (10, 1000):
        for kind, centres, flip in (("100 classes", 100, 3), ("10 classes, many ties", 10, 1)):
            codes, queries = (
                clustered_codes(10_000_000, 64, centres, flip),
                clustered_codes(1000, 64, centres, flip, 7),
            )
            for method in both:
                yield search_row(clock, codes, queries, k, method, kind, most)


def auto_method(rows: int, queries: int, bits: int, k: int) -> str:
    """The method that "auto" takes for most of the rows."""
    plan = native.cuda().search_plan(rows, queries, bits // 8, k, "auto", 0, 2**30)
    return str(plan.stages[-1][2]) if plan.stages else "counted"


def choice_of(measured: list[Row], auto: str) -> Row:
    """What "auto" takes beside the fastest: for the constants in ``method_of`` of csrc/cuda/plan.cpp."""
    times = {str(row["method"]): float(row["ms"]) for row in measured}
    fastest = min(times, key=lambda method: times[method])
    shape = {name: measured[0][name] for name in ("bits", "queries", "rows", "k")}
    ratio = times[auto] / times[fastest] if auto in times else None
    return {"choice": measured[0]["kind"], **shape, "fastest": fastest, "auto": auto, "auto is x": ratio}


def evaluation(clock: Clock) -> Iterator[Row]:
    """The CIFAR-10 protocols: histograms on the device, and the whole report."""
    for count, rows in ((1000, 59_000), (10_000, 50_000)):
        for bits in (16, 48, 64, 128):
            yield _evaluated(clock, count, rows, bits)


def _evaluated(clock: Clock, count: int, rows: int, bits: int) -> Row:
    codes, queries = clustered_codes(rows, bits, 10, 2), clustered_codes(count, bits, 10, 2, 1)
    labels = torch.randint(0, 10, (rows,)), torch.randint(0, 10, (count,))
    on_device = [side.to(DEVICE) for side in labels]
    every, relevant = (torch.empty((count, bits + 1), dtype=torch.int64, device=DEVICE) for _ in "ab")
    inputs = (codes.data_ptr(), rows, queries.data_ptr(), count, codes.shape[1])
    sides = (*(side.data_ptr() for side in on_device), 0, every.data_ptr(), relevant.data_ptr())
    place = (0, int(torch.cuda.current_stream().cuda_stream))
    expected = native.histograms(
        codes.cpu().numpy(), queries[:50].cpu().numpy(), labels[0].numpy(), labels[1][:50].numpy(), bits
    )
    taken: dict[str, float] = {}
    equal: bool | None = None
    for method in ("popcount", "tensor", "auto"):
        arguments = (*inputs, *sides, method, *place)
        taken[method] = clock.median_ms(lambda a=arguments: native.cuda().histograms(*a))  # type: ignore[misc]
        for counts, right in zip((every, relevant), expected, strict=True):
            equal = so_far(equal, np.array_equal(counts[:50].cpu().numpy(), right))
    df.evaluate(queries, on_device[1], codes, on_device[0])
    start = time.perf_counter()
    df.evaluate(queries, on_device[1], codes, on_device[0])
    report = 1e3 * (time.perf_counter() - start)
    start = time.perf_counter()
    df.evaluate(queries.cpu(), labels[1], codes.cpu(), labels[0])
    on_cpu = 1e3 * (time.perf_counter() - start)
    return {
        "queries": count,
        "rows": rows,
        "bits": bits,
        "histograms ms": taken["auto"],
        **{f"{method} ms": taken[method] for method in ("popcount", "tensor")},
        "pairs/s": count * rows / taken["auto"] * 1e3,
        "whole report ms": report,
        "whole report on CPU ms": on_cpu,
        "equal": equal,
    }


def rivals(clock: Clock) -> Iterator[Row]:
    """Formulations in torch, FAISS where it is, and our CPU, beside ours at the same sizes."""
    for bits in (64, 256):
        for count, rows in ((100, 1_000_000), (1000, 4_000_000)):
            k = 100
            codes, queries = random_codes(rows, bits), random_codes(count, bits, 1)
            ours = clock.median_ms(lambda c=codes, q=queries: cuda.search_rows(c, q, 100))  # type: ignore[misc]
            common = {"bits": bits, "queries": count, "rows": rows, "k": k}
            yield common | {"who": "ours", "ms": ours, "pairs/s": count * rows / ours * 1e3, "ours is x": 1.0}
            for who, call in (*_torch_rivals(codes, queries, bits), *_faiss_rivals(codes, queries)):
                try:
                    milliseconds = clock.median_ms(call, least=3)
                except Exception as error:
                    yield common | {"who": who, "ms": -1.0, "pairs/s": 0.0, "ours is x": str(error)[:80]}
                    continue
                rate = count * rows / milliseconds * 1e3
                yield common | {
                    "who": who,
                    "ms": milliseconds,
                    "pairs/s": rate,
                    "ours is x": milliseconds / ours,
                }
            arrays = codes.cpu().numpy(), queries[:50].cpu().numpy()
            start = time.perf_counter()
            native.search(*arrays, k)
            milliseconds = 1e3 * (time.perf_counter() - start) * count / 50
            yield common | {
                "who": f"ours, CPU, {native.thread_count()} threads, {native.isa()}",
                "ms": milliseconds,
                "pairs/s": count * rows / milliseconds * 1e3,
                "ours is x": milliseconds / ours,
            }


def rows_of_product(queries: int) -> int:
    """Rows in a matrix of 2**28 scores; a multiple of 8, as ``torch._int_mm`` wants them.

    >>> rows_of_product(100)
    2684352
    """
    return max(8, 2**28 // max(queries, 1) // 8 * 8)


def _torch_rivals(codes: Tensor, queries: Tensor, bits: int) -> list[tuple[str, Callable[[], Any]]]:
    """Products of codes of -1 and 1 with topk, in chunks of rows that keep the matrix of scores small."""
    powers = (1 << torch.arange(8, device=DEVICE)).to(torch.uint8)

    def signs(packed: Tensor, dtype: torch.dtype) -> Tensor:
        ones = (packed[:, :, None] & powers).ne(0).reshape(len(packed), bits)
        return (ones.to(torch.int8) * 2 - 1).to(dtype)

    def product(dtype: torch.dtype) -> Callable[[], Any]:
        wide, wanted = signs(codes, dtype), signs(queries, dtype)
        step = rows_of_product(len(queries))

        def call() -> tuple[Tensor, Tensor]:
            values, rows = [], []
            for i in range(0, len(wide), step):
                part = wide[i : i + step].T
                scores = torch._int_mm(wanted, part) if dtype == torch.int8 else wanted @ part
                best = scores.topk(min(100, scores.shape[1]), dim=1)
                values.append(best.values)
                rows.append(best.indices + i)
            top = torch.cat(values, 1).topk(100, dim=1)
            return top.values, torch.cat(rows, 1).gather(1, top.indices)

        return call

    found: list[tuple[str, Callable[[], Any]]] = []
    for name, dtype in (("torch _int_mm + topk", torch.int8), ("torch float16 matmul + topk", torch.float16)):
        found.append((name, product(dtype)))
    return found


def _faiss_rivals(codes: Tensor, queries: Tensor) -> list[tuple[str, Callable[[], Any]]]:
    try:
        import faiss

        index = faiss.GpuIndexBinaryFlat(faiss.StandardGpuResources(), 8 * codes.shape[1])
    except (ImportError, AttributeError):
        return []
    index.add(codes.cpu().numpy())
    wanted = queries.cpu().numpy()
    return [(f"FAISS {faiss.__version__} GpuIndexBinaryFlat", lambda: index.search(wanted, 100))]


def others(clock: Clock) -> Iterator[Row]:
    """The other verbs, the latency of small searches, and a captured graph."""
    codes, queries = random_codes(10_000_000, 64), random_codes(1000, 64, 1)
    for radius in (8, 16):
        offsets = df.range_search(codes, queries, radius).offsets
        milliseconds = clock.median_ms(lambda r=radius: df.range_search(codes, queries, r))  # type: ignore[misc]
        yield {
            "what": f"range_search, radius {radius}, 1,000 x 10 M x 64",
            "ms": milliseconds,
            "rate/s": 1e13 / milliseconds,
            "note": f"{int(offsets[-1])} results",
        }
    some = codes[:1_000_000]
    milliseconds = clock.median_ms(lambda: df.hamming_distances(some, queries))
    yield {
        "what": "hamming_distances, 1,000 x 1 M x 64",
        "ms": milliseconds,
        "rate/s": 1e12 / milliseconds,
        "note": f"{4e9 / milliseconds * 1e-6:.0f} GB/s written",
    }
    for dtype in (torch.float32, torch.float16):
        values = torch.randn((4_000_000, 64), device=DEVICE).to(dtype)
        milliseconds = clock.median_ms(lambda v=values: df.pack(v))  # type: ignore[misc]
        gigabytes = values.numel() * values.element_size() / milliseconds * 1e-6
        yield {
            "what": f"pack, 4 M x 64 {dtype}",
            "ms": milliseconds,
            "rate/s": 4e9 / milliseconds,
            "note": f"{gigabytes:.0f} GB/s read",
        }
    for count, rows in ((1, 10_000), (1, 1_000_000), (100, 1_000_000)):
        small, wanted = codes[:rows], queries[:count].clone()
        plain = clock.median_ms(lambda s=small, w=wanted: df.search(s, w, 10), least=20)  # type: ignore[misc]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            df.search(small, wanted, 10)
        replay = clock.median_ms(graph.replay, least=20)
        yield {
            "what": f"search, {count} x {rows} x 64, k = 10",
            "ms": plain,
            "rate/s": count * rows / plain * 1e3,
            "note": f"{replay:.4f} ms as a replayed graph",
        }


def small() -> None:
    """Small cases of every kernel, for compute-sanitizer."""
    for bits in (12, 48, 64, 96, 128, 256, 520):
        codes = torch.randint(0, 256, (3000, -(-bits // 8)), dtype=torch.uint8)
        queries = codes[::211].contiguous()
        limits = {"popcount": 4096, **dict.fromkeys(products(), 512), "sliced": 64}
        for method in [name for name, widest in limits.items() if bits <= widest]:
            found = cuda.search_rows(codes.to(DEVICE), queries.to(DEVICE), 7, method=method)
            expected = native.search(codes.numpy(), queries.numpy(), 7)
            assert all(np.array_equal(a.cpu().numpy(), b) for a, b in zip(found, expected, strict=True))
        database, wanted = codes.to(DEVICE), queries.to(DEVICE)
        cuda.search_rows(database, wanted, 1500)
        cuda.range_search(database, wanted, bits // 3)
        cuda.hamming_distances(database, wanted)
        labels = np.arange(3000) % 5
        for method in [name for name in ("popcount", "tensor") if bits <= limits[name]]:
            cuda.histograms(database, wanted, labels, labels[:15], 8 * codes.shape[1], method)
    for dtype in (torch.float16, torch.float32, torch.float64, torch.bool):
        cuda.pack(torch.ones((99, 45), device=DEVICE).to(dtype))
    torch.cuda.synchronize()
    print("small cases done")


def counted() -> None:
    """A few large launches of every kernel that finds or counts, for ncu."""
    codes, queries = random_codes(4_000_000, 64), random_codes(4096, 64, 1)
    for method in _bold_last("tensor", "popcount", "sliced"):
        cuda.search_rows(codes, queries, 100, method=method)
    labels = np.arange(len(codes)) % 10
    for method in ("popcount", "tensor"):
        cuda.histograms(codes, queries, labels, labels[: len(queries)], 64, method)
    torch.cuda.synchronize()


PARTS = {part.__name__: part for part in (probe, targets, search, evaluation, rivals, others)}


def main() -> None:
    name = sys.argv[1]
    if name in ("small", "counted"):
        return small() if name == "small" else counted()
    rows, clock = Path(sys.argv[2]), Clock(START + float(sys.argv[3]))
    with rows.open("a", encoding="utf-8") as stream:
        for row in rows_in_time(PARTS[name](clock), clock):
            stream.write(json.dumps(row) + "\n")
            stream.flush()
    return None


if __name__ == "__main__":
    main()
