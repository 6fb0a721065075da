"""LightningModules and DataModules as they are, run by the command."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from shared_modules import BOTH, experiment_fixture, package_fixture  # noqa: F401

# Warnings of the packages are theirs.
pytestmark = pytest.mark.filterwarnings("ignore")

OURS = """
from batch_generator import MatrixBatchGenerator
from base_model import RegressionModel
def arrays(seed, n):
    x = np.random.default_rng(seed).standard_normal((n, 3)).astype("float32")
    return x, x.sum(1, keepdims=True)
"""


def rows(path):
    with open(path / "train_results.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def single(path, result="results"):
    return path / result / "trials" / "single"


def test_train_evaluate_and_predict_by_either_package(experiment, package, capsys):
    experiment.write(package=package)
    assert experiment("--epoch", "2", "--eval", "--predict", "x.txt") == 0
    table = rows(single(experiment.path))
    assert list(table[0]) == ["epoch", "val/mse", "train/mse", "reward", "lr"]
    assert [row["epoch"] for row in table] == ["1", "2"]
    assert [float(row["reward"]) for row in table] == [-float(row["val/mse"]) for row in table]
    assert json.loads((experiment.path / "results" / "test_result.json").read_text()).keys() >= {"test/mse"}
    assert np.load(experiment.path / "results" / "predictions" / "x.txt.npy").shape == (3, 1)
    with np.load(experiment.path / "results" / "test_predictions.npz") as scored:
        squares = (scored["y_true"] - scored["y_pred"]) ** 2
    assert squares.shape == (10, 1)
    told = json.loads((experiment.path / "results" / "test_result.json").read_text())["test/mse"]
    assert told == pytest.approx(squares.mean(), rel=1e-5)
    assert "Trainer" not in capsys.readouterr().err


def test_a_training_goes_on_bit_for_bit(experiment):
    experiment.write(
        BOTH
        + """
from torch.optim.lr_scheduler import ReduceLROnPlateau
def configure_optimizers(self):
    optimizer = torch.optim.Adam(self.parameters(), self.hparams.lr)
    scheduler = ReduceLROnPlateau(optimizer, patience=0, threshold=1.0)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/mse"}}
Lit.configure_optimizers = configure_optimizers
"""
    )
    assert experiment("--epoch", "4", result="whole") == 0
    for epochs in ("1", "2", "4"):
        assert experiment("--epoch", epochs, result="parts") == 0
    whole, parts = (single(experiment.path, result) for result in ("whole", "parts"))
    assert rows(whole) == rows(parts)
    assert len({row["lr"] for row in rows(whole)}) > 1
    weights = [torch.load(path / "checkpoints" / "last.pt", weights_only=True) for path in (whole, parts)]
    assert torch.equal(weights[0]["state_dict"]["net.1.weight"], weights[1]["state_dict"]["net.1.weight"])


def test_a_search_promotes_from_checkpoints(experiment):
    experiment.write()
    assert experiment("--hyper", "--epoch", "3", "--eval") == 0
    trials = experiment.path / "results" / "trials"
    lengths = {len(rows(path)) for path in trials.iterdir() if (path / "train_results.csv").exists()}
    assert lengths >= {1, 3}


def test_lightning_reads_our_checkpoints(experiment):
    experiment.write()
    assert experiment("--epoch", "1", "--set", "lr=0.1") == 0
    names = {}
    exec((experiment.path / "def.py").read_text(), names)
    module = names["Lit"].load_from_checkpoint(single(experiment.path) / "checkpoints" / "best.pt")
    assert module.hparams.lr == 0.1


def test_classes_of_files_need_no_definition(experiment):
    experiment.write("")
    (experiment.path / "def.py").rename(experiment.path / "both.py")
    command = [
        sys.executable,
        "-m",
        "helixband.interop",
        "both.py:Lit",
        "both.py:Data",
        "--epoch",
        "1",
        "--cpu",
    ]
    done = subprocess.run(
        [*command, "--set", "lr=0.05"],
        cwd=experiment.path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert rows(single(experiment.path))[0]["lr"] == "0.05"


def test_a_module_on_our_generators(experiment):
    experiment.write(
        OURS
        + """
def get_module(config): return Lit(0.1)
def get_train_generator(data_dir, batch_size):
    train = MatrixBatchGenerator(*arrays(0, 40), batch_size=batch_size, shuffle=True)
    return train, MatrixBatchGenerator(*arrays(1, 10), batch_size=10)
"""
    )
    assert experiment("--epoch", "2", result="whole") == 0
    assert experiment("--epoch", "1", result="parts") == 0
    assert experiment("--epoch", "2", result="parts") == 0
    assert rows(single(experiment.path, "whole")) == rows(single(experiment.path, "parts"))


def test_a_base_model_on_a_datamodule(experiment):
    experiment.write(
        OURS
        + """
class Model(RegressionModel):
    def init_model(self):
        network = nn.Linear(3, 1)
        super().init_model(network, torch.optim.Adam(network.parameters(), 0.1))
def get_config(): return {}
def get_datamodule(data_dir, batch_size): return Data(data_dir, batch_size)
"""
    )
    assert experiment("--epoch", "2", "--eval") == 0
    assert "val_mse" in rows(single(experiment.path))[0]


def test_manual_optimization_two_optimizers_and_several_val_loaders(experiment):
    experiment.write(
        BOTH
        + """
class Two(Lit):
    optimized_metric = "val/mse/dataloader_idx_1"
    def __init__(self, lr):
        super().__init__(lr)
        self.automatic_optimization = False
        self.other = nn.Linear(3, 1)
    def training_step(self, batch, index):
        for optimizer, part in zip(self.optimizers(), (self.net, self.other)):
            optimizer.zero_grad()
            self.manual_backward(nn.functional.mse_loss(part(batch[0]), batch[1]))
            optimizer.step()
    def validation_step(self, batch, index, dataloader_idx=0): super().validation_step(batch, index)
    def configure_optimizers(self):
        rates = {self.net: 0.1, self.other: 0.2}
        return [torch.optim.SGD(part.parameters(), rate) for part, rate in rates.items()]
class Several(Data):
    def val_dataloader(self): return [self.loader(40, 50), self.loader(30, 40)]
def get_module(config): return Two(**config)
def get_datamodule(data_dir, batch_size): return Several(data_dir, batch_size)
"""
    )
    assert experiment("--epoch", "1") == 0
    row = rows(single(experiment.path))[0]
    assert row.keys() >= {"val/mse/dataloader_idx_0", "val/mse/dataloader_idx_1"}
    assert (row["lr"], row["lr_1"]) == ("0.1", "0.2")


def test_states_of_torchmetrics_go_on_and_a_scheduler_steps_with_each_batch(experiment):
    pytest.importorskip("torchmetrics")
    experiment.write(
        BOTH
        + """
from torchmetrics import MinMetric
class Best(Lit):
    optimized_metric = "val/best"
    def __init__(self, lr):
        super().__init__(lr)
        self.best = MinMetric()
    def on_validation_epoch_end(self):
        self.best(self.current_epoch + 1.0)
        self.log("val/best", self.best.compute())
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 1.0)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
def get_module(config): return Best(**config)
"""
    )
    assert experiment("--epoch", "1") == 0
    assert experiment("--epoch", "2") == 0
    table = rows(single(experiment.path))
    assert [float(row["val/best"]) for row in table] == [1.0, 1.0]
    assert [float(row["lr"]) for row in table] == [0.5**4, 0.5**8]


def test_callbacks_of_the_trainer_stop_a_training(experiment):
    experiment.write(
        BOTH
        + """
def get_trainer(config):
    stop = L.pytorch.callbacks.EarlyStopping("val/mse", patience=1, min_delta=100.0)
    return {"callbacks": [stop]}
"""
    )
    assert experiment("--epoch", "9") == 0
    assert len(rows(single(experiment.path))) == 2
    assert experiment("--epoch", "9") == 0  # complete: nothing is trained on
    assert len(rows(single(experiment.path))) == 2


def test_an_interrupted_training_goes_on(experiment):
    experiment.write(
        BOTH
        + """
import os
class Stopped(Lit):
    def on_train_epoch_start(self):
        if self.current_epoch == 1 and os.path.exists("stop"):
            os.remove("stop")
            raise KeyboardInterrupt
def get_module(config): return Stopped(**config)
"""
    )
    assert experiment("--epoch", "3", result="whole") == 0
    (experiment.path / "stop").touch()
    assert experiment("--epoch", "3", result="parts") == 130
    assert len(rows(single(experiment.path, "parts"))) == 1
    assert experiment("--epoch", "3", result="parts") == 0
    assert rows(single(experiment.path, "whole")) == rows(single(experiment.path, "parts"))


def test_labels_and_predictions_that_a_test_step_returns(experiment, capsys):
    experiment.write(
        BOTH
        + """
def test_step(self, batch, index):
    self.log("test/mse", self.mse(batch))
    return {"loss": self.mse(batch), "preds": batch[0][:, 0], "targets": batch[1][:, 0]}
Lit.test_step = test_step
"""
    )
    assert experiment("--epoch", "1", "--eval") == 0
    with np.load(experiment.path / "results" / "test_predictions.npz") as scored:
        assert scored["y_pred"].shape == scored["y_true"].shape == (10,)


def test_predictions_of_a_test_that_are_not_known_are_told(experiment, capsys):
    experiment.write(BOTH + "\nLit.predict_step = lambda self, batch, index: self(batch)\n")
    assert experiment("--epoch", "1", "--eval") == 0
    told = "are not kept for the report: predict_step of a batch of the test set raised"
    assert told in capsys.readouterr().out


def test_a_module_that_is_built_in_setup(experiment):
    experiment.write(
        BOTH
        + """
class Late(Lit):
    def setup(self, stage): self.net = nn.Linear(3, 1)
def get_module(config): return Late(**config)
"""
    )
    assert experiment("--epoch", "2", "--eval", result="whole") == 0
    assert experiment("--epoch", "1", result="parts") == 0
    assert experiment("--epoch", "2", "--eval", result="parts") == 0
    assert rows(single(experiment.path, "whole")) == rows(single(experiment.path, "parts"))
    results = [(experiment.path / name / "test_result.json").read_text() for name in ("whole", "parts")]
    assert results[0] == results[1]
    best = torch.load(single(experiment.path, "whole") / "checkpoints" / "best.pt")["state_dict"]
    with np.load(experiment.path / "whole" / "test_predictions.npz") as scored:
        x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))[50:]
        expected = x @ best["net.weight"].T + best["net.bias"]
        assert torch.allclose(torch.from_numpy(scored["y_pred"]), expected, atol=1e-6)


def test_checkpoints_of_the_trials_of_a_search_are_in_folders_of_their_own(experiment):
    gives = """
def get_trainer(config):
    kept = L.pytorch.callbacks.ModelCheckpoint
    return {"callbacks": [kept(dirpath="mine", filename="best", monitor="val/mse"), kept(filename="last")]}
"""
    experiment.write(BOTH + gives)
    assert experiment("--epoch", "1", "--set", "lr=0.1", result="single") == 0
    assert experiment("--hyper", "--trials", "2", "--epoch", "1", "--schedule", "asha") == 0
    written = sorted(str(path.relative_to(experiment.path)) for path in experiment.path.rglob("*.ckpt"))
    assert written == [
        *("checkpoints/0000/last.ckpt", "checkpoints/0001/last.ckpt", "checkpoints/last.ckpt"),
        *("mine/0000/best.ckpt", "mine/0001/best.ckpt", "mine/best.ckpt"),
    ]


def test_a_set_without_a_batch_is_told_by_the_name_of_its_loader(experiment, capsys):
    empty = "\nData.test_dataloader = lambda self: self.loader(0, 0)\n"
    experiment.write(BOTH + empty)
    assert experiment("--epoch", "1", "--eval") == 1
    told = "Data.test_dataloader gave no batch; the set needs one example at least"
    assert told in capsys.readouterr().err
