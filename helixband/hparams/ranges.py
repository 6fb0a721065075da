"""What a search draws a hyperparameter from: a range, or a list of values."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from helixband.errors import DefinitionError, in_one_line

Number = int | float
MOST = 2**64
"""Values of a range with a step: as many as there are integers of 64 bits, and few enough to be counted."""


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included; with `step`, low, low + step and so on alone.

    With `log`, their logarithms are evenly spread. Of an int, `step` is 1 unless it is given.

    >>> round(Range(1e-4, 1e-2, log=True).at(0.5), 9)
    0.001
    >>> [Range(0.0, 0.5, step=0.1).at(share) for share in (0, 0.5, 0.99)]
    [0.0, 0.3, 0.5]
    """

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None

    def __post_init__(self) -> None:
        given = {"low": self.low, "high": self.high, **({} if self.step is None else {"step": self.step})}
        for name, value in given.items():
            if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
                raise DefinitionError(f"Range: {name} is {in_one_line(value)}; it has to be a finite number")
        if not self.low < self.high:
            raise DefinitionError(f"{self}: low has to be below high")
        if not self.high - self.low <= sys.float_info.max:
            raise DefinitionError(f"{self}: high - low is more than a float can be")
        if type(self.log) is not bool:
            raise DefinitionError(f"{self}: log has to be True or False")
        if self.log and self.low <= 0:
            raise DefinitionError(f"{self}: low has to be above 0 where log=True")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise DefinitionError(f"{self}: step has to be above 0, and no more than high - low")
        if self.step is not None and (self.high - self.low) / self.step > MOST:
            raise DefinitionError(f"{self}: step is so small that there are more than 2**64 values")

    def __str__(self) -> str:
        more = (", log=True" if self.log else "") + ("" if self.step is None else f", step={self.step}")
        return f"Range({self.low}, {self.high}{more})"

    def at(self, share: float) -> Number:
        """The value below which `share` of all draws lie, for a share in [0, 1)."""
        if self.step is None:
            return min(max(self._between(self.high, share), self.low), self.high)
        # In decimals, so that 0.1 + 2 * 0.1 is 0.3.
        low, step = Decimal(repr(self.low)), Decimal(repr(self.step))
        count = int((Decimal(repr(self.high)) - low) // step) + 1
        number = int(share * count)
        if self.log:  # each value has the part of the scale up to the next one
            number = int((self._between(float(low + count * step), share) - self.low) / self.step)
        return type(self.low)(low + min(max(number, 0), count - 1) * step)

    def _between(self, high: Number, share: float) -> float:
        if self.log:
            return math.exp(math.log(self.low) + share * (math.log(high) - math.log(self.low)))
        return self.low + share * (high - self.low)

    def to_json(self) -> dict[str, Any]:
        """`{"low": …, "high": …}`, and `log` and `step` where they are given."""
        step = {} if self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high, **({"log": True} if self.log else {}), **step}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Range":
        """The range that `to_json` wrote, or that a file of JSON or YAML has; raises `DefinitionError`."""
        names = set(document)
        if not {"low", "high"} <= names <= {"low", "high", "log", "step"}:
            raise DefinitionError(
                f"{in_one_line(dict(document))} is no range: it has low and high, and can have log and step"
            )
        return Range(**document)


Search = Range | list[Any]


def drawn(search: Search, share: float) -> Any:
    """The value of a search below which `share` of all draws lie, for a share in [0, 1)."""
    if isinstance(search, Range):
        return search.at(share)
    return search[int(share * len(search))]
