"""What is left after kills: searches killed (-9) at random moments until they come to their end.

Each of three definitions is hard to continue: `numbers` draws from all random generators and from some of
its own; `training` has dropout, momentum, batch normalisation, a schedule and a scheduler; `generator` has a
batch generator of its own with state, and epochs of 1 to 40 batches. A run searches, evaluates and predicts.
The same command is given again after each kill of the run. With two workers, every second kill is of one of
them (at most two in a row: a trial whose worker dies for the third time has failed).

Most of a run's start is the import of torch. So the runs that are killed are forks of a process that has it.
The run without kills is the command itself.

Compared with a run without kills, bit for bit: configurations and results in the journal, the table of each
trial, the best weights, the test result and the predictions. Exit code 1 if anything differs.
"""

import argparse
import contextlib
import csv
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import torch
from common import ROOT, make_parser, report, setting, table

from helixband.run import command

COMMON = """\
import json
import os
import random
import time

import numpy as np
import torch
from torch import nn, optim

from helixband import BaseModel, ClassificationModel, MatrixBatchGenerator, RegressionModel

ROWS = np.random.RandomState(0).rand(120, 4).astype("float32")
TARGETS = (ROWS.sum(1, keepdims=True) ** 2).astype("float32")
CLASSES = (TARGETS[:, 0] > 4).astype("int64")


def get_config():
    return {"lr": 10 ** random.uniform(-3, -1), "units": random.choice([4, 8])}


class Counted:
    def get_hyperband_reward(self, result):
        with open(os.path.join(self.args.data, "epochs"), "a") as file:
            file.write(json.dumps([dict(self.config), self.epoch + 1]) + "\\n")
        time.sleep(0.08)
        return -result["val_loss"]
"""

NUMBERS = """
class Drawn:
    def __init__(self, seed, batch_size=40):
        self.numpy = np.random.default_rng(seed)
        self.torch = torch.Generator().manual_seed(seed)
        self.python = random.Random(seed)
        self.batch_size = batch_size

    def __iter__(self):
        order = self.numpy.permutation(len(ROWS))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            x = torch.from_numpy(ROWS[rows]) + 0.1 * torch.randn(len(rows), 4, generator=self.torch)
            yield x * self.python.uniform(0.9, 1.1) + np.random.normal(0, 0.01), CLASSES[rows]


def get_train_generator(data_dir, batch_size):
    return Drawn(1), Drawn(2)


def get_test_generator(data_dir):
    return MatrixBatchGenerator(ROWS, CLASSES, 40)


def get_pred_generator(pred_path):
    return MatrixBatchGenerator(ROWS, batch_size=40)


class Model(Counted, ClassificationModel):
    def init_model(self):
        units = self.config["units"]
        network = nn.Sequential(nn.Linear(4, units), nn.ReLU(), nn.Linear(units, 2))
        optimizer = optim.Adam(network.parameters(), self.config["lr"])
        super().init_model(network, nn.CrossEntropyLoss(), optimizer)

    def train_step(self, x, y):
        x = x * random.uniform(0.8, 1.2) + float(np.random.rand()) / 10 + torch.randn_like(x) / 10
        return super().train_step(x, y)
"""

MATRICES = """
def get_train_generator(data_dir, batch_size):
    train = MatrixBatchGenerator(ROWS[:80], TARGETS[:80], batch_size, shuffle=True)
    return train, MatrixBatchGenerator(ROWS[80:], TARGETS[80:], 40)


def get_test_generator(data_dir):
    return MatrixBatchGenerator(ROWS, TARGETS, 40)


def get_pred_generator(pred_path):
    return MatrixBatchGenerator(ROWS, batch_size=40)
"""

TRAINING = (
    MATRICES
    + """
from helixband.training.schedules import CosineSchedule


def get_config():
    lr, decay = 10 ** random.uniform(-3, -1), CosineSchedule(start=1e-4, end=0.0, duration=9)
    return {"lr": lr, "decay": decay, "units": random.choice([8, 16]), "dropout": random.uniform(0.1, 0.5)}


class Counted:
    def get_hyperband_reward(self, result):
        with open(os.path.join(self.args.data, "epochs"), "a") as file:
            file.write(json.dumps([self.config["units"], self.config["dropout"], self.epoch + 1]) + "\\n")
        time.sleep(0.08)
        return -result["val_loss"]


class Model(Counted, RegressionModel):
    def init_model(self):
        units = self.config["units"]
        network = nn.Sequential(
            nn.Linear(4, units),
            nn.BatchNorm1d(units),
            nn.ReLU(),
            nn.Dropout(self.config["dropout"]),
            nn.Linear(units, 1),
        )
        lr, decay = self.config["lr"], self.config["decay"]
        optimizer = optim.SGD(network.parameters(), lr, momentum=0.9, weight_decay=decay)
        scheduler = optim.lr_scheduler.StepLR(optimizer, 2, 0.7)
        super().init_model(network, nn.MSELoss(), optimizer, scheduler=scheduler)
"""
)

GENERATOR = (
    MATRICES
    + """
class Walk:
    \"\"\"Batches of a walk through the rows, which goes on from one epoch to the next.\"\"\"

    def __init__(self):
        self.place, self.epoch, self.seen = 0, 0, np.zeros(len(ROWS), np.int64)

    def __iter__(self):
        for _ in range((1, 3, 40, 2, 7)[self.epoch % 5]):
            rows = [(self.place + 7 * step) % len(ROWS) for step in range(10)]
            self.place, self.seen[rows] = rows[-1] + 1, self.seen[rows] + 1
            time.sleep(0.005)
            yield ROWS[rows] * (1 + 0.001 * self.seen[rows, None]).astype("float32"), TARGETS[rows]
        self.epoch += 1

    def state_dict(self):
        return {"place": self.place, "epoch": self.epoch, "seen": self.seen}

    def load_state_dict(self, state):
        self.place, self.epoch, self.seen = state["place"], state["epoch"], state["seen"].copy()


def get_train_generator(data_dir, batch_size):
    return Walk(), MatrixBatchGenerator(ROWS[80:], TARGETS[80:], 40)


class Model(Counted, RegressionModel):
    def init_model(self):
        units = self.config["units"]
        network = nn.Sequential(nn.Linear(4, units), nn.Tanh(), nn.Linear(units, 1))
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), self.config["lr"]))
"""
)

DEFINITIONS = {"numbers": NUMBERS, "training": TRAINING, "generator": GENERATOR}

DEATHS_IN_A_ROW = 2
"""Of workers, before the run itself is killed: a trial is begun three times, then it has failed."""


class Runs:
    """Runs of one definition in a folder: `command` ends in the name of the result directory."""

    def __init__(self, folder: Path, definition: str, workers: int, threads: int) -> None:
        self.folder, self.workers = folder, workers
        (folder / "def.py").write_text(COMMON + DEFINITIONS[definition])
        (folder / "rows").touch()
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._flags = "-f def.py -d . -y -ep 9 -bs 20 -e -p rows --cpu --quiet".split()

    def start(self, result: str) -> ForkProcess:
        """A run, in a process that it shares no memory with."""
        flags = [*self._flags, "-r", result, "--workers", str(self.workers)]
        process = get_context("fork").Process(target=self._run, args=[flags])
        process.start()
        return process

    def _run(self, flags: list[str]) -> None:
        os.chdir(self.folder)
        sys.exit(command.main(flags))

    def undisturbed(self) -> tuple[dict[str, Any], int, float]:
        """What it comes to, its number of epochs, and the seconds until the first of them."""
        began = time.monotonic()
        peace = [sys.executable, str(ROOT / "main.py"), *self._flags, "-r", "peace"]
        process = subprocess.Popen(peace, cwd=self.folder)
        while process.poll() is None and not self.epochs():
            time.sleep(0.05)
        seconds = time.monotonic() - began
        if process.wait():
            raise SystemExit("the run without kills failed")
        return found(self.folder / "peace"), self.forget_epochs(), seconds

    def killed(self, result: str, kills: int, draw: random.Random, start: float) -> Counter[str]:
        """Let a run come to its end through at most so many kills; how many of what there were."""
        counts: Counter[str] = Counter()
        while counts.total() < kills:
            process, deaths = self.start(result), 0
            while True:
                if draw.random() < 0.15:
                    time.sleep(draw.uniform(0, start))
                else:
                    self._next_epoch(process)
                    time.sleep(draw.uniform(0, 0.6))
                if not process.is_alive() or counts.total() >= kills:
                    break
                workers = children(process.pid or 0) if self.workers > 1 else []
                if deaths < DEATHS_IN_A_ROW and workers and draw.random() < 0.5:
                    os.kill(draw.choice(workers), signal.SIGKILL)
                    deaths += 1
                    counts["worker"] += 1
                    continue
                process.kill()
                counts["run"] += 1
                break
            process.join()
            if process.exitcode not in (0, -signal.SIGKILL):
                raise SystemExit(f"a run failed with exit code {process.exitcode}")
            if process.exitcode == 0:
                return counts
        process = self.start(result)
        process.join()
        if process.exitcode:
            raise SystemExit(f"a run failed with exit code {process.exitcode}")
        return counts

    def epochs(self) -> int:
        file = self.folder / "epochs"
        return len(file.read_bytes().splitlines()) if file.exists() else 0

    def forget_epochs(self) -> int:
        """How many epochs were trained since this was last called."""
        count = self.epochs()
        (self.folder / "epochs").unlink(missing_ok=True)
        return count

    def _next_epoch(self, process: ForkProcess) -> None:
        before = self.epochs()
        while process.is_alive() and self.epochs() == before:
            time.sleep(0.02)


def children(pid: int) -> list[int]:
    """The trial processes of a run, which may be a zombie by now, and the interpreter that forks them."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):  # those that each of its threads has started
        with contextlib.suppress(OSError):
            for child in file.read_text().split():
                if b"helixband.search.executors.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found += [int(child), *children(int(child))]
    return found


def found(result: Path) -> dict[str, Any]:
    """What a run came to, and may not depend on kills."""
    events = [json.loads(line) for line in (result / "search/journal.jsonl").read_text().splitlines()]
    kept = ("reward", "best_epoch", "error", "trained", "ended")
    tables = {}
    for file in sorted(result.glob("trials/*/train_results.csv")):
        rows = list(csv.DictReader(file.read_text().splitlines()))
        tables[file.parent.name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    best = torch.load(result / "best_config/checkpoints/best.pt", weights_only=True)
    return {
        "configurations": {e["trial"]: e["config"] for e in events if e["event"] == "trial"},
        "results": {
            (e["trial"], e["epochs"]): [e[k] for k in kept] for e in events if e["event"] == "result"
        },
        "tables": tables,
        "weights": {name: tensor.numpy().tobytes() for name, tensor in best["network"].items()},
        "test result": json.loads((result / "test_result.json").read_text()),
        "predictions": (result / "predictions/rows.npy").read_bytes(),
    }


def measure(definition: str, workers: int, kills: int, seed: int, threads: int) -> dict[str, Any]:
    """Kill runs of a definition so often in all, and compare each with one without kills."""
    draw, counts, differing = random.Random(f"{definition} {workers} {seed}"), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), definition, workers, threads)
        wanted, epochs, start = runs.undisturbed()
        number = twice = 0
        while counts.total() < kills:
            number += 1
            counts += runs.killed(f"war{number}", kills - counts.total(), draw, start)
            twice += runs.forget_epochs() - epochs
            came_to = found(runs.folder / f"war{number}")
            differing += Counter(what for what in wanted if wanted[what] != came_to[what])
    return {
        "definition": definition,
        "workers": workers,
        "kills of the run": counts["run"],
        "kills of a worker": counts["worker"],
        "runs": number,
        "runs that differ": max(differing.values(), default=0),
        "what differs": sorted(differing),
        "epochs": epochs * number,
        "epochs trained twice": twice,
    }


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--kills", type=int, default=50, help="of each definition and number of workers [%(default)s]"
    )
    parser.add_argument("--definitions", nargs="+", choices=DEFINITIONS, default=list(DEFINITIONS))
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], help="[1 2]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [%(default)s]")
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    importlib.import_module("helixband.run.experiment")  # before the forks
    measured = [
        measure(definition, workers, args.kills, args.seed, args.threads)
        for definition in args.definitions
        for workers in args.workers
    ]
    rows = [[str(value) if value != [] else "nothing" for value in one.values()] for one in measured]
    report(
        {"setting": setting(torch.device("cpu")), "measured": measured},
        [table(list(measured[0]), rows)],
        args.json,
    )
    sys.exit(any(one["runs that differ"] for one in measured))


if __name__ == "__main__":
    main()
