"""Arrays in memory as batches: slices in the stored order, gathered in a drawn one, here or on a device."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """How data in memory are gathered; None where a class derived from `base` iterates otherwise."""
    if not _iterates_as(generator, base):
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


def slices_of(x: Any, y: Any, rows: int, step: int, start: int = 0) -> Iterator[tuple[Any, Any]]:
    for first in range(start, rows, step):
        chosen = slice(first, first + step)
        yield taken(x, chosen), taken(y, chosen)


def taken(nested: Any, chosen: slice | Indexes) -> Any:
    return None if nested is None else map_leaves(lambda leaf: leaf[chosen], nested)
