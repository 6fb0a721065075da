"""Arrays in memory as batches: slices in the stored order, gathered in a drawn one, here or on a device."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from helixband.generators.arrays import concatenate
from helixband.generators.base import BatchGenerator, Lot
from helixband.generators.gathers import ArrayGather, Gather
from helixband.generators.sampling import Drawing
from helixband.nested import leaves, length, map_leaves

Indexes = NDArray[np.int64]

GATHER_BYTES = 1 << 20
"""Shuffled examples are gathered in blocks of about this size: of small examples many batches at a time."""


def batches_of(
    x: Any, y: Any, n_examples: int, batch_size: int | None, order: Indexes | None, start: int
) -> Iterator[tuple[Any, Any]]:
    """Batches of data in memory: slices of it in the stored order, of gathered blocks in a drawn one."""
    step = batch_size or n_examples
    if order is None:
        yield from slices_of(x, y, n_examples, step, start * step)
        return
    for lot in gathered(x, y, step, order[start * step :]):
        yield from slices_of(lot.x, lot.y, length(lot.x), step)


def gathered(x: Any, y: Any, step: int, order: Indexes) -> Iterator[Lot]:
    """Data in memory in a drawn order, `step` examples a batch."""
    row_bytes = sum(leaf[:1].nbytes for leaf in leaves(x))
    rows = step * max(1, GATHER_BYTES // (step * max(1, row_bytes)))
    for first in range(0, len(order), rows):
        chosen = order[first : first + rows]
        yield Lot(taken(x, chosen), taken(y, chosen), step)


def lots_of(
    generator: BatchGenerator, base: type[BatchGenerator], drawing: Drawing, x: Any, y: Any
) -> Iterator[Lot] | None:
    """The next epoch of a generator with data in memory; None in the stored order, and where a class
    derived from `base` iterates otherwise."""
    if not (_iterates_as(generator, base) and generator.shuffle):
        return None
    order = drawing.order(generator._rng(*generator._next_epoch()))
    assert order is not None
    step = generator.batch_size or generator.n_examples
    full = len(order) - len(order) % step if generator.drop_last else len(order)
    return gathered(x, y, step, order[:full])


def gather_of(
    generator: BatchGenerator, base: type[BatchGenerator], drawing: Drawing, x: Any, y: Any
) -> Gather | None:
    """How data in memory are gathered; None where a class derived from `base` iterates otherwise, or does
    something of its own as an epoch begins, as changing the data."""
    if not (_iterates_as(generator, base) and _begins_as_ours(generator)):
        return None

    def order(seed: int, epoch: int) -> Indexes | None:
        return drawing.order(generator._rng(seed, epoch))

    rows = generator.batch_size or generator.n_examples
    return ArrayGather(x, y, generator.n_examples, rows, order, generator.drop_last)


def _iterates_as(generator: BatchGenerator, base: type[BatchGenerator]) -> bool:
    """Whether a generator iterates as those of `base`, from which its class may be derived."""
    kind = type(generator)
    own = kind.__iter__, kind.batches, kind.stream, kind._batches
    return own == (BatchGenerator.__iter__, BatchGenerator.batches, BatchGenerator.stream, base._batches)


def _begins_as_ours(generator: BatchGenerator) -> bool:
    """Whether an epoch begins with no code of a class that is derived from ours."""
    kind, names = type(generator), ("set_epoch", "_next_epoch", "_rng")
    return all(getattr(kind, name) is getattr(BatchGenerator, name) for name in names)


def slices_of(x: Any, y: Any, rows: int, step: int, start: int = 0) -> Iterator[tuple[Any, Any]]:
    for first in range(start, rows, step):
        chosen = slice(first, first + step)
        yield taken(x, chosen), taken(y, chosen)


def taken(nested: Any, chosen: slice | Indexes) -> Any:
    return None if nested is None else map_leaves(lambda leaf: leaf[chosen], nested)


class Joining:
    """Parts of (x, y) one after another, in arrays that are used again for the next: fresh memory is slow."""

    def __init__(self) -> None:
        self._held: list[NDArray[Any]] = []

    def joined(self, parts: Iterable[tuple[Any, Any]], rows: int) -> tuple[Any, Any]:
        """Parts of so many rows together; arrays stay as they are until the next call, tensors for good."""
        parts = iter(parts)
        first = next(parts)
        if any(isinstance(leaf, Tensor) for leaf in leaves(first)):
            x, y = zip(first, *parts, strict=True)
            return concatenate(list(x)), None if y[0] is None else concatenate(list(y))
        at = 0
        for part in itertools.chain([first], parts):
            found = [leaf for leaf in leaves(part) if leaf is not None]
            self._held = [self._fitting(number, leaf, rows, at) for number, leaf in enumerate(found)]
            for held, leaf in zip(self._held, found, strict=True):
                held[at : at + len(leaf)] = leaf
            at += len(found[0])
        made = iter(self._held)
        whole: tuple[Any, Any] = map_leaves(lambda leaf: None if leaf is None else next(made)[:at], first)
        return whole

    def _fitting(self, number: int, leaf: NDArray[Any], rows: int, at: int) -> NDArray[Any]:
        """The array for a leaf of a part that comes after `at` rows, whose type can be another one."""
        held = self._held[number][:at] if at else leaf[:0]
        dtype = np.result_type(held, leaf)
        used = self._held[number] if number < len(self._held) else held
        if len(used) >= rows and used.dtype == dtype and used.shape[1:] == leaf.shape[1:]:
            return used
        made = np.empty((rows, *leaf.shape[1:]), dtype)
        np.concatenate([held, leaf[:0]], out=made[:at])
        return made
