"""What objects of the user's hold, kept as it is, and put back in place after they were tried out.

Unlike `Holdings`, whose codes go to a checkpoint, a snapshot stays in its process: containers and attributes
get the very objects back that they held.
"""

import contextlib
import copy
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import IOBase
from types import CellType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from helixband import randomness
from helixband.generators.base import BatchGenerator
from helixband.training.holdings import shown
from helixband.training.objects import is_of_a_library, is_ours, is_stateful, other_names, walk
from helixband.training.plain import NotPlain, decoded, encoded, mark, mark_of_state, place_of

ROOM = 1 << 28
"""Of arrays so many bytes are kept, the nearest first."""

Back = Callable[[], bool]
"""Puts one value back, and says whether it had changed."""


class Snapshot:
    """Of some objects by name, and of the namespaces of modules and classes, what they hold now."""

    def __init__(
        self, roots: Mapping[str, Any], spaces: Iterable[ModuleType | type[Any]] = (), room: int | None = None
    ) -> None:
        self._room = ROOM if room is None else room
        self._backs: list[Back] = [_names_back(space) for space in spaces]
        self._sources: list[tuple[Any, Any]] = []
        self._marks: list[tuple[str, Any, Any]] = []
        for path, value in walk(roots, lambda value, path: isinstance(value, randomness.SOURCES)):
            if isinstance(value, randomness.SOURCES):
                self._sources.append((value, randomness.state_of(value)))
            else:
                self._keep(shown(path), value)

    def put_back(self) -> tuple[bool, list[str]]:
        """Whether anything but random numbers had changed, and the names of what cannot be put back."""
        changed = [back() for back in self._backs]
        for source, state in self._sources:
            randomness.put_state(source, state)
        lost = [name for name, value, before in self._marks if mark(value) != before]
        return any(changed) or bool(lost), lost

    def _keep(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module):
            tensors = [*value._parameters.values(), *value._buffers.values()]
            for tensor in tensors:
                self._keep_array(name, tensor)
            self._backs += [_items_back(part) for part in vars(value).values() if isinstance(part, dict)]
            self._backs += [_attributes_back(value), _class_back(value)]
        elif isinstance(value, np.ndarray | Tensor):
            self._keep_array(name, value)
        elif isinstance(value, dict | list | set | deque | bytearray | array):
            self._backs.append(_items_back(value))
        elif isinstance(value, IOBase):
            with contextlib.suppress(NotPlain):
                if (place := place_of(value)) is not None:
                    self._backs.append(lambda: _seek(value, place))
        elif isinstance(value, CellType):
            self._backs.append(_slots_back(value))
        elif isinstance(value, FunctionType) or _is_entered(value):
            self._backs += [_attributes_back(value), _slots_back(value)]
        elif is_stateful(value):
            with contextlib.suppress(NotPlain):
                self._backs.append(_state_back(value))

    def _keep_array(self, name: str, value: Any) -> None:
        if value is None or not _is_writable(value):
            return
        if value.nbytes <= self._room:
            self._room -= value.nbytes
            self._backs.append(_tensor_back(value) if isinstance(value, Tensor) else _array_back(value))
        else:
            with contextlib.suppress(NotPlain):
                self._marks.append((name, value, mark(value)))


@contextlib.contextmanager
def modules_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Around what computes by modules: parameters, buffers and extra states are afterwards as before."""
    within = [module for each in modules for module in each.modules()]
    held = [
        (module, name, tensor)
        for module in within
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]
    ]
    extra = [
        (module, copy.deepcopy(module.get_extra_state()))
        for module in within
        if type(module).get_extra_state is not nn.Module.get_extra_state
    ]
    with tensors_kept(tensor for _, _, tensor in held if tensor is not None):
        try:
            yield
        finally:
            for module, name, tensor in held:
                if getattr(module, name, None) is not tensor:
                    setattr(module, name, tensor)
            for module, state in extra:
                module.set_extra_state(state)


@contextlib.contextmanager
def tensors_kept(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Around what may change tensors in place: their values are afterwards as before."""
    distinct = {id(each): each for each in tensors if _can_be_put(each)}.values()
    before = [(each, each.detach().clone()) for each in distinct]
    try:
        yield
    finally:
        for each, value in before:
            if not torch.equal(each, value):  # one that is expanded, or maps a file, cannot be written to
                each.data.copy_(value)  # of which a backward pass under way takes no notice


def _can_be_put(tensor: Tensor) -> bool:
    return not is_lazy(tensor) and tensor.layout is torch.strided and not tensor.is_inference()


def of_the_definition(room: int | None = None) -> Snapshot:
    """Of what the modules of the definition hold, and their classes; of arrays `room` bytes, or `ROOM`."""
    spaces: list[ModuleType | type[Any]] = []
    for name, module in randomness.held.modules().items():
        spaces += [module, *_classes_of(module, name)]
    return Snapshot(randomness.held.variables(), spaces, room)


@contextlib.contextmanager
def left_as_it_was(holder: Any) -> Iterator[None]:
    """Around code of ours: what an object holds is afterwards as before."""
    before = Snapshot({"the generator": holder})
    try:
        yield
    finally:
        before.put_back()


def _classes_of(space: Any, module: str) -> Iterator[type[Any]]:
    """The classes that a module defines, those within classes too."""
    for value in list(vars(space).values()):
        if isinstance(value, type) and value.__module__ == module and value is not space:
            yield value
            yield from _classes_of(value, module)


def _is_entered(value: Any) -> bool:
    """Whether the attributes of such objects are put back: not of a library's, which may keep more elsewhere.

    What Helixband reads once, as sequences, stays read.
    """
    kind: Any = type(value)
    if issubclass(kind, BatchGenerator) or kind.__module__.startswith("torch.utils.data."):
        return True
    ours = f"{kind.__module__}.".startswith("helixband.") and is_ours(kind.__module__)
    return not (ours or is_of_a_library(kind))


def _is_writable(value: Any) -> bool:
    if isinstance(value, Tensor):
        known = not is_lazy(value) and value.layout == torch.strided
        return known and not (value.is_meta or value.is_inference())
    return bool(value.flags.writeable)


def _names_back(space: Any) -> Back:
    before = {name: value for name, value in vars(space).items() if not _is_of_python(name)}

    def back() -> bool:
        now = dict(vars(space))
        made = [
            name
            for name, value in now.items()
            if name not in before and not (_is_of_python(name) or isinstance(value, ModuleType))
        ]
        for name in made:
            delattr(space, name)
        moved = [name for name, value in before.items() if name not in now or now[name] is not value]
        for name in moved:
            setattr(space, name, before[name])
        return bool(made or moved)

    return back


def _is_of_python(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _class_back(module: nn.Module) -> Back:
    """Of a module its class, which a parametrization changes; a lazy one becomes another with its tensors."""
    kind: Any = type(module)
    is_made = not any(is_lazy(tensor) for tensor in (*module.parameters(False), *module.buffers(False)))

    def back() -> bool:
        if type(module) is kind or not is_made:
            return False
        module.__class__ = kind
        return True

    return back


def _attributes_back(holder: Any) -> Back:
    names = getattr(holder, "__dict__", None)
    return _items_back(names) if isinstance(names, dict) else lambda: False


def _slots_back(holder: Any) -> Back:
    missing = object()
    kind: Any = type(holder)
    names = () if isinstance(holder, FunctionType) else other_names(kind)

    def look() -> dict[str, Any]:
        found = {}
        for name in names:
            try:
                found[name] = getattr(holder, name)
            except (AttributeError, ValueError):
                found[name] = missing
        return found

    before = look()

    def back() -> bool:
        moved = {name for name, value in look().items() if value is not before[name]}
        for name in moved:
            if before[name] is missing:
                object.__delattr__(holder, name)
            else:
                object.__setattr__(holder, name, before[name])
        return bool(moved)

    return back


def _items_back(value: Any) -> Back:
    """Of a container, that it has the same items in the same order."""
    before = _items(value)

    def back() -> bool:
        now = _items(value)
        if len(now) == len(before) and all(one is other for one, other in zip(now, before, strict=True)):
            return False
        if isinstance(value, dict):
            kind = _kind_of_dict(value)
            kind.clear(value)
            kind.update(value, zip(before[::2], before[1::2], strict=True))
        elif isinstance(value, list | bytearray):
            value[:] = before
        elif isinstance(value, array):
            value[:] = array(value.typecode, before)
        else:
            value.clear()
            (value.update if isinstance(value, set) else value.extend)(before)
        return True

    return back


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [part for item in _kind_of_dict(value).items(value) for part in item]
    return list(value)


def _kind_of_dict(value: Any) -> Any:
    """The class whose methods read and fill a dict, whatever a user's subclass does."""
    return OrderedDict if isinstance(value, OrderedDict) else dict


def _array_back(value: Any) -> Back:
    before = value.copy()

    def back() -> bool:
        if value.shape == before.shape and np.array_equal(value, before, equal_nan=value.dtype.kind in "fc"):
            return False
        value[...] = before
        return True

    return back


def _tensor_back(tensor: Tensor) -> Back:
    data, gradient, needs = tensor.data, tensor.grad, tensor.requires_grad
    before = data.clone()

    def back() -> bool:
        now = tensor.data
        if now.shape == before.shape and now.device == before.device and now.dtype == before.dtype:
            same = (now == before) | ((now != now) & (before != before))
            unchanged = bool(same.all()) and tensor.requires_grad == needs and tensor.grad is gradient
        else:
            unchanged = False
        if unchanged:
            return False
        tensor.data = data  # where it was moved to another device
        data.copy_(before)
        if tensor.is_leaf:
            tensor.requires_grad_(needs)
        if tensor.is_leaf or gradient is not None:
            tensor.grad = gradient
        return True

    return back


def _state_back(value: Any) -> Back:
    before, code = mark_of_state(value.state_dict()), encoded(value)

    def back() -> bool:
        if mark_of_state(value.state_dict()) == before:
            return False
        decoded(code, value)
        return True

    return back


def _seek(file: Any, place: int) -> bool:
    try:
        if place_of(file) == place:
            return False
    except NotPlain:  # amid `for line in file`
        pass
    if file.closed:
        return True
    file.seek(place)
    return True
