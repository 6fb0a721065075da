"""Iterators that go on from one epoch to the next: no checkpoint can hold their place."""

import itertools
import operator
from collections.abc import Iterator, Mapping
from io import IOBase
from types import GeneratorType
from typing import Any

from torch.utils.data.dataloader import _BaseDataLoaderIter

from helixband.errors import DefinitionError
from helixband.training.holdings import shown
from helixband.training.objects import Path, is_opaque, is_stateful, walk
from helixband.training.plain import NotPlain, place_of


class Iterators:
    """Looks for them at the end of each epoch."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, Any]] = {}

    def look(self, roots: Mapping[str, Any]) -> None:
        """Note those that are there before the first epoch."""
        self._seen = {id(held): (held, _place(held)) for _, _, held in _held_by(roots)}

    def check(self, roots: Mapping[str, Any]) -> None:
        """Raise `DefinitionError` where one of the roots, by their names, holds an iterator that goes on.

        That is known at once of Python's and a DataLoader's. Others do where they are seen a second time, and
        have moved if they tell their place.
        """
        seen: dict[int, tuple[Any, Any]] = {}
        for path, root, held in _held_by(roots):
            seen[id(held)] = held, _place(held)
            live = goes_on(held)
            if live is None:
                place = _place(held)
                live = id(held) in self._seen and (place is None or self._seen[id(held)][1] != place)
            if live:
                raise _refused(path, root, held)
        self._seen = seen


def _held_by(roots: Mapping[str, Any]) -> Iterator[tuple[Path, Any, Any]]:
    """The iterators and files that objects without a state of their own hold, each with its path and root."""
    for path, held in walk(roots, lambda value, path: is_opaque(value)):
        root = roots[path[0][1]]
        if held is not root and not is_stateful(root) and (is_opaque(held) or isinstance(held, IOBase)):
            yield path, root, held


def _refused(path: Path, root: Any, held: Any) -> DefinitionError:
    return DefinitionError(
        f"{path[0][1]}, a {type(root).__name__}, keeps a {type(held).__name__} from one epoch to the next "
        f"({shown(path[1:]) or 'itself'}), whose place no checkpoint can hold; make it anew in __iter__, or "
        "give the generator state_dict() and load_state_dict()"
    )


def goes_on(iterator: Any) -> bool | None:
    """Whether an iterator is not at its end; None where that is not known."""
    if isinstance(iterator, IOBase):
        try:
            place_of(iterator)
        except NotPlain:  # amid `for line in file`
            return True
        return False
    if isinstance(iterator, GeneratorType):
        return iterator.gi_frame is not None
    if isinstance(iterator, _BaseDataLoaderIter):
        return iterator._num_yielded < len(iterator)
    if isinstance(iterator, itertools.count) or type(iterator).__module__ not in ("builtins", "itertools"):
        return None
    return operator.length_hint(iterator, 1) > 0


def _place(iterator: Iterator[Any] | IOBase) -> Any:
    """What an iterator tells of how far it is: csv's the line, a count its number."""
    if isinstance(iterator, itertools.count):
        return repr(iterator)
    return getattr(iterator, "line_num", None)
