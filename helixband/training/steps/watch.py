"""Whether what steps are computed by changes within an epoch."""

from collections.abc import Hashable
from typing import Any

from torch import nn

from helixband.training.member import Member, Model
from helixband.training.objects import ATOMS
from helixband.training.steps.described import Known, attributes, described, structure
from helixband.training.steps.reads import runs_code
from helixband.training.steps.updates import KINDS

Attributes = tuple[dict[str, Any], list[str]]
"""What holds the attributes of a module, and the names of those that are compared."""


class Watch:
    """The attributes of a model's network, but for the values of tensors, its constraints, and its criterion.

    Most of them are compared by whether they are the very objects, which takes a few microseconds.
    """

    def __init__(self, model: Model, with_criterion: bool) -> None:
        self._model, self._with_criterion = model, with_criterion
        self._criterion = described(model.criterion) if with_criterion else None
        self._network, self._constraints = model.network, tuple(model.engine.options.constraints)
        modules = list(self._network.modules())
        self._known: Known = frozenset(map(id, modules))
        self._attributes = [_compared(each) for each in modules]
        self._dicts = [part for each in modules for part in (each._parameters, each._buffers, each._modules)]
        self._containers = [
            value
            for each in modules
            for value in attributes(each).values()
            if type(value) not in ATOMS and not isinstance(value, nn.Module)
        ]
        self._tensors = self._parts()
        self._held, self._first = self._objects(), self._whole()

    def changed(self) -> str | None:
        """What is not as when it was made: "network", which is with its constraints, or "criterion"."""
        if not self._is_as_before():
            return "network"
        is_other = self._with_criterion and described(self._model.criterion) != self._criterion
        return "criterion" if is_other else None

    def _is_as_before(self) -> bool:
        if list(map(id, self._parts())) != list(map(id, self._tensors)):
            return False
        now = self._objects()
        if list(map(id, now)) == list(map(id, self._held)) and not (self._containers or self._constraints):
            return True
        self._held = now
        return self._whole() == self._first

    def _objects(self) -> list[Any]:
        found: list[Any] = []
        for holder, names in self._attributes:
            found += map(holder.get, names)
            found.append(len(holder))
        found += [each.requires_grad for each in self._network.parameters()]
        return found

    def _parts(self) -> list[Any]:
        """The tensors and modules: another one in their place is never the same."""
        return [value for each in self._dicts for value in each.values()]

    def _whole(self) -> Hashable:
        return structure(self._network), described(self._constraints, self._known)


class WatchOptimizer:
    """The flags of a model's optimizer, and whether it has a buffer of momentum where there is a momentum."""

    def __init__(self, model: Model) -> None:
        optimizer: Any = model.optimizer
        kind = KINDS[type(optimizer)]
        self._states, self._flags = optimizer.state, kind.flags
        self._before = [(group, [group[flag] for flag in kind.flags]) for group in optimizer.param_groups]
        trained = [
            (group, [each for each in group["params"] if each.requires_grad]) for group, _ in self._before
        ]
        has_momentum = "momentum" in kind.numbers
        self._first = [(group, each[0]) for group, each in trained if each and has_momentum]

    def changed(self) -> str | None:
        """The name of a flag that is not as when it was made, or that a momentum is no longer 0."""
        for group, flags in self._before:
            if [group[flag] for flag in self._flags] != flags:
                return next(flag for flag, was in zip(self._flags, flags, strict=True) if group[flag] != was)
        for group, first in self._first:
            if group["momentum"] != 0 and self._states.get(first, {}).get("momentum_buffer") is None:
                return "momentum of 0"
        return None


def watches_of(member: Member, with_criterion: bool) -> list[Watch | WatchOptimizer]:
    """What watches a member in an epoch; its network only where code of the definition runs within it."""
    found: list[Watch | WatchOptimizer] = [WatchOptimizer(member.model)]
    if runs_code(member):
        found.append(Watch(member.model, with_criterion))
    return found


def _compared(module: nn.Module) -> Attributes:
    """Those that the structure has, and torch's own but for the mode, which each step sets."""
    left_out = {"training", "_parameters", "_buffers", "_modules", "p"}
    return vars(module), [name for name in vars(module) if name not in left_out]
