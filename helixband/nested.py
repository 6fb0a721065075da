"""Batches are arrays or tensors, or dicts, tuples and lists of them: what works on any of these."""

from collections.abc import Callable, Iterator
from typing import Any

CONTAINERS = (dict, tuple, list)
"""What is nested; anything else is a leaf."""


def map_leaves(function: Callable[[Any], Any], nested: Any) -> Any:
    """The same structure with `function` applied to each leaf.

    >>> map_leaves(abs, {"a": [-1, 2], "b": -3})
    {'a': [1, 2], 'b': 3}
    """
    if not isinstance(nested, CONTAINERS):  # first, as nearly every call is for one array
        return function(nested)
    if isinstance(nested, dict):
        return {key: map_leaves(function, value) for key, value in nested.items()}
    return like(nested, [map_leaves(function, value) for value in nested])


def leaves(nested: Any) -> Iterator[Any]:
    """The leaves in order, depth first.

    >>> list(leaves({"a": [1, 2], "b": 3}))
    [1, 2, 3]
    """
    if isinstance(nested, CONTAINERS):
        for value in nested.values() if isinstance(nested, dict) else nested:
            yield from leaves(value)
    else:
        yield nested


def named_leaves(nested: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves in order, each with its path: of each dict a key, of each tuple or list a number.

    >>> list(named_leaves({"a": [1, 2], "b": 3}, "x")), list(named_leaves(4))
    ([('x.a.0', 1), ('x.a.1', 2), ('x.b', 3)], [('', 4)])
    """
    if isinstance(nested, CONTAINERS):
        for key, part in nested.items() if isinstance(nested, dict) else enumerate(nested):
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
        return {key: zip_leaves(function, [part[key] for part in parts]) for key in first}
    if isinstance(first, (tuple, list)):
        columns = zip(*parts, strict=True)
        return like(first, [zip_leaves(function, list(column)) for column in columns])
    return function(parts)


def shapes(nested: Any) -> Any:
    """(shape, dtype) of each array or tensor, for messages."""
    return map_leaves(lambda leaf: (tuple(leaf.shape), str(leaf.dtype)), nested)


def length(nested: Any) -> int:
    """The number of examples: the first dimension of the first leaf."""
    return len(next(leaves(nested)) if isinstance(nested, CONTAINERS) else nested)


def nbytes(nested: Any) -> int:
    """The bytes of all leaves together."""
    if not isinstance(nested, CONTAINERS):  # first, as in `map_leaves`
        return int(nested.nbytes)
    return sum(int(leaf.nbytes) for leaf in leaves(nested))


def like(sequence: tuple[Any, ...] | list[Any], values: list[Any]) -> Any:
    """`values` as the kind of sequence that `sequence` is: a list, a tuple or a named tuple."""
    if isinstance(sequence, list):
        return values
    named = hasattr(sequence, "_fields")
    return type(sequence)(*values) if named else tuple(values)
