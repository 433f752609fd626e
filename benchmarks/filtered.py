"""Searches among some of the codes: a mask and ids in an index of ours, a bitmap in FAISS's."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import codes
from dmth_fast import Index, bench

SHARES = (0.9, 0.5, 0.1, 0.01)
QUERIES = (1, 10, 100)
BITS, K, SEED = 64, 10, 0


def rows(small: bool) -> Iterator[dict[str, Any]]:
    """Each share of the codes that takes part, and number of queries, beside the search of all codes."""
    n, rounds = (3000, 1) if small else (1_000_000, 15)
    both = codes.random_codes(n + max(QUERIES), BITS, SEED)
    index = Index(BITS, method="scan")
    index.add(both[:n])
    try:
        import faiss
    except ImportError:
        flat, absent = None, {"FAISS": "not installed (pip install faiss-cpu)"}
    else:
        faiss.omp_set_num_threads(1)
        flat, absent = faiss.IndexBinaryFlat(BITS), {}
        flat.add(both[:n])
    for share in SHARES:
        mask = np.random.default_rng(SEED).random(n) < share
        ids = np.flatnonzero(mask)
        for queries in QUERIES:
            asked = both[n : n + queries]
            contenders: dict[str, Callable[[], Any]] = {
                "mask": lambda a=asked, m=mask: index.search(a, K, filter=m, threads=1).distances,
                "ids": lambda a=asked, i=ids: index.search(a, K, filter=i, threads=1).distances,
                "all codes": lambda a=asked: index.search(a, K, threads=1).distances,
            }
            if flat is not None:
                # The selector holds the bitmap's address, and the contender holds the bitmap.
                bitmap = np.packbits(mask, bitorder="little")
                chosen = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
                contenders["FAISS"] = lambda a=asked, p=chosen, _=bitmap: flat.search(a, K, params=p)[0]
            _compare(contenders, index.rows()[ids], asked)
            taken = bench.alternate(contenders, rounds)
            milliseconds = {name: round(1e3 * float(np.median(spent)), 4) for name, spent in taken.items()}
            case = {"codes": "random", "n": n, "bits": BITS, "k": K, "queries": queries, "threads": 1}
            yield case | {
                "share": share,
                "rounds": rounds,
                "seed": SEED,
                "milliseconds": milliseconds,
                "absent": absent,
            }


def _compare(contenders: dict[str, Callable[[], Any]], taking_part: Any, asked: Any) -> None:
    """All that search among some must find what a search of these alone finds."""
    index = Index(BITS, method="scan")
    index.add(taking_part)
    expected = index.search(asked, K).distances
    for name, search in contenders.items():
        if name != "all codes" and not np.array_equal(search(), expected):
            raise AssertionError(f"{name} finds other distances than a search of the codes that take part")
