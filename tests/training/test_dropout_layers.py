"""Layers of dropout do in packs and blocks what torch's do by themselves."""

import warnings
from typing import Any

import pytest
import torch
from test_captured import told_of_blocks_as_alone
from test_packed import make, of_network
from torch import Tensor, nn

from base_model import RegressionModel
from helixband.training.fit import fit
from helixband.training.steps.captured import Captured
from helixband.training.steps.eager import Eager
from helixband.training.steps.template import Template


class Half(nn.Module):
    """Half of a network is in evaluation mode, in training too: its `train` leaves it so."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.9))
        self.last = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x))

    def train(self, mode: bool = True) -> "Half":
        super().train(mode)
        self.first.eval()
        return self


@pytest.mark.parametrize("stepper", [Eager, Captured])
def test_what_a_train_of_ones_own_leaves_in_evaluation_is_so_from_the_first_step_on(stepper: Any) -> None:
    member = make(1, of_network(lambda config: Half()), epochs=2)
    fit([member], stepper())
    assert member.error is None
    assert int(member.model.network.first[2].num_batches_tracked) == 0


def test_a_layer_that_is_left_in_evaluation_drops_nothing() -> None:
    makers = [lambda seed=seed: make(seed, of_network(lambda config: Half())) for seed in range(2)]
    assert told_of_blocks_as_alone(makers) == []


class Switching(nn.Module):
    """Its layer of dropout is in evaluation mode from its first use on, until the network is set to train."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.last = nn.Dropout(0.0), nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = self.last(self.dropout(x.flatten(1)))
        self.dropout.eval()
        return found


def test_a_network_that_changes_modes_as_it_computes_is_computed_by_itself() -> None:
    told = told_of_blocks_as_alone([lambda: make(1, of_network(lambda config: Switching()))])
    assert told[0] == "its network changes the mode of a layer as it computes"


class Residual(nn.Module):
    """All is dropped in place, and so is what is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 8), nn.Linear(8, 1)
        self.dropout = nn.Dropout(1.0, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        found = self.first(x.flatten(1)) * 1
        return self.last(found + self.dropout(found))


def test_a_layer_that_drops_in_place_changes_what_it_is_given() -> None:
    makers = [lambda seed=seed: make(seed, of_network(lambda config: Residual())) for seed in range(2)]
    assert told_of_blocks_as_alone(makers) == []


class Twice(nn.Module):
    """Uses one layer of dropout under two names, and as part of a list."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.0)
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), self.dropout)
        self.listed = [self.dropout]
        self.last = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = self.first(x)
        return self.last(found + self.listed[0](found + 1) + self.dropout(found - 1))


class Raising(RegressionModel):
    """Its layer of dropout drops all from the second epoch on."""

    def init_model(self) -> None:
        network = Twice()
        super().init_model(network, optimizer=torch.optim.Adam(network.parameters(), self.config["lr"]))

    def on_epoch_end(self, row: Any) -> None:
        self.network.dropout.p = 1.0


def test_a_layer_is_one_wherever_it_is_held() -> None:
    assert told_of_blocks_as_alone([lambda seed=seed: make(seed, Raising) for seed in range(2)]) == []


def two_layers(config: Any) -> nn.Module:
    first = nn.Dropout(0.0)
    second = first if config["one"] else nn.Dropout(1.0)
    return nn.Sequential(nn.Flatten(), first, nn.Linear(12, 8), second, nn.Linear(8, 1))


def test_networks_that_share_a_layer_are_not_packed_with_others() -> None:
    kind = of_network(two_layers)
    makers = [lambda one=one: make(1, kind, one=one) for one in (True, False)]
    assert told_of_blocks_as_alone(makers) == []


@pytest.mark.parametrize(
    ("kind", "shape", "expected"),
    [
        (nn.Dropout, (5, 4, 6), (5, 4, 6)),
        (nn.Dropout1d, (4, 6), (4, 1)),
        (nn.Dropout1d, (5, 4, 6), (5, 4, 1)),
        (nn.Dropout2d, (5, 4), (5, 4)),
        (nn.Dropout2d, (5, 4, 6), (5, 4, 1)),
        (nn.Dropout2d, (5, 4, 6, 3), (5, 4, 1, 1)),
        (nn.Dropout3d, (5, 4, 6), (5, 1, 1)),
        (nn.Dropout3d, (4, 2, 6, 3), (4, 1, 1, 1)),
        (nn.Dropout3d, (5, 4, 2, 6, 3), (5, 4, 1, 1, 1)),
    ],
)
def test_whole_channels_are_dropped_where_torch_drops_them(
    kind: type[nn.Module], shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer = kind(0.5)
    x = torch.ones(shape)
    assert Template(layer).shapes({}, x) == [[torch.Size(expected)]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that torch will read otherwise
        dropped = torch.stack([layer(x) for _ in range(50)]) == 0
    for dimension, size in enumerate(expected):
        first = dropped.narrow(1 + dimension, 0, 1)
        assert bool((dropped == first).all()) == (size == 1)
