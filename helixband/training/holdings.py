"""What is plain of what objects hold: kept where it changes in a training, and put back."""

import contextlib
import itertools
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import CellType, FunctionType
from typing import Any, NamedTuple

from torch import nn

from helixband import randomness
from helixband.errors import DefinitionError, HelixbandWarning, StorageError
from helixband.training.objects import ATOMS, ITEMS, Path, Skip, Step, is_opaque, is_stateful, walk
from helixband.training.plain import BYTES, CONTAINERS, NotPlain, decoded, encoded, exact, mark, mark_of_state


class Kind(NamedTuple):
    """What there is to compare of an object that is not plain: of a container also how many items it has.

    Of a container that is not looked into, it is also which objects some of them are.
    """

    kind: type[Any]
    items: tuple[int, ...] = ()


class Holdings:
    """What is plain of what some objects hold, and how it differs from what it was at first.

    `roots` are the objects by their names in messages. Of what only `shared` ones hold, nothing is kept, as
    other trials see it too.
    """

    def __init__(self, skip: Skip = lambda holder: None) -> None:
        self._skip = skip
        self._first: dict[Path, Any] = {}
        self._put: set[Path] = set()
        """What was put back: not as at first, whatever it was when it was looked at first."""
        self._strange: dict[Path, Any] = {}
        self._told: set[Path] = set()

    def begin(
        self, roots: Mapping[str, Any], shared: Mapping[str, Any] | None = None, covered: Iterable[Any] = ()
    ) -> None:
        """Take what the objects hold now for what they hold at first, where that is not known yet.

        `covered` are objects whose state is kept otherwise.
        """
        found = {path: found for path, _, found in self._look({**roots, **(shared or {})}, covered)}
        self._first = found | self._first

    def changes(
        self, roots: Mapping[str, Any], shared: Mapping[str, Any] | None = None, covered: Iterable[Any] = ()
    ) -> dict[Path, Any]:
        """The codes of what is not as at first, by path.

        What cannot be kept is told once, by a warning, where it changes from one call to the next.
        """
        found: dict[Path, Any] = {}
        within: set[Path] = set()  # what is kept with its container
        strange: dict[Path, Any] = {}
        for path, value, now in self._look({**roots, **(shared or {})}, covered):
            above = path[:-1]
            if above in within:
                within.add(path)
            elif above and (above in strange or above not in self._first):  # made after the beginning
                strange[path] = now
            elif path in self._put or self._first.get(path) != now:
                code = None if path[0][1] not in roots else self._code_of(path, value)
                if code is None:
                    strange[path] = now
                else:
                    found[path] = code
                    within.add(path)
        self._tell(strange)
        return found

    def put(self, roots: Mapping[str, Any], changes: Mapping[Path, Any], where: str) -> None:
        """Put back what `changes` gave, or raise a `StorageError` that names `where` it is from."""
        put(roots, changes, where)
        self._put |= set(changes)

    @contextlib.contextmanager
    def unchanged(
        self, roots: Mapping[str, Any], covered: Iterable[Any] = (), strict: bool = True
    ) -> Iterator[None]:
        """Around what uses some objects: what is plain of what they hold is afterwards as before.

        A cache, as is a dict to which items were added, or a file that was opened, stays. What changed and
        cannot be put back raises a `DefinitionError`, if `strict`.
        """
        before = {path: (value, found) for path, value, found in self._look(roots, covered)}
        codes = {path: _copy_of(value, found) for path, (value, found) in before.items()}
        yield
        changed: dict[Path, Any] = {}
        for path, value, now in list(self._look(roots, covered)):
            if path not in before:
                if path[-1][0] == "." and path[:-1] in before and not _is_cache(None, now, value):
                    delattr(_holder(roots, path), path[-1][1])
            elif now != before[path][1] and not _is_cache(before[path][0], now, value):
                if codes[path] is not None:
                    changed[path] = codes[path]
                elif strict:
                    raise DefinitionError(
                        f"{shown(path)} changes while the set is read, and cannot be put back: validations "
                        "would depend on how often a run was interrupted. Draw what is random anew in each "
                        "__iter__, or give the generator set_epoch(epoch), or state_dict() and "
                        "load_state_dict(state)"
                    )
        put(roots, changed, "the state before")

    def _look(self, roots: Mapping[str, Any], covered: Iterable[Any]) -> Iterator[tuple[Path, Any, Any]]:
        """Each value with its path and mark."""
        known = {id(part) for part in covered}
        marks: dict[Path, Any] = {}

        def is_end(value: Any, path: Path) -> bool:
            if id(value) in known:
                marks[path] = Kind(type(value))
                return False
            if isinstance(value, randomness.SOURCES) or is_opaque(value):
                return True
            marks[path] = found = _mark_of(value)
            return not isinstance(found, Kind) and not isinstance(value, nn.Module)

        for path, value in walk(roots, is_end, self._skip):
            if type(value) in ATOMS:
                yield path, value, (type(value), value)
            elif path in marks:
                yield path, value, marks[path]

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
    text = "".join(f".{key}" if kind == "." else f"[{key!r}]" for kind, key in path).removeprefix(".")
    for inner in (".__closure__", ".cell_contents", ".__self__"):
        text = text.replace(inner, "")
    return text


def _mark_of(value: Any) -> Any:
    try:
        if is_stateful(value):
            return "state", mark_of_state(value.state_dict())
        return mark(value)
    except NotPlain:
        if not isinstance(value, dict | list | tuple | deque):
            return Kind(type(value))
        sample = itertools.islice(value, 0, None, max(1, len(value) // ITEMS)) if len(value) > ITEMS else ()
        return Kind(type(value), (len(value), *map(id, sample)))


def _copy_of(value: Any, found: Any) -> Any:
    """The code of a value, or None where it has none."""
    if isinstance(found, Kind) and not isinstance(value, list | deque):
        return None
    try:
        return encoded(value)
    except NotPlain:
        return None


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
        object.__setattr__(holder, key, value)  # of a frozen dataclass too
