"""Models: what the definition gives, what training does with it, and that nothing else changes it."""

import math
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from base_model import (
    BaseModel,
    ClassificationModel,
    ConvClassificationNetwork,
    ConvRegressionNetwork,
    MultiLabelModel,
    RegressionModel,
)
from batch_generator import MatrixBatchGenerator
from constraints import MaxNormConstraint, UnitNorm
from helixband.errors import DataError, DefinitionError, StorageError, TrainingError
from helixband.losses import FocalLoss
from helixband.networks.one_hot import OneHot
from helixband.results.directory import Results
from helixband.training import keeper
from helixband.training.schedules import LinearSchedule

RNG = np.random.default_rng(0)
X = RNG.random((40, 3), dtype=np.float32)
Y = X.sum(axis=1)
ADAM = optim.Adam(nn.Linear(1, 1).parameters())
LABELS = (X[:, 0] > 0.5).astype(np.int64)


class Line(RegressionModel):
    """y = w x, from w = 0, by plain gradient descent: its numbers can be worked out by hand."""

    def init_model(self) -> None:
        network = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(network.weight)
        super().init_model(network, optimizer=optim.SGD(network.parameters(), lr=self.config.get("lr", 0.5)))


class Regressor(RegressionModel):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        super().init_model(network, optimizer=optim.Adam(network.parameters(), lr=0.01))


class Classifier(ClassificationModel):
    def init_model(self) -> None:
        network = nn.Linear(3, self.config.get("logits", 2))
        super().init_model(network, optimizer=optim.SGD(network.parameters(), lr=0.5))


def seeded(kind: type[BaseModel], config: dict[str, Any] | None = None, **args: Any) -> BaseModel:
    torch.manual_seed(0)
    return kind(config or {}, Namespace(**args))


def train_and_val() -> tuple[MatrixBatchGenerator, MatrixBatchGenerator]:
    return MatrixBatchGenerator(X, Y, 8, shuffle=True), MatrixBatchGenerator(X[:16], Y[:16])


def weights(model: BaseModel) -> list[Tensor]:
    return [tensor.clone() for tensor in model.network.state_dict().values()]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(left, right, strict=True))


# One epoch, by hand.


def test_an_epoch_of_two_steps_by_hand() -> None:
    # x = 1, y = 1 twice. Step 1: w = 0, loss 1, gradient -2, w = 1. Step 2: loss 0. Validation: loss 0.
    ones = np.ones((2, 1), dtype=np.float32)
    history = Line().fit(MatrixBatchGenerator(ones, ones, 1), MatrixBatchGenerator(ones, ones), epochs=1)

    assert len(history) == 1
    row = history[0]
    assert (row["epoch"], row["train_loss"], row["train_mse"]) == (1, 0.5, 0.5)
    assert (row["val_loss"], row["val_mse"], row["reward"]) == (0.0, 0.0, 0.0)
    assert math.isnan(row["val_pearson"])  # of a constant


def test_means_over_batches_are_weighted_by_their_sizes() -> None:
    x, y = np.zeros((3, 1), dtype=np.float32), np.array([1, 1, 4], dtype=np.float32)
    history = Line().fit(MatrixBatchGenerator(x, y, 2), MatrixBatchGenerator(x, y, 2), epochs=1)
    assert history[0]["train_loss"] == history[0]["val_loss"] == 6.0  # (1 + 1 + 16) / 3


def test_a_schedule_sets_the_learning_rate_of_each_epoch_and_reads_as_its_value_of_the_moment() -> None:
    seen: list[tuple[float, float]] = []

    class Watched(Line):
        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            assert self.optimizer is not None
            seen.append((self.optimizer.param_groups[0]["lr"], self.config["lr"]))
            return super().train_step(x, y)

    model = Watched({"lr": LinearSchedule(start=0.4, end=0.1, duration=3)})
    x = np.ones((2, 1), dtype=np.float32)
    model.fit(MatrixBatchGenerator(x, x, 1), MatrixBatchGenerator(x, x), epochs=4)
    assert [rate for rate, _ in seen] == pytest.approx([0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1])
    assert all(rate == read for rate, read in seen)


def test_a_schedule_by_step_moves_within_the_epoch() -> None:
    rates: list[float] = []

    class Watched(Line):
        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            rates.append(self.config["lr"])
            return super().train_step(x, y)

    model = Watched({"lr": LinearSchedule(start=0.4, end=0.0, duration=4, unit="step")})
    x = np.ones((2, 1), dtype=np.float32)
    model.fit(MatrixBatchGenerator(x, x, 1), MatrixBatchGenerator(x, x), epochs=2)
    assert rates == pytest.approx([0.4, 0.3, 0.2, 0.1])


def level(input: Tensor, target: Tensor) -> Tensor:
    """A loss that nothing lowers."""
    return 0 * input.mean()


@pytest.mark.parametrize("plateau", [False, True])
def test_a_scheduler_steps_after_each_epoch(plateau: bool) -> None:
    class Scheduled(Line):
        def init_model(self) -> None:
            network = nn.Linear(1, 1)
            optimizer = optim.SGD(network.parameters(), lr=1.0)
            scheduler: Any = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
            if plateau:
                scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
            BaseModel.init_model(self, network, level, optimizer, scheduler=scheduler)

    model = Scheduled()
    x = np.zeros((2, 1), dtype=np.float32)
    model.fit(MatrixBatchGenerator(x, x), MatrixBatchGenerator(x, x), epochs=3)
    assert model.optimizer is not None
    assert model.optimizer.param_groups[0]["lr"] == (0.25 if plateau else 0.125)


def test_constraints_hold_after_each_step() -> None:
    norms: list[float] = []

    class Bounded(Line):
        def init_model(self) -> None:
            network = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))
            bound = MaxNormConstraint(0.1, "1")
            optimizer = optim.SGD(network.parameters(), lr=5.0)
            BaseModel.init_model(self, network, nn.MSELoss(), optimizer, constraints=[bound])

        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            result = super().train_step(x, y)
            norms.append(self.network.get_parameter("1.weight").norm().item())
            return result

    x = np.ones((4, 1), dtype=np.float32)
    Bounded().fit(MatrixBatchGenerator(x, x, 1), MatrixBatchGenerator(x, x), epochs=1)
    assert len(norms) == 4 and max(norms) <= 0.1 + 1e-6


# Modes.


def test_each_step_sets_its_own_mode() -> None:
    modes: list[str] = []

    class Probe(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            modes.append("train" if self.training else "eval")
            return super().forward(x)

    class Probed(RegressionModel):
        def init_model(self) -> None:
            network = nn.Sequential(Probe(3, 1))
            super().init_model(network, optimizer=optim.SGD(network.parameters(), lr=0.1))

        def train_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            self.network[0].eval()  # a stale mode that the next step has to undo
            return {}

    model = Probed()
    model.fit(MatrixBatchGenerator(X, Y, 20), MatrixBatchGenerator(X, Y), epochs=2)
    model.predict(X)
    assert modes == ["train", "train", "eval"] * 2 + ["eval"]


def test_steps_of_a_definitions_own_have_their_modes_too() -> None:
    modes: list[str] = []

    class Probe(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            modes.append("train" if self.training else "eval")
            return super().forward(x)

    class Own(RegressionModel):
        def init_model(self) -> None:
            network = nn.Sequential(Probe(3, 1))
            super().init_model(network, optimizer=optim.SGD(network.parameters(), lr=0.1))

        def train_step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            loss, y_pred = self.eval_step(x, y)
            self.backward(loss)
            self.optimizer_step()
            return loss.detach(), y_pred.detach()

        def eval_step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            output = self.forward(x)
            return self.compute_loss(output["y_pred_loss"], y), output["y_pred"]

        def predict_step(self, x: Tensor) -> Tensor:
            return self.forward(x)["y_pred"]

    Own().predict(X)  # of a network that was only made
    model = Own()
    model.fit(MatrixBatchGenerator(X, Y, 20), MatrixBatchGenerator(X, Y), epochs=2)
    model.predict(X)
    assert modes == ["eval", *["train", "train", "eval"] * 2, "eval"]


def test_evaluation_and_prediction_change_nothing() -> None:
    model = seeded(Regressor)
    before, state = weights(model), torch.get_rng_state()
    first = model.predict(X), model.evaluate(MatrixBatchGenerator(X, Y))
    assert same(before, weights(model))
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(first[0], model.predict(X))


def test_a_network_that_works_in_place_does_not_change_the_data() -> None:
    class Model(RegressionModel):
        def init_model(self) -> None:
            network = nn.Sequential(nn.Hardtanh(0.0, 0.1, inplace=True), nn.Linear(3, 1))
            super().init_model(network, optimizer=optim.SGD(network.parameters(), lr=0.1))

    x = X.copy()
    model, generator = Model(), MatrixBatchGenerator(x, Y, 8)
    model.fit(generator, generator, epochs=1)
    model.predict(x)
    np.testing.assert_array_equal(x, X)


# Invariances.


@pytest.mark.parametrize("batch_size", [1, 7, 40, None])
def test_predictions_and_metrics_do_not_depend_on_the_batch_size(batch_size: int | None) -> None:
    model = seeded(Regressor)
    np.testing.assert_allclose(
        model.predict(MatrixBatchGenerator(X, batch_size=batch_size)), model.predict(X), 1e-5
    )
    whole = model.evaluate(MatrixBatchGenerator(X, Y))
    assert model.evaluate(MatrixBatchGenerator(X, Y, batch_size)) == pytest.approx(whole, rel=1e-5)


def test_a_large_batch_is_evaluated_in_pieces() -> None:
    rows: list[int] = []

    class Counted(Regressor):
        def predict_step(self, x: Any) -> Any:
            rows.append(len(x))
            return super().predict_step(x)

    wide = np.zeros((300_000, 3), dtype=np.float32)
    assert seeded(Counted, cpu=True).predict(wide).shape == (300_000, 1)
    assert sum(rows) == 300_000
    assert max(rows) == (1 << 18) // 12  # a quarter of a mebibyte of rows of 12 bytes


def test_predictions_keep_the_order_of_the_data() -> None:
    x = np.arange(10, dtype=np.float32).reshape(-1, 1)
    model = Line()
    nn.init.ones_(model.network.get_parameter("weight"))
    assert model.predict(MatrixBatchGenerator(x, batch_size=3)).tolist() == x.tolist()


# Going on, the best and the last.


def test_training_in_two_parts_is_training_in_one() -> None:
    whole, parts = seeded(Regressor), seeded(Regressor)
    torch.manual_seed(1)
    whole.fit(*train_and_val(), epochs=4)
    torch.manual_seed(1)
    parts.fit(*train_and_val(), epochs=2)
    torch.manual_seed(2)  # what others draw in between makes no difference
    parts.fit(*train_and_val(), epochs=4)
    assert parts.history == whole.history
    assert same(weights(parts), weights(whole))


def test_a_training_goes_on_from_the_files_of_its_trial(tmp_path: Path) -> None:
    trial = Results(tmp_path).trial("0")
    whole, first, second = seeded(Regressor), seeded(Regressor), seeded(Regressor)
    torch.manual_seed(1)
    whole.fit(*train_and_val(), epochs=4)
    torch.manual_seed(1)
    first.fit(*train_and_val(), epochs=2, trial=trial)
    second.fit(*train_and_val(), epochs=4, trial=trial)
    assert second.history == whole.history
    assert same(weights(second), weights(whole))


def test_after_fit_the_model_has_the_weights_of_its_best_epoch() -> None:
    class Rewarded(Regressor):
        rewards = iter([0.1, 0.9, 0.3])

        def get_hyperband_reward(self, result: Any) -> float:
            assert set(result) == {"train_loss", "train_mse", "val_loss", "val_mse", "val_pearson"}
            return next(self.rewards)

    model = seeded(Rewarded)
    after_epoch: list[list[Tensor]] = []
    model.fit(*train_and_val(), epochs=3, on_epoch=lambda row: after_epoch.append(weights(model)))
    assert (model.best_epoch, model.best_reward) == (2, 0.9)
    assert same(weights(model), after_epoch[1])


def test_an_error_keeps_the_epochs_before_it(tmp_path: Path) -> None:
    class Failing(Regressor):
        def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            if self.epoch == 2:
                raise KeyboardInterrupt
            return {}

    trial = Results(tmp_path).trial("0")
    with pytest.raises(KeyboardInterrupt):
        seeded(Failing).fit(*train_and_val(), epochs=5, trial=trial)
    assert trial.epochs() == 2
    assert torch.load(trial.last_checkpoint)["epoch"] == 2


def test_checkpoints_are_written_at_the_end_where_epochs_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[list[str]] = []
    monkeypatch.setattr(
        keeper.checkpoints, "save_together", lambda files: writes.append([f.name for f in files])
    )
    monkeypatch.setattr(keeper, "FIRST_COST", 10.0)
    seeded(Regressor).fit(*train_and_val(), epochs=5, trial=Results(tmp_path).trial("0"))
    assert writes == [["best.pt", "last.pt"]]


def test_weights_are_saved_and_loaded(tmp_path: Path) -> None:
    model, other = seeded(Regressor), Regressor()
    model.save(tmp_path / "weights.pt")
    assert not same(weights(model), weights(other))
    other.load(tmp_path / "weights.pt")
    assert same(weights(model), weights(other))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    seeded(Classifier).save(tmp_path / "weights.pt")
    with pytest.raises(StorageError, match=r"weights.pt does not fit the network"):
        seeded(Regressor).load(tmp_path / "weights.pt")


# Outputs and criteria.


def test_a_network_may_give_one_output_to_the_metrics_and_another_to_the_loss() -> None:
    class TwoFaced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y_pred": x[:, 0] * 10, "y_pred_loss": x[:, 0] * self.weight}

    class Model(BaseModel):
        def init_model(self) -> None:
            network = TwoFaced()
            super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), lr=0.1))

        def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            return {"sum": y_pred.sum()}

    x, y = np.ones((2, 1), dtype=np.float32), np.zeros(2, dtype=np.float32)
    assert Model().evaluate(MatrixBatchGenerator(x, y)) == {"loss": 1.0, "sum": 20.0}
    assert Model().predict(x).tolist() == [10.0, 10.0]


def difference_by_name(y_true: Tensor, y_pred: Tensor) -> Tensor:
    return (y_true - y_pred).mean()


def difference_by_other_names(input: Tensor, target: Tensor) -> Tensor:
    return (target - input).mean()


@pytest.mark.parametrize("criterion", [difference_by_name, difference_by_other_names])
def test_a_criterion_is_called_by_its_names_or_as_torch_does(criterion: Any) -> None:
    class Model(BaseModel):
        def init_model(self) -> None:
            super().init_model(nn.Identity(), criterion)

    x, y = np.full((2, 1), 3.0), np.full((2, 1), 5.0)
    assert Model().evaluate(MatrixBatchGenerator(x, y)) == {"loss": 2.0}


def test_batches_may_be_dicts() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return self.scale * (x["left"] + x["right"])

    class Model(RegressionModel):
        def init_model(self) -> None:
            network = Sum()
            super().init_model(network, optimizer=optim.SGD(network.parameters(), lr=0.1))

    parts = {"left": X[:, 0], "right": X[:, 1]}
    model = Model()
    np.testing.assert_allclose(model.predict(MatrixBatchGenerator(parts, batch_size=9)), X[:, 0] + X[:, 1])
    history = model.fit(MatrixBatchGenerator(parts, Y, 8), MatrixBatchGenerator(parts, Y), epochs=3)
    assert history[2]["train_loss"] < history[0]["train_loss"]


class Own:
    """A generator of the user's."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        yield X[:25], Y[:25]
        yield X[25:], Y[25:]


@pytest.mark.parametrize(
    "generator", [Own(), DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=16)]
)
def test_any_iterable_of_batches_is_a_generator(generator: Any) -> None:
    model = seeded(Regressor)
    assert model.evaluate(generator) == pytest.approx(model.evaluate(MatrixBatchGenerator(X, Y)), rel=1e-5)
    model.fit(generator, generator, epochs=1)


def test_a_loader_of_x_alone_is_predicted_on() -> None:
    model = seeded(Regressor)
    loader = DataLoader(TensorDataset(torch.from_numpy(X)), batch_size=16)
    np.testing.assert_allclose(model.predict(loader), model.predict(X), rtol=1e-5)


def test_a_batch_for_prediction_may_say_that_it_has_no_labels() -> None:
    model = seeded(Regressor)
    assert np.array_equal(model.predict([(X[:20], None), (X[20:], None)]), model.predict(X))


def test_prediction_leaves_labels_aside() -> None:
    model = seeded(Regressor)
    np.testing.assert_array_equal(model.predict(MatrixBatchGenerator(X, Y)), model.predict(X))


# Regression and classification.


def test_labels_in_a_column_and_in_a_row_are_the_same_to_a_regression() -> None:
    model = seeded(Regressor)
    row, column = MatrixBatchGenerator(X, Y), MatrixBatchGenerator(X, Y.reshape(-1, 1))
    assert model.evaluate(row) == model.evaluate(column)


@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS.astype(np.float64), LABELS.astype(np.uint8), LABELS.reshape(-1, 1), np.eye(2)[LABELS]],
    ids=["int64", "float64", "uint8", "column", "one-hot"],
)
@pytest.mark.parametrize("logits", [1, 2])
def test_two_classes_in_any_usual_form(labels: Any, logits: int) -> None:
    model = seeded(Classifier, {"logits": logits})
    generator = MatrixBatchGenerator(X, labels, 8)
    reference = model.evaluate(MatrixBatchGenerator(X, LABELS))
    assert model.evaluate(generator) == pytest.approx(reference)
    history = model.fit(generator, generator, epochs=20)
    assert history[-1]["val_auroc"] > 0.95
    assert model.predict(X).shape == (40,)  # P(class 1)
    assert np.corrcoef(model.predict(X), LABELS)[0, 1] > 0.5


def test_two_logits_and_the_one_that_is_their_difference_have_the_same_loss() -> None:
    two, one = seeded(Classifier, {"logits": 2}), seeded(Classifier, {"logits": 1})
    weight, bias = two.network.get_parameter("weight").data, two.network.get_parameter("bias").data
    one.network.load_state_dict({"weight": weight[1:] - weight[:1], "bias": bias[1:] - bias[:1]})
    generator = MatrixBatchGenerator(X, LABELS)
    assert one.evaluate(generator) == pytest.approx(two.evaluate(generator), rel=1e-5)


def test_more_classes_than_two() -> None:
    labels = X.argmax(axis=1)
    model = seeded(Classifier, {"logits": 3})
    generator = MatrixBatchGenerator(X, labels, 8)
    history = model.fit(generator, generator, epochs=50)
    assert history[-1]["val_accuracy"] > 0.8
    probabilities = model.predict(X)
    assert probabilities.shape == (40, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_conv_networks_flatten_features_for_their_heads() -> None:
    x = torch.zeros(5, 4, 30)
    features = nn.Sequential(nn.Conv1d(4, 6, 3), nn.AdaptiveMaxPool1d(2))
    assert ConvRegressionNetwork(features, nn.Linear(12, 1))(x).shape == (5,)
    assert ConvRegressionNetwork(features, nn.Linear(12, 3))(x).shape == (5, 3)
    two = ConvClassificationNetwork(features, nn.Linear(12, 2))(x)
    assert (two["y_pred"].shape, two["y_pred_loss"].shape) == ((5,), (5, 2))
    three = ConvClassificationNetwork(features, nn.Linear(12, 3))(x)
    assert three["y_pred"].shape == (5, 3)
    assert torch.equal(three["y_pred"], F.softmax(three["y_pred_loss"], dim=1))


# Monte Carlo dropout.


def test_dropout_left_on_gives_a_mean_and_a_spread() -> None:
    model = seeded(Regressor)
    mean, spread = model.predict_mc(MatrixBatchGenerator(X), samples=30)
    assert mean.shape == spread.shape == (40, 1)
    assert spread.min() > 0
    assert np.abs(mean - model.predict(X)).max() < 4 * spread.max() / math.sqrt(30)
    np.testing.assert_array_equal(model.predict(X), model.predict(X))  # and off again


def test_evaluation_with_dropout_left_on_tells_the_spread_of_each_metric() -> None:
    torch.manual_seed(0)
    result = seeded(Regressor).evaluate_mc(MatrixBatchGenerator(X, Y), samples=5)
    assert list(result) == ["loss", "mse", "pearson", "loss_std", "mse_std", "pearson_std"]
    assert result["loss_std"] > 0


def test_the_loss_of_monte_carlo_passes_is_that_of_the_mean_prediction() -> None:
    torch.manual_seed(0)
    result = seeded(Regressor).evaluate_mc(MatrixBatchGenerator(X, Y, 7), samples=5)
    assert result["loss"] == pytest.approx(result["mse"], rel=1e-6)


@pytest.mark.parametrize("own", ["logits", "eval_step", "compute_loss"])
def test_the_loss_is_the_mean_over_passes_where_a_mean_prediction_has_none(own: str) -> None:
    class Doubled(Regressor):
        pass

    if own == "logits":
        Doubled.forward = lambda self, x: {"y_pred": 2 * (out := self.network(x)), "y_pred_loss": out}
    elif own == "eval_step":
        Doubled.eval_step = lambda self, x, y: Regressor.eval_step(self, x, y)
    else:
        Doubled.compute_loss = lambda self, y_pred_loss, y: (y_pred_loss - y[:, None]).square().mean()
    model, data = seeded(Doubled), MatrixBatchGenerator(X, Y)
    torch.manual_seed(1)
    with model.engine.modes.dropout_left_on():
        losses = [model.evaluate(data)["loss"] for _ in range(5)]
    torch.manual_seed(1)
    assert model.evaluate_mc(data, samples=5)["loss"] == pytest.approx(np.mean(losses), rel=1e-9)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(1, 4, num_layers=2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.unsqueeze(2))[0][:, -1])


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(x, 0.5, training=self.training))


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(3, 1, dropout=0.3, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(nn.Unflatten(1, (1, 3)), encoder, nn.Flatten(), nn.Linear(3, 1))


@pytest.mark.parametrize("network", [Recurrent, Functional, attention])
def test_dropout_of_every_kind_is_left_on(network: Any) -> None:
    class Model(RegressionModel):
        def init_model(self) -> None:
            super().init_model(network())

    _, spread = seeded(Model).predict_mc(MatrixBatchGenerator(X), samples=5)
    assert spread.min() > 0


def test_batch_norm_is_not_touched_by_monte_carlo_passes() -> None:
    model = seeded(Regressor)
    before = weights(model)
    model.predict_mc(MatrixBatchGenerator(X), samples=3)
    assert same(before, weights(model))


def test_without_dropout_there_is_nothing_to_sample() -> None:
    with pytest.raises(DefinitionError, match="3 passes with dropout left on are all alike"):
        seeded(Classifier).predict_mc(MatrixBatchGenerator(X), samples=3)


# What goes wrong.


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_batch() -> None:
    with pytest.raises(TrainingError, match=r"the loss is inf from batch 1 of the epoch on.*learning rate"):
        x = np.full((4, 1), 1e18, dtype=np.float32)
        Line().fit(MatrixBatchGenerator(x, x, 2), MatrixBatchGenerator(x, x), epochs=1)


def test_nan_in_the_data_of_another_generator_is_found() -> None:
    x = X.copy()
    x[30, 1] = np.nan
    batches = [(x[:20], Y[:20]), (x[20:], Y[20:])]
    with pytest.raises(TrainingError, match=r"the loss is nan from batch 1.*x of batch 1 holds NaN"):
        seeded(Regressor).fit(batches, batches, epochs=1)


def test_sizes_that_torch_would_broadcast_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"y has the shape \(40, 3\) and the prediction \(40, 1\)"):
        seeded(Regressor).evaluate(MatrixBatchGenerator(X, X))


def test_a_batch_that_is_no_pair_is_refused() -> None:
    with pytest.raises(DataError, match="MatrixBatchGenerator has no labels"):
        seeded(Regressor).evaluate(MatrixBatchGenerator(X))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "get_hyperband_reward is None"),
        ("high", "get_hyperband_reward is 'high'; it has to be a number"),
    ],
)
def test_a_reward_has_to_be_a_number(value: Any, message: str) -> None:
    class Model(Regressor):
        def get_hyperband_reward(self, result: Any) -> Any:
            return value

    with pytest.raises(DefinitionError, match=message):
        seeded(Model).fit(*train_and_val(), epochs=1)


def test_a_forward_pass_that_fails_tells_the_shapes_it_was_given() -> None:
    with pytest.raises(RuntimeError) as caught:
        seeded(Regressor).predict(np.zeros((2, 7), dtype=np.float32))
    assert caught.value.__notes__ == [
        "in the forward pass of Sequential, in 0 (Linear(in_features=3, out_features=8, "
        "bias=True)); x has the shape (2, 7), torch.float32"
    ]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ((nn.Linear(1, 1), nn.MSELoss(), "adam"), "passed 'adam' as the optimizer"),
        ((nn.Linear(1, 1), 3), "passed 3 as the criterion"),
        ((nn.Linear(1, 1), ADAM, ADAM), r"passed Adam\(…\) as the criterion"),
        ((nn.Linear(1, 1), nn.MSELoss(), [ADAM]), r"passed list\(…\) as the optimizer"),
        (([nn.Linear(1, 1)],), r"passed \[Linear.* as the network"),
    ],
)
def test_a_part_of_another_kind_is_named(parts: tuple[Any, ...], told: str) -> None:
    class Model(RegressionModel):
        def init_model(self) -> None:
            super().init_model(*parts)

    with pytest.raises(DefinitionError, match=f"Model.init_model {told}"):
        Model()


@pytest.mark.parametrize("base", [RegressionModel, ClassificationModel, MultiLabelModel])
def test_models_with_a_criterion_of_their_own_take_the_network_and_the_optimizer(base: Any) -> None:
    class Model(base):  # type: ignore[misc]
        def init_model(self) -> None:
            network = nn.Linear(3, 1)
            super().init_model(network, optim.SGD(network.parameters(), 0.1), constraints=[UnitNorm()])

    model = Model()

    assert isinstance(model.optimizer, optim.SGD)
    assert model.criterion is model.default_criterion
    assert model.engine.after_update


def test_a_base_model_has_no_criterion_of_its_own() -> None:
    class Model(BaseModel):
        def init_model(self) -> None:
            super().init_model(nn.Linear(1, 1), ADAM)

    with pytest.raises(DefinitionError, match=r"Model.init_model passed Adam\(…\) as the criterion"):
        Model()


class Letters(nn.Module):
    """Filters of one-hot letters, and a classifier of the wrong size where `size` is not 16."""

    def __init__(self, first: nn.Module, size: int) -> None:
        super().__init__()
        self.first = first
        self.classifier = nn.Sequential(nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(size, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.classifier(self.first(x))
        return output


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (
            nn.Sequential(OneHot(), nn.Conv1d(4, 16, 3)),
            "in the forward pass of Letters, in classifier.2 (Linear(in_features=10, out_features=2, "
            "bias=True)), "
            "whose input has the shape (5, 16), torch.float32; x has the shape (5, 60), torch.uint8",
        ),
        (
            nn.Conv1d(60, 16, 1),
            "in the forward pass of Letters, in first (Conv1d(60, 16, kernel_size=(1,), stride=(1,))); "
            "x has the shape (5, 60), torch.uint8: indexes of "
            "letters, which OneHot() as the first layer takes",
        ),
    ],
)
def test_a_layer_that_fails_is_told_with_its_input(first: nn.Module, told: str) -> None:
    class Model(ClassificationModel):
        def init_model(self) -> None:
            super().init_model(Letters(first, 10))

    with pytest.raises(RuntimeError) as caught:
        Model().predict(np.zeros((5, 60), dtype=np.uint8))
    assert caught.value.__notes__ == [told]


def test_a_forward_of_ones_own_that_fails_is_told_as_the_layer() -> None:
    class Halves(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(len(x), 2, 3)

    class Model(RegressionModel):
        def init_model(self) -> None:
            super().init_model(nn.Sequential(nn.Linear(3, 4), nn.Sequential(Halves())))

    with pytest.raises(RuntimeError) as caught:
        Model().predict(np.zeros((5, 3), dtype=np.float32))
    assert caught.value.__notes__ == [
        "in the forward pass of Sequential, in 1.0 (Halves()), whose input has the shape (5, 4), "
        "torch.float32; x has the shape (5, 3), torch.float32"
    ]


def test_a_criterion_that_fails_tells_the_shapes_it_was_given() -> None:
    class Model(BaseModel):
        def init_model(self) -> None:
            super().init_model(nn.Linear(3, 2), nn.CrossEntropyLoss())

    with pytest.raises(RuntimeError) as caught:
        Model().evaluate(MatrixBatchGenerator(X, Y))
    assert caught.value.__notes__ == [
        "in the criterion; its input has the shape (40, 2), torch.float32; its target has the shape "
        "(40,), torch.float32"
    ]


def test_an_optimizer_is_needed_for_training_alone() -> None:
    class Model(RegressionModel):
        def init_model(self) -> None:
            super().init_model(nn.Linear(3, 1))

    assert Model().predict(X).shape == (40, 1)
    with pytest.raises(DefinitionError, match="Model.init_model passed no optimizer"):
        Model().fit(*train_and_val(), epochs=1)


def test_init_model_has_to_end_in_that_of_the_base_class() -> None:
    class Model(BaseModel):
        def init_model(self) -> None:
            pass

    with pytest.raises(DefinitionError, match=r"Model.init_model has to end in super\(\).init_model"):
        Model()


@pytest.mark.parametrize(
    ("label", "criterion"), [(3, nn.CrossEntropyLoss()), (-1, nn.CrossEntropyLoss()), (3, FocalLoss())]
)
def test_a_label_of_no_class_is_refused_with_its_row(label: int, criterion: nn.Module) -> None:
    class Model(ClassificationModel):
        def init_model(self) -> None:
            network = nn.Linear(2, 3)
            super().init_model(network, criterion, optim.Adam(network.parameters()))

    data = MatrixBatchGenerator(np.zeros((4, 2), np.float32), np.array([0, 2, label, 1]))
    told = rf"row 2 of the labels is {label}, and the network tells apart 3 classes, 0 to 2"
    with pytest.raises(DataError, match=told):
        Model().evaluate(data)
    with pytest.raises(DataError, match=told):
        Model().fit(data, data, 1)
