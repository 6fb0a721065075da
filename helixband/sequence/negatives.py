"""Negative examples: shuffles of the positive sequences, and windows of the genome like the positive ones."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.sequence.alphabet import DNA, RNA, Codes
from helixband.sequence.intervals import Intervals
from helixband.sequence.store import SequenceStore

Indexes = NDArray[np.int64]

BLOCK = 1 << 20
"""Arrays have about this many elements at a time."""

CHOICE = 20
"""So many windows are looked at for each one wanted, and at least for `FEWEST`; four times as many where no
match was among them, up to `LARGEST_POOL`."""
FEWEST = 1000
LARGEST_POOL = 1 << 24


def dinucleotide_shuffle(codes: Codes, rng: np.random.Generator) -> Codes:
    """Sequences (L,) or (N, L) of uint8, each shuffled so that the count of every pair of neighbours is kept.

    The first and the last letter are kept too, and all sequences that keep both are equally likely. Codes
    may be of any alphabet; N is a letter like the others.

    A sequence is a walk over its letters that goes once along each pair; another such walk is drawn, by a
    random tree of last exits (Altschul and Erickson 1985, Mol. Biol. Evol. 2:526), and that by cycle popping
    (Propp and Wilson 1998, J. Algorithms 27:170).

    >>> from helixband.sequence.alphabet import DNA
    >>> DNA.decode(dinucleotide_shuffle(DNA.encode("ACGATTGCAT"), np.random.default_rng(1)))
    'ATTGCACGAT'
    """
    if codes.dtype != np.uint8 or codes.ndim not in (1, 2):
        raise DataError(
            f"the codes have shape {codes.shape} and dtype {codes.dtype}; it has to be (L,) or (N, L), uint8"
        )
    rows = np.atleast_2d(codes)
    shuffled = rows.copy()
    n_symbols = int(rows.max(initial=0)) + 1
    if rows.shape[1] > 1:
        for block in _blocks(len(rows), max(rows.shape[1], n_symbols**2)):
            shuffled[block] = _walk(rows[block], n_symbols, rng)
    return shuffled.reshape(codes.shape)


def gc_matched_windows(
    store: SequenceStore,
    positives: Intervals,
    per_positive: int,
    rng: np.random.Generator,
    *,
    exclude: Intervals | None = None,
    min_distance: int = 0,
    margin: int = 0,
    max_empty: float = 0.0,
    tolerance: float = 0.02,
) -> Intervals:
    """Windows of the genome that are like N positives in length, chromosome, strand and GC content.

    There are `per_positive` for each, those of positive i from `per_positive * i` on. `positives`, all of one
    length, and `exclude` are on the records of the store (`chromosomes.on_genome`). A window has at least
    `min_distance` bases between it and any of these, `margin` bases between it and either end of the
    chromosome, and a share of letters that are no token (N) of at most `max_empty`. The share of G and C
    among its tokens is that of its positive, give or take `tolerance`: many windows are drawn, and each
    positive gets the nearest that are left. No window comes twice, but two may overlap. Labels, scores and
    kinds are empty.

    Raises `DataError` where a chromosome has too few such windows, with the tolerance that would do, and for
    sequences that are neither DNA nor RNA.
    """
    _check(store, positives, exclude, (per_positive, min_distance, margin), (max_empty, tolerance))
    window = int(positives.end[0] - positives.start[0])
    gc = np.repeat(_gc_of(store, positives, window), per_positive)
    chromosome = np.repeat(positives.chromosome, per_positive)
    start = np.empty(len(chromosome), dtype=np.int64)
    taken = positives if exclude is None else Intervals.concatenate([positives, exclude])
    for record in np.unique(chromosome).tolist():
        near = taken[taken.chromosome == record]
        runs = _free_starts(near, min_distance, margin, int(store.lengths[record]), window)
        background = _Background(store, record, window, max_empty, *runs)
        here = chromosome == record
        start[here] = _matched(background, gc[here], tolerance, rng)
    strand = np.repeat(positives.strand, per_positive)
    return Intervals.of_records(positives.names, chromosome, start, start + window, strand)


def _gc_of(store: SequenceStore, positives: Intervals, window: int) -> NDArray[np.float64]:
    gc, _ = _contents(store, positives.chromosome, positives.start, window)
    if np.isnan(gc).any():
        raise DataError(f"{positives.told(int(np.isnan(gc).argmax()))} has no known letter: no GC content")
    return gc


@dataclass
class _Background:
    """Windows of a record that may be negatives: those that begin in the runs [first, end) and have few N."""

    store: SequenceStore
    record: int
    window: int
    max_empty: float
    first: Indexes
    end: Indexes

    def __post_init__(self) -> None:
        self.sizes = self.end - self.first
        self.total = int(self.sizes.sum())

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Indexes, NDArray[np.float64]]:
        """(starts, GC content) of about `size` windows in random order, none twice, less those of many N."""
        if self.total <= size:
            ranks = rng.permutation(self.total)
        else:
            ranks = rng.permutation(np.unique(rng.integers(0, self.total, size)))
        run = np.searchsorted(np.cumsum(self.sizes), ranks, side="right")
        starts = self.first[run] + ranks - (np.cumsum(self.sizes) - self.sizes)[run]
        gc, empty = _contents(self.store, np.full(len(starts), self.record), starts, self.window)
        usable = empty <= self.max_empty
        return starts[usable], gc[usable]


def _matched(
    background: _Background, wanted: NDArray[np.float64], tolerance: float, rng: np.random.Generator
) -> Indexes:
    """The starts of different windows of the background, one for each GC content that is wanted."""
    size = CHOICE * max(len(wanted), FEWEST)
    while True:
        starts, gc = background.draw(size, rng)
        off = np.full(1, np.inf)
        if len(starts) >= len(wanted):
            chosen = _nearest(wanted, gc, background.window)
            off = np.abs(gc[chosen] - wanted)
            if off.max() <= tolerance + 1e-9:  # as 0.52 - 0.5 is a little more than 0.02
                return starts[chosen]
        if size >= min(background.total, LARGEST_POOL):
            break
        size *= 4
    name = f"{background.store.path}, chromosome {background.store.names[background.record]!r}"
    if len(starts) < len(wanted):
        raise DataError(
            f"{name}, of {background.store.lengths[background.record]} bases: {len(wanted)} negatives of "
            f"{background.window} bases are wanted, and away from the positives there is room for "
            f"{len(starts)}; take fewer negatives, smaller windows, or this chromosome's positives out"
        )
    enough = np.ceil(off.max() * 1000) / 1000
    raise DataError(
        f"{name}: {(off > tolerance + 1e-9).sum()} of {len(wanted)} negatives differ from their positives by "
        f"more than {tolerance!r} in GC content; a tolerance of {enough:g} would do, or fewer negatives"
    )


def _nearest(wanted: NDArray[np.float64], offered: NDArray[np.float64], window: int) -> Indexes:
    """For each GC content wanted, (M,), the index of one offered, (P,), each taken once; M is at most P.

    Those that can have just what they want get it, then those that can have it but for a letter, then two, ….
    """
    steps = np.rint(wanted * window).astype(np.int64)
    offered_steps = np.rint(offered * window).astype(np.int64)
    by_steps = np.argsort(offered_steps, kind="stable")
    bounds = np.searchsorted(offered_steps[by_steps], np.arange(window + 2))
    next_free, end = bounds[:-1].copy(), bounds[1:]
    chosen = np.full(len(wanted), -1)
    left = np.argsort(steps, kind="stable")
    for move in sorted(range(-window, window + 1), key=abs):
        at = steps[left] + move
        inside = (at >= 0) & (at <= window)
        at, takers = at[inside], left[inside]
        place = next_free[at] + np.arange(len(at)) - np.searchsorted(at, at)  # those of one content in a row
        there = place < end[at]
        chosen[takers[there]] = by_steps[place[there]]
        next_free += np.bincount(at[there], minlength=window + 1)
        left = left[chosen[left] < 0]
        if not len(left):
            break
    return chosen


def _contents(
    store: SequenceStore, records: Indexes, starts: Indexes, window: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of N windows, the share of G and C among the tokens, NaN where there is none, and that of no tokens."""
    g, c = store.alphabet.index("G"), store.alphabet.index("C")
    n_gc, n_tokens = np.empty((2, len(starts)), dtype=np.int64)
    for block in _blocks(len(starts), window):
        codes = store.windows(records[block], starts[block], window)
        n_gc[block] = np.count_nonzero((codes == g) | (codes == c), axis=1)
        n_tokens[block] = np.count_nonzero(codes < store.alphabet.n_tokens, axis=1)
    gc = np.divide(n_gc, n_tokens, out=np.full(len(starts), np.nan), where=n_tokens > 0)
    return gc, (window - n_tokens) / window


def _free_starts(
    taken: Intervals, min_distance: int, margin: int, length: int, window: int
) -> tuple[Indexes, Indexes]:
    """The runs [first, end) of starts of windows on a chromosome, `min_distance` away from those `taken`, and
    `margin` from its ends."""
    order = np.argsort(taken.start)
    past = np.maximum.accumulate(taken.end[order]) + min_distance
    before = taken.start[order] - min_distance - window
    first = np.maximum(np.append(0, past), margin)
    end = np.minimum(np.append(before, length) + 1, length - window + 1 - margin)
    return first[first < end], end[first < end]


def _check(
    store: SequenceStore,
    positives: Intervals,
    exclude: Intervals | None,
    counts: tuple[int, int, int],
    shares: tuple[float, float],
) -> None:
    (per_positive, min_distance, margin), (max_empty, tolerance) = counts, shares
    whole = all(isinstance(count, int | np.integer) for count in counts)
    if not whole or per_positive < 1 or min_distance < 0 or margin < 0:
        raise DataError(
            f"per_positive is {per_positive!r}, min_distance {min_distance!r} and margin {margin!r}; they "
            "have to be integers from 1, from 0 and from 0"
        )
    if not (0 <= max_empty < 1 and tolerance >= 0):
        raise DataError(
            f"max_empty is {max_empty!r} and tolerance {tolerance!r}; they have to be from 0 and below 1, "
            "and from 0"
        )
    if set(store.alphabet.tokens) not in (set(DNA.tokens), set(RNA.tokens)):
        raise DataError(
            f"{store.path} is of {store.alphabet}, and windows are matched by their share of G and C, which "
            "is for DNA and RNA; take shuffles, or a file of negatives"
        )
    for intervals in (positives, exclude):
        if intervals is not None and intervals.names != tuple(store.names):
            raise DataError(
                f"{intervals.source or 'intervals'}: the chromosomes are not the records of {store.path}; "
                "put the intervals on the genome with chromosomes.on_genome"
            )
    lengths = np.unique(positives.end - positives.start)
    if len(lengths) != 1:
        raise DataError(
            f"{positives.source or 'positives'}: {len(positives)} intervals of {len(lengths)} lengths; there "
            "have to be some, all of one length, as resized(window) makes them"
        )


def _walk(codes: Codes, n_symbols: int, rng: np.random.Generator) -> Codes:
    """The shuffle of (n, L), L at least 2."""
    n, length = codes.shape
    rows = np.arange(n)[:, None]
    pairs = (rows * n_symbols + codes[:, :-1]) * n_symbols + codes[:, 1:]
    counts = np.bincount(pairs.ravel(), minlength=n * n_symbols**2).reshape(n, n_symbols, n_symbols)
    exits = _last_exits(counts, codes[:, -1].astype(np.int64), rng)
    successors = _successors(codes, exits, rng).ravel()
    uses = counts.sum(axis=2).ravel()
    ahead = np.cumsum(uses) - uses  # where the next successor of (row, letter) stands
    walk = np.empty((length, n), dtype=np.uint8)
    walk[0] = codes[:, 0]
    for position in range(1, length):
        slot = rows[:, 0] * n_symbols + walk[position - 1]
        walk[position] = successors[ahead[slot]]
        ahead[slot] += 1
    return walk.T


def _last_exits(counts: Indexes, final: Indexes, rng: np.random.Generator) -> Indexes:
    """The letter after the last of each letter, (n, K); for the final letter and for absent ones, the final.

    The exits of a row make a tree that leads to its final letter. Each tree is as likely as there are ways to
    choose its exits among the pairs: exits are drawn, and those on a cycle again, until there is no cycle.
    """
    n, n_symbols, _ = counts.shape
    others = counts.copy()
    others[:, np.arange(n_symbols), np.arange(n_symbols)] = 0  # a letter's last exit leads to another
    others[np.arange(n), final] = 0
    cumulative = others.cumsum(axis=2)
    totals = cumulative[:, :, -1]
    exits = np.repeat(final[:, None], n_symbols, axis=1)
    rows, letters = np.nonzero(totals)
    while len(rows):
        draws = rng.random(len(rows)) * totals[rows, letters]
        exits[rows, letters] = (cumulative[rows, letters] <= draws[:, None]).sum(axis=1)
        open_rows = np.unique(rows)
        reached = exits[open_rows]
        for _ in range(n_symbols.bit_length()):  # twice as many steps each time, more than there are letters
            reached = np.take_along_axis(reached, reached, axis=1)
        on_cycle = np.zeros(reached.shape, dtype=np.bool_)
        np.put_along_axis(on_cycle, reached, True, axis=1)
        on_cycle[np.arange(len(open_rows)), final[open_rows]] = False
        places, letters = np.nonzero(on_cycle)
        rows = open_rows[places]
    return exits


def _successors(codes: Codes, exits: Indexes, rng: np.random.Generator) -> Codes:
    """(n, L - 1): what follows letter 0, in random order but its last exit last, then what follows 1, …."""
    sources, targets = codes[:, :-1], codes[:, 1:]
    leaves = targets == np.take_along_axis(exits, sources.astype(np.int64), axis=1)
    leaves &= sources != codes[:, -1:]
    rows, columns = np.nonzero(leaves)
    exit_column = np.full(exits.shape, -1)
    exit_column[rows, sources[rows, columns]] = columns  # any one of equal pairs
    rows, letters = np.nonzero(exit_column >= 0)
    is_exit = np.zeros(sources.shape, dtype=np.uint64)
    is_exit[rows, exit_column[rows, letters]] = 1
    # One number to sort by: the letter, whether it is its last exit, chance, and what follows.
    keys = rng.integers(0, 1 << 47, sources.shape, dtype=np.uint64) << np.uint64(8)
    keys |= sources.astype(np.uint64) << np.uint64(56) | is_exit << np.uint64(55) | targets
    keys.sort(axis=1)
    return keys.astype(np.uint8)  # the lowest byte


def _blocks(n_rows: int, row_size: int) -> Iterator[slice]:
    step = max(1, BLOCK // max(1, row_size))
    for first in range(0, n_rows, step):
        yield slice(first, first + step)
