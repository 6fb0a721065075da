"""`MixedBatchGenerator`: batches in which several sets are mixed by shares."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.generators.arrays import concatenate
from helixband.generators.base import BatchGenerator
from helixband.generators.gathers import Gather
from helixband.generators.gathers import Rows as OfGather
from helixband.nested import leaves, length, map_leaves
from helixband.randomness import derive_seed

TOLERANCE = 1e-6
"""So much may shares differ from 1 together."""

BLOCK_BATCHES = 100
"""So many batches are gathered on a device at once."""

Rows = tuple[Any, Any]
"""(x, y) of some examples, y None without labels."""

Read = Callable[[int, int, int], Iterator[Rows]]

Form = tuple[tuple[tuple[int, ...], str], ...]
"""The shape and dtype of each part of one example."""


class MixedBatchGenerator(BatchGenerator):
    """Batches of several sets of one form, each with its share of every batch, to within one or two examples.

    `generators`: of Helixband, for training, each with its own shuffling, augmentation and sampling.
    `shares`, as many, above 0, add up to 1. An epoch has `n_examples`, by default as many as the sets have
    together. Of these each set gives its share, and goes on in the next epoch where it was: so all of a large
    set is seen over several epochs, and a small one more than once in one.

    The order is a function of (seed, epoch), as of every generator.

    >>> from batch_generator import MatrixBatchGenerator
    >>> sets = [MatrixBatchGenerator(np.zeros(6)), MatrixBatchGenerator(np.ones(2))]
    >>> [sorted(x.tolist()) for x in MixedBatchGenerator(sets, [0.5, 0.5], batch_size=4)]
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]

    Raises `DataError` for what is no generator of Helixband, for shares that are no such, and, with the first
    batch, for sets of different forms.
    """

    def __init__(
        self,
        generators: Iterable[BatchGenerator],
        shares: Iterable[float],
        batch_size: int | None,
        drop_last: bool = False,
        n_examples: int | None = None,
    ) -> None:
        generators, shares = list(generators), list(shares)
        _check(generators, shares, batch_size)
        total = sum(generator.n_examples for generator in generators)
        if n_examples is not None and (not isinstance(n_examples, int | np.integer) or n_examples < 1):
            raise DataError(f"n_examples is {n_examples!r}; it has to be an integer from 1, or None")
        super().__init__(n_examples or total, batch_size, True, generators[0].labelled, drop_last)
        self.shares = [float(share) for share in shares]
        self.examples_of_each = _apportioned(self.n_examples, self.shares)
        if 0 in self.examples_of_each:
            number = self.examples_of_each.index(0)
            raise DataError(
                f"set {number} of the mixture has the share {self.shares[number]:g}, which is no example of "
                f"the {self.n_examples:,} of an epoch: give a larger n_examples, or leave the set out"
            )
        assert batch_size is not None
        self.generators = [
            _in_batches(generator, math.ceil(share * batch_size))
            for generator, share in zip(generators, self.shares, strict=True)
        ]

    @property
    def coordinates(self) -> str | None:
        """What intervals of all sets are positions on; None where that is not the same for each."""
        found = {getattr(generator, "coordinates", None) for generator in self.generators}
        return found.pop() if len(found) == 1 else None

    def as_stored(self) -> Self:
        """The examples of the sets, one set after the other, whatever the shares."""
        made = super().as_stored()
        made.generators = [generator.as_stored() for generator in self.generators]
        made.examples_of_each = [generator.n_examples for generator in made.generators]
        made.n_examples = sum(made.examples_of_each)
        return made

    def get_X_shape(self) -> Any:
        """The shape of one example's x."""
        return self.generators[0].get_X_shape()  # type: ignore[attr-defined]

    def gather(self) -> Gather | None:
        """None where one of the sets has none, or is a mixture itself."""
        gathers = [generator.gather() for generator in self.generators]
        if type(self) is not MixedBatchGenerator or any(map(_is_no_part, gathers)):
            return None
        return MixedGather(self, [gather for gather in gathers if gather is not None])

    def _batches(self, seed: int, epoch: int, start: int) -> Iterator[Rows]:
        for parts, places in self.dealt(list(map(_read_batches, self.generators)), seed, epoch, start):
            x, y = _joined([part for parts_of_set in parts for part in parts_of_set])
            yield _taken(x, places), _taken(y, places)

    def is_made_alone(self) -> bool:
        return self._is_a(MixedBatchGenerator) and all(each.is_made_alone() for each in self.generators)

    def dealt(
        self, readers: Sequence[Read], seed: int, epoch: int, start: int, batches: int = 1
    ) -> Iterator[tuple[list[list[Rows]], NDArray[np.int64]]]:
        """What is read of each set for so many batches at a time, from batch `start` of an epoch on.

        With it, (N,), the places in these parts, one after the other, of the examples in order.
        """
        rng = np.random.default_rng([seed, epoch])
        sets = self._interleaved(rng)
        rows = self.batch_size or self.n_examples
        before = np.bincount(sets[: start * rows], minlength=len(self.generators))
        sources = [
            _Source(generator, read, derive_seed(seed, "mixture", number), epoch * of_epoch + skipped)
            for number, (generator, read, of_epoch, skipped) in enumerate(
                zip(self.generators, readers, self.examples_of_each, before.tolist(), strict=True)
            )
        ]
        for first in range(start * rows, len(sets), rows * batches):
            of_block = sets[first : first + rows * batches]
            counts = np.bincount(of_block, minlength=len(sources)).tolist()
            parts = [source.take(count) for source, count in zip(sources, counts, strict=True)]
            places = np.empty(len(of_block), dtype=np.int64)  # of the rows of each set, in turn, in the block
            places[np.argsort(of_block, kind="stable")] = np.arange(len(of_block))
            yield parts, places

    def _interleaved(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The number of the set of each example of an epoch, (N,), each set spread evenly.

        In the stored order, the sets come one after the other.
        """
        sets = np.repeat(np.arange(len(self.examples_of_each)), self.examples_of_each)
        if not self.shuffle:
            return sets
        when = [(np.arange(number) + rng.random(number)) / number for number in self.examples_of_each]
        return sets[np.argsort(np.concatenate(when), kind="stable")]


class MixedGather:
    """The examples of several sets, each gathered from its own data, in the order of the mixture."""

    def __init__(self, mixture: MixedBatchGenerator, gathers: Sequence[Gather]) -> None:
        self._mixture, self._gathers = mixture, gathers
        self.data = [gather.data for gather in gathers]
        self.rows = mixture.batch_size or mixture.n_examples

    def order(self, seed: int, epoch: int, start: int = 0) -> Iterator[OfGather]:
        readers = list(map(_read_order, self._gathers))
        for parts, places in self._mixture.dealt(readers, seed, epoch, start, BLOCK_BATCHES):
            full = len(places) - len(places) % self.rows if self._mixture.drop_last else len(places)
            sets = {
                number: concatenate([rows for rows, _ in of_set])
                for number, of_set in enumerate(parts)
                if of_set
            }
            if full:
                yield {"places": places[:full], "sets": sets}

    def take(self, data: Any, rows: OfGather) -> Rows:
        parts = [self._gathers[number].take(data[number], of_set) for number, of_set in rows["sets"].items()]
        x, y = _joined(parts)
        return _taken(x, rows["places"]), _taken(y, rows["places"])

    def labels(self, rows: OfGather) -> Any:
        parts = [self._gathers[number].labels(of_set) for number, of_set in rows["sets"].items()]
        return None if parts[0] is None else _taken(concatenate(parts), rows["places"])


def _is_no_part(gather: Gather | None) -> bool:
    return gather is None or isinstance(gather, MixedGather)


def _read_batches(generator: BatchGenerator) -> Read:
    def read(seed: int, epoch: int, start: int) -> Iterator[Rows]:
        batches = generator.batches(seed, epoch, start)
        return batches if generator.labelled else ((batch, None) for batch in batches)

    return read


def _read_order(gather: Gather) -> Read:
    return lambda seed, epoch, start: ((rows, None) for rows in gather.order(seed, epoch, start))


class _Source:
    """The examples of one set from example `first` of its epochs on, one epoch after the other.

    `read(seed, epoch, start)` gives them, many at a time, from a batch of an epoch on.
    """

    def __init__(self, generator: BatchGenerator, read: Read, seed: int, first: int) -> None:
        assert generator.batch_size is not None
        self._read, self._seed = read, seed
        self._epoch, within = divmod(first, generator.n_examples)
        start, offset = divmod(within, generator.batch_size)
        self._batches = read(seed, self._epoch, start)
        self._rest: Rows | None = None
        if offset:
            self.take(offset)

    def take(self, count: int) -> list[Rows]:
        """The next so many examples, in parts."""
        parts = []
        while count:
            x, y = self._rest or self._next()
            here = min(count, length(x))
            parts.append((_taken(x, slice(here)), _taken(y, slice(here))))
            more = length(x) > here
            self._rest = (_taken(x, slice(here, None)), _taken(y, slice(here, None))) if more else None
            count -= here
        return parts

    def _next(self) -> Rows:
        batch = next(self._batches, None)
        if batch is None:
            self._epoch += 1
            self._batches = self._read(self._seed, self._epoch, 0)
            batch = next(self._batches)
        return batch


def _check(generators: Sequence[Any], shares: Sequence[Any], batch_size: int | None) -> None:
    for number, generator in enumerate(generators):
        if not isinstance(generator, BatchGenerator):
            raise DataError(
                f"set {number} of the mixture is a {type(generator).__name__}; only generators of Helixband "
                "can be mixed, because they can be read from any example on"
            )
        if getattr(generator, "random_offsets", False):
            raise DataError(
                f"set {number} of the mixture has random_offsets, with another number of windows in each "
                "epoch, and cannot be mixed: leave them out"
            )
    if len(generators) != len(shares) or not len(shares):
        raise DataError(f"there are {len(shares)} shares for {len(generators)} sets; each needs one")
    for number, share in enumerate(shares):
        if not (isinstance(share, float | int | np.number) and 0 < share <= 1):
            raise DataError(f"the share of set {number} is {share!r}; it has to be above 0, and 1 at most")
    if abs(sum(shares) - 1) > TOLERANCE:
        added = " + ".join(f"{share:g}" for share in shares)
        raise DataError(f"the shares are {added} = {sum(shares):g}; they have to add up to 1")
    if len({generator.labelled for generator in generators}) > 1:
        bare = next(number for number, generator in enumerate(generators) if not generator.labelled)
        raise DataError(f"set {bare} of the mixture has no labels, and others have")
    if batch_size is None:
        raise DataError("batch_size is None; a mixture needs the size of its batches")


def _apportioned(number: int, shares: list[float]) -> list[int]:
    """So many examples by shares, by the largest remainders (Hamilton's method).

    >>> _apportioned(10, [0.5, 0.25, 0.25])
    [5, 3, 2]
    """
    exact = [share * number for share in shares]
    found = [int(part) for part in exact]
    by_remainder = sorted(range(len(shares)), key=lambda k: found[k] - exact[k])
    for k in by_remainder[: number - sum(found)]:
        found[k] += 1
    return found


def _in_batches(generator: BatchGenerator, rows: int) -> BatchGenerator:
    made = generator.copied()
    made.batch_size, made.drop_last = rows, False
    return made


def _joined(parts: list[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    forms = [_form(part) for part in parts]
    if len(set(forms)) > 1:
        other = next(form for form in forms if form != forms[0])
        raise DataError(
            f"the sets of a mixture give examples of different forms, {_told(forms[0])} and {_told(other)} "
            "of one example; they have to be alike"
        )
    x, y = zip(*parts, strict=True)
    return concatenate(list(x)), None if y[0] is None else concatenate(list(y))


def _form(part: Rows) -> Form:
    both = part if part[1] is not None else part[:1]
    return tuple((tuple(leaf.shape[1:]), f"{leaf.dtype}") for leaf in leaves(both))


def _told(form: Form) -> str:
    return ", ".join(f"{dtype} {shape}" for shape, dtype in form)


def _taken(nested: Any, chosen: Any) -> Any:
    return None if nested is None else map_leaves(lambda leaf: leaf[chosen], nested)
