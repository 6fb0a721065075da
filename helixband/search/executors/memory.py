"""Whether the data of several trials fit into memory at a time."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helixband.errors import UsageError


def check_memory(make: Callable[[], Any], is_shared: Callable[[], bool], processes: int, slots: int) -> None:
    """Raise `UsageError` where `slots` trials in each process have more data than there is memory.

    `make` makes the data of one trial; where they then are `is_shared`, all trials of a process have them.
    Data that are read as they are needed are not counted. Nothing is checked where the system does not tell.
    """
    before, free = held(), available()
    data = make()  # held until they are weighed
    after = held()
    if before is None or after is None or free is None or is_shared():
        return
    del data
    takes = after - before
    trials = slots * processes
    if takes * trials > free:
        most = int(free // (max(1, takes) * processes))
        instead = f"--pack {most} or fewer" if most > 1 else "--pack off"
        raise UsageError(
            f"--pack {slots}: the generators of one trial hold {_gb(takes)} of data, and those of "
            f"{trials} trials need {_gb(takes * trials)} of the {_gb(free)} that are free; "
            f"give {instead}, or generators of Helixband, which the trials of a process share"
        )


def held() -> int | None:
    """Bytes of memory that this process has for itself, without files that are mapped."""
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    except OSError:
        return None
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def available() -> int | None:
    """Bytes of memory that new data can have."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return found[0] * 1024 if found else None


def _gb(number: int) -> str:
    return f"{number / 1e9:.3g} GB"
