"""Constraints that do more than change the weights that they are given: their trials go alone."""

from typing import Any

import pytest
from test_packed_again import Net, make, reasons_of
from torch import Tensor, optim

from base_model import RegressionModel, TrainingOptions
from constraints import Constraint
from helixband.training.fit import fit
from helixband.training.steps.packed import Packed


class Shrinking(Constraint):
    """A bound that comes down at each step."""

    bound = 1.0

    def apply(self, weight: Tensor) -> None:
        weight.clamp_(-self.bound, self.bound)
        self.bound *= 0.9


class Listing(Constraint):
    """A bound that comes down by the number of its calls, in a list."""

    def __init__(self) -> None:
        super().__init__("first")
        self.calls: list[int] = []

    def apply(self, weight: Tensor) -> None:
        self.calls.append(len(self.calls))
        weight.clamp_(-1 / len(self.calls), 1 / len(self.calls))


CALLS = [0]


class Counted(Constraint):
    """A bound that comes down by a variable of the module."""

    def apply(self, weight: Tensor) -> None:
        CALLS[0] += 1
        weight.clamp_(-1 / CALLS[0], 1 / CALLS[0])


class Decaying(Constraint):
    """A share that stays."""

    share = 0.9

    def apply(self, weight: Tensor) -> None:
        weight.mul_(self.share)


class Model(RegressionModel):
    def init_model(self) -> None:
        network, options = Net(), TrainingOptions(constraints=[self.config["constraint"]()])
        super().init_model(network, optimizer=optim.Adam(network.parameters(), 0.01), training=options)


@pytest.mark.parametrize("kind", [Shrinking, Listing])
def test_a_constraint_that_has_a_state_sends_its_trial_alone(kind: Any) -> None:
    makers = [lambda number=number: make(number, Model, constraint=kind) for number in range(3)]
    assert reasons_of(makers) == [f"its constraint {kind.__name__} changes as it is applied"] * 3


def test_so_does_one_that_changes_a_variable() -> None:
    told: list[str] = []
    members = [make(number, Model, constraint=Counted) for number in range(2)]
    fit(members, Packed(lambda member, reason: told.append(reason)))
    assert told == ["its constraint Counted changes as it is applied"] * 2
    assert CALLS == [2 * 15 * 2]  # by steps alone, of two layers


def test_one_that_stays_holds_in_a_pack() -> None:
    makers = [lambda number=number: make(number, Model, constraint=Decaying) for number in range(3)]
    assert reasons_of(makers) == []
