"""`IntervalBatchGenerator`: windows of a genome around intervals, and negative examples for them."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.generators.arrays import weights_of_examples
from helixband.generators.base import check_options
from helixband.generators.fasta import prediction_generator
from helixband.generators.gathers import Gather, Rows, WindowGather, can_gather
from helixband.generators.sampling import Sampling
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.randomness import derive_seed
from helixband.sequence.alphabet import DNA, Alphabet, Codes
from helixband.sequence.bigwig import as_tracks, profiles, read_windows
from helixband.sequence.chromosomes import placed_on_genome
from helixband.sequence.fasta import is_fasta
from helixband.sequence.interval_files import is_intervals, line_of, read_intervals
from helixband.sequence.intervals import Intervals
from helixband.sequence.negatives import dinucleotide_shuffle, gc_matched_windows
from helixband.sequence.store import SequenceStore
from helixband.sequence.targets import Targets, check_finite, read_targets
from helixband.sequence.windows import Indexes, Places, windows_of

IntervalSource = str | os.PathLike[str] | Intervals
Aliases = Mapping[str, str] | str | os.PathLike[str] | None


class IntervalBatchGenerator(SequenceBatchGenerator):
    """Batches of windows of a genome, one around the centre of each interval.

    `genome`: the path or glob of its FASTA, or a `SequenceStore`. `intervals`: the path of a BED or GFF3
    file, or `Intervals`. `window`: a number of bases; None if all intervals have the same length. The centre
    is the base (start + end) // 2 of the genome. An odd window has it in the middle, at index window // 2, on
    both strands; an even one at window // 2 on the + strand, and one base before that, at window // 2 − 1, on
    the − strand. Take an odd one where a position matters, such as that of a TSS. If the intervals name
    chromosomes differently than the genome, pass `aliases` (see `sequence.chromosomes.on_genome`). Windows of
    the − strand are read from it unless `stranded=False`.

    `names="number"` names each record of a genome by its file and its number in it, as `FastaBatchGenerator`.

    `missing="drop"` leaves out intervals on chromosomes that the genome does not have.

    `targets`: one per interval, in the forms that `FastaBatchGenerator` takes, with the intervals' labels as
    names; or "score", the column of that name. Those of intervals that are left out, by `missing` or
    `incomplete`, are left out along, and so are weights of all intervals in `sampling`. `allow_nan` admits
    NaN, for targets that are missing. Or the path of a bigWig: the target is then its value at each base,
    float32 (N, L), 0 where it has none; or a pair of bigWigs, of the + and the − strand, (N, 2, L). It moves
    with jitter, and is read last to first where a window is read from the other strand, of a pair the −
    strand first.

    `negatives`: examples of class 0; the intervals are then class 1. They are the same for the same `seed`.
    A number n draws n windows of the genome for each interval, on its chromosome and with similar GC content.
    Wherever jitter moves them, these overlap neither an interval nor one of `exclude`. "shuffle" makes a
    shuffle of each sequence that keeps its dinucleotide counts. Or pass the path of a file of intervals,
    whose windows must not overlap those of the positives.

    `jitter`: in shuffled epochs each window is shifted by up to this many bases, drawn again each time.
    `incomplete`: windows that extend beyond their chromosome, or that jitter can move beyond it, are filled
    up ("pad") or left out ("drop"). Padding keeps its place on the chromosome: on the − strand, padding for
    bases past the chromosome's end comes first. `options` are those of `SequenceBatchGenerator`: `layout`,
    `reverse_complement`, `augmentation`, `balance`, `sampling`, `metadata`, `drop_last`.

    Raises `DataError`, with file, line and interval, if the files do not fit together.
    """

    labels_by = "negatives, so that the intervals are class 1 and these class 0, or targets"

    def __init__(
        self,
        genome: str | os.PathLike[str] | SequenceStore,
        intervals: IntervalSource,
        window: int | None = None,
        targets: Targets | None = None,
        negatives: int | str | os.PathLike[str] | Intervals | None = None,
        jitter: int = 0,
        reverse_complement: float = False,
        batch_size: int | None = None,
        shuffle: bool = False,
        *,
        alphabet: Alphabet = DNA,
        aliases: Aliases = None,
        missing: Literal["raise", "drop"] = "raise",
        stranded: bool = True,
        exclude: IntervalSource | None = None,
        incomplete: str = "pad",
        seed: int = 0,
        allow_nan: bool = False,
        names: str = "header",
        **options: Any,
    ) -> None:
        check_options([IntervalBatchGenerator, SequenceBatchGenerator], options)
        _check(jitter, incomplete, targets, negatives, exclude)
        self._naming: dict[str, Any] = {"aliases": aliases, "missing": missing}
        self.stranded = stranded
        self.jitter = jitter
        self._shuffles: Codes | None = None  # the last examples, where negatives are shuffles
        store = (
            genome if isinstance(genome, SequenceStore) else SequenceStore.open(genome, alphabet, names=names)
        )
        placed, there = self._placed(store, intervals)
        self.reading = placed.reading
        positives = _windows(placed, window)
        if reverse_complement:
            store = store.with_both_strands()
        store = self._with_strands_of(positives, store)
        self._margin = None if as_tracks(targets) is None else jitter
        if self._margin is None:
            labels = _targets(targets, positives, there, allow_nan)
        else:
            labels = self._tracks(positives, store, targets)
        margin = jitter if incomplete == "drop" else None
        kept = _kept(store, positives, margin)
        examples, labels = positives[kept], None if labels is None else labels[kept]
        if negatives is None:
            there[there] = kept
            options["sampling"] = _weights(options.get("sampling"), there)
        else:
            away = [placed] if exclude is None else [placed, self._placed(store, exclude)[0]]
            made = self._negatives(store, examples, negatives, Intervals.concatenate(away), seed, margin)
            made = made[_kept(store, made, margin)]
            labels = np.repeat([1, 0], [len(examples), len(made)])
            examples = Intervals.concatenate([examples, made])
            store = self._with_strands_of(made, store)
        plan = windows_of(examples, int(examples.end[0] - examples.start[0]), stranded)
        super().__init__(
            store, plan, labels, batch_size, shuffle, reverse_complement=reverse_complement, **options
        )
        if self._margin is not None and self.augmentation is not None:
            raise DataError(
                "augmentation changes sequences, and the targets of a bigWig would not be changed with them: "
                "leave it out; jitter and reverse_complement hold for both"
            )

    @property
    def placing(self) -> dict[str, Any]:
        """`stranded`, `aliases` and `missing`: how intervals are placed on the genome."""
        return {"stranded": self.stranded, **self._naming}

    def for_prediction(
        self, path: str, stride: int | None = None, names: str | None = None
    ) -> SequenceBatchGenerator:
        """The windows of a BED or GFF3 file on the same genome, or every `stride` bases of a FASTA file.

        Intervals are read as this one's were: by their summits, or as features of some kinds.
        """
        if is_fasta(path):
            return prediction_generator(path, self, self.length, stride, names)
        if stride is not None:
            raise DataError(
                f"{path}: the stride {stride} is for FASTA files; of intervals there is one window each. "
                "Leave the stride (--stride) out"
            )
        form: dict[str, Any] = {"layout": self.layout, "metadata": self.headers is not None}
        intervals = read_intervals(path, self.reading)
        return IntervalBatchGenerator(self.store, intervals, self.length, **self.placing, **form)

    def _are_windows(self, numbers: Indexes) -> NDArray[np.bool_]:
        count = 0 if self._shuffles is None else len(self._shuffles)
        are_windows: NDArray[np.bool_] = numbers < len(self.plan) - count
        return are_windows

    def _read(self, numbers: Indexes, places: Places) -> Codes:
        codes = super()._read(numbers, places)
        if self._shuffles is not None:
            first = len(self.plan) - len(self._shuffles)
            here = np.flatnonzero(numbers >= first)
            shuffles = self._shuffles[numbers[here] - first]
            turned = (places[2] != self.plan.places(numbers)[2])[here]
            shuffles[turned] = self.store.alphabet.reverse_complement(shuffles[turned])
            codes[here] = shuffles
        return codes

    def _targets_of(self, numbers: Indexes, places: Places | None = None) -> NDArray[Any]:
        found = super()._targets_of(numbers)
        if self._margin is None:
            return found
        stored = self.plan.places(numbers)
        _, starts, reverse = stored if places is None else places
        return profiles(found, self._margin, starts - stored[1], reverse)

    def gather(self) -> Gather | None:
        """None where a derived class may read otherwise."""
        is_own = type(self) is IntervalBatchGenerator and can_gather(self.store.alphabet)
        return WindowGather(self, self._margin, self._shuffles) if is_own else None

    def _gathered_rows(self, numbers: Indexes, places: Places) -> Rows:
        rows, stored = super()._gathered_rows(numbers, places), self.plan.places(numbers)
        if self._margin is not None:
            rows["shift"], rows["reverse"] = places[1] - stored[1], places[2]
        if self._shuffles is not None:
            number = numbers - (len(self.plan) - len(self._shuffles))
            is_shuffle, turned = number >= 0, places[2] != stored[2]
            base = number * self.length + np.where(turned, self.length - 1, 0)
            rows["of_own"], rows["base"] = is_shuffle, np.where(is_shuffle, base, rows["base"])
            for name in ("backwards", "complemented"):
                rows[name] = np.where(is_shuffle, turned, rows[name])
            rows["first"] = np.where(is_shuffle, 0, rows["first"])
            rows["last"] = np.where(is_shuffle, self.length, rows["last"])
        return rows

    def _tracks(self, windows: Intervals, store: SequenceStore, targets: Any) -> NDArray[Any]:
        """The values of one or two bigWigs around windows, as wide as jitter can move them."""
        start, end = windows.start - self.jitter, windows.end + self.jitter
        around, aliases = dataclasses.replace(windows, start=start, end=end), self._naming["aliases"]
        paths = as_tracks(targets) or ()
        read = [read_windows(path, around, store.lengths, aliases, store.path) for path in paths]
        return read[0] if len(read) == 1 else np.stack(read, 1)

    def _with_strands_of(self, intervals: Intervals, store: SequenceStore) -> SequenceStore:
        """The store, with the reverse strand where windows of these are read from it."""
        return store.with_both_strands() if self.stranded and (intervals.strand < 0).any() else store

    def _placed(self, store: SequenceStore, source: IntervalSource) -> tuple[Intervals, NDArray[np.bool_]]:
        """The intervals of a source on the records of the genome, and which of all these are, (N,)."""
        if not isinstance(source, str | os.PathLike | Intervals):
            raise DataError(
                f"the intervals are {source!r}; they have to be the path of a BED or GFF3 file, or Intervals"
            )
        intervals = source if isinstance(source, Intervals) else read_intervals(source)
        return placed_on_genome(intervals, store.names, store.lengths, genome=store.path, **self._naming)

    def _negatives(
        self,
        store: SequenceStore,
        positives: Intervals,
        negatives: int | IntervalSource,
        away: Intervals,
        seed: int,
        margin: int | None,
    ) -> Intervals:
        """Where the negative examples are, of the positives' length."""
        window = int(positives.end[0] - positives.start[0])
        rng = np.random.default_rng(derive_seed(seed, "negatives"))
        if isinstance(negatives, int | np.integer):
            # A positive that leaves its chromosome is matched by the window next to it.
            last = np.maximum(store.lengths[positives.chromosome] - window, 0)
            starts = np.clip(positives.start, 0, last)
            within = dataclasses.replace(positives, start=starts, end=starts + window)
            # Twice the jitter, as both a positive and its neighbour can move.
            return gc_matched_windows(
                store,
                within,
                int(negatives),
                rng,
                exclude=away,
                min_distance=2 * self.jitter,
                margin=margin or 0,
            )
        if isinstance(negatives, str) and negatives == "shuffle":
            plan = windows_of(positives, window, self.stranded)
            codes = store.windows(plan.records, plan.starts, window, plan.reverse)
            self._shuffles = dinucleotide_shuffle(codes, rng)
            return positives
        given = _windows(self._placed(store, negatives)[0], window)
        common = given.overlapping(positives)
        if common.any():
            raise DataError(
                f"{given.told(int(common.argmax()))} is a negative and overlaps a positive, as do "
                f"{common.sum() - 1} more of {len(given)}; remove them (bedtools intersect -v), or give all "
                "intervals in one file with targets"
            )
        return given


def _check(
    jitter: int,
    incomplete: str,
    targets: Targets | None,
    negatives: int | IntervalSource | None,
    exclude: IntervalSource | None,
) -> None:
    if not isinstance(jitter, int | np.integer) or jitter < 0:
        raise DataError(f"jitter is {jitter!r}; it has to be a number of bases, 0 or more")
    if incomplete not in ("drop", "pad"):
        raise DataError(f"incomplete is {incomplete!r}; it has to be 'drop' or 'pad'")
    _check_negatives(negatives)
    if negatives is not None and targets is not None:
        raise DataError("negatives make the targets, 1 and 0: leave targets out, or negatives")
    if exclude is not None and not isinstance(negatives, int | np.integer):
        raise DataError(
            "exclude is where windows of the genome may not be drawn as negatives: give their number as "
            "negatives, or leave exclude out"
        )


def _check_negatives(negatives: Any) -> None:
    if isinstance(negatives, str):
        known = negatives == "shuffle" or is_intervals(negatives)
    else:
        known = isinstance(negatives, int | np.integer | os.PathLike | Intervals | None)
    if not known or isinstance(negatives, bool):
        raise DataError(
            f"negatives is {negatives!r}; it has to be a whole number of windows for each interval, "
            "'shuffle', the path of a BED or GFF3 file, or Intervals"
        )


def _windows(intervals: Intervals, window: int | None) -> Intervals:
    """The intervals, each of `window` bases."""
    if not len(intervals):
        raise DataError(f"{intervals.source or 'the intervals'}: there is none; give one interval at least")
    if window is not None:
        return intervals.resized(window)
    lengths = intervals.end - intervals.start
    if (lengths != lengths[0]).any():
        raise DataError(
            f"{intervals.source or 'the intervals'}: they have {lengths.min()} to {lengths.max()} bases; "
            "pass window=… for windows of one length around their centres"
        )
    return intervals


def _targets(
    targets: Targets | None, intervals: Intervals, there: NDArray[np.bool_], allow_nan: bool
) -> NDArray[Any] | None:
    """The targets of intervals, by label; `there`, (N,): which of all that were given these are."""
    if targets is None:
        return None
    if isinstance(targets, str) and targets == "score":
        if not allow_nan and np.isnan(intervals.score).any():
            number = int(np.isnan(intervals.score).argmax())
            raise DataError(
                f"{intervals.told(number)} has no score to be its target{_in_line(intervals, number)}; leave "
                "it out, or pass allow_nan=True if the model leaves out targets that are missing"
            )
        check_finite(
            intervals.score,
            lambda number: f"{intervals.told(number)}{_in_line(intervals, number)}",
            allow_nan,
        )
        return intervals.score
    source = intervals.source or "the intervals"
    return read_targets(targets, intervals.label.tolist(), source, allow_nan, kept=there)


def _weights(sampling: Sampling, left: NDArray[np.bool_]) -> Sampling:
    """Weights of all intervals that were given as those of the ones that are left; anything else as it is."""
    if isinstance(sampling, str | dict | None) or left.all():
        return sampling
    try:
        is_of_all = len(sampling) == len(left)  # type: ignore[arg-type]
    except TypeError:  # what is no weights is told where they are checked
        is_of_all = False
    return weights_of_examples(sampling, len(left), "sampling")[left] if is_of_all else sampling


def _in_line(intervals: Intervals, number: int) -> str:
    """The line of an interval's file, for messages, or '' where there is no file."""
    if not is_intervals(intervals.source) or not os.path.isfile(intervals.source):
        return ""
    one = intervals[number]

    def same(others: Intervals) -> NDArray[np.bool_]:
        """Whatever their chromosomes are called, and however long they are in the file."""
        others = others.resized(int((one.end - one.start)[0]))
        ends: NDArray[np.bool_] = (others.start == one.start) & (others.end == one.end)
        ends &= (others.label == one.label) & ~np.isfinite(others.score)
        return ends

    return f", in line {line_of(intervals.source, same)}"


def _kept(store: SequenceStore, intervals: Intervals, margin: int | None) -> NDArray[np.bool_]:
    """Those that are examples: the ones `margin` bases or more within their chromosome, or all without it."""
    if margin is None:
        return np.ones(len(intervals), dtype=np.bool_)
    last = store.lengths[intervals.chromosome] - margin
    inside: NDArray[np.bool_] = (intervals.start >= margin) & (intervals.end <= last)
    if not inside.any():
        moved = f", moved by a jitter of {margin}," if margin else ""
        raise DataError(
            f"{intervals.source or 'the intervals'}: no window of {intervals.end[0] - intervals.start[0]} "
            f"bases{moved} lies within its chromosome; pass a shorter window, or incomplete='pad' to fill "
            "them up"
        )
    return inside
