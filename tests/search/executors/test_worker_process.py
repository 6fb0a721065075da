"""The process that trials are trained in: how it ends, and what is on disk then."""

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from toys import TOY

from helixband.definition import load_definition
from helixband.results import checkpoints
from helixband.results.directory import Results, Row, Trial
from helixband.search.executors.local import worker_environment
from helixband.search.executors.process import Setup, TrialProcess, WorkerDied
from helixband.search.executors.task import Chunk, Task
from helixband.search.executors.trial import Trainer
from helixband.search.executors.worker import SECONDS_ALONE

SLOW = """
import os, time

class Model(Model):
    def get_hyperband_reward(self, result):
        time.sleep(0.2)
        with open(self.config["finished"], "a") as file:
            file.write("x")
        while self.config.get("stubborn"):
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                pass
        return -result["val_loss"]
"""

# What a run does: workers at their trials, until it is killed.
PARENT = """
import sys
from argparse import Namespace
from pathlib import Path
from helixband.definition import load_definition
from helixband.results.directory import Results
from helixband.search.executors.local import LocalWorkers
from helixband.search.executors.process import Setup
from helixband.search.executors.task import Chunk, Task
from helixband.search.executors.trial import Trainer

folder = Path(sys.argv[1])
args = Namespace(data=str(folder), batch_size=20, seed=0, cpu=True, debug=False)
trainer = Trainer(load_definition(folder / "def.py"), Results(folder / "results"), args)
workers = LocalWorkers(Setup.of(trainer, str(folder)), 3, ["", "", ""], 1)
print(*(process.pid for process in workers._processes), flush=True)
for number in range(2):
    config = {"lr": 0.01, "units": 4, "finished": str(folder / f"finished{number}"), "stubborn": number == 1}
    workers.submit(Task(f"{number:04d}", config, 500), lambda name, row: None)
sys.stdin.read()
"""


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is true."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)


def running(pid: int) -> bool:
    """Whether there is such a process, and not only its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def last_epoch(trial: Trial) -> int:
    """The epoch of the last state on disk, which the history has as well."""
    epoch: int = checkpoints.load(trial.last_checkpoint)["epoch"]
    assert trial.epochs() == epoch
    return epoch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "def.py").write_text(TOY + SLOW)
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_workers_of_a_killed_run_keep_their_last_epochs_and_leave_no_process(folder: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(folder)]
    parent = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None and parent.stdin is not None
    working, stubborn, idle = (int(pid) for pid in parent.stdout.readline().split())
    counts = folder / "finished0", folder / "finished1"
    until(lambda: size(counts[0]) >= 4 and size(counts[1]) == 1)
    assert all(running(pid) for pid in (working, stubborn, idle))
    parent.kill()
    killed = time.monotonic()
    for stream in (parent.stdin, parent.stdout):
        stream.close()
    parent.wait()
    # Which of the first two has which trial is open: the other one lets no interruption through.
    until(lambda: sum(map(running, (working, stubborn, idle))) <= 1, 30)
    finished = size(counts[0])
    assert last_epoch(Results(folder / "results").trial("0000")) in (finished - 1, finished)
    until(lambda: not any(map(running, (working, stubborn, idle))))
    assert time.monotonic() - killed > SECONDS_ALONE


def start(folder: Path) -> TrialProcess:
    args = Namespace(data=str(folder), batch_size=20, seed=0, cpu=True, debug=False)
    trainer = Trainer(load_definition(folder / "def.py"), Results(folder / "results"), args)
    return TrialProcess(Setup.of(trainer, str(folder)), worker_environment("", 1))


def test_a_process_ignores_ctrl_c_and_ends_on_sigterm_with_its_last_epoch(folder: Path) -> None:
    process, finished, rows = start(folder), folder / "finished", []

    def on_epoch(name: str, row: Row) -> None:
        rows.append(row["epoch"])
        if row["epoch"] == 2:
            os.kill(process.pid, signal.SIGINT)
        if row["epoch"] == 4:
            process.terminate()
            os.kill(process.pid, signal.SIGTERM)  # the second does not disturb what the first brings about

    task = Task("0000", {"lr": 0.01, "units": 4, "finished": str(finished)}, 500)
    assert process.alive
    with pytest.raises(WorkerDied, match="^the process of trial 0000 ended with exit code 143$"):
        process.run(task, on_epoch)
    assert rows[:4] == [1, 2, 3, 4]
    assert last_epoch(Results(folder / "results").trial("0000")) in (size(finished) - 1, size(finished))
    assert not process.alive
    process.close()


def test_a_caller_that_gives_up_takes_the_process_with_it(folder: Path) -> None:
    process = start(folder)

    def give_up(name: str, row: Row) -> None:
        raise BlockingIOError("no more")

    task = Task("0000", {"lr": 0.01, "units": 4, "finished": str(folder / "finished")}, 500)
    with pytest.raises(BlockingIOError, match="no more"):
        process.run(task, give_up)
    assert not process.alive


def test_a_process_that_is_killed_before_it_was_ready_is_told(folder: Path) -> None:
    process = start(folder)
    process.kill()
    with pytest.raises(WorkerDied, match="was ended by SIGKILL"):
        process.run(Task("0000", {}, 1), lambda row: None)


def test_what_lies_where_the_run_was_started_is_not_imported(folder: Path) -> None:
    (folder / "random.py").write_text("raise ValueError('not the random of Python')")
    (folder / "helixband").mkdir()
    definition = folder / "elsewhere"
    definition.mkdir()
    (folder / "def.py").rename(definition / "def.py")
    args = Namespace(data=str(folder), batch_size=20, seed=0, cpu=True, debug=False)
    trainer = Trainer(load_definition(definition / "def.py"), Results(folder / "results"), args)
    process = TrialProcess(Setup.of(trainer, str(folder)), worker_environment("", 1))
    config = {"lr": 0.01, "units": 4, "finished": str(folder / "finished")}
    assert process.run(Task("0000", config, 1), lambda name, row: None).error is None
    process.close()


def test_a_definition_may_print_what_the_encoding_lacks(folder: Path) -> None:
    with open(folder / "def.py", "a", encoding="utf-8") as file:
        file.write(
            "\nprint('größe')\ndef get_val_generator(d):\n    print('→')\n    return get_test_generator(d)\n"
        )
    args = Namespace(data=str(folder), batch_size=20, seed=0, cpu=True, debug=False)
    trainer = Trainer(load_definition(folder / "def.py"), Results(folder / "results"), args)
    process = TrialProcess(
        Setup.of(trainer, str(folder)), worker_environment("", 1) | {"PYTHONIOENCODING": "ascii"}
    )
    config = {"lr": 0.01, "units": 4, "finished": str(folder / "finished")}
    assert process.run(Task("0000", config, 1), lambda name, row: None).error is None
    process.close()

    assert (folder / "results/trials/0000/output.txt").read_text().splitlines()[0] == "\\u2192"


KILLED = """

class Model(Model):
    def init_model(self):
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("path", "work"), [("x.fa", "prediction"), (None, "evaluation")])
def test_a_process_that_trains_no_trial_tells_what_it_did_when_it_is_killed(
    tmp_path: Path, path: str | None, work: str
) -> None:
    (tmp_path / "def.py").write_text(TOY + KILLED)
    process = start(tmp_path)
    task = Task("single", {"lr": 0.01, "units": 4}, 0, chunk=Chunk(path, {}))
    with pytest.raises(WorkerDied, match=rf"^the process of the {work} was ended by SIGKILL \(memory may"):
        process.run(task, lambda name, row: None)
    process.close()
