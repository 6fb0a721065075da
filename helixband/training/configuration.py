"""A configuration: the hyperparameters of one trial, by name.

Its values are what JSON holds (numbers, strings, booleans, null, lists, dicts) and schedules. Stored, a
schedule is a dict with the key `__schedule__`. A model gets what JSON gives back, from the first trial on.
"""

import ast
import io
import json
import math
import re
import shlex
import tokenize
import warnings
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch

from helixband.env import credential_in, is_secret
from helixband.errors import DefinitionError, UsageError, in_one_line
from helixband.nested import map_leaves, named_leaves
from helixband.training.schedules import Schedule
from helixband.training.unique import unique_keys


class MissingHyperparameter(DefinitionError, KeyError):
    """A name that the configuration does not hold; a `KeyError`, so that `config.get` works."""

    __str__ = Exception.__str__


class Config(Mapping[str, Any]):
    """A read-only mapping of hyperparameters; a schedule reads as its value of the moment.

    `advice` is what to do where a name is missing, with {} for the name. `declared` is the class of
    hyperparameters of the definition, where it has one.
    """

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        advice: str = "",
        declared: Callable[[Mapping[str, Any]], Any] | None = None,
    ) -> None:
        self._advice, self._declared = advice, declared
        self._as_declared: Any = None
        self._values = dict(values or {})
        self._now: tuple[int, int] | None = None
        self.schedules_read = 0
        """How often the value of a schedule was read."""
        self.names_read: set[str] = set()
        """What was read since this was emptied."""

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            known = ", ".join(self._values) or "nothing"
            told = f"the configuration has no hyperparameter {name!r}; it has {known}"
            raise MissingHyperparameter(told + self._advice.replace("{}", name))
        value = self._values[name]
        self.names_read.add(name)
        if self._now is None:
            return value
        return map_leaves(self._of_now, value)

    def _of_now(self, leaf: Any) -> Any:
        if not isinstance(leaf, Schedule):
            return leaf
        self.schedules_read += 1
        return leaf.at(*self.time)

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

    def as_declared(self) -> Any:
        """The values of the moment, as the definition's class of hyperparameters has them.

        Raises `DefinitionError` where it has none.
        """
        if self._declared is None:
            raise DefinitionError(
                "the definition declares no hyperparameters: it has no class hparams; read self.config"
            )
        if self._as_declared is None or self.scheduled():
            self._as_declared = self._declared(dict(self))
        return self._as_declared

    def scheduled(self) -> dict[str, float]:
        """The schedules at the moment, by name; of one in a dict or list, the path to it.

        >>> schedule = {"__schedule__": "StepSchedule", "start": 1, "factor": 2, "every": 1}
        >>> config = from_json({"adam": {"lr": schedule}})
        >>> config.set_time(epoch=3, step=0)
        >>> config.scheduled()
        {'adam.lr': 8.0}
        """
        now = self._now or (0, 0)
        found = ((name[1:], leaf) for name, leaf in named_leaves(self._values))
        return {name: leaf.at(*now) for name, leaf in found if isinstance(leaf, Schedule)}

    @property
    def time(self) -> tuple[int, int]:
        """The epoch and the step at whose values schedules read, both from 0."""
        return self._now or (0, 0)

    def set_time(self, epoch: int, step: int) -> None:
        """From here on, schedules read as their value in this epoch and step (both from 0)."""
        self._now = (epoch, step)


class AsDeclared:
    """The hyperparameters of a model as the definition's class `hparams` has them, schedules as in `config`.

    It is no property, so that a definition can set an attribute `hparams` of its own.
    """

    def __get__(self, model: Any, owner: type[Any] | None = None) -> Any:
        return self if model is None else model.config.as_declared()


_EXACT = {bool, int, str, type(None)}


def to_json(value: Any, where: str = "the configuration") -> Any:
    """`value` as plain JSON values: NumPy and torch scalars become numbers, arrays and tuples lists.

    Raises `DefinitionError` naming the key of a value that JSON does not hold exactly: NaN, infinity, an Enum
    (of strings or integers too), an object of a class of one's own.
    """
    return _to_json(value, (where,))


def _to_json(value: Any, path: tuple[Any, ...]) -> Any:
    """The same, of a value in it at a path: its text is made where it is told, as a search converts many."""
    if type(value) is str and (variable := credential_in(value)) is not None:
        raise _not_to_be_stored(_where(path), variable)
    # The very types: a subclass, as an Enum of strings is one, would come back as another value.
    if type(value) in _EXACT or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, Schedule):
        value = value.to_json()
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is str and (variable := credential_in(key)) is not None:
                raise _not_to_be_stored(f"a key of {_where(path)}", variable)
            if type(key) is not str:
                raise DefinitionError(
                    f"{_where(path)} has the key {key!r}; keys have to be strings, of type str itself"
                )
            if is_secret(key, value[key]):
                raise DefinitionError(
                    f"{_where(path)}[{key!r}] looks like a credential, and configurations are stored: leave "
                    "it out, and read it in init_model from an environment variable"
                )
        return {key: _to_json(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item, (*path, index)) for index, item in enumerate(value)]
    if _is_array(value):
        plain = value.tolist()
        if type(plain) is not type(value):  # a longdouble stays one
            return _to_json(plain, path)
    advice = "use finite numbers, strings, booleans, None, lists, dicts or schedules"
    if isinstance(value, Enum):
        advice = f"use its value {value.value!r} or its name {value.name!r}, and look it up in init_model"
    kind = type(value).__name__
    raise DefinitionError(
        f"{_where(path)} is {in_one_line(value)} ({kind}), which cannot be stored; {advice}"
    )


def _where(path: tuple[Any, ...]) -> str:
    return str(path[0]) + "".join(f"[{key!r}]" for key in path[1:])


def _not_to_be_stored(where: str, variable: str) -> DefinitionError:
    return DefinitionError(
        f"{where} has the value of the environment variable {variable}, which is not to be stored: leave "
        "it out of the configuration, and read the variable in init_model"
    )


def _is_array(value: Any) -> bool:
    """Whether it is an array or scalar of NumPy or torch; none of times, which would be bare numbers."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind not in "mM"
    return isinstance(value, torch.Tensor)


def from_json(
    document: Mapping[str, Any],
    advice: str = "",
    declared: Callable[[Mapping[str, Any]], Any] | None = None,
) -> Config:
    """The configuration that `to_json` wrote, its schedules made again; the rest is as `Config` takes it."""
    return Config({key: _revive(value) for key, value in document.items()}, advice, declared)


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
    """The configuration of a JSON file, then of `key=value` texts, which win; `read_value` has their rule.

    Raises `UsageError` for a file that is no JSON object, an assignment without key or value, and a value
    that is none.
    """
    document = _read_file(path) if path else {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not key or not equals:
            raise UsageError(f"--set takes key=value, got {assignment!r}")
        try:
            document[key] = read_value(text)
        except ValueError as error:
            quoted = shlex.quote(f"{key}={json.dumps(text.strip(), ensure_ascii=False)}")
            raise UsageError(f"--set {assignment}: {error}; for a string, quote it: --set {quoted}") from None
    try:
        return dict(to_json(document, "the fixed configuration"))
    except DefinitionError as error:
        raise UsageError(str(error)) from error


_WORDS = {
    **dict.fromkeys(("true", "t", "yes", "y", "on"), "for the boolean, write true"),
    **dict.fromkeys(("false", "f", "no", "n", "off"), "for the boolean, write false"),
    **dict.fromkeys(("none", "null", "nil", "undefined"), "for no value, write null"),
    **dict.fromkeys(("na", "n/a"), "for no value, write null"),
    **dict.fromkeys(("nan", "inf", "infinity"), "a number has to be finite"),
}
"""What is hardly meant as a string, in whatever case, also behind a sign, a dot or a tilde."""
_NO_COMMA = "a number has no comma; for a list, use brackets"


def read_value(text: str) -> Any:
    """A value from the command line: JSON, else a literal of Python, else a string where it looks like one.

    A string without quotes begins with a letter, `/`, `.` or `~`, and is no spelling of true, false, none,
    null, nan or infinity, as other languages and YAML have them, and no list of such. Raises `ValueError`
    with the reason for anything else. So it does for what Python reads otherwise than it looks: a number with
    a comma or any other tuple without brackets, a comment, two strings with no comma between them.

    >>> [read_value(text) for text in ("1e-3", "true", "False", ".1", "(64, 32)", "'1'", "adam", "./x.fa")]
    [0.001, True, False, 0.1, (64, 32), '1', 'adam', './x.fa']
    """
    text = text.strip()
    try:
        return _parse(text)
    except (json.JSONDecodeError, RecursionError):
        pass
    if re.match(r"[+-]?\.?\d", text) and "," in text:
        raise ValueError(_NO_COMMA)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SyntaxWarning)  # as of 1or 2: no literal that anybody means
            tree = ast.parse(text, mode="eval")
            value = ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    else:
        _check_literal(text, tree)
        return value
    words = [_WORDS.get(part.lower().lstrip("+-.~")) for part in re.split(r"[,;#\s]+", text) if part]
    if words and all(words):
        raise ValueError(words[0])
    if text[:1].isalpha() or (text[:1] in ("/", ".", "~") and not text[1:2].isdigit()):
        return text
    raise ValueError(f"{text!r} is neither JSON nor a literal of Python")


def _check_literal(text: str, tree: ast.AST) -> None:
    """Raise `ValueError` where a literal of Python has a comment, a comma outside of brackets, two strings
    that Python joins, or a dict with a key twice."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            unique_keys([(ast.literal_eval(key), None) for key in node.keys if key])
    depth, before = 0, tokenize.ENCODING
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            raise ValueError(f"Python reads {token.string!r} as a comment")
        if token.type == before == tokenize.STRING:
            raise ValueError("Python joins the strings; write one string, or a list with commas")
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
            if token.string == "," and not depth:
                raise ValueError("for a list, use brackets")
        before = token.type if token.type != tokenize.NL else before


def _parse(text: str) -> Any:
    """JSON; raises `ValueError` for what is none, and for an object with a key twice."""
    return json.loads(text, object_pairs_hook=unique_keys)


def read_document(path: str, flag: str) -> Any:
    """What a JSON file holds that a flag names; raises `UsageError` where it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return _parse(file.read())
    except OSError as error:
        raise UsageError(f"{flag} {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{flag} {path}: not JSON: {error}") from error


def _read_file(path: str) -> dict[str, Any]:
    document = read_document(path, "--config")
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise UsageError(f"--config {path}: holds a {kind}; it has to be an object, key to value")
    try:
        return dict(to_json(document, f"--config {path}: the configuration"))
    except DefinitionError as error:
        raise UsageError(str(error)) from error
