"""Numbers, rows and configurations as people read them, each on one line."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from helixband.results.directory import Row


def first_line(text: str) -> str:
    """The first line of an error that may have many; where it announces what follows, with the last of that.

    >>> first_line("the process ended; it had printed:\\nTraceback …\\nKeyError: 'x'\\n")
    "the process ended; it had printed: KeyError: 'x'"
    """
    first, *others = text.split("\n")
    announced = [line.strip() for line in others if line.strip()]
    return f"{first} {announced[-1]}" if first.endswith(":") and announced else first


def show_number(value: float) -> str:
    """Four significant digits; NaN is "undefined"."""
    return "undefined" if math.isnan(value) else f"{value:.4g}"


def show_row(row: Row) -> str:
    """The values of an epoch on one line."""
    return "  ".join(shown_values(row))


def shown_values(row: Row) -> list[str]:
    """The values of an epoch, each with its name."""
    return [f"{name} {show_number(value)}" for name, value in row.items() if name != "epoch"]


def show_config(config: Mapping[str, Any]) -> str:
    """A configuration on one line."""
    if not config:
        return "no hyperparameters"
    return "  ".join(f"{name}={_show_value(value)}" for name, value in _flattened(config))


def _flattened(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values, those of a nested dict as "outer/inner"."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value and "__schedule__" not in value:
            yield from ((f"{name}/{inner}", part) for inner, part in _flattened(value))
        else:
            yield name, value


def _show_value(value: Any) -> str:
    if isinstance(value, dict) and "__schedule__" in value:
        parameters = (f"{name}={_show_value(part)}" for name, part in value.items() if name != "__schedule__")
        return f"{value['__schedule__']}({', '.join(parameters)})"
    if isinstance(value, list):
        return f"[{', '.join(repr(part) if isinstance(part, str) else _show_value(part) for part in value)}]"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    # A string may have a line break, or what controls a terminal.
    return "".join(letter if letter.isprintable() else " " for letter in text)
