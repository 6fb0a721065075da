"""What draws tell of a space: how its values are distributed, and which configurations are near to another.

A space is known by its draws alone, whether it is a function or made of expressions. The draws are the prior
of each *column*, which is a place in the configurations.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.search.samplers.evidence import Document

Codes = NDArray[np.int64]
Position = tuple[tuple[tuple[str, str], ...], tuple[float, ...]]
"""Of a configuration: what can only be equal or different, by name; and the CDF at its other values."""

NEAR = 1.1e-3
"""Floats whose CDF differs by no more are near; 1e-3 is wanted, and the rest is for the error of the CDF."""
SETS = 4
"""The prior draws come in so many sets, each spread evenly. Of their densities the least counts everywhere.

So a difference is rather taken for too small where densities are uncertain: where the space could not spread
its draws.
"""
DRAWS_BETWEEN = 8
"""The density is constant over so many draws of a set."""
QUANTISED = 0.05
"""Floats come from a grid where more than this share of those that are drawn are drawn again."""
BINS = 64
ABSENT: Any = object()


class Prior:
    """The columns of a space, by its draws."""

    def __init__(self, documents: Sequence[Document]) -> None:
        rows = [dict(flatten(document)) for document in documents]
        names = sorted({name for row in rows for name in row})
        self.columns = [_Column(name, [row[name] for row in rows if name in row]) for name in names]
        self._named = {column.name: column for column in self.columns}

    def encode(self, documents: Sequence[Document]) -> Codes:
        """The codes of configurations, (documents, columns)."""
        rows = [dict(flatten(document)) for document in documents]
        codes = np.empty((len(rows), len(self.columns)), np.int64)
        for index, column in enumerate(self.columns):
            codes[:, index] = column.codes([row.get(column.name, ABSENT) for row in rows])
        return codes

    def position(self, document: Document) -> Position:
        """Of a configuration, to be compared."""
        exact, levels = [], []
        for name, value in sorted(flatten(document), key=itemgetter(0)):
            level = self._named[name].level(value) if name in self._named else None
            exact.append((name, repr(value) if level is None else "a float"))
            if level is not None:
                levels.append(level)
        return tuple(exact), tuple(levels)


class Neighbourhood:
    """The positions of configurations, and what is near to one of them."""

    def __init__(self, positions: Iterable[Position]) -> None:
        self._levels: dict[Any, list[tuple[float, ...]]] = defaultdict(list)
        for exact, levels in positions:
            self._levels[exact].append(levels)
        for found in self._levels.values():
            found.sort()

    def __contains__(self, position: Position) -> bool:
        """Whether at one of the positions no float is further than NEAR, and nothing else different."""
        exact, levels = position
        if exact not in self._levels or not levels:
            return exact in self._levels
        others = self._levels[exact]
        first = bisect_left(others, levels[0] - NEAR, key=itemgetter(0))
        last = bisect_right(others, levels[0] + NEAR, key=itemgetter(0))
        return any(
            all(abs(one - level) <= NEAR for one, level in zip(other, levels, strict=True))
            for other in others[first:last]
        )


class _Column:
    """One place in the configurations: the codes of its values, and their CDF.

    Numbers have a code for each of theirs, in order, or for each of BINS parts with equally many prior draws;
    other values one each, as have two numbers, between which nothing is to be smoothed. The last two codes
    are those of values that the prior draws seldom or never had, and of none.
    """

    def __init__(self, name: str, values: list[Any]) -> None:
        self.name = name
        numbers, repeats = np.unique([value for value in values if _is_number(value)], return_counts=True)
        if len(numbers) <= BINS:
            self._edges = (numbers[1:] + numbers[:-1]) / 2
        else:
            parts = np.arange(1, BINS) * repeats.sum() // BINS
            self._edges = np.unique(np.repeat(numbers, repeats)[parts])
        self._numeric = len(numbers) > 2
        self.bins = len(self._edges) + 1 if self._numeric else 0
        texts = Counter(repr(value) for value in values if not (self._numeric and _is_number(value)))
        frequent = sorted(texts, key=lambda text: (-texts[text], text))[:BINS]
        self._others = {text: self.bins + index for index, text in enumerate(frequent)}
        self.size = self.bins + len(frequent) + 2
        self._set_levels(values)

    def codes(self, values: list[Any]) -> Any:
        """Of each value."""
        if self._numeric and all(map(_is_number, values)):
            return self._edges.searchsorted(values, "right")
        return [self._code(value) for value in values]

    def level(self, value: Any) -> float | None:
        """The CDF at a float; None of what is equal or different, and nothing between.

        That is anything but a float, a float of a grid, and one that has a probability of its own.
        """
        if not isinstance(value, float) or not len(self._floats) or value in self._atoms:
            return None
        return float(np.interp(value, self._floats, self._levels))

    def _set_levels(self, values: list[Any]) -> None:
        """See to the CDF, which only floats have that are drawn once each."""
        floats = [value for value in values if isinstance(value, float)]
        distinct, repeats = np.unique(floats, return_counts=True)
        self._atoms = set(distinct[repeats > 1].tolist())
        smooth = [value for value in floats if value not in self._atoms]
        self._floats = self._levels = np.empty(0)
        if len(smooth) >= SETS and len(self._atoms) <= QUANTISED * len(distinct):
            self._floats, levels = _cdf([np.array(part) for part in np.array_split(smooth, SETS)])
            self._levels = levels * len(smooth) / len(values)

    def _code(self, value: Any) -> int:
        if value is ABSENT:
            return self.size - 1
        if self._numeric and _is_number(value):
            return int(self._edges.searchsorted(value, "right"))
        return self._others.get(repr(value), self.size - 2)


def _cdf(sets: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(floats, the CDF at each): straight lines, each with the least slope that a set of draws has there."""
    parts = np.linspace(0, 1, max(len(sets[0]) // DRAWS_BETWEEN, 1) + 1)
    quantiles = [np.quantile(draws, parts) for draws in sets]
    floats = np.unique(quantiles)
    rises = np.diff([np.interp(floats, each, parts) for each in quantiles])
    return floats, np.concatenate([[0], rises.min(axis=0).cumsum()])


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a configuration by their place; an empty dict or list is a leaf.

    >>> dict(flatten({"lr": 0.1, "layers": [{"width": 8}, None]}))
    {'/lr': 0.1, '/layers/0/width': 8, '/layers/1': None}
    """
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flatten(item, f"{name}/{key}")
    else:
        yield name, value


def _is_number(value: Any) -> bool:
    """Whether it is one to be smoothed; integers beyond the range of floats are not."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**1000)
