"""Where Dask workers come from: a scheduler that runs already, or Slurm jobs."""

# mypy: allow-untyped-calls

import contextlib
import getpass
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import dask
from distributed import Client, SpecCluster
from distributed.core import Status

from helixband.errors import HelixbandError, UsageError
from helixband.files import make_folder
from helixband.search.executors import network

CONNECTING = 30.0
"""Seconds after which a scheduler or a host does not answer."""

SLURM_DEFAULTS = {"cores": 4, "memory": "16GB", "walltime": "12:00:00"}
"""Of a job, where neither the address nor the user's Dask configuration says."""


class DaskCluster(Protocol):
    """A scheduler that `client` is connected to, and where its workers come from.

    `workers` is how many there are to be, None for as many as there are; `patience` the seconds after which
    the first of them is overdue.
    """

    client: Client
    workers: int | None
    patience: float

    def state(self) -> str:
        """What is known of workers that are missing, for a message."""

    def may_take_long(self) -> bool:
        """Whether there is a good reason that none has come up yet."""

    def check(self) -> None:
        """Before the first worker is up: raise `HelixbandError` where none can come any more."""

    def mend(self) -> None:
        """After that: start again what was lost."""

    def close(self) -> None:
        """Leave nothing behind that was started."""


class RunningCluster:
    """A scheduler that is there already; its workers are its owner's to start."""

    patience = 60.0

    def __init__(self, address: str, workers: int | None) -> None:
        self.address, self.workers = address, workers
        where = urlsplit(address)
        try:
            # First by hand: a client that is interrupted while it waits for an answer waits on for a minute.
            socket.create_connection((where.hostname or "", where.port or 0), CONNECTING).close()
            self.client = Client(address, timeout=CONNECTING, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise HelixbandError(
                f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler` and give "
                "the address that it prints"
            ) from error

    def state(self) -> str:
        """What its owner may do."""
        if self.client.status != "running":
            return "the scheduler does not answer any more"
        return f"the scheduler has none; start some with `dask worker {self.address}`"

    def may_take_long(self) -> bool:
        """None that could be known."""
        return False

    def check(self) -> None:
        """One can always come."""

    def mend(self) -> None:
        """Nothing here was started by us."""

    def close(self) -> None:
        """Leave the scheduler as it was found."""
        self.client.close()


class SlurmCluster:
    """A scheduler in this process, and Slurm jobs of one Dask worker each."""

    patience = 600.0

    def __init__(self, options: Mapping[str, str], workers: int | None, logs: Path) -> None:
        from dask_jobqueue.slurm import SLURMCluster

        if not shutil.which("sbatch"):
            raise HelixbandError(
                "--cluster slurm: needs Slurm's commands, and there is no sbatch on the PATH; "
                "start the search on a machine that submits jobs"
            )
        self.workers: int | None = workers or 1
        self.logs = logs
        self.security = network.make_security(logs)
        with network.forgotten_on_failure(self.security):
            try:
                settings = slurm_settings(options, logs)
                self.cluster = SLURMCluster(n_workers=0, security=self.security, **settings)
            except ValueError as error:
                raise UsageError(f"--cluster slurm: {error}") from error
            for _ in range(workers or 1):
                self.cluster.worker_spec.update(self.cluster.new_worker_spec())
            self.client = Client(self.cluster, set_as_default=False)
            try:
                self._submit()
            except BaseException:
                self.close()
                raise

    def _submit(self, gone: Container[str] = ()) -> None:
        try:
            self.cluster.sync(settle, self.cluster, gone)
        except RuntimeError as error:
            told = re.search(r"stderr:\n(.*)", str(error), re.DOTALL)
            raise HelixbandError(
                f"Slurm takes no job of --cluster: {(told[1] if told else str(error)).strip()}"
            ) from error

    def _gone(self) -> list[str]:
        """Names of the workers that have neither a job in Slurm's queue nor a connection."""
        known = {worker["name"] for worker in self.client.scheduler_info(n_workers=-1)["workers"].values()}
        queue = self._queue()
        jobs = self.cluster.workers.items()
        return [name for name, job in jobs if name not in known and job.job_id not in queue]

    def _queue(self) -> dict[str, str]:
        """The user's jobs: number to state and reason; raises `HelixbandError` where Slurm does not tell."""
        command = ["squeue", "-h", "-u", getpass.getuser(), "-o", "%A %T %r"]
        queue = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if queue.returncode:
            raise HelixbandError(f"squeue failed: {queue.stderr.strip()}")
        return dict(line.split(maxsplit=1) for line in queue.stdout.splitlines())

    def state(self) -> str:
        """What squeue and the newest log say."""
        numbers = [job.job_id for job in self.cluster.workers.values()]
        try:
            queue = self._queue()
            jobs = [f"job {number} {queue.get(number, 'is in the queue no more')}" for number in numbers]
        except HelixbandError as error:
            jobs = [str(error)]
        logs = sorted(self.logs.glob("*.log"), key=os.path.getmtime)
        lines = logs[-1].read_text(errors="replace").splitlines()[-10:] if logs else []
        return "\n  ".join([", ".join(jobs)] + ([f"{logs[-1]} ends with"] if lines else []) + lines)

    def may_take_long(self) -> bool:
        """Whether a job waits for its turn."""
        queue = self._queue()
        states = [queue.get(job.job_id, "") for job in self.cluster.workers.values()]
        return any(re.match(r"PENDING (None|Priority|Resources)", state) for state in states)

    def check(self) -> None:
        """Raise where all jobs have ended."""
        if len(self._gone()) == self.workers:
            raise HelixbandError(f"no worker of --cluster slurm: came up: {self.state()}")

    def mend(self) -> None:
        """Submit jobs again that have ended, as at the end of their time."""
        with contextlib.suppress(HelixbandError):  # Slurm may answer the next time
            self._submit(self._gone())

    def close(self) -> None:
        """Cancel the jobs."""
        self.client.close()
        self.cluster.close()
        network.forget_security(self.security)


def slurm_settings(options: Mapping[str, str], logs: Path) -> dict[str, Any]:
    """What `dask_jobqueue.SLURMCluster` is to be told.

    What the address does not say comes from the user's Dask configuration (`jobqueue.slurm`), and what that
    does not say from `SLURM_DEFAULTS`.
    """
    user = dask.config.get("jobqueue.slurm", default={}, config=dask.config.collect())
    settings: dict[str, Any] = {"processes": 1, "job_name": "helixband"}
    settings |= {key: value for key, value in SLURM_DEFAULTS.items() if not user.get(key)}
    settings |= {key: value for key, value in options.items() if key != "gpus"}
    settings["cores"] = int(settings.get("cores") or user["cores"])
    settings |= _slurm_network(user, options)
    directives = list(user.get("job-extra-directives") or [])
    if "gpus" in options:
        directives.append(f"--gres=gpu:{options['gpus']}")
    if not user.get("log-directory"):
        make_folder(logs)
        directives.append(f'--output="{logs}/slurm-%j.log"')
    return settings | {"job_extra_directives": directives}


def _slurm_network(user: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
    """On which interfaces scheduler and workers listen, unless the user's configuration says so."""
    mine = user.get("scheduler-options") or {}
    named = bool(user.get("interface") or mine.keys() & {"host", "interface"})
    nodes = [] if named else network.slurm_addresses(options.get("queue") or user.get("queue"))
    scheduler = network.scheduler_options(nodes)
    arguments = [*(user.get("worker-extra-args") or []), *network.NO_DASHBOARD]
    if named:
        del scheduler["host"]
    elif scheduler["host"]:
        # Written into a script of bash, which runs on the node.
        arguments += ["--host", f'"$({network.towards(scheduler["host"])})"']
    return {"scheduler_options": scheduler | mine, "worker_extra_args": arguments}


async def settle(cluster: SpecCluster, gone: Container[str] = ()) -> None:
    """Start the workers of a cluster that are not there, or are known to be gone."""
    for name, worker in list(cluster.workers.items()):
        if name in gone or worker.status != Status.running:
            await worker.close()
            del cluster.workers[name]
    try:
        await cluster
    finally:
        for worker in cluster.workers.values():
            if worker.status == Status.created:  # in vain; Dask would not let the cluster be closed so
                worker.status = Status.failed
