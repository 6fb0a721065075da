"""Members of packs are compared with their own networks again: as they change, and as they meet others."""

import itertools
import random
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from test_packed import assert_alike
from torch import Tensor, nn, optim

from base_model import RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.training.fit import fit
from helixband.training.member import Member
from helixband.training.steps.eager import Eager
from helixband.training.steps.packed import Packed

X = np.random.default_rng(0).random((40, 4), dtype=np.float32)
Y = X.sum(1)
TOKENS = np.random.default_rng(0).integers(0, 3, (40, 4))


class Net(nn.Module):
    """A small network that does `extra` to its input while it is `on`."""

    def __init__(self, extra: Callable[["Net", Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(4, 4), nn.Dropout(0.0), nn.Linear(4, 1)
        self.extra, self.on, self.count = extra, False, 0.0
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.on and self.extra is not None:
            x = self.extra(self, x)
        found: Tensor = self.last(torch.tanh(self.drop(self.first(x))))
        return found


def count(network: Net, x: Tensor) -> Tensor:
    network.count += 0.1
    return x + network.count


def replace(network: Net, x: Tensor) -> Tensor:
    network.mean = 0.9 * network.mean + 0.1 * x.detach().mean(0)
    return x - network.mean


def draw(network: Net, x: Tensor) -> Tensor:
    return x + random.random()


class Phases(RegressionModel):
    """From the second epoch on, its network does more."""

    def init_model(self) -> None:
        network = Net(self.config["extra"])
        super().init_model(network, optimizer=optim.Adam(network.parameters(), self.config["lr"]))

    def on_epoch_end(self, row: Any) -> None:
        self.network.on = True


class Counting(nn.Module):
    """A criterion that weighs the loss by the number of its calls once it is on."""

    on, calls = False, 1.0

    def forward(self, y_pred: Tensor, y: Tensor) -> Tensor:
        self.calls += self.on
        return self.calls * nn.functional.mse_loss(y_pred, y)


class LateCriterion(RegressionModel):
    """From the second epoch on, its criterion counts."""

    def init_model(self) -> None:
        network = Net()
        super().init_model(network, Counting(), optim.Adam(network.parameters(), self.config["lr"]))

    def on_epoch_end(self, row: Any) -> None:
        self.criterion.on = True


class Annealed(RegressionModel):
    """Its criterion is another one from the third batch on."""

    def init_model(self) -> None:
        network = Net()
        super().init_model(network, nn.HuberLoss(), optim.Adam(network.parameters(), self.config["lr"]))
        self.batches = 0

    def prepare_batch(self, x: Any, y: Any) -> tuple[Any, Any]:
        self.batches += 1
        self.criterion.delta = 1.0 if self.batches < 3 else self.config["delta"]
        return x, y


class Tied(RegressionModel):
    """The third layer has the weights of one of two."""

    def init_model(self) -> None:
        layers = [nn.Linear(4, 4) for _ in range(3)]
        layers[2].weight = layers[self.config["tied"]].weight
        network = nn.Sequential(*layers, nn.Dropout(0.0), nn.Linear(4, 1))
        super().init_model(network, optimizer=optim.Adam(network.parameters(), self.config["lr"]))


class Padded(RegressionModel):
    """An embedding with a row for padding, which is not trained."""

    def init_model(self) -> None:
        network = nn.Sequential(nn.Embedding(3, 4, padding_idx=0), nn.Flatten(), nn.Linear(16, 1))
        super().init_model(network, optimizer=optim.Adam(network.parameters(), self.config["lr"]))


class PaddedByCall(RegressionModel):
    """As `Padded`, by a function."""

    @staticmethod
    def embed(x: Tensor, table: Tensor) -> Tensor:
        return nn.functional.embedding(x, table, 0)

    def init_model(self) -> None:
        network = EmbedsByCall(self.embed)
        super().init_model(network, optimizer=optim.Adam(network.parameters(), self.config["lr"]))


class PaddedByTorch(PaddedByCall):
    """As `Padded`, by the function that the others call."""

    @staticmethod
    def embed(x: Tensor, table: Tensor) -> Tensor:
        return torch.embedding(table, x, 0)


class EmbedsByCall(nn.Module):
    def __init__(self, embed: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.embed = embed
        self.table, self.last = nn.Parameter(torch.randn(3, 4)), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.embed(x, self.table).flatten(1))
        return found


class Waves(nn.Module):
    """A network whose parameters are complex."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 1, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.complex64) @ self.weight).abs()


class Complex(RegressionModel):
    def init_model(self) -> None:
        network = Waves()
        super().init_model(network, optimizer=optim.Adam(network.parameters(), self.config["lr"]))


class Numbering(Net):
    """A network that counts its batches by an iterator."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * next(self.numbers))


class Iterating(RegressionModel):
    def init_model(self) -> None:
        network = Numbering()
        super().init_model(network, optimizer=optim.Adam(network.parameters(), self.config["lr"]))


def make(number: int, kind: type[RegressionModel], x: Any = X, epochs: int = 3, **config: Any) -> Member:
    torch.manual_seed(number)
    model = kind({"lr": 0.01 * (number + 1), **config}, Namespace(cpu=True))
    return model.as_member(MatrixBatchGenerator(x, Y, 8), MatrixBatchGenerator(x, Y), epochs, seed=number)


class Later:
    """Gives a training its members one by one, an epoch after the other."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._waiting = list(members)

    def joining(self, running: int) -> Sequence[Member]:
        return [self._waiting.pop(0)] if self._waiting else []

    def left(self, member: Member) -> None:
        pass


def reasons_of(makers: list[Callable[[], Member]], one_by_one: bool = False) -> list[str]:
    """Why members of a pack went alone, which come to what they come to by themselves."""
    alone, together = [each() for each in makers], [each() for each in makers]
    for member in alone:
        fit([member], Eager())
    told: list[str] = []
    stepper = Packed(lambda member, reason: told.append(reason))
    if one_by_one:
        fit(together[:1], stepper, Later(together[1:]))
    else:
        fit(together, stepper)
    for one, other in zip(alone, together, strict=True):
        assert_alike(one, other)
    return told


@pytest.mark.parametrize(
    "extra, reason",
    [
        (count, "its network changes its attributes as it computes"),
        (replace, "its network replaces a buffer as it computes, in place of changing it"),
        (draw, "its network draws random numbers by other means than layers of dropout"),
    ],
)
def test_what_a_network_does_from_a_later_epoch_on_is_found_then(extra: Any, reason: str) -> None:
    makers = [lambda number=number: make(number, Phases, extra=extra) for number in range(3)]
    assert reasons_of(makers) == [reason] * 3


def test_a_criterion_that_counts_from_a_later_epoch_on_is_found_then() -> None:
    assert reasons_of([lambda number=number: make(number, LateCriterion) for number in range(3)]) == []


def test_a_criterion_that_changes_between_the_steps_of_an_epoch_goes_alone() -> None:
    deltas = (0.1, 0.2, 0.5)
    makers = [lambda n=n, delta=delta: make(n, Annealed, delta=delta) for n, delta in enumerate(deltas)]
    assert reasons_of(makers) == ["its criterion changes between the steps of an epoch"] * 3


@pytest.mark.parametrize("one_by_one", [False, True])
def test_networks_that_share_other_weights_are_of_other_structures(one_by_one: bool) -> None:
    makers = [lambda number=number: make(number, Tied, epochs=4, tied=number % 2) for number in range(4)]
    assert reasons_of(makers, one_by_one) == []


def test_an_embedding_with_a_row_for_padding_goes_alone() -> None:
    makers = [lambda number=number: make(number, Padded, TOKENS) for number in range(3)]
    assert reasons_of(makers) == ["its network has a padding_idx, at Embedding 0"] * 3
    for kind in (PaddedByCall, PaddedByTorch):
        makers = [lambda kind=kind, number=number: make(number, kind, TOKENS) for number in range(3)]
        assert reasons_of(makers) == ["its network calls embedding with a padding_idx"] * 3


def test_complex_parameters_go_alone() -> None:
    makers = [lambda number=number: make(number, Complex) for number in range(3)]
    assert reasons_of(makers) == ["its network has complex parameters"] * 3


def test_a_network_that_holds_an_iterator_goes_alone() -> None:
    makers = [lambda number=number: make(number, Iterating) for number in range(2)]
    told = "its network or loss reads an iterator (count), whose place cannot be put back"
    assert reasons_of(makers) == [told] * 2


class Unused(nn.Module):
    """A network with a head that nothing is computed with."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.head = nn.Linear(4, 1), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(x.flatten(1))
        return found


class Headed(RegressionModel):
    def init_model(self) -> None:
        network = Unused()
        super().init_model(network, optimizer=optim.Adam(network.parameters(), self.config["lr"]))


def test_a_parameter_without_a_gradient_is_named() -> None:
    makers = [lambda number=number: make(number, Headed) for number in range(2)]
    assert reasons_of(makers) == ["its parameter head.weight gets no gradient"] * 2


class Steep(RegressionModel):
    """Tells how large the gradients of the last step of an epoch were."""

    def init_model(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
        super().init_model(network, optimizer=optim.Adam(network.parameters(), self.config["lr"]))

    def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
        return {"steepness": steepness(self.network)}


def steepness(network: nn.Module) -> float:
    return sum(float(each.grad.abs().sum()) for each in network.parameters() if each.grad is not None)


def test_models_that_read_gradients_go_alone() -> None:
    makers = [lambda number=number: make(number, Steep) for number in range(2)]
    assert reasons_of(makers) == ["code of Steep reads gradients, by .grad"] * 2


class Slowing(RegressionModel):
    """Its loss changes the learning rate, which holds for the step under way."""

    def init_model(self) -> None:
        network = Net()
        super().init_model(network, optimizer=optim.SGD(network.parameters(), self.config["lr"]))

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        if self.network.training:
            self.optimizer.param_groups[0]["lr"] *= 0.9
        return super().compute_loss(y_pred_loss, y)


def test_a_loss_that_changes_the_learning_rate_sends_its_trial_alone() -> None:
    reason = "its network or its loss changes a setting of its optimizer"
    assert reasons_of([lambda number=number: make(number, Slowing) for number in range(3)]) == [reason] * 3


class Centred(RegressionModel):
    """Its loss moves a buffer of the network."""

    def init_model(self) -> None:
        network = Net()
        network.register_buffer("steps", torch.zeros(()))
        super().init_model(network, optimizer=optim.SGD(network.parameters(), self.config["lr"]))

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        if self.network.training:
            self.network.steps += 1
        return super().compute_loss(y_pred_loss, y) * (1 + self.network.steps / 10)


def test_a_loss_that_moves_a_buffer_does_so_once_a_step() -> None:
    makers = [lambda number=number: make(number, Centred) for number in range(2)]
    members = [each() for each in makers]
    fit(members, Packed())
    assert [int(member.model.network.steps) for member in members] == [3 * 5] * 2
    assert reasons_of(makers) == []
