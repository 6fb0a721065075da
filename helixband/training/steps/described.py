"""What is equal where two things compute the same: networks but for their tensors, and what they hold."""

import ctypes
import functools
import hashlib
from array import array
from collections import deque
from collections.abc import Callable, Hashable, ItemsView, Iterator, KeysView, ValuesView
from contextvars import ContextVar
from mmap import mmap
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any
from weakref import ref

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from helixband import randomness
from helixband.training.configuration import Config
from helixband.training.engine import Engine
from helixband.training.objects import is_known_module, other_names

LIFTED: dict[type[nn.Module], tuple[str, ...]]
LIFTED = {kind: ("p",) for kind in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)}
"""Attributes of layers in which the members of a pack may differ."""
_OF_BYTES = bytearray, array, memoryview, mmap, ctypes._SimpleCData, ctypes.Array, ctypes.Structure
_BARE = frozenset({tuple, list, dict})
"""Types of which no object holds more than its items."""
OF_TORCH = frozenset(vars(nn.Module()))

Known = frozenset[int]
"""The ids of objects that are described elsewhere, or hold what is described."""


class Itself:
    """An object that is equal to itself alone. Once it is gone it equals nothing, whatever takes its place.

    It is held weakly where it can be, as what it holds may be large.
    """

    def __init__(self, value: Any) -> None:
        self._id = id(value)
        try:
            self._held: Callable[[], Any] = ref(value)
        except TypeError:
            self._held = lambda: value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Itself):
            return False
        return self is other or self._held() is other._held() is not None

    def __hash__(self) -> int:
        return self._id


def is_of_training(value: Any) -> bool:
    """Whether it is a model, a configuration, an optimizer or a scheduler, which change in training."""
    return isinstance(value, Config | Optimizer | LRScheduler) or is_model(value)


def is_model(value: Any) -> bool:
    """Whether it is a model that trains."""
    names = getattr(value, "__dict__", None)
    return isinstance(names, dict) and isinstance(names.get("engine"), Engine)


def lifted(network: nn.Module) -> dict[str, Any]:
    """The values of lifted attributes, by their names in the network."""
    return {
        f"{name}.{key}".removeprefix("."): getattr(module, key)
        for name, module in network.named_modules()
        for key in LIFTED.get(type(module), ())
    }


def structure(
    network: nn.Module, apart: type[nn.Module] | None = None, known: Known = frozenset()
) -> Hashable:
    """The tree of modules with their types and attributes, but for the values of tensors and lifted ones.

    Modules of a type `apart` are left out.
    """
    known = known.union(map(id, network.modules()))
    return tuple(
        (
            name,
            type(module),
            tuple(_tensors(module._parameters)),
            tuple(_tensors(module._buffers)),
            tuple((key, described(value, known, True)) for key, value in sorted(attributes(module).items())),
        )
        for name, module in network.named_modules(remove_duplicate=False)
        if apart is None or not isinstance(module, apart)
    )


def attributes(module: nn.Module) -> dict[str, Any]:
    """Those that are not torch's, nor lifted."""
    lifted = LIFTED.get(type(module), ())
    return {key: value for key, value in vars(module).items() if key not in OF_TORCH and key not in lifted}


def _tensors(tensors: dict[str, Any]) -> Iterator[Hashable]:
    for name, value in tensors.items():
        if value is None or is_lazy(value):
            yield name, None
        else:
            yield name, tuple(value.shape), value.dtype, value.requires_grad


def described(value: Any, known: Known = frozenset(), of_network: bool = False) -> Hashable:
    """What is equal where two values are known to do the same; else what no other value has.

    What of a configuration a network reads, its first batch tells.
    """
    if value is None or isinstance(
        value, bool | int | float | str | bytes | torch.dtype | torch.device | type
    ):
        return type(value), value
    if isinstance(value, FunctionType) and not _has_more(value):
        return FunctionType, value.__code__
    if id(value) in known:
        return type(value), "known"
    if of_network and isinstance(value, Config):
        return Config
    if is_of_training(value):
        return Itself(value)
    if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized:
        # As bytes, which NumPy has for every type of torch's.
        of_bytes = value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
        return Tensor, tuple(value.shape), value.dtype, str(value.device), _digest(of_bytes)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return np.ndarray, value.shape, value.dtype.str, _digest(np.ascontiguousarray(value))
    if isinstance(value, ModuleType) and is_known_module(value):
        return ModuleType, value.__name__
    if isinstance(value, BuiltinFunctionType):
        return value.__module__, value.__qualname__, Itself(value)
    if isinstance(value, _OF_BYTES):
        return type(value), bytes(value)
    if isinstance(value, randomness.SOURCES):
        return type(value), described(randomness.state_of(value))
    known = known | {id(value)}
    part = functools.partial(described, known=known, of_network=of_network)
    if isinstance(value, tuple | list):
        return type(value), tuple(map(part, value)), *map(part, _held(value))
    if isinstance(value, dict):
        items = tuple((part(key), part(each)) for key, each in value.items())
        return type(value), items, *map(part, _held(value))
    if isinstance(value, functools.partial):
        return functools.partial, part(value.func), part(value.args), part(value.keywords)
    if isinstance(value, FunctionType):
        of_code = Itself(value) if value.__closure__ else value.__code__
        return of_code, part(value.__defaults__), part(value.__kwdefaults__), part(vars(value))
    if isinstance(value, nn.Module):
        tensors = map(part, (*value.parameters(), *value.buffers()))
        return structure(value, known=known), tuple(lifted(value).items()), tuple(tensors)
    names = getattr(value, "__dict__", None)
    if isinstance(value, ModuleType):
        names = {name: each for name, each in vars(value).items() if not name.startswith("__")}
    if isinstance(names, dict) and not isinstance(value, Callable):  # type: ignore[arg-type]
        return type(value), (part(names), *map(part, _in_slots(value)))
    # It may hold more than can be seen; what can be may change.
    return Itself(value), tuple(map(part, _held(value)))


def _has_more(function: FunctionType) -> bool:
    """Whether a function has more than its code."""
    of_call = function.__defaults__ or function.__kwdefaults__
    return bool(of_call or function.__closure__ or function.__dict__)


def _held(value: Any) -> Iterator[Any]:
    """What can be seen of what an object holds."""
    kind: Any = type(value)
    if kind in _BARE:
        return
    if isinstance(names := getattr(value, "__dict__", None), dict):
        yield names
    yield from _in_slots(value)
    if isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, deque | set | frozenset | ValuesView | KeysView | ItemsView):
        yield from value
    elif isinstance(value, MappingProxyType):
        yield dict(value)
    elif isinstance(value, ContextVar):
        yield value.get(None)
    elif isinstance(value, np.ndarray):
        yield from value.flat


def _in_slots(value: Any) -> Iterator[Any]:
    kind: Any = type(value)
    for name in other_names(kind):
        yield getattr(value, name, None)


def _digest(values: Any) -> bytes:
    return hashlib.blake2b(values.tobytes(), digest_size=16).digest()
