"""The processes of a search that begin to come up with the command: which there are, and how they end."""

import os
import signal
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import pytest
from conftest import Project

from helixband.run.early import early_workers
from helixband.search.executors import early, spawned


class Made:
    """In the place of a process: what it was started with."""

    def __init__(self, root: str, directory: str, environment: Mapping[str, str], forks: Any) -> None:
        self.directory, self.environment = directory, environment


FLAGS = ("workers", "pack", "trials_per_gpu", "cluster", "experiment", "dry_run", "cpu", "hyper")


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"hyper": True, "workers": 2}, 2),
        ({"hyper": True, "workers": 1}, 0),
        ({"hyper": True}, 0),
        ({"hyper": True, "pack": 8}, 1),
        ({"hyper": True, "workers": 3, "pack": 8}, 3),
        ({"hyper": True, "workers": 3, "pack": "off"}, 3),
        ({"hyper": True, "pack": "off"}, 0),
        ({"hyper": True, "workers": 3, "pack": "auto"}, 0),  # its timing needs the cores
        ({"hyper": True, "workers": 2, "trials_per_gpu": 2}, 2),
        ({"hyper": True, "trials_per_gpu": 2, "pack": 8}, 0),  # torch alone knows how many GPUs there are
        ({"hyper": True, "workers": 2, "cluster": "slurm:"}, 0),
        ({"hyper": True, "workers": 2, "dry_run": True}, 0),
        ({"hyper": True, "workers": 2, "experiment": ["x.yaml"]}, 0),
        ({"workers": 2}, 0),
    ],
)
def test_as_many_come_up_as_the_flags_say_that_a_search_has(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], count: int
) -> None:
    monkeypatch.setattr(early, "Spawned", Made)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for cpu in (True, False):
        found: Any = early_workers(
            Namespace(**{**dict.fromkeys(FLAGS), **given, "model": __file__, "cpu": cpu})
        ).take()
        assert len(found) == count
        for one in found:
            assert one.directory == os.getcwd()
            assert one.environment["OPENBLAS_NUM_THREADS"] == "3"
            assert one.environment.get("CUDA_VISIBLE_DEVICES") == ("" if cpu else None)


def test_none_come_up_without_a_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "Spawned", Made)
    flags = {**dict.fromkeys(FLAGS), "hyper": True, "workers": 2, "model": "nowhere.py", "cpu": True}
    assert early_workers(Namespace(**flags)).is_empty


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that are made from here on."""
    made: list[int] = []

    class Counted(spawned.Spawned):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self.process.pid)

    monkeypatch.setattr(early, "Spawned", Counted)
    return made


def are_gone(pids: list[int]) -> bool:
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    return True


SEARCH = ("--hyper", "--trials", "1", "--epoch", "1", "--batch-size", "20")


def test_a_command_that_fails_in_its_checks_says_what_it_said_and_leaves_no_process(
    project: Project, pids: list[int]
) -> None:
    flags = (*SEARCH, "--data", str(project.path / "nowhere"))
    alone = project.run(*flags)
    with_workers = project.run(*flags, "--workers", "2")
    assert alone.code == with_workers.code == 2
    assert with_workers.err == alone.err
    assert len(pids) == 2 and are_gone(pids)


def test_a_search_that_is_done_leaves_no_process(project: Project, pids: list[int]) -> None:
    assert project.run(*SEARCH).code == 0
    again = project.run(*SEARCH, "--workers", "2")
    assert (again.code, again.err) == (0, "")
    assert "search: done already" in again.out
    assert len(pids) == 2 and are_gone(pids)


def test_ctrl_c_before_the_search_leaves_no_process(
    project: Project, pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.define(f"\nimport os\nos.kill({os.getpid()}, {int(signal.SIGINT)})\n")
    stopped = project.run(*SEARCH, "--workers", "2")
    assert (stopped.code, stopped.err) == (130, "stopped by Ctrl-C; the same command goes on from here\n")
    assert len(pids) == 2 and are_gone(pids)
