"""Optimizer steps that are left out because the loss or its gradients are not finite."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


class Skip:
    """Finds the steps to leave out. What it found stays on the device until the end of the epoch."""

    def __init__(self) -> None:
        self._finite: Tensor | None = None
        self._left_out: list[Tensor] = []
        self._buffers: list[tuple[Tensor, Tensor]] = []
        self._stepped: set[int] = set()

    def begin(self, network: nn.Module) -> None:
        """Keep the network's buffers as they are before a step: statistics of BatchNorm are of its data."""
        buffers = [each for each in network.buffers() if not is_lazy(each)]
        self._buffers = [(each, each.detach().clone()) for each in buffers]

    @torch.no_grad()
    def put_back_unless(self, is_taken: Tensor) -> None:
        """Set the buffers to what they were before a step that is not to be taken; without waiting."""
        for buffer, before in self._buffers:
            buffer.copy_(torch.where(is_taken.to(buffer.device), buffer, before))

    def has_stepped(self, parameters: Iterable[Tensor]) -> bool:
        """Whether a step was taken for each of these parameters, so that there is all the state of one."""
        return self._stepped.issuperset(map(id, parameters))

    def note(self, parameters: Iterable[Tensor]) -> None:
        """Take note of a step that is taken."""
        self._stepped.update(map(id, parameters))

    def see(self, loss: Tensor) -> None:
        """Take the loss of a batch of the step under way."""
        finite = torch.isfinite(loss.detach())
        self._finite = finite if self._finite is None else self._finite & finite

    def decide(self, gradients: list[Tensor]) -> Tensor:
        """Whether the step is to be taken, a truth on the device."""
        finite = torch.isfinite(nn.utils.get_total_norm(gradients, math.inf))
        is_taken = finite if self._finite is None else finite & self._finite
        self._finite = None
        self._left_out.append(~is_taken)
        return is_taken

    def note_left_out(self, is_left_out: Tensor) -> None:
        """Count a step of which it was decided elsewhere, a truth on the device."""
        self._left_out.append(is_left_out)

    def count(self) -> int:
        """How many steps of the epoch were left out; the next count begins at 0."""
        found, self._left_out, self._finite = self._left_out, [], None
        return int(torch.stack(found).sum()) if found else 0


class Kept:
    """The parameters and the state of an optimizer, and further tensors, as they are before a step."""

    def __init__(self, optimizer: Any, further: Iterable[Tensor] = ()) -> None:
        self._optimizer, self._further = optimizer, list(further)
        self._before = {id(each): each.detach().clone() for each in self._tensors()}
        self._state = {parameter: dict(state) for parameter, state in optimizer.state.items()}

    @torch.no_grad()
    def put_back_unless(self, is_taken: Tensor) -> None:
        """Undo the step where it is not to be taken.

        That waits for nothing where all the state is on the device, and where the step made no state, as a
        momentum that begins at 0 makes it late.
        """
        tensors = list(self._tensors())
        if any(id(each) not in self._before for each in tensors) and not is_taken:
            for parameter, state in list(self._optimizer.state.items()):
                state.clear()
                if parameter in self._state:
                    state.update(self._state[parameter])
                else:
                    del self._optimizer.state[parameter]
        for each in self._tensors():
            if (value := self._before.get(id(each))) is not None:
                each.copy_(torch.where(is_taken.to(each.device), each, value))

    def _tensors(self) -> Iterable[Tensor]:
        for group in self._optimizer.param_groups:
            yield from group["params"]
        for state in self._optimizer.state.values():
            yield from (each for each in state.values() if isinstance(each, Tensor))
        yield from self._further
