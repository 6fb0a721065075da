"""Jobs of a real Slurm, where there is one."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Project, untimed
from jobs_toys import command, needs_slurm, resume, slurm, states, until

from helixband.errors import StorageError
from helixband.jobs import Command, Jobs, Slurm, grid
from helixband.jobs.schedulers import Attempt
from helixband.jobs.status import OVER

pytestmark = needs_slurm

SLOW = """
import pathlib, time
_train_metrics = Model.train_metrics
def _slow(self, y_true, y_pred):
    if pathlib.Path("{}").exists():
        time.sleep(0.5)
    return _train_metrics(self, y_true, y_pred)
Model.train_metrics = _slow
"""
"""Trains slowly as long as a file is there."""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return Jobs(scheduler=slurm(tmp_path))


def do(what: str, name: str = "first") -> Command:
    return command(Path(), name, "--set", f"do={what}")


def tell(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def field(id: str, name: str) -> str:
    """What Slurm says of a job."""
    words = tell("scontrol", "show", "job", "-o", id).split()
    return next(word.partition("=")[2] for word in words if word.startswith(f"{name}="))


def test_jobs_in_slurm_end_and_say_how(jobs: Jobs) -> None:
    table = jobs.submit([do("", "good"), do("fail", "a b;'c\""), do("wait", "waits")], wait=0)
    assert len(table) == 3
    until(lambda: jobs.status(["good", "a b*"]), lambda status: status.state in OVER)
    [waits] = until(
        lambda: jobs.status("waits"), lambda status: Path(f"out/{status.job}/results/waits").exists()
    )
    tell("scancel", waits.id or "")
    until(jobs.status, lambda status: status.state in OVER)
    assert {status.job.split("/")[1]: (status.state, status.said) for status in jobs.status()} == {
        "a b;'c\"": ("error", "ValueError: no such thing"),
        "good": ("complete", ""),
        "waits": ("cancelled", ""),
    }
    assert Path("out/def/good/version_1/job.out").read_text().startswith("at work")


def test_a_single_job_has_its_name_and_files(jobs: Jobs) -> None:
    jobs.submit(do("", "v1/lr=1.00E-03"), wait=0)
    [job] = jobs.find()
    assert field(job.ids[0], "JobName") == "v1/lr=1.00E-03_version_1"
    until(jobs.status, lambda status: status.state == "complete")
    assert Path(job.folder.out).read_text().startswith("at work")


def test_a_grid_is_an_array_with_a_limit_at_once(jobs: Jobs) -> None:
    commands = grid(do(""), x=list(range(20)))
    jobs.submit(commands, at_once=4, wait=0)
    ids = {job.ids[0].split("_")[0] for job in jobs.find()}
    assert len(ids) == 1
    assert field(f"{ids.pop()}_20", "ArrayTaskThrottle") == "4"
    until(jobs.status, lambda status: status.state == "complete", 100)
    before = Path("out/submissions.jsonl").read_text()
    assert set(states(jobs.submit(commands, at_once=4, wait=0)).values()) == {"complete"}  # nothing again
    assert Path("out/submissions.jsonl").read_text() == before


def test_a_job_waits_for_its_debug_run_in_slurm(jobs: Jobs) -> None:
    jobs.submit([do("", "good"), do("fail_in_debug", "bad")], debug_first=True, wait=0)
    until(jobs.status, lambda status: status.state in OVER)
    assert states(jobs.status()) == {
        "def/bad/version_1": "cancelled",
        "def/bad/version_1/debug": "error",
        "def/good/version_1": "complete",
        "def/good/version_1/debug": "complete",
    }


def test_a_job_of_a_node_that_fails_begins_again(jobs: Jobs) -> None:
    jobs.submit(do("wait_once"), wait=0)
    [status] = until(jobs.status, lambda status: Path(f"out/{status.job}/results/waits").exists())
    node = field(status.id or "", "NodeList")
    try:
        tell("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        until(lambda: jobs.status(silent=0.0), lambda status: status.state == "submitted")
    finally:
        for _ in range(50):  # not while it still ends the job
            back = ["scontrol", "update", f"nodename={node}", "state=resume"]
            if subprocess.run(back, capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.2)
    begin_soon(status.id or "", Path(f"out/{status.job}/job.events"), 2)
    until(jobs.status, lambda status: status.state == "complete", 60)
    assert Path(f"out/{status.job}/job.events").read_text().count("start ") == 2


def test_a_job_is_cancelled_and_resumed_in_slurm(jobs: Jobs) -> None:
    jobs.submit(do("wait_once"), wait=0)
    until(jobs.status, lambda status: Path(f"out/{status.job}/results/waits").exists())
    jobs.cancel("first")
    until(jobs.status, lambda status: "exit " in Path(f"out/{status.job}/job.events").read_text())
    assert states(jobs.status()) == {"def/first/version_1": "cancelled"}
    resume(jobs, "first")
    until(jobs.status, lambda status: status.state == "complete")
    attempts = [Attempt(job.ids[-1]) for job in jobs.find()]
    jobs.scheduler.cancel(jobs.os, attempts)  # what has ended is no error


def test_what_slurm_refuses_is_told_in_its_words_and_the_script_kept(jobs: Jobs, tmp_path: Path) -> None:
    jobs = Jobs(scheduler=slurm(tmp_path, partition="nowhere"))
    with pytest.raises(
        StorageError, match="(?s)Slurm refuses the job: .*invalid partition specified: nowhere"
    ) as told:
        jobs.submit(do(""))
    assert (
        Path(str(told.value).rpartition(": ")[2])
        .read_text()
        .startswith("#!/bin/bash\n#SBATCH --job-name=first")
    )
    assert states(jobs.status()) == {"def/first/version_1": "created"}


def test_a_run_that_is_stopped_twice_by_its_time_equals_one_that_is_not(
    jobs: Jobs, tmp_path: Path, project: Project
) -> None:
    slow = tmp_path / "slow"
    slow.touch()
    project.define(SLOW.format(slow))
    argv = ["--model", str(project.definition), "--data", str(project.data), "--cpu", "--epoch", "400"]
    jobs = Jobs(scheduler=Slurm(time="10:00", memory="500M", signal=60))
    jobs.submit(Command("stopped", argv), wait=0)
    [job] = jobs.find()
    events, [id] = Path(job.folder.events), job.ids
    for attempt in (1, 2):
        until(jobs.status, lambda status: events.exists() and _began(events) == attempt, 60)  # noqa: B023
        epochs = jobs.status()[0].glance.epoch or 0
        until(jobs.status, lambda status: (status.glance.epoch or 0) >= epochs + 2, 60)  # noqa: B023
        tell("scontrol", "update", f"jobid={id}", "EndTime=now+45")
        until(jobs.status, lambda status: events.read_text().count("requeue -") == attempt, 90)  # noqa: B023
        assert states(jobs.status()) == {job.label: "submitted"}
        begin_soon(id, events, attempt + 1)
    slow.unlink()
    until(jobs.status, lambda status: status.state == "complete", 90)
    assert _began(events) == 3
    assert project.run("--epoch", "400").code == 0
    ours, theirs = (results / "trials" / "single" for results in (Path(job.folder.results), project.results))
    tables = [(trial / "train_results.csv").read_text() for trial in (ours, theirs)]
    assert untimed(tables[0]) == untimed(tables[1])
    for name in ("best.pt", "last.pt"):
        first, second = (
            torch.load(trial / "checkpoints" / name, weights_only=True)["network"] for trial in (ours, theirs)
        )
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def begin_soon(id: str, events: Path, attempt: int) -> None:
    """Have a job that waits after a requeue begin at once, and wait until it has."""
    limit = time.monotonic() + 180  # Slurm lets a job wait two minutes after it was requeued
    time.sleep(3)  # in the second in which it revokes the old credential, Slurm starts no job with a new one
    while _began(events) < attempt:
        assert time.monotonic() < limit
        # Not while it still ends, and not where it has begun already.
        update = ["scontrol", "update", f"jobid={id}", "StartTime=now", "TimeLimit=10:00"]
        subprocess.run(update, capture_output=True, check=False)
        time.sleep(0.5)


def _began(events: Path) -> int:
    return events.read_text().count("start ")


def test_the_example_runs_by_one_command(jobs: Jobs, tmp_path: Path) -> None:
    for name in ("cluster", "function_regressor"):
        shutil.copytree(
            ROOT / "examples" / name, tmp_path / "examples" / name, ignore=shutil.ignore_patterns("out")
        )
    command = [sys.executable, "examples/cluster/sweep.py", "--epochs", "1", "--units", "32"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 complete" in done.stdout
    assert "named_model/v1/hu=32/lr=3.00E-03/version_1\tcomplete\t" in done.stdout
