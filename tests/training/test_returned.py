"""What a definition's methods return: numbers, names of columns, losses and batches, or what is none."""

import re
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

from base_model import RegressionModel, TrainingOptions
from helixband.errors import DataError, DefinitionError, HelixbandError

X = np.arange(12, dtype=np.float32).reshape(6, 2) / 10
Y = X.sum(axis=1, keepdims=True)


def row_of(**methods: Any) -> dict[str, float]:
    """The row of an epoch of a linear model with these methods."""

    class Model(RegressionModel):
        def init_model(self) -> None:
            torch.manual_seed(0)
            network = nn.Linear(2, 1)
            super().init_model(network, optim.SGD(network.parameters(), lr=0.1))

    model = type("Model", (Model,), methods)({}, Namespace(cpu=True))
    row: dict[str, float] = model.fit([(X[:4], Y[:4]), (X[4:], Y[4:])], [(X, Y)], 1)[0]
    return row


def told(error: type[HelixbandError], message: str, **methods: Any) -> None:
    with pytest.raises(error, match=re.escape(message)):
        row_of(**methods)


NO_NAME = "a name has to be a text in one line, for it is the head of a column"


@pytest.mark.parametrize("name", ["a\nb", "", "a\u2028b", "\x1b[31m", 3, (1, 2), None])
def test_a_name_is_a_text_in_one_line(name: Any) -> None:
    def named(*_: Any) -> dict[Any, float]:
        return {name: 1.0}

    def losses(_: Any, y_pred: Tensor, y: Tensor) -> dict[Any, Tensor]:
        return {name: (y_pred - y).square().mean()}

    for method in ("train_metrics", "eval_metrics", "on_epoch_end"):
        told(DefinitionError, f"{method} gives a number the name {name!r}; {NO_NAME}", **{method: named})
    told(DefinitionError, f"compute_loss gives a number the name {name!r}; {NO_NAME}", compute_loss=losses)


def test_any_other_name_will_do() -> None:
    names = ["T cell, CD4+ (\u03b1)", "a\u00a0b", "x.y"]
    row = row_of(on_epoch_end=lambda _, row: dict.fromkeys(names, 1.0))
    assert [row[name] for name in names] == [1.0, 1.0, 1.0]


def test_a_name_has_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", "tok-1234567890")
    message = "has the value of the environment variable SERVICE_TOKEN"
    told(DefinitionError, message, on_epoch_end=lambda *_: {"of tok-1234567890": 1.0})
    told(
        DefinitionError,
        message,
        compute_loss=lambda _, y_pred, y: {"tok-1234567890": (y_pred - y).square().mean()},
    )


@pytest.mark.parametrize("method", ["train_metrics", "eval_metrics"])
def test_the_loss_is_no_metric(method: str) -> None:
    told(
        DefinitionError,
        "a metric is called 'loss', as the loss itself is",
        **{method: lambda *_: {"loss": 1.0}},
    )


def test_a_column_may_be_set_as_an_attribute() -> None:
    def on_epoch_end(_: Any, row: Any) -> None:
        row.gap = row.val_loss - row.train_loss

    row = row_of(on_epoch_end=on_epoch_end)
    assert row["gap"] == row["val_loss"] - row["train_loss"]


def test_a_tensor_of_one_number_is_a_number() -> None:
    assert (
        row_of(on_epoch_end=lambda *_: {"half": torch.tensor(0.5), "third": torch.tensor([3.0])})["half"]
        == 0.5
    )
    told(
        DefinitionError,
        "on_epoch_end['a'] has the shape torch.Size([2]); it has to be a number",
        on_epoch_end=lambda *_: {"a": torch.zeros(2)},
    )


def test_columns_that_are_there_stay() -> None:
    def changed(row: Any) -> None:
        row["val_loss"] = float("nan")

    left, other = "on_epoch_end takes 'val_loss' out of the row", "on_epoch_end changes 'val_loss'"
    told(DefinitionError, left, on_epoch_end=lambda _, row: row.__delattr__("val_loss"))
    told(DefinitionError, other, on_epoch_end=lambda _, row: changed(row))
    undefined = {
        "eval_metrics": lambda *_: {"r": float("nan")},
        "on_epoch_end": lambda _, row: {**row, "q": 1.0},
    }
    assert row_of(**undefined)["q"] == 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda loss: None,
            "the loss is None; compute_loss has to return, and backward takes, a scalar tensor",
        ),
        (lambda loss: loss.item(), "; compute_loss has to return, and backward takes, a scalar tensor"),
        (lambda loss: loss.reshape(1), "the loss is of shape (1,); compute_loss has to return"),
        (lambda loss: [loss, 4], ", 4]; compute_loss has to return, and backward takes, a scalar tensor"),
        (
            lambda loss: loss.detach(),
            "the loss depends on no parameter that is trained: compute it from",
        ),
        (lambda loss: (loss, None), "compute_loss returned the weight None; it has to be a number from 0"),
        (lambda loss: (loss, -4), "compute_loss returned the weight -4; it has to be a number from 0"),
        (lambda loss: (loss, torch.ones(4)), "weight tensor([1., 1., 1., 1.]); it has to be a number from 0"),
        (
            lambda loss: {"a": (loss, "4")},
            "compute_loss returned the weight '4'; it has to be a number from 0",
        ),
    ],
)
def test_a_loss_that_is_none_is_told(given: Any, message: str) -> None:
    told(DefinitionError, message, compute_loss=lambda _, y_pred, y: given((y_pred - y).square().mean()))


def test_a_step_of_ones_own_is_told_what_backward_takes() -> None:
    def train_step(self: Any, x: Tensor, y: Tensor) -> None:
        self.backward([1.0])

    told(
        DefinitionError,
        "the loss is [1.0]; compute_loss has to return, and backward takes",
        train_step=train_step,
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda x, y: (x.numpy(), y),
            "prepare_batch returned ndarray(…) in x; it has to be a tensor, (N, …)",
        ),
        (
            lambda x, y: (x, y.mean()),
            "in y; it has to be a tensor, (N, …), or a dict, tuple or list of tensors",
        ),
        (lambda x, y: (x, [0.5]), "prepare_batch returned 0.5 in y; it has to be a tensor, (N, …)"),
    ],
)
def test_a_prepared_batch_is_of_tensors(given: Any, message: str) -> None:
    told(DefinitionError, message, prepare_batch=lambda _, x, y: given(x, y))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda x, y: (x, y.tolist()),
            "y of batch 0 of list is a list of numbers; make it an array, np.array(…)",
        ),
        (
            lambda x, y: (x.tolist(), y),
            "x of batch 0 of list is a list of numbers; make it an array, np.array(…)",
        ),
        (
            lambda x, y: (x, ("a",) * len(y)),
            "y of batch 0 of list is a tuple of texts; make it an array of numbers",
        ),
        (lambda x, y: (x.astype(str), y), "holds an array of the type <U32; a network takes numbers"),
    ],
)
def test_a_batch_is_of_arrays(given: Any, message: str) -> None:
    told(DataError, message, split_batch=lambda _, batch: given(*batch))


def test_a_stream_that_ends_is_told() -> None:
    class Ending:
        def stream(self, seed: int, start: int) -> Iterator[tuple[Any, Any]]:
            return iter([(X, Y)] * max(0, 3 - start))

        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            return self.stream(0, 0)

    class Model(RegressionModel):
        def init_model(self) -> None:
            network = nn.Linear(2, 1)
            optimizer = optim.SGD(network.parameters(), lr=0.1)
            super().init_model(network, optimizer, training=TrainingOptions(epoch_steps=2))

    model = Model({}, Namespace(cpu=True))
    message = "Ending.stream ended after 1 of the 2 batches of an epoch; it has to yield batches without end"
    with pytest.raises(DataError, match=message):
        model.fit(Ending(), [(X, Y)], 3)
    assert model.epoch == 1


def test_a_graph_may_be_kept_for_another_backward() -> None:
    def train_step(self: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        output = self.forward(x)["y_pred"]
        loss = (output - y).square().mean()
        self.backward(loss, retain_graph=True)
        self.backward(loss)
        self.optimizer_step()
        return loss.detach(), output.detach()

    def doubled(_: Any, y_pred: Tensor, y: Tensor) -> Tensor:
        return 2 * (y_pred - y).square().mean()

    found, expected = row_of(train_step=train_step), row_of(compute_loss=doubled)
    assert found["val_mse"] == pytest.approx(expected["val_mse"], abs=1e-6)
