"""Packed steps of definitions whose code looks at the model, or changes it, from step to step."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from test_captured import told_of_blocks_as_alone
from test_packed import Function, Model, X, Y, assert_alike, make, of_network, told_of_packed_as_alone
from torch import Tensor, nn, optim

from base_model import BaseModel, RegressionModel
from constraints import Constraint
from helixband.training.fit import fit
from helixband.training.member import Member
from helixband.training.schedules import LinearSchedule
from helixband.training.steps.captured import Captured
from helixband.training.steps.eager import Eager


class Weighing:
    """Batches weighed by the errors that the network makes of them, as of hard examples."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __iter__(self) -> Any:
        for start in range(0, 40, 8):
            x, y = torch.from_numpy(X[start : start + 8]), torch.from_numpy(Y[start : start + 8])
            yield x * (1 + error_of(self.model, x, y)), y


def error_of(model: Any, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return (model.network.eval()(x)[:, 0] - y).abs()[:, None, None]


def weighing(seed: int, **config: Any) -> Member:
    member = make(seed, **config)
    member.train = Weighing(member.model)
    return member


def of(kind: type[BaseModel]) -> Callable[..., Member]:
    return functools.partial(make, kind=kind)


class Split(Model):
    def split_batch(self, batch: Any) -> tuple[Any, ...]:
        x, y = batch
        error = error_of(self, torch.from_numpy(x), torch.from_numpy(y))
        return x, y, 1 + error.flatten().numpy()


class Adversarial(Model):
    def prepare_batch(self, x: Any, y: Any) -> tuple[Any, Any]:
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad((self.network.eval()(x)[:, 0] - y).square().mean(), x)
        return (x + 0.1 * slope.sign()).detach(), y


class Shrinking(Model):
    def prepare_batch(self, x: Any, y: Any) -> tuple[Any, Any]:
        with torch.no_grad():
            self.network[0].weight.mul_(0.9)
            self.network[1].running_mean.mul_(0.9)
        return x, y


class Penalised(Model):
    """A penalty on weights, so small that the gradients of the first batch hardly show it."""

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        penalty = sum(each.abs().sum() for each in self.network.parameters())
        return super().compute_loss(y_pred_loss, y) + self.config["penalty"] * penalty


class ByItsCriterion(Model):
    def init_model(self) -> None:
        super().init_model()
        network, penalty = self.network, self.config["penalty"]

        def loss(y_pred: Any, y_true: Any) -> Any:
            error = (y_pred - y_true.view_as(y_pred)).square().mean()
            return error + penalty * sum(each.abs().sum() for each in network.parameters())

        self.criterion = loss


@pytest.mark.parametrize(
    ("maker", "config"),
    [
        (weighing, {}),
        (of(Split), {}),
        (of(Adversarial), {}),
        (of(Shrinking), {}),
        (of(Penalised), {"penalty": 1e-5, "lr": 0.1}),
        (of(Penalised), {"penalty": LinearSchedule(start=0.0, end=1.0, duration=3)}),
        (of(ByItsCriterion), {"penalty": 1e-5, "lr": 0.1}),
    ],
)
def test_code_that_looks_at_the_model_within_an_epoch_has_it_as_it_is(
    maker: Callable[..., Member], config: dict[str, Any]
) -> None:
    assert told_of_packed_as_alone([lambda n=n: maker(n, **config) for n in range(2)]) == []


READS = "the code that reads its batches can look at the model, so that none is read ahead"


@pytest.mark.parametrize("maker", [weighing, of(Split)])
def test_batches_are_not_read_ahead_where_reading_looks_at_the_model(maker: Callable[..., Member]) -> None:
    for together in (True, False):
        told = told_of_blocks_as_alone([lambda n=n: maker(n) for n in range(2)], together)
        assert told == [READS] * 2


class Scaled(Model):
    def split_batch(self, batch: Any) -> tuple[Any, ...]:
        x, y = batch
        return x, y, np.abs(y)


def test_batches_are_read_ahead_where_split_batch_leaves_the_model_alone() -> None:
    assert told_of_blocks_as_alone([lambda n=n: make(n, Scaled, epochs=2) for n in range(2)]) == []


def of_methods(network: Callable[[Any], nn.Module], **methods: Any) -> type[BaseModel]:
    return type("Own", (of_network(network),), methods)


class Tempered(nn.Module):
    """Divides by a number that it holds."""

    def __init__(self, held: Any = 1.0) -> None:
        super().__init__()
        self.layer, self.held = nn.Linear(12, 1), held

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x.flatten(1)) / (
            self.held if isinstance(self.held, float) else self.held[0]
        )
        return found


def set_at_batch(model: Any, x: Any, y: Any) -> Any:
    model.network.held = 1.0 + model.steps
    return x, y


def set_in_place(model: Any, x: Any, y: Any) -> Any:
    model.network.held[0] = 1.0 + model.steps
    return x, y


def set_by_loss(model: Any, y_pred_loss: Any, y: Any) -> Any:
    model.network.held = 1.0 + model.steps
    return RegressionModel.compute_loss(model, y_pred_loss, y)


def freeze(model: Any, x: Any, y: Any) -> Any:
    model.network.layer.weight.requires_grad_(model.steps < 4)
    return x, y


@pytest.mark.parametrize(
    "kind",
    [
        of_methods(lambda config: Tempered(), prepare_batch=set_at_batch),
        of_methods(lambda config: Tempered([1.0]), prepare_batch=set_in_place),
        of_methods(lambda config: Tempered(), compute_loss=set_by_loss),
        of_methods(lambda config: Tempered(), prepare_batch=freeze),
    ],
)
def test_a_network_that_changes_from_step_to_step_goes_alone(kind: type[BaseModel]) -> None:
    told = told_of_packed_as_alone([lambda n=n: make(n, kind) for n in range(2)])
    assert told == ["its network changes between the steps of an epoch"] * 2


FACTORS = {"now": 1.0}
CALLS = 0


def reset() -> None:
    global CALLS
    CALLS, FACTORS["now"] = 0, 1.0


def counted(x: Tensor) -> Tensor:
    global CALLS
    CALLS += 1
    return x / CALLS


def counting() -> Callable[[Tensor], Tensor]:
    calls = [0.0]

    def count(x: Tensor) -> Tensor:
        calls[0] += 1
        return x / calls[0]

    return count


def falling() -> Callable[[Tensor], Tensor]:
    factors = iter(np.linspace(1, 0.1, 1000))
    return lambda x: x * float(next(factors))


def scaled(x: Tensor) -> Tensor:
    return x * FACTORS["now"]


class Scaling(Weighing):
    """Changes what the network reads, with each batch."""

    def __iter__(self) -> Any:
        for start in range(0, 40, 8):
            FACTORS["now"] = 1 / (1 + start)
            yield torch.from_numpy(X[start : start + 8]), torch.from_numpy(Y[start : start + 8])


def made(kind: type[BaseModel], generator: Any = None) -> Member:
    reset()
    member = make(1, kind)
    if generator is not None:
        member.train = generator(None)
    return member


@pytest.mark.parametrize(
    ("function", "generator", "told"),
    [
        (lambda: counted, None, "its network changes the variable CALLS as it computes"),
        (counting, None, "its network changes the variable calls as it computes"),
        (
            falling,
            None,
            "its network or loss reads an iterator (iterator), whose place cannot be put back",
        ),
        (lambda: scaled, Scaling, "its network or loss reads the variable FACTORS, which changes"),
    ],
)
def test_a_variable_that_changes_is_not_captured(function: Any, generator: Any, told: str) -> None:
    kind = of_network(lambda config: Function(function()))

    def member() -> Member:
        return made(kind, generator)

    reset()
    alone = member()
    fit([alone], Eager())
    found: list[str] = []
    captured = member()
    fit([captured], Captured(*[lambda member, reason: found.append(reason)] * 2))
    assert_alike(alone, captured)
    assert found == [told]


def test_a_variable_that_differs_from_trial_to_trial_is_captured_anew() -> None:
    kind = of_network(lambda config: Function(scaled))
    stepper, trained = Captured(), []
    for factor in (1.0, 0.3):
        member = made(kind)
        FACTORS["now"] = factor
        fit([member], stepper)
        alone = made(kind)
        FACTORS["now"] = factor
        fit([alone], Eager())
        assert_alike(alone, member)
        trained.append(member)
    assert [list(map(str, member.record.ways)) for member in trained] == [["captured"] * 3] * 2


class Counted:
    """A criterion that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, y_pred: Any, y_true: Any) -> Any:
        self.calls += 1
        return (y_pred - y_true.view_as(y_pred)).square().mean() / self.calls


class Huber:
    """A criterion that reads the configuration, by what the first batches do not show."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def __call__(self, y_pred: Any, y_true: Any) -> Any:
        size, limit = (y_pred - y_true.view_as(y_pred)).abs(), self.config["limit"]
        return torch.where(size > limit, 2 * limit * size - limit**2, size.square()).mean()


class Criterion(Model):
    def init_model(self) -> None:
        super().init_model()
        self.criterion = Huber(self.config) if "limit" in self.config else Counted()


def test_a_criterion_is_that_of_each() -> None:
    assert told_of_packed_as_alone([lambda n=n: make(n, Criterion) for n in range(3)]) == []
    limits = (50.0, 2.0, LinearSchedule(start=50.0, end=0.01, duration=3))
    makers = [lambda limit=limit: make(1, Criterion, limit=limit) for limit in limits]
    assert told_of_packed_as_alone(makers) == []


class Clamped(nn.Module):
    """Reads its configuration as it computes."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layer, self.config = nn.Linear(12, 1), config

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x.flatten(1))
        return torch.where(found > self.config["most"], 0.1 * found, found)


RECTIFIED = {"relu": lambda x: (x - 0.5).clamp(min=0), "none": lambda x: (x - 0.5).clamp(min=-50)}


def test_what_networks_read_differently_is_that_of_each_though_the_first_batch_does_not_show_it() -> None:
    clamped = of_network(Clamped)
    most = (50.0, 1.5, 1.6)
    makers = [lambda m=m: make(1, clamped, lr=0.2, most=m) for m in most]
    assert told_of_packed_as_alone(makers) == []
    rectified = of_network(lambda config: nn.Sequential(Function(RECTIFIED[config["act"]])))
    makers = [lambda act=act: make(1, rectified, act=act) for act in RECTIFIED]
    assert told_of_packed_as_alone(makers) == []


class Owning(nn.Module):
    """Holds the model, and reads what changes there."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.layer, self.owner = nn.Linear(12, 1), [model]

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x.flatten(1)) * (1 + 0.1 * self.owner[0].steps)
        return found


class Owned(RegressionModel):
    def init_model(self) -> None:
        network = Owning(self)
        super().init_model(network, optimizer=optim.Adam(network.parameters(), self.config["lr"]))


def test_a_network_that_holds_the_model_reads_it_as_it_is() -> None:
    makers = [lambda n=n: make(n, Owned) for n in range(2)]
    assert told_of_packed_as_alone(makers) == []
    told = "its network or loss can read the model, which changes"
    assert told_of_blocks_as_alone(makers) == [told] * 2


class Cap(Constraint):
    """No weight is above a hyperparameter."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def apply(self, weight: Tensor) -> None:
        weight.clamp_(max=self.config["cap"])


class Noise(Constraint):
    """Each weight with something random."""

    def apply(self, weight: Tensor) -> None:
        weight.add_(0.01 * torch.randn_like(weight))


class Constrained(Model):
    def constraints(self) -> list[Constraint]:
        return [Cap(self.config)] if "cap" in self.config else [Noise()]


def test_a_constraint_that_holds_the_configuration_has_that_of_its_trial() -> None:
    caps = (5.0, 0.2, LinearSchedule(start=1.0, end=0.01, duration=3))
    makers = [lambda cap=cap: make(1, Constrained, cap=cap) for cap in caps]
    told = "its constraint Cap holds the configuration or the model"
    assert told_of_packed_as_alone(makers) == [told] * 3
    told = "its constraint Noise takes the weights of one network at a time"
    assert told_of_packed_as_alone([lambda n=n: make(n, Constrained) for n in range(2)]) == [told] * 2


class Tempering(optim.lr_scheduler.LRScheduler):
    """Sets an attribute of a network, with each step."""

    def __init__(self, optimizer: Any, network: Any) -> None:
        self.network = network
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        self.network.held = 1.0 + 0.05 * self.last_epoch
        return [group["lr"] for group in self.optimizer.param_groups]


def tempering(optimizer: Any, model: Any) -> Any:
    network = model.network

    def factor(step: int) -> float:
        network.held = 1.0 + 0.05 * step
        return 1.0

    return optim.lr_scheduler.LambdaLR(optimizer, factor)


def by_model(optimizer: Any, model: Any) -> Any:
    def factor(step: int) -> float:
        return 1 / (1 + model.network.layer.bias.abs().item())

    return optim.lr_scheduler.LambdaLR(optimizer, factor)


def of_configuration(optimizer: Any, model: Any) -> Any:
    return optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / model.config["warmup"]))


def of_step(make_scheduler: Callable[[Any, Any], Any]) -> type[BaseModel]:
    """A model with a network of `Tempered` and a scheduler that steps with each step."""

    class Stepping(RegressionModel):
        def init_model(self) -> None:
            self.network = Tempered()
            optimizer = optim.Adam(self.network.parameters(), self.config["lr"])
            scheduler = make_scheduler(optimizer, self)
            super().init_model(
                self.network, optimizer=optimizer, scheduler=scheduler, scheduler_interval="step"
            )

    return Stepping


SCHEDULERS = {
    "an own class": lambda optimizer, model: Tempering(optimizer, model.network),
    "a function": tempering,
    "a part": lambda optimizer, model: optim.lr_scheduler.SequentialLR(
        optimizer, [optim.lr_scheduler.ConstantLR(optimizer, 0.5), tempering(optimizer, model)], [3]
    ),
    "a function that looks": by_model,
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_scheduler_that_comes_to_the_network_within_an_epoch_has_it_as_it_is(scheduler: str) -> None:
    kind = of_step(SCHEDULERS[scheduler])
    told = ["its scheduler, which steps within an epoch, calls code that can look at the network"]
    changes = ["its network changes between the steps of an epoch"] * (scheduler != "a function that looks")
    assert told_of_blocks_as_alone([lambda: make(1, kind)]) == told + changes
    assert told_of_packed_as_alone([lambda n=n: make(n, kind) for n in range(2)]) == changes * 2


def test_steps_are_captured_with_a_scheduler_that_reads_the_configuration_alone() -> None:
    makers = [lambda n=n: make(n, of_step(of_configuration), warmup=4.0) for n in range(2)]
    assert told_of_blocks_as_alone(makers) == []
