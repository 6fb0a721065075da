"""The base of the generators over windows of a sequence store, and what a window becomes for a network."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.generators.arrays import LAYOUTS, laid_out
from helixband.generators.base import BatchGenerator
from helixband.generators.coverage import Coverage, Spans, over_all
from helixband.generators.gathers import Rows, rows_of
from helixband.generators.sampling import NO_INDEXES, Checked, Sampling, balanced, checked, classes, weighted
from helixband.generators.splitting import parts_of
from helixband.sequence import splits
from helixband.sequence.alphabet import Codes
from helixband.sequence.augmentation import DRAWS, Augmentation
from helixband.sequence.intervals import Intervals
from helixband.sequence.metadata import HeaderTable, Metadata
from helixband.sequence.store import SequenceStore
from helixband.sequence.windows import Indexes, Places, Plan

BATCH_BYTES = 16 << 20
"""A generator without a batch size gives batches of about this size, as indexes."""

BLOCK_BYTES = 1 << 21
"""Windows are read in blocks of about this size, of many batches where those are small."""

BUCKET_BATCHES = 100
"""Sequences of so many batches are sorted by length together, to be padded little."""


class SequenceBatchGenerator(BatchGenerator):
    """Batches of windows of a `SequenceStore`.

    `layout` is the form of x: indexes "NL", uint8 (N, L), for a network that starts with `OneHot`; or one-hot
    float32 "NCL" (N, C, L), "NC1L" (N, C, 1, L) or "NLC" (N, L, C). With `metadata`, x is a dict of `x` and
    `metadata`, int64 (N, 2): the hash of the record's header and the start of the window.

    `reverse_complement` is the proportion of windows that are read from the other strand; True means half.
    `augmentation` is what else is done to a batch. `sampling` is which examples an epoch has: "balanced", the
    same number of each class, to within one (`balance=True` of integers); or a weight for each example, (N,).
    All are drawn again in each epoch, and need `shuffle`. `drop_last` leaves a last batch of fewer than
    `batch_size` examples out; without a size there is none.

    Order, strands and jitter of an epoch depend on (seed, epoch) alone; with buckets, on the batch size too.
    """

    jitter = 0

    def __init__(
        self,
        store: SequenceStore,
        plan: Plan,
        targets: NDArray[Any] | None,
        batch_size: int | None,
        shuffle: bool,
        *,
        layout: str = "NL",
        reverse_complement: float = 0.0,
        augmentation: Augmentation | None = None,
        balance: bool = False,
        metadata: bool = False,
        drop_last: bool = False,
        sampling: Sampling = None,
    ) -> None:
        self.store = store
        self.plan = plan
        self.targets = targets
        self.layout = layout
        self.reverse_complement = 0.5 if reverse_complement is True else reverse_complement
        self.augmentation = augmentation
        self.sampling = self._checked(sampling, balance, shuffle, len(plan))
        self.headers = HeaderTable(store.told_headers) if metadata else None
        self._chosen: Indexes | None = None  # the examples of a part, of all there are
        super().__init__(len(plan), batch_size, shuffle, targets is not None, bool(batch_size) and drop_last)
        self._check()

    def __len__(self) -> int:
        """The number of batches."""
        return super().__len__() if self.batch_size else math.ceil(self.n_examples / self._rows)

    @property
    def length(self) -> int:
        """The bases of a window."""
        return self.plan.length

    def get_X_shape(self) -> tuple[int, ...]:
        """The shape of one example's x."""
        shape: tuple[int, ...] = self._as_x(np.zeros((1, self.length), dtype=np.uint8), None).shape[1:]
        return shape

    def is_made_alone(self) -> bool:
        ours = "helixband.generators.", "helixband.sequence.", "builtins"
        parts = type(self), type(self.store.alphabet), type(self.augmentation)
        return self._is_a(parts[0]) and all(part.__module__.startswith(ours) for part in parts)

    def get_Y(self) -> NDArray[Any] | None:
        """All targets, (N, …), or None."""
        return None if self.targets is None else self._targets_of(self._numbers(np.arange(self.n_examples)))

    @property
    def balance(self) -> bool:
        """Whether an epoch has the same number of examples of each class."""
        return isinstance(self.sampling, str)

    @property
    def is_random(self) -> bool:
        """Whether the examples themselves, and not their order alone, differ from epoch to epoch."""
        return bool(self.reverse_complement or self.jitter or self.augmentation or self.sampling is not None)

    def codes(self, examples: Indexes) -> Codes:
        """The indexes of examples as they stand, uint8 (N, L): unshifted, unaugmented."""
        numbers = self._numbers(examples)
        return self._read(numbers, self.plan.places(numbers))

    def x(self, examples: Indexes, other_strand: bool = False) -> Any:
        """What a network gets of examples, as they stand; of their other strands, if asked."""
        numbers = self._numbers(examples)
        places = self.plan.places(numbers)
        codes = self._read(numbers, places)
        if other_strand:
            codes = self._other_strand(codes, places)
        return self._as_x(codes, self._metadata(places))

    def batch(self, examples: Indexes) -> Any:
        """(x, y) of examples as they stand, or x alone without targets."""
        x = self.x(examples)
        return x if self.targets is None else (x, self._targets_of(self._numbers(examples)))

    def regions(self, examples: Indexes) -> tuple[list[str], Indexes, Indexes, list[str]]:
        """(record names, starts, ends, strands) of examples, cut at the ends of the records."""
        records, starts, ends, reverse = self._within(examples)
        strands = np.where(reverse, "-", "+").tolist()
        return [self.store.names[record] for record in records.tolist()], starts, ends, strands

    def records(self, examples: Indexes) -> Indexes:
        """The number of each one's record, (N,)."""
        return self.plan.places(self._numbers(examples))[0]

    @property
    def coordinates(self) -> str | None:
        """What `intervals` are positions on: "headers", the chromosomes that headers name; the digest of the
        store, its own records; or None where there are none. Intervals of two generators can be compared
        where this is the same.
        """
        return self.store.digest

    @property
    def no_coordinates(self) -> str:
        """Why there are no `intervals` although headers look like regions; '' where that is not so."""
        return ""

    def intervals(self) -> Intervals | None:
        """Where the bases of the examples are from, in order; None where they have no coordinates.

        What is drawn in each epoch counts: with jitter these are the windows and what it can move them to,
        and `plain().intervals()` are the windows as they stand.
        """
        examples = np.arange(self.n_examples)
        records, _, _, reverse = self._within(examples)
        strand = np.where(reverse, -1, 1).astype(np.int8)
        return Intervals.of_records(self.store.names, records, *self._extents(examples), strand)

    def coverage(self, seed: int, limit: int | None = None, steps: int | None = None) -> Coverage | None:
        examples = np.flatnonzero(self._are_windows(self._numbers(np.arange(self.n_examples))))
        size = int(self.store.lengths[np.unique(self.records(examples))].sum())
        spans, located = partial(self._spans, seed), partial(self._located, seed)
        rows = self.batch_size or self._rows
        return Coverage(spans, located, rows, self.drop_last, size, limit, steps) if size else None

    def split(
        self,
        by: str = "",
        val: float | Sequence[str] = 0.1,
        test: float | Sequence[str] = 0.1,
        *,
        gap: int = 0,
        seed: int = 0,
    ) -> tuple[Self, Self, Self]:
        """Generators of a training, a validation and a test part.

        `by` is "chromosome", and `val` and `test` are lists of names; or they are shares of all examples, and
        `by` is "interval" (examples that overlap or lie within `gap` bases stay together, with jitter within
        2 * jitter at least, as both of two can move), "cluster" (those that are similar, see
        `sequence.similarity`) or "ratio" (at random, with like shares of each class).
        The training part is shuffled and augmented as this generator is; the others come whole, in order and
        as they stand.
        """
        splits.check(by, val, test, gap)
        parts = parts_of(self, by, val, test, gap, seed)
        return self.part(parts[0]), self.part(parts[1]).plain(), self.part(parts[2]).plain()

    def part(self, chosen: Indexes) -> Self:
        """A generator of some of the examples, by number."""
        made = self.copied()
        made._chosen = self._numbers(np.asarray(chosen, dtype=np.int64))
        made.n_examples = len(made._chosen)
        return made

    def as_stored(self) -> Self:
        made = super().as_stored()
        made.sampling, made.augmentation, made.reverse_complement, made.jitter = None, None, 0.0, 0
        return made

    def plain(self) -> Self:
        """As `as_stored`, in large batches."""
        made = self.as_stored()
        made.batch_size = None
        return made

    def for_prediction(
        self, path: str, stride: int | None = None, names: str | None = None
    ) -> "SequenceBatchGenerator":
        """A generator over another file, without targets, in the form that this one's examples have.

        `names`, of its records: "header" or "number"; None as for this one.
        """
        raise NotImplementedError

    # What a kind of sequences says otherwise.

    def _are_windows(self, numbers: Indexes) -> NDArray[np.bool_]:
        """Which examples are windows of longer records, and no shuffles, (N,)."""
        return np.ones(len(numbers), dtype=np.bool_)

    def _lengths(self, records: Indexes) -> Indexes:
        """The bases of windows of these records, (N,)."""
        return np.full(len(records), self.length, dtype=np.int64)

    def _extents(self, examples: Indexes) -> tuple[Indexes, Indexes]:
        """(starts, ends) within their records of all bases that examples can have, (N,) each."""
        records, starts, ends, _ = self._within(examples)
        lengths = self.store.lengths[records]
        return np.maximum(starts - self.jitter, 0), np.minimum(ends + self.jitter, lengths)

    def _within(self, examples: Indexes) -> tuple[Indexes, Indexes, Indexes, NDArray[np.bool_]]:
        """(records, starts, ends, reverse), (N,) each, of examples, cut at the ends of the records."""
        records, starts, reverse = self.plan.places(self._numbers(examples))
        ends = np.minimum(starts + self._lengths(records), self.store.lengths[records])
        return records, np.maximum(starts, 0), ends, reverse

    def _other_strand(self, codes: Codes, places: Places) -> Codes:
        """The other strand of windows that were read at these places, uint8 (N, L)."""
        return self.store.alphabet.reverse_complement(codes)

    def _of_epoch(self, rng: np.random.Generator) -> Self:
        """The generator of a shuffled epoch, where the examples themselves are drawn for it."""
        return self

    def _read(self, numbers: Indexes, places: Places) -> Codes:
        """The windows at the places of examples, uint8 (N, L)."""
        records, starts, reverse = places
        return self.store.windows(records, starts, int(self._lengths(records).max()), reverse)

    def _targets_of(self, numbers: Indexes, places: Places | None = None) -> NDArray[Any]:
        assert self.targets is not None
        targets: NDArray[Any] = self.targets[numbers]
        return targets

    def _blocks(self, rng: np.random.Generator | None) -> Iterator[Indexes]:
        """The numbers of the examples of an epoch in order, so many batches at a time."""
        step = self._rows * max(1, BLOCK_BYTES // max(1, self._rows * self.length))
        order = None if rng is None else self._drawn_order(rng)
        for start in range(0, self.n_examples, step):
            end = min(start + step, self.n_examples)
            yield self._numbers(np.arange(start, end)) if order is None else order[start:end]

    # How it is done.

    @property
    def _rows(self) -> int:
        """The examples of a batch."""
        return min(self.batch_size or max(1, BATCH_BYTES // max(1, self.length)), max(1, self.n_examples))

    def _check(self) -> None:
        name = type(self).__name__
        if self.layout not in LAYOUTS:
            raise DataError(f"{name}: layout is {self.layout!r}; it has to be one of {', '.join(LAYOUTS)}")
        share = self.reverse_complement
        if not (isinstance(share, float | int | np.number) and 0 <= share <= 1):
            raise DataError(f"{name}: reverse_complement is {share!r}; it has to be a proportion, 0 to 1")
        if not isinstance(self.augmentation, Augmentation | None):
            raise DataError(
                f"{name}: augmentation is {self.augmentation!r}; it has to be an Augmentation of "
                "helixband.sequence.augmentation, as in Augmentation(shift=0.5, max_shift=3), or None"
            )
        if self.augmentation is not None and self.augmentation.alphabet != self.store.alphabet:
            raise DataError(
                f"{name}: the augmentation has the alphabet {self.augmentation.alphabet}, and the sequences "
                f"have {self.store.alphabet}: give both the same alphabet"
            )
        if self.is_random and not self.shuffle:
            raise DataError(
                f"{name}: what is drawn anew in each epoch (jitter, offsets, augmentation, balance) is for "
                "training: pass shuffle=True too"
            )

    def _checked(self, sampling: Sampling, balance: bool, shuffle: bool, n_examples: int) -> Checked:
        name, targets = type(self).__name__, self.targets
        if not isinstance(balance, bool | np.bool_):
            raise DataError(f"{name}: balance is {balance!r}; it has to be True or False")
        if balance and sampling is not None:
            raise DataError(f"{name}: balance=True is sampling='balanced': leave one of them out")
        if balance and not shuffle:
            raise DataError(f"{name}: balance is for training: pass shuffle=True too")
        if balance and (targets is None or targets.ndim > 1 or targets.dtype.kind not in "bui"):
            raise DataError(f"{name}: {NO_INDEXES}")
        return checked("balanced" if balance else sampling, shuffle, targets, n_examples, name)

    def _numbers(self, examples: Indexes) -> Indexes:
        """The numbers that examples have among all."""
        return examples if self._chosen is None else self._chosen[examples]

    def _batches(self, seed: int, epoch: int, start: int) -> Iterator[tuple[Any, Any]]:
        rng = self._rng(seed, epoch)
        return (self if rng is None else self._of_epoch(rng))._batches_of(rng, start)

    def _batches_of(self, rng: np.random.Generator | None, start: int) -> Iterator[tuple[Any, Any]]:
        rows = self._rows
        for numbers, places, skipped in self._drawn_blocks(rng, start):
            codes = self._read(numbers, places)
            if rng is not None and self.augmentation is not None:
                codes = self.augmentation(codes, rng)
            metadata = self._metadata(places)
            y = None if self.targets is None else self._targets_of(numbers, places)
            for first in range(skipped * rows, len(numbers), rows):
                batch = slice(first, first + rows)
                x = self._as_x(codes[batch], None if metadata is None else metadata[batch])
                yield x, None if y is None else y[batch]

    def _drawn_blocks(
        self, rng: np.random.Generator | None, start: int
    ) -> Iterator[tuple[Indexes, Places, int]]:
        """(numbers, places, first batch) of the blocks of an epoch, from batch `start` of it on.

        With an `augmentation`, whoever reads them draws its changes before the next block.
        """
        for numbers in self._blocks(rng):
            full = len(numbers) // self._rows if self.drop_last else math.ceil(len(numbers) / self._rows)
            if start >= full:  # nothing is read, and what is drawn after it stays what it is
                start -= full
                self._draw(len(numbers), rng)
                continue
            yield numbers, self._places(numbers, rng), start
            start = 0

    def _gathered_rows(self, numbers: Indexes, places: Places) -> Rows:
        """How the windows at the places of examples are gathered, and their targets."""
        rows = rows_of(self.store, self.length, *places)
        if (metadata := self._metadata(places)) is not None:
            rows["metadata"] = metadata
        return rows if self.targets is None else rows | {"target": numbers}

    def _draw(self, examples: int, rng: np.random.Generator | None) -> None:
        """Draw what so many examples would be changed by."""
        if rng is not None and (self.reverse_complement or self.jitter):
            rng.random((examples, 2))
        if rng is not None and self.augmentation is not None:
            rng.random((examples, DRAWS))

    def _places(self, numbers: Indexes, rng: np.random.Generator | None) -> Places:
        """(records, starts, reverse) of examples; with `rng`, as its epoch has them."""
        records, starts, reverse = self.plan.places(numbers)
        if rng is not None and (self.reverse_complement or self.jitter):
            draws = rng.random((len(numbers), 2))  # two an example, so that their blocks make no difference
            reverse = reverse ^ (draws[:, 0] < self.reverse_complement)
            starts = starts + np.floor(draws[:, 1] * (2 * self.jitter + 1)).astype(np.int64) - self.jitter
        return records, starts, reverse

    def _drawn_order(self, rng: np.random.Generator) -> Indexes:
        """The numbers of the examples of a shuffled epoch, (N,)."""
        numbers = self._numbers(np.arange(self.n_examples))
        if isinstance(self.sampling, np.ndarray):
            numbers = numbers[weighted(self.sampling[numbers], rng)]
        elif self.sampling is not None:
            numbers = numbers[balanced(classes(self._targets_of(numbers), type(self).__name__), rng)]
        return rng.permutation(numbers)

    def _spans(self, seed: int, epoch: int) -> Spans:
        """Where the windows of an epoch are, in order, over all records one behind the other."""
        rng, found = self._rng(seed, epoch), []
        made = self if rng is None else self._of_epoch(rng)
        for numbers, (records, starts, _), _ in made._drawn_blocks(rng, 0):
            if rng is not None and self.augmentation is not None:
                rng.random((len(numbers), DRAWS))
            found.append((records, starts, starts + self.length * made._are_windows(numbers)))
        return over_all(np.concatenate(found, axis=1), self.store.lengths)

    def _metadata(self, places: Places) -> Metadata | None:
        records, starts, _ = places
        return None if self.headers is None else np.column_stack([self.headers.hashes[records], starts])

    def _as_x(self, codes: Codes, metadata: Metadata | None) -> Any:
        x = laid_out(codes, self.layout, self.store.alphabet)
        return x if metadata is None else {"x": x, "metadata": metadata}
