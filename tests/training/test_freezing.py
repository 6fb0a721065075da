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


class Plain(nn.Module):
    """A normalisation without parameters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False))
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.encoder(x))
        return found


@pytest.mark.parametrize(
    ("network", "freeze", "own", "means"),
    [
        (Plain, {"encoder.*": 1}, (), [0, 1]),
        (Plain, {"encoder.0.*": 1}, (), [1, 2]),
        (Net, {"encoder.1.bias": 1}, ("encoder.1.weight",), [0, 1]),
        (Net, {"encoder.1.*": 1}, ("encoder.1.weight", "encoder.1.bias"), [0, 1]),
        (Net, {"encoder.0.*": 1}, ("encoder.1.weight", "encoder.1.bias"), [1, 2]),
    ],
)
def test_which_statistics_stay(
    network: type[nn.Module], freeze: dict[str, int], own: tuple[str, ...], means: list[int]
) -> None:
    """`means`: in how many epochs, up to each, the statistics have changed."""
    seen = []

    class Model(RegressionModel):
        def init_model(self) -> None:
            made = network()
            for name in own:
                made.get_parameter(name).requires_grad_(False)
            optimizer = optim.SGD(made.parameters(), 0.1)
            super().init_model(made, optimizer=optimizer, training=TrainingOptions(freeze=freeze))

        def get_hyperband_reward(self, result: Any) -> Any:
            seen.append(int(self.network.get_buffer("encoder.1.num_batches_tracked")))
            return super().get_hyperband_reward(result)

    Model({}, Namespace(cpu=True)).fit(*data(), 2)
    assert seen == [3 * epochs for epochs in means]  # 3 batches an epoch


@pytest.mark.parametrize("average", [{"ema_decay": 0.9, "renew_batch_norm": True}, {"swa_start": 0.0}])
def test_frozen_statistics_stay_where_those_of_averages_are_renewed(average: dict[str, Any]) -> None:
    seen = []

    class Model(RegressionModel):
        def init_model(self) -> None:
            network = Net()
            nn.init.constant_(network.get_buffer("encoder.1.running_mean"), 3.0)
            optimizer = optim.SGD(network.parameters(), 0.05)
            options = TrainingOptions(freeze={"encoder.*": 2}, **average)
            super().init_model(network, optimizer=optimizer, training=options)

        def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            seen.append(self.network.get_buffer("encoder.1.running_mean").tolist())
            encoded = self.network.get_submodule("encoder")(torch.tensor(X))
            renewed = self.network.get_buffer("head.0.running_mean")  # each batch counts alike
            assert renewed.tolist() == pytest.approx(encoded.mean(0).tolist(), abs=1e-5)
            return {}

    model = Model({}, Namespace(cpu=True))
    model.fit(*data(), 2)
    assert set(map(tuple, seen)) == {(3.0, 3.0, 3.0, 3.0)}
    assert model.network.get_buffer("encoder.1.running_mean").tolist() == [3.0] * 4


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
        (
            {"*": 1, "encoder.*": 2},
            r"freeze: all that 'encoder\.\*' matches belongs to the globs before it: put it before them",
        ),
        ("encoder.*", "it has to be a dict of globs with numbers of epochs from 1"),
    ],
)
def test_what_cannot_be_frozen_is_refused(freeze: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        make(freeze)
