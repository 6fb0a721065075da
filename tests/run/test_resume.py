"""A run that is killed, however often and wherever, ends as one that was left alone: bit for bit."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, untimed

# Draws from all three global generators while it trains, changes its learning rate, drops units, and has a
# generator of its own with no state but theirs: all that a checkpoint could forget.
DEFINITION = """
import random, time
import numpy as np, torch
from torch import nn, optim
from base_model import RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.training.schedules import ExponentialSchedule

X = np.random.default_rng(0).random((60, 4), dtype=np.float32)
Y = X.sum(1)

class Noisy:
    def __iter__(self):
        for start in np.random.permutation(6) * 10:
            yield X[start:start + 10] + 0.01 * random.random(), Y[start:start + 10]

def get_train_generator(data_dir, batch_size):
    return GENERATOR

def get_val_generator(data_dir):
    return MatrixBatchGenerator(X[:20], Y[:20])

def get_test_generator(data_dir):
    return MatrixBatchGenerator(X[20:], Y[20:])

def get_pred_generator(pred_path):
    return MatrixBatchGenerator(np.loadtxt(pred_path, np.float32, ndmin=2))

def get_config():
    lr = ExponentialSchedule(start=10 ** random.uniform(-3, -1), factor=0.99, unit="step")
    return {"lr": lr, "units": int(np.random.choice([4, 8]))}

class Model(RegressionModel):
    def init_model(self):
        units = self.config["units"]
        layers = nn.Linear(4, units), nn.BatchNorm1d(units), nn.Dropout(0.2), nn.Linear(units, 1)
        network = nn.Sequential(*layers)
        optimizer = optim.Adam(network.parameters(), lr=self.config["lr"])
        super().init_model(network, optimizer=optimizer)
    def train_metrics(self, y_true, y_pred):
        time.sleep(0.008)
        return {"draw": np.random.random()}
"""

# One process imports torch. It forks a run for each entry of `delays`, killed after so many seconds; the last
# one is left to finish. Of every other run the time counts from the moment at which it has its lock, so that
# kills hit it at work on a busy machine too.
LAUNCHER = """
import json, os, signal, sys, time
sys.path.insert(0, sys.argv[1])
import helixband.run.experiment
from helixband.run import command
import helixband.training.keeper as keeper
keeper.SECONDS_BETWEEN_WRITES = float(sys.argv[2])
lock = sys.argv[sys.argv.index("-r") + 1] + "/lock"
for number, delay in enumerate(json.loads(sys.argv[3])):
    pid = os.fork()
    if pid == 0:
        import torch
        torch.set_num_threads(1)
        os._exit(command.main(sys.argv[4:]))
    if delay is None:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    while number % 2 and not (os.path.exists(lock) and open(lock).read().startswith(f"{pid} ")):
        time.sleep(0.01)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


def run(folder: Path, result: str, delays: list[float | None], seconds_between_writes: float) -> None:
    flags = ["-f", folder / "def.py", "-d", folder, "-r", folder / result]
    flags += ["--hyper", "--eval", "--predict", "new.txt", "-ep", "9", "--quiet"]
    flags += ["--no-data-check"] * (delays != [None])  # so that kills hit the search on busy machines too
    command = [sys.executable, "-c", LAUNCHER, ROOT, seconds_between_writes, json.dumps(delays), *flags]
    subprocess.run([str(word) for word in command], check=True, timeout=280)


ONE_RUNS_OWN = ("run.json", "lock", "attempt", "train_results.json")


def contents(result: Path) -> dict[str, object]:
    """All that a run leaves, but for what is of one run alone: its command line, logs, lock, attempts."""
    found: dict[str, object] = {}
    for path in sorted(result.rglob("*")):
        name = str(path.relative_to(result))
        if path.is_dir() or path.name in ONE_RUNS_OWN or name.startswith("logs/"):
            continue
        if name.endswith(".record.json"):
            continue
        if path.suffix == ".pt":
            found[name] = {key: value for key, value in torch.load(path).items() if key != "seconds"}
        else:
            is_table = path.name == "train_results.csv"
            found[name] = untimed(path.read_text()) if is_table else path.read_bytes()
    return found


def assert_same(left: object, right: object, place: str) -> None:
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right), place
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), place
        for key in left:
            assert_same(left[key], right[key], f"{place}/{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), place
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_same(one, other, f"{place}/{index}")
    else:
        assert left == right, place


@pytest.mark.parametrize(
    ("generator", "seconds_between_writes"),
    [("MatrixBatchGenerator(X, Y, batch_size, shuffle=True)", 10.0), ("Noisy()", 0.0)],
    ids=["ours, written at the end of a trial", "the user's, written each epoch"],
)
def test_a_run_killed_at_twenty_random_moments_ends_as_an_undisturbed_one(
    tmp_path: Path, generator: str, seconds_between_writes: float
) -> None:
    (tmp_path / "def.py").write_text(DEFINITION.replace("GENERATOR", generator))
    np.savetxt(tmp_path / "new.txt", np.random.default_rng(1).random((5, 4)))
    draw = random.Random(0)

    run(tmp_path, "undisturbed", [None], seconds_between_writes)
    run(tmp_path, "killed", [draw.uniform(0.0, 0.5) for _ in range(20)], seconds_between_writes)
    journal = tmp_path / "killed/search/journal.jsonl"  # on a busy machine it may not have come to that
    assert not journal.exists() or b'"end"' not in journal.read_bytes()  # all hit it at work
    run(tmp_path, "killed", [None], seconds_between_writes)

    assert_same(contents(tmp_path / "undisturbed"), contents(tmp_path / "killed"), "")
