"""What the code of a network reads besides its attributes and arguments: variables of modules, of enclosing
functions and of classes. A step that was captured has the values of the capture."""

import contextlib
import dis
import inspect
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from helixband import randomness
from helixband.training.configuration import Config
from helixband.training.member import Member, Model
from helixband.training.objects import Nature, nature, walk
from helixband.training.snapshot import Snapshot
from helixband.training.steps.described import Known, described, is_of_training
from helixband.training.steps.packable import runs_code_in_steps
from helixband.training.steps.reached import Reached, is_code


class Reads:
    """The variables that the code of a network, its criterion and its constraints reads.

    They are found by the names in the code, and in all code of the definition that it calls.
    """

    def __init__(self, model: Model, roots: Mapping[str, Any] | None = None) -> None:
        """With `roots`, it is the code of these objects, by name."""
        self._constraints = list(model.engine.options.constraints)
        self._known: Known = frozenset(map(id, _of(model)))
        if roots is None:
            parts = model.network, model.criterion, self._constraints
            roots = dict(zip(("network", "criterion", "constraints"), parts, strict=True))
        reached = Reached(value for _, value in walk(roots, lambda value, path: is_of_training(value)))
        self._spaces, self.unseen = reached.spaces, reached.unseen
        """By what the code may read what is in no variable that is found, if it may."""
        self._attributes = None if reached.gets_any else reached.names
        self._variables = {name: read for name, read in reached.variables.items() if not self._knows(read())}
        found = [value for _, value in walk(self.values(), lambda value, path: is_of_training(value))]
        self.iterator = next((_kind(each) for each in found if nature(each) is Nature.OPAQUE), None)
        """The kind of an iterator among what is read, if there is one: reading that moves it for good."""
        self.sees_model = any(is_of_training(each) or id(each) in self._known for each in found)
        """Whether a model, its configuration or its optimizer is among what is read."""

    def names_attribute(self, name: str) -> bool:
        """Whether the code may read an attribute of this name."""
        return self._attributes is None or name in self._attributes

    def _knows(self, value: Any) -> bool:
        return value is not None and id(value) in self._known

    def comes_to_network(self, held: Iterable[Any]) -> bool:
        """Whether code comes to the network, by a variable or by one of these values.

        By a model it does, unless it reads the configuration alone; by an optimizer it does.
        """
        if self.unseen is not None:
            return True
        read = (value for _, value in walk(self.values(), lambda value, path: is_of_training(value)))
        return any(map(self._leads_to_network, (*held, *read)))

    def _leads_to_network(self, value: Any) -> bool:
        if isinstance(value, Config | LRScheduler) or not is_of_training(value):
            return self._knows(value)
        names = self._attributes
        return (
            isinstance(value, Optimizer) or names is None or not names.isdisjoint({*dir(value)} - {"config"})
        )

    def values(self) -> dict[str, Any]:
        """The values at the moment, by the names of the variables, but for functions and classes."""
        return {name: value for name, value in self._all().items() if not is_code(value)}

    def described(self) -> dict[str, Hashable]:
        """What is equal as long as a variable has the same value, by name."""
        return {name: described(value, self._known) for name, value in self._all().items()}

    def _all(self) -> dict[str, Any]:
        return {name: read() for name, read in self._variables.items()}

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Around code of ours: the variables, and what constraints hold, are afterwards as before."""
        before = Snapshot({**self.values(), "constraints": self._constraints}, self._spaces.values())
        try:
            yield
        finally:
            before.put_back()


def may_look(member: Member) -> bool:
    """Whether the code of a definition that reads batches can look at the model, or change it."""
    if not member.is_read_by_code:
        return False
    model: Any = member.model
    if model.engine.own_split:
        split = inspect.getattr_static(model, "split_batch")
        if not isinstance(split, staticmethod) and _uses_first_argument(split):
            return True
    known = frozenset(map(id, _of(model)))
    roots = {"the generator": member.train, **randomness.held.variables()}
    held = (value for _, value in walk(roots, lambda value, path: is_of_training(value)))
    if any(is_of_training(value) or id(value) in known for value in held):
        return True
    return Reads(model, {"the generator": member.train}).sees_model


def runs_code(member: Member) -> bool:
    """Whether code of a definition runs within an epoch that may look at the network, or change it."""
    return runs_code_in_steps(member) or scheduler_may_look(member)


def scheduler_may_look(member: Member) -> bool:
    """Whether code of a definition by which a scheduler steps within an epoch can look at the network.

    The optimizer, which each scheduler holds, does not count.
    """
    model: Any = member.model
    if not model.engine.schedules.by_step:
        return False
    roots = {"": model.scheduler}
    walked = walk(roots, lambda value, path: is_of_training(value) and not isinstance(value, LRScheduler))
    held = [value for _, value in walked if not isinstance(value, Optimizer)]
    return Reads(model, dict(zip(map(str, range(len(held))), held, strict=True))).comes_to_network(held)


def _uses_first_argument(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    if code is None or not code.co_varnames:
        return True
    used = (each.argval for each in dis.get_instructions(code) if each.opname.startswith("LOAD"))
    first = code.co_varnames[0]
    return first in code.co_cellvars or any(
        each == first or (isinstance(each, tuple) and first in each) for each in used
    )


def holds_model(network: nn.Module) -> bool:
    """Whether a network holds the model itself, of which it may read anything."""
    held = walk({"": network}, lambda value, path: is_of_training(value))
    return any(is_of_training(value) and not isinstance(value, Config) for _, value in held)


def _of(model: Model) -> Iterator[Any]:
    """What has a description of its own."""
    yield model.criterion
    for module in model.network.modules():
        yield module
        tensors = *module._parameters.values(), *module._buffers.values()
        yield from (each for each in tensors if each is not None)


def _kind(value: Any) -> str:
    return type(value).__name__
