"""JSON that people write: a key that is there twice is a mistake, of which nobody knows the right value."""

from typing import Any


def unique_keys(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook` of `json.loads`; raises `ValueError` for a key that an object has twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key {twice!r} twice")
    return found
