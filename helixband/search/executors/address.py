"""What `--cluster` may name; read without a connection to anything."""

import re
from dataclasses import dataclass, field

from helixband.errors import UsageError

SLURM_KEYS = {
    "queue": (r"\S+", "gpu"),
    "account": (r"\S+", "lab"),
    "cores": (r"[1-9]\d*", "4"),
    "memory": (r"\d+(\.\d+)?[KMGT]i?B", "16GB"),
    "walltime": (r"(\d+-)?\d+(:\d\d){0,2}", "02:00:00"),
    "gpus": (r"[1-9]\d*", "1"),
}
"""What `slurm:` takes: a pattern of the values, and an example."""


@dataclass(frozen=True)
class Address:
    """A `kind` of cluster (dask, slurm or ssh), with the options of Slurm jobs or the names of hosts."""

    kind: str
    options: dict[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()


def check_address(address: str) -> None:
    """Raise `UsageError` where the value of `--cluster` cannot be one."""
    read_address(address)


def read_address(address: str) -> Address:
    """The parts of an address; raises `UsageError`.

    >>> read_address("slurm:queue=gpu,gpus=1").options
    {'queue': 'gpu', 'gpus': '1'}
    >>> read_address("ssh:node1,node2").hosts
    ('node1', 'node2')
    """
    if re.fullmatch(r"(tcp|tls)://([^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):\d+", address):
        return Address("dask")
    kind, colon, rest = address.partition(":")
    if kind == "slurm" and colon and not rest.startswith("//"):
        return Address(kind, options=dict(_slurm_option(text, address) for text in rest.split(",") if text))
    if kind == "ssh" and colon and not rest.startswith("//"):
        for host in rest.split(","):
            if not re.fullmatch(r"[^\s/:@-][^\s/:@]*", host):
                raise UsageError(
                    f"--cluster {address}: {host!r} is no name of a host, as in ssh:node1,node2; "
                    "its user and port are for ~/.ssh/config"
                )
        return Address(kind, hosts=tuple(rest.split(",")))
    raise UsageError(
        f"--cluster {address}: give tcp://host:port of a Dask scheduler, slurm:key=value,... or ssh:host,..."
    )


def _slurm_option(text: str, address: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if key not in SLURM_KEYS:
        raise UsageError(f"--cluster {address}: {key!r} is none of {', '.join(SLURM_KEYS)}")
    pattern, example = SLURM_KEYS[key]
    if not re.fullmatch(pattern, value):
        raise UsageError(f"--cluster {address}: {key} is {value!r}; give it as in {key}={example}")
    return key, value
