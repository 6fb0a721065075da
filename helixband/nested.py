"""Batches are arrays or tensors, or dicts, tuples, lists and dataclasses of them: what works on any of these.

What is made of a container is of its kind, with its attributes: an `OrderedDict`, a dict that can be read by
attributes, a named tuple, a dataclass. A field of a dataclass that is None is no part of it.
"""

import copy
import dataclasses
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

CONTAINERS = (dict, tuple, list)
"""What is nested, besides dataclasses; anything else is a leaf."""


def is_nested(value: Any) -> bool:
    """Whether it is a container, and no leaf."""
    return isinstance(value, CONTAINERS) or hasattr(type(value), "__dataclass_fields__")


def map_leaves(function: Callable[[Any], Any], nested: Any) -> Any:
    """The same structure with `function` applied to each leaf.

    >>> map_leaves(abs, {"a": [-1, 2], "b": -3})
    {'a': [1, 2], 'b': 3}
    """
    if not is_nested(nested):  # first, as nearly every call is for one array
        return function(nested)
    return like(nested, [map_leaves(function, part) for _, part in items(nested)])


def leaves(nested: Any) -> Iterator[Any]:
    """The leaves in order, depth first.

    >>> list(leaves({"a": [1, 2], "b": 3}))
    [1, 2, 3]
    """
    if is_nested(nested):
        for _, part in items(nested):
            yield from leaves(part)
    else:
        yield nested


def named_leaves(nested: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves in order, each with its path: of each dict a key, of each tuple or list a number.

    >>> list(named_leaves({"a": [1, 2], "b": 3}, "x")), list(named_leaves(4))
    ([('x.a.0', 1), ('x.a.1', 2), ('x.b', 3)], [('', 4)])
    """
    if is_nested(nested):
        for key, part in items(nested):
            yield from named_leaves(part, f"{name}.{key}")
    else:
        yield name, nested


def zip_leaves(function: Callable[[list[Any]], Any], parts: list[Any]) -> Any:
    """One structure from several alike: `function` gets the list of leaves of one place.

    >>> zip_leaves(sum, [{"a": 1, "b": 2}, {"a": 10, "b": 20}])
    {'a': 11, 'b': 22}
    """
    first = parts[0]
    if isinstance(first, dict):
        columns: Iterable[Any] = [[part[key] for part in parts] for key in first]
    elif is_nested(first):
        columns = zip(*([part for _, part in items(each)] for each in parts), strict=True)
    else:
        return function(parts)
    return like(first, [zip_leaves(function, list(column)) for column in columns])


def shapes(nested: Any) -> Any:
    """(shape, dtype) of each array or tensor, for messages."""
    return map_leaves(lambda leaf: (tuple(leaf.shape), str(leaf.dtype)), nested)


def length(nested: Any) -> int:
    """The number of examples: the first dimension of the first leaf."""
    return len(next(leaves(nested)) if is_nested(nested) else nested)


def nbytes(nested: Any) -> int:
    """The bytes of all leaves together."""
    if not is_nested(nested):  # first, as in `map_leaves`
        return int(nested.nbytes)
    return sum(int(leaf.nbytes) for leaf in leaves(nested))


def items(nested: Any) -> Iterable[tuple[Any, Any]]:
    """The parts of a container, each with its key, its number, or the name of its field.

    >>> list(items({"a": 1})), list(items([2, 3]))
    ([('a', 1)], [(0, 2), (1, 3)])
    """
    if isinstance(nested, dict):
        return nested.items()
    return enumerate(nested) if isinstance(nested, (tuple, list)) else _fields(nested)


def like(nested: Any, values: list[Any]) -> Any:
    """`values` in the places of the parts of a container, which stays as it is, in one of its kind.

    >>> like({"a": 1, "b": [2]}, [3, 4]), like((1, 2), [3, 4])
    ({'a': 3, 'b': 4}, (3, 4))
    """
    kind = type(nested)
    if kind is dict:
        return dict(zip(nested, values, strict=True))
    if isinstance(nested, tuple):
        return _like_tuple(nested, values)
    if kind is list:
        return values
    if isinstance(nested, dict):
        return _like_dict(nested, values)
    # Not by calling the class: it may take other arguments.
    made = copy.copy(nested)
    if isinstance(nested, list):
        made[:] = values
    else:
        for (name, _), value in zip(_fields(nested), values, strict=True):
            object.__setattr__(made, name, value)  # also where it is frozen
    return made


def _fields(record: Any) -> list[tuple[str, Any]]:
    names = [field.name for field in dataclasses.fields(record)]
    return [(name, part) for name in names if (part := getattr(record, name, None)) is not None]


def _like_tuple(nested: Any, values: list[Any]) -> Any:
    kind: Any = type(nested)
    if hasattr(kind, "_fields"):  # a named tuple
        return kind(*values)
    # What torch.max gives has names, too, and is made of a sequence.
    return kind(values) if hasattr(kind, "n_sequence_fields") else tuple(values)


def _like_dict(nested: Any, values: list[Any]) -> Any:
    """A dict of the same class, which may read attributes from its items, or have both alike."""
    base = next(base for base in (OrderedDict, defaultdict, dict) if isinstance(nested, base))
    made = base.__new__(type(nested))
    for key, value in zip(nested, values, strict=True):
        base.__setitem__(made, key, value)
    if isinstance(nested, defaultdict):
        made.default_factory = nested.default_factory
    attributes = getattr(nested, "__dict__", {})
    if attributes is nested:  # as after `self.__dict__ = self`
        object.__setattr__(made, "__dict__", made)
        return made
    for name, value in attributes.items():
        is_item = name in nested and base.__getitem__(nested, name) is value
        vars(made)[name] = made[name] if is_item else value
    return made
