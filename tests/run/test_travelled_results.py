"""A result directory that was copied to another place works there, whatever the copy left out."""

import errno
import io
import json
import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Project

from helixband.report.__main__ import main as report

SEARCH = ("--hyper", "--epoch", "3", "--batch-size", "20")
SINGLE = ("--epoch", "2", "--batch-size", "20")


def copied(project: Project, link: str) -> None:
    """Move the project to another folder, its results as a copy has them that treats links so."""
    best = project.results / "best_config"
    trial = best.resolve()
    if link != "kept":
        best.unlink()
    if link == "a copy":
        shutil.copytree(trial, best)
    elsewhere = project.path / "another machine"
    elsewhere.mkdir()
    for name in ("def.py", "data", "results"):
        os.rename(project.path / name, elsewhere / name)
    project.path, project.results = elsewhere, elsewhere / "results"
    project.definition, project.data = elsewhere / "def.py", elsewhere / "data"
    document = project.json("run.json")
    del document["checksum"]
    text = json.dumps(document).replace(str(elsewhere.parent), "/home/somebody")
    (project.results / "run.json").write_text(text)


def weights(project: Project) -> dict[str, bytes]:
    return {
        str(path.relative_to(project.results)): path.read_bytes() for path in project.results.rglob("*.pt")
    }


@pytest.mark.parametrize("link", ["kept", "a copy", "missing"])
@pytest.mark.parametrize("trained", [SEARCH, SINGLE])
def test_a_copy_is_evaluated_and_predicts_and_is_not_trained_again(
    project: Project, trained: tuple[str, ...], link: str
) -> None:
    project.run(*trained, "--eval", "--predict", "x.fa")
    scores, predicted = project.json("test_result.json"), project.read("predictions/x.fa.tsv")
    copied(project, link)
    before = weights(project)

    again = project.run(*trained, "--eval", "--predict", "x.fa")

    assert (again.code, again.err) == (0, "")
    assert ("search: done already" if trained is SEARCH else "training: done already") in again.out
    assert project.json("test_result.json") == scores
    assert project.read("predictions/x.fa.tsv") == predicted
    assert weights(project) == before


@pytest.mark.parametrize("link", ["a copy", "missing"])
def test_a_copy_without_the_checkpoints_of_other_trials_works_and_its_search_goes_on(
    project: Project, link: str
) -> None:
    longer = ("--hyper", "--epoch", "9", "--batch-size", "20")
    project.run(*SEARCH)
    whole = project.path / "whole"
    shutil.copytree(project.results, whole, symlinks=True)
    assert project.run(*longer, "--result", str(whole)).code == 0
    expected = (whole / "search/journal.jsonl").read_text(), os.readlink(whole / "best_config")
    best = (project.results / "best_config").resolve().name
    for folder in project.results.glob("trials/*"):
        if folder.name != best:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    copied(project, link)
    assert project.run("--eval").code == 0

    going_on = project.run(*longer)

    assert (going_on.code, going_on.err) == (0, "")
    found = project.read("search/journal.jsonl"), os.readlink(project.results / "best_config")
    assert found == expected
    assert (project.results / "best_config.copy").exists() == (link == "a copy")


def test_what_is_missing_of_a_copy_is_said(project: Project) -> None:
    project.run(*SEARCH)
    best = (project.results / "best_config").resolve()
    copied(project, "missing")
    checkpoint = project.results / "trials" / best.name / "checkpoints" / "best.pt"
    checkpoint.unlink()

    refused = project.run("--eval")

    assert refused.code == 2
    assert refused.err.startswith(f"error: {checkpoint} is missing; ")


def test_a_training_that_was_stopped_is_not_taken_for_the_best_where_the_link_is_missing(
    project: Project,
) -> None:
    project.run(*SINGLE)
    document = project.json("run.json")
    del document["checksum"]
    document["single"]["finished"] = False  # as where it was killed in its first run
    (project.results / "run.json").write_text(json.dumps(document))
    (project.results / "best_config").unlink()
    went_on = project.run("--epoch", "3", "--batch-size", "20")
    assert (went_on.code, "training: done already" in went_on.out) == (0, False)
    assert os.readlink(project.results / "best_config") == "trials/single"
    assert len(project.read("trials/single/train_results.csv").splitlines()) == 4


def test_a_configuration_that_was_changed_is_told_and_what_was_recorded_is_used(project: Project) -> None:
    for trained in (SEARCH, SINGLE):
        project.run(*trained)
        config = (project.results / "best_config").resolve() / "config.json"
        whole = config.read_text()
        config.write_text(whole.replace('"units": ', '"units": 1'))

        refused = project.run("--eval")
        assert refused.code == 1
        assert refused.err.startswith(f"error: {config} has ")
        assert "delete it to use what was recorded" in refused.err

        config.unlink()
        assert project.run("--eval").code == 0
        project.clear()


@pytest.mark.parametrize("name", ["test_result.json", "baselines.json", "test_predictions.npz"])
def test_a_result_that_was_changed_is_told_and_made_again(project: Project, name: str) -> None:
    project.run(*SINGLE, "--eval")
    whole = (project.results / name).read_bytes()
    (project.results / name).write_bytes(whole.replace(b"2", b"3"))
    refused = project.run("--eval")
    assert refused.code == 1
    assert refused.err == (
        f"error: {project.results / name} is not as it was written; delete it, and it is made again\n"
    )
    (project.results / name).unlink()
    assert project.run("--eval").code == 0
    assert (project.results / name).read_bytes() == whole


@pytest.mark.parametrize("name", ["x.fa.npy", "x.fa.tsv"])
def test_a_prediction_that_was_changed_is_told_and_made_again(project: Project, name: str) -> None:
    project.run(*SINGLE, "--predict", "x.fa")
    file = project.results / "predictions" / name
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    refused = project.run("--predict", "x.fa")
    assert refused.code == 1
    assert f"{file} is not as it was written; put back a copy of it, or delete it, and" in refused.err
    assert report([str(project.results)]) == 0
    page = project.read("report.html")
    assert page.count("it is not as it was written") == 1
    assert ".record.json" not in page

    file.unlink()
    assert project.run("--predict", "x.fa").code == 0
    assert file.read_bytes() == whole
    report([str(project.results)])
    assert "it is not as it was written" not in project.read("report.html")


def test_a_folder_that_was_given_by_mistake_stays_as_it_is(project: Project) -> None:
    project.results.mkdir()
    (project.results / "photo.png").write_text("somebody's")
    for flags in (("--eval",), ("--predict", "x.fa"), ("--eval", "--epoch", "1", "--config", "none.json")):
        assert project.run(*flags).code == 2
        assert os.listdir(project.results) == ["photo.png"]


def test_a_record_that_was_changed_is_told(project: Project) -> None:
    project.run(*SINGLE)
    run = project.read("run.json")
    (project.results / "run.json").write_text(run.replace('"seed": 0', '"seed": 8'))
    refused = project.run("--eval")
    assert (refused.code, f"{project.results}/run.json is not as it was written" in refused.err) == (1, True)


def other_trial(project: Project) -> str:
    best = (project.results / "best_config").resolve().name
    return next(path.name for path in sorted(project.results.glob("trials/*")) if path.name != best)


def test_a_link_that_leads_to_another_trial_is_told_and_mended(project: Project) -> None:
    project.run(*SEARCH, "--eval")
    link, scores = project.results / "best_config", project.json("test_result.json")
    best, other = link.resolve().name, other_trial(project)
    link.unlink()
    link.symlink_to(f"trials/{other}")
    (project.results / "test_result.json").unlink()

    again = project.run("--eval")

    assert (again.code, again.err) == (0, "")
    assert f"{link} led to trial {other}; the best is trial {best}" in again.out
    assert project.json("test_result.json") == scores
    assert os.readlink(link) == f"trials/{best}"
    assert "led to trial" not in project.run("--eval").out


@pytest.mark.parametrize("content", [None, "checkpoints/best.pt", "config.json"])
def test_a_folder_in_the_place_of_the_link_is_set_aside_twice(project: Project, content: str | None) -> None:
    project.run(*SEARCH)
    link = project.results / "best_config"
    trial = link.resolve()
    (project.results / "best_config.copy").mkdir()
    link.unlink()
    link.mkdir()
    if content:
        (link / content).parent.mkdir(exist_ok=True)
        shutil.copy(trial / content, link / content)
    going_on = project.run("--hyper", "--epoch", "9", "--batch-size", "20")
    assert (going_on.code, going_on.err) == (0, "")
    assert link.is_symlink() and (project.results / "best_config.copy2").is_dir()


def results_in(journal: str) -> list[dict[str, object]]:
    events = [json.loads(line) for line in journal.splitlines()]
    found = [{name: event[name] for name in event if name not in ("sum", "stops")} for event in events]
    return sorted((event for event in found if event["event"] == "result"), key=str)


@pytest.mark.parametrize("lost", [1, 4, 9])
def test_a_journal_that_lost_its_last_lines_comes_to_the_same_results(project: Project, lost: int) -> None:
    """Rewards are those of the rungs, also of trials that were trained further."""
    search = ("--hyper", "--schedule", "sha", "--trials", "5", "--epoch", "9", "--batch-size", "20")
    project.run(*search)
    journal = project.results / "search/journal.jsonl"
    whole = journal.read_text()
    journal.write_text("".join(whole.splitlines(keepends=True)[:-lost]))
    assert project.run(*search).code == 0
    assert results_in(journal.read_text()) == results_in(whole)


def test_a_trial_without_its_best_weights_is_listed_and_trained_again(project: Project) -> None:
    search = ("--hyper", "--schedule", "sha", "--trials", "3", "--epoch", "3", "--batch-size", "20")
    longer = (*search, "--epoch", "9")
    project.run(*search)
    whole = project.path / "whole"
    shutil.copytree(project.results, whole, symlinks=True)
    assert project.run(*longer, "--result", str(whole)).code == 0
    best = (project.results / "best_config").resolve()
    (best / "checkpoints/best.pt").unlink()

    going_on = project.run(*longer)

    assert (going_on.code, going_on.err) == (0, "")
    assert f"checkpoints are missing of: {best.name}; those that go on are trained from" in going_on.out
    assert project.read("search/journal.jsonl") == (whole / "search/journal.jsonl").read_text()


def test_a_training_without_its_best_weights_is_made_again(project: Project) -> None:
    project.run(*SINGLE)
    best = project.results / "trials/single/checkpoints/best.pt"
    whole = best.read_bytes()
    best.unlink()
    assert project.run("--eval").err.startswith(f"error: {best} is missing; ")
    again = project.run(*SINGLE)
    assert (again.code, "checkpoints are missing of" in again.out) == (0, True)
    assert torch.equal(
        *(torch.load(io.BytesIO(x))["network"]["0.weight"] for x in (whole, best.read_bytes()))
    )


def test_a_configuration_of_any_trial_that_was_changed_is_told(project: Project) -> None:
    project.run(*SEARCH)
    config = project.results / "trials" / other_trial(project) / "config.json"
    whole = config.read_text()
    config.write_text(whole.replace('"units": ', '"units": 1'))
    refused = project.run("--hyper", "--epoch", "9", "--batch-size", "20")
    assert (refused.code, refused.err.startswith(f"error: {config} has ")) == (1, True)
    config.unlink()
    assert project.run("--hyper", "--epoch", "9", "--batch-size", "20").code == 0


@pytest.mark.parametrize("damage", ["twice", "noise", "short"])
def test_a_table_of_epochs_that_was_damaged_decides_nothing(project: Project, damage: str) -> None:
    project.run(*SINGLE)
    table = project.results / "trials/single/train_results.csv"
    whole = table.read_bytes()
    lines = whole.splitlines(keepends=True)
    damaged = {"twice": whole + b"".join(lines[1:]), "noise": bytes(range(256)), "short": lines[0] + lines[2]}
    for facts in (True, False):  # an earlier version wrote none
        if not facts:
            (table.parent / "train_results.json").unlink()
        table.write_bytes(damaged[damage])
        refused = project.run("--epoch", "3", "--batch-size", "20")
        assert (refused.code, refused.err.startswith(f"error: {table} is ")) == (1, True)
    table.unlink()
    assert project.run("--epoch", "3", "--batch-size", "20").code == 0
    assert len(table.read_text().splitlines()) == 4


def test_a_copy_of_the_definition_that_was_changed_is_told_and_kept(project: Project) -> None:
    project.run(*SINGLE)
    copy = project.results / "def.py"
    copy.write_text(copy.read_text() + "\n# a note of mine\n")
    again = project.run("--eval")
    assert (again.code, f"note: {copy} was changed after it was written; that is kept as" in again.out) == (
        0,
        True,
    )
    assert copy.read_text() == project.definition.read_text()
    kept = [path.read_text() for path in project.results.glob("definitions/*.py")]
    assert len(kept) == 1 and kept[0].endswith("# a note of mine\n")
    assert "was changed after" not in project.run("--eval").out


@pytest.fixture
def read_only(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results as on a file system that is mounted to be read: what would change it is refused."""
    project.run(*SINGLE, "--eval", "--predict", "x.fa")
    place = str(project.results)

    def refusing(call: Callable[..., Any], writes: Callable[..., bool]) -> Callable[..., Any]:
        def made(path: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and str(path).startswith(place) and writes(*arguments):
                raise OSError(errno.EROFS, "Read-only file system", str(path))
            return call(path, *arguments, **options)

        return made

    monkeypatch.setattr(
        os, "open", refusing(os.open, lambda flags, *_: flags & (os.O_WRONLY | os.O_RDWR) != 0)
    )
    monkeypatch.setattr(
        "builtins.open", refusing(open, lambda mode="r", *_: set(mode) & set("wax+") != set())
    )
    for name in ("unlink", "replace", "rename", "rmdir", "truncate", "symlink"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), lambda *_: True))


@pytest.mark.usefixtures("read_only")
def test_what_is_done_can_be_read_where_nothing_can_be_written(project: Project) -> None:
    done = project.run(*SINGLE, "--eval", "--predict", "x.fa")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("done already") == 3


@pytest.mark.usefixtures("read_only")
@pytest.mark.parametrize(
    "flags",
    [("--epoch", "3"), ("--eval", "--mc-dropout", "2"), ("--predict", "y.fa")],
    ids=["-ep", "-e", "-p"],
)
def test_more_than_that_is_refused_before_any_work(
    project: Project, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    (project.data / "y.fa").write_text(">one\nACGT\n")
    monkeypatch.setattr("base_model.BaseModel.load", lambda *_: pytest.fail("it works in vain"))
    refused = project.run(*flags, "--batch-size", "20")
    assert refused.code == 1
    assert refused.err.startswith(f"error: cannot write to the result directory {project.results}: Read-only")
    assert "copy the directory to where you can write, and give the copy with --result" in refused.err


@pytest.mark.usefixtures("read_only")
def test_a_report_of_what_can_only_be_read_is_written_elsewhere(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report([str(project.results)]) == 1
    assert "give the place of the report with --output" in capsys.readouterr().err
    assert report([str(project.results), "--output", str(project.path / "mine.html")]) == 0
    assert "<html" in (project.path / "mine.html").read_text()
    assert report([str(project.results), "--output", str(project.path / "none/mine.html")]) == 2
    assert f"the folder {project.path / 'none'} does not exist" in capsys.readouterr().err


def test_who_only_reads_leaves_a_torn_line_of_the_journal(project: Project) -> None:
    project.run(*SEARCH)
    journal = project.results / "search/journal.jsonl"
    whole = journal.read_bytes()
    torn = whole + b'{"event": "tri'  # as where another process is adding a line
    journal.write_bytes(torn)
    for reading in (("--epoch", "4", "--hyper", "--dry-run"), ("--eval",), SEARCH):
        done = project.run(*reading)
        assert (done.code, done.err) == (0, "")
        assert journal.read_bytes() == torn
    assert project.run(*SEARCH, "--epoch", "4").code == 0
    assert journal.read_bytes().startswith(whole + b'{"event": "search"')
