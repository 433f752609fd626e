"""One row a published system: what its own comparison found, and the command that makes it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aims import DISTILLED

__all__ = ["recipe_command", "systems_aims", "systems_table"]

Result = Mapping[str, Any]

BITS, WIDTHS = 64, (16, 32, 48, 64, 128)

SYSTEMS: tuple[tuple[str, str, str, str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "DMTH",
        "docs/systems/dmth.md",
        "cifar10-dmth",
        "CIFAR-10, official split",
        (("student, distilled", "student, labels only", "map"),),
    ),
    (
        "DMTH",
        "docs/systems/dmth.md",
        "cifar10-5k-long",
        "CIFAR-10, 5,000 labels",
        ((f"{DISTILLED} + logit, unlabelled images", "attention", "map"),),
    ),
    (
        "DMTH",
        "docs/systems/dmth.md",
        "cifar10-label-free",
        "CIFAR-10, no labels",
        (("feature + code + relational", "ITQ of mobilenet_v2", "map"),),
    ),
    *(
        (
            "CUKDFIR",
            "docs/systems/cukdfir.md",
            f"cukdfir-cifar10-{name.lower()}{suffix}",
            f"CIFAR-10, 5,000 labels, taught by {name}{', features standardised' if suffix else ''}",
            tuple((f"cuk_v1, distilled, {x}", f"cuk_v1, scratch, {x}", "map") for x in ("dch", "csq")),
        )
        for name in ("MobileNet", "SqueezeNet")
        for suffix in ("", "-standardized")
    ),
    *(
        (
            "SAKDH",
            "docs/systems/sakdh.md",
            f"sakdh-{name.lower()}",
            name,
            tuple(("hard", "dsah", metric) for metric in ("image_to_text", "text_to_image")),
        )
        for name in ("Wikipedia", "Corel5k")
    ),
    *(
        (
            "Qiang et al.",
            "docs/systems/qiang.md",
            f"qiang-{name}",
            data,
            tuple(("cosine", "cosine, 0/1 similarity", metric) for metric in ("map", "ndcg_100")),
        )
        for name, data in (
            ("corel5k-frozen", "Corel5k, frozen features"),
            ("corel5k", "Corel5k, fine-tuned"),
            ("cifar100", "CIFAR-100, class and superclass"),
        )
    ),
)
"""System, its page, the saved result, the data in words, and pairs (first, second, metric) of its rows."""


def recipe_command(name: str) -> str:
    """The command that makes the result ``name`` of a recipe's config."""
    recipe = name.partition("-")[0]
    config = f"benchmarks/experiments/{name}.toml"
    return f"dmth-fast train --recipe {recipe} --config {config} --out runs/{name}"


def systems_table(open_result: Callable[[str], Result | None]) -> list[str]:
    """A line for each system and set of data.

    Args:
        open_result: the saved result of a name, None where there is none.
    """
    lines = [f"| system | data | {BITS} bits, expected over ties | made by |", "|---|---|---|---|"]
    for system, page, file, data, pairs in SYSTEMS:
        result = open_result(file)
        found = "not run so far" if result is None else "; ".join(_found(result, pairs))
        command = recipe_command(file) if result is None else result["command"]
        lines.append(f"| [{system}]({page}) | {data} | {found} | `{command}` |")
    return lines


def _found(result: Result, pairs: tuple[tuple[str, str, str], ...]) -> Iterator[str]:
    rows = {row["name"]: row for row in result["rows"] if row.get("bits", BITS) == BITS}
    for first, second, metric in pairs:
        words = {"map": "mAP", "ndcg_100": "NDCG@100"}.get(metric, f"mAP {metric.replace('_', ' ')}")
        if first in rows and second in rows:
            values = rows[first][metric], rows[second][metric]
            yield f"{words}: {first} {values[0]:.3f}, {second} {values[1]:.3f}"


def systems_aims(open_result: Callable[[str], Result | None]) -> list[str]:
    """A line for each aim of the three further systems: what was asked, what was found, whether it is met."""
    lines = ["| aim | found | met |", "|---|---|---|"]
    for name, teacher in (
        ("mobilenet", "MobileNetV2"),
        ("mobilenet-standardized", "MobileNetV2, features standardised"),
        ("squeezenet", "SqueezeNet"),
        ("squeezenet-standardized", "SqueezeNet, features standardised"),
    ):
        distilled = open_result(f"cukdfir-cifar10-{name}")
        for loss in ("dch", "csq"):
            items = _items(distilled, f"distilled, {loss}", f"scratch, {loss}", "map", (BITS,))
            aim = f"CUKDFIR, {teacher}, {BITS} bits: after step 1 above from scratch, {loss.upper()}"
            lines.append(_aim(aim, items, all(item["low"] > 0 for item in items)))
    for name, data in (("sakdh-wikipedia", "Wikipedia"), ("sakdh-corel5k", "Corel5k")):
        result = open_result(name)
        for metric, words in (("", "mAP"), ("_50", "mAP@50")):
            sides = [
                _items(result, "hard", "dsah", f"{side}{metric}", WIDTHS)
                for side in ("image_to_text", "text_to_image")
            ]
            above = sum(min(pair[0]["low"], pair[1]["low"]) > 0 for pair in zip(*sides, strict=True))
            aim = f"SAKDH, {data}: student above its teacher in both directions at 3 of 4 widths, {words}"
            lines.append(_aim(aim, sides[0] + sides[1], above >= 3, f"{above} of {len(sides[0])} widths; "))
        linear = [
            item
            for side in ("image_to_text", "text_to_image")
            for item in _items(result, "dsah", "itq-cca", side, (8, *WIDTHS))
        ]
        above = all(item["low"] > 0 for item in linear)
        lines.append(_aim(f"SAKDH, {data}: teacher above ITQ on CCA, mAP", linear, above))
    for name, data in (
        ("qiang-corel5k-frozen", "Corel5k, frozen"),
        ("qiang-corel5k", "Corel5k, fine-tuned"),
        ("qiang-cifar100", "CIFAR-100"),
    ):
        for loss in ("isdh", "idhn", "cosine"):
            reference = f"{loss}, 0/1 similarity"
            result = open_result(name)
            if name != "qiang-cifar100":
                items = _items(result, loss, reference, "map", WIDTHS)
                aim = f"Qiang, {data}: {loss} 1.04 times its 0/1 reference in mAP"
                lines.append(_aim(aim, items, all(item["ratio"] >= 1.04 for item in items)))
            items = _items(result, loss, reference, "ndcg_100", WIDTHS)
            aim = f"Qiang, {data}: {loss} above its 0/1 reference in NDCG@100"
            lines.append(_aim(aim, items, all(item["low"] > 0 for item in items)))
    return lines


def _items(
    result: Result | None, first: str, second: str, metric: str, widths: tuple[int, ...]
) -> list[Mapping[str, Any]]:
    wanted = (first, second, metric)
    items = [] if result is None else result["comparisons"]
    found = [
        item
        for item in items
        if (item["first"], item["second"], item["metric"]) == wanted and item["bits"] in widths
    ]
    return sorted(found, key=lambda item: int(item["bits"]))


def _aim(aim: str, items: list[Mapping[str, Any]], met: bool, before: str = "") -> str:
    if not items:
        return f"| {aim} | not run so far | - |"
    parts = []
    for item in items:
        ratio = f", x{item['ratio']:.3f}" if "ratio" in item else ""
        low, high = 100 * item["low"], 100 * item["high"]
        points = f"{100 * item['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
        direction = item["metric"].replace("_", " ") + " " if "_to_" in item["metric"] else ""
        parts.append(f"{direction}{item['bits']} bits {points}{ratio}")
    return f"| {aim} | {before}{'; '.join(parts)} | {'yes' if met else 'no'} |"
