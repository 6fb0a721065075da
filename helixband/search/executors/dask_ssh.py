"""Dask workers on hosts, started over SSH."""

# mypy: allow-untyped-calls

import asyncio
import contextlib
import os
import shlex
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from distributed import Client, Scheduler, SpecCluster
from distributed.deploy.spec import ProcessInterface
from distributed.security import Security

from helixband.env import HASH_SEED
from helixband.errors import HelixbandError, UsageError
from helixband.search.executors import network
from helixband.search.executors.dask_clusters import CONNECTING, settle
from helixband.search.executors.dask_plugin import SHARE

STOPPING = 20.0
"""Seconds that a Dask worker on a host has to close."""

WHILE_CONNECTED = """\
exec 3<&0
{worker} --host "$({towards})" 3<&- &
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


class SshCluster:
    """A scheduler in this process, and Dask workers that are started over SSH."""

    patience = 60.0

    def __init__(self, hosts: Sequence[str], workers: int | None, folder: Path) -> None:
        self.workers: int | None = workers or len(hosts)
        config = os.environ.get("HELIXBAND_SSH_CONFIG")
        if config and not Path(config).is_file():
            raise UsageError(f"HELIXBAND_SSH_CONFIG is {config!r}, and there is no such file")
        self.security = network.make_security(folder)
        with network.forgotten_on_failure(self.security):
            self._start(hosts, config)

    def _start(self, hosts: Sequence[str], config: str | None) -> None:
        listening = network.scheduler_options(network.ssh_addresses(hosts, config))
        own = {"config": config, "security": self.security}
        self.cluster = SpecCluster(
            workers={
                f"{host}-{index}": {
                    "cls": SshWorker,
                    "options": {"host": host, "share": f"{index}/{of}", **own},
                }
                for host, index, of in spread(hosts, self.workers or len(hosts))
            },
            scheduler={
                "cls": Scheduler,
                "options": {**listening, "protocol": "tls://", "security": self.security},
            },
            security=self.security,
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
            self.cluster.sync(settle, self.cluster, gone)

    def close(self) -> None:
        """End the workers and the connections."""
        self.client.close()
        self.cluster.close()
        network.forget_security(self.security)


class SshWorker(ProcessInterface):
    """A Dask worker on a host, in the lifetime of an SSH connection."""

    def __init__(
        self, scheduler: str, name: str, host: str, share: str, config: str | None, security: Security
    ) -> None:
        self.scheduler, self.name, self.host, self.share, self.config = scheduler, name, host, share, config
        self.security = security
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
        hashes = [f"{HASH_SEED}={os.environ[HASH_SEED]}"] if HASH_SEED in os.environ else []
        worker = [
            "env",
            f"{SHARE}={self.share}",
            *hashes,
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
        ]
        worker += [self.scheduler, "--name", self.name, "--nworkers", "1", "--memory-limit", "0"]
        worker += ["--death-timeout", "60", *network.NO_DASHBOARD]
        for name, file in self.security.get_tls_config_for_role("worker").items():
            if name != "ciphers":
                worker += [f"--tls-{name.replace('_', '-')}", file]
        towards = network.towards(str(urlsplit(self.scheduler).hostname))
        command = ["sh", "-c", WHILE_CONNECTED.format(worker=shlex.join(worker), towards=towards)]
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
