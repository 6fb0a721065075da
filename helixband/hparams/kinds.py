"""The types of hyperparameters: what values each has, and how it reads and writes them.

    check   a value of Python or JSON   -> the value in its one form
    read    a text of a command line    -> the same
    write   a value                     -> a text that `read` takes
    label   a value                     -> its part of a path, and whether that tells it exactly

`check` and `read` raise `ValueError` with what the value has to be.
"""

import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, Protocol

from helixband.errors import UsageError
from helixband.training.schedules import Schedule
from helixband.training.unique import unique_keys

LARGEST = 2**63
NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]")
"""All that a shell, a file system or a path of ours (`=`, `,`, `+`, `~`) could take for something else."""


class Label(NamedTuple):
    """A value in a path."""

    text: str
    is_exact: bool


class Kind(Protocol):
    """A type of hyperparameters; `name` is for messages, `metavar` for --help."""

    name: str
    metavar: str

    def check(self, value: Any) -> Any: ...  # noqa: D102
    def read(self, text: str) -> Any: ...  # noqa: D102
    def write(self, value: Any) -> str: ...  # noqa: D102
    def label(self, value: Any) -> Label: ...  # noqa: D102


class Whole:
    """Integers of 64 bits."""

    name, metavar = "int", "N"

    def check(self, value: Any) -> int:
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise ValueError("it has to be a whole number")
        number = int(value)
        if not -LARGEST <= number < LARGEST:
            raise ValueError("it has to be a whole number of 64 bits")
        return number

    def read(self, text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
            raise ValueError("it has to be a whole number")
        return self.check(int(text))

    def write(self, value: int) -> str:
        return str(value)

    def label(self, value: int) -> Label:
        return Label(str(value), True)


class Number:
    """Finite floats, and schedules; in JSON, a schedule is an object with the key `__schedule__`."""

    name, metavar = "float", "X"

    def check(self, value: Any) -> float:
        if isinstance(value, Mapping) and "__schedule__" in value:
            try:
                value = Schedule.from_json(dict(value))
            except (UsageError, TypeError, ValueError, ArithmeticError) as error:
                raise ValueError(f"it is no schedule: {error}") from None
        if isinstance(value, Schedule):
            canonical(value.to_json())
            return value
        try:
            number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValueError("it has to be a finite number")
        return number + 0.0  # -0.0 is 0.0

    def read(self, text: str) -> float:
        if text.lstrip().startswith("{"):
            return self.check(_json(text))
        if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
            raise ValueError("it has to be a finite number")
        return self.check(float(text))

    def write(self, value: float) -> str:
        return canonical(value.to_json()) if isinstance(value, Schedule) else repr(value)

    def label(self, value: float) -> Label:
        if isinstance(value, Schedule):
            return Label(type(value).__name__, False)
        text = f"{value:.2E}"
        return Label(text, float(text) == value)


class Text:
    """Strings that a command line and a UTF-8 file can have."""

    name, metavar = "str", "TEXT"

    def check(self, value: Any) -> str:
        if type(value) is not str:
            raise ValueError("it has to be a string")
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("it has to be a string of UTF-8 without a NUL")
        return value

    def read(self, text: str) -> str:
        return self.check(text)

    def write(self, value: str) -> str:
        return value

    def label(self, value: str) -> Label:
        text = NOT_IN_LABELS.sub("-", value)
        return Label(text, text == value)


class Truth:
    """True or False."""

    name, metavar = "bool", "true|false"

    def check(self, value: Any) -> bool:
        if type(value) is not bool:
            raise ValueError("it has to be true or false")
        return value

    def read(self, text: str) -> bool:
        words = {"true": True, "t": True, "false": False, "f": False}
        if text.lower() not in words:
            raise ValueError("it has to be true or false")
        return words[text.lower()]

    def write(self, value: bool) -> str:
        return str(value).lower()

    def label(self, value: bool) -> Label:
        return Label("T" if value else "F", True)


class Choice:
    """Some values of any of the types above; raises `ValueError` where two of them have one text."""

    def __init__(self, choices: tuple[Any, ...]) -> None:
        self._kinds = [(BASIC[type(choice)], choice) for choice in choices if type(choice) in BASIC]
        if len(self._kinds) < len(choices):
            raise ValueError("a Literal has ints, strings and booleans")
        for way in ("write", "label"):
            if len({getattr(kind, way)(choice) for kind, choice in self._kinds}) < len(choices):
                raise ValueError("two of its choices are written alike")
        self._told = "|".join(kind.write(choice) for kind, choice in self._kinds)
        self.name = self.metavar = self._told

    def check(self, value: Any) -> Any:
        for kind, choice in self._kinds:
            try:
                if kind.check(value) == choice:
                    return choice
            except ValueError:
                continue
        raise self._wrong()

    def read(self, text: str) -> Any:
        for kind, choice in self._kinds:
            if kind.write(choice) == text:
                return choice
        raise self._wrong()

    def write(self, value: Any) -> str:
        return BASIC[type(value)].write(value)

    def label(self, value: Any) -> Label:
        return BASIC[type(value)].label(value)

    def _wrong(self) -> ValueError:
        return ValueError(f"it has to be one of {', '.join(repr(choice) for _, choice in self._kinds)}")


class Many:
    """Lists of one of the types above; a text is a JSON list, or items between commas."""

    def __init__(self, item: Kind) -> None:
        self._item = item
        self.name = f"list of {item.name}"
        self.metavar = f"{item.metavar},…"

    def check(self, value: Any) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise ValueError(f"it has to be a list ({self.name})")
        return [self._named(self._item.check, number, item) for number, item in enumerate(value)]

    def read(self, text: str) -> list[Any]:
        if text.lstrip().startswith("["):
            return self.check(_json(text))
        items = text.split(",") if text else []
        return [self._named(self._item.read, number, item) for number, item in enumerate(items)]

    def write(self, value: list[Any]) -> str:
        return canonical(plain(value))

    def label(self, value: list[Any]) -> Label:
        labels = [self._item.label(item) for item in value]
        # An empty list and a list of one empty string have the same text.
        return Label("+".join(text for text, _ in labels), all(text and exact for text, exact in labels))

    @staticmethod
    def _named(read: Callable[[Any], Any], number: int, item: Any) -> Any:
        try:
            return read(item)
        except ValueError as error:
            raise ValueError(f"item {number}, {item!r}: {error}") from None


BASIC: dict[Any, Kind] = {int: Whole(), float: Number(), str: Text(), bool: Truth()}


def kind_of(annotation: Any) -> Kind:
    """The kind of a type as a class has it; `X | None` is that of X. Raises `ValueError` for another type."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union) and len(parts) == 2 and type(None) in parts:
        return kind_of(next(part for part in parts if part is not type(None)))
    if isinstance(annotation, type) and annotation in BASIC:
        return BASIC[annotation]
    if origin is Literal:
        return Choice(parts)
    if origin is list and (parts[0] in BASIC or typing.get_origin(parts[0]) is Literal):
        return Many(kind_of(parts[0]))
    raise ValueError("it has to be int, float, str, bool, Literal, or a list of one of these")


def copied(value: Any) -> Any:
    """The value for one who may change it: a list is copied."""
    return [copied(item) for item in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.to_json() if isinstance(value, Schedule) else value


def canonical(document: Any) -> str:
    """One ASCII text for equal JSON values, on every machine; raises `ValueError` for what JSON has not."""
    try:
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except TypeError as error:
        raise ValueError(f"JSON cannot hold it: {error}") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from None
