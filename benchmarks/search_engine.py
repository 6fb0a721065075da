"""The engine of a search: its own work a trial, and what two workers save.

- ask and tell: a search of 1,100 trials by an executor that trains nothing. A job's own work is its draw, its
  journal lines, and the schedule's and progress's part of them; the last 100 jobs count. Wanted: 20 ms.
- empty trials: 500 trials of one epoch of one batch over two workers, from the moment that both are up.
  Wanted: 5 s.
- two workers: the whole command of the function_regressor example, with --workers 2 as a share of the time
  with one. Wanted: 0.6.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from common import EXAMPLES, ROOT, make_parser, report, setting, table

from helixband.definition import load_definition
from helixband.display.progress import Progress
from helixband.results.directory import Results
from helixband.search.executors.local import Executor, LocalWorkers, Report
from helixband.search.executors.process import Setup
from helixband.search.executors.task import Outcome, Task
from helixband.search.executors.trial import Trainer
from helixband.search.journal import SearchJournal
from helixband.search.run import Search

EMPTY = """\
import random

import numpy as np
from torch import nn, optim

from base_model import RegressionModel
from batch_generator import MatrixBatchGenerator

X = np.zeros((4, 2), np.float32)


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(X, X[:, :1], batch_size), MatrixBatchGenerator(X, X[:, :1])


def get_config():
    return {"lr": 10 ** random.uniform(-4, -1), "units": random.choice([16, 32]), "dropout": random.random()}


class Model(RegressionModel):
    def init_model(self):
        network = nn.Linear(2, 1)
        super().init_model(network, optimizer=optim.SGD(network.parameters(), self.config["lr"]))
"""


class Untrained:
    """An executor whose trials have a reward at once."""

    capacity = 1

    def submit(self, task: Task, on_epoch: Report) -> "Future[Outcome]":
        """No training."""
        future: Future[Outcome] = Future()
        future.set_result(Outcome(-abs(task.config["lr"] - 0.01), task.epochs, task.epochs))
        return future

    def close(self) -> None:
        """Nothing was taken."""


class Clocked(Progress):
    """Keeps when each job ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def end_job(self, *arguments: Any, **named: Any) -> None:
        super().end_job(*arguments, **named)
        self.ends.append(time.perf_counter())


def make_trainer(directory: Path, **flags: Any) -> Trainer:
    (directory / "def.py").write_text(EMPTY)
    args = Namespace(data=str(directory), batch_size=4, seed=0, cpu=True, debug=False, **flags)
    definition = load_definition(directory / "def.py", 0)
    return Trainer(definition, Results(directory / "results"), args)


def search(trainer: Trainer, executor: Executor, settings: dict[str, Any]) -> list[float]:
    """When each job of a search ended."""
    progress = Clocked()
    settings = {"schedule": "hyperband", "eta": 3, "seed": 0, "stop_hopeless": False, **settings}
    Search(trainer, SearchJournal(trainer.results.journal, settings), executor, progress).run()
    return progress.ends


def ask_and_tell(sampler: str) -> float:
    """Milliseconds a job, of the last 100 of 1,100 trials."""
    with tempfile.TemporaryDirectory() as directory:
        trainer = make_trainer(Path(directory))
        settings = {"max_epochs": 81, "trials": 1100, "sampler": sampler}
        ends = search(trainer, Untrained(), settings)
    return (ends[-1] - ends[-101]) * 10


def empty_trials(trials: int) -> dict[str, float]:
    """Seconds of a search of empty trials over two workers: all, and from both workers' first trial on."""
    with tempfile.TemporaryDirectory() as directory:
        trainer = make_trainer(Path(directory))
        started = time.perf_counter()
        workers = LocalWorkers(Setup.of(trainer, directory), 2, ["", ""], 1)
        try:
            settings = {"max_epochs": 1, "trials": trials, "sampler": "random"}
            ends = search(trainer, workers, settings)
        finally:
            workers.close()
    return {"with the start": ends[-1] - started, "of the trials": ends[-1] - ends[1]}


def two_workers(rounds: int) -> list[dict[str, float]]:
    """Seconds of whole commands with one worker and with two."""
    found = []
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            [sys.executable, EXAMPLES / "function_regressor/make_data.py"], cwd=directory, check=True
        )
        for number in range(rounds):
            times = {}
            for workers in ("1", "2"):
                command = [
                    sys.executable,
                    ROOT / "main.py",
                    "-f",
                    EXAMPLES / "function_regressor/reg_model.py",
                ]
                command += ["-d", "data", "-r", f"r{number}-{workers}", "-y", "-ep", "50", "-bs", "100"]
                started = time.perf_counter()
                subprocess.run(
                    [*command, "--workers", workers, "--cpu", "--quiet"], cwd=directory, check=True
                )
                times[workers] = time.perf_counter() - started
            found.append(times)
    return found


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement [%(default)s]")
    parser.add_argument("--trials", type=int, default=500, help="empty ones [%(default)s]")
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    found: dict[str, Any] = {
        "ask and tell, ms a job": {
            sampler: [ask_and_tell(sampler) for _ in range(args.rounds)] for sampler in ("random", "density")
        },
        "empty trials, s": [empty_trials(args.trials) for _ in range(args.rounds)],
        "whole commands, s": two_workers(args.rounds),
    }
    rows: list[list[Any]] = [
        [f"ask and tell, {sampler}, ms a job", f"{statistics.median(times):.1f}", "20"]
        for sampler, times in found["ask and tell, ms a job"].items()
    ]
    for what in ("of the trials", "with the start"):
        seconds = statistics.median(times[what] for times in found["empty trials, s"])
        rows.append([f"{args.trials} empty trials over 2 workers, {what}, s", f"{seconds:.2f}", "5"])
    ratio = statistics.median(times["2"] / times["1"] for times in found["whole commands, s"])
    found["two workers"] = ratio
    rows.append(["function_regressor, 2 workers / 1 worker", f"{ratio:.2f}", "0.6"])
    tables = [table(["", "measured", "wanted: at most"], rows)]
    report({"setting": setting(torch.device("cpu")), **found}, tables, args.json)


if __name__ == "__main__":
    main()
