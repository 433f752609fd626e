"""The result of a grid as Markdown: its tables, the differences beside them, and how it was made."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dmth_fast import environment, report

__all__ = ["grid_markdown"]


def grid_markdown(result: Mapping[str, Any]) -> list[str]:
    """Lay out what :func:`dmth_fast.grid.table.gather` returns, possibly read from its JSON.

    Args:
        result: of a grid.

    Returns:
        Lines: for each set and width a table, its differences and what attention did; then the origin.
    """
    lines: list[str] = []
    places = list(dict.fromkeys((row["set"], row["code_bits"]) for row in result["rows"]))
    for set_name, bits in places:
        here = [row for row in result["rows"] if (row["set"], row["code_bits"]) == (set_name, bits)]
        if len(places) > 1:
            heading = f"{set_name}, {bits} bits" if set_name else f"{bits} bits"
            lines += [f"**{heading}**", ""]
        lines += [report.markdown([_named(row) for row in here]), ""]
        pairs = [item for item in result["comparisons"] if (item["set"], item["bits"]) == (set_name, bits)]
        if pairs:
            lines += [*_differences(pairs), ""]
        if attention := list(_attention(here)):
            lines += [*attention, ""]
    return [*lines, *_origin(result)]


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row, with the spread over seeds in its name where there are several."""
    spread = [
        f"{words} +-{100 * row[f'{key}_deviation']:.1f}"
        for key, words in (("accuracy", "accuracy"), ("map", "mAP"))
        if f"{key}_deviation" in row
    ]
    name = f"{row['name']} ({', '.join(spread)})" if spread else row["name"]
    return {**row, "name": name}


def _differences(pairs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table of paired differences in points; what lies beyond noise is bold."""
    yield "| first minus second | points of mAP | points of accuracy |"
    yield "|---|---:|---:|"
    for first, second in dict.fromkeys((item["first"], item["second"]) for item in pairs):
        cells = []
        for metric in ("map", "accuracy"):
            found = [
                item
                for item in pairs
                if (item["first"], item["second"], item["metric"]) == (first, second, metric)
            ]
            cells.append(_interval(found[0]) if found else "-")
        yield f"| {first} minus {second} | {' | '.join(cells)} |"


def _interval(item: Mapping[str, Any]) -> str:
    low, high = 100 * item["low"], 100 * item["high"]
    text = f"{100 * item['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def _attention(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What choosing by image did, for each fusion that chooses."""
    for row in rows:
        if row.get("shuffled_accuracy") is None:
            continue
        means = row["mean_weights"]
        weights = ", ".join(f"{weight:.2f}" for weight in means)
        yield (
            f"- {row['name']}: mean largest weight {row['mean_largest_weight']:.2f} of {len(means)} teachers "
            f"(mean weights {weights}); accuracy {100 * row['accuracy']:.1f} %, with the weights "
            f"shuffled over the images {100 * row['shuffled_accuracy']:.1f} %"
        )


def _origin(result: Mapping[str, Any]) -> Iterator[str]:
    splits = result["splits"]
    first = next(iter(splits.values()))
    unlabelled = max(split["unlabelled_images"] for split in splits.values())
    protocols = ", ".join(dict.fromkeys(split["protocol"] for split in splits.values()))
    yield (
        f"Protocol {protocols}: {first['queries']:,} queries, database of {first['database_images']:,}, "
        f"{first['training_images']:,} training images"
        + (f", {unlabelled:,} without labels where the row says so" if unlabelled else "")
        + f"; split hashes (query, database, train) {_hashes(splits)}. {result['metric']}."
    )
    yield ""
    seeds = result["seeds"]
    done, every = result["cells"]["done"], result["cells"]["all"]
    over = "queries; one seed" if len(seeds) == 1 else f"queries, Student's t over {len(seeds)} seeds; seeds"
    minutes = result["seconds"] / 60
    yield (
        f"95 % intervals by paired bootstrap over {over} ({', '.join(map(str, seeds))}); bold: without 0. "
        "images/s: encoded by that row's networks, all timed one after another; query: the 100 nearest of "
        f"the database for one query on one thread. {done} of {every} cells"
        + (f" (missing: {'; '.join(result['missing'])})" if result["missing"] else "")
        + f". Made by `{result['command']}` in {minutes:.0f} minutes on {environment.summary(dict(result))}."
    )


def _hashes(splits: Mapping[str, Mapping[str, Any]]) -> str:
    found = dict.fromkeys(
        ", ".join(f"`{split[part][:8]}`" for part in ("query", "database", "train"))
        for split in splits.values()
    )
    return "; ".join(found)
