"""What a definition gives its losses and training leaves as it is, such as class weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss
from torch.nn.parameter import is_lazy

from helixband.errors import DefinitionError


class Constants:
    """The buffers of losses as `init_model` made them. Those that training never changed are no state.

    Losses are the criterion, and torch's losses under other names. `parts` are what a model has, by name.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        losses = {
            name: part
            for name, part in parts.items()
            if isinstance(part, nn.Module if name == "criterion" else _Loss)
        }
        self._made = {name: _buffers(part) for name, part in losses.items()}

    def left_out(self, states: Mapping[str, Any]) -> dict[str, Any]:
        """The states of parts without the buffers that are as they were made.

        Raises `DefinitionError` where one is no more: a checkpoint without it would be as if it were there.
        """
        return {**states, **{name: _changed(states[name], made, name) for name, made in self._made.items()}}

    def added(self, states: Mapping[str, Any]) -> dict[str, Any]:
        """The states of parts with the buffers that they leave out, as `init_model` made them."""
        there = {name: made for name, made in self._made.items() if isinstance(states.get(name), dict)}
        return {**states, **{name: {**made, **states[name]} for name, made in there.items()}}


def _buffers(part: nn.Module) -> dict[str, Tensor]:
    found = {name: value for name, value in part.named_buffers(remove_duplicate=False) if not is_lazy(value)}
    return {name: found[name].detach().to("cpu", copy=True) for name in part.state_dict() if name in found}


def _changed(state: Mapping[str, Any], made: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    if lost := [key for key in made if key not in state]:
        raise DefinitionError(
            f"{name} lost its buffer {lost[0]} in training; make it what it is in init_model"
        )
    return {key: value for key, value in state.items() if key not in made or not _equal(value, made[key])}


def _equal(one: Tensor, other: Tensor) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    return bool(torch.all((one == other) | ((one != one) & (other != other))))  # NaN is as NaN
