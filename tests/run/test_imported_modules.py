"""Modules that a definition imports from its folder are recorded; a change of one between runs is told."""

import hashlib
from pathlib import Path

import pytest
from conftest import Project

from helixband.run.code import changed_modules, digests_of_modules

SHORT = ("--epoch", "1", "-bs", "60")
IMPORTS = """
import helper
from parts import layers

def get_test_generator(data_dir):
    import importlib
    importlib.import_module("late")
    return MatrixBatchGenerator(*table(2, 20))
"""


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(name="imports")
def imports_fixture(project: Project) -> Project:
    """A definition with a helper, a package, and a module that its test set alone imports."""
    project.define(IMPORTS)
    (project.path / "parts").mkdir()
    for name in ("helper", "parts/__init__", "parts/layers", "late", "unused"):
        (project.path / f"{name}.py").write_text(f"NAME = {name!r}\n")
    return project


def test_modules_that_were_imported_are_recorded_also_those_that_a_stage_imports(imports: Project) -> None:
    assert imports.run(*SHORT).code == 0
    first = {
        "helper.py": sha256("NAME = 'helper'\n"),
        "parts/__init__.py": sha256("NAME = 'parts/__init__'\n"),
        "parts/layers.py": sha256("NAME = 'parts/layers'\n"),
    }
    assert imports.json("run.json")["modules"] == first
    assert imports.run(*SHORT, "--eval").code == 0
    assert imports.json("run.json")["modules"] == {**first, "late.py": sha256("NAME = 'late'\n")}


def test_a_change_of_an_imported_module_is_told_in_each_run_and_refused_in_none(imports: Project) -> None:
    assert "note:" not in imports.run(*SHORT, "--eval").out
    (imports.path / "unused.py").write_text("NAME = 'other'\n")
    assert "note:" not in imports.run(*SHORT, "--eval").out

    (imports.path / "parts" / "layers.py").write_text("NAME = 'other'\n")
    (imports.path / "late.py").unlink()
    recorded = imports.json("run.json")["modules"]
    for _ in range(2):
        told = imports.run("--epoch", "2", "-bs", "60")
        assert told.code == 0
        layers, late = imports.path / "parts" / "layers.py", imports.path / "late.py"
        assert (
            f"note: {imports.results} was made with another version of {late}, which is not there now, "
            f"{layers}, which the definition imports: results of both may be mixed\n"
        ) in told.out
    assert imports.json("run.json")["modules"] == recorded


def test_another_definition_by_force_is_recorded_with_its_own_modules(imports: Project) -> None:
    assert imports.run(*SHORT).code == 0
    imports.define("\nimport helper\n")
    (imports.path / "helper.py").write_text("NAME = 'other'\n")
    assert imports.run(*SHORT, "--force").code == 0
    assert imports.json("run.json")["modules"] == {"helper.py": sha256("NAME = 'other'\n")}
    assert "note:" not in imports.run(*SHORT).out


def test_a_run_that_trained_nothing_binds_no_module(imports: Project) -> None:
    imports.define("\nimport helper\nclass Model(Model):\n    def init_model(self): 1 / 0\n")
    assert imports.run(*SHORT, "--no-data-check").code != 0
    assert imports.json("run.json")["modules"] == {"helper.py": sha256("NAME = 'helper'\n")}
    imports.define("\nimport helper\n")
    (imports.path / "helper.py").write_text("NAME = 'other'\n")
    assert "note:" not in imports.run(*SHORT).out
    assert imports.json("run.json")["modules"] == {"helper.py": sha256("NAME = 'other'\n")}


def test_a_folder_that_was_moved_has_the_same_modules(imports: Project, tmp_path: Path) -> None:
    from helixband.definition import load_definition

    known = digests_of_modules(load_definition(imports.definition), {})
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("def.py", "helper.py", "parts"):
        (imports.path / name).rename(moved / name)
    definition = load_definition(moved / "def.py")
    assert changed_modules(definition, known) == ""
    assert digests_of_modules(definition, {}) == known
    told = changed_modules(definition, {f"{number}.py": "" for number in range(7)})
    assert told.endswith(f"{moved}/4.py, which is not there now and 2 more")
