"""The recipes of benchmarks/recipes.py at a small size: a def.py trains as the plain loop beside it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from helixband.run import command

FILES = ROOT / "benchmarks" / "recipe_files"


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module, on little data; what it imports by plain names is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name in ("recipes", "common", "simulated", "networks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import recipes

    yield recipes
    for name in ("recipes", "common", "simulated", "networks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["cnn_lstm", "profile_counts"])
def test_a_definition_trains_as_the_plain_loop(
    recipes: Any, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["recipes.py", name, "--examples", "128", "--epochs", "1", "--rounds", "1", "--json"]
    )
    assert recipes.main() == 0
    found = json.loads(capsys.readouterr().out)["recipes"][name]
    assert found["steps"] == 2 and found["largest_difference"] <= 1e-5
    assert found["bit_equal"] or name != "cnn_lstm"
    assert found["lines"]["def.py"] < found["lines"]["loop"]


def test_losses_that_differ_are_told(recipes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    train = recipes.by_definition
    monkeypatch.setattr(
        recipes, "by_definition", lambda name, epochs, notes_losses=False: train(name, 1, True)
    )
    monkeypatch.setattr(sys, "argv", ["recipes.py", "two_outputs", "--examples", "128", "--rounds", "1"])
    assert recipes.main() == 1


DEFINITIONS = [path for path in sorted(FILES.glob("*.py")) if "get_config" in path.read_text()]


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_a_recipe_passes_the_checks_before_any_work(path: Path, tmp_path: Path) -> None:
    flags = ["-f", path, "-d", tmp_path, "-r", tmp_path / "results", "-ep", "2", "-bs", "64", "--dry-run"]
    assert command.main([str(flag) for flag in flags]) == 0
