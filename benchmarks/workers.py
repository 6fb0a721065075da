"""Time how processes for trials come up, and how fast they take trials that do nothing.

A start is the processor time of a worker's imports beside that of `import torch`, and of that with
torch._dynamo, which torch imports with the first optimizer otherwise. Then workers that are up get trials of
one step on one example.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from common import ROOT, make_parser, report, setting, table

from helixband.definition import load_definition
from helixband.results.directory import Results
from helixband.search.executors.local import LocalWorkers
from helixband.search.executors.process import Setup
from helixband.search.executors.task import Outcome, Task
from helixband.search.executors.trial import Trainer

WANTED_RATIO, WANTED_SECONDS = 1.5, 4.0
TRIALS = 500

EMPTY = """
import numpy as np
from torch import nn, optim
from helixband import MatrixBatchGenerator, RegressionModel

ONES = np.ones((1, 1), np.float32)


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(ONES, ONES), MatrixBatchGenerator(ONES, ONES)


def get_config():
    return {}


class Model(RegressionModel):
    def init_model(self):
        network = nn.Linear(1, 1)
        super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), 0.1))
"""

IMPORTS = {
    "import torch": "import torch",
    "with torch._dynamo": "import torch, torch._dynamo",
    "a worker's imports": """
from helixband import importing
with importing():
    import torch
    import helixband.search.executors.worker
""",
}
END = "\nimport os; os._exit(0)"
"""Python's own end would look through all that was imported; a worker ends as this does."""


def seconds_of(code: str) -> float:
    """The processor time of a new interpreter until it has run `code`."""
    before = os.times()
    subprocess.run([sys.executable, "-c", code + END], cwd=ROOT, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def seconds_of_trials(count: int, workers: int) -> float:
    """The wall time of empty trials over workers that are up."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "def.py"
        file.write_text(EMPTY)
        arguments = {"data": directory, "batch_size": 1, "epoch": 1, "seed": 0, "cpu": True, "debug": False}
        definition = load_definition(file, 0)
        trainer = Trainer(definition, Results(Path(directory) / "results"), Namespace(**arguments))
        executor = LocalWorkers(Setup.of(trainer, directory), workers, [""] * workers, 1)
        try:
            _train(executor, [f"warm{number}" for number in range(8 * workers)])
            started = time.perf_counter()
            _train(executor, [f"{number:04}" for number in range(count)])
            return time.perf_counter() - started
        finally:
            executor.close()


def _train(executor: LocalWorkers, names: list[str]) -> None:
    futures = [executor.submit(Task(name, {}, 1), lambda name, row: None) for name in names]
    for future in futures:
        outcome: Outcome = future.result()
        if outcome.error:
            raise RuntimeError(outcome.error)


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="the median counts [%(default)s]")
    parser.add_argument("--trials", type=int, default=TRIALS, help="empty trials [%(default)s]")
    parser.add_argument("--workers", type=int, default=2, help="[%(default)s]")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    found: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(args.rounds):
        for name, code in IMPORTS.items():
            found[name].append(seconds_of(code))
    starts = {name: statistics.median(seconds) for name, seconds in found.items()}
    base, dynamo, worker = starts.values()
    trials = seconds_of_trials(args.trials, args.workers)
    document: dict[str, Any] = {
        "setting": setting(torch.device("cpu"), ["torch"]),
        "seconds": found,
        "start_ratio": worker / base,
        "start_ratio_beside_dynamo": worker / dynamo,
        "wanted_ratio": WANTED_RATIO,
        "trials": args.trials,
        "trials_seconds": trials,
        "wanted_trials_seconds": WANTED_SECONDS,
    }
    rows = [[name, f"{seconds:.2f}", f"{seconds / base:.2f}"] for name, seconds in starts.items()]
    told = f"{args.trials} empty trials over {args.workers} workers: {trials:.1f} s"
    told += (
        f"; wanted: at most {WANTED_SECONDS:g} s for {TRIALS}, and a start of {WANTED_RATIO} × import torch"
    )
    report(document, [table(["start", "CPU s", "× torch"], rows), told], args.json)


if __name__ == "__main__":
    main()
