"""What a cluster that is started here opens on the network: as little as its workers need.

A Dask scheduler and its workers run what they are sent. So they listen only on the interface through which
they reach each other, accept only who has the key of this run, and have no dashboard.
"""

# mypy: allow-untyped-calls

import contextlib
import ipaddress
import os
import secrets
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from distributed.security import Security
from distributed.utils import get_ip

from helixband.files import make_folder, remove_file

NODES = 16
"""So many nodes of a Slurm partition are looked up; all of them should be on one network."""

NO_DASHBOARD = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
"""For a worker: the second is for its other pages, which Dask always serves."""


def scheduler_options(hosts: Iterable[str]) -> dict[str, Any]:
    """What a `distributed.Scheduler` is told, whose workers are on those hosts."""
    return {
        "host": interface_towards(hosts),
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",  # of the other pages, which Dask always serves
        "allowed_failures": 0,  # who repeats a task is the search
        "worker_ttl": 60,  # seconds; a worker's own work is light, so that it always answers
    }


def interface_towards(hosts: Iterable[str]) -> str | None:
    """The address of this machine through which it reaches those hosts; None if it takes several.

    >>> interface_towards(["localhost", "127.0.0.1"])
    '127.0.0.1'

    Hosts without an address count for nothing. If none has one, it is the interface of the default route.
    """
    found = {address for host in hosts if (address := _towards(host))}
    # Who is on this machine reaches its other interfaces too.
    found = {address for address in found if not ipaddress.ip_address(address).is_loopback} or found
    if not found:
        return str(get_ip())
    return found.pop() if len(found) == 1 else None


def _towards(host: str) -> str | None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # which sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return None


def towards(host: str) -> str:
    """A shell's command that prints the address of the interface, where it runs, that leads to a host."""
    code = "import sys; from distributed.utils import get_ip; print(get_ip(sys.argv[1]))"
    return shlex.join([sys.executable, "-c", code, host])


def ssh_addresses(hosts: Sequence[str], config: str | None) -> list[str]:
    """The addresses of the hosts that SSH connects to directly, by the SSH configuration."""
    import asyncssh

    found = []
    for host in hosts:
        options = asyncssh.SSHClientConnectionOptions(host=host, **({"config": config} if config else {}))
        if not options.tunnel and not options.proxy_command:
            found.append(str(options.host or host))
    return found


def slurm_addresses(queue: str | None) -> list[str]:
    """The addresses of some nodes of a partition, or of the default one; empty if Slurm tells none."""
    command = ["sinfo", "-h", "-N", "-o", "%o", *(["-p", queue] if queue else [])]
    try:
        told = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return list(dict.fromkeys(told.stdout.split()))[:NODES]


def make_security(folder: Path) -> Security:
    """A new key that the scheduler, its workers and this process know each other by.

    It is in files of `folder`, which this user alone may read. Those of a run that was killed are removed.
    """
    made: Any = Security.temporary()
    name = secrets.token_hex(8)
    make_folder(folder)
    for left_over in [*folder.glob("*.crt"), *folder.glob("*.key")]:
        remove_file(left_over)
    paths = []
    for suffix, text in (("crt", made.tls_ca_file), ("key", made.tls_worker_key)):
        paths.append(folder / f"{name}.{suffix}")
        with open(os.open(paths[-1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    certificate, key = map(str, paths)
    roles = ("client", "scheduler", "worker")
    return Security(
        require_encryption=True,
        tls_ca_file=certificate,
        **{f"tls_{role}_cert": certificate for role in roles},
        **{f"tls_{role}_key": key for role in roles},
    )


@contextlib.contextmanager
def forgotten_on_failure(security: Any) -> Iterator[None]:
    """Remove the key's files where the body raises."""
    try:
        yield
    except BaseException:
        forget_security(security)
        raise


def forget_security(security: Any) -> None:
    """Remove the key's files."""
    for file in (security.tls_ca_file, security.tls_worker_key):
        Path(file).unlink(missing_ok=True)
