"""What all generators of batches have in common."""

import inspect
import math
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError, meant
from helixband.generators.coverage import Coverage
from helixband.generators.gathers import Gather
from helixband.nested import length

_OURS = ("helixband.generators.", "batch_generator.")

READING = (
    *("__iter__", "batches", "_batches", "_batches_of", "_drawn_blocks", "_blocks", "_places"),
    *("_read", "_other_strand", "_as_x", "x", "batch", "codes"),
)
"""The methods that make x, in an iteration or of examples by number."""


class Lot(NamedTuple):
    """Batches one after another in arrays (N, …) that nobody else has, `rows` examples in each.

    y is None without labels. The last batch may have fewer examples.
    """

    x: Any
    y: Any
    rows: int


class Unpadded:
    """A set that evaluation and prediction may read in another order, in which no sequence is padded."""

    def unpadded(self, limit: int | None = None) -> tuple[Iterable[Any], NDArray[np.int64]] | None:
        """(the same batches or others with the same examples, the number that each example has here, (N,)).

        Sequences of one length are together, so that none is padded. With a `limit`, these are the examples
        of the first so many batches. None where it is read as it comes.
        """
        return None


class BatchGenerator(Unpadded):
    """Base class: examples, by index, in batches.

    A subclass gives `_batches`. Its state is its data and (seed, epoch) alone: the run shares one
    generator among trials. An epoch can be read from any batch on, see `batches` and `stream`.

    `drop_last` leaves the last batch of an epoch out where it has fewer examples than `batch_size`. It is for
    training: batch normalisation cannot train on a batch of one example.
    """

    labels_by = "pairs (x, y)"
    """What one that is to have labels is given, for messages."""

    def __init__(
        self,
        n_examples: int,
        batch_size: int | None,
        shuffle: bool,
        labelled: bool,
        drop_last: bool = False,
    ) -> None:
        if batch_size is not None and (not isinstance(batch_size, int | np.integer) or batch_size < 1):
            raise DataError(f"batch_size is {batch_size!r}; it has to be None or an integer from 1")
        if n_examples == 0:
            raise DataError(f"{type(self).__name__}: the set is empty; it needs one example at least")
        if drop_last and (batch_size is None or n_examples < batch_size):
            raise DataError(f"{type(self).__name__}: {_told_too_few(batch_size, n_examples)}")
        self.n_examples = n_examples
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.shuffle = shuffle
        self.labelled = labelled
        self._seed = 0
        self._epoch = 0

    def set_epoch(self, seed: int, epoch: int) -> None:
        """The next iteration has the order of this epoch. Without it, each iteration is the next epoch."""
        self._seed, self._epoch = seed, epoch

    def as_stored(self) -> Self:
        """The same examples, each once and unchanged, in the stored order: none is drawn or left out."""
        made = self.copied()
        made.shuffle = made.drop_last = False
        return made

    def copied(self) -> Self:
        """One of the same data, with attributes of its own."""
        made = type(self).__new__(type(self))  # no `copy.copy`, which asks a `__getattr__` of a derived class
        vars(made).update(vars(self))
        return made

    def is_data_alone(self) -> bool:
        """Whether it holds nothing but data in memory and its settings, which no reading changes."""
        return False

    def _is_a(self, kind: type[Any]) -> bool:
        """Whether it is an object of that very class, with the methods of it."""
        own = (name for name in vars(self) if callable(getattr(kind, name, None)))
        return type(self) is kind and next(own, None) is None

    def has_own(self, *methods: str) -> bool:
        """Whether one of these methods is not Helixband's, but of a derived class or of the object alone."""
        for name in methods:
            kind = next((kind for kind in type(self).__mro__ if name in vars(kind)), BatchGenerator)
            if name in vars(self) or not f"{kind.__module__}.".startswith(_OURS):
                return True
        return False

    def is_read_as_ours(self) -> bool:
        """Whether its x are what Helixband makes of its data, and no derived class makes others.

        What a derived class makes, an iteration alone gives.
        """
        return not self.has_own(*READING)

    def is_made_alone(self) -> bool:
        """Whether Helixband alone makes its batches, of data that it holds or reads.

        No other code is called, which might draw from global generators, or change what a network reads.
        """
        return False

    def __len__(self) -> int:
        """The number of batches."""
        rows = self.batch_size or self.n_examples
        return self.n_examples // rows if self.drop_last else math.ceil(self.n_examples / rows)

    def why_no_batch(self) -> str:
        """Why `drop_last` leaves no batch, as of a small part of a split; '' where it does not."""
        is_none_left = self.drop_last and len(self) == 0
        return _told_too_few(self.batch_size, self.n_examples) if is_none_left else ""

    def __iter__(self) -> Iterator[Any]:
        return self.batches(*self._next_epoch())

    def _next_epoch(self) -> tuple[int, int]:
        seed, epoch = self._seed, self._epoch
        self._epoch += 1
        return seed, epoch

    def coverage(self, seed: int, limit: int | None = None, steps: int | None = None) -> Coverage | None:
        """What tells the share of a genome that a training has seen; None of examples that are no windows.

        `limit` is the number of batches of an epoch, if not all; `steps` that of epochs of a stream.
        """
        return None

    def lots(self) -> Iterator[Lot] | None:
        """What an iteration gives, many batches at once; None where it reads them one by one."""
        return None

    def gather(self) -> Gather | None:
        """How its batches are gathered on a device; None where they can only be read one by one."""
        return None

    def batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from batch `start` on; those before it are not read.

        They are those that an iteration after `set_epoch(seed, epoch)` gives. This moves no state.
        """
        least = self.batch_size if self.drop_last and self.batch_size else 0
        for x, y in self._batches(seed, epoch, start):
            if least and length(x) < least:
                continue
            yield (x, y) if self.labelled else x

    def stream(self, seed: int, start: int = 0) -> Iterator[Any]:
        """The batches of epoch 0, 1, 2, … without end, from batch `start` of them all on.

        Those before it are not read. So `islice(stream(seed, n * epoch), n)` are the batches of an epoch of
        n batches, whatever the length of the set.
        """
        epoch, first = self._located(seed, start)
        while True:
            yield from self.batches(seed, epoch, first)
            epoch, first = epoch + 1, 0

    def _located(self, seed: int, start: int) -> tuple[int, int]:
        """The epoch in which batch `start` of the stream is, and its number there."""
        return divmod(start, len(self))

    def _rng(self, seed: int, epoch: int) -> np.random.Generator | None:
        """The random numbers of an epoch; None for the stored order."""
        return np.random.default_rng([seed, epoch]) if self.shuffle else None

    def _batches(self, seed: int, epoch: int, start: int) -> Iterator[tuple[Any, Any]]:
        """The batches of an epoch from `start` on as (x, y), y None without labels.

        With `drop_last`, one that is not full may be among them, and does not count for `start`.
        """
        raise NotImplementedError


def _told_too_few(batch_size: int | None, n_examples: int) -> str:
    return (
        "drop_last=True leaves out a last batch of fewer than batch_size examples; "
        f"batch_size is {batch_size}, and there are {n_examples:,} examples: give a batch_size "
        "(--batch-size) up to that, or leave drop_last out"
    )


def check_options(kinds: Iterable[type[BatchGenerator]], options: Collection[str]) -> None:
    """Raise `DataError` for an option that none of these classes has, the first the one that is made."""
    kinds = list(kinds)
    known = [name for cls in kinds for name in inspect.signature(cls).parameters]
    for name in options:
        if name not in known:
            raise DataError(f"{kinds[0].__name__} has no option {name}; {meant(name, known)}")
