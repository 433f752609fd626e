"""What the measurements of ``gpu_parts.py`` share: a clock, random codes, the machine's limits, checks.

Every timed search is compared with another way to the same answer first, where there is one and the time for
it: another kernel in full, the CPU on the first queries. ``equal`` is then true or false, otherwise None.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmth_fast.retrieval import cuda, native

Row = dict[str, Any]
DEVICE = torch.device("cuda", 0)
_MOST_STAGED = 1024  # a greater k is counted, whatever the method


class Clock:
    """Seconds left until ``end`` of ``time.monotonic``, and timing with CUDA events."""

    def __init__(self, end: float) -> None:
        self.end = end

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def median_ms(self, call: Callable[[], Any], least: int = 5, most_seconds: float = 0.9) -> float:
        """Median milliseconds of ``call`` on the current stream."""
        call()
        torch.cuda.synchronize()
        times, start = [], time.monotonic()
        while len(times) < least or (time.monotonic() - start < most_seconds / 3 and len(times) < 50):
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            call()
            last.record()
            last.synchronize()
            times.append(first.elapsed_time(last))
            if time.monotonic() - start > most_seconds and len(times) >= 2:
                break
        return statistics.median(times)


def rows_in_time(rows: Iterator[Row], clock: Clock) -> Iterator[Row]:
    """``rows`` for as long as there is time for one more like the longest so far."""
    longest, start = 0.0, time.monotonic()
    for row in rows:
        yield row
        now = time.monotonic()
        longest, start = max(longest, now - start), now
        if clock.left < longest + 3:
            yield {"check": "ended for want of time, seconds left", "value": round(clock.left, 1)}
            return


def random_codes(rows: int, bits: int, seed: int = 0) -> Tensor:
    """Uniform codes of a multiple of 8 bits, made on the device."""
    generator = torch.Generator(device=DEVICE).manual_seed(seed)
    return torch.randint(0, 256, (rows, bits // 8), dtype=torch.uint8, device=DEVICE, generator=generator)


def clustered_codes(rows: int, bits: int, centres: int, flip: int, seed: int = 0) -> Tensor:
    """Codes like learned ones: ``flip`` draws of one bit to turn around each of a few centres."""
    generator = torch.Generator(device=DEVICE).manual_seed(seed)
    centre = random_codes(centres, bits, seed=99)
    codes = centre[torch.randint(0, centres, (rows,), device=DEVICE, generator=generator)]
    for _ in range(flip):
        at = torch.randint(0, bits // 8, (rows, 1), device=DEVICE, generator=generator)
        bit = 1 << torch.randint(0, 8, (rows, 1), device=DEVICE, generator=generator)
        codes.scatter_(1, at, codes.gather(1, at) ^ bit.to(torch.uint8))
    return codes


class Roofs(NamedTuple):
    """What the device can do, a second."""

    popcounts: float
    """Population counts of 32 bits: 16 a clock and multiprocessor, at the highest clock."""
    copied: float
    """Bytes that a copy on the device reads and writes, measured."""
    bit_pairs: dict[tuple[str, int], float | None]
    """Pairs of bits that products alone multiply and add, measured; by method and bits of a product."""

    def of_products(self, method: str, code_bits: int, pairs: float) -> float | None:
        """The share of the products' rate that so many pairs of codes are; None for other methods."""
        if method not in ("tensor", "warpgroup"):
            return None
        product = 128 if method == "tensor" and code_bits <= 64 else 256
        rate = self.bit_pairs.get((method, product))
        links = max(1, 1 << (code_bits - 1).bit_length() >> 7)  # of 128 bits of code and their complements
        return None if rate is None else pairs * product * links / rate


def roofs(*, copied: bool = True) -> Roofs:
    """The device's limits; the copy takes 4 GB and some milliseconds, and may be left out."""
    properties: Any = torch.cuda.get_device_properties(DEVICE)
    clock = float(getattr(properties, "clock_rate", 1_980_000)) * 1e3
    shapes = [("tensor", 128), ("tensor", 256)]
    shapes += [("warpgroup", 256)] if "warpgroup" in products() else []
    return Roofs(
        16.0 * properties.multi_processor_count * clock,
        _copy_rate() if copied else 0.0,
        {shape: _product_rate(*shape) for shape in shapes},
    )


def _product_rate(method: str, bits: int, repeats: int = 20_000) -> float | None:
    """Bit pairs a second, of half-full words; None where the threads' totals are wrong."""
    module = native.cuda()
    totals = torch.empty(module.product_threads(0), dtype=torch.int32, device=DEVICE)
    place = 0, int(torch.cuda.current_stream().cuda_stream)
    milliseconds = Clock(float("inf")).median_ms(
        lambda: module.repeat_products(method, bits, repeats, totals.data_ptr(), *place), most_seconds=0.3
    )
    if not bool((totals == repeats * 32 * bits // 2).all()):
        return None
    return len(totals) * 32.0 * bits * repeats / milliseconds * 1e3


def _copy_rate() -> float:
    source = torch.randint(0, 256, (2**31,), dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    return 2.0 * source.numel() / Clock(float("inf")).median_ms(lambda: target.copy_(source)) * 1e3


def agrees(found: tuple[Tensor, Tensor], codes: Tensor, queries: Tensor, k: int) -> bool:
    """Whether the first queries have the CPU's answer; up to 10 M rows."""
    count = 4 if len(codes) <= 2_000_000 else 1
    expected = native.search(codes.cpu().numpy(), queries[:count].cpu().numpy(), k)
    return all(
        np.array_equal(part[:count].cpu().numpy(), other) for part, other in zip(found, expected, strict=True)
    )


def so_far(equal: bool | None, again: bool) -> bool:
    """Whether all comparisons agree, with one more; None stands for no comparison."""
    return again if equal is None else equal and again


def search_row(
    clock: Clock, codes: Tensor, queries: Tensor, k: int, method: str, kind: str, most: Roofs
) -> Row:
    """Time one search and check it: against another method in full, and the CPU where that is quick."""

    def call() -> tuple[Tensor, Tensor]:
        return cuda.search_rows(codes, queries, k, method=method)

    found = call()
    equal: bool | None = None
    if codes.shape[1] <= 64 and k <= _MOST_STAGED and len(codes) > 4 * k:
        other = "popcount" if method != "popcount" else "tensor"
        again = cuda.search_rows(codes, queries, k, method=other)
        equal = so_far(equal, all(torch.equal(a, b) for a, b in zip(found, again, strict=True)))
    if len(codes) <= 10_000_000 and clock.left > 20:
        equal = so_far(equal, agrees(found, codes, queries, k))
    milliseconds = clock.median_ms(call)
    pairs = len(codes) * len(queries) / milliseconds * 1e3
    words = -(-codes.shape[1] // 4)
    return {
        "kind": kind,
        "bits": 8 * codes.shape[1],
        "queries": len(queries),
        "rows": len(codes),
        "k": k,
        "method": method,
        "ms": milliseconds,
        "pairs/s": pairs,
        "of popcount roof": pairs * words / most.popcounts,
        "of product roof": most.of_products(method, 8 * codes.shape[1], pairs),
        "rows GB/s": codes.numel() / milliseconds * 1e-6,
        "equal": equal,
    }


def products() -> tuple[str, ...]:
    """The methods by tensor cores that this device and build have."""
    return ("tensor", "warpgroup") if native.cuda().device(0)["warpgroup"] else ("tensor",)
