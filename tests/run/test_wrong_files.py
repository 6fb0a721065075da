"""Files in a result directory that belong elsewhere, are of odd content, or are missing: they are named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, untimed

from helixband.errors import StorageError
from helixband.files import misfit
from helixband.report.__main__ import main as report
from helixband.results import checkpoints
from helixband.results.best import best_state
from helixband.results.directory import Results
from helixband.results.journal import Journal

SEARCH = ("--hyper", "--epoch", "3", "--batch-size", "20", "--no-data-check")
EVAL = ("--eval", "--no-data-check")

ONE_SHAPE = """
def get_config():
    return {"lr": 10 ** random.uniform(-2.5, -1.5), "units": 4}
"""


@pytest.fixture
def searched(project: Project) -> Project:
    """A finished search, whose trials fit each other's weights."""
    project.define(ONE_SHAPE)
    assert project.run(*SEARCH).code == 0
    return project


def trials(project: Project) -> tuple[Path, Path]:
    """The folders of the best trial, and of another one that has checkpoints too."""
    best = (project.results / "best_config").resolve()
    other = next(path for path in project.results.glob("trials/*/checkpoints") if path.parent != best)
    return best, other.parent


def test_files_of_another_trial_are_told_and_not_used(searched: Project) -> None:
    best, other = trials(searched)
    table = ("train_results.csv", "train_results.json")
    longer = ("--train", "--epoch", "5", "--no-data-check")
    for files, flags, named in (
        (("checkpoints/best.pt",), EVAL, "checkpoints/best.pt"),
        (("checkpoints/best.pt",), ("--predict", "x.fa", "--no-data-check"), "checkpoints/best.pt"),
        (("checkpoints/last.pt",), longer, "checkpoints/last.pt"),
        (table, EVAL, "train_results.json"),
        (("config.json",), EVAL, "config.json"),
    ):
        kept = {name: (best / name).read_bytes() for name in files}
        for name in files:
            shutil.copyfile(other / name, best / name)
        refused = searched.run(*flags)
        assert (refused.code, str(best / named) in refused.err) == (1, True)
        told = "has {" if named == "config.json" else f"is of trial {other.name}; put back the one of trial"
        assert told in refused.err
        assert not (searched.results / "test_result.json").exists()
        for name, content in kept.items():
            (best / name).write_bytes(content)
    assert searched.run(*EVAL).code == 0


def test_weights_that_do_not_say_of_which_trial_are_held_against_the_journal_and_the_table(
    searched: Project,
) -> None:
    best, other = trials(searched)
    results = Results(searched.results)
    state = checkpoints.load(other / "checkpoints/best.pt")
    del state["trial"]
    checkpoints.save(best / "checkpoints/best.pt", state)
    with pytest.raises(StorageError, match="is not the one of trial .*and .*journal.jsonl has"):
        best_state(results, results.trial(best.name))
    (searched.results / "search/journal.jsonl").unlink()
    with pytest.raises(StorageError, match="is not the one of trial .*and .*train_results.csv has"):
        best_state(results, results.trial(best.name))


def test_a_copy_of_the_best_trial_in_the_place_of_the_link_is_named_where_the_trial_is_gone(
    searched: Project,
) -> None:
    best, _ = trials(searched)
    link = searched.results / "best_config"
    link.unlink()
    shutil.copytree(best, link)
    shutil.rmtree(searched.results / "trials")
    for flags in (EVAL, ("--train", "--epoch", "9")):
        refused = searched.run(*flags)
        told = f"error: {best}/checkpoints/best.pt is missing; the folder {link} is a copy of the trial"
        assert (refused.code, refused.err.startswith(told)) == (2, True)
    best.parent.mkdir()
    link.rename(best)
    assert searched.run(*EVAL).code == 0


def test_what_to_do_without_any_checkpoint_can_be_done(searched: Project) -> None:
    for folder in searched.results.glob("trials/*/checkpoints"):
        shutil.rmtree(folder)
    refused = searched.run("--train", "--epoch", "9", *EVAL)
    assert refused.code == 2
    assert "is missing; run again with --hyper to train it again, or put back a copy of it" in refused.err
    assert searched.run(*SEARCH, "--eval").code == 0


@pytest.mark.parametrize("gone", [("csv",), ("csv", "json")])
def test_a_missing_table_of_epochs_is_told_and_the_epochs_are_known(
    searched: Project, gone: tuple[str, ...]
) -> None:
    searched.run(*EVAL)
    best, _ = trials(searched)
    for suffix in gone:
        (best / f"train_results.{suffix}").unlink()
    done = searched.run(*EVAL)
    assert (
        f"training: done already, to epoch 3, {best}\nnote: {best}/train_results.csv is missing" in done.out
    )
    assert "test: done already" in done.out
    assert searched.run("--train", "--epoch", "4", "--no-data-check").code == 0
    assert len((best / "train_results.csv").read_text().splitlines()) == 5


ODD: dict[str, list[Any]] = {
    "run.json": [
        {"settings": [1]},
        {"settings": {"epoch": "x"}},
        {"stages": 3},
        {"stages": {"evaluate": []}},
        {"digests": []},
        {"single": 4},
        {"single": {"config": [], "finished": True}},
        {"environment": {"A": 3}},
        {"os_environ": {"B": [1]}},
        {"command": 3},
        {"definition": "x"},
        {"log_scaled": "lr"},
    ],
    "audit.json": [{"of": 1}, {"similar_digests": 3}, {"warnings": "x"}],
    "predictions/x.fa.record.json": [
        {"facts": 1, "outputs": ["../x"]},
        {"outputs": 5},
        {"facts": {"path": 5}},
    ],
    "test_result.json": [{"loss": "x"}, [1]],
    "baselines.json": [{"mean_mse": []}],
}


def test_documents_of_odd_types_are_named_by_runs_and_reports(project: Project) -> None:
    project.run("--epoch", "1", "--predict", "x.fa", *EVAL)
    (project.results / "run.json").write_text(json.dumps({"single": {"config": {}, "finished": True}}))
    (project.results / "trials/single/config.json").write_text("{}")
    for name, documents in ODD.items():
        file = project.results / name
        there = file.read_bytes() if file.exists() else None
        for document in documents:
            file.write_text(json.dumps(document))
            assert report([str(project.results), "--output", str(project.path / "report.html")]) == 1
            assert str(file) in project._capsys.readouterr().err
            if name not in ("test_result.json", "baselines.json"):  # which a run makes again
                refused = project.run("--predict", "x.fa", *EVAL)
                assert (refused.code, str(file) in refused.err, "Traceback" in refused.err) == (
                    1,
                    True,
                    False,
                )
        file.unlink() if there is None else file.write_bytes(there)


@pytest.mark.parametrize("plan", [{"epochs": "x"}, {"steps_per_epoch": 3}, {"epochs": 3, "trial": "0007"}])
def test_a_plan_of_odd_content_is_named(tmp_path: Path, plan: dict[str, Any]) -> None:
    trial = Results(tmp_path).trial("0001")
    trial.path.mkdir(parents=True)
    trial.plan_file.write_text(json.dumps(plan))
    with pytest.raises(StorageError, match=f"{trial.plan_file} is "):
        trial.plan()


RESULT = {"event": "result", "trial": 0, "epochs": 1, "trained": 1, "reward": 0.5, "best_epoch": 1}
RESULT |= {"error": None, "stops": []}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"event": "search"}, "'max_epochs' is missing"),
        (
            {"event": "search", "max_epochs": "x", "trials": None, "schedule": "sha", "eta": 3},
            'max_epochs is "x"',
        ),
        ({"event": "trial", "trial": "x", "round": 0, "bracket": 0, "config": {}}, 'trial is "x"'),
        ({"event": "trial", "trial": 0, "round": 0, "bracket": 0, "config": []}, "config is a list"),
        (RESULT | {"trial": -1}, "trial is -1"),
        (RESULT | {"reward": [1]}, "reward is a list"),
        (RESULT | {"reward": 10**400}, "reward is 1000"),
        (RESULT | {"stops": [True]}, r"stops\[0\] is true"),
    ],
)
def test_a_line_of_a_journal_that_is_no_event_of_a_search_is_named(
    tmp_path: Path, event: dict[str, Any], told: str
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.path.write_text(json.dumps(event) + "\n")
    readers: list[Callable[[], Any]] = [journal.of_search, journal.best_trial, lambda: journal.config(0)]
    for read in readers:
        with pytest.raises(StorageError, match=f"{journal.path}, line 1: {told}"):
            read()


def test_a_line_that_is_nested_without_end_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.path.write_bytes(b"[" * 100_000 + b"\n")
    with pytest.raises(StorageError, match="line 1: not JSON"):
        journal.events()


def test_values_are_held_against_their_types() -> None:
    shape = {"n": int, "x": (float, None), "of": {...: str}, "all": [{"n": int}], "any": object}
    fits = {"n": 1, "x": 2, "of": {"a": "b"}, "all": [{"n": 2, "other": []}], "any": True, "more": 1}
    assert misfit(fits, shape) == ""
    assert misfit({}, shape) == ""
    assert misfit([], shape) == "it is a list"
    assert misfit({"n": True}, shape) == "n is true"
    assert misfit({"x": float("nan")}, shape) == "x is NaN"
    assert misfit({"of": {"a": 1}}, shape) == "of.a is 1"
    assert misfit({"all": [{}, {"n": None}]}, shape) == "all[1].n is null"


def test_a_search_without_run_json_goes_on_with_the_settings_of_its_journal(searched: Project) -> None:
    whole = searched.path / "whole"
    shutil.copytree(searched.results, whole, symlinks=True)
    longer = ("--train", "--epoch", "5", "--no-data-check")
    assert searched.run(*longer, "--result", str(whole)).code == 0
    (searched.results / "run.json").unlink()
    assert searched.run(*longer, "--batch-size", "30").code == 2
    assert searched.run(*longer, "--seed", "1").code == 2

    done = searched.run(*longer)

    assert done.code == 0
    assert f"note: {searched.results / 'run.json'} is missing" in done.out
    name = trials(searched)[0].name
    tables = [(path / f"trials/{name}/train_results.csv").read_text() for path in (searched.results, whole)]
    assert untimed(tables[0]) == untimed(tables[1])


def test_a_single_training_without_run_json_goes_on_only_with_the_settings_given(project: Project) -> None:
    project.run("--epoch", "1", "--batch-size", "20")
    (project.results / "run.json").unlink()
    refused = project.run("--epoch", "2", "--no-data-check")
    assert refused.code == 2
    assert f"{project.results / 'run.json'} is missing, which has the settings" in refused.err
    assert "or give --batch-size as it was" in refused.err
    done = project.run("--epoch", "2", "--batch-size", "20", "--no-data-check")
    assert (done.code, "run.json is missing" in done.out) == (0, True)
    assert "run.json is missing" not in project.run("--epoch", "2").out
