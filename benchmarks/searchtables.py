"""The tables of a saved run of ``search.py``, in Markdown: one function a table.

``<!-- table: search-zen4.ratios -->`` is :func:`ratios` over ``benchmarks/results/search-zen4.json``.
"""

from collections.abc import Callable, Sequence
from typing import Any

from dmth_fast import environment
from targets import kernels, targets

Result = dict[str, Any]
Row = dict[str, Any]

SCAN = '`Index(bits, method="scan").search`'


def table(result: Result, name: str) -> list[str]:
    """One of the tables.

    Raises:
        ValueError: There is no such table; names those there are.
    """
    if name not in TABLES:
        raise ValueError(f"no table {name!r} of a search benchmark; there are {', '.join(TABLES)}")
    needed = NEEDS.get(name, (name,))
    if not any(part in result["parts"] for part in needed):
        return [f"Not measured here yet: `python benchmarks/search.py --only {','.join(needed)}`."]
    return TABLES[name](result)


def ratios(result: Result, isa: str = "") -> list[str]:
    """Our rate and how many times FAISS's it is, by width, size and k."""

    def cell(row: Row) -> str:
        return f"{rate(row, 'index' + isa):.3g} ({times(row, 'FAISS', 'index' + isa)})"

    parts = ("million", "ten-million")
    lines = by_width(result, parts, cell, queries=100, threads=1)
    words = (
        f"{SCAN}: 10^9 distances a second, and times the rate of FAISS IndexBinaryFlat at the faster "
        "of its heap and counting modes and the fastest of its SIMD levels, found by trial for each cell. "
        f"{kernels(result, isa)} kernels, one thread, 100 queries, uniform random codes; answers compared "
        "first, medians of alternating runs in one process."
    )
    return [*lines, "", f"{words} {origin(result, *parts)}"]


def one_query(result: Result) -> list[str]:
    """The same for a single query, on one and on all cores."""
    threads = sorted({row["threads"] for row in rows(result, "one-query")})
    lines: list[str] = []
    for count in threads:

        def cell(row: Row) -> str:
            return f"{rate(row, 'index'):.2g} ({times(row, 'FAISS', 'index')})"

        label = f", {count} thread{'s' if count > 1 else ''}"
        part = by_width(result, ("one-query",), cell, queries=1, threads=count, label=label)
        lines += part if not lines else part[2:]
    words = (
        "One query a call: 10^9 distances a second, and times the rate of FAISS, which uses one core for it "
        "whatever it is given."
    )
    return [*lines, "", f"{words} {origin(result, 'one-query')}"]


def all_cores(result: Result) -> list[str]:
    """Two threads beside one, and beside FAISS with two."""
    most = max(row["threads"] for row in rows(result, *_SCANS))
    if most == 1:
        return ["Not measured: this process may use one core."]

    def cell(row: Row) -> str:
        one = same(result, row, threads=1)
        gain = one["milliseconds"]["index"] / row["milliseconds"]["index"]
        return f"{gain:.2f}x ({times(row, 'FAISS', 'index')})"

    lines = by_width(result, ("million", "ten-million"), cell, queries=100, threads=most)
    words = (
        f"{most} threads, 100 queries: times our rate with one thread, and times FAISS's rate with {most}."
    )
    for row in rows(result, "cores"):
        if row["threads"] == most:
            cores = row.get("physical_cores")
            if cores:
                words += f" The system takes the processors for {cores} core{'s' * (cores > 1)}."
            words += f" Arithmetic without memory gained {row['scaling']:.2f}x in the same run."
    return [*lines, "", f"{words} {origin(result, 'million', 'ten-million', 'cores')}"]


def one_shot(result: Result) -> list[str]:
    """What ``search`` on plain rows takes more than an index built before."""

    def cell(row: Row) -> str:
        return f"{100 * (row['milliseconds']['search'] / row['milliseconds']['index'] - 1):+.0f} %"

    lines = by_width(result, ("million", "ten-million"), cell, queries=100, threads=1)
    words = "Time of `search` on plain rows over that of `Index.search` (scan): one thread, 100 queries."
    return [*lines, "", f"{words} {origin(result, 'million', 'ten-million')}"]


def clustered(result: Result) -> list[str]:
    """Codes as learned ones are: beside FAISS's scan and its exact multi-index."""
    lines = head(
        "codes", "bits", "k", "index, G/s", "x FAISS flat", "x FAISS MultiHash", "MultiHash is exact with"
    )
    for row in rows(result, "clustered", "student"):
        other = row["settings"].get("FAISS MultiHash") or row["absent"].get("FAISS MultiHash", "")
        cells = (
            named(row),
            row["bits"],
            f"{row['k']:,}",
            f"{rate(row, 'index'):.3g}",
            times(row, "FAISS", "index"),
        )
        lines.append(line(*cells, times(row, "FAISS MultiHash", "index"), other))
    words = f"{SCAN}, one thread, 10^9 distances a second, and times the rate of the rival."
    return [*lines, "", f"{words} {origin(result, 'clustered', 'student')}"]


def widths(result: Result) -> list[str]:
    """Every width: no cliff."""
    isas = [
        name.removeprefix("index")
        for name in rows(result, "widths")[0]["milliseconds"]
        if name[:5] == "index"
    ]
    lines = head("bits", *(f"{kernels(result, isa)}, G/s" for isa in isas), "10^12 bits/s", "x FAISS")
    for row in rows(result, "widths"):
        each = (f"{rate(row, 'index' + isa):.3g}" for isa in isas)
        lines.append(
            line(
                row["bits"],
                *each,
                f"{rate(row, 'index') * row['bits'] / 1e3:.2f}",
                times(row, "FAISS", "index"),
            )
        )
    words = "1 M random codes, 100 queries, k = 10, one thread: 10^9 distances a second."
    return [*lines, "", f"{words} {origin(result, 'widths')}"]


def batch(result: Result) -> list[str]:
    """Queries a call."""
    measured = rows(result, "batch")
    wide = sorted({row["bits"] for row in measured})
    lines = head("queries", *(f"{bits} bits" for bits in wide))
    for count in sorted({row["queries"] for row in measured}):
        cells = [
            next(row for row in measured if (row["bits"], row["queries"]) == (bits, count)) for bits in wide
        ]
        lines.append(
            line(
                f"{count:,}", *(f"{rate(row, 'index'):.3g} ({times(row, 'FAISS', 'index')})" for row in cells)
            )
        )
    words = "1 M random codes, k = 10, one thread: 10^9 distances a second, and times FAISS's rate."
    return [*lines, "", f"{words} {origin(result, 'batch')}"]


def others(result: Result) -> list[str]:
    """Libraries other than FAISS; NumKong, which has no selection, in the matrix of all distances."""
    lines = head("task", "bits", "threads", "ours, G/s", "x FAISS", "x USearch", "x NumPy", "x NumKong")
    names = ("FAISS", "USearch", "NumPy", "NumKong")
    for row in rows(result, "rivals", "matrix"):
        ours, task = (
            ("search", "k = 10")
            if "search" in row["milliseconds"]
            else ("hamming_distances", "all distances")
        )
        cells = (task, row["bits"], row["threads"], f"{rate(row, ours):.3g}")
        lines.append(line(*cells, *(times(row, name, ours) for name in names)))
    words = (
        "`search` on 1 M plain rows, 100 queries, and `hamming_distances` of 10 queries: times the rate of "
        "each. USearch gets 10 queries (it needs 16 bytes a pair), NumPy 4 and one thread; NumKong has no "
        "selection."
    )
    return [*lines, "", f"{words} {origin(result, 'rivals', 'matrix')}"]


def filtered(result: Result) -> list[str]:
    """Among some of the codes: times of the search of all, and of FAISS's with a selector."""
    lines = head("codes that take part", "queries", "all codes, ms", "mask", "ids", "FAISS, of our mask")
    for row in rows(result, "filter"):
        spent = row["milliseconds"]
        every = spent["all codes"]
        each = (f"{spent[name] / every:.2f}x" for name in ("mask", "ids"))
        rival = f"{spent['FAISS'] / spent['mask']:.1f}x" if "FAISS" in spent else "-"
        lines.append(line(f"{100 * row['share']:.3g} %", row["queries"], f"{every:.3g}", *each, rival))
    words = (
        "1 M random codes of 64 bits, k = 10, one thread: times of the search of all codes, by a mask of "
        "Booleans and by an array of ids, of codes anywhere; FAISS IndexBinaryFlat with a bitmap made "
        "before, in its own choice of mode and level, as times of our mask. Answers compared first."
    )
    return [*lines, "", f"{words} {origin(result, 'filter')}"]


def memory(result: Result) -> list[str]:
    """One query: bytes read a second beside a plain read."""
    measured = rows(result, "memory")
    ours = [name for name in measured[0]["milliseconds"] if name != "memory read"]
    lines = head("codes", "threads", "plain read, GB/s", *(f"{name}, GB/s" for name in ours))
    for row in measured:
        speed = {name: row["n"] * row["bits"] / 8e6 / value for name, value in row["milliseconds"].items()}
        each = (f"{speed[name]:.1f} ({speed[name] / speed['memory read']:.2f})" for name in ours)
        lines.append(line(f"{row['n']:,}", row["threads"], f"{speed['memory read']:.1f}", *each))
    words = (
        "One query, 64 bits, k = 10: bytes of codes searched a second, and the share of a plain read of as "
        "many bytes."
    )
    return [*lines, "", f"{words} {origin(result, 'memory')}"]


def scratch(result: Result) -> list[str]:
    """Memory besides the answer."""
    measured = [row for row in rows(result, "scratch") if row["contender"] in ("search", "index")]
    lines = head("queries", "k", "threads", "answer, MB", "search, MB besides", "index, MB besides")
    for row in measured:
        if row["contender"] != "search":
            continue
        index = next(
            other for other in measured if other["contender"] == "index" and case(other) == case(row)
        )
        sizes = (row["answer_bytes"], row["beside_bytes"], index["beside_bytes"])
        lines.append(
            line(f"{row['queries']:,}", f"{row['k']:,}", row["threads"], *(f"{x / 1e6:.1f}" for x in sizes))
        )
    words = (
        f"Peak of resident memory in one call over {measured[0]['n']:,} codes of 64 bits, less the answer."
    )
    return [*lines, "", f"{words} {origin(result, 'scratch')}"]


def met(result: Result) -> list[str]:
    """Target, measured, met; and what bounds those that are missed."""
    lines = head("case", "target", "least", "measured", "met")
    parts: dict[str, None] = {}
    limits: dict[str, None] = {}
    for target in targets(result):
        parts |= dict.fromkeys(target.parts)
        verdicts = target.verdicts()
        if target.limit and set(verdicts) != {"yes"}:
            limits[target.limit] = None
        shown = (
            " / ".join(f"{value:.3g}" for value in values)
            for values in (target.wanted, target.least, target.measured)
        )
        verdict = verdicts[0] if len(set(verdicts)) == 1 else " / ".join(verdicts)
        lines.append(line(target.case, *shown, verdict))
    words = (
        "Scans: times the rate of FAISS at its best level and mode in the same run, one thread, 100 queries. "
        "Their target is what prototypes of the same technique reached on this processor, where there were "
        "some; *least* was asked before that, for AVX2 on another processor."
    )
    missed = ["", "What bounds those that are missed:", "", *(f"- {limit}" for limit in limits)]
    return [*lines, *(missed if limits else []), "", f"{words} {origin(result, *parts)}"]


TABLES: dict[str, Callable[[Result], list[str]]] = {
    "ratios": ratios,
    "ratios-avx2": lambda result: ratios(result, " avx2"),
    "one-query": one_query,
    "all-cores": all_cores,
    "one-shot": one_shot,
    "clustered": clustered,
    "widths": widths,
    "batch": batch,
    "others": others,
    "filter": filtered,
    "memory": memory,
    "scratch": scratch,
    "targets": met,
}


# The parts of a run that a table is made from, where they are not one of its name.
_SCANS = ("million", "ten-million")
NEEDS = {
    "ratios": _SCANS,
    "ratios-avx2": _SCANS,
    "all-cores": _SCANS,
    "one-shot": _SCANS,
    "clustered": ("clustered", "student"),
    "others": ("rivals", "matrix"),
    "targets": (*_SCANS, "memory"),
}


def rows(result: Result, *parts: str) -> list[Row]:
    """The rows of the parts that were measured."""
    return [row for part in parts if part in result["parts"] for row in result["parts"][part]["rows"]]


def rate(row: Row, name: str) -> float:
    """10^9 distances a second."""
    return float(row["n"] * row["queries"] / row["milliseconds"][name] / 1e6)


def times(row: Row, rival: str, ours: str) -> str:
    """How many times the rival's rate ours is; a dash where it was not measured."""
    if rival not in row["milliseconds"]:
        return "-"
    ratio = row["milliseconds"][rival] / row["milliseconds"][ours]
    return f"{ratio:.1f}x" if ratio < 100 else f"{ratio:,.0f}x"


def case(row: Row) -> tuple[Any, ...]:
    """What identifies a row besides its contenders."""
    return tuple(row.get(key) for key in ("codes", "n", "bits", "k", "queries", "threads"))


def same(result: Result, row: Row, **changed: Any) -> Row:
    """The row of the case that differs in what is named."""
    wanted = case(row | changed)
    return next(other for part in result["parts"].values() for other in part["rows"] if case(other) == wanted)


def named(row: Row) -> str:
    """The codes of a row in words."""
    if row["codes"] == "random":
        return f"{row['n']:,}, uniform"
    if row["codes"] == "student":
        return f"{row['n']:,} of the CIFAR-10 student, {row['queries']:,} queries"
    _, centres, p = row["codes"].split()
    return f"{row['n']:,}, {int(centres):,} centres, p = {p}"


def by_width(
    result: Result,
    parts: Sequence[str],
    cell: Callable[[Row], str],
    *,
    queries: int,
    threads: int,
    label: str = "",
) -> list[str]:
    """A line a width, a column a size and k."""
    found = {
        case(row)[1:4]: row
        for row in rows(result, *parts)
        if (row["queries"], row["threads"]) == (queries, threads)
    }
    sizes, depths = sorted({key[0] for key in found}), sorted({key[2] for key in found})
    columns = [(n, k) for n in sizes for k in depths]
    lines = head("bits", *(f"{n / 1e6:g} M, k = {k:,}" for n, k in columns))
    for bits in sorted({key[1] for key in found}):
        lines.append(
            line(
                f"{bits}{label}",
                *(cell(found[n, bits, k]) if (n, bits, k) in found else "-" for n, k in columns),
            )
        )
    return lines


def head(*cells: str) -> list[str]:
    """The first two lines of a table."""
    return [line(*cells), "|---|" + "---:|" * (len(cells) - 1)]


def line(*cells: object) -> str:
    """One line of a table."""
    return "| " + " | ".join(str(each) for each in cells) + " |"


def origin(result: Result, *parts: str) -> str:
    """How and where the parts were measured."""
    there = [result["parts"][part] | {"name": part} for part in parts if part in result["parts"]]
    commands = f"python benchmarks/search.py --only {','.join(part['name'] for part in there)}"
    forced = sorted(
        {part["command"].split()[0] for part in there if part["command"].startswith("DMTH_FAST_ISA=")}
    )
    machines = dict.fromkeys(environment.summary(part["environment"]) for part in there)
    seconds = sum(part["seconds"] for part in there)
    taken = f"{seconds} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    made = "A run that was not finished, of" if any("unfinished" in part for part in there) else "Made by"
    return f"{made} `{' '.join([*forced, commands])}` in {taken} on {'; '.join(machines)}."
