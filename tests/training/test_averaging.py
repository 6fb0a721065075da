"""Averages of weights: as in a plain loop with torch's own, and kept over an interruption."""

import copy
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from base_model import BaseModel, RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from constraints import MaxNormConstraint, UnitNorm
from helixband.errors import DefinitionError
from helixband.results import checkpoints
from helixband.results.directory import Results

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)


def data(shuffle: bool = False) -> tuple[MatrixBatchGenerator, MatrixBatchGenerator]:
    return MatrixBatchGenerator(X, Y, 8, shuffle=shuffle), MatrixBatchGenerator(X[:9], Y[:9])


def layers(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4, 1))


def make(dropout: float = 0.0, **options: Any) -> BaseModel:
    class Model(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = layers(dropout)
            optimizer = optim.SGD(network.parameters(), 0.05, momentum=0.9)
            super().init_model(network, optimizer=optimizer, training=TrainingOptions(**options))

    return Model({}, Namespace(cpu=True, epoch=4, total_epochs=4))


def losses(model: BaseModel, epochs: int, shuffle: bool = False, name: str = "val_loss") -> list[float]:
    torch.manual_seed(1)
    return [row[name] for row in model.fit(*data(shuffle), epochs)]


def plain_loop(epochs: int, averaging: Any, swa_epochs: range | None = None) -> list[tuple[float, nn.Module]]:
    """The validation loss and the network that is validated, of each epoch of a plain loop."""
    network = layers()
    optimizer, criterion, averaged, found = (
        optim.SGD(network.parameters(), 0.05, momentum=0.9),
        nn.MSELoss(),
        None,
        [],
    )
    batches = [(torch.tensor(X[i : i + 8]), torch.tensor(Y[i : i + 8])) for i in range(0, 24, 8)]
    averaged = AveragedModel(network, **averaging)
    for epoch in range(epochs):
        network.train()
        for x, y in batches:
            optimizer.zero_grad()
            criterion(network(x), y).backward()
            optimizer.step()
            if swa_epochs is None:
                averaged.update_parameters(network)
        used = averaged.module
        if swa_epochs is not None and epoch in swa_epochs:
            averaged.update_parameters(network)
            update_bn(batches, averaged)
        elif swa_epochs is not None:
            used = network
        used.eval()
        with torch.no_grad():
            loss = criterion(used(torch.tensor(X[:9])), torch.tensor(Y[:9]))
        found.append((float(loss), copy.deepcopy(used)))
    return found


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == its and torch.equal(value, others) for (name, value), (its, others) in pairs)


def test_a_moving_average_is_that_of_a_plain_loop() -> None:
    expected = plain_loop(4, {"multi_avg_fn": get_ema_multi_avg_fn(0.9)})
    model = make(ema_decay=0.9)
    assert losses(model, 4) == [loss for loss, _ in expected]
    assert equal(model.network, expected[model.best_epoch - 1][1])


def test_the_mean_of_the_last_epochs_is_that_of_a_plain_loop() -> None:
    expected = plain_loop(4, {}, range(2, 4))
    model = make(swa_start=0.5)
    assert losses(model, 4) == pytest.approx([loss for loss, _ in expected], rel=1e-6)
    assert losses(make(swa_start=0.5, renew_batch_norm=False), 4)[2:] != losses(model, 4)[2:]


@pytest.mark.parametrize("options", [{"ema_decay": 0.9, "renew_batch_norm": True}, {"swa_start": 0.0}])
def test_averaging_changes_nothing_of_the_training_itself(options: dict[str, Any]) -> None:
    plain, averaged = make(0.3), make(0.3, **options)
    assert losses(averaged, 4, True, "train_loss") == losses(plain, 4, True, "train_loss")
    assert losses(averaged, 4) != losses(plain, 4)


@pytest.mark.parametrize("options", [{"ema_decay": 0.9}, {"swa_start": 0.25}])
def test_an_average_goes_on_where_it_was(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = losses(make(0.3, **options), 4, True)
    trial = Results(tmp_path).trial("0000")
    trial.begin_attempt()
    for epochs in (1, 3, 4):
        model = make(0.3, **options)
        torch.manual_seed(1)
        model.fit(*data(True), epochs, trial)
    assert [row["val_loss"] for row in model.history] == whole
    last, best = checkpoints.load(trial.last_checkpoint), checkpoints.load(trial.best_checkpoint)
    assert set(last["average"]["averages"]) == {name for name, _ in model.network.named_parameters()}
    assert not torch.equal(last["network"]["0.weight"], last["average"]["averages"]["0.weight"])
    assert "average" not in best
    if model.best_epoch == 4:
        assert torch.equal(best["network"]["0.weight"], last["average"]["averages"]["0.weight"])


@pytest.mark.parametrize("frozen", [{"freeze": {"0.*": 2, "1.*": 2}}, {"own": True}])
def test_what_is_frozen_is_averaged_as_it_is_from_the_first_step(frozen: dict[str, Any]) -> None:
    own = frozen.pop("own", False)

    class Model(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = layers()
            network[:2].requires_grad_(not own)  # type: ignore[index]
            options = TrainingOptions(ema_decay=0.9, renew_batch_norm=False, **frozen)
            super().init_model(network, optim.SGD(network.parameters(), 0.05), training=options)

    network = layers()
    optimizer = optim.SGD(network.parameters(), 0.05)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    expected = []
    for epoch in range(4):
        network.train()
        network[:2].requires_grad_(epoch >= 2 and not own)  # type: ignore[index]
        network[1].train(epoch >= 2 or own)  # type: ignore[index]
        for i in range(0, 24, 8):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(torch.tensor(X[i : i + 8])), torch.tensor(Y[i : i + 8])).backward()
            optimizer.step()
            averaged.update_parameters(network)
        averaged.module.eval()
        with torch.no_grad():
            y_pred = averaged.module(torch.tensor(X[:9]))
        expected.append(nn.functional.mse_loss(y_pred, torch.tensor(Y[:9])).item())
    assert losses(Model({}, Namespace(cpu=True)), 4) == expected


def test_constraints_hold_for_the_average() -> None:
    class Kept(RegressionModel):
        norms: list[Tensor] = []

        def init_model(self) -> None:  # type: ignore[override]
            network = layers()
            options = TrainingOptions(ema_decay=0.5, constraints=[UnitNorm("0"), MaxNormConstraint(0.1, "4")])
            super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.5), training=options)

        def eval_step(self, x: Any, y: Any) -> Any:
            self.norms.append(self.network[0].weight.norm(dim=1).detach().clone())  # type: ignore[index, operator]
            return super().eval_step(x, y)

    model = Kept({}, Namespace(cpu=True))
    model.fit(*data(), 2)
    assert torch.allclose(torch.stack(model.norms), torch.ones(len(model.norms), 4))
    assert torch.allclose(model.network[0].weight.norm(dim=1), torch.ones(4))  # type: ignore[index, operator]
    assert model.network[4].weight.norm() <= 0.1 + 1e-6  # type: ignore[index, operator]


def test_there_is_one_average_or_the_other() -> None:
    with pytest.raises(DefinitionError, match="ema_decay and swa_start are both given"):
        TrainingOptions(ema_decay=0.9, swa_start=0.5)
    with pytest.raises(DefinitionError, match="ema_decay is 1; it has to be a number from 0 on, below 1"):
        TrainingOptions(ema_decay=1)
