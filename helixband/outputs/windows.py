"""Prediction on windows of sequences of any length, a chunk at a time.

Memory holds one chunk. What is predicted lies in a directory `<input>.part` beside the outputs until it is
all there, so that a run that was stopped or killed goes on from its last whole chunk. The chunks are the
same wherever a run stopped, and each has random numbers of its own, so the outputs are the same too.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from base_model import BaseModel
from helixband import interruption
from helixband.errors import DataError, DefinitionError
from helixband.generators.base import Unpadded
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.outputs import strands
from helixband.outputs.along import along_windows, record_lengths
from helixband.outputs.formats import Format, check_formats, find_formats
from helixband.outputs.parts import Parts
from helixband.outputs.rows import Regions, Windows
from helixband.outputs.table import check_real
from helixband.outputs.whole import named_arrays
from helixband.randomness import derive_seed, seed_everything
from helixband.results.directory import Results
from helixband.sequence.intervals import Intervals
from helixband.sequence.reading import near_names
from helixband.sequence.windows import Tiling, of_one_length
from helixband.training.state import left_alone

CHUNK_BASES = 2 << 20
"""A chunk is as many windows as have this many bases together, padded to the longest of them."""

Span = tuple[int, int]
"""[first, last) of the windows of a chunk."""
Predict = Callable[[Iterable[Span]], Generator[dict[str, NDArray[Any]]]]
"""Gives the arrays of each chunk, in order."""


@dataclass(frozen=True)
class WindowPredictor:
    """A model and the windows that it is to predict on.

    With `both_strands` a prediction is the mean of those for a window and for its reverse complement, the
    latter as the model's `other_strand` makes it one of the window's own strand. With `mc_dropout`, it is the
    mean of so many passes with dropout left on, and there is their standard deviation. `seed` is the root
    of what is random in that. `renamed`: what records are called in the outputs, by name, where they are
    called otherwise there. `chosen`, int64 (N,): the windows that are wanted, in order; None for all. Their
    predictions are, bit for bit, those that they have among all.
    """

    model: BaseModel
    data: SequenceBatchGenerator
    both_strands: bool = False
    mc_dropout: int | None = None
    seed: int = 0
    renamed: Mapping[str, str] = field(default_factory=dict)
    chosen: NDArray[np.int64] | None = None

    def facts(self) -> dict[str, Any]:
        """What a prediction depends on that is known here, for `Parts`."""
        return {
            "sequences": self.data.store.digest,
            "window": self.data.length,
            "both_strands": self.both_strands,
            "mc_dropout": self.mc_dropout,
            "seed": self.seed,
            "batch_size": self.model.args.batch_size,  # it sets the pieces, and they the last bits
            "device": self.model.device.type,
        }

    def predict(self, first: int, last: int) -> dict[str, NDArray[Any]]:
        """The arrays of the windows [first, last), by name: y_pred "" or its parts, and their spread."""
        seed_everything(derive_seed(self.seed, "windows", first))
        examples = np.arange(first, last)
        forward = self._predict_strand(examples, other_strand=False)
        if not self.both_strands:
            return dict(named_arrays(*forward))
        turned = functools.partial(strands.turned, *strands.extents(self.data, examples))
        y_pred, spread = self._predict_strand(examples, other_strand=True)
        reverse = self.model.other_strand(y_pred, turned)
        spread = None if spread is None else self.model.other_strand(spread, turned)
        return dict(named_arrays(*strands.mean(forward, (reverse, spread))))

    def regions(self, first: int, last: int) -> Regions:
        """Where the windows [first, last) of those wanted are; of both strands the strand is "."."""
        wanted = np.arange(first, last) if self.chosen is None else self.chosen[first:last]
        names, starts, ends, strands = self.data.regions(wanted)
        names = [self.called(name) for name in names] if self.renamed else names
        return names, starts, ends, ["."] * len(names) if self.both_strands else strands

    def called(self, name: str) -> str:
        """What a record is called in the outputs."""
        return self.renamed.get(name, name)

    def _predict_strand(self, examples: NDArray[np.int64], other_strand: bool) -> tuple[Any, Any]:
        """(y_pred, spread), the spread None where there is one pass."""
        strand = _Strand(self.data, examples, other_strand)
        if self.mc_dropout:
            return self.model.predict_mc(strand, self.mc_dropout)
        return self.model.predict(strand), None


@dataclass(frozen=True)
class _Strand(Unpadded):
    """Some examples of a set on one strand as a single batch."""

    data: SequenceBatchGenerator
    examples: NDArray[np.int64]
    other_strand: bool

    def __iter__(self) -> Iterator[Any]:
        yield self.data.x(self.examples, self.other_strand)

    def unpadded(self, limit: int | None = None) -> tuple[Iterable[Any], NDArray[np.int64]] | None:
        """As that of `Unpadded`, of records; with any `limit` all of them."""
        if (lengths := record_lengths(self.data, self.examples)) is None:
            return None
        alike = of_one_length(lengths)
        batches = (self.data.x(self.examples[numbers], self.other_strand) for numbers in alike)
        return batches, np.concatenate(alike)


def predict_windows(
    predictor: WindowPredictor,
    results: Results,
    name: str,
    facts: Mapping[str, Any],
    formats: Collection[str] = ("npy", "tsv"),
    on_chunk: Callable[[int, int], None] | None = None,
    before_writing: Callable[[list[Path]], None] | None = None,
    chunk_bases: int | None = None,
    predict: Predict | None = None,
) -> list[Path]:
    """Predict on all windows and write the outputs of the input `name`; the files written.

    `facts`, as JSON: what the predictions depend on besides what the predictor knows: weights, input, stride.
    Chunks of an earlier run that depend on others are not used. `on_chunk(done, total)` is told how many
    windows are predicted: once before the first chunk, and after each. `before_writing(files)` is told which
    files there will be, before the first of them is touched. `predict` does what the predictor does for each
    chunk, elsewhere.

    Predictions along records of several lengths are filled up with NaN to the longest.

    `formats` are names in `outputs.FORMATS`; the class of each says what its files have.

    Raises `DataError` where a format cannot hold the predictions, or an alphabet without complement has no
    other strand; `DefinitionError` where predictions lie along windows, and the model does not say what they
    are on the other strand, or they cannot be filled up; `HelixbandError` where a package that a format needs
    is not installed; `StorageError` where something cannot be written.
    """
    store, chunks = predictor.data.store, _Chunks(predictor, chunk_bases or CHUNK_BASES)
    total = int(chunks.ends[-1])
    if predictor.both_strands:
        strands.check(store)
    chosen = find_formats(formats)
    for each in chosen:
        each.check_installed()
    facts = {**facts, **predictor.facts()}
    tried = _tried(predictor, chosen)
    parts = Parts(results.prediction(name, ".part"), facts, chunks.ends, tried.differing)
    tell = on_chunk or (lambda done, total: None)
    tell(parts.done, total)
    interruption.check()
    with contextlib.closing((predict or chunks.predict)(chunks.spans(parts.done))) as predicted:
        for found in predicted:
            chunk = chunks.wanted(found, parts.done, parts.next_end)
            _check_formats(chosen, chunk, tried.along)
            parts.append(chunk)
            store.forget_pages()
            tell(parts.done, total)
            interruption.check()
    arrays = parts.arrays
    _check_formats(chosen, {key: rows.read(0, 1) for key, rows in arrays.items()}, tried.along)
    paths = [[results.prediction(name, suffix) for suffix in each.suffixes(arrays)] for each in chosen]
    written = [path for of_format in paths for path in of_format]
    if before_writing:
        before_writing(written)
    names = map(predictor.called, store.names)
    windows = Windows(predictor.regions, dict(zip(names, store.lengths.tolist(), strict=True)))
    for each, of_format in zip(chosen, paths, strict=True):
        each.write(of_format, arrays, windows)
    parts.remove()
    return written


def try_windows(predictor: WindowPredictor, formats: Collection[str], rows: int) -> None:
    """Predict on the first windows alone; raises what `predict_windows` would, and writes nothing."""
    last = min(rows, int(_chunk_ends(predictor.data, CHUNK_BASES)[0]))
    chosen = find_formats(formats)
    _check_formats(chosen, predictor.predict(0, last), _tried(predictor, chosen).along)


def is_windowed(data: Iterable[Any]) -> TypeGuard[SequenceBatchGenerator]:
    """Whether a generator is predicted on window by window; others are by iterating over them.

    So is one of a derived class that has the methods which read x otherwise.
    """
    return isinstance(data, SequenceBatchGenerator) and data.is_read_as_ours()


def chunks(data: SequenceBatchGenerator) -> Iterator[tuple[int, int]]:
    """[first, last) of the windows of each chunk, in the order in which all are predicted."""
    return itertools.pairwise([0, *_chunk_ends(data, CHUNK_BASES).tolist()])


class _Tried(NamedTuple):
    """What is known of predictions before there are any."""

    differing: dict[str, tuple[int, ...]]
    """The shapes of rows, by name, of what differs in length between records: those of the longest."""
    along: set[str]
    """The names of what lies along windows, as far as anything depends on it."""


def _tried(predictor: WindowPredictor, formats: Collection[Format]) -> _Tried:
    """Predict on a window, or on the shortest and the longest record; all is afterwards as before.

    Raises `DefinitionError` where predictions that differ in length are no floating-point numbers, and with
    `both_strands` where what lies along windows is not turned by the model.
    """
    lengths, last = record_lengths(predictor.data), predictor.data.n_examples - 1
    model, own = predictor.model, type(predictor.model).other_strand is not BaseModel.other_strand
    has_tracks = not all(each.for_positions for each in formats)
    asks = has_tracks or (predictor.both_strands and not own)
    if lengths is None and not asks:
        return _Tried({}, set())
    pair = (0, last) if lengths is None else (int(lengths.argmin()), int(lengths.argmax()))
    one_pass = replace(predictor, mc_dropout=None)  # of one window, a few passes may be alike
    with left_alone(model):
        short, long = (one_pass.predict(number, number + 1) for number in pair)
        differing = {
            name: array.shape[1:] for name, array in long.items() if array.shape != short[name].shape
        }
        along = along_windows(model, predictor.data, long, differing) if asks else set()
        if has_tracks and own and "" in along:
            y_pred = long[""]
            if model.other_strand(y_pred, lambda array: array[..., ::-1]) is y_pred:
                along = set()  # as scores are left as they are
    if predictor.both_strands and not own:
        _check_scores(predictor, long, along)
    for name, shape in differing.items():
        if long[name].dtype.kind != "f" or long[name].ndim != short[name].ndim:
            raise DefinitionError(
                f"y_pred{name} of a record has the shape {short[name].shape[1:]}, and of a longer one "
                f"{shape}, of the type {long[name].dtype}: shorter ones are filled up with NaN, which needs "
                "floating-point numbers with as many dimensions"
            )
    spread = {f"{name}.std": shape for name, shape in differing.items()}
    return _Tried(differing | (spread if predictor.mc_dropout else {}), along)


def _check_formats(
    formats: Collection[Format], arrays: Mapping[str, NDArray[Any]], along: Collection[str]
) -> None:
    """Raise `DataError` where a format cannot hold arrays of windows, of which some lie `along` these.

    Raises `DefinitionError` where one for scores would have complex ones.
    """
    check_formats(formats, {key: array.ndim for key, array in arrays.items()}, "" in along)
    if "" in arrays and arrays[""].ndim <= 2 and any(each.for_scores for each in formats):
        check_real(arrays[""], "ask for npy or h5 alone, or ")


def _check_scores(
    predictor: WindowPredictor, arrays: Mapping[str, NDArray[Any]], along: Collection[str]
) -> None:
    """Raise `DefinitionError` for predictions of a window, (1, …), that may lie along it."""
    bases, kind = predictor.data.length, type(predictor.model).__name__
    for name, array in arrays.items():
        if array.ndim > 2 or name in along:
            raise DefinitionError(
                f"y_pred{name} of a window of {bases} bases has the shape {array.shape[1:]}, and what it is "
                f"on the other strand (--both-strands) is not known: give {kind} an "
                "other_strand(self, y_pred, turned), which returns turned(y_pred) if y_pred lies along the "
                "window, or y_pred if it is scores"
            )


def on_chromosomes(data: SequenceBatchGenerator, names: Sequence[str]) -> NDArray[np.int64]:
    """The windows on these chromosomes, as headers name them where they are regions, or these records.

    int64 (N,), in order.

    Raises `DataError` for a name that there is not, with those that are near.
    """
    examples, intervals = np.arange(data.n_examples), data.intervals()
    known = tuple(data.store.names) if intervals is None else intervals.names
    numbers = data.records(examples) if intervals is None else intervals.chromosome
    wanted = set(names)
    number_of = {name: number for number, name in enumerate(known) if name in wanted}
    for name in names:
        if name not in number_of:
            near = ", ".join(near_names(name, known))
            raise DataError(f"--chromosomes {name}: {data.store.path} has no such name; it has {near}, …")
    chosen = np.flatnonzero(np.isin(numbers, list(number_of.values())))
    if not len(chosen):
        raise DataError(f"--chromosomes {','.join(names)}: no window of {data.store.path} is on these")
    return chosen


def part_of(chosen: NDArray[np.int64], total: int) -> dict[str, Any]:
    """Which windows of a `total` some are: `windows`, [first, last) of each run, and `of` how many."""
    runs = np.split(chosen, np.flatnonzero(np.diff(chosen) != 1) + 1)
    return {"windows": [[int(run[0]), int(run[-1]) + 1] for run in runs], "of": total}


def bases_of_window(data: SequenceBatchGenerator) -> float:
    """The bases that a window has in the mean, each counted once where windows overlap."""
    if (lengths := record_lengths(data)) is not None:
        return float(lengths.mean())
    if isinstance(data.plan, Tiling):
        return float(min(data.plan.stride, data.length))
    names, starts, ends, _ = data.regions(np.arange(data.n_examples))
    merged = Intervals.make(names, starts, ends).merged()
    return float((merged.end - merged.start).sum() / data.n_examples)


class _Chunks:
    """The chunks of the windows that are wanted: of each chunk of all windows, those in it.

    `ends`, int64 (chunks,): the wanted window that each ends before. A chunk is predicted with all its
    windows, as the pieces that a network gets together, and random numbers, set the last bits.
    """

    def __init__(self, predictor: WindowPredictor, chunk_bases: int) -> None:
        self._predictor = predictor
        self._all = _chunk_ends(predictor.data, chunk_bases)
        chosen = predictor.chosen
        ends = self._all if chosen is None else np.unique(np.searchsorted(chosen, self._all))
        self.ends: NDArray[np.int64] = ends[ends > 0]

    def spans(self, done: int) -> Iterator[Span]:
        """What is to be predicted, of all windows, for the chunks after so many wanted windows."""
        ends = self.ends[self.ends > done].tolist()
        return (self._span(first, last) for first, last in itertools.pairwise([done, *ends]))

    def predict(self, spans: Iterable[Span]) -> Generator[dict[str, NDArray[Any]]]:
        """The arrays of each."""
        return (self._predictor.predict(*span) for span in spans)

    def wanted(self, arrays: dict[str, NDArray[Any]], first: int, last: int) -> dict[str, NDArray[Any]]:
        """Of the arrays of a chunk, those of the wanted windows [first, last)."""
        chosen = self._predictor.chosen
        if chosen is None:
            return arrays
        start = self._span(first, last)[0]
        return {name: array[chosen[first:last] - start] for name, array in arrays.items()}

    def _span(self, first: int, last: int) -> Span:
        """Of all windows, those of the chunk that has the wanted windows [first, last)."""
        chosen = self._predictor.chosen
        if chosen is None:
            return first, last
        number = int(np.searchsorted(self._all, chosen[first], side="right"))
        return int(self._all[number - 1]) if number else 0, int(self._all[number])


def _chunk_ends(data: SequenceBatchGenerator, chunk_bases: int) -> NDArray[np.int64]:
    """The window that each chunk ends before, (chunks,)."""
    total, lengths = data.n_examples, record_lengths(data)
    if lengths is None:
        step = max(1, chunk_bases // data.length)
        return np.append(np.arange(step, total, step), total)
    ends, first, longest = [], 0, 0
    for number, length in enumerate(lengths.tolist()):
        longest = max(longest, length)
        if number > first and (number + 1 - first) * longest > chunk_bases:
            ends.append(number)
            first, longest = number, length
    return np.array([*ends, total], dtype=np.int64)
