"""The parts of an optimizer step besides forward, backward and update."""

import pytest
import torch
from torch import Tensor, nn, optim

from constraints import Constraint, MaxNormConstraint, NonNegative
from helixband.errors import DefinitionError
from helixband.training.options import TrainingOptions
from helixband.training.parts.order import after_update
from helixband.training.parts.schedule import Schedules
from helixband.training.schedules import LinearSchedule


def line(*weights: float) -> nn.Linear:
    network = nn.Linear(len(weights), 1, bias=False)
    network.weight.data = torch.tensor([weights])
    return network


def test_a_part_that_is_off_is_not_there() -> None:
    assert after_update(TrainingOptions(), line(1.0)) == []


def test_constraints_are_applied_in_their_order() -> None:
    network = line(3.0, -4.0)
    for part in after_update(TrainingOptions(constraints=[MaxNormConstraint(1.0), NonNegative()]), network):
        part()
    assert network.weight.tolist() == [[pytest.approx(0.6), 0.0]]


def test_a_constraint_of_a_users_own_is_taken() -> None:
    class Halves(Constraint):
        def apply(self, weight: Tensor) -> None:
            weight.mul_(0.5)

    network = line(3.0, -4.0)
    for part in after_update(TrainingOptions(constraints=[Halves()]), network):
        part()
    assert network.weight.tolist() == [[1.5, -2.0]]


def test_what_is_no_constraint_is_refused() -> None:
    with pytest.raises(
        DefinitionError, match=r"constraints has 3\.0; each has to be a constraint, for example"
    ):
        TrainingOptions(constraints=[3.0])  # type: ignore[list-item]


def test_schedules_among_the_optimizers_hyperparameters_are_set() -> None:
    lr = LinearSchedule(start=1.0, end=0.0, duration=4)
    optimizer = optim.SGD(line(1.0).parameters(), lr=lr, momentum=0.5)
    schedules = Schedules(optimizer, TrainingOptions())
    schedules.set(optimizer, epoch=1, step=100)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (0.75, 0.5)
    optimizer.load_state_dict(optimizer.state_dict())  # which makes new groups
    schedules.set(optimizer, epoch=2, step=200)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert not schedules.empty
    assert Schedules(optim.SGD(line(1.0).parameters(), lr=0.1), TrainingOptions()).empty


def test_an_iterator_of_constraints_is_not_used_up() -> None:
    options = TrainingOptions(constraints=iter([MaxNormConstraint(1.0)]))
    network = line(3.0, -4.0)
    for part in after_update(options, network):
        part()
    assert network.weight.tolist() == [[pytest.approx(0.6), pytest.approx(-0.8)]]
