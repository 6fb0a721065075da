"""Plans of windows: which piece of which record each example is.

A plan says for example numbers, from 0, the record, the 0-based start and whether the reverse strand is
read, all windows being of one length. It holds no sequence.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.sequence.intervals import Intervals

Indexes = NDArray[np.int64]
Places = tuple[Indexes, Indexes, NDArray[np.bool_]]


class Plan(Protocol):
    """What plans of windows have in common."""

    @property
    def length(self) -> int:
        """The bases of a window."""
        ...

    def __len__(self) -> int: ...

    def places(self, examples: Indexes) -> Places:
        """(records, starts, reverse), (N,) each, of examples."""
        ...


@dataclass(frozen=True)
class Tiling:
    """Windows along records: at `offset`, `offset + stride`, … of each; no more memory for more windows.

    `ends`, int64 (R,): how many windows there are up to the end of each record. Make one with `tile`.
    """

    length: int
    stride: int
    offsets: Indexes
    ends: Indexes

    def __len__(self) -> int:
        return int(self.ends[-1])

    def places(self, examples: Indexes) -> Places:
        """(records, starts, reverse), (N,) each, of examples; the forward strand."""
        records = np.searchsorted(self.ends, examples, side="right")
        first = np.where(records > 0, self.ends[records - 1], 0)  # the number of the record's first window
        starts = self.offsets[records] + (examples - first) * self.stride
        return records, starts, np.zeros(len(examples), dtype=np.bool_)


def tile(
    lengths: Indexes,
    window: int,
    stride: int | None = None,
    *,
    offsets: Indexes | None = None,
    min_length: int = 1,
    incomplete: str = "drop",
) -> Tiling:
    """Windows of `window` bases every `stride` bases (default: `window`) along records of `lengths`, (R,).

    `offsets`, (R,): where the first window of each record starts, default 0. Records below `min_length`
    have no window. A window that would end past its record is dropped, or kept where `incomplete` is
    "pad", as long as one base of it is new.

    >>> plan = tile(np.array([10, 3]), window=4, incomplete="pad")
    >>> records, starts, _ = plan.places(np.arange(len(plan)))
    >>> list(zip(records.tolist(), starts.tolist()))
    [(0, 0), (0, 4), (0, 8), (1, 0)]

    Raises `DataError` for a window or stride below 1, a negative offset, and where no window is left.
    """
    stride = window if stride is None else stride
    if window < 1 or stride < 1:
        raise DataError(f"window {window} and stride {stride} have to be 1 at least")
    if incomplete not in ("drop", "pad"):
        raise DataError(f"incomplete is {incomplete!r}; it has to be 'drop' or 'pad'")
    lengths = np.asarray(lengths, dtype=np.int64)
    offsets = np.zeros_like(lengths) if offsets is None else np.asarray(offsets, dtype=np.int64)
    if (offsets < 0).any():
        raise DataError(f"the offset {offsets.min()} is negative; windows start within their records")
    room = lengths - offsets
    full = np.where(room >= window, (room - window) // stride + 1, 0)
    if incomplete == "pad":
        # One more where bases are left that no full window has, unless the stride leaps over them.
        covered = np.where(full > 0, (full - 1) * stride + window, 0)
        full = full + ((covered < room) & (full * stride < room))
    counts = np.where(lengths >= min_length, full, 0)
    if not counts.any():
        raise DataError(
            f"no window of {window} fits: the longest of {len(lengths)} records has {lengths.max(initial=0)} "
            f"bases, records below {min_length} are left out and incomplete windows "
            f"{'dropped (incomplete=' + repr(incomplete) + ')' if incomplete == 'drop' else 'padded'}"
        )
    return Tiling(window, stride, offsets, np.cumsum(counts))


@dataclass(frozen=True)
class Whole:
    """Each record as one window, `length` being that of the longest; `n_records` of them."""

    length: int
    n_records: int

    def __len__(self) -> int:
        return self.n_records

    def places(self, examples: Indexes) -> Places:
        """(records, starts, reverse), (N,) each, of examples."""
        return examples, np.zeros_like(examples), np.zeros(len(examples), dtype=np.bool_)


def of_one_length(lengths: Indexes) -> list[Indexes]:
    """The numbers of the records of each length, the shortest first.

    >>> [numbers.tolist() for numbers in of_one_length(np.array([7, 5, 7]))]
    [[1], [0, 2]]
    """
    order = np.argsort(lengths, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)


@dataclass(frozen=True)
class Chosen:
    """Windows one by one: `records`, `starts`, `reverse`, (N,) each."""

    length: int
    records: Indexes
    starts: Indexes
    reverse: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.records)

    def places(self, examples: Indexes) -> Places:
        """(records, starts, reverse), (N,) each, of examples."""
        return self.records[examples], self.starts[examples], self.reverse[examples]


def windows_of(intervals: Intervals, window: int, stranded: bool = True) -> Chosen:
    """A window around the centre of each interval, whose chromosomes are the records.

    `stranded`: intervals of the strand − are read from the reverse strand.
    """
    resized = intervals.resized(window)
    reverse = (resized.strand < 0) & stranded
    return Chosen(window, resized.chromosome, resized.start, reverse)
