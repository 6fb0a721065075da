"""The gradients that a step leaves for the next, as a checkpoint holds them."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn


def kept_gradients(model: Any) -> dict[str, Tensor]:
    """The gradients that parameters have at the moment, by name, on the CPU."""
    return {
        name: parameter.grad.detach().to("cpu", copy=True)
        for name, parameter in _parameters_of(model)
        if parameter.grad is not None
    }


def put_gradients(model: Any, gradients: Mapping[str, Tensor]) -> None:
    """Put back what `kept_gradients` gave."""
    for name, parameter in _parameters_of(model):
        gradient = gradients.get(name)
        parameter.grad = None if gradient is None else gradient.to(parameter.device, copy=True)


def _parameters_of(model: Any) -> Iterator[tuple[str, nn.Parameter]]:
    for part in (model.network, model.criterion):
        if isinstance(part, nn.Module):
            yield from ((f"{type(part).__name__}.{name}", value) for name, value in part.named_parameters())
