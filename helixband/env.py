"""Typed parameters of a def.py from environment variables.

A definition reads `WINDOW = env("WINDOW", 1000, int)`, and the run records the value. A run that continues
with other values is refused, in the same way as one with another definition.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from helixband.errors import UsageError

T = TypeVar("T")

_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_WORDS |= {"0": False, "false": False, "no": False, "off": False}
_read: dict[str, str] = {}


def env(name: str, default: T | None = None, type: Callable[[str], T] = str) -> T:  # type: ignore[assignment]
    """The environment variable `name`, converted by `type`, or `default` if it is not set.

    A variable without a default has to be set. `type=bool` takes 1/0, true/false, yes/no, on/off.

    >>> env("HELIXBAND_EXAMPLE_WINDOW", 1000, int)
    1000

    Raises `UsageError` if the variable is missing or its text cannot be converted.
    """
    text = os.environ.get(name)
    if text is None and default is None:
        raise UsageError(f"the environment variable {name} is not set and has no default: set it")
    _read[name] = str(default) if text is None else text
    return default if text is None else _convert(name, text, type)  # type: ignore[return-value]


def variables_read() -> dict[str, str]:
    """What `env` has read in this process: name to its text, or to that of the default."""
    return dict(_read)


def _convert(name: str, text: str, type: Callable[[str], Any]) -> Any:
    try:
        return _WORDS[text.lower()] if type is bool else type(text)
    except (ValueError, KeyError) as error:
        kind = getattr(type, "__name__", str(type))
        raise UsageError(
            f"the environment variable {name} is {text!r}, which cannot be read as {kind}"
        ) from error
