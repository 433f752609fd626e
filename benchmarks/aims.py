"""What the experiments were to show, each answered by the saved results alone."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["aims_table"]

Result = Mapping[str, Any]

DISTILLED = "labels + feature + code + relational"
UNLABELLED = f"{DISTILLED}, unlabelled images"


def aims_table(open_result: Callable[[str], Result | None]) -> list[str]:
    """A line for each aim: what was asked, what was found, whether it is met.

    Args:
        open_result: the saved result of a name, None where there is none.
    """
    lines = ["| aim | found | met |", "|---|---|---|"]
    for aim, found, met in _answers(open_result):
        lines.append(f"| {aim} | {found} | {'-' if met is None else 'yes' if met else 'no'} |")
    return lines


def _answers(open_result: Callable[[str], Result | None]) -> Iterator[tuple[str, str, bool | None]]:
    few, few_long = open_result("cifar10-5k"), open_result("cifar10-5k-long")
    official, free = open_result("cifar10-official"), open_result("cifar10-label-free")
    pair = open_result("cifar10-dmth")

    gain = _difference(few, "attention", "best teacher", "accuracy")
    yield _answer(
        "two ImageNet networks fused name at least 2 points more than the better one (`cifar10-5k`)",
        gain,
        lambda item: item["difference"] >= 0.02 and item["low"] > 0,
    )
    where = "four CIFAR networks and MobileNetV2"
    for metric, words in (("map", "find more than"), ("accuracy", "name more than")):
        for second, whom in (
            ("best teacher", "every single one"),
            ("softmax average of the teachers", "their softmax average"),
        ):
            yield _answer(
                f"{where} fused {words} {whom} (`cifar10-official`)",
                _difference(official, "attention", second, metric, where),
                lambda item: item["low"] > 0,
            )
    plain = _difference(official, DISTILLED, "labels only", "map", "four CIFAR networks")
    if plain is None and pair is not None:
        plain = pair["comparisons"][0]
    yield _answer(
        "a distilled student is above itself undistilled (`cifar10-official`)",
        plain,
        lambda item: item["low"] > 0,
    )
    yield _answer(
        "and by at least 6 points with 500 labels a class (`cifar10-5k`), without further images",
        _difference(few, DISTILLED, "labels only", "map"),
        lambda item: item["difference"] >= 0.06 and item["low"] > 0,
    )
    yield _answer(
        "the same, with the database as unlabelled images",
        _difference(few, UNLABELLED, "labels only", "map"),
        lambda item: item["difference"] >= 0.06 and item["low"] > 0,
    )
    best = max(
        (
            (float(row["map"]), row["name"], result)
            for result in (few, few_long)
            if result
            for row in result["rows"]
            if row["kind"] == "student"
        ),
        key=lambda found: found[0],
        default=None,
    )
    if best is None:
        yield "its mAP reaches .85", "not run", None
    else:
        yield "its mAP reaches .85", f"{best[0]:.3f} ({best[1]})", best[0] >= 0.85
    yield _answer(
        "and is above its own fused teacher's",
        best and _difference(best[2], best[1], "attention", "map"),
        lambda item: item["low"] > 0,
    )
    yield _kept(free)
    yield "on a GPU a student of at most 0.5 M parameters reaches .935 (`cifar10-official`)", "not run", None


def _kept(result: Result | None) -> tuple[str, str, bool | None]:
    aim = "a student without labels keeps 90 % of MobileNetV2's own ITQ mAP"
    maps = {row["name"]: row["map"] for row in result["rows"]} if result else {}
    student, single, joined = (
        maps.get(name)
        for name in ("feature + code + relational", "ITQ of mobilenet_v2", "ITQ of all teachers")
    )
    if student is None or single is None or joined is None:
        return aim, "not run", None
    of_single, of_both = 100 * student / single, 100 * student / joined
    found = (
        f"{student:.3f}: {of_single:.0f} % of {single:.3f}, {of_both:.0f} % of both networks' {joined:.3f}"
    )
    return aim, found, student >= 0.9 * single


def _difference(
    result: Result | None, first: str, second: str, metric: str, set_name: str = ""
) -> Mapping[str, Any] | None:
    wanted = (set_name, first, second, metric)
    for item in result["comparisons"] if result else ():
        if (item["set"], item["first"], item["second"], item["metric"]) == wanted:
            found: Mapping[str, Any] = item
            return found
    return None


def _answer(
    aim: str, item: Mapping[str, Any] | None, met: Callable[[Mapping[str, Any]], bool]
) -> tuple[str, str, bool | None]:
    if item is None:
        return aim, "not run", None
    low, high = 100 * item["low"], 100 * item["high"]
    unit = "mAP" if item["metric"] == "map" else "accuracy"
    found = f"{100 * item['difference']:+.1f} points of {unit} [{low:+.1f}, {high:+.1f}]"
    return aim, f"{found}, {_seeds(item)}", met(item)


def _seeds(item: Mapping[str, Any]) -> str:
    seeds = item.get("seeds", 1)
    return "one seed" if seeds == 1 else f"{seeds} seeds"
