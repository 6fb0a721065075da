"""Each starter runs at once, by the commands of its README."""

import subprocess
import sys
from pathlib import Path

import pytest
from interop.projects import made, run

from helixband.interop.new import main as new


@pytest.mark.parametrize(("kind", "unlabelled"), [("sequence", "unlabelled.fa"), ("table", "new.csv")])
def test_a_starter_with_a_definition_runs_and_predicts(tmp_path: Path, kind: str, unlabelled: str) -> None:
    folder = made(tmp_path, kind)
    words = ["-m", "helixband", "--model", "def.py", "--data", "data", "--cpu"]
    printed = run(folder, *words, "--epoch", "1", "--eval", "--predict", unlabelled, "--no-data-check")
    assert "test: loss" in printed
    assert (folder / "results" / "predictions" / f"{unlabelled}.npy").is_file()


@pytest.mark.parametrize("kind", ["sequence", "table", "lightning"])
def test_the_test_of_a_starter_passes(tmp_path: Path, kind: str) -> None:
    folder = made(tmp_path, kind, "my-project")
    assert (folder / "tests" / "test_my_project.py").is_file()
    assert " passed" in run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert {"logs/", "models/", ".cache/", "results/"} <= set(
        (folder / ".gitignore").read_text().splitlines()
    )
    assert (folder / "README.md").read_text().startswith("# my-project\n")


@pytest.mark.parametrize(
    ("name", "told"), [("full", "full is there already"), ("a b", "the name 'a b' names a Python file too")]
)
def test_a_name_that_cannot_be_taken_is_told(
    tmp_path: Path, name: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert new([name, "--kind", "table"]) == 2
    assert told in capsys.readouterr().err


def test_new_is_a_command_of_the_room(tmp_path: Path) -> None:
    printed = run(tmp_path, "-m", "helixband.interop", "new", "x", "--kind", "table")
    assert printed.endswith("x/README.md has the commands\n")
    assert (
        subprocess.run([sys.executable, "-m", "compileall", "-q", tmp_path / "x"], check=False).returncode
        == 0
    )
