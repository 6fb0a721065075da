"""What the code of a network reads besides its attributes and arguments: variables of modules, of enclosing
functions and of classes. A step that was captured has the values of the capture."""

import contextlib
import dis
import functools
import inspect
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

from helixband import randomness
from helixband.training.configuration import Config
from helixband.training.member import Member, Model
from helixband.training.objects import Nature, is_known_code, is_known_module, nature, walk
from helixband.training.snapshot import Snapshot
from helixband.training.steps.described import Known, described, is_of_training

Read = Callable[[], Any]
"""The value of a variable at the moment; None where it has none."""


class Reads:
    """The variables that the code of a network, its criterion and its constraints reads.

    It is found by the names in the code, in functions of the definition that it calls, too.
    """

    def __init__(self, model: Model, roots: Mapping[str, Any] | None = None) -> None:
        """With `roots`, it is the code of these objects, by name."""
        self._constraints = list(model.engine.options.constraints)
        self._known: Known = frozenset(map(id, _of(model)))
        self._variables: dict[str, Read] = {}
        self._spaces: dict[int, ModuleType | type[Any]] = {}
        self._seen: set[int] = set()
        self._looks: set[tuple[int, frozenset[str]]] = set()
        if roots is None:
            parts = model.network, model.criterion, self._constraints
            roots = dict(zip(("network", "criterion", "constraints"), parts, strict=True))
        for _, value in walk(roots, lambda value, path: is_of_training(value)):
            self._look_into(value)
        values = self.values()
        found = [value for _, value in walk(values, lambda value, path: is_of_training(value))]
        self.iterator = next((_kind(each) for each in found if nature(each) is Nature.OPAQUE), None)
        """The kind of an iterator among what is read, if there is one: reading that moves it for good."""
        self.sees_model = any(is_of_training(each) or id(each) in self._known for each in found)
        """Whether a model, its configuration or its optimizer is among what is read."""

    def values(self) -> dict[str, Any]:
        """The values at the moment, by the names of the variables."""
        return {name: read() for name, read in self._variables.items()}

    def described(self) -> dict[str, Hashable]:
        """What is equal as long as a variable has the same value, by name."""
        return {name: described(value, self._known) for name, value in self.values().items()}

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Around code of ours: the variables, and what constraints hold, are afterwards as before."""
        before = Snapshot({**self.values(), "constraints": self._constraints}, self._spaces.values())
        try:
            yield
        finally:
            before.put_back()

    def _look_into(self, value: Any) -> None:
        """Find what the code of an object reads."""
        if isinstance(value, FunctionType):
            self._look_into_code(value)
        elif isinstance(value, MethodType):
            self._look_into(value.__func__)
        elif isinstance(value, type):
            self._look_into_class(value)
        elif not isinstance(value, Mapping | list | tuple):
            self._look_into_class(type(value))

    def _look_into_class(self, kind: type[Any]) -> None:
        for each in kind.__mro__:
            if id(each) in self._seen or is_known_code(each):
                continue
            self._seen.add(id(each))
            for name, value in list(vars(each).items()):
                functions = list(_functions_in(value))
                for function in functions:
                    self._look_into_code(function)
                if not (functions or name.startswith("__") or isinstance(value, type)):
                    self._add(f"{each.__name__}.{name}", each, name)

    def _look_into_code(self, function: FunctionType) -> None:
        if id(function) in self._seen or is_known_code(function):
            return
        self._seen.add(id(function))
        attributes = set(_names_in(function.__code__))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if isinstance(held := _content(cell), ModuleType):
                self._look_into_module(held, attributes)
            self._add_value(name, functools.partial(_content, cell))
        module = sys.modules.get(function.__module__)
        if module is not None and vars(module) is function.__globals__:
            self._look_into_names(module, set(_globals_in(function.__code__)), attributes)

    def _look_into_names(self, module: ModuleType, names: set[str], attributes: set[str]) -> None:
        for name in sorted(names & vars(module).keys()):
            value = vars(module)[name]
            if not isinstance(value, ModuleType):
                self._add(name, module, name)
            elif value is not module:
                self._look_into_module(value, attributes)

    def _look_into_module(self, module: ModuleType, attributes: set[str]) -> None:
        """Find what code with these names of attributes reads of a module, if that is of the definition."""
        look = id(module), frozenset(attributes)
        if look not in self._looks and module in randomness.held.modules().values():
            self._looks.add(look)  # as modules may import each other
            self._look_into_names(module, attributes, attributes)

    def _add(self, shown: str, space: ModuleType | type[Any], name: str) -> None:
        self._spaces[id(space)] = space
        self._add_value(shown, lambda: vars(space).get(name))

    def _add_value(self, name: str, read: Read) -> None:
        value = read()
        if isinstance(value, FunctionType | MethodType | type):
            self._look_into(value)
            if isinstance(value, type) or not getattr(value, "__defaults__", None):
                return
        is_library = isinstance(value, ModuleType) and is_known_module(value)
        if is_library or (value is not None and id(value) in self._known):
            return
        while name in self._variables:
            name = f"{name}'"
        self._variables[name] = read


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


def _functions_in(value: Any) -> Iterator[FunctionType]:
    """The functions of an attribute of a class."""
    if isinstance(value, property):
        value = [value.fget, value.fset]
    for each in value if isinstance(value, list) else [value]:
        each = getattr(each, "__func__", each)  # of a static method, or one of the class
        if isinstance(each, FunctionType):
            yield each


def _globals_in(code: CodeType) -> Iterator[str]:
    """The names of the variables of its module that the code of a function reads, and those within it."""
    yield from (each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_in(constant)


def _names_in(code: CodeType) -> Iterator[str]:
    """The names of variables and attributes in the code of a function, and of those within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled
        return None
