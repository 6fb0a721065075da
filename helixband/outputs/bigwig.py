"""Predictions as a track of a genome browser, bigWig (Kent et al. 2010, Bioinformatics 26:2204).

A bigWig has one value a base at most. Where windows overlap, each base has the mean of the scores of all
windows that cover it. A score that is not finite is left out: readers crash on NaN.
"""

import contextlib
import errno
import functools
import itertools
import math
import operator
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband import interruption
from helixband.errors import DataError, HelixbandError
from helixband.files import Checksums, replacing
from helixband.outputs.blocks import Blocks
from helixband.outputs.rows import BLOCK_ROWS, RegionsOf, Rows, Windows

Places = NDArray[np.int64]
Scores = NDArray[np.float64]
Spans = tuple[Places, Places, Scores]
"""(starts, ends, scores), (N,) each."""

Entry = tuple[str, int, int, float]
"""(record, start, end, score)."""

UNFINISHED = "pybigtools did not finish it, and may have printed the reason"

_SPAN = np.dtype([("start", "<i8"), ("end", "<i8"), ("score", "<f4")])  # as exact as a bigWig is


class BigWig:
    """bigWig: a track for y_pred (N,), and one for each column of y_pred (N, k)."""

    name = "bw"
    for_scores = True
    may_be_skipped = False
    for_positions = False

    def check_installed(self) -> None:
        check_installed()

    def suffixes(self, arrays: Mapping[str, Rows]) -> list[str]:
        return suffixes(arrays[""].shape) if "" in arrays else []

    def write(self, paths: list[Path], arrays: Mapping[str, Rows], windows: Windows) -> None:
        write_bigwigs(paths, arrays[""], windows.regions, windows.lengths)


def check_installed() -> None:
    """Raise `HelixbandError` with the remedy where pybigtools, an extra, is not installed."""
    try:
        import pybigtools  # noqa: F401
    except ModuleNotFoundError as error:
        raise HelixbandError(
            "bigWig files need pybigtools; install it with: pip install pybigtools, or leave bw out of "
            "--format"
        ) from error


def write_bigwigs(
    paths: Iterable[Path], scores: Rows, regions: RegionsOf, lengths: Mapping[str, int]
) -> None:
    """Write a bigWig of scores (N,), or one for each column of (N, k), to as many paths.

    `lengths`: those of all records, by name. The windows are of one length, or cut at the ends of their
    records.

    Raises `DataError` where no score is finite.
    """
    track = _Track(scores, regions, lengths)
    for column, path in enumerate(paths):
        _write(path, track.entries(_averaged_along(track.windows(column))), lengths)


def suffixes(shape: tuple[int, ...]) -> list[str]:
    """What the names of the bigWigs of scores of this shape, (N,) or (N, k), end in.

    >>> suffixes((5, 2))
    ['.0.bw', '.1.bw']
    """
    columns = int(np.prod(shape[1:], dtype=np.int64))
    return [".bw"] if columns == 1 else [f".{column}.bw" for column in range(columns)]


def averaged(starts: Places, ends: Places, scores: Scores) -> Spans:
    """The stretches of bases that the same windows cover, each with the mean of their scores.

    Both `starts` and `ends` are in order. What no window covers is in no stretch.

    >>> starts, ends, means = averaged(np.array([0, 4]), np.array([6, 10]), np.array([1.0, 2.0]))
    >>> list(zip(starts.tolist(), ends.tolist(), means.tolist()))
    [(0, 4, 1.0), (4, 6, 1.5), (6, 10, 2.0)]
    """
    breaks = np.unique(np.concatenate([starts, ends]))
    left, right = breaks[:-1], breaks[1:]
    first = np.searchsorted(ends, left, side="right")  # of the windows over a stretch
    last = np.searchsorted(starts, left, side="right")
    covered = first < last
    left, right, first, last = left[covered], right[covered], first[covered], last[covered]
    if not len(left):
        return left, right, np.empty(0)
    # Summed stretch by stretch: differences of running sums would lose small scores beside large ones.
    sums = np.add.reduceat(np.append(scores, 0.0), np.column_stack([first, last]).ravel())[::2]
    return left, right, sums / (last - first)


class _Track:
    """The windows with their scores on one axis, along which the records follow one another."""

    def __init__(self, scores: Rows, regions: RegionsOf, lengths: Mapping[str, int]) -> None:
        self._scores = scores
        self._regions = regions
        self._names = list(lengths)
        self._offsets = np.cumsum([0, *lengths.values()], dtype=np.int64)[:-1]
        self._offset_of = dict(zip(self._names, self._offsets.tolist(), strict=True))

    def windows(self, column: int) -> Iterator[Spans]:
        """Windows with one of their scores, in order, block by block."""
        if self._in_order:
            yield from self._stored(column)
            return
        starts, ends, scores = (np.concatenate(part) for part in zip(*self._stored(column), strict=True))
        order = np.lexsort((ends, starts))
        for first in range(0, len(order), BLOCK_ROWS):
            chosen = order[first : first + BLOCK_ROWS]
            yield starts[chosen], ends[chosen], scores[chosen]

    def entries(self, blocks: Iterable[Spans]) -> Iterator[Entry]:
        """Windows with the names of their records and their places there."""
        for starts, ends, scores in blocks:
            records = np.searchsorted(self._offsets, starts, side="right") - 1
            starts, ends = starts - self._offsets[records], ends - self._offsets[records]
            names = [self._names[record] for record in records.tolist()]
            yield from zip(names, starts.tolist(), ends.tolist(), scores.tolist(), strict=True)

    @functools.cached_property
    def _in_order(self) -> bool:
        """Whether they are stored in order, as those along a genome are: they need not be held then."""
        before = np.zeros((2, 1), dtype=np.int64)
        for first, last in self._scores.blocks():
            places = np.stack(self._places(first, last))
            if (np.diff(np.hstack([before, places])) < 0).any():
                return False
            before = places[:, -1:]
        return True

    def _stored(self, column: int) -> Iterator[Spans]:
        """Windows as they are stored, less those whose score is not finite."""
        for first, last in self._scores.blocks():
            starts, ends = self._places(first, last)
            values = self._scores.read(first, last).reshape(last - first, -1)[:, column].astype(np.float32)
            finite = np.isfinite(values)
            yield starts[finite], ends[finite], values[finite].astype(np.float64)

    def _places(self, first: int, last: int) -> tuple[Places, Places]:
        names, starts, ends, _ = self._regions(first, last)
        offsets = np.array([self._offset_of[name] for name in names], dtype=np.int64)
        return starts + offsets, ends + offsets


def _averaged_along(blocks: Iterable[Spans]) -> Iterator[Spans]:
    """`averaged` over blocks in order: windows that reach beyond a block's last start wait for the next."""
    waiting: Spans = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    for block in blocks:
        if not len(block[0]):
            continue
        starts, ends, scores = (np.append(*columns) for columns in zip(waiting, block, strict=True))
        limit = starts[-1]
        stretches = averaged(starts, ends, scores)
        done = np.searchsorted(stretches[0], limit)
        yield stretches[0][:done], stretches[1][:done], stretches[2][:done]
        closed = np.searchsorted(ends, limit, side="right")
        waiting = (np.maximum(starts[closed:], limit), ends[closed:], scores[closed:])
    yield averaged(*waiting)


def _write(path: Path, entries: Iterator[Entry], lengths: Mapping[str, int]) -> None:
    import pybigtools

    first = next(entries, None)
    if first is None:
        raise DataError(f"no score is a finite number, so there is nothing to write to {path}")
    source = _Source(itertools.chain([first], entries))
    # pybigtools knows a format by the end of the name alone.
    with replacing(path, lambda file: _check(file.name, source.content), ending=".tmp.bw") as file:
        with _failures():
            pybigtools.open(file.name, "w").write(dict(lengths), source)
        source.raise_again()
        interruption.check()


def _check(path: str, written: "_Content") -> None:
    """Read a bigWig; raises `OSError` where it has not all that was written: entries, at any zoom, sums."""
    found = _Content()
    with _failures(), open(path, "rb") as file:
        blocks = Blocks(file)
        names = blocks.names()
        for record, of_record in itertools.groupby(blocks.entries(), operator.itemgetter(0)):
            found.begin(names[record])
            for _, spans in of_record:
                found.add(spans.astype(_SPAN))
                interruption.check()
        zooms = list(blocks.zoomed())
        bases, lowest, highest, *sums = blocks.summary
        is_whole = blocks.ends_in_magic() and found.checksums == written.checksums
    # pybigtools 0.3.0 counts some bases twice in zoom levels of entries with gaps between them.
    is_whole &= all(covered == bases or (covered > bases and written.has_gaps) for covered in zooms)
    is_whole &= (bases, lowest, highest) == (written.bases, written.lowest, written.highest)
    scale = written.sums[1] ** 0.5 * written.bases**0.5  # no sum of scores is larger
    exact = zip(sums, written.sums, (scale, written.sums[1]), strict=True)
    if not (is_whole and all(abs(one - other) <= 1e-6 * size for one, other, size in exact)):
        raise OSError(errno.EIO, UNFINISHED)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Have what pybigtools raises for a file that it cannot write, and what reads it back, be an `OSError`.

    Of some failures, a full disk for example, it prints a line and returns; others are a panic.
    """
    try:
        yield
    except (ValueError, KeyError, struct.error, zlib.error) as error:
        raise OSError(errno.EIO, UNFINISHED) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # which is no Exception, and cannot be imported
            raise
        raise OSError(errno.EIO, UNFINISHED) from error


class _Content:
    """What a track holds: the bases covered, and checksums of the names and of all entries."""

    def __init__(self) -> None:
        self.bases = 0
        self.has_gaps = False
        """Whether two entries of a name have bases between them."""
        self.lowest, self.highest = math.inf, -math.inf
        self.sums = np.zeros(2)
        """Over all bases: of the scores, and of their squares."""
        self._sums = Checksums()
        self._last_end: Any = None

    @property
    def checksums(self) -> list[int]:
        """Those of the entries that have passed."""
        return self._sums.blocks()

    def passing(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The same entries, which are counted and summed as they pass."""
        for name, group in itertools.groupby(entries, operator.itemgetter(0)):
            self.begin(name)
            while block := list(itertools.islice(group, BLOCK_ROWS)):
                self.add(np.array([entry[1:] for entry in block], _SPAN))
                interruption.check()
                yield from block

    def begin(self, name: str) -> None:
        """Have the entries that follow be those of a record."""
        self._sums.add(name.encode())
        self._last_end = None

    def add(self, spans: NDArray[np.void]) -> None:
        """Count and sum the next entries of the record, (N,) of the type `_SPAN`."""
        lengths, scores = spans["end"] - spans["start"], spans["score"].astype(np.float64)
        self.bases += int(lengths.sum())
        first = spans["start"][0] if self._last_end is None else self._last_end
        self.has_gaps |= bool((spans["start"] > np.append(first, spans["end"][:-1])).any())
        self._last_end = spans["end"][-1]
        self.lowest = min(self.lowest, scores.min())
        self.highest = max(self.highest, scores.max())
        self.sums += [lengths @ scores, lengths @ scores**2]
        self._sums.add(spans.tobytes())


class _Source:
    """Entries for pybigtools, which would print what their iterator raises: it is kept and raised after."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.content = _Content()
        self._entries = self.content.passing(entries)
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[Entry]:
        try:
            yield from self._entries
        except GeneratorExit:
            raise
        except BaseException as error:
            self._error = error

    def raise_again(self) -> None:
        """Raise what ended the entries too early."""
        if self._error is not None:
            raise self._error
