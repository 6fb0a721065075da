"""What an epoch or a set came to, by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from helixband.errors import DefinitionError, in_one_line


class _Unquoted(str):
    """A message of a `KeyError`, which shows the `repr` of what it is given."""

    __repr__ = str.__str__


class Result(dict[str, float]):
    """Numbers by name, which also read as attributes and as `.loc[name]`, as in a Series of pandas.

    >>> result = Result(val_loss=0.5)
    >>> result["val_loss"], result.val_loss, result.loc["val_loss"]
    (0.5, 0.5, 0.5)
    """

    @property
    def loc(self) -> "Result":
        """This result itself."""
        return self

    def __getattr__(self, name: str) -> float:
        if name in self:
            return self[name]
        raise AttributeError(self._without(name))

    def __missing__(self, name: str) -> Any:
        raise KeyError(_Unquoted(self._without(name)))

    def _without(self, name: str) -> str:
        return f"{name!r} is not in the result; it has {', '.join(self) or 'nothing'}"


def plain_numbers(values: Mapping[str, Any], where: str) -> dict[str, float]:
    """Metrics as plain floats; raises `DefinitionError` naming `where` one comes from that is no number."""
    if not isinstance(values, Mapping):
        raise DefinitionError(
            f"{where} returned {in_one_line(values)}; it has to return a dict, name to number"
        )
    return {str(name): number(value, f"{where}[{name!r}]") for name, value in values.items()}


def joined(losses: Mapping[str, float], values: Mapping[str, float]) -> dict[str, float]:
    """Losses and metrics by name; raises `DefinitionError` where one of each has the same."""
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
    if np.size(value) != 1:
        raise DefinitionError(f"{where} has the shape {np.shape(value)}; it has to be a number")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{where} is {in_one_line(value)}; it has to be a number") from error
