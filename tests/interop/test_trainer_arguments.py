"""The arguments of Lightning's Trainer: what a run does itself or refuses, and the epochs they cut."""

import csv

import pytest
import torch
from shared_modules import BOTH, experiment_fixture, package_fixture  # noqa: F401

from helixband.errors import DefinitionError

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the packages


def rows(experiment, result="results", trial="single"):
    path = experiment.path / result / "trials" / trial / "train_results.csv"
    with open(path, newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def gives(arguments: str) -> str:
    return f"{BOTH}\ndef get_trainer(config): return {{{arguments}}}\n"


OWN_WAY = {
    "a progress bar": "'callbacks': [L.pytorch.callbacks.RichProgressBar()]",
    "a progress bar that is asked for": (
        "'callbacks': [L.pytorch.callbacks.TQDMProgressBar()], 'enable_progress_bar': True"
    ),
    "no checkpoints": "'enable_checkpointing': False",
    "a summary": "'callbacks': [L.pytorch.callbacks.ModelSummary()]",
}


@pytest.mark.parametrize("arguments", OWN_WAY.values(), ids=OWN_WAY)
def test_what_a_run_does_in_its_own_way_does_not_stop_it(experiment, package, arguments):
    if package == "pytorch_lightning":
        arguments = arguments.replace("L.pytorch", "L")
    experiment.write(gives(arguments), package)
    assert experiment("--epoch", "1", "--eval") == 0


def test_a_progress_bar_is_shown_where_it_is_asked_for_alone(experiment, capfd):
    for flag, shown in (("", False), (", 'enable_progress_bar': True", True)):
        experiment.write(gives(f"'callbacks': [L.pytorch.callbacks.TQDMProgressBar()]{flag}"))
        assert experiment("--epoch", "1", result=f"shown {shown}") == 0
        printed = "".join(capfd.readouterr())
        assert ("it/s" in printed) is shown


def test_the_report_of_a_profiler_is_shown(experiment, caplog):
    experiment.write(gives("'profiler': 'simple'"))
    assert experiment("--epoch", "1") == 0
    assert any("Profiler Report" in record.getMessage() for record in caplog.records)


REFUSED = {
    "'devices': 2, 'num_nodes': 2": "the Trainer would train on 2 nodes, and a run trains a module on one",
    "'max_epoch': 3": "Trainer cannot be made: Trainer.__init__() got an unexpected keyword",
    "'precision': 'half'": "Lightning's Trainer cannot be made: Precision 'half' is invalid",
    "'profiler': 'simpel'": "it can only be one of ['simple', 'advanced', 'pytorch', 'xla']",
    "'limit_train_batches': 0.01": "Try at least `limit_train_batches=0.25`",
    "'barebones': True": "get_trainer gives barebones=True: leave it out, for it logs nothing",
    "'enable_checkpointing': False, 'callbacks': [L.pytorch.callbacks.ModelCheckpoint()]": (
        "get_trainer gives enable_checkpointing=False and a ModelCheckpoint: leave out one"
    ),
    "'callbacks': [L.pytorch.callbacks.EarlyStopping('val_mse')]": (
        "Early stopping conditioned on metric `val_mse` which is not available"
    ),
    "'callbacks': [3]": "gives the callback 3, a builtins.int; it has to be a Callback of lightning.pytorch",
    "'callbacks': __import__('pytorch_lightning').callbacks.EarlyStopping('val/mse')": (
        "pytorch_lightning.callbacks.early_stopping.EarlyStopping; it has to be a Callback of lightning"
    ),
    "'max_steps': 3": "There was no validation in epoch 1, which ended after 3 of 4 batches: give more",
    "'limit_val_batches': 0": "There was no validation in epoch 1: the validation set has no batch",
}


@pytest.mark.parametrize(("arguments", "told"), REFUSED.items(), ids=REFUSED)
def test_what_no_run_can_take_is_refused(experiment, capsys, arguments, told):
    experiment.write(gives(arguments))
    assert experiment("--epoch", "1") == DefinitionError.exit_code
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "validated"),
    [("'max_steps': 10", [1, 2]), ("'max_steps': 1000", [1, 2, 3]), ("'check_val_every_n_epoch': 2", [2])],
)
def test_an_epoch_has_what_was_logged_in_it_however_often_it_was_stopped(experiment, arguments, validated):
    experiment.write(BOTH)
    assert experiment("--epoch", "3", result="plain") == 0
    experiment.write(gives(arguments))
    assert experiment("--epoch", "3", result="whole") == 0
    for epochs in ("1", "2", "3"):
        assert experiment("--epoch", epochs, result="parts") == 0
    whole = rows(experiment, "whole")
    assert whole == rows(experiment, "parts")
    assert [int(row["epoch"]) for row in whole if row["val/mse"]] == validated
    assert [int(row["epoch"]) for row in whole if row["reward"]] == validated
    for row, plain in zip(whole, rows(experiment, "plain"), strict=True):
        if int(row["epoch"]) in validated:
            assert row == plain
    best = torch.load(experiment.path / "whole/trials/single/checkpoints/best.pt", weights_only=True)
    assert best["epoch"] == validated[-1]


def test_a_metric_that_some_epochs_log_is_the_reward_of_these(experiment):
    some = """
def log_some(self):
    if self.current_epoch % 2 == 0: self.log("val/rare", float(self.current_epoch))
Lit.on_validation_epoch_end, Lit.optimized_metric, Lit.mode = log_some, "val/rare", "max"
"""
    experiment.write(BOTH + some)
    assert experiment("--epoch", "4") == 0
    assert [row["reward"] for row in rows(experiment)] == ["0.0", "", "2.0", ""]


def test_a_rung_ends_before_a_least_number_of_epochs(experiment):
    experiment.write(gives("'min_epochs': 4, 'min_steps': 1000"))
    assert experiment("--hyper", "--epoch", "4", "--schedule", "asha", "--trials", "2") == 0
    trials = sorted((experiment.path / "results" / "trials").iterdir())
    assert sorted(len(rows(experiment, trial=trial.name)) for trial in trials) == [1, 4]


def test_a_rung_without_a_validation_is_told(experiment, capsys):
    experiment.write(gives("'check_val_every_n_epoch': 2"))
    search = ("--hyper", "--epoch", "4", "--trials", "2")
    assert experiment(*search, "--schedule", "asha") == 1
    told = "check_val_every_n_epoch=2, and a rung of the search ends at epoch 1 without a validation: set it"
    assert told in capsys.readouterr().err
    assert experiment(*search, "--schedule", "none", result="whole") == 0


def test_containers_of_omegaconf_are_kept_as_plain_ones(experiment):
    held = """
from omegaconf import OmegaConf
class Held(Data):
    def __init__(self, data_dir, batch_size, sizes, thing):
        super().__init__(data_dir, batch_size)
        self.save_hyperparameters("sizes", "thing")
def get_datamodule(data_dir, batch_size):
    return Held(data_dir, batch_size, OmegaConf.create([40, 10, 10]), object())
betas = OmegaConf.create({"betas": [0.8, 0.9]}).betas
Lit.configure_optimizers = lambda self: torch.optim.Adam(self.parameters(), self.hparams.lr, betas=betas)
"""
    experiment.write(BOTH.replace("0.01, 0.1", "0.1, 0.1") + held)
    for epochs, result in (("2", "whole"), ("1", "parts"), ("2", "parts")):
        assert experiment("--epoch", epochs, result=result) == 0
    assert rows(experiment, "whole") == rows(experiment, "parts")
    last = torch.load(experiment.path / "whole/trials/single/checkpoints/last.pt", weights_only=True)
    assert list(last["optimizer_states"][0]["param_groups"][0]["betas"]) == [0.8, 0.9]
    assert last["datamodule_hyper_parameters"] == {"sizes": [40, 10, 10]}
