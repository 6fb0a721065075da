"""Optimizer steps that are left out where the loss or its gradients are not finite."""

import math
from argparse import Namespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

from base_model import BaseModel, RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from helixband.errors import DefinitionError, TrainingError
from helixband.training.meters import Loss, LossMeter
from helixband.training.parts.skip import Kept, Skip

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
X[8:12] = 100.0  # batch 2 of 10
Y = X.sum(axis=1, keepdims=True)


def loss_of(y_pred: Tensor, y: Tensor) -> Tensor:
    """The squared error; NaN for the batch with large values."""
    return ((y_pred - y) ** 2).mean() / (0.0 if y.max() > 200 else 1.0) * (0.0 if y.max() > 200 else 1.0)


def make(kind: Any = optim.Adam, **options: Any) -> BaseModel:
    class Model(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            torch.manual_seed(0)
            network = nn.Linear(3, 1)
            optimizer = kind(network.parameters(), 0.05)
            super().init_model(network, loss_of, optimizer, training=TrainingOptions(**options))

    return Model({}, Namespace(cpu=True))


def data() -> tuple[MatrixBatchGenerator, MatrixBatchGenerator]:
    return MatrixBatchGenerator(X, Y, 4), MatrixBatchGenerator(X[20:], Y[20:])


def test_a_step_is_left_out_as_in_a_plain_loop() -> None:
    torch.manual_seed(0)
    network, losses = nn.Linear(3, 1), []
    optimizer = optim.Adam(network.parameters(), 0.05)
    for _ in range(2):
        for i in range(0, 40, 4):
            optimizer.zero_grad()
            loss = loss_of(network(torch.tensor(X[i : i + 4])), torch.tensor(Y[i : i + 4]))
            if loss.isfinite():
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    model = make(nan="skip")
    rows = model.fit(*data(), 2)
    assert [row["train_skipped"] for row in rows] == [1, 1]
    assert rows[-1]["train_loss"] == pytest.approx(np.mean(losses[9:]))
    model.engine.state.restore(model, model.engine.record.last, data()[0], "the last state")  # type: ignore[arg-type]
    assert torch.equal(model.network.weight, network.weight)  # type: ignore[arg-type]


def test_an_average_and_accumulated_batches_leave_it_out_too() -> None:
    model = make(nan="skip", accumulate=2, ema_decay=0.5)
    row = model.fit(*data(), 1)[0]
    assert row["train_skipped"] == 1
    assert math.isfinite(row["val_loss"])


def test_an_epoch_without_a_finite_loss_is_an_error() -> None:
    bad = MatrixBatchGenerator(X[8:12], Y[8:12], 2)
    with pytest.raises(TrainingError, match="the loss is nan from batch 0"):
        make(nan="skip").fit(bad, data()[1], 1)


def test_an_optimizer_with_a_closure_leaves_out_nothing() -> None:
    with pytest.raises(DefinitionError, match="LBFGS computes the loss of a step several times.*nan='skip'"):
        make(optim.LBFGS, nan="skip")


@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW, optim.RMSprop])
@pytest.mark.parametrize("steps_before", [1, 2])
def test_a_step_is_put_back_without_looking_at_it(kind: Any, steps_before: int) -> None:
    def stepped(network: nn.Module, optimizer: Any, times: int) -> None:
        for _ in range(times):
            optimizer.zero_grad()
            network(torch.ones(2, 3)).sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    network, other = nn.Linear(3, 1), nn.Linear(3, 1)
    other.load_state_dict(network.state_dict())
    optimizer, others = kind(network.parameters(), 0.1), kind(other.parameters(), 0.1)
    stepped(network, optimizer, steps_before)
    kept = Kept(optimizer)
    stepped(network, optimizer, 1)
    kept.put_back_unless(torch.tensor(False))
    stepped(network, optimizer, 1)
    kept = Kept(optimizer)
    stepped(network, optimizer, 1)
    kept.put_back_unless(torch.tensor(True))
    stepped(other, others, steps_before + 2)
    assert torch.equal(network.weight, other.weight)


def test_gradients_that_are_not_finite_count_too() -> None:
    skip = Skip()
    for loss, gradient in ((1.0, 1.0), (math.nan, 1.0), (1.0, math.nan), (1.0, math.inf)):
        skip.see(torch.tensor(loss))
        assert bool(skip.decide([torch.tensor([gradient, 0.0])])) is (loss == gradient == 1.0)
    assert (skip.count(), skip.count()) == (3, 0)


def test_named_losses_of_a_batch_count_together() -> None:
    meter = LossMeter(skips=True)
    for one, other in ((1.0, 2.0), (5.0, math.nan), (3.0, 4.0)):
        parts = {"a": Loss(torch.tensor(one), 1), "b": Loss(torch.tensor(other), 1)}
        meter.add(Loss(torch.tensor(one + other), 1, parts))
    assert meter.parts() == {"a": 2.0, "b": 3.0}
    assert meter.total() == 5.0
