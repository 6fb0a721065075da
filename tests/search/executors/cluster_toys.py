"""What the tests of clusters share: a definition to train, and what became of it."""

import contextlib
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from conftest import Project, untimed

from helixband.definition import load_definition
from helixband.results.directory import Results, Row
from helixband.search.executors.local import InProcess
from helixband.search.executors.process import Setup
from helixband.search.executors.task import Outcome, Task
from helixband.search.executors.trial import Trainer

SLOW = """
import os
import time

class Model(Model):
    def get_hyperband_reward(self, result):
        with open(os.path.join(self.args.data, "pids"), "a") as file:
            file.write(f"{os.getpid()}\\n")
        time.sleep(SECONDS)
        hold = os.path.join(self.args.data, f"hold{self.epoch + 1}")
        while os.path.exists(hold):
            time.sleep(0.05)
        return super().get_hyperband_reward(result)
"""
"""Appended to the toy: an epoch takes so many seconds, and tells its process in data/pids."""

CONFIGS = [{"lr": 0.01, "units": 4}, {"lr": 0.02, "units": 8}, {"lr": 0.03, "units": 4}]


def slow(seconds: float = 0.3) -> str:
    return SLOW.replace("SECONDS", str(seconds))


def make_trainer(project: Project, result: str = "results") -> Trainer:
    """What trains trials of the project's definition in this process."""
    args = Namespace(data=str(project.data), batch_size=20, seed=3, cpu=True, debug=False)
    definition = load_definition(str(project.definition), 3)
    return Trainer(definition, Results(project.path / result), args)


def make_setup(project: Project, result: str = "results") -> Setup:
    return Setup.of(make_trainer(project, result), str(project.path))


def in_process(project: Project, tasks: list[Task]) -> tuple[list[Outcome], dict[str, list[Row]]]:
    """The outcomes and the rows of tasks that are trained in this process, one after another."""
    rows = Rows()
    executor = InProcess(make_trainer(project, "expected"))
    return [executor.submit(task, rows).result() for task in tasks], rows.rows


def pids(project: Project) -> list[int]:
    """The processes that have trained, an entry an epoch."""
    file = project.data / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


@contextlib.contextmanager
def held(project: Project, epoch: int) -> Iterator[None]:
    """Trials do not come to the end of this epoch."""
    hold = project.data / f"hold{epoch}"
    hold.touch()
    try:
        yield
    finally:
        hold.unlink()


def files(project: Project, trial: str, result: str = "results") -> dict[str, str]:
    """What a trial left that depends on nothing but its task."""
    folder = project.path / result / "trials" / trial
    table = untimed((folder / "train_results.csv").read_text())
    return {"config.json": (folder / "config.json").read_text(), "train_results.csv": table}


def open_to_others(processes: Iterable[int]) -> list[str]:
    """The addresses, but for those of the loopback, at which the processes and their children listen."""
    import psutil

    family = {
        process.pid
        for pid in processes
        for process in [psutil.Process(pid), *psutil.Process(pid).children(True)]
    }
    listening = [one for one in psutil.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    assert {one.pid for one in listening} & family
    found = {one.laddr.ip for one in listening if one.pid in family}
    return sorted(address for address in found if address not in ("127.0.0.1", "::1"))


def let_in_without_the_key(address: str) -> bool:
    """Whether a scheduler answers who comes with a key of their own."""
    from distributed import Client
    from distributed.security import Security

    try:
        Client(address, security=Security.temporary(), timeout=2, set_as_default=False).close()
    except OSError:
        return False
    return True


class Rows:
    """Keeps what `on_epoch` gets, but for the time that each epoch took."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {}

    def __call__(self, name: str, row: Row) -> None:
        assert row["seconds"] > 0
        plain = {column: value for column, value in row.items() if column != "seconds"}
        self.rows.setdefault(name, []).append(plain)

    def epochs(self, name: str) -> list[int]:
        return [int(row["epoch"]) for row in self.rows.get(name, [])]


def wait_until(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """What the condition comes to, once it holds."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.05)
    return value


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
