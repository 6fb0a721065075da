"""What an epoch or a set came to, by name."""

import functools
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from helixband.env import check_name
from helixband.errors import DefinitionError, in_one_line

_OF_NO_LINE = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of Unicode of which a text in one line has none: control characters, breaks of lines."""


class _Unquoted(str):
    """A message of a `KeyError`, which shows the `repr` of what it is given."""

    __repr__ = str.__str__


class Result(dict[str, float]):
    """Numbers by name, also read and set as attributes and by `.loc[name]`, as in a Series of pandas.

    >>> result = Result(val_loss=0.5)
    >>> result["val_loss"], result.val_loss, result.loc["val_loss"]
    (0.5, 0.5, 0.5)
    >>> result.gap = 0.1
    >>> result
    {'val_loss': 0.5, 'gap': 0.1}
    """

    @property
    def loc(self) -> "Result":
        """This result itself."""
        return self

    def __getattr__(self, name: str) -> float:
        if name in self:
            return self[name]
        raise AttributeError(self._without(name))

    def __setattr__(self, name: str, value: float) -> None:
        if hasattr(Result, name):
            raise AttributeError(f"{name!r} is a method of a result: write result[{name!r}] = …")
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise AttributeError(self._without(name))
        del self[name]

    def __missing__(self, name: str) -> Any:
        raise KeyError(_Unquoted(self._without(name)))

    def _without(self, name: str) -> str:
        return f"{name!r} is not in the result; it has {', '.join(self) or 'nothing'}"


def plain_numbers(values: Mapping[str, Any], where: str) -> dict[str, float]:
    """Metrics or columns as plain floats, with their names checked.

    Raises `DefinitionError` naming `where` one comes from that is no number, or has no name for a column.
    """
    if not isinstance(values, Mapping):
        raise DefinitionError(
            f"{where} returned {in_one_line(values)}; it has to return a dict, name to number"
        )
    return {named(name, where): number(value, f"{where}[{name!r}]") for name, value in values.items()}


@functools.lru_cache(maxsize=1 << 10)
def named(name: Any, where: str) -> str:
    """The name that a definition gives to a number, as a column of tables has it.

    Raises `DefinitionError` where it is no text in one line, or has the value of a credential.
    """
    if not isinstance(name, str) or not name or not _OF_NO_LINE.isdisjoint(map(unicodedata.category, name)):
        raise DefinitionError(
            f"{where} gives a number the name {name!r}; a name has to be a text in one line, for it is the "
            "head of a column"
        )
    check_name(f"a metric of {where}", name)
    return name


def joined(losses: Mapping[str, float], values: Mapping[str, float]) -> dict[str, float]:
    """Losses and metrics by name; raises `DefinitionError` where one of each has the same."""
    if "loss" in values:
        raise DefinitionError("a metric is called 'loss', as the loss itself is: give it another name")
    if twice := losses.keys() & values.keys():
        raise DefinitionError(
            f"{min(twice)} is a loss that compute_loss names, and a metric: call one of them otherwise"
        )
    return {**losses, **values}


def number(value: Any, where: str) -> float:
    """A value as a plain float; raises `DefinitionError` where it is no number."""
    if type(value) is float:  # nearly always, and once for each training batch
        return value
    if isinstance(value, str) or value is None:
        raise DefinitionError(f"{where} is {in_one_line(value)}; it has to be a number")
    if hasattr(value, "detach"):  # a tensor, of which torch warns where it has a gradient
        value = value.detach()
    if math.prod(np.shape(value)) != 1:
        raise DefinitionError(f"{where} has the shape {np.shape(value)}; it has to be a number")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{where} is {in_one_line(value)}; it has to be a number") from error
