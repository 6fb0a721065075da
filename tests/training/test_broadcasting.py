"""Shapes that would be broadcast against each other are refused, and what is meant is not."""

import functools
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from base_model import BaseModel, RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.errors import DefinitionError

X = np.random.default_rng(0).random((20, 3), dtype=np.float32)
FLAT, COLUMN = X.sum(1), X.sum(1, keepdims=True)


def make(criterion: Any, outputs: int = 1, flat: bool = False, **methods: Any) -> BaseModel:
    def init_model(self: BaseModel) -> None:
        network = nn.Sequential(nn.Linear(3, outputs), *([nn.Flatten(0)] if flat else []))
        BaseModel.init_model(self, network, criterion, optim.SGD(network.parameters(), 0.01))

    model: BaseModel = type("Model", (BaseModel,), {"init_model": init_model, **methods})(
        {}, Namespace(cpu=True)
    )
    return model


def data(y: Any, batch_size: int | None = 4) -> MatrixBatchGenerator:
    return MatrixBatchGenerator(X, y, batch_size)


WRONG: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda pred, y: (pred - y).pow(2).mean(),
    lambda pred, y: (pred - y).abs().mean(),
    lambda pred, y: torch.where(pred > y, 1.0 * pred, 0.9 * y).mean(),
    lambda pred, y: torch.log(torch.cosh(y - pred)).mean(),
    lambda pred, y: (y * torch.sigmoid(pred)).sum(),
    nn.MSELoss(),
    nn.L1Loss(),
    functools.partial(F.smooth_l1_loss, beta=0.5),
]


@pytest.mark.parametrize("criterion", WRONG)
@pytest.mark.parametrize(("flat", "y"), [(False, FLAT), (True, COLUMN)], ids=["(N, 1), (N,)", "(N,), (N, 1)"])
def test_a_loss_of_each_with_each_is_refused(criterion: Any, flat: bool, y: Any) -> None:
    shapes = r"\(N,\) and \(N, 1\)|\(N, 1\) and \(N,\)"
    with pytest.raises(
        DefinitionError, match=rf"the loss combines arrays of the shapes ({shapes}), each example"
    ):
        make(criterion, flat=flat).evaluate(data(y))
    with pytest.raises(DefinitionError, match="the loss combines"):
        make(criterion, flat=flat).fit(data(y), data(y), 1)


def test_it_is_refused_where_the_last_batch_alone_has_few_rows() -> None:
    with pytest.raises(DefinitionError, match="the loss combines"):
        make(WRONG[0]).evaluate(MatrixBatchGenerator(X[:1], FLAT[:1]))


def test_other_shapes_within_the_criterion_are_looked_at_too() -> None:
    with pytest.raises(DefinitionError, match="the loss combines"):
        make(lambda pred, y: (pred.squeeze(1) - y).pow(2).mean()).evaluate(data(COLUMN))


MEANT: list[tuple[Any, int, Any]] = [
    (lambda pred, y: (pred.squeeze(1) - y).pow(2).mean(), 1, FLAT),
    (lambda pred, y: (pred - y).pow(2).mean(), 1, COLUMN),
    (lambda pred, y: (pred - pred.T - (y - y.T)).pow(2).mean(), 1, COLUMN),  # each pair, as rankings have it
    (lambda pred, y: (pred * torch.tensor([1.0, 2.0, 0.5]) - y).pow(2).mean(), 3, X),
    (lambda pred, y: ((y[:, None] > torch.arange(7)) * pred.sigmoid()).mean(), 7, FLAT),  # ordinal thresholds
    (lambda pred, y: (pred * y.unsqueeze(1)).mean(), 7, FLAT),
    (lambda pred, y: torch.cdist(pred, pred).mean() + y.mean(), 3, FLAT),
    (lambda pred, y: (pred @ pred.T).mean() + y.mean(), 3, FLAT),
    (nn.CrossEntropyLoss(), 7, (FLAT * 2).astype(np.int64)),
]


@pytest.mark.parametrize("case", range(len(MEANT)))
def test_what_is_meant_is_left_alone(case: int) -> None:
    criterion, outputs, y = MEANT[case]
    make(criterion, outputs).fit(data(y), data(y), 1)


def test_our_regression_brings_labels_to_the_shape_of_predictions() -> None:
    class Regression(RegressionModel):
        def init_model(self) -> None:
            network = nn.Linear(3, 1)
            super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.01))

    losses = []
    for y in (FLAT, COLUMN):
        torch.manual_seed(0)
        losses.append(Regression({}, Namespace(cpu=True)).fit(data(y), data(y), 2)[-1]["val_loss"])
    assert losses[0] == losses[1]


# Metrics.


@pytest.mark.parametrize("name", ["train_metrics", "eval_metrics"])
def test_metrics_of_each_with_each_are_refused(name: str) -> None:
    def wrong(self: BaseModel, y_true: Any, y_pred: Any) -> dict[str, float]:
        return {"mse": float(np.mean((y_true - y_pred) ** 2))}

    model = make(lambda pred, y: (pred.squeeze(1) - y).pow(2).mean(), **{name: wrong})
    with pytest.raises(DefinitionError, match=rf"{name} combines arrays of the shapes \(N,\) and \(N, 1\)"):
        model.fit(data(FLAT), data(FLAT), 1)


def test_metrics_that_are_meant_are_left_alone() -> None:
    def metrics(self: BaseModel, y_true: Any, y_pred: Any) -> dict[str, float]:
        y_pred = y_pred[:, 0]
        r = np.corrcoef(y_true, y_pred)[0, 1]
        pairs = np.subtract.outer(y_true, y_true) * np.subtract.outer(y_pred, y_pred)
        shifted = y_true.copy()
        shifted -= y_pred
        return {"r": float(r), "concordant": float((pairs > 0).mean()), "bias": float(shifted.mean())}

    model = make(
        lambda pred, y: (pred.squeeze(1) - y).pow(2).mean(), eval_metrics=metrics, train_metrics=metrics
    )
    assert set(model.fit(data(FLAT), data(FLAT), 1)[0]) >= {"val_r", "val_concordant", "train_bias"}


# The check leaves nothing behind.


def test_the_check_moves_no_random_numbers_and_counts_nothing() -> None:
    class Counting(RegressionModel):
        def init_model(self) -> None:
            network = nn.Linear(3, 1)
            self.calls, self.seen = 0, torch.zeros(1)
            super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.0))

        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            self.calls += 1
            self.seen = self.seen + torch.rand(1)
            self.latest = float(np.random.random())
            return super().compute_loss(y_pred_loss, y)

    torch.manual_seed(0)
    np.random.seed(0)
    model = Counting({}, Namespace(cpu=True))
    expected = np.random.RandomState(0).random(5)
    for x, y in data(FLAT):
        model.train_step(torch.from_numpy(x), torch.from_numpy(y))
    assert model.calls == 5
    assert model.latest == expected[-1]
