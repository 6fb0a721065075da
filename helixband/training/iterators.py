"""Iterators that go on from one epoch to the next: no checkpoint can hold their place."""

import itertools
import operator
import warnings
from collections.abc import Container, Iterable
from io import IOBase
from types import GeneratorType
from typing import Any

from torch.utils.data.dataloader import _BaseDataLoaderIter

from helixband.errors import DefinitionError, HelixbandWarning
from helixband.generators.base import BatchGenerator
from helixband.training.holdings import Opaque, shown
from helixband.training.objects import ATOMS, Nature, Path, is_opaque, is_stateful, nature, walk
from helixband.training.plain import NotPlain, place_of


class Iterators:
    """Looks at them at the end of each epoch."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, Any]] = {}
        self._told: set[int] = set()

    def look(self, found: Iterable[Opaque]) -> None:
        """Note those that are there before the first epoch, as `check` gets them."""
        self._seen = {id(held): (held, _place(held)) for _, root, held in found if not is_stateful(root)}

    def check(self, found: Iterable[Opaque], used: Container[str]) -> None:
        """Raise `DefinitionError` where one that was found in an object without a state of its own goes on.

        That is known at once of Python's and a DataLoader's. Others do where they are seen a second time, and
        have moved if they tell their place. `used` are the names of the objects with which training works.
        It may not read what others hold: there, that one has moved has to be known, or is told as a warning.
        """
        seen: dict[int, tuple[Any, Any]] = {}
        for path, root, held in found:
            if is_stateful(root):
                continue
            place, live = _place(held), goes_on(held)
            seen[id(held)] = held, place
            before = self._seen.get(id(held))
            moved = before is not None and place is not None and before[1] != place
            unknown = before is not None and place is None
            is_used = path[0][1] in used
            if held is root and is_used:  # begun anew by its __iter__
                continue
            if not is_used:
                if live and unknown and id(held) not in self._told:
                    self._tell(path, held)
                live = live is not False and moved
            elif live is None:
                live = moved or unknown
            if live:
                raise _refused(path, root, held)
        self._seen = seen

    def _tell(self, path: Path, held: Any) -> None:
        self._told.add(id(held))
        warnings.warn(
            f"{shown(path)} is a {type(held).__name__}, whose place no checkpoint can hold: if training "
            "reads it, an interrupted training may come to another result. Make it anew for each epoch",
            HelixbandWarning,
            stacklevel=2,
        )


def iterators_of(name: str, root: Any) -> list[Opaque]:
    """The iterators and files that an object holds."""
    if isinstance(root, BatchGenerator) and root.is_data_alone():
        return []
    found = walk({name: root}, lambda value, path: is_opaque(value))
    natures = (Nature.OPAQUE, Nature.FILE)
    return [(path, root, value) for path, value in found if nature(value) in natures]


def _refused(path: Path, root: Any, held: Any) -> DefinitionError:
    kind = type(held).__name__
    what = f"a {type(root).__name__}, keeps a {kind} from one epoch to the next ({shown(path[1:])})"
    if held is root:
        what = f"a {kind}, goes on from one epoch to the next"
    return DefinitionError(
        f"{path[0][1]}, {what}, whose place no checkpoint can hold; make it anew in __iter__, or give the "
        "generator state_dict() and load_state_dict()"
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


def _place(iterator: Any) -> Any:
    """What an iterator tells of how far it is, or None."""
    if isinstance(iterator, itertools.count):
        return repr(iterator)
    if isinstance(iterator, GeneratorType):
        frame = iterator.gi_frame
        known = [] if frame is None else [value for value in frame.f_locals.values() if type(value) in ATOMS]
        return None if frame is None else (frame.f_lasti, known)
    line = getattr(iterator, "line_num", None)  # of csv's readers
    left = operator.length_hint(iterator, -1)
    return line if line is not None or left < 0 else left
