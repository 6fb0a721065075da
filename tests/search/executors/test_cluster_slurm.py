"""Trials in jobs of a real Slurm, where there is one."""

import os
import re
import shutil
import subprocess
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

from helixband.errors import HelixbandError
from helixband.search.executors import cluster
from helixband.search.executors.cluster import connect
from helixband.search.executors.process import WorkerDied
from helixband.search.executors.task import Task

pytest.importorskip("dask_jobqueue")
import psutil  # noqa: E402

from helixband.search.executors import dask_clusters  # noqa: E402

if not shutil.which("sbatch") or "SLURM_CONF" not in os.environ:
    pytest.skip("needs a Slurm whose configuration SLURM_CONF names", allow_module_level=True)

ADDRESS = "slurm:cores=1,memory=500MB,walltime=00:10:00"


def jobs() -> list[str]:
    """The numbers of our jobs that wait or run."""
    queue = subprocess.run(
        ["squeue", "-h", "-n", "helixband", "-o", "%A"], capture_output=True, text=True, check=True
    )
    return sorted(queue.stdout.split())


def test_trials_run_in_jobs_and_go_on_in_another_where_one_is_cancelled(
    project: Project, monkeypatch: Any
) -> None:
    project.define(slow(0.3))
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_MENDS", 2.0)
    said: list[str] = []
    told = Rows()
    executor = connect(ADDRESS, make_setup(project), 2, said.append)
    try:
        assert executor.capacity == 2
        with held(project, 3):
            futures = [executor.submit(Task(f"000{n}", CONFIGS[n], 6), told) for n in (0, 1)]
            wait_until(lambda: len(set(pids(project))) == 2 and len(pids(project)) > 3)
            before = jobs()
            assert len(before) == 2
            workers = [psutil.Process(pid).parent().parent().pid for pid in set(pids(project))]
            assert open_to_others([os.getpid(), *workers]) == []
            assert not let_in_without_the_key(executor._cluster.cluster.scheduler_address)
            subprocess.run(["scancel", before[0]], check=True)
            wait_until(lambda: any(future.done() for future in futures))
        ends = [future.exception(60) for future in futures]
        lost = next(n for n in (0, 1) if ends[n] is not None)
        assert isinstance(ends[lost], WorkerDied) and ends[1 - lost] is None
        again = executor.submit(Task(f"000{lost}", CONFIGS[lost], 6), told)
        assert again.result(60).epochs == 6
        wait_until(lambda: len(jobs()) == 2 and jobs() != before)  # one in the place of the one that is gone
    finally:
        executor.close()
    wait_until(lambda: not jobs())
    assert not any(is_running(pid) for pid in pids(project))
    outcomes, _ = in_process(project, [Task(f"000{n}", CONFIGS[n], 6) for n in (0, 1)])
    assert outcomes[lost] == again.result()
    assert files(project, f"000{lost}") == files(project, f"000{lost}", "expected")
    assert list((project.results / "search" / "cluster").glob("slurm-*.log"))
    assert not list(Path.cwd().glob("slurm-*.out"))


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("slurm:queue=nowhere", "Slurm takes no job.*invalid partition specified: nowhere"),
        ("slurm:cores=1,memory=500MB,gpus=99", "Slurm takes no job.*"),
    ],
)
def test_what_slurm_refuses_is_told(project: Project, address: str, told: str) -> None:
    with pytest.raises(HelixbandError, match=f"(?s){told}"):
        connect(address, make_setup(project), 1, print)
    assert jobs() == []


def test_jobs_that_end_at_once_end_the_run_with_their_log(project: Project, monkeypatch: Any) -> None:
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_MENDS", 1.0)
    settings = dask_clusters.slurm_settings

    def broken(options: Any, logs: Path) -> dict[str, Any]:
        return settings(options, logs) | {"python": "/no/such/python"}

    monkeypatch.setattr(dask_clusters, "slurm_settings", broken)
    executor = connect(ADDRESS, make_setup(project), 1, print)
    try:
        future = executor.submit(Task("0000", CONFIGS[0], 1), Rows())
        with pytest.raises(HelixbandError, match=r"(?s)job \d+ is in the queue no more.*/no/such/python"):
            future.result(60)
    finally:
        executor.close()
    assert jobs() == []


def test_a_job_that_can_never_start_ends_the_run_with_its_reason(project: Project, monkeypatch: Any) -> None:
    monkeypatch.setattr(cluster, "SECONDS_TO_FIRST_MESSAGE", 1.0)
    monkeypatch.setattr(dask_clusters.SlurmCluster, "patience", 4.0)
    settings = dask_clusters.slurm_settings

    def held(options: Any, logs: Path) -> dict[str, Any]:
        made = settings(options, logs)
        return made | {"job_extra_directives": [*made["job_extra_directives"], "--hold"]}

    monkeypatch.setattr(dask_clusters, "slurm_settings", held)
    said: list[str] = []
    executor = connect(ADDRESS, make_setup(project), 1, said.append)
    try:
        future = executor.submit(Task("0000", CONFIGS[0], 1), Rows())
        with pytest.raises(HelixbandError, match=r"came up in \d s: job \d+ PENDING JobHeldUser"):
            future.result(30)
        assert re.match(r"waiting for a worker of --cluster slurm:.*: job \d+ PENDING", said[0])
    finally:
        executor.close()
    assert jobs() == []
