"""Schedules in options and optimizers: each of their values is held against the rules of its place."""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.optim.lr_scheduler import (
    CyclicLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from base_model import BaseModel, RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from constraints import MaxNormConstraint
from helixband.errors import DefinitionError
from helixband.training.schedules import LinearSchedule, Schedule

X = np.random.default_rng(0).random((8, 2), dtype=np.float32)
Y = X.sum(axis=1)
DATA = MatrixBatchGenerator(X, Y, 4)

Made = Callable[[Any], Any]


class From(Schedule):
    """Another value from some time on."""

    @staticmethod
    def value(time: int, *, first: float, then: float, time_of_change: int) -> float:  # type: ignore[override]
        return first if time < time_of_change else then


def ramp(start: float, end: float, duration: int = 3, unit: str = "epoch") -> Schedule:
    return LinearSchedule(start=start, end=end, duration=duration, unit=unit)


def make(
    optimizer: Made = lambda parameters: optim.SGD(parameters, 0.1),
    scheduler: Made = lambda _: None,
    **options: Any,
) -> BaseModel:
    class Model(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = nn.Linear(2, 1)
            its = optimizer(network.parameters())
            super().init_model(
                network, optimizer=its, scheduler=scheduler(its), training=TrainingOptions(**options)
            )

    torch.manual_seed(0)
    return Model({}, Namespace(cpu=True, epoch=4, total_epochs=4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"ema_decay": ramp(0.5, 1.5)},
            r"ema_decay is LinearSchedule\(start=0.5, end=1.5, duration=3, unit='epoch'\), which is 1.16.* "
            "in epoch 3; it has to be a number from 0 on, below 1",
        ),
        (
            {"ema_decay": ramp(0.5, -0.1)},
            r"which is -0.09.* in epoch 4; it has to be a number from 0 on, below 1",
        ),
        (
            {"clip_norm": ramp(3.0, 0.0)},
            r"clip_norm is .* which is 0.0 in epoch 4; it has to be a number above 0",
        ),
        ({"clip_value": ramp(1.0, -1.0)}, r"clip_value is .* in epoch 3; it has to be a number above 0"),
        ({"clip_norm": ramp(8.0, 1.0, 7, "step")}, None),
        ({"clip_norm": ramp(8.0, 0.0, 7, "step")}, r"clip_norm is .* which is 0.0 in step 8; it has to be"),
        ({"clip_norm": ramp(1.0, float("nan"))}, r"clip_norm is .*end=nan.*; it has to be a number above 0"),
        ({"clip_norm": From(first=1.0, then=float("inf"), time_of_change=3)}, r"which is inf in epoch 4"),
        ({"clip_norm": ramp(-1.0, 1.0)}, r"clip_norm is .*; it has to be a number above 0"),
    ],
)
def test_an_option_takes_each_value_of_its_schedule(options: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert len(make(**options).fit(DATA, DATA, 4)) == 4
        return
    with pytest.raises(DefinitionError, match=message):
        make(**options).fit(DATA, DATA, 4)


def test_a_schedule_is_told_before_the_first_epoch_and_of_all_that_there_will_be() -> None:
    rows: list[Any] = []
    with pytest.raises(DefinitionError, match=r"clip_norm is .* in epoch 4"):
        make(clip_norm=ramp(3.0, 0.0)).fit(DATA, DATA, 1, on_epoch=rows.append)
    assert rows == []


def test_a_value_amid_an_epoch_is_told_when_it_is_taken() -> None:
    class Dip(Schedule):
        @staticmethod
        def value(time: int, *, at: int) -> float:  # type: ignore[override]
            return -1.0 if time == at else 1.0

    long = MatrixBatchGenerator(X, Y, 1)
    with pytest.raises(
        DefinitionError, match=r"clip_value is Dip\(at=3, unit='step'\), which is -1.0 in step 4"
    ):
        make(clip_value=Dip(at=3, unit="step")).fit(long, DATA, 4)


def test_clipping_takes_the_value_of_the_moment() -> None:
    model = make(clip_norm=From(first=1e-9, then=100.0, time_of_change=1))
    before = model.network.weight.detach().clone()
    rows = model.fit(DATA, DATA, 2)
    assert [row["hp_clip_norm"] for row in rows] == [1e-9, 100.0]
    assert rows[0]["train_loss"] > 1.5 * rows[1]["val_loss"]
    assert not torch.allclose(before, model.network.weight, atol=1e-3)


@pytest.mark.parametrize("name", ["swa_start", "patience_gain", "accumulate", "limit_train", "patience"])
def test_other_options_are_no_schedules(name: str) -> None:
    with pytest.raises(
        DefinitionError, match=rf"{name} is LinearSchedule.*it stays the same during a training"
    ):
        TrainingOptions(**{name: ramp(0.5, 0.9)})


def test_a_constraint_takes_no_schedule() -> None:
    with pytest.raises(DefinitionError, match=r"max_norm is LinearSchedule.*; it has to be a number above 0"):
        MaxNormConstraint(ramp(1.0, 2.0))


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (
            lambda p: optim.SGD(p, ramp(0.1, -0.1)),
            r"lr of the optimizer is .* -0.03.* in epoch 3; .* from 0 on",
        ),
        (
            lambda p: optim.SGD(p, From(first=0.1, then=float("nan"), time_of_change=1)),
            r"lr .* nan in epoch 2",
        ),
        (
            lambda p: optim.SGD(p, 0.1, weight_decay=ramp(1.0, -1.0)),
            r"weight_decay of the optimizer is .* epoch 3",
        ),
        (
            lambda p: optim.Adam(p, 0.1, betas=(ramp(0.5, 0.9), 0.99)),
            r"betas of the optimizer .* give betas numbers",
        ),
    ],
)
def test_an_optimizer_takes_each_value_of_its_schedule(optimizer: Made, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        make(optimizer).fit(DATA, DATA, 4)


# Schedules beside torch's schedulers.


def test_a_model_that_is_not_trained_may_have_both() -> None:
    model = make(lambda parameters: optim.SGD(parameters, ramp(0.1, 0.01)), lambda o: StepLR(o, 1))
    assert model.predict([X]).shape == (8, 1)


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o: StepLR(o, 1),
        lambda o: LambdaLR(o, lambda epoch: 0.9**epoch),
        lambda o: OneCycleLR(o, 0.1, total_steps=4),
        ReduceLROnPlateau,
        lambda o: SequentialLR(o, [LinearLR(o), StepLR(o, 1)], [2]),
        lambda o: [LinearLR(o), StepLR(o, 1)],
    ],
)
def test_a_learning_rate_is_a_schedule_or_has_a_scheduler(scheduler: Made) -> None:
    with pytest.raises(DefinitionError, match=r"lr of the optimizer is a schedule, and \w+ changes it, too"):
        make(lambda parameters: optim.SGD(parameters, ramp(0.1, 0.01)), scheduler).fit(DATA, DATA, 4)


def test_a_momentum_is_a_schedule_or_is_cycled() -> None:
    sgd = lambda parameters: optim.SGD(parameters, 0.1, momentum=ramp(0.5, 0.9))  # noqa: E731
    with pytest.raises(
        DefinitionError, match="momentum of the optimizer is a schedule, and CyclicLR changes it"
    ):
        make(sgd, lambda o: CyclicLR(o, 0.01, 0.1), scheduler_interval="epoch").fit(DATA, DATA, 4)
    cycled = lambda o: CyclicLR(o, 0.01, 0.1, cycle_momentum=False)  # noqa: E731
    model = make(sgd, cycled, scheduler_interval="epoch")
    assert [row["hp_momentum"] for row in model.fit(DATA, DATA, 4)] == pytest.approx(
        [0.5, 0.633333, 0.766667, 0.9]
    )


def test_a_schedule_of_something_else_goes_with_a_scheduler() -> None:
    model = make(lambda p: optim.SGD(p, 0.1, weight_decay=ramp(0.3, 0.0)), lambda o: StepLR(o, 1, gamma=0.5))
    rows = model.fit(DATA, DATA, 2)
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.05])
    assert [row["hp_weight_decay"] for row in rows] == pytest.approx([0.3, 0.2])


def stranger(_: Any) -> StepLR:
    return StepLR(optim.Adam([nn.Parameter(torch.ones(1))]), 1)


@pytest.mark.parametrize("scheduler", [stranger, lambda o: [StepLR(o, 1), stranger(o)]])
def test_a_scheduler_of_another_optimizer_is_refused(scheduler: Made) -> None:
    with pytest.raises(DefinitionError, match=r"StepLR is made for another optimizer \(Adam\) than super"):
        make(scheduler=scheduler).fit(DATA, DATA, 4)


def test_a_scheduler_of_one_of_several_optimizers_is_taken() -> None:
    class Model(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = nn.Linear(2, 1)
            both = {"w": optim.SGD([network.weight], 0.1), "b": optim.SGD([network.bias], 0.1)}
            scheduler = stranger(None) if self.config["other"] else StepLR(both["b"], 1, gamma=0.5)
            super().init_model(network, optimizer=both, scheduler=scheduler)

        def train_step(self, x: Any, y: Any) -> Any:
            output = self.forward(x)
            loss = self.backward(self.compute_loss(output["y_pred_loss"], y))
            self.optimizer_step("w")
            self.optimizer_step("b")
            return loss, output["y_pred"].detach()

    rows = Model({"other": False}, Namespace(cpu=True)).fit(DATA, DATA, 2)
    assert [(row["lr"], row["lr_1"]) for row in rows] == [(0.1, 0.1), (0.1, 0.05)]
    with pytest.raises(DefinitionError, match=r"another optimizer \(Adam\)"):
        Model({"other": True}, Namespace(cpu=True)).fit(DATA, DATA, 2)
