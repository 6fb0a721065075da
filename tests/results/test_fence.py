"""A run whose directory was removed, and in whose place another run has begun, writes nothing more there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Project

from helixband.errors import StorageError
from helixband.files import (
    append,
    cut,
    make_folder,
    remove_file,
    remove_folder,
    write_together,
    write_whole,
    writing_whole,
)
from helixband.report.__main__ import main as report
from helixband.results.directory import Results
from helixband.results.scored import write_scored
from helixband.run.evaluation import Evaluation
from helixband.run.prediction import Prediction
from helixband.run.runfile import RunFile

WRITES: dict[str, Callable[[Results], object]] = {
    "test result": lambda results: results.write_test_result({"loss": 1.0}),
    "baselines": lambda results: results.write_baselines({"mean_mse": 1.0}),
    "audit": lambda results: results.write_audit({"n_test": 1}),
    "scored": lambda results: write_scored(results.test_set_file, [], [], (), ""),
    "best": lambda results: results.set_best(results.trial("0001")),
    "end of a search": lambda results: results.journal.append({"event": "end"}),
    "attempt": lambda results: results.trial("0000").begin_attempt(),
    "configuration": lambda results: results.trial("0001").write_config({}),
    "single": lambda results: RunFile(results).record_single({}, finished=True),
    "stage": lambda results: RunFile(results).finish_stage("evaluate", {}),
    "prediction": lambda results: write_whole(results.prediction("x", ".npy"), b"old"),
    "several": lambda results: write_together({results.run_file: memoryview(b"old")}),
    "chunk": lambda results: append(results.prediction("x", ".part") / "0", b"old"),
    "cut": lambda results: cut(results.run_file, 1),
    "folder": lambda results: make_folder(results.path / "logs"),
    "removal": lambda results: remove_file(results.run_file),
    "removal of all": lambda results: remove_folder(results.predictions),
    "debug": lambda results: results.cleared_subdirectory("debug"),
    "trials": lambda results: results.forget_trials(),
}


def content(path: Path) -> dict[str, bytes | str | None]:
    """All that is in a folder: files, folders, and where links lead."""
    return {
        str(file.relative_to(path)): os.readlink(file)
        if file.is_symlink()
        else file.read_bytes()
        if file.is_file()
        else None
        for file in path.rglob("*")
    }


def begin(path: Path) -> None:
    """What another run has made."""
    for name in (
        "run.json",
        "test_result.json",
        "predictions/x.npy",
        "trials/0000/attempt",
        "debug/run.json",
    ):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("{}")
    (path / "lock").write_text("another\n")


@pytest.mark.parametrize("name", WRITES)
def test_nothing_is_written_where_the_directory_was_replaced(tmp_path: Path, name: str) -> None:
    results = Results(tmp_path / "results")
    with results.locked():
        shutil.rmtree(results.path)
        begin(results.path)
        before = content(results.path)
        with pytest.raises(StorageError, match=f"{results.path} was removed or replaced while this run was"):
            WRITES[name](results)
        assert content(results.path) == before


def test_a_directory_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    with results.locked():
        shutil.rmtree(results.path)
        with pytest.raises(StorageError, match="was removed or replaced"):
            results.write_test_result({"loss": 1.0})
    assert not results.path.exists()


def test_a_file_under_way_does_not_take_its_place_where_the_directory_was_replaced(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    with results.locked(), pytest.raises(StorageError, match="was removed or replaced"):
        with writing_whole(results.test_file) as file:
            file.write(b"old")
            (results.path / "lock").unlink()
            begin(results.path)
    assert results.test_file.read_text() == "{}"


@pytest.mark.parametrize(
    ("owner", "step"), [(Evaluation, "_score"), (Evaluation, "_marks"), (Prediction, "_predict_whole")]
)
def test_a_run_that_is_overtaken_ends_with_an_error_and_leaves_the_other_as_it_is(
    project: Project, monkeypatch: pytest.MonkeyPatch, owner: type, step: str
) -> None:
    asked = ("--epoch", "1", "--batch-size", "20", "--eval", "--predict", "x.fa")
    assert project.run(*asked, "--seed", "1").code == 0
    other = project.path / "other"
    project.results.rename(other)
    real = getattr(owner, step)

    def overtaken(*arguments: object) -> object:
        found = real(*arguments)
        if project.results.exists():
            shutil.rmtree(project.results)
        shutil.copytree(other, project.results, symlinks=True)
        return found

    monkeypatch.setattr(owner, step, overtaken)
    stale = project.run(*asked, "--seed", "0")

    assert (stale.code, "was removed or replaced while this run was at work" in stale.err) == (1, True)
    assert content(project.results) == content(other)


def test_a_report_is_not_written_where_the_directory_was_replaced(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run("--epoch", "1")

    def replaced(summary: object) -> str:
        shutil.copytree(project.results, project.path / "other")
        shutil.rmtree(project.results)
        shutil.copytree(project.path / "other", project.results)
        return "the old one"

    monkeypatch.setattr("helixband.report.html.report_html", replaced)
    assert report([str(project.results)]) == 1
    assert "was removed or replaced" in capsys.readouterr().err
    assert not (project.results / "report.html").exists()


def test_a_fork_of_a_run_writes_nothing(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    with results.locked():
        if (child := os.fork()) == 0:
            try:
                results.write_test_result({"loss": 1.0})
            except StorageError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        results.write_test_result({"loss": 2.0})
    assert results.test_result() == {"loss": 2.0}
