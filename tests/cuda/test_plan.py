"""The plan of a search for shapes that no test could run: pure arithmetic, no kernel."""

import pytest
from emulated import METHODS, EmulatedDevice, Pass, Settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SIZES = st.one_of(st.integers(1, 5000), st.integers(1, 2**34))


def covers(part: Pass, *, counters: str = "block") -> bool:
    """Whether the splits of a pass hold each of its rows once, within the limits of launches and counters."""
    rows = part.end - part.first
    row_blocks = -(-part.splits // part.warps)
    return (
        part.rows_per_split % 32 == 0
        and part.splits * part.rows_per_split >= rows
        and (part.splits - 1) * part.rows_per_split < rows
        and 1 <= row_blocks <= 65535
        and part.rows_per_split * (part.warps if counters == "block" else 1) < 2**32
        and 1 <= part.warps <= 8
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=SIZES,
    queries=st.integers(1, 10**6),
    width=st.sampled_from((1, 6, 8, 16, 32, 64, 128, 512)),
    share=st.floats(0, 1),
    method=st.sampled_from(METHODS),
    multiprocessors=st.sampled_from((1, 84, 132)),
    shared_bytes=st.sampled_from((95 * 1024, 223 * 1024)),
    budget=st.sampled_from((2**25, 2**30)),
)
def test_every_row_is_visited_once_and_memory_suffices(
    emulated: EmulatedDevice, rows, queries, width, share, method, multiprocessors, shared_bytes, budget
) -> None:
    k = max(1, min(rows, int(rows**share)))
    chosen = "auto" if width > {"tensor": 64, "warpgroup": 64, "sliced": 8}.get(method, 512) else method
    setup = Settings(method=chosen, multiprocessors=multiprocessors, shared_bytes=shared_bytes, budget=budget)
    plan = emulated.search_plan(rows, queries, width, k, setup)
    assert plan.workspace_bytes <= budget + 256
    assert 1 <= plan.queries_per_pass <= queries
    assert covers(plan.count, counters="warp")
    assert plan.count.warps * plan.count.tile * (8 * width + 1) * 4 <= shared_bytes
    cells = max(plan.capacity, (8 * width + 1) * plan.count.splits + 1)
    assert plan.queries_per_pass * cells * 8 <= plan.workspace_bytes
    if plan.stages:
        assert k <= plan.capacity // 2
        assert plan.capacity * 8 <= shared_bytes
        ends = [part.end for part in plan.stages]
        assert [part.first for part in plan.stages] == [0, *ends[:-1]]
        assert ends[-1] == rows
        assert plan.stages[0].end <= plan.capacity
        assert all(covers(part) for part in plan.stages)
        assert len(plan.stages) <= 40
    elif plan.bound_rows:
        assert k <= plan.bound_rows <= rows
        assert covers(plan.bound)


def test_methods_refuse_codes_that_are_too_wide(emulated: EmulatedDevice) -> None:
    with pytest.raises(ValueError, match="method tensor takes codes of at most 64 bytes, got 65"):
        emulated.search_plan(10**6, 100, 65, 10, Settings(method="tensor"))
    with pytest.raises(ValueError, match="method warpgroup takes codes of at most 64 bytes, got 65"):
        emulated.search_plan(10**6, 100, 65, 10, Settings(method="warpgroup"))
    with pytest.raises(ValueError, match=r"method warpgroup needs a device of .* 9\.0 .*, got 10\.0"):
        emulated.search_plan(10**6, 100, 8, 10, Settings(method="warpgroup", major=10))
    with pytest.raises(ValueError, match="method sliced takes codes of at most 8 bytes, got 9"):
        emulated.search_plan(10**6, 100, 9, 10, Settings(method="sliced"))


@pytest.mark.parametrize(
    ("queries", "width", "major", "method"),
    [
        (1, 8, 9, "popcount"),
        (7, 8, 9, "popcount"),
        (8, 8, 9, "tensor"),
        (10_000, 64, 8, "tensor"),
        (10_000, 65, 9, "popcount"),
        (63, 8, 10, "popcount"),
        (64, 8, 10, "sliced"),
        (64, 9, 12, "popcount"),
    ],
)
def test_auto(emulated: EmulatedDevice, queries: int, width: int, major: int, method: str) -> None:
    setup = Settings(budget=2**30, multiprocessors=132, major=major)
    plan = emulated.search_plan(10**8, queries, width, 100, setup)
    assert METHODS[plan.stages[-1].method] == method
    assert METHODS[plan.stages[0].method] == "popcount"
