"""Generators as they are read: which of them would not be afterwards as before."""

from collections.abc import Iterator
from io import IOBase
from typing import Any

from helixband.training.iterators import goes_on
from helixband.training.objects import found_in


def keeps_iterator(generator: Any) -> bool:
    """Whether a generator holds an iterator, or an open file, that reading it would move."""
    # In its attributes, as it may be one itself: a class with __next__.
    kept = getattr(generator, "__dict__", {}).values()
    held = [iterator for part in kept for iterator in found_in(part, Iterator)]
    return any(isinstance(iterator, IOBase) or goes_on(iterator) for iterator in held)
