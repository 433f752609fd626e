__version__: str
architectures: str

class DeviceError(RuntimeError): ...
class WorkspaceError(MemoryError): ...

class SearchPlan:
    @property
    def workspace_bytes(self) -> int: ...
    @property
    def queries_per_pass(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def stages(self) -> list[tuple[int, int, str]]: ...

class RangePlan:
    @property
    def workspace_bytes(self) -> int: ...
    @property
    def queries_per_pass(self) -> int: ...

def status() -> tuple[int, int, int, str]: ...
def reason_of(driver: int, runtime: int, devices: int, /) -> str: ...
def device(device: int) -> dict[str, object]: ...
def search_plan(
    rows: int, queries: int, row_bytes: int, k: int, method: str, device: int, budget: int, /
) -> SearchPlan: ...
def range_plan(rows: int, queries: int, row_bytes: int, device: int, budget: int, /) -> RangePlan: ...
def pack(
    values: int,
    element: str,
    rows: int,
    bits: int,
    threshold: float,
    out: int,
    first_nan: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def hamming_distances(
    codes: int, rows: int, queries: int, count: int, row_bytes: int, out: int, device: int, stream: int, /
) -> None: ...
def search(
    plan: SearchPlan,
    codes: int,
    queries: int,
    keep: int,
    workspace: int,
    distances: int,
    ids: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def range_count(
    plan: RangePlan,
    codes: int,
    queries: int,
    keep: int,
    radius: int,
    workspace: int,
    counts: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def range_write(
    plan: RangePlan,
    codes: int,
    queries: int,
    keep: int,
    radius: int,
    workspace: int,
    offsets: int,
    distances: int,
    ids: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def histograms(
    codes: int,
    rows: int,
    queries: int,
    count: int,
    row_bytes: int,
    row_labels: int,
    query_labels: int,
    words: int,
    every: int,
    relevant: int,
    method: str,
    device: int,
    stream: int,
    /,
) -> None: ...
def product_threads(device: int, /) -> int: ...
def repeat_products(
    method: str, bits: int, repeats: int, totals: int, device: int, stream: int, /
) -> None: ...
