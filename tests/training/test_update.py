"""The update by optimizers that call for the loss themselves, and what is told of those that fail."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from base_model import RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.errors import DefinitionError
from helixband.results.directory import Trial
from helixband.training.parts.update import zero_grad

X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
DATA = MatrixBatchGenerator(X, 3 * X[:, 0] - X[:, 1], 20)


class ByClosure(RegressionModel):
    def init_model(self) -> None:
        network = nn.Linear(2, 1)
        super().init_model(network, optimizer=optim.LBFGS(network.parameters(), lr=0.5, max_iter=4))


def trained(kind: type[RegressionModel], epochs: int, trial: Trial | None = None) -> Any:
    torch.manual_seed(0)
    model = kind()
    model.fit(DATA, DATA, epochs, trial)
    return model


def test_lbfgs_gets_a_closure_and_finds_the_line() -> None:
    model = trained(ByClosure, 4)
    assert model.network.weight.detach().numpy() == pytest.approx(np.array([[3.0, -1.0]]), abs=1e-2)


def test_the_loss_of_a_step_is_that_before_its_update() -> None:
    torch.manual_seed(0)
    model = ByClosure()
    x, y = (torch.as_tensor(part) for part in next(iter(DATA)))
    before = model.eval_step(x, y)[0]
    loss, y_pred = model.train_step(x, y)
    assert loss.item() == before.item()
    assert not loss.requires_grad and not y_pred.requires_grad
    assert model.eval_step(x, y)[0] < before


def test_a_training_by_lbfgs_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = trained(ByClosure, 3).network.state_dict()
    trained(ByClosure, 1, Trial(tmp_path))
    resumed = trained(ByClosure, 3, Trial(tmp_path)).network.state_dict()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_an_optimizer_that_fails_is_told_by_name_with_what_to_do() -> None:
    class Sharp(optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            raise ValueError("no closure was given")

    class Model(RegressionModel):
        def init_model(self) -> None:
            network = nn.Linear(2, 1)
            super().init_model(network, optimizer=Sharp(network.parameters(), 0.1))

    with pytest.raises(ValueError, match="no closure") as caught:
        trained(Model, 1)
    assert caught.value.__notes__ == [
        "in the step of the optimizer Sharp; if it has to be called in another way, write a "
        "train_step(self, x, y) of your own, which returns (loss, y_pred)"
    ]


# What a step returns.


class Squeezing(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


class WithoutMetrics(RegressionModel):
    def init_model(self) -> None:
        network = Squeezing(2, 1)
        super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.1))


def test_predictions_of_a_training_step_are_checked_for_rows_at_once() -> None:
    model = WithoutMetrics()
    with pytest.raises(DefinitionError, match=r"y_pred of shape \(\) for a batch of 1; .* use squeeze\(-1\)"):
        model.fit(MatrixBatchGenerator(X[:21], X[:21, 0], 10), DATA, 1)
    assert model.steps == 3


class GivesNone(ByClosure):
    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        return super().train_step(x, y)[0], None


def test_a_training_step_gives_predictions_where_metrics_need_them() -> None:
    with pytest.raises(
        DefinitionError, match=r"train_step gave None \(NoneType\) as y_pred; it has to be an"
    ):
        trained(GivesNone, 1)


def test_predictions_that_nobody_looks_at_may_be_left_out() -> None:
    class Unmeasured(GivesNone):
        train_metrics = RegressionModel.__mro__[1].train_metrics  # type: ignore[assignment]

    assert len(trained(Unmeasured, 2).history) == 2


class Counted(optim.SGD):
    cleared = 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        type(self).cleared += 1
        super().zero_grad(set_to_none)


def test_an_optimizer_that_clears_gradients_in_a_way_of_its_own_does_so() -> None:
    class Clears(RegressionModel):
        def init_model(self) -> None:
            network = nn.Linear(2, 1)
            super().init_model(network, Counted(network.parameters(), 0.1))

    Counted.cleared = 0
    assert trained(Clears, 2).steps == Counted.cleared


def test_gradients_are_cleared_as_torch_does() -> None:
    network = nn.Linear(2, 1)
    optimizer = optim.SGD(network.parameters(), 0.1)
    network(torch.ones(1, 2)).sum().backward()
    zero_grad(optimizer)
    assert [parameter.grad for parameter in network.parameters()] == [None, None]


class Plain(RegressionModel):
    def init_model(self) -> None:
        network = nn.Linear(2, 1)
        super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.1))


@pytest.mark.parametrize("of_all", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hook_of_an_optimizer_or_of_all_is_called_at_each_step(of_all: bool, when: str) -> None:
    model, told = Plain(), []
    assert model.optimizer is not None
    own = model.optimizer.register_step_pre_hook, model.optimizer.register_step_post_hook
    register = (register_optimizer_step_pre_hook, register_optimizer_step_post_hook) if of_all else own
    handle = register[when == "after"](lambda optimizer, *_: told.append(type(optimizer)))
    model.fit(DATA, DATA, 1)
    handle.remove()
    assert told == [optim.SGD] * 2


def test_a_profiler_sees_the_steps_of_an_optimizer() -> None:
    with torch.profiler.profile(acc_events=True) as profiler:
        trained(Plain, 1)
    counts = {event.key: event.count for event in profiler.key_averages()}
    assert counts["Optimizer.step#SGD.step"] == 2


def test_a_step_that_was_put_on_an_optimizer_is_the_one_that_is_called() -> None:
    model = Plain()
    assert model.optimizer is not None
    model.optimizer.step = lambda: None  # type: ignore[method-assign, assignment]
    before = [value.clone() for value in model.network.parameters()]
    model.fit(DATA, DATA, 1)
    assert all(map(torch.equal, before, model.network.parameters()))
