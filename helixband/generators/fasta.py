"""`FastaBatchGenerator`: the records of FASTA files, or windows along them."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.files import matching_files
from helixband.generators.base import check_options
from helixband.generators.gathers import Gather, Rows, WindowGather, can_gather
from helixband.generators.sampling import Checked, Sampling
from helixband.generators.sequences import BUCKET_BATCHES, SequenceBatchGenerator
from helixband.sequence.alphabet import DNA, Alphabet, Codes
from helixband.sequence.bigwig import as_tracks
from helixband.sequence.fasta import is_fasta
from helixband.sequence.intervals import Intervals
from helixband.sequence.regions import regions_in
from helixband.sequence.store import SequenceStore
from helixband.sequence.targets import Targets, read_targets
from helixband.sequence.windows import Indexes, Places, Tiling, Whole, of_one_length, tile

Sources = str | os.PathLike[str] | Mapping[str, float]


class FastaBatchGenerator(SequenceBatchGenerator):
    """Batches of the sequences of FASTA files, plain or gzipped.

    `files`: a path or glob; or a dict `{path or glob: target}`, if each class has its own files. `targets`:
    an array; the path of a `.target` file with one line per record; `(table, column)` of a TSV or CSV file,
    by name; or a function of the header (see `sequence.targets`). `allow_nan` admits NaN: a target that is
    missing.

    `names="number"` names each record by its file and its number in it, as in "bound.fa:1", for files that
    have a name more than once.

    Without a `window`, each record is an example. Records of different lengths are refused unless `unequal`
    says what to do. "pad" fills them up to the longest with the alphabet's empty token. "bucket" fills them
    up to the longest of their batch and, in shuffled epochs, puts similar lengths together; in evaluation and
    prediction those of one length are together, and none is filled up.

    With a `window`, each record gives windows of that many bases every `stride` bases (default: `window`).
    With `random_offsets`, their start is drawn in each epoch. Records shorter than `min_length` are left out.
    An incomplete window at the end of a record is dropped or, with `incomplete="pad"`, filled up.

    Padding always comes after the record or window, whichever strand `reverse_complement` reads. An
    `augmentation` changes whole rows, including their padding.

    If all headers are regions of a genome, in one of the forms of `sequence.headers`, `intervals` are
    positions on its chromosomes. If no header looks like one, windows are positions on the records, and whole
    records have none. If some do, and cannot be read, there are no positions: `no_coordinates` says why.

    `options` are those of `SequenceBatchGenerator`: `layout`, `reverse_complement`, `augmentation`,
    `balance`, `sampling`, `metadata`, `drop_last`.

    Raises `DataError`, with file, line and record, if files or targets are not as described.
    """

    labels_by = "targets"
    _by_length = False
    """Whether a batch has records of one length alone."""

    def __init__(
        self,
        files: Sources,
        targets: Targets | None = None,
        batch_size: int | None = None,
        shuffle: bool = False,
        *,
        alphabet: Alphabet = DNA,
        window: int | None = None,
        stride: int | None = None,
        random_offsets: bool = False,
        min_length: int = 1,
        incomplete: str = "drop",
        unequal: str = "refuse",
        allow_nan: bool = False,
        names: str = "header",
        **options: Any,
    ) -> None:
        check_options([FastaBatchGenerator, SequenceBatchGenerator], options)
        store, targets = _open(files, targets, alphabet, bool(options.get("reverse_complement")), names)
        self.window = window
        self.unequal = unequal
        self.random_offsets = random_offsets
        self._tiling: dict[str, Any] = {
            "stride": stride,
            "min_length": min_length,
            "incomplete": incomplete,
        }
        self._in_part: NDArray[np.bool_] = np.ones(len(store), dtype=np.bool_)
        self._check_windows()
        if window is None and unequal == "refuse":
            _check_lengths(store)
        plan: Tiling | Whole
        if window is None:
            plan = Whole(int(store.lengths.max()), len(store))
        else:
            plan = tile(store.lengths, window, **self._tiling)
        of_records = None
        if as_tracks(targets) is not None:
            raise DataError(
                f"targets is {targets!r}; FastaBatchGenerator has a target for each record, and bigWigs "
                "are for IntervalBatchGenerator, which takes them as the targets of windows"
            )
        if targets is not None:
            of_records = read_targets(targets, store.headers, store.path, allow_nan, store.names)
        super().__init__(store, plan, of_records, batch_size, shuffle, **options)

    def __len__(self) -> int:
        return sum(1 for _ in self._blocks(None)) if self._by_length else super().__len__()

    @property
    def tiling(self) -> dict[str, Any]:
        """`stride`, `min_length` and `incomplete`: how windows are cut along the records."""
        return dict(self._tiling)

    @property
    def coordinates(self) -> str | None:
        """What `intervals` are positions on: "headers" where these are regions of a genome; else, of windows,
        the digest of the store, and None of whole records.
        """
        if self._regions is not None:
            return "headers"
        return None if self.window is None or self.no_coordinates else super().coordinates

    @property
    def no_coordinates(self) -> str:
        """Why headers that look like regions of a genome are not read as such; '' where none looks so."""
        return self._regions_or_why[1]

    def intervals(self) -> Intervals | None:
        """Where the bases of the examples are from: on the chromosomes that the headers name, or, of windows,
        within their records; with `random_offsets`, all of the record. None for whole records elsewhere.
        """
        regions = self._regions
        if regions is None:
            return None if self.window is None or self.no_coordinates else super().intervals()
        examples = np.arange(self.n_examples)
        of = regions[self.plan.places(self._numbers(examples))[0]]
        starts, ends = self._extents(examples)
        first = np.where(of.strand < 0, of.end - ends, of.start + starts)
        return dataclasses.replace(of, start=first, end=first + (ends - starts))

    @property
    def is_random(self) -> bool:
        return super().is_random or self.random_offsets

    def part(self, chosen: Indexes) -> Self:
        """A generator of some of the examples; with `random_offsets`, only of whole records."""
        made = super().part(chosen)
        if self.random_offsets:
            records = self.plan.places(np.arange(len(self.plan)))[0]
            made._in_part = np.isin(np.arange(len(self.store)), records[made._chosen])
            if made._in_part[records].sum() != made.n_examples:
                raise DataError(
                    "with random_offsets the windows of a record differ in each epoch: split by chromosome, "
                    "or by interval"
                )
        return made

    def as_stored(self) -> Self:
        made = super().as_stored()
        made.random_offsets = False
        return made

    def unpadded(self, limit: int | None = None) -> tuple[Self, Indexes] | None:
        """As that of `Unpadded`, with buckets; None where examples are drawn, or read by a derived class."""
        batches = len(self) if limit is None else min(limit, len(self))
        n_read = min(self.n_examples, batches * self._rows)
        is_drawn = self.is_random or (self.shuffle and n_read < self.n_examples)
        if self.unequal != "bucket" or self.has_own("__iter__", "batches") or is_drawn:
            return None
        order = np.concatenate(of_one_length(self.store.lengths[self._numbers(np.arange(n_read))]))
        made = self.as_stored().part(order)
        made._by_length = True
        return made, order

    def for_prediction(
        self, path: str, stride: int | None = None, names: str | None = None
    ) -> SequenceBatchGenerator:
        """Windows of another FASTA file of the length that the network was trained on.

        Longer records are cut into windows every `stride` bases (default: the length). Shorter ones are
        filled up. A generator that was trained in buckets takes whole records.
        """
        if not is_fasta(path):
            raise DataError(
                f"{path}: the model was trained on FASTA files, so it predicts on FASTA files; for "
                "intervals, write a get_pred_generator with an IntervalBatchGenerator, which knows their "
                "genome"
            )
        if self.unequal != "bucket":
            return prediction_generator(path, self, self.length, stride, names)
        if stride is not None:
            raise DataError(
                f"{path}: the model was trained on whole records, and takes such: give no stride (--stride)"
            )
        return prediction_generator(path, self, None, None, names)

    def _check_windows(self) -> None:
        if self.unequal not in ("refuse", "pad", "bucket"):
            raise DataError(f"unequal is {self.unequal!r}; it has to be 'refuse', 'pad' or 'bucket'")
        numbers = {"window": self.window, **self._tiling}
        for name in ("window", "stride", "min_length"):
            if not isinstance(numbers[name], int | np.integer | None):
                raise DataError(f"{name} is {numbers[name]!r}; it has to be a number of bases, an integer")
        if self.window is not None:
            if self.unequal != "refuse":
                raise DataError(f"unequal={self.unequal!r} is for whole records: leave it out, or window")
        elif self.random_offsets or self._tiling != {"stride": None, "min_length": 1, "incomplete": "drop"}:
            raise DataError(
                "stride, random_offsets, min_length and incomplete are for windows along the records: give "
                "window too, or leave them out"
            )

    def _located(self, seed: int, start: int) -> tuple[int, int]:
        if not self.random_offsets:
            return super()._located(seed, start)
        epoch = 0
        while start >= (batches := len(self._of_epoch(np.random.default_rng([seed, epoch])))):
            epoch, start = epoch + 1, start - batches
        return epoch, start

    def _checked(self, sampling: Sampling, balance: bool, shuffle: bool, n_examples: int) -> Checked:
        if self.random_offsets and not isinstance(sampling, str | None):
            raise DataError(
                "with random_offsets the windows differ in each epoch, and have no weights: leave one "
                "of them out, or pass sampling='balanced'"
            )
        return super()._checked(sampling, balance, shuffle, n_examples)

    def _of_epoch(self, rng: np.random.Generator) -> Self:
        if not self.random_offsets:
            return self
        assert self.window is not None
        stride = self._tiling["stride"] or self.window
        # No offset leaves a record, as far as it is long enough, without a whole window.
        offsets = rng.integers(0, np.clip(self.store.lengths - self.window + 1, 1, stride))
        lengths = np.where(self._in_part, self.store.lengths, 0)
        made = self.copied()
        made.plan = tile(lengths, self.window, offsets=offsets, **self._tiling)
        made._chosen, made.n_examples = None, len(made.plan)
        return made

    @property
    def _regions(self) -> Intervals | None:
        return self._regions_or_why[0]

    @cached_property
    def _regions_or_why(self) -> tuple[Intervals | None, str]:
        return regions_in(self.store)

    def _extents(self, examples: Indexes) -> tuple[Indexes, Indexes]:
        if not self.random_offsets:
            return super()._extents(examples)
        lengths = self.store.lengths[self.plan.places(self._numbers(examples))[0]]
        return np.zeros_like(lengths), lengths

    def _read(self, numbers: Indexes, places: Places) -> Codes:
        return self._padding_behind(super()._read(numbers, places), places, places[2])

    def _other_strand(self, codes: Codes, places: Places) -> Codes:
        return self._padding_behind(super()._other_strand(codes, places), places, ~places[2])

    def _padding_behind(self, codes: Codes, places: Places, reverse: NDArray[np.bool_]) -> Codes:
        """The windows; of those in `reverse`, bool (N,), what is past their records' ends goes to the end."""
        records, starts, _ = places
        past = starts + codes.shape[1] - self.store.lengths[records]
        rows = np.flatnonzero(reverse & (past > 0))
        columns = (np.arange(codes.shape[1]) + past[rows, None]) % codes.shape[1]
        codes[rows] = np.take_along_axis(codes[rows], columns, axis=1)
        return codes

    def _are_windows(self, numbers: Indexes) -> NDArray[np.bool_]:
        return np.full(len(numbers), self.window is not None)

    def _lengths(self, records: Indexes) -> Indexes:
        return self.store.lengths[records] if self.unequal == "bucket" else super()._lengths(records)

    def _targets_of(self, numbers: Indexes, places: Places | None = None) -> NDArray[Any]:
        return super()._targets_of(self.plan.places(numbers)[0])

    def gather(self) -> Gather | None:
        """None with buckets, whose batches differ in length, and where a derived class may read otherwise."""
        is_own = type(self) is FastaBatchGenerator and self.unequal != "bucket"
        return WindowGather(self) if is_own and can_gather(self.store.alphabet) else None

    def _gathered_rows(self, numbers: Indexes, places: Places) -> Rows:
        rows = super()._gathered_rows(numbers, places)
        padding = np.where(places[2], rows["first"], 0)  # which goes behind the window
        rows["base"], rows["first"] = rows["base"] - padding, rows["first"] - padding
        rows["last"] = rows["last"] - padding
        if "target" in rows:
            rows["target"] = places[0]
        return rows

    def _blocks(self, rng: np.random.Generator | None) -> Iterator[Indexes]:
        if self.unequal != "bucket":
            yield from super()._blocks(rng)
            return
        # A batch at a time, as each has a length of its own.
        order = self._numbers(np.arange(self.n_examples)) if rng is None else self._drawn_order(rng)
        if self._by_length:
            for alike in of_one_length(self.store.lengths[order]):
                yield from (order[alike[at : at + self._rows]] for at in range(0, len(alike), self._rows))
            return
        pool = self._rows * BUCKET_BATCHES
        for start in range(0, len(order), pool):
            numbers = order[start : start + pool]
            firsts = np.arange(0, len(numbers), self._rows)
            if rng is not None:
                numbers = numbers[np.argsort(self.store.lengths[numbers], kind="stable")]
                firsts = rng.permutation(firsts)
            for first in firsts.tolist():
                yield numbers[first : first + self._rows]


def prediction_generator(
    path: str, trained: SequenceBatchGenerator, window: int | None, stride: int | None, names: str | None
) -> FastaBatchGenerator:
    """All windows of a FASTA file, or its records where `window` is None, in the form of another
    generator."""
    pieces: dict[str, Any] = {"unequal": "bucket"}
    if window is not None:
        pieces = {"window": window, "stride": stride, "incomplete": "pad"}
    form: dict[str, Any] = {"layout": trained.layout, "metadata": trained.headers is not None}
    form |= {"alphabet": trained.store.alphabet, "names": names or trained.store.naming}
    return FastaBatchGenerator(path, **pieces, **form)


def _check_lengths(store: SequenceStore) -> None:
    shortest, longest = int(store.lengths.argmin()), int(store.lengths.argmax())
    if store.lengths[shortest] != store.lengths[longest]:
        raise DataError(
            f"{store.path}: record {store.names[shortest]!r} has {store.lengths[shortest]} bases and "
            f"{store.names[longest]!r} {store.lengths[longest]}; pass unequal='pad' or 'bucket' for "
            "sequences of different lengths, or window=… for windows along them"
        )


def _open(
    files: Sources, targets: Targets | None, alphabet: Alphabet, both_strands: bool, names: str
) -> tuple[SequenceStore, Targets | None]:
    """The store of the files, and the targets of its records."""
    if both_strands and alphabet.complement is None:
        raise DataError(f"{alphabet} has no complement: leave reverse_complement out")
    if not isinstance(files, Mapping):
        return SequenceStore.open(files, alphabet, both_strands, names), targets
    if targets is not None:
        raise DataError("the files are given with a target each; leave targets out")
    if not files:
        raise DataError("the files are an empty dict; it has to be {path or glob: target}")
    target_of: dict[str, float] = {}
    seen: set[str] = set()
    for pattern, target in files.items():
        for path in matching_files(pattern):
            if (real := os.path.realpath(path)) in seen:
                raise DataError(f"{path} has a target, and by {pattern!r} another: name each file once")
            seen.add(real)
            target_of[path] = target
    store = SequenceStore.open(list(target_of), alphabet, both_strands, names)
    given = list(target_of.values())
    return store, [given[file] for file in store.file_of_record]
