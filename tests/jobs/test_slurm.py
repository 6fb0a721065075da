"""What is asked of Slurm, and what a job's script does there: with programs in the place of Slurm's own."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from jobs_toys import command, slurm, states

from helixband.errors import StorageError
from helixband.jobs import Jobs, grid, machine
from helixband.jobs.schedulers import Attempt

FAKE = """#!/usr/bin/env python3
import json, os, pathlib, sys
here = pathlib.Path({here!r})
name = os.path.basename(sys.argv[0])
with open(here / "calls", "a") as calls:
    calls.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
answer = here / (name + ".answer")
lines = answer.read_text().splitlines() if answer.exists() else []
line = lines.pop(0) if lines else ""
answer.write_text("\\n".join(lines))
code, _, text = line.partition(" ")
print(text.replace("\\\\n", "\\n"), file=sys.stderr if int(code or 0) else sys.stdout)
sys.exit(int(code or 0))
"""


class Fakes:
    """Programs of Slurm that record how they are called, and answer `code text`, a line a call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        for name in ("sbatch", "scancel", "squeue", "scontrol"):
            (folder / name).write_text(FAKE.format(here=str(folder)))
            (folder / name).chmod(0o755)

    def answer(self, name: str, *lines: str) -> None:
        (self._folder / f"{name}.answer").write_text("\n".join(lines))

    def calls(self) -> list[list[str]]:
        path = self._folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return Fakes(tmp_path / "bin")


@pytest.fixture
def jobs(fakes: Fakes, tmp_path: Path) -> Jobs:
    return Jobs(scheduler=slurm(tmp_path))


def test_a_job_is_one_call_of_sbatch(jobs: Jobs, fakes: Fakes, tmp_path: Path) -> None:
    fakes.answer("sbatch", "0 17;cluster")
    assert states(jobs.submit(command(tmp_path), wait=0)) == {"def/first/version_1": "submitted"}
    assert fakes.calls() == [["sbatch", "--parsable", f"{tmp_path}/out/def/first/version_1/job.sh"]]
    [job] = jobs.find()
    assert (job.ids, job.scheduler) == (["17"], "slurm")


def test_a_grid_is_one_array_whose_numbers_lead_to_the_jobs(jobs: Jobs, fakes: Fakes, tmp_path: Path) -> None:
    fakes.answer("sbatch", "0 30")
    jobs.submit(grid(command(tmp_path), x=[5, 6, 7]), at_once=2, wait=0)
    [[*words]] = [call for call in fakes.calls() if call[0] == "sbatch"]
    array = Path(words[-1])
    assert words[1:] == ["--parsable", f"--chdir={array.parent}", "--array=1-3%2", str(array)]
    assert [os.readlink(array.parent / str(n)) for n in (1, 2, 3)] == [
        f"{tmp_path}/out/def/first/x={value}/version_1" for value in (5, 6, 7)
    ]
    assert array.read_text().splitlines() == [
        "#!/bin/bash",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:USR1@60",
        "#SBATCH --time=10:00",
        "#SBATCH --mem=100M",
        "#SBATCH --job-name=helixband_array",
        "#SBATCH --output=%a/job.out",
        "#SBATCH --error=%a/job.err",
        'exec bash "$SLURM_ARRAY_TASK_ID/job.sh"',
    ]
    assert [job.ids for job in jobs.find()] == [["30_1"], ["30_2"], ["30_3"]]


def test_an_array_of_jobs_that_go_on_leads_to_them_from_wherever_it_is(
    jobs: Jobs, fakes: Fakes, tmp_path: Path
) -> None:
    fakes.answer("sbatch", "0 30", "0 31")
    jobs.submit(grid(command(tmp_path), x=[5, 6]), wait=0)
    for job in jobs.find():
        Path(job.folder.events).write_text(f"start n:5 T {job.ids[0]}\nexit 1 T {job.ids[0]}\n")
    jobs.resume("*", wait=0)
    array = Path(fakes.calls()[-1][-1])
    assert [os.readlink(array.parent / str(n)) for n in (1, 2)] == [
        f"{tmp_path}/out/def/first/x={value}/version_1" for value in (5, 6)
    ]
    assert [job.ids for job in jobs.find()] == [["30_1", "31_1"], ["30_2", "31_2"]]


def test_what_goes_on_by_other_settings_has_a_script_of_these(
    jobs: Jobs, fakes: Fakes, tmp_path: Path
) -> None:
    fakes.answer("sbatch", "1 invalid partition specified: gpux", "0 31")
    wrong = Jobs(scheduler=slurm(tmp_path, partition="gpux"))
    first = command(tmp_path)
    with pytest.raises(StorageError, match="invalid partition"):
        wrong.submit(first)
    [job] = jobs.find()
    assert "#SBATCH --partition=gpux\n" in Path(job.folder.script).read_text()
    right = Jobs(scheduler=slurm(tmp_path, partition="gpu"))
    right.submit(first, wait=0)
    assert Path(job.folder.script).read_text() == right.script(first)
    assert "#SBATCH --partition=gpu\n" in right.script(first)


def test_more_jobs_than_an_array_takes_are_several(
    jobs: Jobs, fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helixband.jobs.slurm.LARGEST_ARRAY", 2)
    fakes.answer("sbatch", "0 1", "0 2")
    jobs.submit(grid(command(tmp_path), x=[1, 2, 3]), wait=0)
    assert [job.ids for job in jobs.find()] == [["1_1"], ["1_2"], ["2_1"]]


def test_a_job_depends_on_its_debug_run(jobs: Jobs, fakes: Fakes, tmp_path: Path) -> None:
    fakes.answer("sbatch", "0 8", "0 9")
    jobs.submit(command(tmp_path), debug_first=True, wait=0)
    sbatch = [call[2:] for call in fakes.calls() if call[0] == "sbatch"]
    folder = f"{tmp_path}/out/def/first/version_1"
    assert sbatch == [
        [f"{folder}/debug/job.sh"],
        ["--dependency=afterok:8", "--kill-on-invalid-dep=yes", f"{folder}/job.sh"],
    ]


def test_what_is_refused_takes_what_goes_before_with_it(jobs: Jobs, fakes: Fakes, tmp_path: Path) -> None:
    fakes.answer("sbatch", "0 8", "1 sbatch: error: QOSMaxSubmitJobPerUserLimit")
    with pytest.raises(StorageError, match="Slurm refuses the job: sbatch: error: QOSMaxSubmit"):
        jobs.submit(command(tmp_path), debug_first=True, wait=0)
    assert ["scancel", "8"] in fakes.calls()
    assert set(states(jobs.status()).values()) == {"created"}


def test_slurm_is_asked_once_for_all_silent_jobs(jobs: Jobs, fakes: Fakes, tmp_path: Path) -> None:
    fakes.answer("sbatch", "0 30")
    jobs.submit(grid(command(tmp_path), x=[1, 2, 3]), wait=0)
    fakes.answer("squeue", r"0 30_1|RUNNING\n30_2|PENDING\n99|RUNNING")
    assert list(states(jobs.status(silent=0.0)).values()) == ["running", "submitted", "lost"]
    assert [call for call in fakes.calls() if call[0] == "squeue"] == [
        ["squeue", "--noheader", "--me", "--array", "--states=all", "--format=%i|%T"]
    ]


def test_a_slurm_that_does_not_answer_is_told(jobs: Jobs, fakes: Fakes, tmp_path: Path) -> None:
    fakes.answer("sbatch", "0 30")
    jobs.submit(command(tmp_path), wait=0)
    fakes.answer("squeue", "1 slurm_load_jobs error: Unable to contact slurm controller")
    with pytest.raises(StorageError, match="cannot ask Slurm: slurm_load_jobs error: Unable to contact"):
        jobs.status(silent=0.0)
    assert states(jobs.status()) == {"def/first/version_1": "submitted"}


def test_jobs_that_were_fetched_are_shown_where_there_is_no_slurm(
    jobs: Jobs, fakes: Fakes, tmp_path: Path, monkeypatch: Any
) -> None:
    fakes.answer("sbatch", "0 30")
    jobs.submit(command(tmp_path), wait=0)
    monkeypatch.setattr("helixband.jobs.machine.run", _without_squeue(machine.run))
    assert states(Jobs().status(silent=0.0)) == {"def/first/version_1": "submitted"}


def _without_squeue(run: Any) -> Any:
    return lambda argv, stdin: (127, b"", b"") if argv[0] == "squeue" else run(argv, stdin)


def test_what_has_ended_already_is_cancelled_without_an_error(jobs: Jobs, fakes: Fakes) -> None:
    fakes.answer(
        "scancel", "1 scancel: error: Kill job error on job id 5: Invalid job id specified", "1 no server"
    )
    jobs.scheduler.cancel(jobs.os, [Attempt("5")])
    with pytest.raises(StorageError, match="cannot cancel the jobs: no server"):
        jobs.scheduler.cancel(jobs.os, [Attempt("5")])


@pytest.mark.parametrize(
    ("says", "number", "events"),
    [
        (
            "JobState=RUNNING Reason=None PreemptTime=None",
            signal.SIGUSR1,
            ["signal USR1:RUNNING", "requeue -"],
        ),
        (
            "JobState=RUNNING PreemptTime=2026-11-26T12:00:00",
            signal.SIGUSR1,
            ["signal USR1:PREEMPTED", "requeue -"],
        ),
        ("JobState=COMPLETING Reason=TimeLimit", signal.SIGTERM, ["signal TERM:TIMEOUT", "requeue -"]),
        ("JobState=COMPLETING Reason=None", signal.SIGTERM, ["signal TERM:COMPLETING"]),
    ],
)
def test_a_signal_is_recorded_with_what_slurm_says(
    says: str, number: int, events: list[str], jobs: Jobs, fakes: Fakes, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    [job] = jobs.create(command(tmp_path, "first", "--set", "do=wait"))
    fakes.answer("scontrol", f"0 JobId=17 {says}", "0")
    process = subprocess.Popen(["bash", job.folder.script], cwd="/")
    while not Path(job.folder.results, "waits").exists():
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) == 143
    lines = [
        line.rpartition(" ")[0].rpartition(" ")[0]
        for line in Path(job.folder.events).read_text().splitlines()
    ]
    assert [line for line in lines if not line.startswith("start")] == [events[0], "exit 143", *events[1:]]
    assert (["scontrol", "requeue", "17"] in fakes.calls()) == ("requeue -" in events)


def test_a_requeue_that_is_refused_is_recorded(
    jobs: Jobs, fakes: Fakes, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    [job] = jobs.create(command(tmp_path, "first", "--set", "do=wait"))
    fakes.answer("scontrol", "0 JobState=RUNNING", "1 refused")
    process = subprocess.Popen(["bash", job.folder.script])
    while not Path(job.folder.results, "waits").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    process.wait(30)
    assert "requeue refused" in Path(job.folder.events).read_text()
