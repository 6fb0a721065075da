"""A momentum that is 0 for some steps, of which torch then leaves the buffer alone, is as alone in packs."""

from collections.abc import Callable
from typing import Any

import pytest
from test_captured import told_of_blocks_as_alone
from test_packed import told_of_packed_as_alone
from test_packed_again import Net, make, reasons_of
from torch import optim
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from base_model import RegressionModel
from helixband.training.schedules import LinearSchedule, StepSchedule

MAKE = {
    "SGD": lambda parameters, lr: optim.SGD(parameters, lr, momentum=0.9, dampening=0.5),
    "RMSprop": lambda parameters, lr: optim.RMSprop(parameters, lr, momentum=0.9, eps=0.01),
}


class Cycled(RegressionModel):
    """Its momentum falls from a largest one to a smallest, and rises again, in the steps of each epoch."""

    def init_model(self) -> None:
        network, lr, ends = Net(), self.config["lr"], self.config["ends"]
        optimizer = MAKE[self.config["optimizer"]](network.parameters(), lr)
        momentum: Any = {"max_momentum": ends[0], "base_momentum": ends[1]}
        scheduler: LRScheduler
        if self.config["one"]:
            scheduler = OneCycleLR(optimizer, 2 * lr, total_steps=15, **momentum)
        else:
            scheduler = CyclicLR(optimizer, lr, 2 * lr, 2, **momentum)
        super().init_model(network, optimizer=optimizer, scheduler=scheduler, scheduler_interval="step")


def cycled(optimizer: str, one: bool, *ends: float) -> list[Callable[[], Any]]:
    config = {"optimizer": optimizer, "one": one, "ends": ends}
    return [lambda number=number: make(number, Cycled, **config) for number in range(3)]


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("optimizer", ["SGD", "RMSprop"])
@pytest.mark.parametrize("told_of", [told_of_packed_as_alone, told_of_blocks_as_alone])
def test_a_momentum_that_comes_to_0_is_none_then(told_of: Any, optimizer: str, one: bool) -> None:
    assert told_of(cycled(optimizer, one, 0.9, 0.0)) == []


def test_a_momentum_that_begins_within_an_epoch_is_that_of_a_trial_alone() -> None:
    makers = cycled("SGD", False, 0.0, 0.9)
    assert reasons_of(makers) == ["its momentum of 0 changes between the steps of an epoch"] * 3
    scheduled = "its scheduler, which steps within an epoch, may begin a momentum that is 0"
    assert told_of_blocks_as_alone(makers)[:3] == [scheduled] * 3


class Scheduled(RegressionModel):
    def init_model(self) -> None:
        network = Net()
        settings = {"momentum": self.config["momentum"], "dampening": 0.5}
        super().init_model(network, optimizer=optim.SGD(network.parameters(), self.config["lr"], **settings))


@pytest.mark.parametrize(
    "momentum",
    [
        LinearSchedule(start=0.9, end=0.0, duration=2),
        StepSchedule(start=0.9, factor=0.0, every=1),
        LinearSchedule(start=0.9, end=0.0, duration=7, unit="step"),
    ],
)
def test_a_scheduled_momentum_may_end_at_0(momentum: Any) -> None:
    makers = [lambda n=n: make(n, Scheduled, epochs=4, momentum=momentum) for n in range(3)]
    assert told_of_packed_as_alone(makers) == []
    assert told_of_blocks_as_alone(makers) == []


class Switching(Scheduled):
    """Its momentum is 0 in every other epoch."""

    def on_epoch_end(self, row: Any) -> None:
        assert self.optimizer is not None
        self.optimizer.param_groups[0]["momentum"] = 0.0 if row["epoch"] % 2 else self.config["momentum"]


def test_a_momentum_is_0_for_an_epoch() -> None:
    makers = [lambda n=n: make(n, Switching, epochs=4, momentum=0.3 * n) for n in range(1, 4)]
    assert told_of_packed_as_alone(makers) == []


class Turned(Scheduled):
    """Its optimizer goes the other way from the third batch on."""

    batches = 0

    def prepare_batch(self, x: Any, y: Any) -> tuple[Any, Any]:
        assert self.optimizer is not None
        self.batches += 1
        self.optimizer.param_groups[0]["maximize"] = self.batches > 2
        return x, y


def test_a_flag_of_an_optimizer_that_changes_within_an_epoch_sends_it_alone() -> None:
    makers = [lambda n=n: make(n, Turned, epochs=1, momentum=0.0) for n in range(3)]
    assert reasons_of(makers) == ["its maximize changes between the steps of an epoch"] * 3
