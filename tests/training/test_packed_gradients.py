"""After steps of several at once, gradients are those that the own step of each would have left."""

from typing import Any

import pytest
from test_captured import told_of_blocks_as_alone
from test_packed import told_of_packed_as_alone
from test_packed_again import Net, make, reasons_of
from torch import Tensor, nn, optim

from base_model import RegressionModel, TrainingOptions


class Steep(Net):
    """A network that tells how steep the loss was."""

    def steepness(self) -> float:
        return float(sum((each.grad**2).sum() for each in self.parameters()))


class Log:
    """Keeps the largest gradient of a network."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def largest(self) -> float:
        found: Any = [each.grad for each in self._network.parameters()]
        return float(nn.utils.get_total_norm(found, float("inf")))


class Model(RegressionModel):
    def init_model(self) -> None:
        network, config = Steep(), self.config
        optimizer = getattr(optim, config["optimizer"])(network.parameters(), config["lr"])
        training = TrainingOptions(accumulate=config.get("accumulate", 1), clip_norm=config.get("clip_norm"))
        super().init_model(network, optimizer=optimizer, training=training)
        self.log = Log(network)


class ByFunction(Model):
    def on_epoch_end(self, row: Any) -> None:
        row["norm"] = float(nn.utils.clip_grad_norm_(self.network.parameters(), 1e9))


class ByNetwork(Model):
    def on_epoch_end(self, row: Any) -> None:
        row["norm"] = self.network.steepness()


class ByObject(Model):
    def on_epoch_end(self, row: Any) -> None:
        row["norm"] = self.log.largest()


class ByAnyName(Model):
    def train_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
        return {"norm": float(sum(getattr(each, "gr" + "ad").sum() for each in self.network.parameters()))}


KINDS = [ByFunction, ByNetwork, ByObject, ByAnyName]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "config",
    [{"optimizer": "SGD"}, {"optimizer": "Adam", "clip_norm": 0.1}, {"optimizer": "SGD", "accumulate": 2}],
)
def test_what_reads_gradients_after_an_epoch_has_those_of_the_last_step(kind: Any, config: Any) -> None:
    makers = [lambda number=number: make(number, kind, **config) for number in range(3)]
    assert told_of_packed_as_alone(makers) == []
    assert [told for told in told_of_blocks_as_alone(makers) if told != "accumulate"] == []


class Following(Model):
    """Adds to the data what the gradients of the step before tell."""

    norm = 0.0

    def prepare_batch(self, x: Any, y: Any) -> tuple[Any, Any]:
        if self.norm or any(len(state) for state in self.optimizer.state.values()):
            self.norm = self.log.largest()
        return x, y + self.norm


def test_what_reads_gradients_between_steps_has_those_of_the_step_before() -> None:
    makers = [lambda number=number: make(number, Following, optimizer="Adam") for number in range(3)]
    assert told_of_packed_as_alone(makers) == []


class Watched(Model):
    """Counts gradients as they come."""

    def init_model(self) -> None:
        super().init_model()
        self.count = 0
        weight = self.network.get_parameter("last.weight")
        if self.config["added"]:
            weight.register_post_accumulate_grad_hook(self.note)
        else:
            weight.register_hook(self.note)

    def note(self, given: Tensor) -> None:
        self.count += 1

    def on_epoch_end(self, row: Any) -> None:
        row["count"] = self.count


@pytest.mark.parametrize("added", [False, True])
def test_hooks_on_parameters_send_a_trial_alone(added: bool) -> None:
    makers = [lambda n=n: make(n, Watched, optimizer="SGD", added=added) for n in range(2)]
    assert reasons_of(makers) == ["its network has hooks, at the parameter last.weight"] * 2
