"""Trials on a Dask cluster: `--cluster ADDRESS`.

    tcp://host:port, tls://host:port   a scheduler that runs already; a trial at a time on each worker
    slurm:queue=gpu,cores=4,gpus=1     Slurm jobs, one worker each; `slurm:` alone takes what is usual
    ssh:host1,host2                    one worker a host, started over SSH; or `--workers N`, in turn

All machines need the same Python (the interpreter that runs the search, by its path, with the same packages)
and a file system that they share, with the result directory, the definition and the data by the same paths.
`slurm:` and `ssh:` start a scheduler in this process, which the other machines have to reach; `network.py`
says how it is protected. Who reaches the port of a `tcp://` scheduler may run code.

SSH follows `~/.ssh/config`, or the file that HELIXBAND_SSH_CONFIG names. Slurm jobs follow the section
`jobqueue.slurm` of the user's Dask configuration where the address says nothing else.

A trial runs in a process of its own beneath a Dask worker. Each task is given to one worker by its address,
and Dask never repeats it: where the worker is gone, the future raises `WorkerDied`, and the task that is
submitted again goes on from the trial's last checkpoint, elsewhere.
"""

# mypy: allow-untyped-calls

import contextlib
import dataclasses
import importlib
import logging
import secrets
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helixband import errors
from helixband.errors import HelixbandError
from helixband.files import remove_file, write_whole
from helixband.search.executors.address import Address, read_address
from helixband.search.executors.process import KilledAtStart, Setup, WorkerDied
from helixband.search.executors.task import Outcome, Report, Task

if TYPE_CHECKING:
    from helixband.search.executors.dask_clusters import DaskCluster

SECONDS_BETWEEN_LOOKS = 0.5  # at which workers there are
SECONDS_BETWEEN_MENDS = 15.0  # attempts at starting workers again
SECONDS_TO_FIRST_MESSAGE = 10.0  # that a worker is waited for
SECONDS_BETWEEN_MESSAGES = 300.0
SECONDS_TO_CLOSE = 45.0  # that all workers have to end their trials

PACKAGES = {"dask": ["distributed"], "slurm": ["dask_jobqueue"], "ssh": ["distributed", "asyncssh"]}


def connect(address: str, setup: Setup, workers: int | None, say: Callable[[str], None]) -> "ClusterWorkers":
    """An executor on the cluster of that address, with `workers` tasks at a time (None: as described above).

    It does not wait for workers to come up; `say` gets a message where a task waits for one. Raises
    `HelixbandError` where packages are missing, nothing answers, or no worker can be started.
    """
    where = read_address(address)
    check_packages(address)
    for name in ("distributed", "distributed.client", "distributed.gc", "asyncssh"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what the user is to know is told by `say`
    cluster = _cluster(address, where, workers, Path(setup.result) / "search" / "cluster")
    try:
        return ClusterWorkers(address, cluster, setup, say)
    except BaseException:
        cluster.close()
        raise


def check_packages(address: str) -> None:
    """Raises `HelixbandError` where a cluster of that address needs what is not installed."""
    try:
        for package in PACKAGES[read_address(address).kind]:
            importlib.import_module(package)
    except ImportError as error:
        raise HelixbandError(
            f"--cluster {address} needs packages that are missing ({error}); install them with: "
            "pip install dask distributed dask-jobqueue asyncssh"
        ) from error


def _cluster(address: str, where: Address, workers: int | None, logs: Path) -> "DaskCluster":
    from helixband.search.executors import dask_clusters

    if where.kind == "slurm":
        return dask_clusters.SlurmCluster(where.options, workers, logs)
    if where.kind == "ssh":
        from helixband.search.executors.dask_ssh import SshCluster

        return SshCluster(where.hosts, workers, logs)
    return dask_clusters.RunningCluster(address, workers)


@dataclass(eq=False)
class _Job:
    """A task that was submitted, and the worker that has it."""

    key: str
    task: Task
    on_epoch: Report
    future: "Future[Outcome]"
    worker: str = ""
    dask: Any = None
    ended: bool = False


class ClusterWorkers:
    """An executor whose workers are those of a Dask cluster, one task each.

    `capacity` is how many tasks it takes at a time: the workers that were asked for, or, of a scheduler that
    runs already, those that it has at the moment, and one at least. Tasks beyond the workers there are wait.
    """

    def __init__(
        self, address: str, cluster: "DaskCluster", setup: Setup, say: Callable[[str], None]
    ) -> None:
        self._address, self._cluster, self._say = address, cluster, say
        self._client = cluster.client
        self._name = f"helixband-{secrets.token_hex(8)}"
        self._workers: set[str] = set()
        self.capacity = cluster.workers or 1
        self._waiting: deque[_Job] = deque()
        self._running: dict[str, _Job] = {}
        self._submitted = 0
        self._lock = threading.RLock()  # of all the above
        self._ending = threading.Event()
        self._sign = Path(setup.result) / ".cluster"
        write_whole(self._sign, self._name)
        try:
            self._register(setup)
            self._look()
        except BaseException:
            remove_file(self._sign)
            raise
        self._watcher = threading.Thread(target=self._watch, name="helixband-cluster", daemon=True)
        self._watcher.start()

    def _register(self, setup: Setup) -> None:
        """Have every worker, now and later, keep a trial process."""
        import cloudpickle

        from helixband.search.executors import dask_plugin

        cloudpickle.register_pickle_by_value(dask_plugin)
        plugin = dask_plugin.TrialPlugin(dataclasses.asdict(setup), self._name, str(self._sign))
        self._run_trial = dask_plugin.trial_task(self._name)
        self._client.subscribe_topic(self._name, self._on_event)
        self._client.register_plugin(plugin, name=self._name)

    def submit(self, task: Task, on_epoch: Report) -> "Future[Outcome]":
        """Train as the task says, on the next worker that is free.

        The future raises `WorkerDied` where that is lost, and a `HelixbandError` that concerns the run.
        """
        with self._lock:
            self._submitted += 1
            job = _Job(f"{self._name}-{self._submitted}", task, on_epoch, Future())
            self._waiting.append(job)
            self._assign()
        return job.future

    def close(self) -> None:
        """End what runs, each trial after its last finished epoch, and free everything that was started."""
        self._ending.set()
        self._watcher.join()
        # In a thread, as a worker that does not answer would hold us up.
        ender = threading.Thread(target=self._end_processes, daemon=True)
        ender.start()
        ender.join(SECONDS_TO_CLOSE)
        self._fail(WorkerDied("the search is ending"))
        self._cluster.close()
        remove_file(self._sign)

    def _end_processes(self) -> None:
        """Have all workers end their trial processes, as the plugin does where it is removed."""
        if self._client.status == "running":
            with contextlib.suppress(OSError):  # the scheduler is gone meanwhile, and they end by that
                self._client.unregister_worker_plugin(self._name)

    # Who has what.

    def _assign(self) -> None:
        """Give tasks that wait to workers that are free; under the lock."""
        free = sorted(self._workers - {job.worker for job in self._running.values()})
        places = len(free) if self._cluster.workers is None else self._cluster.workers - len(self._running)
        for worker in free[: max(0, places)]:
            if not self._waiting or self._ending.is_set():
                return
            job = self._waiting.popleft()
            job.worker = worker
            self._running[job.key] = job
            job.dask = self._client.submit(
                self._run_trial,
                job.key,
                dataclasses.asdict(job.task),
                key=job.key,
                workers=[worker],
                allow_other_workers=False,
                pure=False,
                retries=0,
            )
            job.dask.add_done_callback(lambda future, job=job: self._on_done(job, future))

    def _end(self, job: _Job, result: Outcome | BaseException) -> None:
        """Tell what became of a task, once, and give its worker to the next."""
        with self._lock:
            if job.ended:
                return
            job.ended = True
            self._running.pop(job.key, None)
            self._assign()
        if isinstance(result, Outcome):
            job.future.set_result(result)
            return
        if job.dask is not None:
            self._client.cancel([job.dask])
        job.future.set_exception(result)

    def _fail(self, error: Exception) -> None:
        """End all tasks by an error."""
        with self._lock:
            jobs = [*self._waiting, *self._running.values()]
            self._waiting.clear()
        for job in jobs:
            self._end(job, error)

    # What the cluster tells.

    def _on_event(self, event: tuple[float, Any]) -> None:
        key, name, row = event[1]
        job = self._running.get(key)
        if job is None:  # from a worker that was believed dead
            return
        try:
            job.on_epoch(name, row)
        except Exception as error:  # in a thread, as this one is Dask's own
            threading.Thread(target=self._end, args=[job, error]).start()

    def _on_done(self, job: _Job, future: Any) -> None:
        try:
            result = self._result(job, future)
        except Exception as error:
            result = error
        self._end(job, result)

    def _result(self, job: _Job, future: Any) -> Outcome | BaseException:
        """What a task of Dask's came to."""
        from distributed import KilledWorker

        error: BaseException | None = future.exception() if future.status == "error" else None
        if error is not None and not isinstance(error, KilledWorker):
            account = "".join(traceback.format_exception(type(error), error, future.traceback()))
            return HelixbandError(f"the Dask worker {job.worker} cannot take a trial:\n{account.rstrip()}")
        if future.status != "finished":
            return WorkerDied(f"the Dask worker {job.worker} is gone")
        report = future.result()
        for text in report.get("warnings", ()):
            warnings.warn(text, errors.HelixbandWarning, stacklevel=2)
        if "outcome" in report:
            return Outcome(**report["outcome"])
        if "died" in report:
            return (KilledAtStart if report["at_start"] else WorkerDied)(report["died"])
        kind: type[HelixbandError] = getattr(errors, report["error"]["type"])
        return kind(report["error"]["message"])

    def _look(self) -> bool:
        """See which workers there are; whether the scheduler answers."""
        workers = set()
        if self._client.status == "running":
            with contextlib.suppress(OSError):  # Dask's own for a lost connection, and for time that is up
                workers = set(self._client.scheduler_info(n_workers=-1).get("workers", ()))
        with self._lock:
            lost = [job for job in self._running.values() if job.worker not in workers]
            self._workers = workers
            self.capacity = self._cluster.workers or max(1, len(workers))
            self._assign()
        for job in lost:
            self._end(job, WorkerDied(f"the Dask worker {job.worker} is gone"))
        return bool(self._client.status == "running")

    def _watch(self) -> None:
        """See to it, until the end, that tasks find workers; what goes wrong is for the tasks to tell."""
        came, since, pause = False, time.monotonic(), SECONDS_BETWEEN_MENDS
        mend, tell = since + pause, since + SECONDS_TO_FIRST_MESSAGE
        while not self._ending.wait(SECONDS_BETWEEN_LOOKS):
            try:
                answers, now = self._look(), time.monotonic()
                if self._workers or not self._waiting:
                    came, since, tell = came or bool(self._workers), now, now + SECONDS_TO_FIRST_MESSAGE
                if len(self._workers) >= (self._cluster.workers or 0):
                    pause = SECONDS_BETWEEN_MENDS
                    mend = now + pause
                elif now > mend:
                    self._cluster.mend() if came else self._cluster.check()
                    # Ever later, so that what fails at once does not fill a queue.
                    pause = min(2 * pause, SECONDS_BETWEEN_MESSAGES)
                    mend = now + pause
                if now > tell:
                    tell = now + SECONDS_BETWEEN_MESSAGES
                    self._say(f"waiting for a worker of --cluster {self._address}: {self._cluster.state()}")
                if now - since > self._cluster.patience and not (came and answers):
                    self._overdue(now - since)
            except Exception as error:
                self._fail(error)

    def _overdue(self, seconds: float) -> None:
        if not self._cluster.may_take_long():
            raise HelixbandError(
                f"no worker of --cluster {self._address} came up in {seconds:.0f} s: {self._cluster.state()}"
            )
