"""What training changes of a loss is kept; the rest, such as class weights, is of the definition."""

import collections
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from base_model import BaseModel, ClassificationModel
from batch_generator import MatrixBatchGenerator
from helixband.errors import DefinitionError, StorageError
from helixband.results import checkpoints
from helixband.results.directory import Results

X = np.random.default_rng(0).random((40, 3), dtype=np.float32)
Y = np.arange(40) % 4
DATA = MatrixBatchGenerator(X, Y, 10)
OLD, NEW = [0.5, 1.0, 1.0, 4.0], [1.0, 1.0, 1.0, 1.0]


class Weighted(ClassificationModel):
    """Class weights in torch's own loss, or none."""

    weight: Any = OLD

    def init_model(self) -> None:
        network = nn.Linear(3, 4)
        super().init_model(network, self.loss(), optim.SGD(network.parameters(), lr=0.05))

    def loss(self) -> nn.Module:
        return nn.CrossEntropyLoss(None if self.weight is None else torch.tensor(self.weight))


class Own(nn.Module):
    """A user's loss: class weights, a parameter that learns, and a running mean that is used only later."""

    def __init__(self, weight: Any) -> None:
        super().__init__()
        self.register_buffer("of_classes", torch.tensor(NEW if weight is None else weight))
        self.register_buffer("mean", torch.zeros(1))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        loss = F.cross_entropy(input, target, self.get_buffer("of_classes"))
        if self.training:
            self.get_buffer("mean").mul_(0.9).add_(0.1 * loss.detach())
        return loss * self.scale.exp().sum() + self.get_buffer("mean").sum() - self.scale.sum()


class OwnWeighted(Weighted):
    def init_model(self) -> None:
        network, loss = nn.Linear(3, 4), Own(self.weight)
        BaseModel.init_model(
            self, network, loss, optim.SGD([*network.parameters(), *loss.parameters()], lr=0.05)
        )


class Beside(Weighted):
    """The weights are in a loss under another name."""

    def init_model(self) -> None:
        super().init_model()
        self.other = self.loss()

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        return self.other(y_pred_loss, y)


def made(kind: type[Weighted], weight: Any) -> Weighted:
    torch.manual_seed(0)
    model: Weighted = type("Model", (kind,), {"weight": weight})()
    return model


@torch.no_grad()
def weighted_loss(model: BaseModel, weight: Any) -> float:
    logits = model.network(torch.from_numpy(X))
    return float(
        F.cross_entropy(logits, torch.from_numpy(Y), None if weight is None else torch.tensor(weight))
    )


@pytest.mark.parametrize("kind", [Weighted, Beside])
@pytest.mark.parametrize("weight", [NEW, None, OLD])
def test_the_loss_of_an_evaluation_has_the_class_weights_of_the_definition(
    tmp_path: Path, kind: type[Weighted], weight: Any
) -> None:
    trial = Results(tmp_path).trial("0")
    made(kind, OLD).fit(DATA, DATA, 2, trial)
    model = made(kind, weight)
    model.load(trial.best_checkpoint)
    assert model.evaluate(DATA)["loss"] == pytest.approx(weighted_loss(model, weight), rel=1e-5)


def test_weights_can_be_given_where_there_were_none(tmp_path: Path) -> None:
    trial = Results(tmp_path).trial("0")
    made(Weighted, None).fit(DATA, DATA, 1, trial)
    model = made(Weighted, OLD)
    model.load(trial.best_checkpoint)
    assert model.evaluate(DATA)["loss"] == pytest.approx(weighted_loss(model, OLD), rel=1e-5)


def test_a_training_goes_on_with_the_class_weights_of_the_definition(tmp_path: Path) -> None:
    trial = Results(tmp_path).trial("0")
    made(Weighted, OLD).fit(DATA, DATA, 1, trial)
    model = made(Weighted, NEW)
    model.fit(DATA, DATA, 2, trial)
    assert model.criterion.weight.tolist() == NEW
    assert checkpoints.load(trial.last_checkpoint)["criterion"] == {}


def test_a_loss_of_the_users_keeps_what_it_learned_and_gets_its_constants_from_the_definition(
    tmp_path: Path,
) -> None:
    trial = Results(tmp_path).trial("0")
    trained = made(OwnWeighted, OLD)
    trained.fit(DATA, DATA, 2, trial)
    assert set(checkpoints.load(trial.best_checkpoint)["criterion"]) == {"scale", "mean"}
    loaded = made(OwnWeighted, NEW)
    loaded.load(trial.best_checkpoint)
    assert loaded.criterion.of_classes.tolist() == NEW
    assert torch.equal(loaded.criterion.mean, trained.criterion.mean)
    assert torch.equal(loaded.criterion.scale, trained.criterion.scale)


@pytest.mark.parametrize("kind", [Weighted, OwnWeighted, Beside])
def test_going_on_is_not_having_stopped(tmp_path: Path, kind: type[Weighted]) -> None:
    whole, parts = Results(tmp_path).trial("whole"), Results(tmp_path).trial("parts")
    straight, continued = made(kind, OLD), made(kind, OLD)
    straight.fit(DATA, DATA, 4, whole)
    made(kind, OLD).fit(DATA, DATA, 2, parts)
    continued.fit(DATA, DATA, 4, parts)
    assert continued.history == straight.history
    assert continued.evaluate(DATA) == straight.evaluate(DATA)


class Best(Weighted):
    """Its classes get other weights from the second epoch on, and its reward is best before."""

    def train_step(self, x: Any, y: Any) -> Any:
        if self.epoch:
            self.criterion.weight.fill_(3.0)
        return super().train_step(x, y)

    def get_hyperband_reward(self, result: Any) -> float:
        return -self.epoch


def test_the_best_state_has_the_buffers_of_its_epoch(tmp_path: Path) -> None:
    trial = Results(tmp_path).trial("0")
    model = made(Best, OLD)
    model.fit(DATA, DATA, 3, trial)
    assert checkpoints.load(trial.last_checkpoint)["criterion"]["weight"].tolist() == [3.0] * 4
    assert model.best_epoch == 1
    assert model.criterion.weight.tolist() == OLD


def test_a_checkpoint_that_has_the_constants_is_read_as_it_is(tmp_path: Path) -> None:
    model = made(Weighted, OLD)
    model.save(tmp_path / "best.pt")
    content = checkpoints.load(tmp_path / "best.pt")
    content["criterion"] = collections.OrderedDict(weight=torch.tensor(OLD))
    torch.save(content, tmp_path / "best.pt")
    model = made(Weighted, NEW)
    model.load(tmp_path / "best.pt")
    assert model.criterion.weight.tolist() == OLD
    with pytest.raises(StorageError, match="does not fit the criterion of this definition"):
        made(Weighted, None).load(tmp_path / "best.pt")


def test_a_buffer_that_training_takes_away_is_told() -> None:
    class Dropping(Weighted):
        def train_step(self, x: Any, y: Any) -> Any:
            self.criterion = nn.CrossEntropyLoss()
            return super().train_step(x, y)

    with pytest.raises(DefinitionError, match="criterion lost its buffer weight in training"):
        Dropping().fit(DATA, DATA, 1)
