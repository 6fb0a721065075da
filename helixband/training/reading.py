"""Generators as they are read: what of them can be put back afterwards, and what cannot."""

import contextlib
from collections.abc import Iterator
from io import IOBase
from typing import Any

from helixband import randomness
from helixband.training.holdings import Holdings
from helixband.training.iterators import goes_on
from helixband.training.objects import found_in


@contextlib.contextmanager
def left_as_it_was(holder: Any) -> Iterator[None]:
    """Around code of ours: the random generators and plain values that an object holds are then as before."""
    sources = found_in(holder, randomness.SOURCES)
    before = [randomness.state_of(source) for source in sources]
    try:
        with Holdings().unchanged({"the generator": holder}, strict=False):
            yield
    finally:
        for source, state in zip(sources, before, strict=True):
            randomness.put_state(source, state)


def keeps_iterator(generator: Any) -> bool:
    """Whether a generator holds an iterator, or an open file, that reading it would move."""
    # In its attributes, as it may be one itself: a class with __next__.
    kept = getattr(generator, "__dict__", {}).values()
    held = [iterator for part in kept for iterator in found_in(part, Iterator)]
    return any(isinstance(iterator, IOBase) or goes_on(iterator) for iterator in held)
