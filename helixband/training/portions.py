"""A set in portions, which can be evaluated apart: in other processes, or with random numbers of their own.

A portion is some of the set's batches; of a set of one batch, some of the pieces that are evaluated of it.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from helixband.generators.base import BatchGenerator, Unpadded
from helixband.nested import length, map_leaves
from helixband.randomness import derive_seed, seed_everything
from helixband.training.feed import number_of_batches, pieces, without_padding

BATCHES = 32
"""A portion has so many batches or pieces."""

Span = tuple[int, int]
Read = Callable[[int, int], Iterable[Any]]
"""The batches [first, last) of a set."""


class Portions:
    """The portions of a set of which any batch can be read; see `portions_of`.

    `count` is the number of its batches, or of the pieces of its one batch; `order` is that of its examples,
    None for that of the set.
    """

    def __init__(
        self,
        read: Read,
        batches: int,
        rows: int,
        device: torch.device,
        order: NDArray[np.int64] | None = None,
    ) -> None:
        self._read, self._rows, self._device, self.order = read, rows, device, order
        self._is_one = batches == 1
        self.count = -(-length(self._batch) // self._step) if self._is_one else batches

    def part(self, first: int, last: int) -> Iterable[Any]:
        """The batches [first, last), or a batch of these pieces."""
        if not self._is_one:
            return self._read(first, last)
        rows = slice(first * self._step, last * self._step)
        return [map_leaves(itemgetter(rows), self._batch)]

    def spans(self, limit: int | None = None) -> list[Span]:
        """[first, last) of each portion, in order; with a `limit` on the batches, of the first of them."""
        last = self.count if limit is None or self._is_one else min(self.count, limit)
        return list(itertools.pairwise([*range(0, last, BATCHES), last]))

    @functools.cached_property
    def _batch(self) -> Any:
        return tuple(next(iter(self._read(0, 1))))

    @functools.cached_property
    def _step(self) -> int:
        return length(next(pieces(self._batch, self._rows, self._device)))


def portions_of(generator: Iterable[Any], model: Any) -> Portions | None:
    """The portions of a labelled set in its first epoch; None where it can only be read from its beginning.

    With a `split_batch` of the definition's own, one batch cannot be cut before that has seen it.
    """
    generator, _, order = without_padding(generator)
    read, batches = _reader_of(generator), number_of_batches(generator)
    if read is None or not batches or (batches == 1 and model.engine.own_split):
        return None
    return Portions(read, batches, model.args.batch_size, model.device, order)


def first_batches(generator: Iterable[Any]) -> Iterator[Any]:
    """The first two batches of a set of which any can be read, read in this process."""
    read, count = _reader_of(generator, here=True), number_of_batches(generator) or 0
    return iter(()) if read is None else iter(read(0, min(2, count)))


class Seeded(Unpadded):
    """The batches of a set, the random numbers set at each portion; each iteration is a pass of its own."""

    labelled = True

    def __init__(self, portions: Portions, seed: int) -> None:
        self._portions, self._seed, self._passes = portions, seed, itertools.count()

    def unpadded(self, limit: int | None = None) -> tuple[Iterable[Any], NDArray[np.int64]] | None:
        return None if self._portions.order is None else (self, self._portions.order)

    def __iter__(self) -> Iterator[Any]:
        number = next(self._passes)
        for first, last in self._portions.spans():
            yield from seeded(self._portions, first, last, self._seed, number)


def seeded(portions: Portions, first: int, last: int, seed: int, number: int) -> Iterator[Any]:
    """The batches of a portion, in the random numbers that it has in the pass of that number."""
    batches = iter(portions.part(first, last))  # first, as it may draw
    seed_everything(derive_seed(seed, "evaluate", number, first))
    yield from batches


def _reader_of(generator: Any, here: bool = False) -> Read | None:
    """What reads batches as an iteration gives them, where that is known; `here`: in this process."""
    kind: Any = type(generator)
    if isinstance(generator, BatchGenerator):
        if generator.has_own("__iter__", "batches"):
            return None
        return lambda first, last: itertools.islice(generator.batches(0, 0, first), last - first)
    if kind is DataLoader:
        return functools.partial(_of_loader, generator, here) if _has_places(generator) else None
    if kind in (list, tuple) or (hasattr(kind, "__getitem__") and not hasattr(kind, "__iter__")):
        return lambda first, last: (generator[number] for number in range(first, last))
    return None


def _has_places(loader: "DataLoader[Any]") -> bool:
    """Whether the batches of a loader are those of a data set with numbers, in order."""
    in_order = type(loader.sampler) is SequentialSampler and type(loader.batch_sampler) is BatchSampler
    return in_order and not isinstance(loader.dataset, IterableDataset)


def _of_loader(loader: "DataLoader[Any]", here: bool, first: int, last: int) -> Iterable[Any]:
    assert loader.batch_sampler is not None
    numbers = list(itertools.islice(loader.batch_sampler, first, last))
    settings: dict[str, Any] = {"collate_fn": loader.collate_fn}
    if loader.num_workers and not here:
        settings |= {"num_workers": loader.num_workers, "worker_init_fn": loader.worker_init_fn}
    return DataLoader(loader.dataset, batch_sampler=numbers, **settings)
