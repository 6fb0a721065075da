"""Training a list of members: each as if it were alone, and each ending by itself."""

import math
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn, optim

from base_model import BaseModel, RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.errors import StorageError, TrainingError
from helixband.results.directory import Results, Row, Trial
from helixband.training.ended import Ended
from helixband.training.fit import fit
from helixband.training.member import Member
from helixband.training.steps.eager import Eager

X = np.random.default_rng(0).random((40, 3), dtype=np.float32)
Y = X.sum(axis=1)


class Model(RegressionModel):
    """Draws from all three global generators: for its first weights, its dropout and its metrics."""

    def init_model(self) -> None:
        network = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        super().init_model(network, optimizer=optim.Adam(network.parameters(), lr=self.config["lr"]))

    def train_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
        return {"draw": float(np.random.random())}

    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        if self.steps == self.config.get("fails_at"):
            raise ValueError("at this step")
        return super().train_step(x, y)

    def get_hyperband_reward(self, result: Any) -> float:
        return self.config.get("rewards", [-result["val_loss"]] * 9)[self.epoch]


class Noisy:
    """A generator of a user's own, which draws from a global generator."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for rows in (slice(0, 15), slice(15, 40)):
            yield X[rows] + np.random.normal(size=X[rows].shape).astype(np.float32), Y[rows]


def shuffled() -> MatrixBatchGenerator:
    return MatrixBatchGenerator(X, Y, 8, shuffle=True)


def make(
    seed: int,
    train: Any = None,
    epochs: int = 3,
    trial: Trial | None = None,
    on_epoch: Callable[[Row], None] | None = None,
    kind: type[Model] = Model,
    **config: Any,
) -> Member:
    torch.manual_seed(seed)
    np.random.seed(seed)
    model = kind({"lr": 0.01, **config}, Namespace(cpu=True))
    return model.as_member(train or shuffled(), MatrixBatchGenerator(X, Y), epochs, trial, seed, on_epoch)


def outcome(member: Member) -> tuple[list[Row], list[Tensor]]:
    return member.record.history, list(member.model.network.state_dict().values())  # type: ignore[attr-defined]


def test_members_trained_together_come_to_what_each_comes_to_alone() -> None:
    ways: list[Callable[[], Member]] = [
        lambda: make(1),
        lambda: make(2, Noisy(), lr=0.1),
        lambda: make(3, epochs=5),
        lambda: make(4, MatrixBatchGenerator(X[:9], Y[:9], 8)),
    ]
    alone = [way() for way in ways]
    for member in alone:
        fit([member], Eager())
    together = [way() for way in ways]
    fit(together, Eager())

    for one, other in zip(alone, together, strict=True):
        assert outcome(one)[0] == outcome(other)[0]
        assert all(torch.equal(a, b) for a, b in zip(outcome(one)[1], outcome(other)[1], strict=True))
    assert [member.record.epoch for member in together] == [3, 3, 5, 3]


def test_members_go_on_together_from_where_each_was(tmp_path: Path) -> None:
    trials = [Results(tmp_path).trial(name) for name in ("0000", "0001")]

    def members(epochs: int) -> list[Member]:
        return [make(1, None, epochs, trials[0]), make(2, Noisy(), epochs, trials[1])]

    fit(members(1), Eager())
    halves = members(3)
    fit(halves, Eager())
    whole = [make(1), make(2, Noisy())]
    fit(whole, Eager())
    assert [member.record.history for member in halves] == [member.record.history for member in whole]


class Queue:
    """A company of one place: who waits joins as soon as somebody has left."""

    def __init__(self, *ways: Callable[[], Member]) -> None:
        self.ways = list(ways)
        self.joined: list[Member] = []
        self.log: list[tuple[str, int]] = []

    def joining(self, running: int) -> list[Member]:
        new = [self.ways.pop(0)()] if self.ways and running < 2 else []
        self.joined += new
        self.log += [("joins", member.seed) for member in new]
        return new

    def left(self, member: Member) -> None:
        self.log.append(("leaves", member.seed))


def test_members_join_and_leave_between_epochs_and_come_to_what_each_comes_to_alone() -> None:
    shared = shuffled()  # as trials of a process share a generator
    ways: list[Callable[[], Member]] = [
        lambda: make(1, shared, 2),
        lambda: make(2, shared, 4),
        lambda: make(3, shared, 1),
        lambda: make(4, shared, 3, fails_at=7),
        lambda: make(5, Noisy(), 2),
    ]
    alone = [way() for way in ways]
    for member in alone:
        fit([member], Eager())
    queue = Queue(*ways)
    fit(queue.joining(0), Eager(), queue)

    for one, other in zip(alone, queue.joined, strict=True):
        assert outcome(one)[0] == outcome(other)[0]
        assert all(torch.equal(a, b) for a, b in zip(outcome(one)[1], outcome(other)[1], strict=True))
    assert [member.record.epoch for member in queue.joined] == [2, 4, 1, 1, 2]
    order = "joins 1, joins 2, leaves 1, joins 3, leaves 3, joins 4, leaves 2, leaves 4, joins 5, leaves 5"
    assert ", ".join(f"{what} {seed}" for what, seed in queue.log) == order


def test_a_member_that_fails_ends_alone() -> None:
    members = [make(1), make(2, fails_at=7), make(3)]
    fit(members, Eager())
    assert [member.ended for member in members] == [Ended.EPOCHS, Ended.ERROR, Ended.EPOCHS]
    assert [member.record.epoch for member in members] == [3, 1, 3]
    alone = make(3)
    fit([alone], Eager())
    assert members[2].record.history == alone.record.history
    with pytest.raises(ValueError, match="^at this step$"):
        members[1].raise_error()
    members[1].raise_error()  # once


def test_data_that_fail_end_their_member() -> None:
    class Broken(Noisy):
        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            yield X[:4], Y[:4]
            raise OSError("no more")

    members = [make(1, Broken()), make(2)]
    fit(members, Eager())
    assert [member.ended for member in members] == [Ended.ERROR, Ended.EPOCHS]
    assert isinstance(members[0].error, OSError)


def test_a_member_whose_loss_is_not_finite_ends_by_that() -> None:
    members = [make(1, lr=math.inf), make(2)]
    fit(members, Eager())
    assert [member.ended for member in members] == [Ended.NAN, Ended.EPOCHS]
    assert isinstance(members[0].error, TrainingError)


def test_a_member_without_hope_ends_after_its_epoch_with_its_last_weights() -> None:
    member = make(1, rewards=[3.0, 1.0, 2.0], epochs=3)
    member.model.engine.is_hopeless = lambda epoch, best_reward: epoch == 2 and best_reward < 5.0
    fit([member], Eager())
    assert (member.ended, member.record.epoch, member.record.best_epoch) == (Ended.HOPELESS, 2, 1)
    last, best = member.record.last, member.record.best
    assert last is not None and best is not None
    assert torch.equal(outcome(member)[1][0], last["network"]["0.weight"])
    assert not torch.equal(outcome(member)[1][0], best["network"]["0.weight"])


def test_the_last_epoch_is_an_end_by_epochs_whatever_the_hope() -> None:
    member = make(1, epochs=2)
    member.model.engine.is_hopeless = lambda epoch, best_reward: epoch == 2
    fit([member], Eager())
    assert member.ended is Ended.EPOCHS


def test_what_cannot_be_written_concerns_all(tmp_path: Path) -> None:
    trial = Results(tmp_path).trial("0000")
    trial.last_checkpoint.mkdir(parents=True)
    with pytest.raises(StorageError):
        fit([make(1, trial=trial), make(2)], Eager())


def test_what_on_epoch_raises_is_raised_and_the_epoch_is_kept(tmp_path: Path) -> None:
    def stop(row: Row) -> None:
        raise RuntimeError("enough")

    trial = Results(tmp_path).trial("0000")
    with pytest.raises(RuntimeError, match="^enough$"):
        fit([make(1, trial=trial, on_epoch=stop)], Eager())
    assert trial.resumable_epochs() == 1


class Nested(Model):
    """Trains another model in its validation."""

    def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
        inner = Model({"lr": 0.01}, Namespace(cpu=True))
        inner.fit(shuffled(), MatrixBatchGenerator(X, Y), 1)
        return {"inner": inner.history[0]["val_loss"], "draw": float(np.random.random())}


def test_a_training_within_a_training_does_not_disturb_its_random_numbers(tmp_path: Path) -> None:
    whole = make(1, kind=Nested)
    fit([whole], Eager())
    trial = Results(tmp_path).trial("0000")
    for epochs in (1, 3):
        halves = make(1, epochs=epochs, trial=trial, kind=Nested)
        fit([halves], Eager())
    assert halves.record.history == whole.record.history
    assert len({row["val_draw"] for row in whole.record.history}) == 3


class Calls:
    """Counts the calls of our Python functions."""

    def __init__(self) -> None:
        self.ours = 0

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        file = frame.f_code.co_filename
        # The environment may lie within the checkout.
        if event == "call" and file.startswith(str(ROOT)) and "site-packages" not in file:
            self.ours += 1


def calls_of_steps(steps: int) -> Calls:
    """Of an epoch of so many steps, as the example function_regressor takes them."""

    class Regressor(RegressionModel):
        def init_model(self) -> None:
            layers = [nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)]
            network = nn.Sequential(*layers)
            super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), lr=0.003))

    x = np.zeros((100 * steps, 10), np.float32)
    train, val = MatrixBatchGenerator(x, x[:, :1], 100, shuffle=True), MatrixBatchGenerator(x[:9], x[:9, :1])
    model: BaseModel = Regressor({}, Namespace(cpu=True))
    model.fit(train, val, 1)  # what a process and an optimizer do once
    counted = Calls()
    sys.setprofile(counted)
    try:
        model.fit(train, val, 2)
    finally:
        sys.setprofile(None)
    return counted


def test_a_step_calls_few_functions_of_ours() -> None:
    few, many = calls_of_steps(5), calls_of_steps(105)
    # Rounded: what happens once an epoch calls a few functions more or less, from run to run.
    assert round((many.ours - few.ours) / 100) <= 60
