"""Metrics of training computed where the predictions are: those of NumPy to rounding, of each batch."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim

from base_model import BaseModel, ClassificationModel, MultiLabelModel, RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband import metrics
from helixband.errors import DataError
from helixband.training import judge, meters
from helixband.training.batch_metrics import ACCURACY, LABEL_ACCURACY, MSE, DeviceMeter, OfBatches

NAN = math.nan


def of_labels(y_true: Any, y_pred: Any) -> float:
    return metrics.over_labels(metrics.accuracy, y_true, y_pred).mean


def on_device(metric: OfBatches, y_true: Any, y_pred: Any) -> list[float] | None:
    found = metric.on_device(np.array(y_true), torch.tensor(y_pred))
    return None if found is None else found[metric.name].tolist()


def test_values_of_batches() -> None:
    assert on_device(MSE, [[1.0, 2.0], [0.0, NAN], [NAN, NAN]], [[1.0, 4.0], [3.0, 1.0], [1.0, 1.0]]) == [
        2.0,
        9.0,
        pytest.approx(NAN, nan_ok=True),
    ]
    assert on_device(ACCURACY, [[0, 1], [1, 1]], [[0.2, 0.7], [0.4, 0.8]]) == [1.0, 0.5]
    assert on_device(ACCURACY, [[2, 0]], [[[0.1, 0.2, 0.7], [0.3, 0.4, 0.3]]]) == [0.5]
    assert on_device(LABEL_ACCURACY, [[[0, 1.0], [1, NAN]]], [[[0.2, 0.4], [0.9, 0.1]]]) == [0.5]


RNG = np.random.default_rng(0)


def softmax(*shape: int) -> Any:
    pred = RNG.random(shape).astype(np.float32)
    return pred / pred.sum(axis=-1, keepdims=True)


def lost(pred: Any) -> Any:
    pred = pred.copy()
    pred[1, 2] = NAN
    return pred


def one_hot(*shape: int) -> Any:
    return np.eye(3)[RNG.integers(0, 3, shape)]


def with_missing(true: Any) -> Any:
    true = true.astype(np.float64)
    true[0, 1, 0] = true[2, :, 1] = NAN
    return true


@pytest.mark.parametrize(
    ("metric", "plain", "y_true", "y_pred"),
    [
        (MSE, metrics.mse, RNG.normal(size=(4, 7, 1)), RNG.normal(size=(4, 7, 1)).astype(np.float32)),
        (MSE, metrics.mse, RNG.normal(size=(4, 7)), RNG.normal(size=(4, 7, 1)).astype(np.float16)),
        (MSE, metrics.mse, with_missing(RNG.normal(size=(4, 7, 2))), RNG.normal(size=(4, 7, 2))),
        (MSE, metrics.mse, RNG.integers(0, 9, (4, 7)), lost(RNG.normal(size=(4, 7)))),
        (ACCURACY, metrics.accuracy, RNG.integers(0, 2, (4, 7)), RNG.random((4, 7, 1))),
        (ACCURACY, metrics.accuracy, RNG.integers(0, 2, (4, 7, 1)), softmax(4, 7, 2)),
        (ACCURACY, metrics.accuracy, RNG.integers(0, 3, (4, 7)), lost(softmax(4, 7, 3))),
        (ACCURACY, metrics.accuracy, RNG.random((4, 7)), lost(RNG.random((4, 7)))),
        (ACCURACY, metrics.accuracy, one_hot(4, 7), softmax(4, 7, 3)),
        (ACCURACY, metrics.accuracy, softmax(4, 7, 3), softmax(4, 7, 3)),
        (ACCURACY, metrics.accuracy, one_hot(4, 7), RNG.random((4, 7, 3))),  # of several labels
        (ACCURACY, metrics.accuracy, one_hot(4, 7), 9 * RNG.normal(size=(4, 7, 3))),
        (LABEL_ACCURACY, of_labels, RNG.integers(0, 2, (4, 7, 3)), RNG.random((4, 7, 3))),
        (LABEL_ACCURACY, of_labels, with_missing(RNG.integers(0, 2, (4, 7, 2))), lost(RNG.random((4, 7, 2)))),
        (LABEL_ACCURACY, of_labels, np.full((4, 7, 2), NAN), RNG.random((4, 7, 2))),
    ],
)
def test_values_are_those_of_each_batch_by_numpy(
    metric: OfBatches, plain: Any, y_true: Any, y_pred: Any
) -> None:
    expected = [plain(*batch) for batch in zip(y_true, y_pred, strict=True)]
    assert on_device(metric, y_true, y_pred) == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("metric", "y_true", "y_pred"),
    [
        (MSE, [[1.0, 2.0]], [[[1.0, 2.0], [1.0, 2.0]]]),
        (ACCURACY, [[[1, 1], [0, 1]]], [[[0.5, 0.5], [0.5, 0.5]]]),  # several labels an example
        (LABEL_ACCURACY, [[[1.0, 0.0]]], [[[0.5, 0.5, 0.1]]]),
    ],
)
def test_what_is_not_known_is_left_to_the_host(metric: OfBatches, y_true: Any, y_pred: Any) -> None:
    assert on_device(metric, y_true, y_pred) is None


def test_labels_that_are_wrong_raise() -> None:
    with pytest.raises(DataError, match="y_true holds the class 3"):
        on_device(ACCURACY, [[0, 3]], [[[0.1, 0.2, 0.7], [0.3, 0.4, 0.3]]])
    with pytest.raises(DataError, match="the labels hold 2; each has to be 0 or 1"):
        on_device(LABEL_ACCURACY, [[[0, 2]]], [[[0.1, 0.2]]])


class Regression(RegressionModel):
    def init_model(self) -> None:
        network = nn.Linear(3, 1)
        super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.1))


class Classification(ClassificationModel):
    def init_model(self) -> None:
        network = nn.Linear(3, 2)
        super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.1))


class Labels(MultiLabelModel):
    def init_model(self) -> None:
        network = nn.Linear(3, 2)
        super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.1))


X = RNG.normal(size=(50, 3)).astype(np.float32)
KINDS: list[tuple[type[BaseModel], Any]] = [
    (Regression, X[:, :1]),
    (Classification, (X[:, 0] > 0).astype(int)),
    (Labels, (X[:, :2] > 0).astype(np.float32)),
]


@pytest.mark.parametrize(("kind", "y"), KINDS)
@pytest.mark.parametrize("room", [1 << 26, 40])
def test_a_meter_of_predictions_on_a_device_comes_to_the_means_of_one_of_the_host(
    kind: type[BaseModel], y: Any, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meters, "WAITING_BYTES", room)
    torch.manual_seed(0)
    model: Any = kind()
    of_model = judge.meter_of(model)
    assert of_model is not None
    there, here = kind._of_batches.meter(model.train_metrics, True), of_model()  # type: ignore[attr-defined]
    assert isinstance(there, DeviceMeter) and not isinstance(here, DeviceMeter)
    monkeypatch.setattr(there, "_metrics", counted := Counted(model.train_metrics))
    for first in range(0, 50, 8):  # 6 batches of 8 and one of 2
        x, y_true = torch.from_numpy(X[first : first + 8]), y[first : first + 8]
        y_pred = model.predict_step(x)
        for meter in (there, here):
            meter.add(y_true, y_pred)
    assert there.means() == pytest.approx(here.means(), rel=1e-12)
    assert counted.rows == [8]


class Counted:
    """Metrics of one batch, which notes the examples of each."""

    def __init__(self, metrics: Any) -> None:
        self._metrics = metrics
        self.rows: list[int] = []

    def __call__(self, y_true: Any, y_pred: Any) -> Any:
        self.rows.append(len(y_true))
        return self._metrics(y_true, y_pred)


def test_what_the_device_does_not_know_is_computed_on_the_host() -> None:
    meter = ACCURACY.meter(lambda true, pred: {"accuracy": metrics.accuracy(true, pred)}, True)
    labels = np.array([[1.0, 1.0], [0.0, 1.0]])
    for _ in range(3):
        meter.add(labels, torch.tensor([[0.9, 0.8], [0.9, 0.8]]))
    assert meter.means() == {"accuracy": 0.75}


def test_a_model_on_a_gpu_has_its_metrics_computed_there(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Regression()
    monkeypatch.setattr(model, "device", torch.device("cuda"))
    made = judge.meter_of(model)
    assert made is not None and isinstance(made(), DeviceMeter)


def test_a_model_with_metrics_of_its_own_has_them_computed_on_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Own(Regression):
        def train_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            return {"own": 1.0}

    model = Own()
    monkeypatch.setattr(model, "device", torch.device("cuda"))
    made = judge.meter_of(model)
    assert made is not None and not isinstance(made(), DeviceMeter)


def test_trainings_come_to_the_same_metrics_on_both(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = []
    for is_on_gpu in (False, True):

        def meter(
            self: OfBatches, metrics: Any, _: bool, of: Any = OfBatches.meter, there: bool = is_on_gpu
        ) -> Any:
            return of(self, metrics, there)

        with monkeypatch.context() as patch:
            patch.setattr(OfBatches, "meter", meter)
            torch.manual_seed(0)
            model = Regression()
            model.fit(MatrixBatchGenerator(X, X[:, :1], 8), MatrixBatchGenerator(X, X[:, :1]), 2)
        histories.append(model.history)
    for one, other in zip(*histories, strict=True):
        assert one == pytest.approx(other, rel=1e-12)
