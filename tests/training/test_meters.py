"""What a pass adds up."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from helixband.metrics import accuracy, accuracy_of_batches, mse, mse_of_batches
from helixband.training import meters
from helixband.training.meters import Loss, LossMeter, MetricMeter, Outputs, WholeSet
from helixband.training.waiting import Apart


def meter(*losses: tuple[float, float | torch.Tensor | None]) -> LossMeter:
    made = LossMeter()
    for value, weight in losses:
        made.add(Loss(torch.tensor(value), weight))
    return made


def test_means_are_weighted() -> None:
    assert meter((1.0, 3), (5.0, 1)).total() == 2.0
    assert meter((1.5, 4.0), (6.0, torch.tensor(0.5))).total() == 2.0


def test_sums_are_added() -> None:
    assert meter((1.5, None), (6.0, None)).total() == 7.5


def test_a_mean_of_nothing_does_not_count() -> None:
    assert meter((math.nan, torch.tensor(0)), (6.0, torch.tensor(2)), (3.0, 1)).total() == 5.0
    assert math.isnan(meter((math.nan, 0.0)).total())


def test_sums_are_formed_in_double_precision() -> None:
    value = float(torch.tensor(0.1))
    assert meter(*[(value, 999_999)] * 7).total() == pytest.approx(value, rel=1e-15)


def test_the_first_loss_that_counts_and_is_not_finite_is_found() -> None:
    assert meter((1.0, 1), (math.inf, 1), (2.0, 1)).first_not_finite() == (1, math.inf)
    assert meter((math.nan, 0), (1.0, 1), (math.inf, 1)).first_not_finite() == (2, math.inf)
    assert meter((math.nan, 0), (1.0, 1)).first_not_finite() is None


def test_metrics_of_batches_are_weighted_and_undefined_ones_left_out() -> None:
    def metrics(y_true: Any, y_pred: Any) -> dict[str, float]:
        return {"mean": float(y_pred.mean()), "big": float(y_true.max()) if len(y_true) > 1 else math.nan}

    made = MetricMeter(metrics)
    made.add(np.array([1.0, 7.0, 2.0]), torch.tensor([1.0, 1.0, 1.0]))
    made.add(np.array([9.0]), torch.tensor([5.0]))
    assert made.means() == {"mean": 2.0, "big": 7.0}


def test_metrics_that_wait_on_the_device_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "WAITING_BYTES", 100)
    seen: list[int] = []

    def metrics(y_true: Any, y_pred: Any) -> dict[str, float]:
        seen.append(len(y_true))
        return {}

    made = MetricMeter(metrics)
    for _ in range(5):
        made.add(np.zeros(10), torch.zeros(10))
    assert seen == [10] * 3  # of 40 bytes each
    made.means()
    assert seen == [10] * 5


def test_metrics_of_many_batches_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    sizes = [5, 5, 5, 3, 5]
    batches = [(rng.normal(size=(n, 1)), torch.from_numpy(rng.normal(size=(n, 1)))) for n in sizes]
    one_by_one = MetricMeter(lambda true, pred: {"mse": mse(true, pred)})
    at_once = MetricMeter(
        lambda true, pred: {"mse": mse(true, pred)}, lambda true, pred: {"mse": mse_of_batches(true, pred)}
    )
    for batch in batches:
        one_by_one.add(*batch)
        at_once.add(*batch)
    assert at_once.means() == one_by_one.means()


@pytest.mark.parametrize("missing", [False, True])
def test_mse_of_batches_is_mse_of_each(missing: bool) -> None:
    rng = np.random.default_rng(1)
    true, pred = rng.normal(size=(4, 6, 2)), rng.normal(size=(4, 6, 2))
    true[1, 2] = np.nan if missing else 0
    assert mse_of_batches(true, pred) == [mse(*batch) for batch in zip(true, pred, strict=True)]


@pytest.mark.parametrize("labels", ["index", "one-hot", "binary", "lost"])
def test_accuracy_of_batches_is_accuracy_of_each(labels: str) -> None:
    rng = np.random.default_rng(2)
    true = rng.integers(0, 2 if labels == "binary" else 3, (4, 6))
    pred = rng.random((4, 6)) if labels == "binary" else rng.random((4, 6, 3))
    pred /= 1 if labels == "binary" else pred.sum(axis=-1, keepdims=True)
    if labels == "one-hot":
        true = np.eye(3)[true]
    if labels == "lost":
        pred[2, 1] = np.nan
    expected = [accuracy(*batch) for batch in zip(true, pred, strict=True)]
    assert np.array_equal(accuracy_of_batches(true, pred), expected, equal_nan=True)


def in_one_buffer(numpy: bool = False) -> Any:
    """Batches 0, 1 and 2 in views of one memory, each of which overwrites the one before."""
    buffer = torch.zeros(4, 1)
    for number in range(3):
        buffer[:2] = number
        yield buffer[:2].numpy() if numpy else buffer[:2]


@pytest.mark.parametrize("numpy", [False, True])
def test_outputs_in_a_buffer_that_is_used_again_are_kept(numpy: bool) -> None:
    outputs, parts = Outputs(), Outputs()
    for batch in in_one_buffer(numpy):
        outputs.add(batch)
        parts.add({"a": batch, "b": batch[:, 0]})
    assert outputs.joined().ravel().tolist() == [0, 0, 1, 1, 2, 2]
    assert parts.joined()["a"].ravel().tolist() == parts.joined()["b"].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_criterion_and_metrics_see_batches_in_such_a_buffer_as_they_were() -> None:
    whole, metrics = WholeSet(), MetricMeter(lambda true, pred: {"mean": float(pred.mean())})
    for number, batch in enumerate(in_one_buffer()):
        whole.add(batch, torch.zeros(2, 1), torch.tensor(float(number)))
        metrics.add(np.zeros((2, 1)), batch)
    loss = whole.loss(lambda pred, true: Loss(pred.mean(), None), "the set")
    assert loss is not None and loss.value == 1
    assert metrics.means() == {"mean": 1}


def test_batches_in_memory_of_their_own_are_kept_without_a_copy() -> None:
    apart, batches = Apart(), [torch.full((2,), float(number)) for number in range(3)]
    kept = [apart.kept(batch) for batch in batches]
    assert [one is batch for one, batch in zip(kept, batches, strict=True)] == [False, True, True]
