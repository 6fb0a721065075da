"""What a JSON document looks like: which names it has, and of which types their values are."""

import json
import sys
from typing import Any

from helixband.errors import LONGEST_TEXT

Shape = Any
"""Of a value: a type (`float` takes any finite number), None, a tuple of several shapes, a list of one for
each item, or a dict of shapes by name. A name may be missing; `...` stands for all that are not given."""


def misfit(value: Any, shape: Shape, name: str = "") -> str:
    """The first value that is of another type, with its name, or "".

    >>> misfit({"epochs": 3, "rows": [1, "x"]}, {"epochs": int, "rows": [int]})
    'rows[1] is "x"'
    """
    if isinstance(shape, tuple):
        told = [misfit(value, one, name) for one in shape]
        return "" if "" in told else told[0]
    if not _is_of_type(value, type(shape) if isinstance(shape, dict | list) else shape):
        return f"{name or 'it'} is {_shown(value)}"
    if isinstance(shape, list):
        return next(
            filter(None, (misfit(each, shape[0], f"{name}[{n}]") for n, each in enumerate(value))), ""
        )
    if isinstance(shape, dict):
        within = f"{name}." if name else ""
        shapes = ((key, each, shape.get(key, shape.get(...))) for key, each in value.items())
        found = (misfit(each, one, f"{within}{key}") for key, each, one in shapes if one is not None)
        return next(filter(None, found), "")
    return ""


def _is_of_type(value: Any, kind: Any) -> bool:
    if kind is None or isinstance(value, bool):  # which would be an integer too
        return value is None if kind is None else kind in (bool, object)
    if kind is float:
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return isinstance(value, kind)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
