"""A killed training goes on to the same result, bit for bit, or the run says why it may not."""

import csv
import json
import re
import subprocess
import sys
import types

import pytest
import torch
from conftest import ROOT
from shared_modules import BOTH, experiment_fixture  # noqa: F401

from helixband.errors import HelixbandWarning, ResultsMismatch

pytestmark = pytest.mark.filterwarnings("ignore")

DRAWS = """
import os, signal
class Draws(Lit):
    def setup(self, stage): self.register_buffer("shift", 0.1 * torch.randn(3))
    def on_fit_start(self): self.scale = float(torch.rand(()))
    def on_train_start(self): np.random.rand(3), torch.rand(3)
    def on_train_epoch_start(self):
        self.noise = 0.1 * torch.randn(3)
        if self.current_epoch == 1 and os.path.exists("stop"):
            os.remove("stop")
            os.kill(os.getpid(), signal.SIGKILL)
    def forward(self, x): return self.net(self.scale * x + self.shift + self.noise)
class Own(Data):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.order = torch.Generator().manual_seed(3)
    def train_dataloader(self): return self.loader(0, 40, shuffle=True, generator=self.order)
def get_config(): return {"lr": 0.1}
def get_module(config): return Draws(**config)
def get_datamodule(data_dir, batch_size): return Own(data_dir, batch_size)
"""


def rows(path):
    with open(path / "trials" / "single" / "train_results.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_a_killed_training_goes_on_bit_for_bit_whatever_hooks_and_loaders_draw(experiment):
    experiment.write(DRAWS)
    assert experiment("--epoch", "3", result="whole") == 0
    assert experiment("--epoch", "1", result="parts") == 0
    (experiment.path / "stop").touch()
    words = "--model def.py --result parts -bs 10 --cpu --epoch 3".split()
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "main.py"), *words]
    killed = subprocess.run(command, cwd=experiment.path, env=environment, capture_output=True)
    assert killed.returncode == -9
    assert experiment("--epoch", "3", result="parts") == 0
    whole, parts = experiment.path / "whole", experiment.path / "parts"
    assert rows(whole) == rows(parts)
    last = [
        torch.load(path / "trials" / "single" / "checkpoints" / "last.pt")["state_dict"]
        for path in (whole, parts)
    ]
    assert all(torch.equal(value, last[1][name]) for name, value in last[0].items())


def test_a_state_is_taken_from_another_result(experiment):
    experiment.write(BOTH)
    assert experiment("--epoch", "2", "--set", "lr=0.1", result="whole") == 0
    assert experiment("--epoch", "1", "--set", "lr=0.1", result="first") == 0
    last = "first/trials/single/checkpoints/last.pt"
    assert experiment("--epoch", "2", "--resume-from", last, result="rest") == 0
    assert rows(experiment.path / "rest") == rows(experiment.path / "whole")


LIGHTNING_FILE = """
class Thing: pass
def checkpoint(path, **more):
    module = Lit(0.1)
    module.hparams.update(more)
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.fit(module, Data(".", 10))
    trainer.save_checkpoint(path)
"""


def test_a_file_of_lightning_is_read_without_running_code_or_refused(experiment, capsys):
    experiment.write(BOTH + LIGHTNING_FILE)
    sys.modules["made"] = module = types.ModuleType("made")
    exec((experiment.path / "def.py").read_text(), vars(module))
    module.checkpoint("plain.ckpt")
    module.checkpoint("objects.ckpt", thing=module.Thing())
    plain = ["--load-checkpoint", "plain.ckpt"]
    assert experiment("--epoch", "1", *plain, result="plain") == 0
    assert "plain.ckpt is a checkpoint of Lightning with 2 tensors" in capsys.readouterr().out
    assert experiment("--epoch", "1", "--load-checkpoint", "objects.ckpt", result="objects") == 2
    assert "add --trust-checkpoint" in capsys.readouterr().err
    trusted = ["--load-checkpoint", "objects.ckpt", "--trust-checkpoint"]
    assert experiment("--epoch", "1", *trusted, result="objects") == 0
    for name in ("plain", "objects"):
        capsys.readouterr()
        assert experiment("--epoch", "2", "--resume-from", f"{name}.ckpt", result=f"from_{name}") == 2
        assert "for the weights of another file, give --load-checkpoint" in capsys.readouterr().err


LATE = """
def configure_model(self):
    if len(self.net) == 2:
        self.net = nn.Sequential(nn.Linear(3, {width}), nn.ReLU(), nn.Linear({width}, 1))
Lit.configure_model = configure_model
"""


def test_weights_of_a_plain_trainer_are_tested_as_by_it(experiment, capsys):
    experiment.write(BOTH + LIGHTNING_FILE)
    sys.modules["made"] = module = types.ModuleType("made")
    exec((experiment.path / "def.py").read_text(), vars(module))
    module.checkpoint("plain.ckpt")
    assert experiment("--weights", "plain.ckpt", "--eval", "--set", "lr=0.1", result="plain") == 0
    trainer = module.L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    found = trainer.test(module.Lit(0.1), module.Data(".", 10), ckpt_path="plain.ckpt", verbose=False)
    scored = json.loads((experiment.path / "plain" / "test_result.json").read_text())
    assert scored == found[0]
    assert "was saved with" not in capsys.readouterr().out
    assert experiment("--weights", "plain.ckpt", "--eval", "--set", "lr=0.5", result="other") == 0
    assert "plain.ckpt was saved with lr=0.1, and here it is 0.5" in capsys.readouterr().out

    experiment.write(BOTH + LATE.format(width=2))
    assert experiment("--epoch", "1", "--set", "lr=0.1", "--eval", result="late") == 0
    last = "late/trials/single/checkpoints/last.pt"
    assert experiment("--weights", last, "--eval", result="again") == 0
    tests = [(experiment.path / name / "test_result.json").read_text() for name in ("late", "again")]
    assert tests[0] == tests[1]
    experiment.write(BOTH + LATE.format(width=3))
    assert experiment("--weights", last, "--eval", result="wide") == 1
    assert "does not fit the module of this definition" in capsys.readouterr().err


TOLD = {
    "persistent workers": (
        "def train(self): return self.loader(0, 40, num_workers=1, persistent_workers=True)\n"
        "Data.train_dataloader = train",
        r"the training loader has persistent_workers=True",
    ),
    "an iterator that goes on": (
        "class Endless(torch.utils.data.IterableDataset):\n"
        "    def __init__(self): self.numbers = (torch.ones(3) for _ in range(1000))\n"
        "    def __iter__(self):\n"
        "        for _ in range(20): x = next(self.numbers); yield x, x.sum(0, keepdim=True)\n"
        "Data.train_dataloader = lambda self: DataLoader(Endless(), batch_size=10)",
        r"holds a generator, whose place no checkpoint can hold",
    ),
    "a dataset that counts": (
        "class Counts(TensorDataset):\n"
        "    seen = 0\n"
        "    def __getitem__(self, index): self.seen += 1; return super().__getitem__(index)\n"
        "x = torch.ones(20, 3)\n"
        "Data.train_dataloader = lambda self: DataLoader(Counts(x, x[:, :1]), batch_size=10)\n"
        "Counts.__init__ = lambda self, *t: (TensorDataset.__init__(self, *t), setattr(self, 'seen', 0))[0]",
        r"the dataset of the training loader.seen changes from epoch to epoch",
    ),
    "a module that collects": (
        "class Collects(Lit):\n"
        "    def __init__(self, lr): super().__init__(lr); self.losses = []\n"
        "    def training_step(self, batch, index):\n"
        "        self.losses.append(1.0)\n"
        "        return super().training_step(batch, index)\n"
        "def get_module(config): return Collects(**config)",
        r"Collects.losses changes from epoch to epoch",
    ),
    "a callback that counts": (
        "class Counts(L.Callback):\n"
        "    def __init__(self): self.epochs = 0\n"
        "    def on_train_epoch_end(self, trainer, module): self.epochs += 1\n"
        "def get_trainer(config): return {'callbacks': [Counts()]}",
        r"Counts.epochs changes from epoch to epoch",
    ),
    "masks": (
        "def get_trainer(config):\n"
        "    return {'callbacks': [L.pytorch.callbacks.ModelPruning('l1_unstructured', amount=0.2)]}",
        r"ModelPruning keeps no masks in a checkpoint",
    ),
}


@pytest.mark.parametrize("more, told", TOLD.values(), ids=TOLD)
def test_what_cannot_be_promised_is_told(experiment, more, told):
    experiment.write(f"{BOTH}\n{more}\n")
    with pytest.warns(HelixbandWarning, match=told):
        assert experiment("--epoch", "2", "--no-data-check") == 0


def test_nothing_is_told_where_all_is_promised(experiment, recwarn):
    experiment.write()
    assert experiment("--epoch", "2") == 0
    assert [str(each.message) for each in recwarn if each.category is HelixbandWarning] == []


GOES_ON = {
    "what is unfrozen later": """
def begin(self):
    self.net[0].eval()
    self.net[1].requires_grad_(False)
    self.head = None
def unfreeze(self):
    if self.current_epoch == 1:
        self.net[0].train()
        self.net[1].requires_grad_(True)
Lit.on_fit_start, Lit.on_train_epoch_start = begin, unfreeze
Lit.training_step = lambda self, batch, index: self.mse(batch) + 0 * torch.ones((), requires_grad=True)
""",
    "a callback that unfreezes": """
class Unfreezes(L.pytorch.callbacks.BaseFinetuning):
    def freeze_before_training(self, module): self.freeze(module.net)
    def finetune_function(self, module, epoch, optimizer):
        if epoch == 1: self.unfreeze_and_add_param_group(module.net, optimizer, lr=0.05)
class Two(Lit):
    def __init__(self, lr=0.1):
        super().__init__(lr)
        self.shift = nn.Parameter(torch.zeros(1))
    def forward(self, x): return self.net(x) + self.shift
    def configure_optimizers(self): return torch.optim.Adam([self.shift], self.hparams.lr)
def get_module(config): return Two(**config)
def get_trainer(config): return {"callbacks": [Unfreezes()]}
""",
    "a callback that counts and keeps": """
class Counts(L.Callback):
    def __init__(self): self.epochs = 0
    def on_train_epoch_end(self, trainer, module):
        self.epochs += 1
        module.log("counted", float(self.epochs))
    def state_dict(self): return {"epochs": self.epochs}
    def load_state_dict(self, state): self.epochs = state["epochs"]
def get_trainer(config): return {"callbacks": [Counts()]}
""",
    "several training sets at once": """
from lightning.pytorch.utilities import CombinedLoader
Data.train_dataloader = lambda self: CombinedLoader(
    {"a": self.loader(0, 40, shuffle=True), "b": self.loader(10, 30, shuffle=True)}, "max_size_cycle"
)
Lit.training_step = lambda self, batch, index: self.mse(batch["a"]) + self.mse(batch["b"])
""",
    "validations by steps": "def get_trainer(config): "
    "return {'val_check_interval': 5, 'check_val_every_n_epoch': None}",
}


@pytest.mark.parametrize("more", GOES_ON.values(), ids=GOES_ON)
def test_a_training_goes_on_with(experiment, more, recwarn):
    experiment.write(f"{BOTH}\n{more}\n")
    for epochs, result in (("4", "whole"), ("1", "parts"), ("2", "parts"), ("4", "parts")):
        assert experiment("--epoch", epochs, "--set", "lr=0.1", result=result) == 0
    assert rows(experiment.path / "whole") == rows(experiment.path / "parts")
    assert [str(each.message) for each in recwarn if each.category is HelixbandWarning] == []


PLANNED = """
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR
def configure(self):
    adam = torch.optim.Adam(self.parameters(), 0.1)
    return [adam], [{{"scheduler": {}, "interval": "step"}}]
Lit.configure_optimizers = configure
"""
ONE_CYCLE = "OneCycleLR(adam, 0.1, total_steps=self.trainer.estimated_stepping_batches)"
SCHEDULES = {
    "OneCycleLR": ONE_CYCLE,
    "LambdaLR": "(lambda n: LambdaLR(adam, lambda i: 1 - i / n))(self.trainer.estimated_stepping_batches)",
    "epochs": "CosineAnnealingLR(adam, 4 * self.trainer.max_epochs)",
}


@pytest.mark.parametrize("scheduler", SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_of_the_total_goes_on_with_that_total_alone(experiment, capsys, scheduler):
    experiment.write(BOTH + PLANNED.format(scheduler))
    assert experiment("--epoch", "2") == 0
    before = rows(experiment.path / "results")
    assert experiment("--epoch", "4") == ResultsMismatch.exit_code
    told = "trial single was begun with --epoch 2, and its schedule depends on the total of its steps"
    assert told in capsys.readouterr().err
    last = "results/trials/single/checkpoints/last.pt"
    assert experiment("--epoch", "4", "--resume-from", last, result="rest") == ResultsMismatch.exit_code
    told = r"was begun with trainer\.(estimated_stepping_batches = 8|max_epochs = 2), and its schedule may"
    assert re.search(told, capsys.readouterr().err)
    assert rows(experiment.path / "results") == before


def test_a_schedule_of_the_total_is_that_of_the_whole_in_each_rung(experiment):
    experiment.write(BOTH + PLANNED.format(ONE_CYCLE))
    search = ("--hyper", "--epoch", "4", "--schedule", "asha", "--trials", "2")
    assert experiment(*search) == 0  # to epoch 1, then to epoch 4
    assert experiment("--epoch", "4", result="whole") == 0
    rates = [row["lr"] for row in rows(experiment.path / "whole")]
    found = [
        [row["lr"] for row in csv.DictReader(path.read_text().splitlines())]
        for path in (experiment.path / "results" / "trials").glob("*/train_results.csv")
    ]
    assert sorted(found, key=len) == [rates[:1], rates]


@pytest.mark.parametrize("epochs", ["Lit.on_train_start = lambda self: self.trainer.max_epochs", ""])
def test_a_training_without_such_a_schedule_goes_on_to_more_epochs(experiment, epochs):
    experiment.write(f"{BOTH}\n{epochs}\n")
    assert experiment("--epoch", "1") == 0
    assert experiment("--epoch", "2") == 0
    assert len(rows(experiment.path / "results")) == 2
