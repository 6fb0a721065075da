"""How much of a genome the windows of a training have had so far."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Indexes = NDArray[np.int64]
Spans = tuple[Indexes, Indexes]
"""(starts, ends), 0-based and end-exclusive, (N,) each."""


class Coverage:
    """The share of `size` bases that the windows of the epochs so far have had; each base counts once.

    `spans(epoch)`: where the windows of an epoch are, in order, `rows` of them a batch; `drop_last`: without
    a last batch of fewer. `limit`: batches of an epoch, if not all. With `steps`, epochs are so many batches
    of a stream, whose batch n is `located(n)`: a number of an epoch of the generator, and of a batch in it.

    It is a function of the number of epochs: a training that goes on needs no state for it.
    """

    def __init__(
        self,
        spans: Callable[[int], Spans],
        located: Callable[[int], tuple[int, int]],
        rows: int,
        drop_last: bool,
        size: int,
        limit: int | None = None,
        steps: int | None = None,
    ) -> None:
        self._spans, self._located = spans, located
        self._rows, self._drop_last, self._size = rows, drop_last, size
        self._limit, self._steps = limit, steps
        self._seen: Spans = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._epochs = self._bases = 0

    def after(self, epochs: int) -> float:
        """The share after so many epochs; it looks at those that it was not asked for before, too."""
        while self._epochs < epochs and self._bases < self._size:
            self._look_at(self._epochs)
            self._epochs += 1
        return self._bases / self._size

    def _look_at(self, epoch: int) -> None:
        if self._steps is None:
            self._add(epoch, 0, self._limit)
            return
        left = self._steps if self._limit is None else self._limit
        of_generator, first = self._located(self._steps * epoch)
        while left:
            left -= self._add(of_generator, first, left)
            of_generator, first = of_generator + 1, 0

    def _add(self, epoch: int, first: int, count: int | None) -> int:
        """Add `count` batches from the one numbered `first` on, or all; how many there were."""
        starts, ends = self._spans(epoch)
        batches = len(starts) // self._rows if self._drop_last else math.ceil(len(starts) / self._rows)
        last = batches if count is None else min(batches, first + count)
        rows = slice(first * self._rows, last * self._rows)
        self._seen = union(np.append(self._seen[0], starts[rows]), np.append(self._seen[1], ends[rows]))
        self._bases = int((self._seen[1] - self._seen[0]).sum())
        return last - first


def over_all(spans: Indexes, lengths: Indexes) -> Spans:
    """Spans of records, (3, N): record, start, end; cut, and over all records one behind the other.

    `lengths` are those of the records, (R,).
    """
    records, starts, ends = spans
    first = (np.cumsum(lengths) - lengths)[records]
    return first + np.maximum(starts, 0), first + np.minimum(ends, lengths[records])


def union(starts: Indexes, ends: Indexes) -> Spans:
    """What some spans are together, in order; those that touch are one.

    >>> [part.tolist() for part in union(np.array([4, 0, 2, 9]), np.array([6, 3, 4, 9]))]
    [[0], [6]]
    """
    there = starts < ends
    order = np.argsort(starts[there], kind="stable")
    starts, ends = starts[there][order], np.maximum.accumulate(ends[there][order])
    begins = np.append(True, starts[1:] > ends[:-1])[: len(starts)]
    return starts[begins], ends[np.append(begins[1:], True)[: len(ends)]]
