"""What is plain of what objects hold: kept where it changes in a training, and put back."""

import contextlib
import itertools
import math
import warnings
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping
from enum import Enum
from io import IOBase
from types import CellType, FunctionType
from typing import Any, NamedTuple

from torch import nn

from helixband import randomness
from helixband.errors import DefinitionError, HelixbandWarning, StorageError
from helixband.training.objects import (
    ATOMS,
    HOOK,
    ITEMS,
    Nature,
    Path,
    Skip,
    Step,
    hook_at,
    is_stateful,
    nature,
    walk,
)
from helixband.training.plain import (
    ARRAYS,
    BYTES,
    CONTAINERS,
    NotPlain,
    decoded,
    encoded,
    exact,
    mark_of_state,
)
from helixband.training.plain import mark as mark_of

STATE = "state"
"""What the mark of something begins with that gives its state itself."""


class Kind(NamedTuple):
    """What there is to compare of an object that is not plain: of a container also how many items it has.

    Of a container that is not looked into, it is also which objects some of them are.
    """

    kind: type[Any]
    items: tuple[int, ...] = ()


Opaque = tuple[Path, Any, Any]
"""A file, or an iterator whose place is in none of its attributes, with its path and the root of that."""


class Look(NamedTuple):
    """What some objects hold at a moment, in a fixed order."""

    plain: dict[Path, tuple[Any, Any]]
    """Each value with what tells whether it has changed: its mark, or what there is to compare of it."""
    sources: list[tuple[Path, Any]]
    """Random generators, but for the global ones."""
    opaque: list[Opaque]


def look(
    roots: Mapping[str, Any],
    skip: Skip = lambda holder: None,
    covered: Iterable[Any] = (),
    whole: Iterable[Any] = (),
) -> Look:
    """Look at what objects hold, which are named as in messages.

    `skip` names attributes that are left out. The state of what is `covered` is kept otherwise, but for its
    attributes, and that of what is `whole` with all that it holds.
    """
    known, closed = {id(part) for part in covered}, {id(part) for part in whole}
    marks: dict[Path, Any] = {}
    beneath: set[Path] = set()  # of what is kept with what holds it
    found = Look({}, [], [])

    def is_end(value: Any, path: Path) -> bool:
        kind = nature(value)
        if kind is Nature.SOURCE:
            found.sources.append((path, value))
            return True
        if kind is Nature.OPAQUE or kind is Nature.FILE:
            found.opaque.append((path, roots[path[0][1]], value))
        if id(value) in closed or path[:-1] in beneath:
            beneath.add(path)
        elif id(value) in known:
            marks[path] = Kind(type(value))
        elif kind is not Nature.OPAQUE:
            marks[path] = mark = _mark_of(value)
            is_plain = not isinstance(mark, Kind) and not isinstance(value, nn.Module)
            if is_plain and mark[0] == STATE:
                beneath.add(path)
            return is_plain and bool(mark[0] != STATE)
        return kind is Nature.OPAQUE

    for path, value in walk(roots, is_end, skip):
        if type(value) in ATOMS:
            if path[:-1] not in beneath:
                found.plain[path] = value, (type(value), value)
        elif path in marks:
            found.plain[path] = value, marks[path]
    return found


class Holdings:
    """What is plain of what some objects hold, and how it differs from what it was at first."""

    def __init__(self) -> None:
        self._first: dict[Path, Any] = {}
        self._put: set[Path] = set()
        """What was put back: not as at first, whatever it was when it was looked at first."""
        self._strange: dict[Path, Any] = {}
        self._told: set[Path] = set()

    def begin(self, now: Look) -> None:
        """Take what is held now for what is held at first, where that is not known yet."""
        self._first = {path: mark for path, (_, mark) in now.plain.items()} | self._first

    def changes(self, now: Look, kept: Container[str]) -> dict[Path, Any]:
        """The codes of what is not as at first, by path.

        Of objects that are not `kept`, by their names, there are none: other trials hold them too. What
        cannot be kept is told once, by a warning, where it changes from one call to the next.
        """
        found: dict[Path, Any] = {}
        within: set[Path] = set()  # what is kept with its container
        strange: dict[Path, Any] = {}
        for path, (value, mark) in now.plain.items():
            above = path[:-1]
            if above in within:
                within.add(path)
            elif above and (above in strange or above not in self._first):  # made after the beginning
                strange[path] = mark
            elif path in self._put or self._first.get(path) != mark:
                code = self._code_of(path, value) if path[0][1] in kept else None
                if code is None:
                    strange[path] = mark
                else:
                    found[path] = code
                    within.add(path)
        self._tell(strange)
        return found

    def put(self, roots: Mapping[str, Any], changes: Mapping[Path, Any], where: str) -> None:
        """Put back what `changes` gave, or raise a `StorageError` that names `where` it is from."""
        put(roots, changes, where)
        self._put |= set(changes)

    def _code_of(self, path: Path, value: Any) -> Any:
        """The code of a value, or None where there is none."""
        first = self._first.get(path)
        same_kind = isinstance(first, tuple) and first[0] is type(value)
        # What makes another kind of container, or which Enum it is, only a value that is there tells.
        if isinstance(value, (*CONTAINERS, Enum)) and not (exact(value) or same_kind):
            return None
        try:
            return encoded(value)
        except NotPlain:
            return None

    def _tell(self, strange: dict[Path, Any]) -> None:
        before, self._strange = self._strange, strange
        changed = [
            path
            for path, now in strange.items()
            if path not in self._told and path in before and before[path] != now
        ]
        if changed:
            self._told |= set(changed)
            names = ", ".join(map(shown, changed[:5])) + (", …" if len(changed) > 5 else "")
            warnings.warn(
                f"{names}: changed from one epoch to the next, and no checkpoint holds it. If training "
                "depends on it, it may come to another result if it is interrupted and goes on. Keep it in "
                "an attribute that __init__ or init_model makes, of numbers, strings, arrays and containers "
                "of them",
                HelixbandWarning,
                stacklevel=2,
            )


def changed(before: Look, now: Look) -> str | None:
    """The name of something that has become another one, or None; not of what was made as it was needed."""
    for path, (value, mark) in now.plain.items():
        first, was = before.plain.get(path, (value, mark))
        is_other = mark != was or (isinstance(mark, Kind) and value is not first)
        if is_other and not _is_cache(first, mark, value):
            return shown(path)
    return None


@contextlib.contextmanager
def unchanged(
    roots: Mapping[str, Any],
    skip: Skip = lambda holder: None,
    covered: Iterable[Any] = (),
    strict: bool = True,
    room: float = math.inf,
) -> Iterator[list[Any]]:
    """Around what uses some objects: what is plain of what they hold is afterwards as before.

    So are the random generators that they hold, which it gives. A cache, as is a dict to which items were
    added, or a file that was opened, stays. What changed and cannot be put back raises a `DefinitionError`,
    if `strict`; else it stays, as does a file that was closed. Of arrays `room` bytes are kept, the nearest
    first.
    """
    covered = list(covered)
    now = look(roots, skip, covered)
    before, sources = now.plain, [source for _, source in now.sources]
    states = [randomness.state_of(source) for source in sources]
    codes = {}
    for path, (value, mark) in before.items():
        if _can_change(value):
            room -= value.nbytes if isinstance(value, ARRAYS) and not isinstance(mark, Kind) else 0
            codes[path] = _copy_of(value, mark) if room >= 0 else None

    def put_back(strict: bool) -> None:
        for source, state in zip(sources, states, strict=True):
            randomness.put_state(source, state)
        changed: dict[Path, Any] = {}
        for path, (value, mark) in look(roots, skip, covered).plain.items():
            if path not in before:
                if path[-1][0] == "." and path[:-1] in before and not _is_cache(None, mark, value):
                    delattr(_holder(roots, path), path[-1][1])
                continue
            first, was = before[path]
            if mark == was or _is_cache(first, mark, value):
                continue
            if isinstance(value, IOBase) and value.closed and not strict:
                continue
            code = codes[path] if path in codes else _copy_of(first, was)
            if code is not None:
                changed[path] = code
            elif strict:
                raise DefinitionError(
                    f"{shown(path)} changes while the set is read, and cannot be put back: validations "
                    "would depend on how often a run was interrupted. Draw what is random anew in each "
                    "__iter__, or give the generator set_epoch(epoch), or state_dict() and "
                    "load_state_dict(state)"
                )
        put(roots, changed, "the state before")

    try:
        yield sources
    except BaseException:
        put_back(strict=False)
        raise
    put_back(strict)


def put(roots: Mapping[str, Any], changes: Mapping[Path, Any], where: str) -> None:
    """Put back what `Holdings.changes` gave; raises `StorageError` that names `where` it is from."""
    for path, code in changes.items():
        try:
            if len(path) == 1:
                decoded(code, roots[path[0][1]])
                continue
            holder = _holder(roots, path)
            now = _now(holder, path[-1])
            value = decoded(code, now)
            if value is not now:
                _set(holder, path[-1], value)
        except (AttributeError, LookupError, TypeError, ValueError, OSError) as error:
            raise StorageError(
                f"{where} does not fit the definition: {shown(path)} cannot be put back "
                f"({type(error).__name__}: {error}); --force goes on with another definition only where it "
                "has what the one before kept"
            ) from error


def shown(path: Path) -> str:
    """A path as Python writes it."""
    text = "".join(map(_shown, path)).removeprefix(".")
    for inner in (".__closure__", ".cell_contents", ".__self__"):
        text = text.replace(inner, "")
    return text


def _shown(step: Step) -> str:
    kind, key = step
    if kind == HOOK:
        parameter, _, place = key
        return f"{'.' * bool(parameter)}{parameter}.hook[{place}]"
    return f".{key}" if kind == "." else f"[{key!r}]"


def _mark_of(value: Any) -> Any:
    try:
        if is_stateful(value):
            return STATE, mark_of_state(value.state_dict())
        return mark_of(value)
    except NotPlain:
        if not isinstance(value, (dict, list, tuple, deque)):
            return Kind(type(value))
        sample = itertools.islice(value, 0, None, max(1, len(value) // ITEMS)) if len(value) > ITEMS else ()
        return Kind(type(value), (len(value), *map(id, sample)))


def _copy_of(value: Any, found: Any) -> Any:
    """The code of a value, or None where it has none."""
    if isinstance(found, Kind) and not isinstance(value, (list, deque)):
        return None
    try:
        return encoded(value)
    except NotPlain:
        return None


def _can_change(value: Any) -> bool:
    """Whether a value can become another one and stay the same object."""
    return type(value) not in ATOMS and not isinstance(value, (nn.Module, FunctionType))


def _is_cache(before: Any, now: Any, value: Any) -> bool:
    """Whether a change is that of something that is made when it is needed, and read from then on."""
    if isinstance(before, dict):
        return isinstance(value, dict) and isinstance(now, Kind)
    return type(before) in ATOMS and (isinstance(now, Kind) or getattr(value, "nbytes", 0) > BYTES)


def _holder(roots: Mapping[str, Any], path: Path) -> Any:
    """What has the last step of a path."""
    holder = roots[path[0][1]]
    for step in path[1:-1]:
        holder = _at(holder, step)
    return holder


def _at(holder: Any, step: Step) -> Any:
    kind, key = step
    if kind == HOOK:
        return hook_at(holder, key)
    return holder[key] if kind == "[" else getattr(holder, key)


def _now(holder: Any, step: Step) -> Any:
    """What is at a step now; None where there is nothing."""
    kind, key = step
    if kind == ".":
        return getattr(holder, key, None)
    return holder.get(key) if isinstance(holder, dict) else holder[key]


def _set(holder: Any, step: Step, value: Any) -> None:
    kind, key = step
    if kind == "[":
        holder[key] = value
    elif isinstance(holder, CellType | FunctionType | nn.Module):
        setattr(holder, key, value)
    else:
        try:
            object.__setattr__(holder, key, value)  # of a frozen dataclass too
        except TypeError:  # a class in C, as that of what each thread has for itself
            setattr(holder, key, value)
