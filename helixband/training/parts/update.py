"""The update of a step: gradients of the loss, and the optimizer's step."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Compute = Callable[[], tuple[Tensor, Any]]
"""A loss, and what else is known of it."""


def update(optimizer: Optimizer, compute: Compute) -> tuple[Tensor, Any]:
    """Take a step down the loss that `compute` gives; what it gave at first.

    An optimizer whose `step` takes nothing less, such as LBFGS, gets a closure. It computes loss and
    gradients anew, as often as the optimizer calls it.
    """
    kind: Any = type(optimizer)
    if _needs_closure(kind):
        return _update_by_closure(optimizer, compute)
    optimizer.zero_grad()
    found = compute()
    found[0].backward()  # type: ignore[no-untyped-call]
    try:
        optimizer.step()
    except Exception as error:
        error.add_note(
            f"in the step of the optimizer {type(optimizer).__name__}; if it has to be called in another "
            "way, write a train_step(self, x, y) of your own, which returns (loss, y_pred)"
        )
        raise
    return found


def _update_by_closure(optimizer: Optimizer, compute: Compute) -> tuple[Tensor, Any]:
    given: list[tuple[Tensor, Any]] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad():
            found = compute()
            found[0].backward()  # type: ignore[no-untyped-call]
        given.append(found)
        del given[1:]
        return found[0]

    try:
        optimizer.step(closure)  # type: ignore[arg-type]
    except Exception as error:
        error.add_note(f"in the step of the optimizer {type(optimizer).__name__}, which got a closure")
        raise
    return given[0]


@functools.cache
def _needs_closure(kind: Any) -> bool:
    """Whether `step` of a kind of optimizer has a parameter without a default."""
    _, *parameters = inspect.signature(kind.step).parameters.values()
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(part.kind in named and part.default is inspect.Parameter.empty for part in parameters)
