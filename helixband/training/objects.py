"""What objects hold: found by looking into attributes, containers, closures and bound methods.

A *path* leads from the name of a root to a value, step by step. A step is an attribute (".", name), an item
("[", key) or a hook ("hook", key).
"""

import functools
import random
import re
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from io import IOBase
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, MethodWrapperType, ModuleType
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data.dataloader import _BaseDataLoaderIter

from helixband import randomness

T = TypeVar("T")
Step = tuple[str, Any]
Path = tuple[Step, ...]
HOOK = "hook"
Skip = Callable[[Any], Callable[[str], bool] | None]
"""Of an object, which of its attributes are left out, if any."""

OBJECTS = 5_000
"""So many objects of a root are looked into, the nearest first."""
ITEMS = 1_000
"""A container of more items is not looked into."""

ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None)})
_OWN_OF_A_MODULE = frozenset(vars(nn.Module()))
_HOOKS = "_hooks"
"""How the attributes end in which modules and optimizers have their hooks."""
_KEPT_IN_BUFFERS = "torch.nn.utils.prune"
"""Whose hooks compute from the masks of their modules alone."""
_HOOKS_OF_A_TENSOR = ("_backward_hooks", "_post_accumulate_grad_hooks")
_OF_AN_OPTIMIZER = frozenset({"param_groups", "state", "defaults"})
"""What the `state_dict` of an optimizer has."""
_NOT_ENTERED = frozenset({"logging", "threading", "multiprocessing", "concurrent", "asyncio", "weakref"})
_NOT_ENTERED |= {"tensorboard", "tensorboardX", "tqdm", "rich", "wandb", "mlflow", "matplotlib", "subprocess"}
OWN_MODULES = {"__main__", "main", "base_model", "batch_generator", "constraints", "hyperband", "helixband"}
OF_DEFINITIONS = re.compile(r"helixband\.definition\.(?P<stem>\w+)_(?P<seed>\d+)_(?P<digest>[0-9a-f]{12})")
"""The names of the modules that definitions are loaded as, and those in their folders."""
_MADE_BY_CODE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


def is_stateful(value: Any) -> bool:
    """Whether a value gives its state and takes it back, as torch's parts do; a class only says how to."""
    if not hasattr(value, "state_dict") or isinstance(value, type):
        return False
    return callable(value.state_dict) and callable(getattr(value, "load_state_dict", None))


def found_in(root: Any, kinds: type[T] | tuple[type[T], ...]) -> list[T]:
    """The objects of some kinds that an object holds, in a fixed order, but for those within them.

    The global random generators are none of them.
    """
    found = walk({"": root}, lambda value, path: isinstance(value, kinds))
    return [value for _, value in found if isinstance(value, kinds)]


def walk(
    roots: Mapping[str, Any],
    is_end: Callable[[Any, Path], bool],
    skip: Skip = lambda holder: None,
) -> Iterator[tuple[Path, Any]]:
    """Each value that the roots hold with its path, root by root, the nearest first; each object once.

    What `is_end` is not looked into; `skip` names attributes that are left out.
    """
    seen = {id(source) for source in randomness.global_sources()}
    for name, root in roots.items():
        queue: deque[tuple[Path, Any]] = deque([(((".", name),), root)])
        last = len(seen) + OBJECTS
        while queue:
            path, value = queue.popleft()
            if type(value) in ATOMS:
                yield path, value
            elif id(value) not in seen and len(seen) < last and _is_told(value):
                seen.add(id(value))
                ends = is_end(value, path)
                yield path, value
                if not ends:
                    queue.extend(((*path, step), part) for step, part in _parts(value, skip))


def _is_told(value: Any) -> bool:
    """Whether an object is of use to anybody who walks."""
    try:
        is_source = isinstance(value, random.SystemRandom)
        _ = value.__class__  # which isinstance asks for
    except (AttributeError, ReferenceError):  # as `f` of a file of numpy.load, or a proxy of what is gone
        return False
    return not is_source


def _parts(holder: Any, skip: Skip) -> Iterator[tuple[Step, Any]]:
    """What an object holds itself, with the steps to it."""
    kind: Any = type(holder)
    if isinstance(holder, dict):
        if len(holder) <= ITEMS:
            yield from ((("[", key), part) for key, part in dict.items(holder) if _is_key(key))
    elif isinstance(holder, _SEQUENCES):
        if len(holder) <= ITEMS:
            yield from ((("[", number), part) for number, part in enumerate(holder))
        return  # attributes of a named tuple are its items
    elif kind in _HOLD_NOTHING or isinstance(holder, _HOLD_NOTHING):
        return
    if not _is_entered(kind):
        return
    left_out = skip(holder)
    for name, part in _attributes(holder):
        if left_out is None or not left_out(name):
            yield (".", name), part
    if isinstance(holder, (nn.Module, Optimizer)):
        yield from _hooks_of(holder)


def _hooks_of(holder: nn.Module | Optimizer) -> Iterator[tuple[Step, Any]]:
    """Hooks, those of a module's parameters too, named by their places: keys differ between processes."""
    for name, hooks in vars(holder).items():
        if isinstance(hooks, dict) and hooks and name.endswith(_HOOKS):  # nearly all are empty
            for place, hook in enumerate(hooks.values()):
                if type(hook).__module__ != _KEPT_IN_BUFFERS:
                    yield (HOOK, ("", name, place)), hook
    for parameter, tensor in holder._parameters.items() if isinstance(holder, nn.Module) else ():
        for name in _HOOKS_OF_A_TENSOR:
            if hooks := getattr(tensor, name, None):
                for place, hook in enumerate(hooks.values()):
                    yield (HOOK, (parameter, name, place)), hook


def hook_at(holder: Any, key: tuple[str, str, int]) -> Any:
    """The hook at a step of a path."""
    parameter, name, place = key
    return list(getattr(getattr(holder, parameter) if parameter else holder, name).values())[place]


_SEQUENCES = (list, tuple, deque)  # a tuple is made once, and `list | tuple` at each use
_HOLD_NOTHING = (Tensor, np.ndarray, type, ModuleType, set, frozenset, bytearray, str)


def _attributes(holder: Any) -> Iterable[tuple[str, Any]]:
    """The attributes in which an object of this kind holds something."""
    if isinstance(holder, nn.Module):
        own = [(name, part) for name, part in vars(holder).items() if name not in _OWN_OF_A_MODULE]
        buffers = [(name, holder._buffers.get(name)) for name in holder._non_persistent_buffers_set]
        return (*own, *holder._modules.items(), *buffers)
    if isinstance(holder, Optimizer):
        own = [(name, part) for name, part in vars(holder).items() if not name.endswith(_HOOKS)]
        return [(name, part) for name, part in own if name not in _OF_AN_OPTIMIZER]
    kind: Any = type(holder)
    names = getattr(holder, "__dict__", None)
    found = list(names.items()) if isinstance(names, dict) else []
    for name in other_names(kind):
        try:
            part = getattr(holder, name)
        except (AttributeError, ValueError):  # a slot, or a cell of a closure, that is not filled
            continue
        if part is not None or kind is not FunctionType:  # most functions have no closure and no defaults
            found.append((name, part))
    return found


@functools.lru_cache(maxsize=1024)
def other_names(kind: type[Any]) -> tuple[str, ...]:
    """The names of what objects of a class hold besides what is in their `__dict__`."""
    if issubclass(kind, FunctionType):
        return "__closure__", "__defaults__", "__kwdefaults__"
    if issubclass(kind, CellType):
        return ("cell_contents",)
    # Bound methods of Python's and of NumPy's generators, too.
    is_method = issubclass(kind, MethodType | BuiltinFunctionType | MethodWrapperType)
    if is_method or kind.__name__ == "cython_function_or_method":
        return ("__self__",)
    if issubclass(kind, functools.partial):
        return "func", "args", "keywords"
    found = []
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            private = name.startswith("__") and not name.endswith("__")
            found.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return tuple(name for name in dict.fromkeys(found) if name not in ("__dict__", "__weakref__"))


@functools.lru_cache(maxsize=1024)
def _is_entered(kind: type[Any]) -> bool:
    return kind.__module__.partition(".")[0] not in _NOT_ENTERED


def _is_key(key: Any) -> bool:
    return type(key) in ATOMS or (type(key) is tuple and all(map(_is_key, key)))


@functools.lru_cache(maxsize=1024)
def is_of_a_library(kind: Any) -> bool:
    """Whether a class or function is Python's or an installed package's, not the user's nor Helixband's.

    Classes of no module are a package's where they are made in C, and a user's where exec has made them.
    """
    name = kind.__module__ or ""
    if name not in sys.modules:
        return isinstance(kind, type) and not kind.__flags__ & _MADE_BY_CODE
    return name != "__main__" and _is_installed(sys.modules[name])


def _is_installed(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is None or is_installed(file)


def is_installed(file: Any) -> bool:
    """Whether a file is Python's or an installed package's."""
    return str(file).startswith(_LIBRARIES)


def is_ours(module: str) -> bool:
    """Whether a module of this name is Helixband's, or the command, and no user's."""
    return module.partition(".")[0] in OWN_MODULES and not OF_DEFINITIONS.match(module)


def is_of_helixband(module: str) -> bool:
    """Whether code of a module of this name is Helixband's: a script is none."""
    return is_ours(module) and module not in ("__main__", "main", "hyperband")


def is_known_code(value: Any) -> bool:
    """Whether a class or function is a library's or Helixband's, and none of a definition or script."""
    return is_of_helixband(value.__module__ or "") or is_of_a_library(value)


def is_known_module(module: ModuleType) -> bool:
    """Whether a module is a library's or Helixband's, and none of a definition or script."""
    name = module.__name__
    if sys.modules.get(name) is not module or name == "__main__":
        return False
    return is_of_helixband(name) or _is_installed(module)


class Nature(Enum):
    """What an object is to those who look for state, by its class."""

    SOURCE = "random generator"
    FILE = "file"
    OPAQUE = "iterator whose place is in none of its attributes"
    OTHER = "other"


def nature(value: Any) -> Nature:
    """The first of the natures that holds for an object."""
    kind: Any = type(value)
    return _nature_of(kind)


@functools.lru_cache(maxsize=4096)
def _nature_of(kind: Any) -> Nature:
    if issubclass(kind, randomness.SOURCES):
        return Nature.SOURCE
    if issubclass(kind, IOBase):
        return Nature.FILE
    is_iterator = issubclass(kind, Iterator) and is_of_a_library(kind)
    return Nature.OPAQUE if is_iterator or issubclass(kind, _BaseDataLoaderIter) else Nature.OTHER


def is_opaque(value: Any) -> bool:
    """Whether a value is an iterator whose place is in none of its attributes."""
    return nature(value) is Nature.OPAQUE
