"""Packed steps of definitions whose code looks at the model, or changes it, from step to step."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_packed import Model, X, Y, make, told_of_packed_as_alone
from torch import Tensor

from base_model import BaseModel
from helixband.training.member import Member
from helixband.training.schedules import LinearSchedule


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
