"""Trainings do without torch's compiler, and optimizers compute the same with and without it."""

import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from torch import nn, optim

from helixband.training import compiler

TRAINED = """
import sys

sys.path.insert(0, {root!r})
import numpy as np
import torch
from torch import nn, optim

{imported}
from helixband import MatrixBatchGenerator, RegressionModel
from helixband.training import compiler


class Model(RegressionModel):
    def init_model(self):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        optimizer = optim.{optimizer}(network.parameters(), lr=0.01)
        scheduler = optim.lr_scheduler.{scheduler}
        super().init_model(network, nn.MSELoss(), optimizer, scheduler=scheduler)


compiler.do_without()
X = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
data = MatrixBatchGenerator(X, {labels}, 7)
model = Model({{}})
model.fit(data, data, 3)
model.optimizer.load_state_dict(model.optimizer.state_dict())
model.optimizer.zero_grad()
print("torch._dynamo" in sys.modules)
print([each.tolist() for each in model.network.parameters()])
"""


def trained(
    imported: str, optimizer: str, scheduler: str, labels: str = "X.sum(1, keepdims=True)"
) -> list[str]:
    """Whether a training has torch's compiler in the end, and its weights, of a process of its own."""
    given = {"imported": imported, "optimizer": optimizer, "scheduler": scheduler, "labels": labels}
    code = TRAINED.format(root=str(ROOT), **given)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [("SGD", "ExponentialLR(optimizer, 0.5)"), ("AdamW", "OneCycleLR(optimizer, 0.1, 3)")],
)
def test_a_training_does_without_the_compiler_and_gives_the_same_weights(
    optimizer: str, scheduler: str
) -> None:
    has_it, weights = trained("", optimizer, scheduler)
    assert has_it == "False"
    assert trained("import torch._dynamo", optimizer, scheduler) == ["True", weights]


def test_so_does_the_check_of_a_loss_for_broadcasting() -> None:
    # Which is not needed for labels in the shape of predictions.
    assert trained("", "SGD", "ConstantLR(optimizer)", labels="X.sum(1)")[0] == "False"


@pytest.mark.parametrize(
    "name", ["Adadelta", "Adagrad", "Adam", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "ASGD"]
)
def test_a_step_equals_that_of_torch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stepped(is_there: bool) -> list[torch.Tensor]:
        monkeypatch.setattr(compiler, "_NAME", "torch" if is_there else "no.such.module")
        torch.manual_seed(3)
        network = nn.Linear(3, 2)
        optimizer = getattr(optim, name)(network.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            network(torch.ones(5, 3)).pow(2).sum().backward()
            compiler.take_step(type(optimizer).step.__wrapped__, optimizer)
        return list(network.parameters())

    for own, torchs in zip(stepped(False), stepped(True), strict=True):
        assert torch.equal(own, torchs) and own.requires_grad
    assert torch.is_grad_enabled()


def test_once_the_compiler_is_imported_the_methods_are_those_of_torch() -> None:
    code = f"""
import sys

sys.path.insert(0, {str(ROOT)!r})
import torch
from torch import nn, optim
from helixband.training import compiler

compiler.do_without()
network = nn.Linear(2, 1)
optim.SGD(network.parameters(), 0.1)
print("torch._dynamo" in sys.modules)


@torch.compile(backend="eager")
def made(x):
    optimizer = optim.SGD(network.parameters(), 0.1)
    network(x).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return x + 1


print(made(torch.ones(3, 2)).tolist())
print(any(type(each).__module__ == compiler.__name__ for each in sys.meta_path))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "[[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]]", "False"]


def test_trainings_in_a_pack_import_nothing_of_torchs_symbolic_shapes() -> None:
    code = f"""
import sys

sys.path[:0] = [{str(ROOT)!r}]
from argparse import Namespace
import numpy as np
from torch import nn, optim
from helixband import MatrixBatchGenerator, RegressionModel
from helixband.training import compiler
from helixband.training.fit import fit
from helixband.training.steps.captured import Captured


class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1), nn.Linear(4, 1))
        super().init_model(network, optim.Adam(network.parameters(), self.config["lr"]))


compiler.do_without()
X = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
data = MatrixBatchGenerator(X, X.sum(1, keepdims=True), 10)
args = Namespace(batch_size=10, cpu=True, seed=0, debug=False, keep_checkpoints=False)
members = [Model({{"lr": lr}}, args).as_member(data, data, 3, seed=1) for lr in (0.1, 0.2)]
fit(members, Captured())
print([member.record.steps for member in members], "sympy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[12, 12] False\n"
