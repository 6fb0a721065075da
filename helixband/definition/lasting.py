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

from base_model import BaseModel
from batch_generator import BatchGenerator
from helixband.randomness import held
from helixband.training.holdings import shown, unchanged
from helixband.training.objects import ATOMS, walk
from helixband.training.snapshot import ROOM, Snapshot
from helixband.training.state import TRAIN

Span = tuple[int, int]
"""The addresses in memory from the first byte to behind the last."""

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
        """What the latest model has taken, the first by name."""

    def to(self, make: Callable[[], BaseModel]) -> BaseModel:
        """A new model, for which all is as it was at first, torch's default dtype too."""
        self._dtype = self._dtype or torch.get_default_dtype()
        torch.set_default_dtype(self._dtype)
        for snapshot in self._kept.values():
            snapshot.put_back()
        before = {id(value): (name, value) for name, value in _variables() if isinstance(value, nn.Module)}
        if self._first is None:
            small = {key: named for key, named in before.items() if _nbytes(named[1]) <= ROOM}
            self._first = {key: Snapshot({name: value}) for key, (name, value) in small.items()}
        model = make()
        self._take(model, before)
        return model

    def _take(self, model: BaseModel, before: Container[int]) -> None:
        """Keep what a new model has taken; `before` are the modules that there were, by their `id`."""
        parts = [part for part in (model.network, model.criterion) if isinstance(part, nn.Module)]
        weights = [weight for part in parts for weight in part.parameters()]
        of_network = _Memory([*weights, *model.network.buffers()])
        trained = _Memory(weight for weight in weights if weight.requires_grad)
        self.name = None
        for name, value in _variables():
            if isinstance(value, nn.Module):
                is_made_now = id(value) not in before and any(value is part for part in parts)
                is_taken = not is_made_now and of_network.has([*value.parameters(), *value.buffers()])
            else:
                is_taken = trained.has([value])
            if is_taken:
                self.name = self.name or name
                if id(value) not in self._kept:
                    first = (self._first or {}).get(id(value))
                    self._kept[id(value)] = first or Snapshot({name: value}, room=sys.maxsize)


def _nbytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()) if not is_lazy(tensor))


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
def left_for_others(train: Iterable[Any], made_by: Any) -> Iterator[None]:
    """Around a trial: a training generator is afterwards as before, if other trials have it or a part of it.

    Those of Helixband are made once, a function `made_by` with `functools.cache` gives its own again, and all
    trials have what the definition's variables hold.
    """
    is_data = isinstance(train, BatchGenerator) and train.is_made_alone()
    is_given_again = isinstance(train, BatchGenerator) or _is_cached(made_by)
    if is_data or not (is_given_again or any(True for _ in _shared(train))):
        yield
        return
    with unchanged({TRAIN: train}, strict=False):
        yield


def has_shared_order(train: Iterable[Any], made_by: Any) -> bool:
    """Whether trials at a time would have one generator, or one that an epoch's order is set in.

    Of a generator of Helixband itself each may have a copy.
    """
    return not isinstance(train, BatchGenerator) and (
        _is_cached(made_by)
        or any(
            value is train or callable(getattr(type(value), "set_epoch", None)) for value in _shared(train)
        )
    )


def _is_cached(function: Any) -> bool:
    return hasattr(function, "cache_info")


def _shared(train: Iterable[Any]) -> Iterator[Any]:
    """The objects that can change and that both a generator and the definition's variables hold."""
    in_variables = {id(value) for _, value in walk(held.variables(), lambda value, path: False)}
    for _, value in walk({TRAIN: train}, lambda value, path: False):
        can_change = type(value) not in ATOMS and not isinstance(value, _CHANGE_NOTHING)
        if can_change and id(value) in in_variables:
            yield value
