"""Who may import whom: the rooms of docs/architecture.md, held by a test."""

import ast
from pathlib import Path

import pytest

import dmth_fast

PACKAGE = Path(dmth_fast.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

LIGHT = {"retrieval", "environment"}  # imported by programs that only search
TORCH_DOORS = {"retrieval.ops", "retrieval.cuda", "retrieval.streaming", "retrieval.device_index"}


def name_of(path: Path) -> str:
    """Dotted name inside the package: ``retrieval.codes``."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imported(path: Path, *, top_level: bool = False) -> set[str]:
    """Absolute names that a module imports: at its top level only, or anywhere."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_native_opens_the_native_modules(path: Path) -> None:
    doors = {name for name in imported(path) if name.startswith(("dmth_fast._core", "dmth_fast._cuda"))}
    assert not doors or name_of(path).startswith("retrieval.native.") or name_of(path) == "retrieval.native"


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p).startswith("retrieval")], ids=name_of)
def test_retrieval_never_imports_learning(path: Path) -> None:
    foreign = {name for name in imported(path) if name.startswith("dmth_fast.")}
    allowed = ("dmth_fast.retrieval", "dmth_fast.environment", "dmth_fast.atomic", "dmth_fast._c")
    assert not {n for n in foreign if not n.startswith(allowed)}


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p).startswith("learning")], ids=name_of)
def test_learning_uses_only_the_public_side_of_retrieval(path: Path) -> None:
    private = {
        n for n in imported(path) if n.startswith(("dmth_fast.retrieval.native", "dmth_fast.retrieval.ops"))
    }
    above = {
        n
        for n in imported(path)
        if n.startswith(("dmth_fast.cli", "dmth_fast.program", "dmth_fast.demo", "dmth_fast.report"))
    }
    assert not private | above


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if name_of(p).split(".")[0] in LIGHT and name_of(p) not in TORCH_DOORS],
    ids=name_of,
)
def test_searching_never_pays_for_torch(path: Path) -> None:
    heavy = {name.split(".")[0] for name in imported(path, top_level=True)}
    assert not heavy & {"torch", "torchvision", "matplotlib", "typer", "accelerate"}


def test_version_is_written_once() -> None:
    from dmth_fast.retrieval import native

    assert native.core_version() == dmth_fast.__version__
