"""Intervals on chromosomes, as columns, and the arithmetic on them.

Starts are 0-based and ends exclusive: what browsers call `chrI:101-200` has start 100 and end 200. Every
interval has a base or more. Strands are kept, and the arithmetic does not look at them.
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helixband.errors import DataError
from helixband.sequence.headers import POSITION, read_headers

Integers = NDArray[np.int64]
Reading = tuple[tuple[str, Any], ...]
Texts = NDArray[Any]  # dtype object, of str: in an array of fixed width one long label widens all the others

LONGEST = 1 << 40
"""No position is past this, a hundred times the longest chromosome known, so that sums of them fit int64."""

FAR: int = np.iinfo(np.int64).max
"""The distance where there is nothing on the chromosome."""

_COLUMNS = ("chromosome", "start", "end", "strand", "label", "score", "kind")
_STRANDS: dict[Any, int] = {"+": 1, "-": -1, ".": 0, "?": 0, "": 0, 1: 1, -1: -1, 0: 0}


@dataclass(frozen=True, eq=False)
class Intervals:
    """N intervals in any order; `make` builds them.

    `names`: the chromosomes, of which some may have no interval. `chromosome`: int64 (N,), indexes of
    `names`. `start`, `end`: int64 (N,), 0-based, end-exclusive. `strand`: int8 (N,), +1, -1, or 0 where
    unknown. `label`, `kind`: (N,) of str, dtype object, '' where none; a kind is the type of a GFF feature.
    `score`: float64 (N,), NaN where none. `source`: the file they are from, for messages. `reading`: the
    options of `read_bed` or `read_gff` that say what was read of their files, as (name, value), so that
    another file can be read in the same way.

    >>> peaks = Intervals.make(["chr1", "chr2", "chr1"], [100, 5, 150], [180, 10, 200])
    >>> peaks.names, peaks.chromosome.tolist(), len(peaks[peaks.start > 50])
    (('chr1', 'chr2'), [0, 1, 0], 2)
    """

    names: tuple[str, ...]
    chromosome: Integers
    start: Integers
    end: Integers
    strand: NDArray[np.int8]
    label: Texts
    score: NDArray[np.float64]
    kind: Texts
    source: str = ""
    reading: Reading = ()

    @classmethod
    def make(
        cls,
        names: Iterable[str],
        starts: ArrayLike,
        ends: ArrayLike,
        strands: Iterable[str | int] | None = None,
        *,
        labels: Iterable[str] | None = None,
        scores: ArrayLike | None = None,
        kinds: Iterable[str] | None = None,
        source: str = "",
    ) -> "Intervals":
        """Intervals from the name of each one's chromosome and its positions.

        A strand is '+', '-' or '.', or +1, -1 or 0. Raises `DataError` where the columns differ in length,
        positions are no integers, or an interval is negative, empty or ends before it starts.
        """
        places = list(names)
        index = {name: number for number, name in enumerate(dict.fromkeys(places))}
        n = len(places)
        columns: dict[str, Any] = {
            "chromosome": np.fromiter((index[name] for name in places), np.int64, n),
            "start": _integers(starts, "start"),
            "end": _integers(ends, "end"),
            "strand": np.zeros(n, np.int8) if strands is None else _strands(strands),
            "label": _texts([""] * n if labels is None else labels),
            "score": np.full(n, np.nan) if scores is None else np.asarray(scores, dtype=np.float64),
            "kind": _texts([""] * n if kinds is None else kinds),
        }
        for name, column in columns.items():
            if column.shape != (n,):
                raise DataError(
                    f"{n} intervals with a column {name!r} of shape {column.shape}; give each one"
                )
        made = cls(tuple(map(str, index)), **columns, source=source)
        made._check()
        return made

    @classmethod
    def of_records(
        cls,
        names: Sequence[str],
        records: Integers,
        starts: Integers,
        ends: Integers,
        strand: NDArray[np.int8],
    ) -> "Intervals":
        """Intervals from the numbers of their chromosomes among `names`, without label, score and kind.

        Raises `DataError` as `make` does.
        """
        n = len(records)
        empty = np.full(n, "", dtype=object)
        made = cls(tuple(names), records, starts, ends, strand, empty, np.full(n, np.nan), empty)
        made._check()
        return made

    @classmethod
    def concatenate(cls, parts: Sequence["Intervals"]) -> "Intervals":
        """The intervals of all parts, one part after another, with the names of all.

        >>> parts = [Intervals.make(["a"], [0], [1]), Intervals.make(["b", "a"], [2, 3], [5, 6])]
        >>> Intervals.concatenate(parts).chromosome_names().tolist()
        ['a', 'b', 'a']
        """
        names = tuple(dict.fromkeys(name for part in parts for name in part.names))
        placed = [part.on_names(names) for part in parts] or [cls.make([], [], [])]
        columns = {column: np.concatenate([getattr(part, column) for part in placed]) for column in _COLUMNS}
        sources = dict.fromkeys(part.source for part in parts if part.source)
        ways = dict.fromkeys(way for part in parts for way in part.reading)
        return cls(names, **columns, source=", ".join(sources), reading=tuple(ways))

    def _check(self) -> None:
        if fault := first_fault(self.start, self.end):
            number, reason = fault
            raise DataError(f"{self.told(number)}, number {number} from 0: {reason}")

    def __len__(self) -> int:
        """The number of intervals."""
        return len(self.start)

    def __getitem__(self, index: Any) -> "Intervals":
        """Those that an array of indexes, a slice or a mask, bool (N,), chooses; `names` stay as they are."""
        index = [index] if isinstance(index, int | np.integer) else index
        return dataclasses.replace(self, **{column: getattr(self, column)[index] for column in _COLUMNS})

    def told(self, number: int) -> str:
        """One interval as messages name it: its source and its first columns in BED."""
        place = f"{self.names[self.chromosome[number]]} {self.start[number]} {self.end[number]}"
        return f"{self.source or 'intervals'}: the interval {place} (0-based, end-exclusive)"

    def chromosome_names(self) -> Texts:
        """The name of each one's chromosome, (N,) of str, dtype object."""
        return _texts(self.names)[self.chromosome]

    def on_names(self, names: Sequence[str]) -> "Intervals":
        """The same with other `names`; intervals on chromosomes that are not among them are left out."""
        index = {name: number for number, name in enumerate(names)}
        chromosome = np.array([index.get(name, -1) for name in self.names], dtype=np.int64)[self.chromosome]
        return dataclasses.replace(self, names=tuple(names), chromosome=chromosome)[chromosome >= 0]

    def centres(self) -> Integers:
        """The middle of each, (start + end) // 2, int64 (N,)."""
        return (self.start + self.end) // 2

    def resized(self, window: int) -> "Intervals":
        """Windows of one length about the same centres; they may leave the chromosome at either end.

        The centre is at index window // 2 of a window; read from the − strand, of an even window, one before.

        >>> grown = Intervals.make(["chr1"], [100], [101]).resized(4)
        >>> grown.start.tolist(), grown.end.tolist()
        ([98], [102])

        Raises `DataError` where `window` is not an integer from 1.
        """
        if not isinstance(window, int | np.integer) or not 1 <= window <= LONGEST:
            raise DataError(f"the window is {window!r}; it has to be a number of bases, 1 or more")
        start = self.centres() - window // 2
        return dataclasses.replace(self, start=start, end=start + window)

    def sorted(self) -> "Intervals":
        """Ordered by chromosome, in the order of `names`, then start, then end; of equals, as they were."""
        return self[np.lexsort((self.end, self.start, self.chromosome))]

    def clusters(self, gap: int = 0) -> Integers:
        """The number of the cluster that each interval is in, int64 (N,), from 0 in the order of `sorted`.

        Two intervals with at most `gap` bases between them are in one cluster, and so are the ends of a
        chain of such. A gap of 0 joins those that overlap or touch, as `bedtools cluster` does.

        >>> Intervals.make(["chr1"] * 4, [0, 30, 5, 10], [6, 40, 9, 20]).clusters(gap=1).tolist()
        [0, 1, 0, 0]

        Raises `DataError` where `gap` is negative.
        """
        order, is_first = self._runs(gap)
        numbers = np.empty(len(self), dtype=np.int64)
        numbers[order] = np.cumsum(is_first) - 1
        return numbers

    def merged(self, gap: int = 0) -> "Intervals":
        """One interval for each of the `clusters`, in order, without strand, label, score and kind.

        >>> joined = Intervals.make(["chr1"] * 3, [0, 30, 4], [6, 40, 9]).merged()
        >>> joined.start.tolist(), joined.end.tolist()
        ([0, 30], [9, 40])
        """
        order, is_first = self._runs(gap)
        bare = self[order[is_first]]
        ends = np.maximum.reduceat(self.end[order], np.flatnonzero(is_first)) if len(bare) else bare.end
        unknown = {"strand": 0, "label": "", "score": np.nan, "kind": ""}
        columns = {name: np.full_like(getattr(bare, name), value) for name, value in unknown.items()}
        return dataclasses.replace(bare, end=ends, **columns)

    def overlapping(self, other: "Intervals") -> NDArray[np.bool_]:
        """Whether each shares a base with any interval of `other`, bool (N,); chromosomes go by name."""
        return np.equal(self.distance_to(other), 0)

    def distance_to(self, other: "Intervals") -> Integers:
        """The distance to the nearest interval of `other`, int64 (N,), as `bedtools closest -d` counts it.

        It is 0 where they share a base, 1 where they touch, and one more than the bases between them
        elsewhere; `FAR` where `other` has none on the chromosome. Chromosomes go by name.

        >>> peaks = Intervals.make(["chr1"] * 3, [10, 20, 33], [15, 25, 40])
        >>> peaks.distance_to(Intervals.make(["chr1"], [22], [30])).tolist()
        [8, 0, 4]
        """
        nearest = np.full(len(self), FAR, dtype=np.int64)
        theirs = other.on_names(self.names).merged()
        if not len(self) or not len(theirs):
            return nearest
        lowest = min(self.start.min(), theirs.start.min())
        span = max(self.end.max(), theirs.end.max()) - lowest + 1
        ends = self.chromosome * span + self.end
        following = np.searchsorted(theirs.chromosome * span + theirs.start, ends)
        for place, is_before in ((following - 1, True), (following, False)):
            near = np.clip(place, 0, len(theirs) - 1)
            there = (near == place) & (theirs.chromosome[near] == self.chromosome)
            between = self.start - theirs.end[near] if is_before else theirs.start[near] - self.end
            nearest[there] = np.minimum(nearest, np.maximum(between + 1, 0))[there]
        return nearest

    def _runs(self, gap: int) -> tuple[Integers, NDArray[np.bool_]]:
        """The order of starts, and whether the interval at each place of it is the first of its cluster."""
        if not 0 <= gap <= LONGEST:
            raise DataError(f"the gap is {gap!r}; it has to be a number of bases, 0 or more")
        order = np.lexsort((self.start, self.chromosome))
        # All chromosomes on one line, so far apart that nothing reaches from one to the next.
        span = self.end.max(initial=0) - self.start.min(initial=0) + gap + 1
        starts, ends = (place[order] + self.chromosome[order] * span for place in (self.start, self.end))
        is_first = np.ones(len(self), dtype=np.bool_)
        is_first[1:] = starts[1:] > np.maximum.accumulate(ends)[:-1] + gap
        return order, is_first


def first_fault(starts: Integers, ends: Integers) -> tuple[int, str] | None:
    """The index of the first interval that cannot be one, and what is wrong with it; None where all can."""
    wrong = (starts < 0) | (ends <= starts) | (ends > LONGEST)
    if not wrong.any():
        return None
    number = int(np.argmax(wrong))
    start, end = int(starts[number]), int(ends[number])
    if start < 0:
        return number, f"the start {start} is negative; the first base of a chromosome is 0"
    if end < start:
        return number, f"the end {end} is before the start {start}; swap them, the strand tells the direction"
    if end == start:
        return number, (
            f"start and end are both {start}, so there is no base in it; delete it, or make an insertion "
            f"point the base behind it, {start} to {start + 1}"
        )
    return number, f"the end {end} is past the end of any chromosome; are the columns in the right order?"


def _integers(values: ArrayLike, name: str) -> Integers:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise DataError(f"the {name}s of intervals are {array.dtype}; they have to be integers")
    return array.astype(np.int64)


def _strands(strands: Iterable[str | int]) -> NDArray[np.int8]:
    try:
        return np.array([_STRANDS[strand] for strand in strands], dtype=np.int8)
    except KeyError as error:
        raise DataError(f"the strand is {error.args[0]!r}; it has to be '+', '-' or '.'") from None


def _texts(values: Iterable[str]) -> Texts:
    return np.array(list(values), dtype=object)


_REGION = re.compile(rf"(.+):{POSITION}-{POSITION}(?:\([-+.]\))?")


def parse_region(text: str) -> tuple[str, int, int]:
    """(chromosome, start, end) of `chromosome:first-last`, which counts from 1 and includes its last base.

    Positions may have commas for thousands. A name may have colons: the last one ends it. A strand, `(+)`
    or `(-)`, may follow, and `regions_of_headers` is what keeps it.

    >>> parse_region("chrI:101-200")
    ('chrI', 100, 200)
    >>> parse_region("HLA:HLA00001:1-1,020(-)")
    ('HLA:HLA00001', 0, 1020)

    Raises `DataError` for any other text.
    """
    match = _REGION.fullmatch(text.strip())
    if not match:
        raise DataError(f"{text!r} is no region; write chromosome:first-last, as in chrI:101-200")
    name, first, last = match[1], *(int(match[place].replace(",", "")) for place in (2, 3))
    if not 1 <= first <= last:
        raise DataError(f"the region {text!r} has to begin at 1 or later, and not to end before it begins")
    return name, first - 1, last


def regions_of_headers(headers: Sequence[str], lengths: ArrayLike | None = None) -> Intervals | None:
    """Where the sequences of FASTA headers lie, or None where a header does not say so.

    The forms are those of the module `headers`; the strand is kept, and the first word is the label. Some
    forms count from 0 with one tool and from 1 with another, which only the lengths of the sequences can
    tell: with `lengths`, integers (N,), the starts are read in the way that gives all of them, and where
    neither does the answer is None.

    >>> regions = regions_of_headers(["chr1:101-200(-) a peak", "chr2:1-50"])
    >>> regions.start.tolist(), regions.end.tolist(), regions.strand.tolist()
    ([100, 0], [200, 50], [-1, 0])
    >>> regions_of_headers(["chr1:100-200"], lengths=[100]).start.tolist()
    [100]
    """
    regions = read_headers(headers, lengths)
    if not regions:
        return None
    names, starts, ends, strands = zip(*regions, strict=True)
    labels = [(header.split(maxsplit=1) or [""])[0] for header in headers]
    places = np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)
    return None if first_fault(*places) else Intervals.make(names, *places, strands, labels=labels)
