"""Many jobs: made, and looked at, on this machine and over SSH; and the time to import the package.

Times are also given in CPU seconds of this process and its children, for machines with other work.
`--host` names a machine of the ssh configuration that HELIXBAND_SSH_CONFIG names, or of ~/.ssh/config.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import ROOT, make_parser, report, setting, table

from helixband.jobs import Command, Jobs, Shell, SshOs, grid

WANTED_SECONDS = {"made": 5.0, "status": 2.0, "import": 0.2}
WANTED_ROUND_TRIPS = 3
EVENTS = "start node1:{0} 2026-11-26T12:00:00Z {0}\nexit 0 2026-11-26T12:30:00Z {0}\n"


def measured(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """({"seconds", "cpu_seconds"}, what `work` gives)."""
    clock, before = time.perf_counter(), os.times()
    result = work()
    after = os.times()
    cpu = sum(getattr(after, name) - getattr(before, name) for name in ("user", "system"))
    cpu += after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": round(time.perf_counter() - clock, 3), "cpu_seconds": round(cpu, 3)}, result


def measure_jobs(folder: Path, number: int, host: str | None) -> dict[str, Any]:
    """The time of `number` jobs made, and of their status: half are done, the others wait and are silent."""
    machine = SshOs(host) if host else None
    definition = folder / "def.py"
    definition.write_text("# A definition of a usual length.\n" * 100)
    jobs = Jobs(str(folder / (host or "here")), machine, Shell())
    commands = grid(Command("many", ["--model", str(definition)]), x=list(range(number)))
    found: dict[str, Any] = {}
    found["made"], made = measured(lambda: jobs.create(commands))
    done = {}
    for count, job in enumerate(made):
        submitted = job.submitted("shell", "1", None)
        done[submitted.folder.document] = submitted.dumped()
        if count % 2:
            done[job.folder.events] = EVENTS.format(1).encode()
            done[f"{job.folder.results}/trials/single/train_results.json"] = b'{"epochs": 20, "reward": 0.5}'
    jobs.os.write(done)
    trips = machine.round_trips if machine else 0
    found["status"], shown = measured(lambda: jobs.status(silent=0.0))
    assert len(shown) == number
    if machine:
        found["status"]["round_trips"] = machine.round_trips - trips
    return found


def measure_import() -> dict[str, float]:
    """The median of five processes that import the packages, less that of those that import nothing."""

    def started(code: str) -> tuple[float, float]:
        command = [sys.executable, "-c", code]
        runs = [measured(lambda: subprocess.run(command, cwd=ROOT, check=True))[0] for _ in range(5)]
        seconds, cpu = ([run[name] for run in runs] for name in ("seconds", "cpu_seconds"))
        return statistics.median(seconds), statistics.median(cpu)

    pairs = zip(started("import helixband.jobs, helixband.hparams"), started("pass"), strict=True)
    seconds, cpu = (round(own - nothing, 3) for own, nothing in pairs)
    return {"seconds": seconds, "cpu_seconds": cpu}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=1000, help="so many jobs [%(default)s]")
    parser.add_argument("--host", help="measure over SSH to this host too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures: dict[str, Any] = {"here": measure_jobs(Path(folder), args.jobs, None)}
        if args.host:
            figures[args.host] = measure_jobs(Path(folder), args.jobs, args.host)
    figures["import"] = measure_import()
    rows = [
        [f"{args.jobs} jobs {name}, {place}", each["seconds"], each["cpu_seconds"], WANTED_SECONDS[name]]
        for place, found in figures.items()
        if place != "import"
        for name, each in found.items()
    ]
    rows.append(["import", *figures["import"].values(), WANTED_SECONDS["import"]])
    tables = [table(["", "seconds", "CPU seconds", "wanted"], rows)]
    if args.host:
        trips = figures[args.host]["status"]["round_trips"]
        tables.append(f"round trips of a status over SSH: {trips} (wanted: {WANTED_ROUND_TRIPS})")
    report({"setting": setting(torch.device("cpu"), ("torch",)), "figures": figures}, tables, args.json)


if __name__ == "__main__":
    main()
