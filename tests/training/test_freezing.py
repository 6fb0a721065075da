"""Parameters that are not trained for the first epochs."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

from base_model import BaseModel, RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from helixband.errors import DefinitionError
from helixband.results.directory import Results

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)


def data() -> tuple[MatrixBatchGenerator, MatrixBatchGenerator]:
    return MatrixBatchGenerator(X, Y, 8), MatrixBatchGenerator(X, Y)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.encoder(x))
        return found


def make(freeze: dict[str, int] | None, own: tuple[str, ...] = ()) -> BaseModel:
    class Model(RegressionModel):
        states: list[dict[str, Tensor]] = []

        def init_model(self) -> None:  # type: ignore[override]
            network = Net()
            for name in own:
                network.get_parameter(name).requires_grad_(False)
            optimizer = optim.AdamW(network.parameters(), 0.05, weight_decay=0.1)
            super().init_model(network, optimizer=optimizer, training=TrainingOptions(freeze=freeze))

        def get_hyperband_reward(self, result: Any) -> Any:
            self.states.append({name: value.clone() for name, value in self.network.state_dict().items()})
            return super().get_hyperband_reward(result)

    return Model({}, Namespace(cpu=True))


def changed(model: Any, epoch: int) -> set[str]:
    """What an epoch, from 1, changed."""
    states = [Net().state_dict(), *model.states]
    before, after = states[epoch - 1], states[epoch]
    return {name for name in after if not torch.equal(before[name], after[name])}


ALL = set(Net().state_dict())
ENCODER = {name for name in ALL if name.startswith("encoder")}


def test_what_is_frozen_stays_as_it_is_its_statistics_too() -> None:
    model = make({"encoder.0.weight": 1, "encoder.*": 2})
    model.fit(*data(), 3)
    assert changed(model, 1) == ALL - ENCODER
    assert changed(model, 2) == ALL - ENCODER | {"encoder.0.weight"}
    assert changed(model, 3) == ALL


def test_it_is_a_plain_loop_with_gradients_off() -> None:
    network = Net()
    optimizer = optim.AdamW(network.parameters(), 0.05, weight_decay=0.1)
    losses = []
    for epoch in range(3):
        network.train()
        network.encoder.requires_grad_(epoch >= 1)
        network.encoder.train(epoch >= 1)
        for i in range(0, 24, 8):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(torch.tensor(X[i : i + 8])), torch.tensor(Y[i : i + 8])).backward()
            optimizer.step()
        network.eval()
        losses.append(nn.functional.mse_loss(network(torch.tensor(X)), torch.tensor(Y)).item())
    assert [row["val_loss"] for row in make({"encoder.*": 1}).fit(*data(), 3)] == losses


def test_what_a_definition_froze_itself_stays_frozen() -> None:
    model = make({"encoder.*": 1}, own=("encoder.0.bias",))
    model.fit(*data(), 2)
    assert changed(model, 2) == ALL - {"encoder.0.bias"}


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = make({"encoder.*": 2}).fit(*data(), 4)
    trial = Results(tmp_path).trial("0000")
    trial.begin_attempt()
    for epochs in (1, 3, 4):
        history = make({"encoder.*": 2}).fit(*data(), epochs, trial)
    assert history == whole


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ({"encodr.*": 2}, r"freeze: no parameter of the network matches 'encodr\.\*'; there are: 'encoder"),
        ({"*": 2}, "freeze is {'\\*': 2}: it leaves no parameter of the network to train in the first epoch"),
        (
            {"encoder.*": 0},
            r"freeze is {'encoder\.\*': 0}; it has to be a dict of globs with numbers of epochs",
        ),
        ("encoder.*", "it has to be a dict of globs with numbers of epochs from 1"),
    ],
)
def test_what_cannot_be_frozen_is_refused(freeze: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        make(freeze)
