"""What is wrong with a module or a DataModule is told before any work, or with the epoch where it shows."""

import json

import pytest
from shared_modules import BOTH, experiment_fixture, package_fixture  # noqa: F401

from helixband.run import batch_size

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the packages

WRONG = {
    "a metric that is never logged": (
        "Lit.optimized_metric = 'val/acc'",
        "optimized_metric is 'val/acc', which was not logged in the epoch; logged were: val/mse, train/mse",
    ),
    "a mode that is none": ("Lit.mode = 'maximum'", "mode is 'maximum'; it has to be 'min' or 'max'"),
    "no module": ("def get_module(config): return nn.Linear(3, 1)", "it has to give a LightningModule"),
    "modules of two packages": (
        "import pytorch_lightning\nclass Other(pytorch_lightning.LightningDataModule):\n"
        "    train_dataloader = val_dataloader = lambda self: DataLoader(TensorDataset(torch.ones(4, 3)))\n"
        "def get_datamodule(data_dir, batch_size): return Other()",
        "a Trainer takes those of its own package alone",
    ),
    "an argument of the Trainer that a run decides": (
        "def get_trainer(config): return {'max_epochs': 3}",
        "get_trainer gives max_epochs=3: leave it out, for --epoch says it",
    ),
    "a hook that Lightning has no more": (
        "Lit.validation_epoch_end = lambda self, outputs: None",
        "Lit.validation_epoch_end: Lightning 2 calls it no more; write on_validation_epoch_end(self)",
    ),
    "a hook of a DataModule that Lightning has no more": (
        "Data.on_train_dataloader = lambda self: None",
        "Data.on_train_dataloader: Lightning 2 calls it no more; write train_dataloader",
    ),
    "no arguments": ("def get_trainer(config): pass", "get_trainer returned None; it has to return a dict"),
    "a loss for each example": (
        "Lit.training_step = lambda self, batch, index: self(batch[0])[:, 0]",
        "Lit.training_step returned a loss of the shape (10,); it has to be one number: take its mean",
    ),
    "no function": ("get_module = 3", "get_module is a int; it has to be a function"),
}


@pytest.mark.parametrize("more, told", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told(experiment, capsys, more, told):
    experiment.write(f"{BOTH}\n{more}\n")
    assert experiment("--epoch", "1") != 0
    assert told in capsys.readouterr().err


def test_a_training_step_without_a_loss(experiment, capsys):
    experiment.write(BOTH + "\nLit.training_step = lambda self, batch, index: None\n")
    assert experiment("--epoch", "1") != 0
    assert "Lit.training_step returned no loss in any step of epoch 1" in capsys.readouterr().err


def test_a_step_that_is_missing(experiment, capsys):
    experiment.write(BOTH + "\ndel Lit.test_step\n")
    assert experiment("--epoch", "1", "--eval") != 0
    assert "Lit has no test_step, which --eval needs" in capsys.readouterr().err


def test_a_class_that_is_not_in_its_file(experiment, capsys):
    from helixband.run.command import main

    experiment.write()
    assert main(["--model", "def.py:Lit,def.py:Dada", "--cpu"]) == 2
    assert "has no class Dada; it has" in capsys.readouterr().err


def test_a_change_of_either_file_of_two_classes_is_told(experiment, capsys):
    from helixband.run.command import main

    experiment.write("")
    text = (experiment.path / "def.py").read_text()
    for name in ("module.py", "data.py"):
        (experiment.path / name).write_text(text)
    words = ["--model", "module.py:Lit,data.py:Data", "--set", "lr=0.1", "--cpu", "--result", "results"]
    assert main([*words, "--epoch", "1"]) == 0
    assert main([*words, "--epoch", "1", "--eval"]) == 0
    (experiment.path / "data.py").write_text(text.replace("loader(40, 50)", "loader(30, 50)"))
    capsys.readouterr()
    assert main([*words, "--epoch", "2"]) == 2
    told = capsys.readouterr().err
    assert "-    def val_dataloader(self): return self.loader(40, 50)" in told
    assert "+    def val_dataloader(self): return self.loader(30, 50)" in told


def test_a_change_of_what_either_file_of_two_classes_imports_is_told(experiment, capsys):
    from helixband.run.command import main

    experiment.write("")
    text = (experiment.path / "def.py").read_text()
    for name in ("module", "data"):
        (experiment.path / name).mkdir()
        (experiment.path / name / "net.py").write_text(f"import helper_of_{name}\n" + text)
        helper = f"import os\nos.environ.get('OF_{name}')\n"
        (experiment.path / name / f"helper_of_{name}.py").write_text(helper)
    words = ["--model", "module/net.py:Lit,data/net.py:Data", "--cpu", "--result", "results"]
    assert main([*words, "--epoch", "1"]) == 0
    assert "note:" not in capsys.readouterr().out
    recorded = json.loads((experiment.path / "results" / "run.json").read_text())
    assert recorded["os_environ"] == {"OF_data": None, "OF_module": None}
    assert recorded["modules"].keys() == {"helper_of_module.py", "../data/helper_of_data.py"}
    (experiment.path / "data" / "helper_of_data.py").write_text("1")
    assert main([*words, "--epoch", "1"]) == 0
    told = f"another version of {experiment.path}/data/helper_of_data.py, which the definition imports"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "told"), [("def.py", "get_module"), ("def.py:Lit,def.py:Data", "def.py:Lit")]
)
def test_several_processes_are_refused_in_the_words_of_a_lightning_module(
    experiment, capsys, monkeypatch, given, told
):
    monkeypatch.setattr("helixband.run.checks.number_of_processes", lambda: 2)
    experiment.write()
    assert experiment("--model", given, "--epoch", "1") == 2
    told = f"{told} gives a LightningModule, which Lightning's Trainer trains"
    assert (printed := capsys.readouterr().err).count(told) == 1
    assert "train without torchrun" in printed and "Model.fit" not in printed


def test_a_pack_of_lightning_modules_is_trained_one_by_one_with_a_reason(experiment, capsys):
    experiment.write()
    assert experiment("--hyper", "--trials", "1", "--epoch", "1", "--schedule", "asha", "--pack", "2") == 0
    told = "--pack: each trial is trained alone, as get_module gives a LightningModule"
    assert told in capsys.readouterr().out


def test_a_batch_size_that_is_to_be_found(experiment, capsys, monkeypatch):
    monkeypatch.setattr(batch_size, "check_device", lambda cpu: None)
    experiment.write(BOTH)
    assert experiment("--epoch", "1", "--batch-size", "auto") == 2
    told = (
        "get_module gives a LightningModule, and --batch-size auto tries a step of Helixband's: give a number"
    )
    assert told in capsys.readouterr().err
