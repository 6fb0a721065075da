"""A run gives for a module what Lightning's own Trainer gives, and trials are apart from one another."""

import csv
import json

import numpy as np
import pytest
import torch
from shared_modules import BOTH, experiment_fixture, package_fixture  # noqa: F401

from helixband.errors import HelixbandWarning

pytestmark = pytest.mark.filterwarnings("ignore")

SEVERAL = """
class Two(Lit):
    optimized_metric = "val/mse/dataloader_idx_1"
    def validation_step(self, batch, index, dataloader_idx=0):
        super().validation_step(batch, index)
        self.log(f"val{dataloader_idx}/plain", self.mse(batch), add_dataloader_idx=False)
    def test_step(self, batch, index, dataloader_idx=0): super().test_step(batch, index)
    def predict_step(self, batch, index, dataloader_idx=0): return self(batch[0])
class Several(Data):
    def val_dataloader(self): return [self.loader(40, 50), self.loader(30, 45)]
    def test_dataloader(self): return [self.loader(50, 60), self.loader(35, 52)]
    def predict_dataloader(self): return [super(Several, self).predict_dataloader(), self.loader(0, 4)]
def get_module(config): return Two(**config)
def get_datamodule(data_dir, batch_size): return Several(data_dir, batch_size)
"""


def rows(path):
    with open(path / "train_results.csv", newline="") as file:
        return list(csv.DictReader(file))


def by_lightning(experiment, package):
    """(what Trainer.test logs, what Trainer.predict gives) of the best checkpoint of the single training."""
    names = {}
    exec((experiment.path / "def.py").read_text(), names)
    best = experiment.path / "results" / "trials" / "single" / "checkpoints" / "best.pt"
    module = type(names["get_module"]({})).load_from_checkpoint(best, weights_only=True)
    data = names["get_datamodule"](".", 10)
    trainer = names["L"].Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    tested = trainer.test(module, datamodule=data, verbose=False)
    data.predict_path = "x.txt"
    batches = trainer.predict(module, datamodule=data)
    flat = sum(batches, []) if isinstance(batches[0], list) else batches
    return {key: value for each in tested for key, value in each.items()}, torch.cat(flat).numpy()


@pytest.mark.parametrize("more", ["", SEVERAL], ids=["one loader", "several loaders"])
def test_tests_and_predictions_are_those_of_lightnings_own_trainer(experiment, package, more):
    experiment.write(BOTH.replace("0.01, 0.1", "0.1, 0.1") + more, package)
    assert experiment("--epoch", "2", "--set", "lr=0.1", "--eval", "--predict", "x.txt") == 0
    tested, predicted = by_lightning(experiment, package)
    results = experiment.path / "results"
    assert json.loads((results / "test_result.json").read_text()) == tested
    np.testing.assert_array_equal(np.load(results / "predictions" / "x.txt.npy"), predicted)
    assert len(predicted) == (7 if more else 3)


def test_names_of_several_loaders_and_of_steps_and_epochs_are_lightnings(experiment):
    step = """
def training_step(self, batch, index):
    self.log("seen", index + 1.0, on_step=True, on_epoch=True)
    return self.mse(batch)
Lit.training_step = training_step
"""
    experiment.write(BOTH + SEVERAL + step)
    assert experiment("--epoch", "1") == 0
    row = rows(experiment.path / "results" / "trials" / "single")[0]
    assert row.keys() >= {"val/mse/dataloader_idx_0", "val/mse/dataloader_idx_1", "val0/plain", "val1/plain"}
    assert float(row["reward"]) == -float(row["val/mse/dataloader_idx_1"])
    assert [row[name] for name in ("seen", "seen_step", "seen_epoch")] == ["2.5", "4.0", "2.5"]


def test_columns_of_a_row_are_not_taken_by_what_a_module_logs(experiment):
    logs = """
def on_validation_epoch_end(self): self.log_dict({"epoch": 7.0, "reward": 8.0, "lr": 9.0, "seconds": 1e6})
Lit.on_validation_epoch_end = on_validation_epoch_end
"""
    experiment.write(BOTH + logs)
    with pytest.warns(
        HelixbandWarning, match="the module logs epoch, lr, reward, seconds, of which train_res"
    ):
        assert experiment("--epoch", "2", "--set", "lr=0.1") == 0
    found = rows(experiment.path / "results" / "trials" / "single")
    assert [(row["epoch"], row["lr"]) for row in found] == [("1", "0.1"), ("2", "0.1")]
    assert all(float(row["reward"]) == -float(row["val/mse"]) for row in found)
    assert all(float(row["seconds"]) < 1000 for row in found)
    assert experiment("--epoch", "3", "--set", "lr=0.1") == 0


@pytest.mark.parametrize(("mode", "best"), [("max", 2), ("min", 3)])
def test_the_best_epoch_is_the_first_with_the_best_metric_by_the_mode(experiment, mode, best):
    score = f"""
def on_validation_epoch_end(self): self.log("val/score", [4.0, 5.0, 1.0, 5.0, 1.0][self.current_epoch])
Lit.on_validation_epoch_end, Lit.optimized_metric, Lit.mode = on_validation_epoch_end, "val/score", "{mode}"
"""
    experiment.write(BOTH + score)
    assert experiment("--epoch", "5") == 0
    kept = torch.load(experiment.path / "results/trials/single/checkpoints/best.pt", weights_only=True)
    assert kept["epoch"] == best


SHARED = """
class Count(L.Callback):
    def __init__(self, held=None): self.epochs, self.held = 0, held
    def on_train_epoch_end(self, trainer, module):
        self.epochs += 1
        module.log("epochs", float(self.epochs))
COUNT = Count()
LOGGER = L.pytorch.loggers.CSVLogger("logs")
def get_trainer(config): return {"callbacks": [COUNT], "logger": LOGGER}
"""
SEARCH = ("--hyper", "--schedule", "none", "--trials", "2", "--epoch", "2", "--no-data-check")


def test_trials_do_not_share_the_callbacks_and_loggers_of_a_definition(experiment):
    experiment.write(BOTH + SHARED)
    assert experiment(*SEARCH) == 0
    for trial in ("0000", "0001"):
        table = rows(experiment.path / "results" / "trials" / trial)
        assert [row["epochs"] for row in table] == ["1.0", "2.0"]
    assert len(list((experiment.path / "logs").glob("*/version_*/metrics.csv"))) == 2


def test_a_shared_callback_that_cannot_be_copied_is_refused(experiment, capsys):
    experiment.write(BOTH + SHARED.replace("Count()", "Count(open('x.txt'))"))
    experiment(*SEARCH)
    told = "get_trainer gave a Count that an earlier training has had, and what it holds cannot be copied"
    assert told in capsys.readouterr().out


def test_what_a_datamodule_counts_over_epochs_is_told(experiment, capsys):
    counts = """
def counted(self, train=Data.train_dataloader):
    self.calls = getattr(self, "calls", 0) + 1
    return train(self)
Data.train_dataloader = counted
def get_trainer(config): return {"reload_dataloaders_every_n_epochs": 1}
"""
    experiment.write(BOTH + counts)
    with pytest.warns(match="Data.calls changes from epoch to epoch, and is in no checkpoint"):
        assert experiment("--epoch", "2") == 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("self(batch[0]).mean()", "Lit.predict_step gave one number for a batch"),
        ("['a', 'b']", r"Lit.predict_step gave a str; it has to give tensors or arrays"),
        ("None", "Lit.predict_step returned nothing for a batch"),
    ],
)
def test_predictions_that_are_no_arrays_are_told(experiment, capsys, given, told):
    experiment.write(BOTH + f"\nLit.predict_step = lambda self, batch, index: {given}\n")
    assert experiment("--epoch", "1", "--predict", "x.txt") == 2
    assert told in capsys.readouterr().err
