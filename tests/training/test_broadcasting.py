"""Shapes that would be broadcast against each other are refused, and what is meant is not."""

import functools
import warnings
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


def scripted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(nn.PoissonNLLLoss())


def traced() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.trace(lambda pred, y: (pred - y).pow(2).mean(), (torch.zeros(3), torch.zeros(3)))


WRONG: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda pred, y: (pred - y).pow(2).mean(),
    lambda pred, y: (pred - y).abs().mean(),
    lambda pred, y: torch.where(pred > y, 1.0 * pred, 0.9 * y).mean(),
    lambda pred, y: torch.log(torch.cosh(y - pred)).mean(),
    lambda pred, y: (y * torch.sigmoid(pred)).sum(),
    nn.MSELoss(),
    nn.L1Loss(),
    functools.partial(F.smooth_l1_loss, beta=0.5),
    # An operand of one number beside them.
    lambda pred, y: torch.where(y > y.mean(), pred**2, torch.zeros(1)).mean(),
    lambda pred, y: torch.addcmul(torch.zeros(1), pred, y).mean(),
    lambda pred, y: torch.addcdiv(pred, y, torch.ones(1)).pow(2).mean(),
    # Operations that are not elementwise, or that nobody sees.
    lambda pred, y: 1 - F.cosine_similarity(pred, y, dim=0).mean(),
    lambda pred, y: torch.dist(pred, y),
    lambda pred, y: (lambda a, b: (a - b).pow(2).mean())(*torch.broadcast_tensors(pred, y)),
    lambda pred, y: pred.expand(len(pred), len(pred)).masked_fill(y > y.mean(), 0).mean(),
    lambda pred, y: 0 * pred.sum() + float(((pred.detach().numpy() - y.numpy()) ** 2).mean()),
    scripted(),
    traced(),
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
    # Whatever belongs to what: distributions, and losses without labels.
    (lambda pred, y: torch.cdist(pred, y[:, None]).mean(), 1, FLAT),
    (lambda pred, y: (pred.squeeze(1).sort().values - y.sort().values).abs().mean(), 1, FLAT),
    (lambda pred, y: pred.var() + 0 * y.sum(), 1, FLAT),
    (lambda pred, y: (pred.mean() - y.mean()) ** 2, 1, FLAT),
    (scripted(), 1, COLUMN),
    (lambda pred, y: (pred - pred.roll(len(pred) // 2, 0)).abs().mean() + 0 * y.sum(), 20, FLAT),
]


@pytest.mark.parametrize("case", range(len(MEANT)))
def test_what_is_meant_is_left_alone(case: int) -> None:
    criterion, outputs, y = MEANT[case]
    make(criterion, outputs).fit(data(y), data(y), 1)


def test_labels_for_columns_are_refused_where_there_are_as_many_columns_as_examples() -> None:
    message = (
        r"the loss can be computed of 4 examples and not of 8: it takes arrays of the shapes \(N,\) and "
        r"\(N, 4\), and where N is 4 examples are taken for columns"
    )
    for criterion in (nn.PoissonNLLLoss(), lambda pred, y: (pred - y).pow(2).mean()):
        with pytest.raises(DefinitionError, match=message):
            make(criterion, outputs=4).fit(data(FLAT), data(FLAT), 1)
    with pytest.raises(DefinitionError, match="computed of 1 examples and not of 2"):
        make(nn.PoissonNLLLoss(), outputs=4).evaluate(MatrixBatchGenerator(X[:1], FLAT[:1]))


def test_a_loss_that_needs_an_even_number_of_examples_is_left_alone() -> None:
    def pairs(pred: Tensor, y: Tensor) -> Tensor:
        return (pred[::2] - pred[1::2]).pow(2).mean() + 0 * y.sum()

    make(pairs, outputs=4).fit(data(FLAT), data(FLAT), 1)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_it_is_found_in_a_network_that_begins_with_the_same_for_all(weight: float) -> None:
    model = make(scripted())
    nn.init.zeros_(model.network[0].weight)  # type: ignore[index]
    y = np.where(np.arange(20) < 18, 0.0, weight)
    with pytest.raises(DefinitionError, match="the loss combines"):
        model.fit(data(y), data(y), 1)


def test_several_outputs_are_looked_at_by_their_places() -> None:
    wrong = traced()

    def loss(pred: Any, y: Any) -> Tensor:
        return pred["a"].pow(2).mean() + wrong(pred["b"], y["b"])

    def split_output(self: BaseModel, output: Tensor) -> dict[str, Any]:
        return {"y_pred": output, "y_pred_loss": {"a": output, "b": output[:, :1]}}

    with pytest.raises(DefinitionError, match="the loss combines"):
        make(loss, 2, split_output=split_output).evaluate(data({"a": X[:, :2], "b": FLAT}))
    make(loss, 2, split_output=split_output).evaluate(data({"a": X[:, :2], "b": COLUMN}))


def test_it_is_found_in_a_step_of_a_definitions_own() -> None:
    def train_step(self: BaseModel, x: Tensor, y: Tensor) -> Any:
        y_pred = self.network(x)
        return self.compute_loss(y_pred, y), y_pred.detach()

    with pytest.raises(DefinitionError, match="the loss combines"):
        make(WRONG[0], train_step=train_step).fit(data(FLAT), data(COLUMN), 1)


def test_a_term_that_the_network_gives_is_not_changed_by_the_check() -> None:
    def loss(pred: Any, y: Tensor) -> Any:
        pred["term"] += (pred["y"] - y).pow(2).mean()
        return pred["term"] + 0.0

    def split_output(self: BaseModel, output: Tensor) -> dict[str, Any]:
        return {"y_pred": output, "y_pred_loss": {"y": 0 * output, "term": torch.tensor(0.5)}}

    found = make(loss, split_output=split_output).evaluate(data(COLUMN, None))["loss"]
    assert found == pytest.approx(0.5 + float((COLUMN**2).mean()))


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


@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.HuberLoss(), nn.L1Loss()])
def test_our_regression_takes_integers_for_numbers(criterion: nn.Module) -> None:
    class Regression(RegressionModel):
        def init_model(self) -> None:
            network = nn.Linear(3, 1)
            super().init_model(network, criterion, optim.SGD(network.parameters(), 0.01))

    losses = []
    for y in (np.arange(20) % 3, (np.arange(20) % 3).astype(np.float32)):
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


def error(y_true: Any, y_pred: Any) -> float:
    return float(np.mean((y_true - y_pred) ** 2))


HIDDEN: list[Callable[[Any, Any], float]] = [
    lambda y, pred: error(np.asarray(y), np.asarray(pred)),
    lambda y, pred: error(np.array(y), np.ascontiguousarray(pred)),
    lambda y, pred: error(np.array(y.tolist()), np.array(pred.tolist())),
    lambda y, pred: float(np.where(y > y.mean(), pred, 0).mean()),
    lambda y, pred: float((np.asarray(y > y.mean()) == np.asarray(pred > 0.5)).mean()),
    lambda y, pred: float(F.l1_loss(torch.from_numpy(y), torch.from_numpy(pred))),
    lambda y, pred: float((torch.tensor(y) - torch.tensor(pred)).abs().mean()),
]


@pytest.mark.parametrize("metric", HIDDEN)
def test_metrics_that_leave_numpy_or_the_watched_array_are_refused(metric: Any) -> None:
    def eval_metrics(self: BaseModel, y_true: Any, y_pred: Any) -> dict[str, float]:
        return {"right": error(y_true, y_pred[:, 0]), "wrong": metric(y_true, y_pred)}

    model = make(lambda pred, y: (pred.squeeze(1) - y).pow(2).mean(), eval_metrics=eval_metrics)
    message = r"eval_metrics(\['wrong'\])? combines arrays of the shapes \(N,\) and \(N, 1\)"
    with pytest.raises(DefinitionError, match=message):
        model.evaluate(data(FLAT))


def test_metrics_of_as_many_columns_as_examples_are_refused() -> None:
    def eval_metrics(self: BaseModel, y_true: Any, y_pred: Any) -> dict[str, float]:
        return {"mse": error(y_true, y_pred)}

    model = make(lambda pred, y: (pred[:, 0] - y).pow(2).mean(), outputs=20, eval_metrics=eval_metrics)
    with pytest.raises(DefinitionError, match="eval_metrics can be computed of 20 examples and not of 40"):
        model.evaluate(data(FLAT))


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


class Counter:
    """Has a state of its own, as a metric of a library."""

    def __init__(self) -> None:
        self.rows = 0

    def state_dict(self) -> dict[str, int]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.rows = state["rows"]


def test_the_check_counts_nothing_in_what_a_model_holds() -> None:
    class Counting(RegressionModel):
        def init_model(self) -> None:
            network = nn.Linear(3, 1)
            self.array, self.tensor, self.counter = np.zeros(1), torch.zeros(1), Counter()
            self.module = nn.BatchNorm1d(1)
            super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.0))

        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            self.array += len(y)
            self.tensor += len(y)
            self.counter.rows += len(y)
            self.module.num_batches_tracked += len(y)
            return super().compute_loss(y_pred_loss, y)

    model = Counting({}, Namespace(cpu=True))
    for x, y in data(FLAT):
        model.train_step(torch.from_numpy(x), torch.from_numpy(y))
    rows = sum(len(y) for _, y in data(FLAT))
    counted = model.array, model.tensor, model.counter.rows, model.module.num_batches_tracked
    assert [np.asarray(each).item() for each in counted] == [rows] * 4


class Network(nn.Module):
    """Counts in a buffer, in a parameter and in an extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.state = nn.Linear(3, 1), 0
        self.register_buffer("buffer", torch.zeros(()))
        self.replaced: Tensor
        self.register_buffer("replaced", torch.zeros(()))
        self.register_buffer("expanded", torch.ones(1).expand(3), persistent=False)
        self.parameter = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Any:
        return self.layer(x) * self.layer.bias + self.parameter

    def get_extra_state(self) -> int:
        return self.state

    def set_extra_state(self, state: int) -> None:
        self.state = state

    def count(self) -> None:
        self.state += 1
        self.buffer.add_(1)
        self.buffer.data.add_(1)
        self.replaced = self.replaced + 1
        with torch.no_grad():
            self.parameter += 1


def test_the_check_counts_nothing_in_the_network_and_its_optimizer() -> None:
    class Counting(RegressionModel):
        def init_model(self) -> None:
            network = Network()
            super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.0))

        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            if self.network.training:
                self.network.count()
            return super().compute_loss(y_pred_loss, y)

        def train_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            self.optimizer.param_groups[0]["weight_decay"] += 1
            return {}

    model = Counting({}, Namespace(cpu=True))
    model.fit(data(FLAT), data(FLAT, None), epochs=1)
    network = model.network
    assert [each.item() for each in (network.buffer, network.replaced, network.parameter)] == [10, 5, 5]
    assert (network.state, model.optimizer.param_groups[0]["weight_decay"]) == (5, 5)


# Rows that are chosen, and steps of a definition's own.


def masked(pred: Tensor, y: Tensor) -> Tensor:
    known = ~y.isnan()
    return ((pred[known] - y[known]) ** 2).mean()


def halves(pred: Tensor, y: Tensor) -> Tensor:
    half = len(y) // 2
    return (pred[:half] - y[:half]).pow(2).mean() + (pred[half:] - y[half:]).pow(2).mean()


CHOOSING = [
    masked,
    halves,
    lambda pred, y: F.mse_loss(pred[y > 1], y[y > 1]),
    lambda pred, y: ((pred[1:] - pred[:-1]) - (y[1:] - y[:-1])).pow(2).mean(),
    lambda pred, y: (pred.index_select(0, torch.arange(5)) - y.index_select(0, torch.arange(5))).abs().mean(),
]


@pytest.mark.parametrize("loss", CHOOSING)
def test_rows_that_are_chosen_are_rows(loss: Any) -> None:
    model = make(loss)
    with pytest.raises(DefinitionError, match=r"the loss combines arrays of the shapes \(N"):
        model.fit(data(FLAT, 10), data(FLAT, 10), 1)
    good = make(lambda pred, y: loss(pred[:, 0], y))
    assert good.fit(data(FLAT, 10), data(FLAT, 10), 1)


def test_rows_that_are_chosen_in_a_metric_are_rows() -> None:
    def wrong(self: Any, y_true: Any, y_pred: Any) -> dict[str, float]:
        large = y_true[:, 0] > 1
        return {"error": float(np.mean((y_true[large][:, 0] - y_pred[large]) ** 2))}

    with pytest.raises(DefinitionError, match="eval_metrics combines arrays"):
        make(nn.MSELoss(), eval_metrics=wrong).fit(data(COLUMN), data(COLUMN), 1)


def test_pairs_of_one_array_with_itself_are_meant() -> None:
    def ranking(pred: Tensor, y: Tensor) -> Tensor:
        score = pred[:, 0]
        return F.softplus(-(score[:, None] - score) * (y[:, None] - y)).mean()

    assert make(ranking).fit(data(FLAT), data(FLAT), 1)


def differences(pred: Tensor, y: Tensor) -> Tensor:
    return (pred - y).pow(2).mean()


@pytest.mark.parametrize("loss", [differences, F.mse_loss, masked])
@pytest.mark.parametrize("step", ["train_step", "eval_step"])
def test_a_step_of_a_definitions_own_is_watched(step: str, loss: Any) -> None:
    class Own(RegressionModel):
        def init_model(self) -> None:
            network = nn.Linear(3, 1)
            super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.01))

    def train_step(self: Any, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad()
        pred = self.network(x)
        loss(pred, y).backward()
        self.optimizer.step()
        return torch.zeros(()), pred.detach()

    def eval_step(self: Any, x: Any, y: Any) -> Any:
        pred = self.network(x)
        return loss(pred, y), pred

    setattr(Own, step, {"train_step": train_step, "eval_step": eval_step}[step])
    with pytest.raises(DefinitionError, match=step):
        Own({}, Namespace(cpu=True, batch_size=20)).fit(data(FLAT), data(FLAT), 1)
    assert Own({}, Namespace(cpu=True, batch_size=20)).fit(data(COLUMN), data(COLUMN), 1)


def test_what_the_network_does_in_a_step_of_a_definitions_own_is_its_own_business() -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            one = self.layer(x)
            return (one - one.detach().clone()[:, 0]).mean(1, keepdim=True) + one

    class Own(RegressionModel):
        def init_model(self) -> None:
            network = Pairs()
            super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.01))

        def train_step(self, x: Any, y: Any) -> Any:
            self.optimizer.zero_grad()
            pred = self.network(x)
            loss = F.mse_loss(pred, y)
            loss.backward()
            self.optimizer.step()
            return loss.detach(), pred.detach()

    assert Own({}, Namespace(cpu=True)).fit(data(COLUMN), data(COLUMN), 1)
