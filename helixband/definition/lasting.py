"""What a definition holds from one trial of a process to the next: each finds it as the first one did."""

import bisect
import contextlib
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, IterableDataset, Sampler

from base_model import BaseModel
from batch_generator import BatchGenerator
from helixband.randomness import held
from helixband.training.holdings import shown, unchanged
from helixband.training.objects import ATOMS, is_of_a_library, is_ours, walk
from helixband.training.snapshot import ROOM, Snapshot
from helixband.training.state import TRAIN

Span = tuple[int, int]
"""The addresses in memory from the first byte to behind the last."""

_READ = (DataLoader, Sampler, IterableDataset, Iterator)
"""What of a library is read in an order."""
_CHANGE_NOTHING = (tuple, frozenset, type, FunctionType, ModuleType)


class Lent:
    """What networks take of the definition's variables and train in place, as it was before any training.

    That is a module, such as a pretrained encoder, or an array which `torch.from_numpy` makes a weight of.
    """

    def __init__(self) -> None:
        self._first: dict[int, Snapshot] | None = None
        """Of the modules that there are before the first model, which its making may change."""
        self._kept: dict[int, Snapshot] = {}
        self._dtype: torch.dtype | None = None
        self.name: str | None = None
        """What the latest model has taken and its training may change, the first by name."""

    def to(self, make: Callable[[], BaseModel]) -> BaseModel:
        """A new model, for which all is as it was at first, torch's default dtype too."""
        self._dtype = self._dtype or torch.get_default_dtype()
        torch.set_default_dtype(self._dtype)
        there = {id(value): (name, value) for name, value in _variables()}
        self._kept = {key: snapshot for key, snapshot in self._kept.items() if key in there}
        for snapshot in self._kept.values():
            snapshot.put_back()
        before = {key: each for key, each in there.items() if isinstance(each[1], nn.Module)}
        if self._first is None:
            small = {key: named for key, named in before.items() if 0 < _nbytes(named[1]) <= ROOM}
            self._first = {key: Snapshot({name: value}) for key, (name, value) in small.items()}
        model = make()
        self._take(model, before)
        return model

    def _take(self, model: BaseModel, before: Container[int]) -> None:
        """Keep what a new model has taken; `before` are the modules that there were, by their `id`."""
        modules = [value for value in vars(model).values() if isinstance(value, nn.Module)]
        weights = [weight for module in modules for weight in module.parameters()]
        optimizer: Any = model.optimizer
        weights += [weight for group in getattr(optimizer, "param_groups", ()) for weight in group["params"]]
        held_there = _Memory([*weights, *(buffer for module in modules for buffer in module.buffers())])
        trained = _Memory(weight for weight in weights if weight.requires_grad)
        constant = model.criterion  # its buffers are, as weights of classes
        self.name = None
        for name, value in _variables():
            if isinstance(value, nn.Module):
                if id(value) not in before and any(value is module for module in modules):
                    continue
                is_taken = _nbytes(value) > 0 and held_there.has([*value.parameters(), *value.buffers()])
                changes = is_taken and trained.has(value.parameters())
                changes |= is_taken and value is not constant and any(True for _ in value.buffers())
            else:
                is_taken = changes = trained.has([value])
            if is_taken and id(value) not in self._kept:
                first = (self._first or {}).get(id(value))
                self._kept[id(value)] = first or Snapshot({name: value}, room=sys.maxsize)
            if changes:
                self.name = self.name or name


def _nbytes(module: nn.Module) -> int:
    """The bytes of a module's tensors; 0 where one of them is not made yet."""
    tensors = [*module.parameters(), *module.buffers()]
    return 0 if any(map(is_lazy, tensors)) else sum(tensor.nbytes for tensor in tensors)


def _variables() -> Iterator[tuple[str, Any]]:
    """The modules, tensors and arrays in the definition's variables by name, but for those of models."""
    kinds = nn.Module, Tensor, np.ndarray
    for path, value in walk(held.variables(), lambda value, path: isinstance(value, (BaseModel, *kinds))):
        if isinstance(value, kinds):
            yield shown(path), value


class _Memory:
    """Where some tensors lie."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._spans = sorted(span for tensor in tensors if (span := _span(tensor)) is not None)

    def has(self, arrays: Iterable[Any]) -> bool:
        """Whether one of some tensors and arrays lies there, too."""
        for start, end in filter(None, map(_span, arrays)):
            before = bisect.bisect_left(self._spans, (end, 0))
            if before and self._spans[before - 1][1] > start:
                return True
        return False


def _span(array: Any) -> Span | None:
    """The memory of a tensor or an array, with all of what it is a view of; None where it has none."""
    if isinstance(array, Tensor):
        try:
            storage = array.untyped_storage()
            start, size = storage.data_ptr(), storage.nbytes()
        except (RuntimeError, NotImplementedError, ValueError):  # of a lazy one, or another layout
            return None
    else:
        while isinstance(array.base, np.ndarray):
            array = array.base
        start, size = array.ctypes.data, array.nbytes
    return (start, start + size) if size else None


@contextlib.contextmanager
def left_for_others(train: Iterable[Any]) -> Iterator[None]:
    """Around a trial: a training generator is afterwards as before, if other trials have it or a part of it.

    Those of Helixband are made once, a function with `functools.cache` gives its own again, and all trials
    have what the definition's variables hold.
    """
    is_data = isinstance(train, BatchGenerator) and train.is_made_alone()
    is_given_again = isinstance(train, BatchGenerator) or _caches()
    if is_data or not (is_given_again or any(True for _ in _shared(train))):
        yield
        return
    with unchanged({TRAIN: train}, strict=False, room=ROOM):
        yield


def orders(train: Iterable[Any]) -> dict[int, Any]:
    """What a generator reads its data from in an order, itself too, by `id`: of a trial it has to be its own.

    Of a generator of Helixband each trial may have a copy, and of data alone all may have one.
    """
    found = {id(value): value for _, value in walk({TRAIN: train}, lambda value, path: False)}
    ours = {id(train)} if isinstance(train, BatchGenerator) else set()
    return {key: value for key, value in found.items() if key not in ours and _is_read(value)}


def in_variables() -> set[int]:
    """The objects that the definition's variables hold, by `id`."""
    return {id(value) for _, value in walk(held.variables(), lambda value, path: False)}


def _is_read(value: Any) -> bool:
    kind: Any = type(value)
    is_own = not (is_of_a_library(kind) or is_ours(kind.__module__) or isinstance(value, nn.Module))
    is_iterated = isinstance(value, _READ) or (is_own and hasattr(kind, "__iter__"))
    return is_iterated or callable(getattr(kind, "set_epoch", None))


def _caches() -> bool:
    """Whether a function of the definition gives again what it gave."""
    modules = held.modules().values()
    return any(hasattr(type(value), "cache_info") for module in modules for value in vars(module).values())


def _shared(train: Iterable[Any]) -> Iterator[Any]:
    """The objects that can change and that both a generator and the definition's variables hold."""
    there = in_variables()
    for _, value in walk({TRAIN: train}, lambda value, path: False):
        can_change = type(value) not in ATOMS and not isinstance(value, _CHANGE_NOTHING)
        if can_change and id(value) in there:
            yield value
