"""A Trainer of several devices: its strategy is Lightning's, and its processes are the run's own."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import lightning.pytorch
import pytest
import torch
from conftest import ROOT
from interop.projects import made, run
from shared_modules import BOTH, experiment_fixture  # noqa: F401

from helixband.errors import DefinitionError
from helixband.interop import arguments

pytestmark = pytest.mark.filterwarnings("ignore")

TWO = """
def get_trainer(config): return {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}
"""
SPAWNED = TWO.replace('"ddp"', '"ddp_spawn"')
PLAIN = """
def get_module(config):
    torch.manual_seed(3)
    module = Lit(0.1)
    module.net[0].p = 0.0
    return module
"""
BY_LIGHTNING = """
import torch
from definition import L, get_datamodule, get_module
if __name__ == "__main__":
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, num_sanity_val_steps=0,
                        enable_checkpointing=False, **quiet)
    trainer.fit(module := get_module({}), datamodule=get_datamodule(".", 10))
    if trainer.is_global_zero:
        torch.save(module.state_dict(), "theirs.pt")
"""


def weights(experiment, result="results"):
    last = experiment.path / result / "trials" / "single" / "checkpoints" / "last.pt"
    return torch.load(last, weights_only=True)["state_dict"]


def are_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def history(experiment, result):
    with open(experiment.path / result / "trials" / "single" / "train_results.csv", newline="") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def companions(path):
    """The processes that were started from a folder to take part in a training."""
    told = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    numbers = [line.split()[0] for line in told.splitlines() if "executors.companion" in line]
    return [number for number in numbers if is_in(number, path)]


def is_in(number, path):
    try:
        return os.readlink(f"/proc/{number}/cwd") == str(path)
    except FileNotFoundError:
        return False


def test_two_processes_come_to_the_weights_of_lightnings_own(experiment, capsys, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")  # by which Lightning orders the examples of several processes
    experiment.write(BOTH + PLAIN + TWO)
    (experiment.path / "definition.py").write_text((experiment.path / "def.py").read_text())
    (experiment.path / "alone.py").write_text(BY_LIGHTNING)
    subprocess.run([sys.executable, "alone.py"], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    theirs = torch.load(experiment.path / "theirs.pt", weights_only=True)
    assert experiment("--epoch", "2", "--eval", "--predict", "x.txt") == 0
    assert are_equal(weights(experiment), theirs)
    # Each process has a half of the batches: of 40 examples in batches of 10, two.
    last = experiment.path / "results" / "trials" / "single" / "checkpoints" / "last.pt"
    assert torch.load(last, weights_only=True)["global_step"] == 4
    assert "test/mse" in capsys.readouterr().out  # of one device, which has each example once


OF_EACH = """
import torchmetrics
class Sums(Lit):
    optimized_metric = "val/first"
    def __init__(self, lr):
        super().__init__(lr)
        self.n, self.total = 0.0, torchmetrics.SumMetric()
    def training_step(self, batch, index):
        self.n += float(batch[0].sum())
        self.total.update(batch[0].sum())
        return super().training_step(batch, index)
    def validation_step(self, batch, index):
        super().validation_step(batch, index)
        if self.global_rank == 0: self.log("val/first", -self.mse(batch))
    def on_validation_epoch_end(self):
        self.log("n", torch.tensor(self.n), sync_dist=True, reduce_fx="sum")
        self.log("total", self.total.compute())
def get_module(config): return Sums(**config)
"""


def test_a_training_by_two_processes_goes_on_bit_for_bit(experiment):
    experiment.write(BOTH + SPAWNED + OF_EACH, "pytorch_lightning")
    assert experiment("--epoch", "4", "--set", "lr=0.1", result="whole") == 0
    for epochs in ("2", "4"):
        assert experiment("--epoch", epochs, "--set", "lr=0.1") == 0
    assert are_equal(weights(experiment), weights(experiment, "whole"))
    one, other = (history(experiment, name) for name in ("results", "whole"))
    assert one == other and len(one) == 4
    # Each example counts once in an epoch, in whichever process.
    assert [float(row["n"]) for row in one] == pytest.approx([float(row["total"]) for row in one])
    assert float(one[3]["n"]) == pytest.approx(4 * float(one[0]["n"]))
    assert "PL_GLOBAL_SEED" not in os.environ and not torch.distributed.is_initialized()


OF_MANY = """
import os, signal
get_config = lambda: {"lr": float(np.random.choice([0.1, 0.2, 0.4]))}
def get_module(config):
    if "LOCAL_RANK" not in os.environ:  # as where memory is short while it waits for the next trial
        for number in os.popen(f"pgrep -P {os.getpid()} -f executors.companion").read().split():
            os.kill(int(number), signal.SIGKILL)
    return Lit(**config)
def get_trainer(config):
    return {"accelerator": "cpu", "devices": 1 if config["lr"] == 0.2 else 2, "strategy": "ddp"}
def training_step(self, batch, index):
    with open(f"rows {self.hparams.lr} {self.current_epoch}", "a") as file:
        file.writelines(f"{value}\\n" for value in batch[1].flatten().tolist())
    return self.mse(batch)
Lit.training_step = training_step
"""


def test_each_trial_of_a_search_sees_each_example_once_in_an_epoch(experiment):
    experiment.write(BOTH + OF_MANY)
    flags = ("--trials", "3", "--epoch", "2", "--schedule", "asha", "--no-data-check")
    assert experiment("--hyper", *flags) == 0
    for lr in (0.1, 0.2, 0.4):
        for epoch in (0, 1):
            rows = (experiment.path / f"rows {lr} {epoch}").read_text().split()
            assert len(rows) == len(set(rows)) == 40


FAILS = """
get_config = lambda: {"lr": float(np.random.choice([0.1, 0.2, 0.4]))}
def training_step(self, batch, index):
    if self.global_rank == 1 and self.hparams.lr == 0.2: raise ValueError("bad luck")
    if self.global_rank == 1 and self.hparams.lr == 0.4: __import__("os").kill(__import__("os").getpid(), 9)
    return self.mse(batch)
Lit.training_step = training_step
"""


def test_a_trial_of_which_a_process_fails_or_is_killed_leaves_the_others_as_they_are(experiment):
    experiment.write(BOTH + TWO + FAILS)
    assert experiment("--hyper", "--trials", "3", "--epoch", "1", "--schedule", "asha") == 0
    told = {}
    for trial in (experiment.path / "results" / "trials").iterdir():
        errors = trial / "error.txt"
        lr = json.loads((trial / "config.json").read_text())["lr"]
        told[lr] = errors.read_text() if errors.exists() else ""
    assert "process 1 of 2 failed" in told[0.2] and "bad luck" in told[0.2]
    assert "process 1 of 2 ended without a word (signal 9)" in told[0.4]
    assert told[0.1] == ""


SLOW = "Lit.on_train_batch_start = lambda self, batch, index: __import__('time').sleep(0.2)"
UNEVEN = """
class Uneven(torch.utils.data.IterableDataset):
    def __iter__(self):
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        for number in range(20 - 8 * rank): yield torch.ones(3), torch.ones(1)
Data.train_dataloader = lambda self: DataLoader(Uneven(), batch_size=2)
"""


@pytest.mark.parametrize(
    ("more", "number", "code"),
    [(SLOW, signal.SIGKILL, -9), (SLOW, signal.SIGTERM, 143), (UNEVEN, signal.SIGINT, 130)],
    ids=["killed", "ended", "stopped where one process waits for another that has no batch"],
)
def test_a_run_ends_by_signals_and_its_other_process_with_it(experiment, more, number, code):
    experiment.write(BOTH + TWO + more)
    words = ["--model", "def.py", "--cpu", "--epoch", "99", "--no-data-check", "-bs", "10"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(experiment.path / "printed", "w") as printed:
        command = [sys.executable, str(ROOT / "main.py"), *words]
        stopped = subprocess.Popen(command, env=environment, stdout=printed, stderr=printed)
    until = time.monotonic() + 90
    rows = experiment.path / "results" / "trials" / "single" / "train_results.csv"
    while not companions(experiment.path) or (more == SLOW and not rows.exists()):
        assert time.monotonic() < until and stopped.poll() is None
        time.sleep(0.1)
    time.sleep(0.5 if more == SLOW else 8.0)
    stopped.send_signal(number)
    assert stopped.wait(timeout=60) == code, (experiment.path / "printed").read_text()
    while companions(experiment.path) and time.monotonic() < until:
        time.sleep(0.1)
    assert not companions(experiment.path)


def test_a_generator_that_has_no_parts_is_refused(experiment, capsys):
    generators = """
from batch_generator import MatrixBatchGenerator
def get_train_generator(data_dir, batch_size):
    x = np.ones((8, 3), "float32")
    return MatrixBatchGenerator(x, x[:, :1], 4), MatrixBatchGenerator(x, x[:, :1], 4)
del get_datamodule
"""
    experiment.write(BOTH + TWO + generators)
    assert experiment("--epoch", "1") == 2
    told = "the Trainer has 2 devices, and the training generator is a MatrixBatchGenerator, of which"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("devices", "nodes", "told"),
    [
        (
            2,
            2,
            "would train on 2 nodes, and a run trains a module on one machine: give num_nodes=1",
        ),
        (
            2,
            1,
            "would train by Sharded on 2 devices, and of several a run takes the state of a training by",
        ),
    ],
)
def test_nodes_and_states_in_shards_are_refused(devices, nodes, told):
    strategy = type("Sharded", (), {})()
    trainer = SimpleNamespace(world_size=devices * nodes, num_nodes=nodes, strategy=strategy)
    with pytest.raises(DefinitionError, match=told):
        arguments.check_processes(trainer, lightning.pytorch)


def test_the_strategy_of_a_templates_trainer_trains_tests_and_goes_on(tmp_path):
    folder = made(tmp_path)
    printed = run(folder, "train.py", "trainer=ddp_sim", "trainer.max_epochs=1")
    assert "epoch 1/1" in printed and "test/acc" in printed and "sync_dist" not in printed
    assert "epoch 2/2" in run(folder, "train.py", "trainer=ddp_sim", "trainer.max_epochs=2")
