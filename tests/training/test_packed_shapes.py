"""What a network or a criterion does with batches of another shape alone is found before their step."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_captured import told_of_blocks_as_alone
from test_packed import told_of_packed_as_alone
from test_packed_again import make as made
from torch import Tensor, nn, optim

from base_model import RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.training.fit import fit
from helixband.training.member import Member
from helixband.training.steps.packed import Packed

FULL = 16
"""Of 40 examples, the last batch of an epoch has 8."""
SCALES = [1.0]


class Net(nn.Module):
    """A network that does `extra` to its input in the last batch of an epoch."""

    def __init__(self, extra: Callable[["Net", Tensor], Tensor], config: Any) -> None:
        super().__init__()
        self.first, self.last, self.extra, self.config = nn.Linear(4, 4), nn.Linear(4, 1), extra, config
        self.seen = 0.0
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.seen - self.mean
        if self.training and len(x) < FULL:
            x = self.extra(self, x)
        found: Tensor = self.last(torch.tanh(self.first(x)))
        return found


def count(network: Net, x: Tensor) -> Tensor:
    network.seen += 0.5
    return x


def replace(network: Net, x: Tensor) -> Tensor:
    network.mean = 0.5 * network.mean + x.detach().mean(0)
    return x


def draw(network: Net, x: Tensor) -> Tensor:
    return x + random.random()


def change(network: Net, x: Tensor) -> Tensor:
    SCALES[0] += 1.0
    return x * SCALES[0]


def configured(network: Net, x: Tensor) -> Tensor:
    return x * network.config["lr"]


def hook(network: Net, x: Tensor) -> Tensor:
    found = 2 * x * network.last.weight
    found.register_hook(lambda gradient: gradient * (1 + network.last.weight.detach()))
    return found


class Model(RegressionModel):
    def init_model(self) -> None:
        network = Net(self.config["extra"], self.config)
        super().init_model(network, optimizer=optim.SGD(network.parameters(), self.config["lr"], 0.9))


class Halving(nn.Module):
    """A criterion whose scale is halved by the last batch of an epoch."""

    scale = 1.0

    def forward(self, y_pred: Tensor, y: Tensor) -> Tensor:
        if self.training and len(y) < FULL:
            self.scale *= 0.5
        return self.scale * nn.functional.mse_loss(y_pred, y)


class Halved(RegressionModel):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
        optimizer = optim.SGD(network.parameters(), self.config["lr"], 0.9)
        super().init_model(network, Halving(), optimizer)


def make(number: int, kind: type[RegressionModel], **config: Any) -> Member:
    SCALES[0] = 1.0
    one = made(number, kind, **config)
    data: Any = one.train
    train = MatrixBatchGenerator(data.X, data.Y, FULL, shuffle=True)
    return one.model.as_member(train, one.val, 3, None, number)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("told_of", [told_of_packed_as_alone, told_of_blocks_as_alone])
@pytest.mark.parametrize(
    "extra, reason",
    [
        (count, "its network changes its attributes as it computes"),
        (replace, "its network replaces a buffer as it computes, in place of changing it"),
        (draw, "its network draws random numbers by other means than layers of dropout"),
        (hook, "its network puts hooks on tensors as it computes"),
    ],
)
def test_a_network_that_does_more_in_the_last_batch_goes_alone(told_of: Any, extra: Any, reason: str) -> None:
    makers = [lambda number=number: make(number, Model, extra=extra) for number in range(3)]
    assert told_of(makers) == [reason] * 3


def test_a_variable_that_the_last_batch_changes_is_named() -> None:
    told: list[str] = []
    members = [make(number, Model, extra=change) for number in range(2)]
    fit(members, Packed(lambda member, reason: told.append(reason)))
    assert told == ["its network changes the variable SCALES as it computes"] * 2


def test_what_is_read_of_the_configuration_in_the_last_batch_is_that_of_each() -> None:
    makers = [lambda number=number: make(number, Model, extra=configured) for number in range(3)]
    assert told_of_packed_as_alone(makers) == []


def test_a_criterion_that_the_last_batch_changes_is_that_of_each() -> None:
    assert told_of_packed_as_alone([lambda number=number: make(number, Halved) for number in range(3)]) == []
    told = told_of_blocks_as_alone([lambda number=number: make(number, Halved) for number in range(3)])
    assert told == ["its criterion is a definition's own"] * 3
