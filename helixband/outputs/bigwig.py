"""Predictions as a track of a genome browser, bigWig (Kent et al. 2010, Bioinformatics 26:2204).

A bigWig has one value a base at most. Where windows overlap, each base has the mean of the scores of all
windows that cover it. A score that is not finite is left out: readers crash on NaN.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from helixband import interruption
from helixband.errors import DataError, HelixbandError, StorageError
from helixband.files import writing_whole
from helixband.outputs.rows import BLOCK_ROWS, RegionsOf, Rows, Windows

Places = NDArray[np.int64]
Scores = NDArray[np.float64]
Spans = tuple[Places, Places, Scores]
"""(starts, ends, scores), (N,) each."""

Entry = tuple[str, int, int, float]
"""(record, start, end, score)."""


class BigWig:
    """bigWig: a track for y_pred (N,), and one for each column of y_pred (N, k)."""

    name = "bw"
    for_scores = True
    may_be_skipped = False

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
    first = next(entries, None)
    if first is None:
        raise DataError(f"no score is a finite number, so there is nothing to write to {path}")
    source = _Source(itertools.chain([first], entries))
    with writing_whole(path) as file:
        link = Path(f"{file.name}.bw")  # pybigtools knows a format by the end of the name alone
        link.unlink(missing_ok=True)
        link.symlink_to(Path(file.name).name)
        try:
            bases = _bases_written(str(link), source, lengths)
        finally:
            link.unlink(missing_ok=True)
        source.raise_again()
        interruption.check()
        if bases != source.bases:
            raise StorageError(f"cannot write {path}: pybigtools did not finish it, and printed the reason")


def _bases_written(path: str, source: "_Source", lengths: Mapping[str, int]) -> int | None:
    """Have pybigtools write a bigWig; the bases with a value in it, None where it failed."""
    import pybigtools

    try:
        # Of some failures, a full disk for example, it prints a line and returns; others are a panic.
        pybigtools.open(path, "w").write(dict(lengths), source)
        with pybigtools.open(path) as written:
            return int(written.info()["summary"]["basesCovered"])
    except pybigtools.BBIReadError:
        return None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # which is no Exception, and cannot be imported
            raise
        return None


class _Source:
    """Entries for pybigtools, which would print what their iterator raises: it is kept and raised after."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = entries
        self._error: BaseException | None = None
        self.bases = 0

    def __iter__(self) -> Iterator[Entry]:
        try:
            for entry in self._entries:
                self.bases += entry[2] - entry[1]
                yield entry
        except GeneratorExit:
            raise
        except BaseException as error:
            self._error = error

    def raise_again(self) -> None:
        """Raise what ended the entries too early."""
        if self._error is not None:
            raise self._error
