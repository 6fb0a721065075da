"""Where Dask workers come from: a scheduler that runs already, Slurm jobs, hosts over SSH."""

# mypy: allow-untyped-calls

import asyncio
import contextlib
import getpass
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import dask
from distributed import Client, Scheduler, SpecCluster
from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

from helixband.errors import HelixbandError, UsageError
from helixband.search.executors.dask_plugin import SHARE

CONNECTING = 30.0
"""Seconds after which a scheduler or a host does not answer."""

STOPPING = 20.0
"""Seconds that a Dask worker on a host has to close."""

WHILE_CONNECTED = """\
exec 3<&0
{worker} 3<&- &
worker=$!
{{
    cat <&3
    kill $worker
    seconds=0
    while kill -0 $worker && [ $seconds -lt 15 ]; do sleep 1; seconds=$((seconds + 1)); done
    kill -9 $worker
}} > /dev/null 2>&1 &
watcher=$!
wait $worker
code=$?
kill $watcher
exit $code
"""
"""A shell's way to run a worker until its standard input ends, as it does with the SSH connection, however
that ends. A signal over SSH would not do: servers refuse it, among others to root."""

SLURM_DEFAULTS = {"cores": 4, "memory": "16GB", "walltime": "12:00:00"}
"""Of a job, where neither the address nor the user's Dask configuration says."""

SCHEDULER = {
    "dashboard_address": ":0",  # whatever port is free
    "allowed_failures": 0,  # who repeats a task is the search
    "worker_ttl": 60,  # seconds; a worker's own work is light, so that it always answers
}


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
        try:
            self.cluster = SLURMCluster(n_workers=0, **slurm_settings(options, logs))
        except ValueError as error:
            raise UsageError(f"--cluster slurm: {error}") from error
        for _ in range(workers or 1):
            self.cluster.worker_spec.update(self.cluster.new_worker_spec())
        self.client = Client(self.cluster, set_as_default=False)
        try:
            self._submit()
        except HelixbandError:
            self.close()
            raise

    def _submit(self, gone: Container[str] = ()) -> None:
        try:
            self.cluster.sync(_settle, self.cluster, gone)
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
        queue = subprocess.run(command, capture_output=True, text=True)
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
    settings["scheduler_options"] = SCHEDULER | (user.get("scheduler-options") or {})
    directives = list(user.get("job-extra-directives") or [])
    if "gpus" in options:
        directives.append(f"--gres=gpu:{options['gpus']}")
    if not user.get("log-directory"):
        logs.mkdir(parents=True, exist_ok=True)
        directives.append(f'--output="{logs}/slurm-%j.log"')
    return settings | {"job_extra_directives": directives}


class SshCluster:
    """A scheduler in this process, and Dask workers that are started over SSH."""

    patience = 60.0

    def __init__(self, hosts: Sequence[str], workers: int | None) -> None:
        self.workers: int | None = workers or len(hosts)
        config = os.environ.get("HELIXBAND_SSH_CONFIG")
        if config and not Path(config).is_file():
            raise UsageError(f"HELIXBAND_SSH_CONFIG is {config!r}, and there is no such file")
        self.cluster = SpecCluster(
            workers={
                f"{host}-{index}": {
                    "cls": SshWorker,
                    "options": {"host": host, "share": f"{index}/{of}", "config": config},
                }
                for host, index, of in spread(hosts, workers or len(hosts))
            },
            scheduler={"cls": Scheduler, "options": SCHEDULER},
            name="helixband",
        )
        self.client = Client(self.cluster, set_as_default=False)

    def state(self) -> str:
        """What the workers wrote last."""
        told = []
        for worker in self.cluster.workers.values():
            told.append(f"{worker.host}: {worker.end()}")
            told += worker.lines
        return "\n  ".join(told)

    def may_take_long(self) -> bool:
        """A process starts in seconds."""
        return False

    def check(self) -> None:
        """Raise where all have ended."""
        if all(worker.has_ended() for worker in self.cluster.workers.values()):
            raise HelixbandError(f"no worker of --cluster ssh: came up: {self.state()}")

    def mend(self) -> None:
        """Start those again that have ended, where their host answers."""
        gone = [name for name, worker in self.cluster.workers.items() if worker.has_ended()]
        with contextlib.suppress(HelixbandError):  # it may the next time
            self.cluster.sync(_settle, self.cluster, gone)

    def close(self) -> None:
        """End the workers and the connections."""
        self.client.close()
        self.cluster.close()


class SshWorker(ProcessInterface):
    """A Dask worker on a host, in the lifetime of an SSH connection."""

    def __init__(self, scheduler: str, name: str, host: str, share: str, config: str | None) -> None:
        self.scheduler, self.name, self.host, self.share, self.config = scheduler, name, host, share, config
        self.lines: deque[str] = deque(maxlen=10)
        self.connection: Any = None
        self.process: Any = None
        super().__init__()

    async def start(self) -> None:
        """Connect and start; raises `HelixbandError` where the host does not let us."""
        import asyncssh

        options: dict[str, Any] = {
            "connect_timeout": CONNECTING,
            "login_timeout": CONNECTING,
            "keepalive_interval": 15,
        }
        if self.config:
            options["config"] = self.config
        worker = ["env", f"{SHARE}={self.share}", sys.executable, "-m", "distributed.cli.dask_worker"]
        worker += [self.scheduler, "--name", self.name, "--nworkers", "1", "--memory-limit", "0"]
        worker += ["--no-dashboard", "--death-timeout", "60"]
        command = ["sh", "-c", WHILE_CONNECTED.format(worker=shlex.join(worker))]
        try:
            self.connection = await asyncssh.connect(self.host, **options)
            self.process = await self.connection.create_process(
                shlex.join(command), stdout=asyncssh.DEVNULL, stderr=asyncssh.PIPE
            )
        except (OSError, asyncssh.Error, TimeoutError) as error:
            raise HelixbandError(
                f"no worker could be started on {self.host} over SSH ({error or type(error).__name__}); "
                f"see whether `ssh {self.host}` works without a password"
            ) from error
        self._reader = asyncio.create_task(self._read())
        await super().start()

    async def _read(self) -> None:
        """Keep what the worker writes, and let it never wait for us to do so."""
        async for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def has_ended(self) -> bool:
        """Whether the process on the host is gone, or the connection."""
        return self.process is None or self.process.is_closing() or self.process.returncode is not None

    def end(self) -> str:
        """How the process on the host is."""
        if not self.has_ended():
            return "started"
        return f"ended with exit code {self.process.returncode}" if self.process else "not connected"

    async def close(self) -> None:
        """Let go of the worker, on which it ends its trial and itself."""
        if self.process is not None and not self.has_ended():
            self.process.stdin.write_eof()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait_closed(), STOPPING)
        if self.connection is not None:
            self.connection.close()
            await self.connection.wait_closed()
        await super().close()


def spread(hosts: Sequence[str], workers: int) -> list[tuple[str, int, int]]:
    """Workers over hosts, round robin: the host of each, its number there, and how many are there.

    >>> spread(["a", "b"], 3)
    [('a', 0, 2), ('b', 0, 1), ('a', 1, 2)]
    """
    places = [hosts[number % len(hosts)] for number in range(workers)]
    return [(host, places[:number].count(host), places.count(host)) for number, host in enumerate(places)]


async def _settle(cluster: SpecCluster, gone: Container[str] = ()) -> None:
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
