"""What the tests of jobs share: a program in the place of main.py that takes no time; where machines are."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helixband.errors import UsageError
from helixband.jobs import Command, Jobs, Shell, Slurm, SshOs, Status, Table

SSH_CONFIG = os.environ.get("HELIXBAND_TEST_SSH_CONFIG", "")
SSH_HOST = os.environ.get("HELIXBAND_TEST_SSH_HOST", "")

needs_ssh = pytest.mark.skipif(
    not SSH_CONFIG or not SSH_HOST,
    reason="needs a host of an ssh configuration: HELIXBAND_TEST_SSH_CONFIG, HELIXBAND_TEST_SSH_HOST",
)
needs_slurm = pytest.mark.skipif(
    not shutil.which("sbatch") or "SLURM_CONF" not in os.environ,
    reason="needs a Slurm whose configuration SLURM_CONF names",
)

MAIN = """
import json, os, pathlib, signal, sys, time

words = sys.argv[1:]
value = lambda name: words[words.index(name) + 1] if name in words else None
results = pathlib.Path(value("--result"))
results.mkdir(exist_ok=True)
with open(results / "runs", "a") as runs:
    runs.write(json.dumps(words) + "\\n")
print("at work", sorted(os.listdir()), sorted(os.listdir(value("--data"))))
for each in words:
    if each == "do=fail":
        sys.exit("Traceback\\nValueError: no such thing")
    if each == "do=die":
        os.kill(os.getpid(), signal.SIGKILL)
    if each == "do=fail_once" and len(open(results / "runs").readlines()) == 1:
        sys.exit(1)
    if each == "do=wait" or each == "do=wait_once" and len(open(results / "runs").readlines()) == 1:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        pathlib.Path(results / "starts").write_text(str(os.getpid()))
        os.replace(results / "starts", results / "waits")
        time.sleep(60)
    if each == "do=fail_in_debug" and "--debug" in words:
        sys.exit("error: debug shows it")
"""
"""Takes the flags of main.py, records them, and does what `--set do=…` says."""


def shell(folder: Path, **settings: object) -> Shell:
    """A scheduler whose jobs run MAIN instead of main.py."""
    return Shell(python=sys.executable, program=[str(main_in(folder))], **settings)  # type: ignore[arg-type]


def slurm(folder: Path, **settings: object) -> Slurm:
    """The same in Slurm."""
    limits = {"time": "10:00", "memory": "100M", "signal": 60, **settings}
    return Slurm(python=sys.executable, program=[str(main_in(folder))], **limits)  # type: ignore[arg-type]


def main_in(folder: Path) -> Path:
    """The path of MAIN, written there."""
    path = folder.absolute() / "main_of_tests.py"
    path.write_text(MAIN)
    return path


def ssh() -> SshOs:
    """The machine behind SSH."""
    return SshOs(SSH_HOST, python=sys.executable, config=SSH_CONFIG)


def command(folder: Path, name: str = "first", *argv: str) -> Command:
    """A command on a definition and data in a folder."""
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "def.py").write_text("import helper\n")
    (folder / "code" / "helper.py").write_text("HELP = 1\n")
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "x.fa").write_text(">a\nACGT\n")
    return Command(name, ["--model", str(folder / "code" / "def.py"), "--data", str(folder / "data"), *argv])


def until(look: Callable[[], Table], is_so: Callable[[Status], bool], seconds: float = 30.0) -> Table:
    """The table once that holds of each status."""
    limit = time.monotonic() + seconds
    while not all(map(is_so, table := look())):
        assert time.monotonic() < limit, str(table)
        time.sleep(0.05)
    return table


def resume(jobs: Jobs, name: str, seconds: float = 30.0) -> Table:
    """Resume a job that has just ended, once its scheduler knows that, too."""
    limit = time.monotonic() + seconds
    while True:
        try:
            return jobs.resume(name, wait=0)
        except UsageError as error:
            if "still at work" not in str(error) or time.monotonic() > limit:
                raise
        time.sleep(0.2)


def states(table: Table) -> dict[str, str]:
    """Job -> state."""
    return {status.job: status.state for status in table}
