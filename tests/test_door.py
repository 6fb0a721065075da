"""What `from helixband import …` gives."""

import ast
import gc
import importlib
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

import helixband
from helixband import importing

TOP = ["base_model", "batch_generator", "constraints", "hyperband"]
DOORS = sorted([*TOP, "helixband.tasks"])
NAMES = [(module, name) for module in DOORS for name in importlib.import_module(module).__all__]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_name_is_the_one_of_its_module(module: str, name: str) -> None:
    assert name in helixband.__all__, f"add {name!r} to _MODULES in helixband/__init__.py"
    assert getattr(helixband, name) is getattr(importlib.import_module(module), name)


def test_all_names_of_these_modules_are_there_and_no_others() -> None:
    names = {"__version__", *(name for _, name in NAMES)}
    assert set(helixband.__all__) == names, "_MODULES in helixband/__init__.py lists other names"
    assert set(helixband.__all__) <= set(dir(helixband))


def test_type_checkers_are_told_of_the_same_names() -> None:
    stub = ast.parse((ROOT / "helixband" / "__init__.pyi").read_text())
    told = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert sorted(str(node.module) for node in told) == DOORS
    assert {alias.name for node in told for alias in node.names} == {"*"}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'helixband' has no attribute 'BasModel'"):
        print(helixband.BasModel)


def test_the_package_imports_nothing_heavy() -> None:
    code = "import sys, helixband; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "helixband" in imported
    assert not {"torch", "numpy", "base_model", "helixband.errors"} & set(imported)


@pytest.mark.parametrize("command", [["main.py"], ["-m", "helixband"]])
def test_a_checkout_has_the_command_in_two_forms(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command, "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"helixband {helixband.__version__}\n"


def test_an_installation_has_the_command_and_no_module_called_main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert sorted(project["tool"]["setuptools"]["py-modules"]) == TOP
    module, _, function = project["project"]["scripts"]["helixband"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_garbage_is_looked_for_seldom_during_an_import_alone() -> None:
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="half way"), importing():
        assert gc.get_threshold() == (100_000, *before[1:])
        with importing():
            assert gc.isenabled()
        assert gc.get_threshold() == (100_000, *before[1:])
        raise ValueError("half way")
    assert gc.get_threshold() == before


def test_what_an_imported_module_sets_for_itself_stays() -> None:
    before = gc.get_threshold()
    try:
        with importing():
            gc.set_threshold(5, 6, 7)
        assert gc.get_threshold()[:2] == (5, 6)
    finally:
        gc.set_threshold(*before)
