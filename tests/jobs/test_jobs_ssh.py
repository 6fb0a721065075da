"""Jobs of a machine behind SSH, as processes and in Slurm, where there are such."""

import os
from pathlib import Path

import pytest
from jobs_toys import command, needs_slurm, needs_ssh, resume, shell, slurm, ssh, states, until

from helixband.jobs import Command, Jobs, SshOs, grid
from helixband.jobs.status import OVER

pytestmark = needs_ssh


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the other machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


def do(what: str, name: str = "first") -> Command:
    return command(Path.cwd(), name, "--set", f"do={what}")


def test_jobs_behind_ssh_survive_the_session_and_come_home(there: Path) -> None:
    jobs, near = Jobs(f"{there}/out", ssh(), shell(there)), Jobs(f"{there}/out")  # near: to wait without SSH
    jobs.submit([do("", "good"), do("fail", "it's; bad"), do("wait_once", "waits")], wait=0)
    waits = there / "out/def/waits/version_1"
    until(lambda: near.status("waits"), lambda status: (waits / "results/waits").exists())
    jobs.cancel("waits")
    until(near.status, lambda status: status.state in OVER)
    assert {status.job.split("/")[1]: (status.state, status.said) for status in jobs.status()} == {
        "good": ("complete", ""),
        "it's; bad": ("error", "ValueError: no such thing"),
        "waits": ("cancelled", ""),
    }
    until(near.status, lambda status: "exit " in (waits / "job.events").read_text())
    resume(jobs, "waits")
    until(lambda: near.status("waits"), lambda status: status.state == "complete")
    assert jobs.fetch("good", "home") == [Path("home/def/good/version_1")]
    assert states(Jobs("home").status()) == {"def/good/version_1": "complete"}
    assert "ValueError: no such thing" in jobs.log("it's; bad")


def test_relative_paths_are_from_the_home_folder_there(there: Path) -> None:
    jobs = Jobs("no-such-folder-of-jobs", ssh())
    home = os.path.expanduser("~")
    assert f"cd {home}/no-such-folder-of-jobs/def/first/version_1 ||" in jobs.script(do(""))
    assert "\npython=python3\n" in jobs.script(do(""))
    assert jobs.status() == []


def test_the_status_of_many_jobs_takes_three_round_trips(there: Path) -> None:
    machine = ssh()
    jobs = Jobs(f"{there}/out", machine, shell(there))
    jobs.create(grid(do(""), x=list(range(30))))
    jobs.submit(jobs.find("first/x=1"), wait=0)
    before = machine.round_trips
    assert len(jobs.status(silent=0.0)) == 30
    assert machine.round_trips - before <= 3


@needs_slurm
def test_slurm_behind_ssh_runs_a_grid(there: Path) -> None:
    jobs = Jobs(f"{there}/out", ssh(), slurm(there))
    table = jobs.submit(grid(do(""), x=list(range(20))), at_once=4, wait=0)
    assert len(table) == 20
    until(Jobs(f"{there}/out").status, lambda status: status.state == "complete", 100)
    assert {job.ids[0].partition("_")[2] for job in jobs.find()} == {str(number) for number in range(1, 21)}


def test_a_job_is_sent_from_where_no_definition_could_be_loaded(there: Path) -> None:
    (Path.cwd() / "code").mkdir()
    made = do("")
    (Path.cwd() / "code" / "def.py").write_text("raise SystemError\n")
    jobs = Jobs(f"{there}/out", SshOs(ssh().name, config=None), shell(there))
    assert jobs.os.name == ssh().name
    assert [job.label for job in Jobs(f"{there}/out", ssh(), shell(there)).create(made)] == [
        "def/first/version_1"
    ]
