"""The hooks of a definition: what they get and may change, and what is refused."""

from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from base_model import BaseModel, ClassificationModel, MultiLabelModel, RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from helixband.errors import DataError, DefinitionError
from helixband.losses import PearsonLoss, PoissonLoss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3)).astype(np.float32)
Y = X @ np.array([[1.0], [2.0], [-1.0]], np.float32)
CLASSES = (Y[:, 0] > 0).astype(np.int64)
WEIGHTS = RNG.integers(0, 4, size=20).astype(np.float32)
COUNTS = RNG.integers(0, 5, size=(20, 1)).astype(np.float32)


class Dicts:
    """Batches as dicts, with or without weights."""

    def __init__(self, y: Any = Y, rows: int = 8, weights: Any = None) -> None:
        self.y, self.rows, self.weights = y, rows, weights

    def __len__(self) -> int:
        return -(-20 // self.rows)

    def __iter__(self) -> Any:
        for start in range(0, 20, self.rows):
            part = slice(start, start + self.rows)
            batch = {"inputs": X[part], "labels": self.y[part]}
            yield batch if self.weights is None else {**batch, "weights": self.weights[part]}


class OfDicts(BaseModel):
    """A linear model of such batches."""

    outputs = 1
    made_criterion: Any = nn.MSELoss()
    options = TrainingOptions()

    def init_model(self) -> None:
        torch.manual_seed(0)
        network = nn.Linear(3, self.outputs)
        optimizer = optim.SGD(network.parameters(), lr=0.1)
        super().init_model(network, self.made_criterion, optimizer, training=self.options)

    def split_batch(self, batch: dict[str, Any]) -> tuple[Any, ...]:
        weights = (batch["weights"],) if "weights" in batch else ()
        return batch["inputs"], batch["labels"], *weights


def fitted(model: type[BaseModel], train: Iterable[Any], val: Any = None, epochs: int = 2) -> BaseModel:
    made = model({}, Namespace(cpu=True))
    made.fit(train, val or train, epochs)
    made.engine.state.use(made, made.engine.record.last, "the last state")
    return made


def weights_of(model: BaseModel) -> Any:
    return torch.cat([each.detach().flatten() for each in model.network.parameters()]).numpy()


def test_batches_of_dicts_are_split() -> None:
    model = fitted(OfDicts, Dicts())
    plain = type("Plain", (OfDicts,), {"split_batch": BaseModel.split_batch})
    expected = fitted(plain, MatrixBatchGenerator(X, Y, 8))
    assert weights_of(model).tolist() == weights_of(expected).tolist()
    assert model.history == expected.history
    assert model.evaluate(Dicts()) == expected.evaluate(MatrixBatchGenerator(X, Y, 8))


CASES: dict[str, tuple[type[BaseModel], Any, int, Any, Callable[[Tensor, Tensor], Tensor]]] = {
    "mse": (BaseModel, nn.MSELoss(), 1, Y, lambda o, y: F.mse_loss(o, y, reduction="none")[:, 0]),
    "regression": (
        RegressionModel, nn.L1Loss(), 1, Y[:, 0], lambda o, y: (o[:, 0] - y).abs(),
    ),
    "function": (
        BaseModel, staticmethod(F.mse_loss), 1, Y, lambda o, y: F.mse_loss(o, y, reduction="none")[:, 0],
    ),
    "classes": (
        ClassificationModel, None, 2, CLASSES, lambda o, y: F.cross_entropy(o, y, reduction="none"),
    ),
    "one logit": (
        ClassificationModel, None, 1, CLASSES,
        lambda o, y: F.binary_cross_entropy_with_logits(o[:, 0], y.float(), reduction="none"),
    ),
    "labels": (
        MultiLabelModel, None, 1, (Y > 0).astype(np.float32),
        lambda o, y: F.binary_cross_entropy_with_logits(o, y, reduction="none")[:, 0],
    ),
    "labels of torch": (
        MultiLabelModel, nn.BCEWithLogitsLoss(), 1, (Y > 0).astype(np.float32),
        lambda o, y: F.binary_cross_entropy_with_logits(o, y, reduction="none")[:, 0],
    ),
    "counts": (
        BaseModel, PoissonLoss(), 1, COUNTS, lambda o, y: PoissonLoss().terms(o, y, ~y.isnan())[:, 0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rows", [4, 8])
def test_examples_count_by_their_weights(case: str, rows: int) -> None:
    kind, criterion, outputs, y, each = CASES[case]
    attributes = {
        "outputs": outputs,
        "made_criterion": criterion,
        "options": TrainingOptions(accumulate=8 // rows),
    }
    model = fitted(type("Model", (OfDicts, kind), attributes), Dicts(y, rows, WEIGHTS))
    torch.manual_seed(0)
    network = nn.Linear(3, outputs)
    optimizer = optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        for start in range(0, 20, 8):
            part = slice(start, start + 8)
            weight = torch.tensor(WEIGHTS[part])
            optimizer.zero_grad()
            losses = each(network(torch.tensor(X[part])), torch.tensor(y[part]))
            ((losses * weight).sum() / weight.sum()).backward()
            optimizer.step()
    expected = torch.cat([part.detach().flatten() for part in network.parameters()]).numpy()
    assert weights_of(model) == pytest.approx(expected, abs=1e-6)
    with torch.no_grad():
        losses = each(network(torch.tensor(X)), torch.tensor(y))
    loss = float((losses * torch.tensor(WEIGHTS)).sum() / WEIGHTS.sum())
    assert model.history[-1]["val_loss"] == pytest.approx(loss, abs=1e-6)


def test_class_weights_and_weights_of_examples_multiply() -> None:
    of_classes = torch.tensor([1.0, 5.0])
    attributes = {"outputs": 2, "made_criterion": nn.CrossEntropyLoss(of_classes)}
    model = fitted(type("Model", (OfDicts,), attributes), Dicts(CLASSES, 20, WEIGHTS))
    output = torch.tensor(model.predict([X]))
    losses = F.cross_entropy(output, torch.tensor(CLASSES), of_classes, reduction="none").numpy()
    expected = (losses * WEIGHTS).sum() / (of_classes.numpy()[CLASSES] * WEIGHTS).sum()
    assert model.history[-1]["val_loss"] == pytest.approx(expected, abs=1e-6)


def test_a_plain_criterion_takes_weights_by_a_third_parameter() -> None:
    def absolute(input: Tensor, target: Tensor, weight: Any = None) -> Tensor:
        return ((input - target).abs()[:, 0] * weight).sum() / weight.sum()

    def squares(y_true: Tensor, y_pred: Tensor) -> Tensor:
        return (y_true - y_pred).square().mean()

    model = fitted(
        type("Model", (OfDicts,), {"made_criterion": staticmethod(absolute)}), Dicts(Y, 8, WEIGHTS)
    )
    errors = np.abs(model.predict([X]) - Y)[:, 0]
    assert model.history[-1]["val_loss"] == pytest.approx(float((errors * WEIGHTS).sum() / WEIGHTS.sum()))
    with pytest.raises(DefinitionError, match=r"give it a third parameter `weight`, \(N,\)"):
        fitted(type("Model", (OfDicts,), {"made_criterion": staticmethod(squares)}), Dicts(Y, 8, WEIGHTS))

    class Ignores(OfDicts):
        def compute_loss(self, y_pred_loss: Tensor, y: Tensor) -> Tensor:
            return (y_pred_loss - y).square().mean()

    with pytest.raises(DefinitionError, match="compute_loss does not use them"):
        fitted(Ignores, Dicts(Y, 8, WEIGHTS))


@pytest.mark.parametrize("form", [list, tuple, torch.tensor, np.float64])
def test_weights_may_be_in_any_form(form: Any) -> None:
    class Listed(OfDicts):
        def split_batch(self, batch: dict[str, Any]) -> tuple[Any, ...]:
            return batch["inputs"], batch["labels"], form(batch["weights"].tolist())

    expected = fitted(OfDicts, Dicts(Y, 8, WEIGHTS)).history
    assert fitted(Listed, Dicts(Y, 8, WEIGHTS)).history == expected


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (np.where(np.arange(20) == 9, -1, 1), "in batch 1 of Dicts, the weight of example 1 is -1"),
        (np.where(np.arange(20) == 9, np.nan, 1), "in batch 1 of Dicts, the weight of example 1 is nan"),
        (np.array(["a"] * 20), "the weights of batch 0 of Dicts are .* a number for each example"),
        (np.ones((20, 1)), r"the weights of batch 0 of Dicts have the shape \(8, 1\)"),
    ],
)
def test_weights_that_are_none_are_refused(weights: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        fitted(OfDicts, Dicts(Y, 8, weights))


def test_what_is_no_pair_is_refused() -> None:
    class Single(OfDicts):
        def split_batch(self, batch: dict[str, Any]) -> Any:
            return batch["inputs"]

    with pytest.raises(DefinitionError, match="split_batch returned .*has to return"):
        fitted(Single, Dicts())


class Named(OfDicts):
    """Two losses by name, one of them a sum with its weight, over labels that are known."""

    def compute_loss(self, y_pred_loss: Tensor, y: Tensor) -> Any:
        known = y > 0
        error = ((y_pred_loss - y).square() * known).sum(), known.sum()
        return {"error": error, "size": y_pred_loss.abs().mean()}


def test_named_losses_are_summed_and_reported() -> None:
    model = fitted(Named, Dicts())
    row = model.history[-1]
    output = model.predict([X])
    error, size = np.square(output - Y)[Y > 0].mean(), np.abs(output).mean()
    assert row["val_error"] == pytest.approx(error)
    assert row["val_size"] == pytest.approx(size)
    assert row["val_loss"] == pytest.approx(error + size)
    assert row["train_loss"] == pytest.approx(row["train_error"] + row["train_size"])
    assert model.evaluate(Dicts())["size"] == pytest.approx(size)
    assert not any(part.value.requires_grad for part in (model.engine.noted.parts or {}).values())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"error": torch.ones(2)}, r"compute_loss returned \(2,\) as the loss 'error'"),
        ({"error": 1.0}, r"compute_loss returned 1\.0 as the loss 'error'"),
        ({}, "compute_loss returned a dict without a loss"),
        ({"loss": torch.ones(())}, "the name 'loss', which their sum has"),
    ],
)
def test_a_loss_that_is_no_scalar_is_refused(given: Any, told: str) -> None:
    class Wrong(OfDicts):
        def compute_loss(self, y_pred_loss: Tensor, y: Tensor) -> Any:
            return given

    with pytest.raises(DefinitionError, match=told):
        fitted(Wrong, Dicts())


def test_a_loss_and_a_metric_have_different_names() -> None:
    class Twice(Named):
        def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, float]:
            return {"size": 1.0}

    with pytest.raises(DefinitionError, match="size is a loss that compute_loss names, and a metric"):
        fitted(Twice, Dicts())


def test_a_batch_is_prepared_in_training_alone() -> None:
    class Doubled(OfDicts):
        def prepare_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return torch.cat([x, x]), torch.cat([2 * y, 2 * y])

        def train_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, float]:
            return {"rows": len(y_true), "mean": y_true.mean()}

    row = fitted(Doubled, Dicts(Y, 20)).history[0]
    assert (row["train_rows"], row["train_mean"]) == (40, pytest.approx(2 * Y.mean()))
    doubled = fitted(OfDicts, Dicts(2 * Y, 20), Dicts(Y, 20)).history[0]
    assert (row["train_loss"], row["val_loss"]) == pytest.approx((doubled["train_loss"], doubled["val_loss"]))

    class Wrong(OfDicts):
        def prepare_batch(self, x: Tensor, y: Tensor) -> Any:
            return x, y[:1]

    with pytest.raises(DefinitionError, match="prepare_batch returned 8 examples in x and 1 in y"):
        fitted(Wrong, Dicts())


def test_an_epoch_gets_columns_before_its_reward() -> None:
    class Gap(OfDicts):
        def on_epoch_end(self, row: Any) -> Mapping[str, float]:
            row["twice"] = 2 * row.epoch
            return {"gap": row["val_loss"] - row["train_loss"]}

        def get_hyperband_reward(self, result: Any) -> float:
            return float(result["gap"])

    rows = fitted(Gap, Dicts()).history
    assert [row["twice"] for row in rows] == [2.0, 4.0]
    assert [row["gap"] for row in rows] == [row["val_loss"] - row["train_loss"] for row in rows]
    assert [row["reward"] for row in rows] == [row["gap"] for row in rows]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"reward": 1.0}, "gives the column 'reward', which is Helixband's"),
        ({"lr_2": 1.0}, "gives the column 'lr_2', which is Helixband's"),
        ({"val_loss": 1.0}, "changes 'val_loss', which the row has already"),
        ({"word": "a"}, r"on_epoch_end\['word'\] is 'a'; it has to be a number"),
    ],
)
def test_reserved_columns_are_refused(columns: Any, told: str) -> None:
    class Wrong(OfDicts):
        def on_epoch_end(self, row: Any) -> Any:
            return columns

    with pytest.raises(DefinitionError, match=told):
        fitted(Wrong, Dicts())


def test_named_losses_of_passes_with_dropout_are_their_means() -> None:
    class Dropped(Named):
        def forward(self, x: Tensor) -> dict[str, Any]:
            return super().forward(F.dropout(x, 0.2, self.network.training))

    model = fitted(Dropped, Dicts())
    found = model.evaluate_mc(Dicts(), 3)
    assert found["loss"] == pytest.approx(found["error"] + found["size"])
    assert found["size_std"] > 0


def test_a_model_with_a_loss_of_its_own_needs_no_criterion() -> None:
    class Own(BaseModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = nn.Linear(3, 1)
            super().init_model(network, optimizer=torch.optim.SGD(network.parameters(), 0.1))

        def compute_loss(self, y_pred_loss: Tensor, y: Tensor) -> Tensor:
            return (y_pred_loss - y).square().mean()

    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    data = MatrixBatchGenerator(x, x[:, :1], 8)
    row = Own({}, Namespace(cpu=True)).fit(data, data, 1)[0]
    assert row["train_loss"] > row["val_loss"] > 0

    class Asks(Own):
        def compute_loss(self, y_pred_loss: Tensor, y: Tensor) -> Tensor:
            return 2 * super(Own, self).compute_loss(y_pred_loss, y)

    with pytest.raises(DefinitionError, match="compute_loss calls super.*and init_model gave none"):
        Asks({}, Namespace(cpu=True)).fit(data, data, 1)

    class Without(BaseModel):
        def init_model(self) -> None:  # type: ignore[override]
            super().init_model(nn.Linear(3, 1))

    with pytest.raises(DefinitionError, match="passed None as the criterion"):
        Without({}, Namespace(cpu=True))


def test_weights_hold_for_a_correlation_of_the_whole_set() -> None:
    model = fitted(type("Model", (OfDicts,), {"made_criterion": PearsonLoss()}), Dicts(Y, 8, WEIGHTS))
    predicted = model.predict([X])[:, 0].astype(np.float64)
    covariance = np.cov(predicted, Y[:, 0], aweights=WEIGHTS)
    r = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert model.history[-1]["val_loss"] == pytest.approx(1 - r, abs=1e-5)


def test_a_module_takes_weights_by_a_third_parameter() -> None:
    class Squares(nn.Module):
        def forward(self, input: Tensor, target: Tensor, weight: Tensor) -> Tensor:
            return ((input - target).square()[:, 0] * weight).sum() / weight.sum()

    model = fitted(type("Model", (OfDicts,), {"made_criterion": Squares()}), Dicts(Y, 8, WEIGHTS))
    expected = fitted(OfDicts, Dicts(Y, 8, WEIGHTS))
    assert model.history[-1]["val_loss"] == pytest.approx(expected.history[-1]["val_loss"], abs=1e-6)


def test_prepared_examples_have_the_weights_in_their_order() -> None:
    class Doubled(OfDicts):
        def prepare_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return torch.cat([x, x]), torch.cat([y, y])

    told = "prepare_batch returned 16 examples, and split_batch gave weights of 8: return as many"
    with pytest.raises(DefinitionError, match=told):
        fitted(Doubled, Dicts(Y, 8, WEIGHTS))
