"""Schedules: their values, and that they go wherever a number goes."""

import copy
import io
import json
import math
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from base_model import RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.errors import UsageError
from helixband.training.schedules import (
    CosineSchedule,
    ExponentialSchedule,
    InverseSquareRootSchedule,
    LinearSchedule,
    PolynomialSchedule,
    Schedule,
    StepSchedule,
)


class Sawtooth(Schedule):
    """A schedule of one's own."""

    @staticmethod
    def value(time: int, *, height: float, period: int) -> float:  # type: ignore[override]
        return height * (time % period)


ONE_OF_EACH = [
    LinearSchedule(start=0.0, end=0.1, duration=5),
    CosineSchedule(start=0.1, end=0.0, duration=5, unit="step"),
    ExponentialSchedule(start=0.1, factor=0.5),
    StepSchedule(start=0.1, factor=0.1, every=3, unit="step"),
    PolynomialSchedule(start=0.1, end=0.0, duration=5, power=2, warmup=2),
    InverseSquareRootSchedule(start=0.1, timescale=4, warmup=4, warmup_start=0.01, unit="step"),
    Sawtooth(height=0.5, period=3),
]

copies = pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda schedule: pickle.loads(pickle.dumps(schedule)),
        lambda schedule: Schedule.from_json(json.loads(json.dumps(schedule.to_json()))),
    ],
    ids=["copy", "deepcopy", "pickle", "json"],
)


# Values.


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (LinearSchedule(start=0.0, end=0.1, duration=5), [0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.1]),
        (LinearSchedule(start=1.0, end=0.0, duration=2), [1, 0.5, 0, 0]),
        (CosineSchedule(start=1.0, end=0.0, duration=4), [1, 0.853553, 0.5, 0.146447, 0, 0]),
        (CosineSchedule(start=0.0, end=2.0, duration=2), [0, 1, 2, 2]),
        (ExponentialSchedule(start=0.8, factor=0.5), [0.8, 0.4, 0.2, 0.1]),
        (StepSchedule(start=1.0, factor=0.1, every=2), [1, 1, 0.1, 0.1, 0.01]),
        (PolynomialSchedule(start=1.0, end=0.0, duration=4, power=2), [1, 0.5625, 0.25, 0.0625, 0, 0]),
        (PolynomialSchedule(start=1.0, end=0.5, duration=2, power=0.5), [1, 0.853553, 0.5, 0.5]),
        (InverseSquareRootSchedule(start=1.0, timescale=1), [1, 0.707107, 0.57735, 0.5]),
        (Sawtooth(height=0.5, period=3), [0, 0.5, 1, 0, 0.5]),
        (LinearSchedule(start=1.0, end=0.0, duration=2, warmup=2), [0, 0.5, 1, 0.5, 0, 0]),
        (CosineSchedule(start=1.0, end=0.0, duration=2, warmup=4), [0, 0.25, 0.5, 0.75, 1, 0.5, 0, 0]),
        (StepSchedule(start=1.0, factor=0.1, every=1, warmup=1, warmup_start=0.5), [0.5, 1, 0.1, 0.01]),
        (Sawtooth(height=0.5, period=2, warmup=2, warmup_start=2.0), [2, 1, 0, 0.5, 0]),
        (ExponentialSchedule(start=0.8, factor=0.5, warmup=0), [0.8, 0.4]),
    ],
    ids=repr,
)
def test_each_epoch_has_its_value(schedule: Schedule, values: list[float]) -> None:
    assert [schedule.at(epoch) for epoch in range(len(values))] == pytest.approx(values, abs=1e-6)
    assert schedule == schedule.at(0)


def test_a_warm_up_with_decay_is_that_of_a_plain_loop() -> None:
    steps = range(20)
    vaswani = InverseSquareRootSchedule(start=0.1, timescale=5, warmup=5)
    assert [vaswani.at(t) for t in steps] == pytest.approx(
        [0.1 * min(t / 5, math.sqrt(5 / max(t, 1))) for t in steps]
    )
    usual = LinearSchedule(start=0.1, end=0.0, duration=15, warmup=5)
    assert [usual.at(t) for t in steps] == pytest.approx([0.1 * min(t / 5, (20 - t) / 15) for t in steps])


def test_a_polynomial_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    torchs = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=6, power=1.5)
    ours, expected = PolynomialSchedule(start=0.1, end=0.0, duration=6, power=1.5), []
    for _ in range(8):
        expected.append(torchs.get_last_lr()[0])
        optimizer.step()
        torchs.step()
    assert [ours.at(time) for time in range(8)] == pytest.approx(expected)


class Stairs(Schedule):
    """A schedule that had a warm-up of its own."""

    @staticmethod
    def value(time: int, *, top: float, warmup: int) -> float:  # type: ignore[override]
        return top * min(1.0, (time + 1) / warmup)


def test_a_schedule_of_ones_own_may_have_its_own_warm_up() -> None:
    assert [Stairs(top=1.0, warmup=2).at(time) for time in range(3)] == [0.5, 1.0, 1.0]


def test_a_schedule_without_a_warm_up_is_stored_as_before_there_was_one() -> None:
    schedule = LinearSchedule(start=0.5, end=0.1, duration=5)
    document = {"__schedule__": "LinearSchedule", "unit": "epoch", "start": 0.5, "end": 0.1, "duration": 5}
    assert schedule.to_json() == document


def test_the_unit_says_whether_epochs_or_steps_count() -> None:
    by_epoch = LinearSchedule(start=0.0, end=1.0, duration=10)
    by_step = LinearSchedule(start=0.0, end=1.0, duration=10, unit="step")
    assert by_epoch.at(epoch=2, step=7) == 0.2
    assert by_step.at(epoch=2, step=7) == 0.7


@settings(deadline=None)
@given(
    start=st.floats(-10, 10),
    end=st.floats(-10, 10),
    duration=st.integers(1, 1000),
    time=st.integers(0, 2000),
    kind=st.sampled_from([LinearSchedule, CosineSchedule]),
)
def test_a_line_and_a_cosine_stay_between_their_ends(
    start: float, end: float, duration: int, time: int, kind: type[Schedule]
) -> None:
    value = kind(start=start, end=end, duration=duration).at(time)
    assert min(start, end) - 1e-12 <= value <= max(start, end) + 1e-12
    if time >= duration:
        assert value == pytest.approx(end)


# Where a number goes.


def test_a_schedule_is_the_number_it_starts_with() -> None:
    schedule = LinearSchedule(start=0.5, end=0.1, duration=5)
    assert isinstance(schedule, float)
    assert schedule * 2 == 1.0
    assert f"{schedule:.2f}" == "0.50"
    assert repr(schedule) == "LinearSchedule(start=0.5, end=0.1, duration=5, unit='epoch')"


@copies
@pytest.mark.parametrize("schedule", ONE_OF_EACH, ids=repr)
def test_a_schedule_survives_copying_and_storing(schedule: Schedule, copied: Any) -> None:
    other = copied(schedule)
    assert type(other) is type(schedule)
    assert repr(other) == repr(schedule)
    assert [other.at(t, 2 * t) for t in range(9)] == [schedule.at(t, 2 * t) for t in range(9)]


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD, torch.optim.AdamW])
def test_an_optimizer_takes_a_schedule_and_its_state_can_be_stored(kind: Any) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = kind([weight], lr=LinearSchedule(start=0.5, end=0.0, duration=5))
    weight.sum().backward()
    optimizer.step()
    assert weight.tolist() != [1.0, 1.0]
    copy.deepcopy(optimizer.state_dict())
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=False)
    assert state["param_groups"][0]["lr"].at(1) == 0.4


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_training_sets_the_value_of_the_moment(unit: str) -> None:
    seen = []

    class Model(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = torch.nn.Linear(1, 1)
            optimizer = torch.optim.SGD(network.parameters(), lr=self.config["lr"])
            super().init_model(network, optimizer=optimizer)

        def train_step(self, x: Any, y: Any) -> Any:
            seen.append((self.optimizer.param_groups[0]["lr"], self.config["lr"]))
            return super().train_step(x, y)

    model = Model({"lr": LinearSchedule(start=0.4, end=0.0, duration=4, unit=unit)})
    data = MatrixBatchGenerator(torch.ones(4, 1), torch.zeros(4), batch_size=2)
    model.fit(data, data, epochs=2)
    expected = [0.4, 0.4, 0.3, 0.3] if unit == "epoch" else [0.4, 0.3, 0.2, 0.1]
    assert [lr for lr, _ in seen] == pytest.approx(expected)
    assert [lr for _, lr in seen] == pytest.approx(expected)


def test_the_row_of_an_epoch_has_what_is_scheduled() -> None:
    class Model(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = torch.nn.Linear(1, 1)
            decay = LinearSchedule(start=0.5, end=0.0, duration=4, unit="step")
            groups = [{"params": [network.weight]}, {"params": [network.bias], "weight_decay": 0.0}]
            optimizer = torch.optim.SGD(groups, lr=self.config["lr"], weight_decay=decay)
            super().init_model(network, optimizer=optimizer)

    noise = [StepSchedule(start=1.0, factor=0.5, every=1), 7.0]
    model = Model({"lr": LinearSchedule(start=0.4, end=0.0, duration=4), "noise": noise, "units": 3})
    data = MatrixBatchGenerator(torch.ones(4, 1), torch.zeros(4), batch_size=2)
    rows = model.fit(data, data, epochs=2)
    names = ["lr", "hp_weight_decay", "hp_lr", "hp_noise.0"]
    assert [[row[name] for name in names] for row in rows] == [
        pytest.approx([0.4, 0.375, 0.4, 1.0]),
        pytest.approx([0.3, 0.125, 0.3, 0.5]),
    ]
    assert not {"hp_units", "hp_noise.1", "hp_weight_decay_1"} & set(rows[0])


# What is refused.


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"__schedule__": "Linear"},
            "no schedule is called 'Linear'; there are: CosineSchedule, .*Exp.*Sawtooth",
        ),
        ({"__schedule__": "LinearSchedule", "start": 0.1}, "LinearSchedule got wrong parameters: .*'end'"),
        (
            {"__schedule__": "ExponentialSchedule", "start": 0.1, "rate": 0.5},
            "ExponentialSchedule got wrong parameters: .*'rate'",
        ),
        (
            {"__schedule__": "ExponentialSchedule", "start": None, "factor": 0.5},
            "got wrong parameters: .*NoneType",
        ),
        ({"__schedule__": "StepSchedule", "start": 1, "factor": 1, "every": 0}, "every of a schedule is 0"),
        (
            {"__schedule__": "LinearSchedule", "start": 1, "end": 0, "duration": 0},
            "duration of a schedule is 0",
        ),
        (
            {"__schedule__": "CosineSchedule", "start": 1, "end": 0, "duration": -1},
            "duration of a schedule is -1",
        ),
        (
            {"__schedule__": "PolynomialSchedule", "start": 1, "end": 0, "duration": 5, "power": 0},
            "power of a schedule is 0",
        ),
        (
            {"__schedule__": "InverseSquareRootSchedule", "start": 1, "timescale": 0},
            "timescale of a schedule is 0",
        ),
        (
            {"__schedule__": "ExponentialSchedule", "start": 1, "factor": 0.5, "warmup": -1},
            "warmup of a schedule is -1; it cannot be below 0",
        ),
        (
            {"__schedule__": "ExponentialSchedule", "start": 1, "factor": 0.5, "warmup_start": 0.5},
            "got wrong parameters: .*'warmup_start'",
        ),
        (
            {"__schedule__": "Sawtooth", "height": 1, "period": 2, "unit": "batch"},
            "Sawtooth: unit is 'batch'",
        ),
    ],
)
def test_wrong_names_and_parameters_are_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Schedule.from_json(document)


def test_parameters_have_names() -> None:
    with pytest.raises(TypeError, match="positional"):
        LinearSchedule(0.1, 0.0, 5)  # type: ignore[misc]
    with pytest.raises(UsageError, match="LinearSchedule got wrong parameters: .*'begin'"):
        LinearSchedule(begin=0.1)
