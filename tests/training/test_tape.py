"""A computation that is replayed gives what it would compute anew, bit for bit."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helixband.training import tape
from helixband.training.tape import TapeError

X = torch.arange(12.0).reshape(4, 3)


def replayed(compute: Callable[[Tensor], Tensor], first: Tensor, second: Tensor) -> Tensor:
    """What a computation, recorded with one tensor, gives when it is replayed with another at its place."""
    given, found = first.clone(), torch.zeros_like(compute(first.clone()))
    replay = tape.recorded(lambda: found.copy_(compute(given)))
    given.copy_(second)
    replay()
    return found


def added(x: Tensor) -> Tensor:
    total = torch.tensor(0.0)
    total += x.sum()
    total += 1
    return total


def written(x: Tensor) -> Tensor:
    made = torch.zeros(4, 3)
    made[1:3] = x[:2]
    made[0].add_(x[3], alpha=2.0)
    made.t()[2].mul_(3)
    return made


def in_parts(x: Tensor) -> Tensor:
    first, second, *_ = x.unbind()
    least, where = x.min(0)
    return torch.cat([first, second, least, where.float(), *x.split([1, 3])[1]])


def chosen(x: Tensor) -> Tensor:
    return x[torch.tensor([2, 0]), :][:, torch.tensor([1])]


def where(x: Tensor) -> Tensor:
    return torch.where(x > x.mean(), x, torch.zeros(())).masked_fill(x < 2, -1.0)


def of_views(x: Tensor) -> Tensor:
    kept = X[1:].T
    return kept @ x[:3] + X.mean()


def changed_twice(x: Tensor) -> Tensor:
    made = x * 2
    other = made.view(-1)
    made.add_(1)
    return other.sub_(x.reshape(-1)) + made.flatten()


COMPUTATIONS = [added, written, in_parts, chosen, where, of_views, changed_twice]


@pytest.mark.parametrize("compute", COMPUTATIONS)
def test_a_replay_equals_the_computation(compute: Callable[[Tensor], Tensor]) -> None:
    second = X.flip(0) * 1.5 - 2
    assert torch.equal(replayed(compute, X, second), compute(second.clone()))


NETWORKS = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 1)),
    "convolutions": lambda: nn.Sequential(
        nn.Conv1d(3, 4, 3, padding=1), nn.BatchNorm1d(4), nn.GELU(), nn.AdaptiveMaxPool1d(1), nn.Flatten()
    ),
    "norms": lambda: nn.Sequential(nn.GroupNorm(1, 3), nn.LayerNorm(8), nn.SiLU(), nn.AvgPool1d(2)),
    "softmax": lambda: nn.Sequential(nn.Linear(8, 8), nn.Softmax(-1), nn.Softplus(), nn.Tanh()),
    "recurrent": lambda: nn.Sequential(nn.GRU(8, 4, batch_first=True), First()),
    "attention": lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True),
}


class First(nn.Module):
    def forward(self, found: Any) -> Any:
        return found[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_of_a_network_are_replayed(name: str) -> None:
    """With gradients, buffers, and an update in place."""

    def trained(replays: bool) -> list[Tensor]:
        torch.manual_seed(1)
        network = NETWORKS[name]()
        x = torch.randn(6, 3, 8)
        parameters = list(network.parameters())

        def step() -> None:
            loss = network(x).pow(2).mean()
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(gradient, alpha=0.1)

        take_step: Callable[[], Any] = step
        if replays:
            before = {key: value.clone() for key, value in network.state_dict().items()}
            take_step = tape.recorded(step)
            network.load_state_dict(before)
        for _ in range(4):
            take_step()
            x.copy_(x.flip(0) * 0.9)
        return list(network.state_dict().values())

    computed, others = trained(False), trained(True)
    assert computed
    for one, other in zip(computed, others, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda x: x * float(x.sum()), "Python gets to know numbers"),
        (lambda x: x if x.sum() > 3 else -x, "Python gets to know numbers"),
        (lambda x: x[x > 3], "Python gets to know numbers"),
        (lambda x: x[x.sum(1).nonzero()], "Python gets to know numbers"),
        (lambda x: x * torch.rand(3), "draws random numbers"),
        (lambda x: F.dropout(x, 0.5), "draws random numbers"),
    ],
)
def test_what_cannot_be_replayed_is_refused(compute: Callable[[Tensor], Tensor], reason: str) -> None:
    with pytest.raises(TapeError, match=reason):
        tape.recorded(lambda: compute(X * 1))


def test_numbers_of_what_stays_may_be_known() -> None:
    held = torch.tensor(2.0)
    assert torch.equal(replayed(lambda x: x * float(held), X, -X), -2 * X)


def test_an_error_of_the_computation_is_raised() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        tape.recorded(lambda: X @ X)


def test_what_a_replay_makes_is_freed() -> None:
    made: list[Any] = []

    class Noting(torch.utils._python_dispatch.TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = operator(*args, **(kwargs or {}))
            made.append(weakref.ref(found))
            return found

    replay = tape.recorded(lambda: (X * 2).exp().log().sum())
    with Noting():  # type: ignore[no-untyped-call]
        replay()
    gc.collect()
    assert len(made) == 4 and not any(each() is not None for each in made)
