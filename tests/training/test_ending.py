"""Trainings that end by themselves: by patience, and where the loss is not finite."""

import math
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim

from base_model import BaseModel, RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from helixband.errors import DefinitionError, HelixbandWarning, TrainingError
from helixband.results.directory import Results, Trial
from helixband.training.ended import Ended
from helixband.training.patience import Patience

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)


def data() -> tuple[MatrixBatchGenerator, MatrixBatchGenerator]:
    return MatrixBatchGenerator(X, Y, 8), MatrixBatchGenerator(X[:9], Y[:9])


def make(rewards: list[float], nan_in: int | None = None, **options: Any) -> BaseModel:
    """A model with these rewards by epoch; from epoch `nan_in` on, its loss is NaN."""

    class Model(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            torch.manual_seed(0)
            network = nn.Linear(3, 1)
            optimizer = optim.SGD(network.parameters(), 0.01)
            super().init_model(network, optimizer=optimizer, training=TrainingOptions(**options))

        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            loss = super().compute_loss(y_pred_loss, y)
            return loss * math.nan if nan_in is not None and self.epoch + 1 >= nan_in else loss

        def get_hyperband_reward(self, result: Any) -> float:
            return rewards[self.epoch]

    return Model({}, Namespace(cpu=True))


def begun(path: Path) -> Trial:
    trial = Results(path).trial("0000")
    trial.begin_attempt()
    return trial


@pytest.mark.parametrize(
    ("values", "options", "epochs"),
    [
        ([1, 2, 3, 4, 5], {"patience": 1}, 5),
        ([1, 2, 2, 4, 5], {"patience": 1}, 3),
        ([3, 2, 2, 4, 1], {"patience": 2}, 3),
        ([3, 2, 2, 4, 1], {"patience": 3}, 5),
        ([1.0, 1.4, 1.6, 1.7, 1.8], {"patience": 2, "patience_gain": 0.5}, 5),
        ([1.0, 1.4, 1.5, 1.7, 1.8], {"patience": 2, "patience_gain": 0.5}, 3),
        ([math.nan, math.nan, 1, 2, 3], {"patience": 2}, 2),
        ([math.nan, 1, math.nan, 2, 3], {"patience": 2}, 5),
        ([5, 4, 3, 3, 3], {"patience": 2, "patience_metric": "val_loss"}, 5),
        ([5, 4, 4, 4, 3], {"patience": 2, "patience_metric": "val_loss"}, 4),
        ([5, 6, 7, 7, 7], {"patience": 2, "patience_metric": "val_auroc", "patience_mode": "max"}, 5),
        ([5, 6, 7, 8, 9], {"patience": 2, "patience_metric": "val_mse", "patience_mode": "min"}, 3),
    ],
)
def test_patience_counts_epochs_without_an_improvement(
    values: list[float], options: dict[str, Any], epochs: int
) -> None:
    patience = Patience(TrainingOptions(**options))
    rows = [{options.get("patience_metric", "reward"): value} for value in values]
    ends = [count for count in range(1, 6) if patience.is_over(rows[:count])]
    assert (ends or [5])[0] == epochs


def test_a_training_ends_by_patience_with_its_best_weights_and_is_not_trained_on(tmp_path: Path) -> None:
    trial, rewards = begun(tmp_path), [1.0, 3.0, 2.0, 1.0, 9.0]
    model = make(rewards, patience=2)
    assert len(model.fit(*data(), 5, trial)) == 4
    assert (model.engine.record.ended, model.best_epoch, trial.ended()) == (Ended.PATIENCE, 2, "patience")
    again = make(rewards, patience=2)
    assert len(again.fit(*data(), 5, trial)) == 4
    two = make(rewards)
    two.fit(*data(), 2)
    assert torch.equal(model.network.weight, two.network.weight)  # type: ignore[arg-type]
    assert torch.equal(again.network.weight, two.network.weight)  # type: ignore[arg-type]


def test_a_training_that_was_stopped_ends_where_it_would_have_ended(tmp_path: Path) -> None:
    trial, rewards = begun(tmp_path), [1.0, 3.0, 2.0, 1.0, 9.0]
    for epochs in (1, 3, 5):
        model = make(rewards, patience=2)
        model.fit(*data(), epochs, trial)
        assert model.engine.record.ended is (Ended.PATIENCE if epochs == 5 else Ended.EPOCHS)
    assert model.epoch == 4
    shorter = make(rewards, patience=2)  # as of a search that lost its last lines
    shorter.fit(*data(), 3, trial)
    assert shorter.engine.record.ended is Ended.EPOCHS


def test_patience_on_a_metric_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(
        DefinitionError, match=r"'val_pearsn', which an epoch does not have; nearest are: val_pea"
    ):
        make([1.0], patience=1, patience_metric="val_pearsn", patience_mode="max").fit(*data(), 1)
    with pytest.raises(DefinitionError, match="'val_pearson': say whether it is to grow or to fall"):
        make([1.0], patience=1, patience_metric="val_pearson")


def test_a_loss_that_is_not_finite_fails_or_stops_the_training(tmp_path: Path) -> None:
    rewards = [1.0, 3.0, 2.0, 1.0, 9.0]
    with pytest.raises(TrainingError, match="the loss is nan from batch 0 of the epoch on"):
        make(rewards, nan_in=4).fit(*data(), 5)
    with pytest.raises(TrainingError, match="the loss is nan from batch 0"):
        make(rewards, nan_in=1, nan="stop").fit(*data(), 5)  # there is no epoch to keep
    trial = begun(tmp_path)
    model = make(rewards, nan_in=4, nan="stop")
    with pytest.warns(HelixbandWarning, match="the loss is nan from batch 0.*stops with its best epoch"):
        model.fit(*data(), 5, trial)
    assert (model.epoch, model.best_epoch, model.engine.record.ended) == (3, 2, Ended.NAN)
    assert trial.ended() == "nan"
    two = make(rewards)
    two.fit(*data(), 2)
    assert torch.equal(model.network.weight, two.network.weight)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = make(rewards, nan="stop")  # which would train on
        assert len(again.fit(*data(), 5, trial)) == 3


class Endless:
    """A training set of so many batches that it counts."""

    read = 0

    def __iter__(self) -> Any:
        for _ in range(1000):
            self.read += 1
            yield X[:2], np.full((2, 1), np.nan if self.read >= 100 else 1.0, np.float32)


def test_an_epoch_is_not_finished_where_the_loss_is_lost() -> None:
    train = Endless()
    with pytest.raises(TrainingError, match="the loss is nan from batch 99 of the epoch on"):
        make([1.0]).fit(train, data()[1], 1)
    assert train.read < 100 + 3 * 64 + 100  # the last to look at the data
