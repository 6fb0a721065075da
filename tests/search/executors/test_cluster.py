"""Trials on a Dask cluster: a real scheduler and workers, each a process."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace
from typing import Any

import pytest
from cluster_toys import (
    CONFIGS,
    Rows,
    files,
    held,
    in_process,
    is_running,
    make_setup,
    make_trainer,
    pids,
    slow,
    wait_until,
)
from conftest import ROOT, Project

from helixband.errors import HelixbandError, UsageError
from helixband.search.executors.address import check_address, read_address
from helixband.search.executors.cluster import ClusterWorkers, connect
from helixband.search.executors.process import WorkerDied
from helixband.search.executors.task import Task

pytest.importorskip("distributed")


class Dask:
    """A scheduler, and workers, each a process of its own that knows nothing of Helixband."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.workers: list[subprocess.Popen[bytes]] = []
        file = path / "scheduler.json"
        self.scheduler = self._start("scheduler", "--host=127.0.0.1", "--port=0", f"--scheduler-file={file}")
        self.address = wait_until(lambda: file.exists() and json.loads(file.read_text())["address"])

    def _start(self, kind: str, *flags: str) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "10s"}
        environment["DASK_TEMPORARY_DIRECTORY"] = str(self.path)
        environment.pop("PYTHONPATH", None)
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--dashboard-address=:0", *flags]
        with open(self.path / f"{kind}.log", "ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.path, env=environment)

    def have(self, workers: int) -> None:
        """Start as many workers as are missing of so many."""
        self.workers = [process for process in self.workers if process.poll() is None]
        for _ in range(workers - len(self.workers)):
            self.workers.append(
                self._start("worker", self.address, "--nthreads=2", "--memory-limit=0", "--no-nanny")
            )

    def close(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    cluster = Dask(tmp_path_factory.mktemp("dask"))
    yield cluster
    cluster.close()


class Connection:
    """An executor on the cluster, and what it said."""

    def __init__(self, dask: Dask, project: Project, workers: int | None = None) -> None:
        self.said: list[str] = []
        self.executor = connect(dask.address, make_setup(project), workers, self.said.append)

    def __enter__(self) -> ClusterWorkers:
        return self.executor

    def __exit__(self, *error: Any) -> None:
        self.executor.close()


def tasks(epochs: int) -> list[Task]:
    return [Task(f"{number:04d}", config, epochs) for number, config in enumerate(CONFIGS)]


@contextlib.contextmanager
def changed_setups(changes: dict[str, Any]) -> Iterator[None]:
    """The setups that clusters are given have these changes, as one of another version would."""
    from helixband.search.executors import dask_plugin

    plugin = dask_plugin.TrialPlugin

    def changed(setup: dict[str, Any], *more: Any) -> Any:
        return plugin({**setup, **changes}, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dask_plugin, "TrialPlugin", changed)
        yield


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("10.0.0.1:8786", "give tcp://host:port"),
        ("tcp://10.0.0.1", "give tcp://host:port"),
        ("tcp://:8786", "give tcp://host:port"),
        ("slurm", "give tcp://host:port"),
        ("slurm:partition=gpu", "'partition' is none of queue, account, cores, memory, walltime, gpus"),
        ("slurm:gpus", "gpus is ''; give it as in gpus=1"),
        ("slurm:cores=0", "cores is '0'; give it as in cores=4"),
        ("slurm:memory=16", "memory is '16'; give it as in memory=16GB"),
        ("slurm:walltime=2h", "walltime is '2h'; give it as in walltime=02:00:00"),
        ("ssh:", "'' is no name of a host"),
        ("ssh:me@node1", "'me@node1' is no name of a host"),
        ("ssh:node1,-oProxyCommand=x", "'-oProxyCommand=x' is no name of a host"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(address: str, told: str) -> None:
    with pytest.raises(UsageError, match=f"--cluster {re.escape(address)}: .*{re.escape(told)}"):
        check_address(address)


@pytest.mark.parametrize(
    "address",
    ["tcp://10.0.0.1:8786", "tls://node:1", "tcp://[::1]:8786", "slurm:", "slurm:walltime=1-00:00:00"],
)
def test_an_address_that_can_be_one_is_not(address: str) -> None:
    check_address(address)
    assert read_address(address).hosts == ()


def test_a_scheduler_that_does_not_answer_is_named(project: Project, monkeypatch: Any) -> None:
    from helixband.search.executors import dask_clusters

    monkeypatch.setattr(dask_clusters, "CONNECTING", 1.0)
    with pytest.raises(
        HelixbandError, match="no Dask scheduler answers at tcp://127.0.0.1:9 .*`dask scheduler`"
    ):
        connect("tcp://127.0.0.1:9", make_setup(project), None, print)


@pytest.mark.parametrize(("address", "package"), [("slurm:", "dask_jobqueue"), ("ssh:a", "asyncssh")])
def test_missing_packages_are_named(project: Project, monkeypatch: Any, address: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(HelixbandError, match=f"{package}.*pip install dask distributed"):
        connect(address, make_setup(project), None, print)


def test_a_cluster_gives_what_one_process_gives_bit_for_bit(dask: Dask, project: Project) -> None:
    project.define(slow(0.0))
    outcomes, rows = in_process(project, tasks(3))
    (project.data / "pids").unlink()
    dask.have(2)
    told = Rows()
    with Connection(dask, project) as executor:
        wait_until(lambda: executor.capacity == 2)
        futures = [executor.submit(task, told) for task in tasks(3)]
        assert [future.result(60) for future in futures] == outcomes
        longer = executor.submit(Task("0000", CONFIGS[0], 5), told)
        assert longer.result(60).epochs == 5
        with pytest.raises(ZeroDivisionError):  # of who listens, which is not lost
            executor.submit(Task("0003", CONFIGS[0], 1), lambda name, row: 1 / 0).result(60)
    assert told.rows["0001"] == rows["0001"]
    assert told.epochs("0000") == [1, 2, 3, 4, 5]
    assert files(project, "0001") == files(project, "0001", "expected")
    assert len(set(pids(project))) == 2  # the process of a worker is there for all its trials
    assert not any(is_running(pid) for pid in pids(project))
    assert not (project.results / ".cluster").exists()


def test_a_trial_whose_worker_is_killed_goes_on_elsewhere(dask: Dask, project: Project) -> None:
    project.define(slow(0.3))
    dask.have(2)
    told = Rows()
    with Connection(dask, project) as executor:
        wait_until(lambda: executor.capacity == 2)
        with held(project, 3):
            first = executor.submit(Task("0000", CONFIGS[0], 6), told)
            wait_until(lambda: len(pids(project)) == 3)
            trial = pids(project)[0]
            os.kill(parent_of(trial), signal.SIGKILL)
            with pytest.raises(WorkerDied, match="the Dask worker tcp://.* is gone"):
                first.result(60)
        wait_until(lambda: not is_running(trial))  # it notices, and keeps its last finished epoch
        again = executor.submit(Task("0000", CONFIGS[0], 6), told)
        assert again.result(60).epochs == 6
        assert pids(project)[-1] != trial
    assert told.epochs("0000")[-1] == 6
    assert len(pids(project)) <= 7  # at most the epoch under way is trained twice
    expected, _ = in_process(project, [Task("0000", CONFIGS[0], 6)])
    assert again.result() == expected[0]
    assert files(project, "0000") == files(project, "0000", "expected")


def test_a_worker_that_only_seemed_dead_writes_nothing_more(dask: Dask, project: Project) -> None:
    project.define(slow(0.3))
    dask.have(2)
    told = Rows()
    with Connection(dask, project) as executor:
        wait_until(lambda: executor.capacity == 2)
        with held(project, 2):
            first = executor.submit(Task("0000", CONFIGS[0], 8), told)
            wait_until(lambda: len(pids(project)) == 2)
            trial = pids(project)[0]
            paused = [parent_of(trial), trial]
            for pid in paused:
                os.kill(pid, signal.SIGSTOP)
        with pytest.raises(WorkerDied):
            first.result(60)
        again = executor.submit(Task("0000", CONFIGS[0], 8), told)
        wait_until(lambda: pids(project)[-1] != trial)
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
        assert again.result(60).epochs == 8
        wait_until(lambda: not is_running(trial))
        assert all(is_running(pid) for pid in set(pids(project)) - {trial})
    second = [pid for pid in pids(project) if pid != trial]
    assert len(second) >= 6  # the epochs of the first, after it was believed dead, were no help
    in_process(project, [Task("0000", CONFIGS[0], 8)])
    assert files(project, "0000") == files(project, "0000", "expected")


def test_a_trial_process_that_is_killed_is_replaced_and_one_that_is_idle_ends(
    dask: Dask, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from helixband.search.executors import dask_plugin

    monkeypatch.setattr(dask_plugin, "IDLE", 1.0)  # sent with the plugin
    project.define(slow(0.2) + FAILING)
    dask.have(1)
    told = Rows()
    with Connection(dask, project, workers=1) as executor:
        assert executor.capacity == 1
        with held(project, 2):
            first = executor.submit(Task("0000", CONFIGS[0], 4), told)
            waiting = executor.submit(Task("0001", {"lr": 0.01, "units": 5}, 1), told)
            wait_until(lambda: len(pids(project)) == 2)
            os.kill(pids(project)[0], signal.SIGKILL)
            with pytest.raises(WorkerDied, match="was ended by SIGKILL.* [(]on .*[)]"):
                first.result(60)
        outcome = waiting.result(60)
        assert outcome.error == "ValueError: five units"
        assert executor.submit(Task("0000", CONFIGS[0], 4), told).result(60).epochs == 4
        wait_until(lambda: not is_running(pids(project)[-1]))


FAILING = """

class Model(Model):
    def init_model(self):
        if self.config["units"] == 5:
            raise ValueError("five units")
        super().init_model()
"""


def test_the_end_of_a_search_keeps_the_last_finished_epochs(dask: Dask, project: Project) -> None:
    project.define(slow(0.3))
    dask.have(2)
    connection = Connection(dask, project, workers=1)
    first = connection.executor.submit(Task("0000", CONFIGS[0], 50), Rows())
    waiting = connection.executor.submit(Task("0001", CONFIGS[1], 50), Rows())
    wait_until(lambda: len(pids(project)) >= 3)
    connection.executor.close()
    for future in (first, waiting):
        with pytest.raises(WorkerDied):
            future.result(0)
    assert not is_running(pids(project)[0])
    done = make_trainer(project).results.trial("0000").epochs()
    assert len(pids(project)) - 1 <= done <= len(pids(project))
    assert all(process.poll() is None for process in dask.workers)  # they are not ours to end
    told = Rows()
    with Connection(dask, project) as executor:
        executor.submit(Task("0000", CONFIGS[0], done + 1), told).result(60)
    assert told.epochs("0000") == [done + 1]


def test_a_worker_that_does_not_see_the_files_is_named(dask: Dask, project: Project) -> None:
    dask.have(1)
    with Connection(dask, project) as executor:
        (project.results / ".cluster").write_text("of another folder by that path")
        future = executor.submit(Task("0000", CONFIGS[0], 1), Rows())
        host = re.escape(socket.gethostname())
        told = f"Dask worker on {host} does not see the result directory {project.results}"
        with pytest.raises(HelixbandError, match=told):
            future.result(60)
        (project.results / ".cluster").write_text(executor._name)
        project.definition.rename(project.path / "moved.py")
        future = executor.submit(Task("0000", CONFIGS[0], 1), Rows())
        with pytest.raises(
            HelixbandError, match=f"on {host} does not see the definition {project.definition}"
        ):
            future.result(60)


def test_what_keeps_a_trial_process_from_starting_ends_the_run(dask: Dask, project: Project) -> None:
    dask.have(1)
    setup, host = make_setup(project), re.escape(socket.gethostname())
    for changed, told in [
        ({"directory": str(project.path / "gone")}, rf"on {host}: cannot start .* in .*gone: .*No such file"),
        (
            {"unknown": 1},
            r"the Dask worker tcp://\S+ cannot take a trial:\n(?s:.*)unexpected keyword argument",
        ),
    ]:
        with changed_setups(changed), contextlib.closing(connect(dask.address, setup, 1, print)) as one:
            with pytest.raises(HelixbandError, match=told):
                one.submit(Task("0000", CONFIGS[0], 1), Rows()).result(60)


def test_no_worker_at_all_is_told_and_ends_the_run(
    dask: Dask, project: Project, monkeypatch: Any, tmp_path: Path
) -> None:
    from helixband.search.executors import cluster

    monkeypatch.setattr(cluster, "SECONDS_TO_FIRST_MESSAGE", 0.5)
    empty = Dask(tmp_path)
    connection = Connection(empty, project)
    monkeypatch.setattr(connection.executor._cluster, "patience", 2.0)
    assert connection.executor.capacity == 1
    future = connection.executor.submit(Task("0000", CONFIGS[0], 1), Rows())
    missing = "the scheduler has none; start some with `dask worker tcp://"
    with pytest.raises(HelixbandError, match=f"came up in 2 s: {missing}"):
        future.result(60)
    assert [line.partition(": the")[0] for line in connection.said] == [
        f"waiting for a worker of --cluster {empty.address}"
    ]
    connection.executor.close()
    empty.close()


SEARCH = """
import sys
sys.path[:0] = sys.argv[1:3]
from types import SimpleNamespace
from pathlib import Path
from cluster_toys import *
from helixband.search.executors.cluster import connect

path = Path(sys.argv[4])
project = SimpleNamespace(path=path, definition=path / "def.py", data=path / "data")
for epochs in (2, 1000):
    executor = connect(sys.argv[3], make_setup(project), None, print)
    print(executor.submit(Task("0000", CONFIGS[0], epochs), Rows()).result().epochs, flush=True)
    executor.close()
"""
"""A process that trains a trial on the cluster, a second time without an end."""


def test_nothing_of_dask_shows_and_a_search_that_is_killed_leaves_nothing(
    dask: Dask, project: Project
) -> None:
    project.define(slow(0.2))
    dask.have(1)
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        SEARCH,
        str(ROOT / "tests"),
        str(Path(__file__).parent),
        dask.address,
    ]
    with subprocess.Popen([*command, str(project.path)], stdout=PIPE, stderr=PIPE, text=True) as search:
        wait_until(lambda: len(pids(project)) > 3)
        search.kill()
        assert search.communicate() == ("2\n", "")
    assert len(set(pids(project))) == 2
    wait_until(lambda: not any(is_running(pid) for pid in pids(project)))
    assert all(process.poll() is None for process in dask.workers)


def test_a_scheduler_that_is_gone_ends_the_run(project: Project, tmp_path: Path) -> None:
    dask = Dask(tmp_path)
    dask.have(1)
    connection = Connection(dask, project)
    wait_until(lambda: connection.executor._workers)
    connection.executor._cluster.patience = 2.0
    dask.close()
    task = Task("0000", CONFIGS[0], 1)
    with contextlib.suppress(WorkerDied, HelixbandError):  # it may be given to the worker that was there
        connection.executor.submit(task, Rows()).result(60)
    with pytest.raises(HelixbandError, match="the scheduler does not answer any more"):
        connection.executor.submit(task, Rows()).result(60)
    connection.executor.close()


def test_a_trial_has_the_threads_and_a_gpu_of_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    from helixband.search.executors import dask_plugin

    worker: Any = SimpleNamespace(state=SimpleNamespace(nthreads=9))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    alone = dask_plugin._environment(worker)
    assert alone["OMP_NUM_THREADS"] == "9" and "CUDA_VISIBLE_DEVICES" not in alone
    given = []
    for index in range(3):
        monkeypatch.setenv("HELIXBAND_SHARE", f"{index}/3")
        given.append(dask_plugin._environment(worker))
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in given] == ["4", "6", "4"]
    assert {environment["OMP_NUM_THREADS"] for environment in given} == {"3"}


def test_a_scheduler_listens_where_its_workers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from helixband.search.executors import network

    routes = {"here": "127.0.0.1", "a": "10.0.0.1", "b": "10.0.0.1", "c": "192.168.0.1", "gone": None}
    monkeypatch.setattr(network, "_towards", routes.__getitem__)
    monkeypatch.setattr(network, "get_ip", lambda: "172.16.0.1")
    for hosts, interface in (
        (["here"], "127.0.0.1"),
        (["a", "b", "gone"], "10.0.0.1"),
        (["here", "a"], "10.0.0.1"),  # this machine reaches it as well
        (["a", "c"], None),
        (["gone"], "172.16.0.1"),
        ([], "172.16.0.1"),
    ):
        assert network.interface_towards(hosts) == interface


def test_the_addresses_of_hosts_are_those_of_the_ssh_configuration(tmp_path: Path) -> None:
    pytest.importorskip("asyncssh")
    from helixband.search.executors.network import ssh_addresses

    (tmp_path / "config").write_text(
        "Host near\n  HostName 10.1.2.3\nHost far\n  HostName 10.1.2.4\n  ProxyJump near\n"
    )
    assert ssh_addresses(["near", "far", "plain"], str(tmp_path / "config")) == ["10.1.2.3", "plain"]


def test_a_slurm_job_is_as_the_address_says_else_the_users_configuration_else_usual(
    tmp_path: Path,
) -> None:
    pytest.importorskip("dask_jobqueue")
    import dask.config

    from helixband.search.executors.dask_clusters import slurm_settings

    usual = slurm_settings({"gpus": "2"}, tmp_path / "logs")
    assert (usual["cores"], usual["memory"], usual["walltime"]) == (4, "16GB", "12:00:00")
    log = f'--output="{tmp_path}/logs/slurm-%j.log"'
    assert usual["job_extra_directives"] == ["--gres=gpu:2", log]
    assert usual["scheduler_options"]["dashboard"] is False
    assert usual["worker_extra_args"][:2] == ["--no-dashboard", "--dashboard-address"]
    assert usual["worker_extra_args"][-2] == "--host"
    user = {
        "interface": "lo",
        "scheduler-options": {"dashboard": True},
        "cores": 8,
        "walltime": "01:00:00",
        "job-extra-directives": ["--exclusive"],
    }
    (tmp_path / "jobqueue.json").write_text(json.dumps({"jobqueue": {"slurm": user}}))
    dask.config.paths.append(str(tmp_path))
    try:
        mine = slurm_settings({"queue": "gpu", "walltime": "02:00:00"}, tmp_path / "logs")
    finally:
        dask.config.paths.remove(str(tmp_path))
    assert (mine["cores"], mine["memory"], mine["walltime"]) == (8, "16GB", "02:00:00")
    assert mine["scheduler_options"]["dashboard"] is True
    assert "host" not in mine["scheduler_options"] and "--host" not in mine["worker_extra_args"]
    assert mine["queue"] == "gpu" and mine["job_extra_directives"] == ["--exclusive", log]


def test_a_cluster_that_cannot_be_started_leaves_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("asyncssh")
    from helixband.search.executors import dask_ssh

    of_a_killed_run = tmp_path / "1234.key"
    of_a_killed_run.write_text("")
    there: list[set[str]] = []

    def fails(**options: Any) -> None:
        there.append({file.suffix for file in tmp_path.iterdir() if file != of_a_killed_run})
        raise RuntimeError("no worker can be started")

    monkeypatch.setattr(dask_ssh, "SpecCluster", fails)
    with pytest.raises(RuntimeError, match="no worker can be started"):
        dask_ssh.SshCluster(["127.0.0.1"], 1, tmp_path)
    assert there == [{".crt", ".key"}]
    assert list(tmp_path.iterdir()) == []
