"""The hyperparameters of all trials as columns, each with the kind of its values."""

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from helixband.files import natural_key
from helixband.report.summary import Leaf, TrialSummary


@dataclass(frozen=True)
class Column:
    """A hyperparameter: a value a trial, None where the trial has none.

    Where `categories` is None they are numbers, and the null of a configuration is None too; else they are
    labels, all of which `categories` holds in order.
    """

    name: str
    values: list[Any]
    categories: list[str] | None = None
    mixed: bool = False
    """Whether values of several types are among the categories; the labels of all are then JSON."""
    drawn_log: bool | None = None
    """Whether it was drawn on a logarithmic scale, if that is known."""

    @property
    def varies(self) -> bool:
        """Whether two trials differ in it."""
        return len(set(self.values)) > 1

    @property
    def log(self) -> bool:
        """Whether its axis is logarithmic: numbers that were drawn so.

        Where that is not known, those that span two decades, and lie more evenly so than on a linear scale.
        """
        numbers = sorted(value for value in self.values if value is not None)
        if self.drawn_log is not None:
            return (
                self.drawn_log and self.categories is None and bool(numbers) and 0 < numbers[0] < numbers[-1]
            )
        if self.categories is not None or not numbers or numbers[0] <= 0 or numbers[-1] < 100 * numbers[0]:
            return False
        low, middle, high = numbers[0], numbers[len(numbers) // 2], numbers[-1]
        linear = (middle - low) / (high - low)
        logarithmic = math.log(middle / low) / math.log(high / low)
        return bool(abs(logarithmic - 0.5) < abs(linear - 0.5))


def columns(trials: Sequence[TrialSummary], log_scaled: Collection[str] | None = None) -> list[Column]:
    """The columns of the trials' configurations, in the order in which the trials name them.

    `log_scaled` has the names of those that were drawn on a log scale, where that is known.
    """
    configs = [trial.config for trial in trials]
    names = dict.fromkeys(name for config in configs for name in config)
    found = [_column(name, configs) for name in names]
    if log_scaled is None:
        return found
    return [replace(column, drawn_log=column.name in log_scaled) for column in found]


def label(value: Leaf) -> str:
    """A value as text: a string as it is, anything else as JSON.

    >>> label("adam"), label(True), label(0.5), label(None)
    ('adam', 'true', '0.5', 'null')
    """
    return value if isinstance(value, str) else _as_json(value)


def _column(name: str, configs: list[dict[str, Leaf]]) -> Column:
    kinds = {type(config[name]) for config in configs if name in config} - {type(None)}
    if kinds and kinds <= {int, float}:
        return Column(name, [config.get(name) for config in configs])
    mixed = len(kinds) > 1
    text = _as_json if mixed else label
    labels = [text(config[name]) if name in config else None for config in configs]
    return Column(name, labels, sorted({text for text in labels if text is not None}, key=natural_key), mixed)


def _as_json(value: Leaf) -> str:
    return json.dumps(value, ensure_ascii=False)
