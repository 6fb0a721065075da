"""A configuration: the hyperparameters of one trial, by name.

Its values are what JSON holds (numbers, strings, booleans, null, lists, dicts) and schedules. Stored, a
schedule is a dict with the key `__schedule__`.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from helixband.errors import DefinitionError, UsageError
from helixband.nested import map_leaves
from helixband.training.schedules import Schedule


class MissingHyperparameter(DefinitionError, KeyError):
    """A name that the configuration does not hold; a `KeyError`, so that `config.get` works."""

    __str__ = Exception.__str__


class Config(Mapping[str, Any]):
    """A read-only mapping of hyperparameters; a schedule reads as its value of the moment."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = dict(values or {})
        self._now: tuple[int, int] | None = None

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            known = ", ".join(self._values) or "nothing"
            raise MissingHyperparameter(f"the configuration has no hyperparameter {name!r}; it has {known}")
        value, now = self._values[name], self._now
        if now is None:
            return value
        return map_leaves(lambda leaf: leaf.at(*now) if isinstance(leaf, Schedule) else leaf, value)

    def __contains__(self, name: object) -> bool:  # a membership test asks for no value
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Config({self._values!r})"

    @property
    def params(self) -> "Config":
        """The hyperparameters: this mapping itself."""
        return self

    def set_time(self, epoch: int, step: int) -> None:
        """From here on, schedules read as their value in this epoch and step (both from 0)."""
        self._now = (epoch, step)


def to_json(value: Any, where: str = "the configuration") -> Any:
    """`value` as plain JSON values: NumPy and torch scalars become numbers, arrays and tuples lists.

    Raises `DefinitionError` naming the key of a value that JSON has no form for, NaN and infinity included.
    """
    if isinstance(value, Schedule):
        value = value.to_json()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise DefinitionError(f"{where} has the key {key!r}; keys have to be strings")
        return {key: to_json(item, f"{where}[{key!r}]") for key, item in value.items()}
    if hasattr(value, "tolist"):  # NumPy and torch: an array gives a list, a scalar a number
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [to_json(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    kind = type(value).__name__
    raise DefinitionError(
        f"{where} is {value!r} ({kind}), which cannot be stored; "
        "use finite numbers, strings, booleans, None, lists, dicts or schedules"
    )


def from_json(document: Mapping[str, Any]) -> Config:
    """The configuration that `to_json` wrote, its schedules made again."""
    return Config({key: _revive(value) for key, value in document.items()})


def _revive(value: Any) -> Any:
    if isinstance(value, dict):
        if "__schedule__" in value:
            return Schedule.from_json(value)
        return {key: _revive(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_revive(item) for item in value]
    return value


def canonical(document: Mapping[str, Any]) -> str:
    """One text for each configuration: equal texts, equal configurations, whatever the order of keys."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def read_config(path: str | None, assignments: list[str]) -> dict[str, Any]:
    """The configuration of a JSON file, then of `key=value` texts, which win.

    A value is read as JSON where it is JSON, and as a string otherwise: `lr=1e-3`, `name=adam`,
    `layers=[64, 32]`. Raises `UsageError` for what is neither.
    """
    document = _read_file(path) if path else {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not key or not equals:
            raise UsageError(f"--set takes key=value, got {assignment!r}")
        try:
            document[key] = json.loads(text)
        except ValueError:
            document[key] = text
    try:
        return dict(to_json(document, "the fixed configuration"))
    except DefinitionError as error:
        raise UsageError(str(error)) from error


def _read_file(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--config {path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise UsageError(f"--config {path}: holds a {kind}; it has to be an object, key to value")
    return document
