"""Every example in a docstring runs, and every public name has one."""

import doctest
import inspect
from importlib import import_module
from pkgutil import walk_packages

import pytest

import dmth_fast

MODULES = sorted(
    module.name
    for module in walk_packages(dmth_fast.__path__, "dmth_fast.")
    if not module.name.endswith(("_core", "_cuda", "__main__"))
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.failed == 0


@pytest.mark.parametrize("name", [name for name in dmth_fast.__all__ if name != "__version__"])
def test_public_names_show_an_example(name: str) -> None:
    assert ">>>" in (inspect.getdoc(getattr(dmth_fast, name)) or "")
