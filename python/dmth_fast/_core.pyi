import numpy as np
import numpy.typing as npt

__version__: str

def isas() -> list[str]: ...
def read_probe(data: npt.NDArray[np.uint8], threads: int, isa: str) -> int: ...
def pack(
    values: npt.NDArray[np.generic], threshold: float, threads: int, isa: str
) -> npt.NDArray[np.uint8]: ...
def hamming_distances(
    codes: npt.NDArray[np.uint8], queries: npt.NDArray[np.uint8], threads: int, isa: str
) -> npt.NDArray[np.int32]: ...
def search(
    codes: npt.NDArray[np.uint8],
    queries: npt.NDArray[np.uint8],
    k: int,
    threads: int,
    isa: str,
    keep: npt.NDArray[np.uint64] | None = None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
def range_search(
    codes: npt.NDArray[np.uint8],
    queries: npt.NDArray[np.uint8],
    radius: int,
    threads: int,
    isa: str,
    keep: npt.NDArray[np.uint64] | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
def range_count(
    codes: npt.NDArray[np.uint8], queries: npt.NDArray[np.uint8], radius: int, threads: int, isa: str
) -> npt.NDArray[np.int64]: ...
def histograms(
    codes: npt.NDArray[np.uint8],
    queries: npt.NDArray[np.uint8],
    database_labels: npt.NDArray[np.generic],
    query_labels: npt.NDArray[np.generic],
    bits: int,
    threads: int,
    isa: str,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...
def graded_histograms(
    codes: npt.NDArray[np.uint8],
    queries: npt.NDArray[np.uint8],
    database_labels: npt.NDArray[np.uint64],
    query_labels: npt.NDArray[np.uint64],
    bits: int,
    levels: int,
    threads: int,
    isa: str,
) -> npt.NDArray[np.int64]: ...
def relevant_ranks(
    codes: npt.NDArray[np.uint8],
    queries: npt.NDArray[np.uint8],
    database_labels: npt.NDArray[np.generic],
    query_labels: npt.NDArray[np.generic],
    threads: int,
    isa: str,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...
def self_ranks(
    codes: npt.NDArray[np.uint8],
    queries: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    threads: int,
    isa: str,
) -> npt.NDArray[np.int64]: ...
def tied_sums(
    every: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    cutoffs: npt.NDArray[np.int64],
    ties: str,
    precisions: bool,
    threads: int,
    isa: str,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def tied_discounts(
    every: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    cutoffs: npt.NDArray[np.int64],
    discounts: npt.NDArray[np.float64],
    ties: str,
    threads: int,
    isa: str,
) -> npt.NDArray[np.float64]: ...
def tied_firsts(
    every: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    ties: str,
    threads: int,
    isa: str,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def radius_curves(
    every: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    counted: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64],
    levels: npt.NDArray[np.float64],
    skip_empty: bool,
    threads: int,
    isa: str,
) -> tuple[
    npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]
]: ...
def rank_sums(
    offsets: npt.NDArray[np.int64],
    ranks: npt.NDArray[np.int64],
    cutoffs: npt.NDArray[np.int64],
    threads: int,
    isa: str,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]: ...

class Index:
    def __init__(self, bytes: int) -> None: ...
    def __len__(self) -> int: ...
    @property
    def memory(self) -> int: ...
    def add(self, codes: npt.NDArray[np.uint8], threads: int, isa: str) -> int: ...
    def rows(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]: ...
    def search(
        self, queries: npt.NDArray[np.uint8], k: int, method: str, threads: int, isa: str
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
    def range_search(
        self, queries: npt.NDArray[np.uint8], radius: int, method: str, threads: int, isa: str
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
    def range_count(
        self, queries: npt.NDArray[np.uint8], radius: int, threads: int, isa: str
    ) -> npt.NDArray[np.int64]: ...
    def search_kept(
        self,
        queries: npt.NDArray[np.uint8],
        k: int,
        keep: npt.NDArray[np.uint64],
        rows: int,
        threads: int,
        isa: str,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
    def range_search_kept(
        self,
        queries: npt.NDArray[np.uint8],
        radius: int,
        keep: npt.NDArray[np.uint64],
        rows: int,
        threads: int,
        isa: str,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
    def build(self, threads: int, isa: str) -> None: ...
    def explain(
        self, queries: npt.NDArray[np.uint8], k: int, method: str, threads: int, isa: str
    ) -> tuple[
        tuple[int, int, int],
        tuple[
            npt.NDArray[np.bool_],
            npt.NDArray[np.int32],
            npt.NDArray[np.int64],
            npt.NDArray[np.int64],
            npt.NDArray[np.float64],
            npt.NDArray[np.float64],
        ],
    ]: ...
