"""Several labels an example: told from classes, trained one by one, and reported one by one and together."""

import math
from argparse import Namespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn, optim

from base_model import ClassificationModel, MultiLabelModel
from batch_generator import MatrixBatchGenerator
from helixband.errors import DataError, DefinitionError
from helixband.metrics import accuracy, auprc, auroc, class_index, per_class, per_label
from helixband.training import meters

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = (X[:, :3] + 0.5 * RNG.normal(size=(60, 3)) > 0).astype(np.float32)
SOME_MISSING = np.where(RNG.random(Y.shape) < 0.3, np.nan, Y).astype(np.float32)


def make(kind: type, criterion: Any = None, lr: float = 0.3, **attributes: Any) -> Any:
    def init_model(self: Any) -> None:
        network = nn.Linear(4, 3)
        kind.init_model(self, network, criterion, optim.Adam(network.parameters(), lr))

    torch.manual_seed(0)
    return type("Model", (kind,), {"init_model": init_model, **attributes})(
        {}, Namespace(cpu=True, batch_size=7)
    )


def data(y: Any, batch_size: int | None = 20) -> MatrixBatchGenerator:
    return MatrixBatchGenerator(X, y, batch_size, allow_nan=True)


# Models.


@pytest.mark.parametrize("criterion", [None, nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()])
def test_a_classification_refuses_several_labels_with_the_way_out(criterion: Any) -> None:
    message = r"Row \d+ of the labels is \[.*\]: it sums to [023], and has to sum to 1\. .* MultiLabelModel"
    with pytest.raises(DataError, match=message):
        make(ClassificationModel, criterion).fit(data(Y), data(Y), 1)
    with pytest.raises((DataError, DefinitionError)):
        make(ClassificationModel, criterion).evaluate(data(Y))


@pytest.mark.parametrize("row", [20, 39, 59])
def test_several_labels_are_refused_wherever_in_the_training_set_they_are(row: int) -> None:
    hot = np.eye(3, dtype=np.float32)[X[:, 0].argsort() % 3]
    several = hot.copy()
    several[row] = [1, 1, 0]
    model = make(ClassificationModel)
    with pytest.raises(
        DataError, match=r"is \[1\.0, 1\.0, 0\.0\].*rows are counted from batch 1 of the epoch"
    ):
        model.fit(data(several), data(hot), 1)
    assert model.history == []


def test_labels_are_checked_in_lots_as_the_epoch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    hot = np.eye(3, dtype=np.float32)[X[:, 0].argsort() % 3]
    model = make(ClassificationModel, check_labels=lambda self, y_true: given.append(y_true))
    model.fit(data(hot, 7), data(hot), 2)
    assert [len(part) for part in given] == [7, 53, 60, 60]  # a batch, the others, two validations
    monkeypatch.setattr(meters, "LOT_BYTES", 100)
    given.clear()
    model = make(ClassificationModel, check_labels=lambda self, y_true: given.append(y_true))
    model.fit(data(hot, 7), data(hot), 1)
    assert [len(part) for part in given] == [7, 14, 14, 14, 11, 60]
    assert np.concatenate(given[:-1]).tolist() == hot.tolist()


def test_one_hot_and_soft_labels_are_classes() -> None:
    hot = np.eye(3, dtype=np.float32)[X[:, 0].argsort() % 3]
    make(ClassificationModel).fit(data(hot), data(0.8 * hot + 0.2 / 3), 1)


@pytest.mark.parametrize("shape", [(60,), (60, 1)])
@pytest.mark.parametrize("value", [0.9, 1.5, -0.5])
def test_a_label_between_classes_is_refused_where_each_class_has_a_logit(shape: Any, value: float) -> None:
    labels = (np.arange(60) % 3).astype(np.float32)
    between = labels.copy()
    between[41] = value
    model = make(ClassificationModel)
    with pytest.raises(
        DataError,
        match=rf"one logit for each class, .* Row 21 of the labels is {value}\. For soft labels give",
    ):
        model.fit(data(between.reshape(shape)), data(labels.reshape(shape)), 1)
    with pytest.raises(DataError, match=rf"Row 41 of the labels is {value}\."):
        make(ClassificationModel, eval_metrics=lambda *_: {}).evaluate(data(between.reshape(shape)))
    make(ClassificationModel).fit(data(labels.reshape(shape)), data(labels.reshape(shape)), 1)


def test_the_probability_of_class_one_is_a_soft_label_of_one_logit() -> None:
    class Model(ClassificationModel):
        def init_model(self) -> None:
            network = nn.Linear(4, 1)
            super().init_model(network, optim.SGD(network.parameters(), lr=0.0))

    model = Model({}, Namespace(cpu=True, batch_size=7))
    soft = np.linspace(0.05, 0.95, 60, dtype=np.float32)
    found = model.evaluate(data(soft))["loss"]
    logits = model.network(torch.from_numpy(X))[:, 0].detach()
    expected = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(soft))
    assert found == pytest.approx(float(expected), rel=1e-6)
    assert model.evaluate(data(np.stack([1 - soft, soft], 1)))["loss"] == pytest.approx(found, rel=1e-6)


def test_each_label_is_learned_and_predicted_by_itself() -> None:
    model = make(MultiLabelModel)
    model.fit(data(Y), data(Y), 60)
    predicted = model.predict(X)
    assert predicted.shape == (60, 3)
    assert ((predicted > 0.5) == Y).mean() > 0.85
    assert not np.allclose(predicted.sum(axis=1), 1, atol=0.1)


def test_metrics_are_the_mean_the_median_and_those_of_each_label() -> None:
    model = make(MultiLabelModel, label_names=["CTCF", "MAX", "SP1"])
    found, predicted = model.evaluate(data(Y)), model.predict(X)
    each = [roc_auc_score(Y[:, k], predicted[:, k]) for k in range(3)]
    assert [found[f"auroc_{name}"] for name in ("CTCF", "MAX", "SP1")] == pytest.approx(each)
    assert (found["auroc"], found["auroc_median"]) == pytest.approx((np.mean(each), np.median(each)))
    each = [average_precision_score(Y[:, k], predicted[:, k]) for k in range(3)]
    assert (found["auprc"], found["auprc_median"]) == pytest.approx((np.mean(each), np.median(each)))
    assert found["accuracy"] == pytest.approx(((predicted > 0.5) == Y).mean())


def test_many_labels_are_not_listed_one_by_one() -> None:
    metrics = make(MultiLabelModel).eval_metrics(np.zeros((5, 21)), np.zeros((5, 21)))
    assert set(metrics) == {"accuracy", "auroc", "auroc_median", "auprc", "auprc_median"}


@pytest.mark.parametrize("pos_weight", [None, torch.tensor([1.0, 5.0, 0.2])])
@pytest.mark.parametrize("batch_size", [1, 20, None])
def test_missing_labels_count_for_nothing(pos_weight: Any, batch_size: int | None) -> None:
    model = make(MultiLabelModel, None if pos_weight is None else nn.BCEWithLogitsLoss(pos_weight=pos_weight))
    known = ~np.isnan(SOME_MISSING)
    with torch.no_grad():
        losses = nn.BCEWithLogitsLoss(pos_weight=pos_weight, reduction="none")(
            model.network(torch.from_numpy(X)), torch.from_numpy(np.where(known, SOME_MISSING, 0))
        ).numpy()
    found = model.evaluate(data(SOME_MISSING, batch_size))
    assert found["loss"] == pytest.approx(losses[known].mean(), rel=1e-6)
    history = model.fit(data(SOME_MISSING, batch_size), data(SOME_MISSING), 1)
    assert math.isfinite(history[0]["train_loss"])
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.network.parameters())


@pytest.mark.parametrize("labels", [Y, SOME_MISSING])
def test_the_loss_of_torch_gives_its_mean_to_a_model_that_adds_to_it(labels: Any) -> None:
    def compute_loss(self: Any, y_pred_loss: Any, y: Any) -> Any:
        return MultiLabelModel.compute_loss(self, y_pred_loss, y) + 0.1 * self.network.weight.square().sum()

    model = make(MultiLabelModel, nn.BCEWithLogitsLoss(), lr=0.0, compute_loss=compute_loss)
    plain = make(MultiLabelModel, nn.BCEWithLogitsLoss(), lr=0.0)
    penalty = 0.1 * model.network.weight.square().sum().item()
    for batch_size in (7, None):
        expected = plain.evaluate(data(labels, batch_size))["loss"] + penalty
        assert model.evaluate(data(labels, batch_size))["loss"] == pytest.approx(expected, rel=1e-6)
    history = model.fit(data(Y, 20), data(Y), 1)
    assert history[0]["train_loss"] == pytest.approx(plain.evaluate(data(Y))["loss"] + penalty, rel=1e-6)


def test_a_step_of_ones_own_takes_the_loss_of_several_labels() -> None:
    def train_step(self: Any, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad()
        output = self.forward(x)
        loss = self.compute_loss(output["y_pred_loss"], y)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), output["y_pred"].detach()

    own = make(MultiLabelModel, nn.BCEWithLogitsLoss(), train_step=train_step)
    usual = make(MultiLabelModel, nn.BCEWithLogitsLoss())
    own.fit(data(Y), data(Y), 2)
    usual.fit(data(Y), data(Y), 2)
    assert own.network.weight.tolist() == usual.network.weight.tolist()


def test_a_hook_on_the_loss_of_torch_is_called() -> None:
    criterion = nn.BCEWithLogitsLoss()
    plain = make(MultiLabelModel, nn.BCEWithLogitsLoss()).evaluate(data(Y))["loss"]
    criterion.register_forward_hook(lambda module, inputs, loss: 2 * loss)
    assert make(MultiLabelModel, criterion).evaluate(data(Y, 7))["loss"] == pytest.approx(2 * plain, rel=1e-6)


def test_labels_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(
        DataError, match="the labels hold 2; each has to be 0 or 1, or NaN where it is missing"
    ):
        make(MultiLabelModel).evaluate(data(2 * Y))


def test_another_number_of_labels_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"y has the shape \(20, 2\) and the prediction \(20, 3\)"):
        make(MultiLabelModel).fit(data(Y[:, :2]), data(Y[:, :2]), 1)


# Metrics.


def test_metrics_tell_labels_from_classes() -> None:
    y_true = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]])
    y_pred = np.array([[0.9, 0.4, 0.2], [0.1, 0.3, 0.3], [0.2, 0.1, 0.8], [0.3, 0.9, 0.7]])
    each = [roc_auc_score(y_true[:, k], y_pred[:, k]) for k in range(3)]
    assert auroc(y_true, y_pred) == pytest.approx(np.mean(each))
    each = [average_precision_score(y_true[:, k], y_pred[:, k]) for k in range(3)]
    assert auprc(y_true, y_pred) == pytest.approx(np.mean(each))
    assert accuracy(y_true, y_pred) == 10 / 12
    for metric in (class_index, lambda y: per_class(accuracy, y, y_pred)):
        with pytest.raises(
            DataError, match=r"row 0 of the labels is \[1, 1, 0\], which sums to 2: it is no class"
        ):
            metric(y_true)


def test_per_label_leaves_missing_labels_out() -> None:
    y_true = np.array([[1, np.nan], [0, np.nan], [np.nan, np.nan]])
    y_pred = np.array([[0.9, 0.1], [0.2, 0.1], [0.5, 0.5]])
    found = per_label(auroc, y_true, y_pred, names=["a", "b"])
    assert found["a"] == 1.0 and math.isnan(found["b"])
    with pytest.raises(DataError, match="there are 1 names for 2 labels"):
        per_label(auroc, y_true, y_pred, names=["a"])


def test_accuracy_is_the_mean_over_labels_everywhere() -> None:
    y_true = np.array([[1, np.nan], [0, np.nan], [1, np.nan], [1, 1]])
    y_pred = np.array([[0.9, 0.1], [0.2, 0.1], [0.6, 0.5], [0.1, 0.3]])
    assert accuracy(y_true, y_pred) == (3 / 4 + 0 / 1) / 2
    model = make(MultiLabelModel)
    assert model.eval_metrics(y_true, y_pred)["accuracy"] == accuracy(y_true, y_pred)
    assert model.train_metrics(y_true, y_pred)["accuracy"] == accuracy(y_true, y_pred)


def test_a_prediction_of_nan_makes_its_label_and_the_means_undefined() -> None:
    y_true, y_pred = Y[:20].copy(), np.tile(np.linspace(0.1, 0.9, 20)[:, None], 3)
    y_pred[3, 1] = np.nan
    found = make(MultiLabelModel).eval_metrics(y_true, y_pred)
    undefined = {
        "accuracy",
        "accuracy_label_1",
        "auroc",
        "auroc_median",
        "auroc_label_1",
        "auprc",
        "auprc_median",
        "auprc_label_1",
    }
    assert {name for name, value in found.items() if math.isnan(value)} == undefined
    y_true[3, 1] = np.nan  # of a label that is missing no prediction counts
    assert not any(math.isnan(v) for v in make(MultiLabelModel).eval_metrics(y_true, y_pred).values())


def test_one_label_may_be_flat() -> None:
    class Model(MultiLabelModel):
        def init_model(self) -> None:
            network = nn.Linear(4, 1)
            super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.1))

    found = [Model({}, Namespace(cpu=True)).fit(data(y), data(y), 1) for y in (Y[:, 0], Y[:, :1])]
    assert [set(rows[0]) for rows in found] == [set(found[0][0])] * 2


def test_soft_labels_count_as_the_likelier() -> None:
    soft = 0.2 + 0.6 * Y
    y_pred = RNG.random(Y.shape)
    assert auroc(soft, y_pred) == auroc(Y, y_pred)


def test_two_labels_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match="the names of the labels are a, a"):
        per_label(auroc, [[0, 1]], [[0.5, 0.5]], names=["a", "a"])
    with pytest.raises(DataError, match="the names of the classes are a, a"):
        per_class(auroc, [0, 1], [0.5, 0.5], names=["a", "a"])


SIGMOIDS = np.array([[0.9, 0.6], [0.2, 0.3], [0.7, 0.9]])
ONE_LABEL_EACH = np.array([[1, 0], [0, 1], [0, 1]])


@pytest.mark.parametrize("metric", [accuracy, auroc, auprc])
def test_a_batch_in_which_each_example_has_one_label_is_read_as_the_whole_set(metric: Any) -> None:
    each = per_label(metric, ONE_LABEL_EACH, SIGMOIDS)
    mean = np.nanmean(list(each.values()))
    assert metric(ONE_LABEL_EACH, SIGMOIDS) == pytest.approx(mean)
    assert metric(
        ONE_LABEL_EACH.astype(np.float32), SIGMOIDS[:, :, None].astype(np.float32)
    ) == pytest.approx(mean)
    of_three = (
        np.eye(3)[[0, 1, 2, 0]],
        np.array([[0.9, 0.6, 0], [0.2, 0.3, 0], [0.7, 0.9, 0.4], [0.2, 0.1, 0.9]]),
    )
    assert metric(*of_three) == pytest.approx(np.nanmean(list(per_label(metric, *of_three).values())))


def test_the_accuracy_of_several_labels_is_the_same_in_batches_of_any_size() -> None:
    model = make(MultiLabelModel)
    predicted = model.predict(X)
    whole = accuracy(Y, predicted)
    for rows in (1, 2, 5):
        batches = [slice(first, first + rows) for first in range(0, 60, rows)]
        assert np.mean([accuracy(Y[b], predicted[b]) for b in batches]) == pytest.approx(whole)


def test_class_probabilities_of_16_bits_are_of_classes() -> None:
    hot = np.eye(3)[X[:, 0].argsort() % 3]
    for dtype in (torch.float16, torch.bfloat16):
        predicted = torch.softmax(torch.from_numpy(X[:, :3]), 1).to(dtype).float().numpy()
        assert accuracy(hot, predicted) == accuracy(hot.argmax(1), predicted)


def test_per_class_refuses_several_labels_in_a_batch_with_one_label_each() -> None:
    with pytest.raises(DataError, match=r"those of y_pred do not sum to 1, .* use per_label\(metric"):
        per_class(auroc, ONE_LABEL_EACH, SIGMOIDS)
    assert per_class(auroc, ONE_LABEL_EACH.argmax(1), SIGMOIDS) == {"class_0": 1.0, "class_1": 0.5}


@pytest.mark.parametrize("metric", [accuracy, auroc, auprc])
def test_logits_of_several_labels_are_refused_where_one_hot_rows_are_read_otherwise(metric: Any) -> None:
    logits = np.array([[2.0, 0.5], [-1.0, -0.5], [0.5, 2.0]])
    with pytest.raises(
        DataError, match="y_pred holds 2, and has to hold the probabilities of several labels"
    ):
        metric([[1, 1], [0, 1], [0, 1]], logits)
    assert metric(ONE_LABEL_EACH, logits) == metric(ONE_LABEL_EACH.argmax(1), logits)


def test_the_accuracy_of_each_label_is_told() -> None:
    y_true = np.array([[0, 1, 1], [1, 1, np.nan], [1, 0, 0], [0, 0, 1]])
    y_pred = np.array([[0.1, 0.9, 0.8], [0.2, 0.7, 0.9], [0.9, 0.8, 0.1], [0.3, 0.1, 0.2]])
    found = make(MultiLabelModel).eval_metrics(y_true, y_pred)
    told = {name: value for name, value in found.items() if "accuracy" in name}
    each = {"accuracy_label_0": 0.75, "accuracy_label_1": 0.75, "accuracy_label_2": 2 / 3}
    assert told == pytest.approx({"accuracy": (0.75 + 0.75 + 2 / 3) / 3, **each})
