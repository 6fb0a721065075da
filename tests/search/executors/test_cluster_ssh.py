"""Trials on hosts over a real SSH, where there is one."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cluster_toys import (
    CONFIGS,
    Rows,
    files,
    held,
    in_process,
    is_running,
    let_in_without_the_key,
    make_setup,
    open_to_others,
    pids,
    slow,
    wait_until,
)
from conftest import Project

from helixband.errors import HelixbandError, UsageError
from helixband.search.executors import cluster
from helixband.search.executors.cluster import connect
from helixband.search.executors.process import WorkerDied
from helixband.search.executors.task import Task

pytest.importorskip("asyncssh")
CONFIG = os.environ.get("HELIXBAND_TEST_SSH_CONFIG", "")
HOST = os.environ.get("HELIXBAND_TEST_SSH_HOST", "")
if not CONFIG or not HOST:
    pytest.skip(
        "needs a host of an ssh configuration: HELIXBAND_TEST_SSH_CONFIG, HELIXBAND_TEST_SSH_HOST",
        allow_module_level=True,
    )


@pytest.fixture(autouse=True)
def _configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIXBAND_SSH_CONFIG", CONFIG)


def remote_workers() -> list[int]:
    """The nannies of the Dask workers that were started on the host."""
    command = ["ps", "-eww", "-o", "pid,args"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in listed.splitlines() if f"--name {HOST}-" in line]
    return [int(line[0]) for line in lines if line[1] == sys.executable]


def test_trials_run_on_hosts_and_go_on_where_a_worker_is_killed(project: Project, monkeypatch: Any) -> None:
    project.define(slow(0.3))
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_MENDS", 1.0)
    told = Rows()
    executor = connect(f"ssh:{HOST}", make_setup(project), 2, print)
    try:
        assert executor.capacity == 2
        with held(project, 3):
            futures = [executor.submit(Task(f"000{n}", CONFIGS[n], 6), told) for n in (0, 1)]
            wait_until(lambda: len(set(pids(project))) == 2 and len(pids(project)) > 3)
            started = remote_workers()
            assert len(started) == 2
            assert open_to_others([os.getpid(), *started]) == []
            assert not let_in_without_the_key(executor._cluster.cluster.scheduler_address)
            keys = list((project.results / "search" / "cluster").glob("*.key"))
            assert [key.stat().st_mode & 0o777 for key in keys] == [0o600]
            os.kill(started[0], signal.SIGKILL)  # the nanny; what is below it ends, too
            wait_until(lambda: any(future.done() for future in futures))
        ends = [future.exception(60) for future in futures]
        lost = next(n for n in (0, 1) if ends[n] is not None)
        assert isinstance(ends[lost], WorkerDied) and ends[1 - lost] is None
        again = executor.submit(Task(f"000{lost}", CONFIGS[lost], 6), told)
        assert again.result(60).epochs == 6
        wait_until(lambda: len(remote_workers()) == 2)  # one in the place of the one that is gone
    finally:
        executor.close()
    assert remote_workers() == []
    assert not keys[0].exists()
    assert not any(is_running(pid) for pid in pids(project))
    outcomes, _ = in_process(project, [Task(f"000{n}", CONFIGS[n], 6) for n in (0, 1)])
    assert outcomes[lost] == again.result()
    assert files(project, f"000{lost}") == files(project, f"000{lost}", "expected")


def test_a_host_that_is_not_there_is_named(project: Project) -> None:
    with pytest.raises(HelixbandError, match=r"started on nowhere.invalid over SSH .*`ssh nowhere.invalid`"):
        connect(f"ssh:{HOST},nowhere.invalid", make_setup(project), None, print)
    assert remote_workers() == []


def test_a_host_that_refuses_the_key_is_named(project: Project, monkeypatch: Any, tmp_path: Path) -> None:
    other = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    text = re.sub(r"(IdentityFile\s+).*", rf"\g<1>{other}", Path(CONFIG).read_text())
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("HELIXBAND_SSH_CONFIG", str(tmp_path / "config"))
    with pytest.raises(HelixbandError, match=f"started on {HOST} over SSH .*Permission denied"):
        connect(f"ssh:{HOST}", make_setup(project), None, print)


def test_an_ssh_configuration_that_is_not_there_is_named(project: Project, monkeypatch: Any) -> None:
    monkeypatch.setenv("HELIXBAND_SSH_CONFIG", "/no/such/config")
    with pytest.raises(UsageError, match="HELIXBAND_SSH_CONFIG is '/no/such/config'"):
        connect(f"ssh:{HOST}", make_setup(project), None, print)


def test_a_worker_that_does_not_start_ends_the_run_with_what_it_wrote(
    project: Project, monkeypatch: Any
) -> None:
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_MENDS", 1.0)
    monkeypatch.setattr("sys.executable", "/no/such/python")
    executor = connect(f"ssh:{HOST}", make_setup(project), None, print)
    try:
        future = executor.submit(Task("0000", CONFIGS[0], 1), Rows())
        with pytest.raises(HelixbandError, match=rf"(?s){HOST}: ended with exit code 127.*/no/such/python"):
            future.result(60)
    finally:
        executor.close()
