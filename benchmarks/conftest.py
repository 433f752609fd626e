"""What every benchmark records, and the table of ratios at the end of a run."""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from dmth_fast import environment


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:  # noqa: ARG001
    """The host, its instruction sets and the versions of all rivals stand in the JSON; its name does not."""
    machine_info["node"] = ""
    machine_info["dmth_fast"] = environment.describe()


# Seconds before each timed run: OpenMP threads spin for a while after their work, and whoever runs next on
# the same cores would pay for it.
_REST = 0.02


@dataclass
class Ratios:
    """Medians of alternating runs of contestants on the same work, collected over a run."""

    rows: list[tuple[tuple[Any, ...], dict[str, float]]] = field(default_factory=list)

    def measure(
        self,
        key: tuple[Any, ...],
        contestants: dict[str, Callable[[], Any]],
        work: dict[str, float],
        rounds: int,
    ) -> dict[str, float]:
        """Runs all in turn, `rounds` times; gives the work of each over its median time, per second.

        Whatever else disturbs the machine then disturbs all of them alike.
        """
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, run in contestants.items():
                time.sleep(_REST)
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
        rates = {name: work[name] / statistics.median(taken) for name, taken in times.items()}
        self.rows.append((key, rates))
        return rates


_RATIOS = Ratios()


@pytest.fixture(scope="session")
def ratios() -> Ratios:
    """Where a benchmark reports what it measured side by side."""
    return _RATIOS


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A line a case: our rate in 10^9 distances a second, and how many times the rival's it is."""
    if not _RATIOS.rows:
        return
    rivals = sorted({name for _, rates in _RATIOS.rows for name in rates if name not in ("search", "store")})
    header = [
        "bits",
        "k",
        "queries",
        "threads",
        "search G/s",
        "store G/s",
        *(f"search / {name}" for name in rivals),
    ]
    rows = []
    for key, rates in _RATIOS.rows:
        cells = [f"{value:,}" for value in key]
        cells += [f"{rates[name] / 1e9:.2f}" for name in ("search", "store")]
        cells += [f"{rates['search'] / rates[name]:.1f}x" if name in rates else "-" for name in rivals]
        rows.append(cells)
    terminalreporter.section(f"search beside its rivals: {environment.summary()}")
    for line in table(header, rows):
        terminalreporter.write_line(line)
    terminalreporter.write_line(
        "medians of alternating runs; 'search' takes plain rows, 'store' an index built before"
    )
