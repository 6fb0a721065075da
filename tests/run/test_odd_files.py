"""What is no file in the place of a file, and no folder in the place of a folder: told by name, at once."""

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Project

from helixband.errors import StorageError
from helixband.files import read_json
from helixband.report.__main__ import main as report

TRAINED = ("--epoch", "1", "--batch-size", "20", "--eval", "--predict", "x.fa")
SEARCH = ("--hyper", "--schedule", "sha", "--trials", "2", "--epoch", "3", "--batch-size", "20")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("mine")


@pytest.fixture
def impatient() -> Iterator[None]:
    """A test that waits for a pipe ends."""

    def end(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def plant(project: Project, name: str, kind: Callable[[Path], None]) -> Path:
    place = project.results / name
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    kind(place)
    return place


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", [pipe, folder])
@pytest.mark.parametrize("flags", [TRAINED, SEARCH], ids=["training", "search"])
def test_what_is_no_file_in_the_place_of_any_file_is_told_or_does_no_harm(
    project: Project,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    kind: Callable[[Path], None],
) -> None:
    assert project.run(*flags).code == 0
    whole = project.path / "whole"
    project.results.rename(whole)
    trials = {"trials/0000", f"trials/{(whole / 'best_config').resolve().name}"}
    files = [path for path in whole.rglob("*") if path.is_file() and "best_config" not in path.parts]
    names = [str(path.relative_to(whole)) for path in files]
    names = sorted(name for name in names if not name.startswith("trials/") or name[:11] in trials)
    told, longer = set(), (*flags, "--epoch", "3" if flags is TRAINED else "9")
    for name in names:
        shutil.copytree(whole, project.results, symlinks=True)
        place = plant(project, name, kind)
        reported = report([str(project.results)]), capsys.readouterr().err
        runs = [project.run(*flags)] + [project.run(*longer)] * (kind is pipe)
        for code, errors in (reported, *((run.code, run.err) for run in runs)):
            if code:
                assert errors.startswith("error: ") and str(place) in errors, (name, errors)
                told.add(name)
        shutil.rmtree(project.results)
    assert told >= {"lock", "def.py", "run.json"}


def test_a_device_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("/dev/zero")
    with pytest.raises(StorageError, match=r"a\.json is no file but a device; remove it"):
        read_json(tmp_path / "a.json")


def test_a_socket_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # as the name of one is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("a.json")
    with pytest.raises(StorageError, match=r"a\.json is no file but a socket; remove it"):
        read_json(tmp_path / "a.json")
