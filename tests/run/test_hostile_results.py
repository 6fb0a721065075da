"""A result directory from somebody else: nothing elsewhere is written or removed through what lies in it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, printed_by, untimed

from helixband.errors import StorageError
from helixband.files import append, cut, locked_file
from helixband.report.__main__ import main as report
from helixband.results.directory import Results

TRAINING = ("--epoch", "2", "--batch-size", "20")
TRAINED = (*TRAINING, "--eval", "--predict", "x.fa")
SEARCH = ("--hyper", "--epoch", "3", "--batch-size", "20")
AGAIN = ("--epoch", "4", "--eval", "--predict", "x.fa")


class Elsewhere:
    """A folder with files, which a link in a result directory leads to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copytree(path.parent / "results", path)
        self.file = path / "precious"
        self.file.write_text("0123456789" * 30)
        self._before = self._content()

    def _content(self) -> dict[str, tuple[bytes, int]]:
        return {
            str(path): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
            for path in [self.path, *self.path.rglob("*")]
        }

    def is_untouched(self) -> bool:
        return self._content() == self._before


def plant(project: Project, name: str, folder: bool) -> Elsewhere:
    """Put a link to a file or folder elsewhere in the place of what a run made."""
    elsewhere = Elsewhere(project.path / "elsewhere")
    place = project.results / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    same = elsewhere.path / name
    place.symlink_to(same if folder and same.exists() else elsewhere.path if folder else elsewhere.file)
    return elsewhere


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("lock", False),
        ("run.json", False),
        ("trials", True),
        ("trials/single", True),
        ("trials/single/attempt", False),
        ("trials/single/checkpoints", True),
        ("trials/single/checkpoints/last.pt", False),
        ("trials/single/train_results.csv", False),
        ("test_result.json", False),
        ("baselines.json", False),
        ("predictions", True),
        ("predictions/x.fa.npy", False),
        ("predictions/x.fa.tsv", False),
    ],
)
def test_nothing_is_written_through_a_link(project: Project, name: str, folder: bool) -> None:
    project.run(*TRAINED)
    content = (project.results / name).read_bytes() if not folder else b""
    elsewhere = plant(project, name, folder)
    if name in ("run.json", "trials/single/checkpoints/last.pt"):  # which are read first
        elsewhere.file.write_bytes(content)
        elsewhere._before = elsewhere._content()

    refused = project.run(*AGAIN)

    assert elsewhere.is_untouched()
    assert refused.code == 1
    assert refused.err.startswith(
        f"error: cannot write to the result directory {project.results}: {project.results / name} leads to "
        f"{elsewhere.path}"
    )
    assert "and no link in it is followed; remove the link" in refused.err


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("debug", ("--debug",)),
        ("search", SEARCH),
        ("search/journal.jsonl", SEARCH),
        ("trials", SEARCH),
        ("trials/0002", SEARCH),
    ],
)
def test_a_search_and_a_debug_run_write_and_remove_nothing_through_a_link(
    project: Project, name: str, flags: tuple[str, ...]
) -> None:
    project.run(*TRAINED)
    elsewhere = plant(project, name, folder=not name.endswith("jsonl"))
    if name.endswith("jsonl"):
        elsewhere.file.write_text("")
        elsewhere._before = elsewhere._content()

    refused = project.run(*flags)

    assert elsewhere.is_untouched()
    assert (refused.code, f"{project.results / name} leads to {elsewhere.path}" in refused.err) == (1, True)


def test_the_result_directory_itself_may_be_a_link(project: Project) -> None:
    disk = project.path / "large disk"
    disk.mkdir()
    project.results.symlink_to(disk)
    assert project.run(*TRAINED).code == 0
    assert report([str(project.results)]) == 0
    assert (disk / "predictions/x.fa.npy").exists() and (disk / "report.html").exists()


@pytest.mark.parametrize("name", ["report.html", ".report.html.tmp"])
def test_a_report_is_not_written_through_a_link(
    project: Project, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    project.run(*TRAINED)
    elsewhere = plant(project, name, folder=False)
    code = report([str(project.results)])
    assert elsewhere.is_untouched()
    if name == "report.html":
        assert code == 1
        assert f"{project.results / name} leads to {elsewhere.file}, and no" in capsys.readouterr().err
    else:
        assert code == 0 and "<html" in project.read("report.html")


@pytest.mark.parametrize("name", ["../elsewhere/precious", "{elsewhere}/precious"])
def test_a_record_cannot_have_a_file_elsewhere_removed(project: Project, name: str) -> None:
    project.run(*TRAINED)
    elsewhere = Elsewhere(project.path / "elsewhere")
    document = project.json("predictions/x.fa.record.json")
    name = name.format(elsewhere=elsewhere.path)
    document |= {"facts": {}, "outputs": [], "begun": [name]}
    del document["checksum"]  # which whoever changes it can leave out
    (project.results / "predictions/x.fa.record.json").write_text(json.dumps(document))

    refused = project.run("--predict", "x.fa")

    assert elsewhere.is_untouched()
    assert (refused.code, f"names {name}, which is not in {project.results}" in refused.err) == (1, True)


@pytest.mark.parametrize("target", ["trials/..", "/etc", "trials/0001x"])
def test_a_link_to_the_best_that_leads_to_no_trial_is_told(tmp_path: Path, target: str) -> None:
    results = Results(tmp_path)
    results.best_link.symlink_to(target)
    with pytest.raises(StorageError, match=f"{results.best_link} leads to .*, which is no trial"):
        results.best_trial()


def test_what_a_worker_prints_is_not_written_through_a_link(tmp_path: Path) -> None:
    results, elsewhere = Results(tmp_path / "results"), tmp_path / "precious"
    elsewhere.write_text("")
    trial = results.trial("0001")
    output = trial.output_file
    output.parent.mkdir(parents=True)
    output.symlink_to(elsewhere)
    with pytest.raises(StorageError, match=f"{output} leads to {elsewhere}"):
        printed_by(trial, b"something\n")
    assert elsewhere.read_text() == "" and output.is_symlink()


def test_a_pipe_in_the_place_of_a_file_is_told_and_not_waited_for(project: Project) -> None:
    project.results.mkdir()
    os.mkfifo(project.results / "lock")
    refused: Any = project.run(*TRAINED)
    assert (refused.code, f"error: {project.results / 'lock'} is no file" in refused.err) == (1, True)


def snapshot(of: Path, path: Path) -> None:
    """What `cp -al` makes: the same folders, with other names of the same files."""
    shutil.copytree(of, path, symlinks=True, copy_function=os.link)


@pytest.mark.parametrize(
    "flags", [("--epoch", "2", "--batch-size", "20"), SEARCH], ids=["training", "search"]
)
def test_a_snapshot_by_hard_links_stays_as_it_is_and_goes_on_by_itself(
    project: Project, flags: tuple[str, ...]
) -> None:
    project.run(*flags, "--predict", "x.fa")
    kept = project.path / "snapshot"
    snapshot(project.results, kept)
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}

    longer = (*flags, "--epoch", "4" if flags is not SEARCH else "9", "--eval", "--predict", "x.fa")
    assert project.run(*longer).code == 0
    assert report([str(project.results)]) == 0

    assert {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == before
    assert project.run(*longer, "--result", str(kept)).code == 0
    for name in ("test_result.json", "best_config/config.json"):
        assert project.read(name) == (kept / name).read_text()
    tables = [folder / "best_config/train_results.csv" for folder in (project.results, kept)]
    assert untimed(tables[0].read_text()) == untimed(tables[1].read_text())


def test_what_is_changed_in_place_is_not_changed_elsewhere(tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "results" / "a", tmp_path / "precious"
    file.parent.mkdir()
    elsewhere.write_text("precious")

    def link() -> None:
        file.unlink(missing_ok=True)
        os.link(elsewhere, file)

    link()
    append(file, b" and more")
    assert file.read_text() == "precious and more"
    link()
    cut(file, 3)
    assert file.read_text() == "pre"
    link()
    with locked_file(file) as descriptor:
        os.ftruncate(descriptor, 0)
        with pytest.raises(BlockingIOError), locked_file(file):
            pass
    assert file.read_text() == ""
    assert elsewhere.read_text() == "precious"


def test_a_lock_is_held_though_a_snapshot_has_it_too(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked_file(lock):
        os.link(lock, tmp_path / "snapshot")
        with pytest.raises(BlockingIOError), locked_file(lock):
            pass


def test_what_a_worker_prints_is_not_added_to_a_file_elsewhere(tmp_path: Path) -> None:
    trial, elsewhere = Results(tmp_path / "results").trial("0001"), tmp_path / "precious"
    elsewhere.write_text("precious\n")
    trial.path.mkdir(parents=True)
    os.link(elsewhere, trial.output_file)
    printed_by(trial, b"something\n")
    assert trial.output_file.read_text() == "precious\nsomething\n"
    assert elsewhere.read_text() == "precious\n"
