"""The stage that predicts: each input by the definition's own generator, or window by window."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from base_model import DEBUG_BATCHES, BaseModel
from helixband.env import without_credentials
from helixband.errors import UsageError, counted
from helixband.files import absolute, exists, file_facts, remove_folder
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.outputs import strands
from helixband.outputs.along import record_lengths
from helixband.outputs.formats import find_formats
from helixband.outputs.whole import (
    called,
    called_records,
    has_table,
    named_arrays,
    write_predictions,
)
from helixband.outputs.windows import (
    Predict,
    WindowPredictor,
    bases_of_window,
    chunks,
    is_windowed,
    on_chromosomes,
    part_of,
    predict_windows,
    try_windows,
)
from helixband.randomness import derive_seed, seed_everything
from helixband.results.digests import content_digest, file_digest
from helixband.run.context import Context, Stage
from helixband.run.flags import OF_PREDICTION, OF_WINDOWS, given
from helixband.run.inputs import PART, find_inputs
from helixband.run.records import Record, Records
from helixband.search.executors.chunks import SpreadOver
from helixband.search.executors.scoring import effects_of
from helixband.search.executors.task import Chunk, Task
from helixband.search.executors.windows import has_own_generator, windows_like_training
from helixband.search.executors.workers import ChunkWorkers
from helixband.sequence.chromosomes import read_aliases
from helixband.sequence.fasta import is_fasta
from helixband.sequence.reading import shown_names
from helixband.training import rehearsal

NAMINGS = ("number", "ucsc", "ensembl")
DEFAULT_FORMATS = ("npy", "tsv")


class Prediction(Stage):
    """The inputs of `--predict`, and what is made of them.

    An input whose generator is one of sequences, by the definition's `get_pred_generator` or, where that is
    missing, like the training generator, is predicted in chunks; others at once.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.inputs: dict[str, str] = {}
        self._records = Records(context.results, context.run_file)
        self._own_generator = has_own_generator(self.definition)
        self._workers: ChunkWorkers | None = None

    def find_inputs(self) -> None:
        """Find the files; raises `UsageError` where there are none, or flags do not go together."""
        self.inputs = find_inputs(self.args, self.results, self._records)
        self._check_flags()

    def to_make(self, facts: dict[str, Any] | None) -> list[str]:
        """The paths of the inputs whose generators are made before any work: those not predicted on with
        these `facts`, or, without facts, as the model is to be trained, all.

        A `get_pred_generator` may take its time, so that it makes the first alone, unless the flags name
        records: the inputs are held against these.
        """
        first_alone = self._own_generator and not (self.args.chromosomes or self.args.names)
        found: list[str] = []
        for name, path in self.inputs.items():
            begun = facts is not None and self._records.of(name)
            if facts is None or not (begun and self._look_up(name, path, facts)[0].has(self._formats)):
                found.append(path)
                if first_alone:
                    break
        return found

    def check_form(self) -> None:
        """Raise `DefinitionError` where a training generator is to make those of the inputs, and cannot."""
        if self.inputs and not self._own_generator:
            self.definition.sequence_training_data(self.args.data, self.args.batch_size)

    def make(self, paths: Iterable[str]) -> None:
        """Make the generators of inputs as the training generator does, so that their faults show.

        Not by a `get_pred_generator`, which may take its time.
        """
        if not self._own_generator:
            for path in paths:
                self.data_of(path)

    def data_of(self, path: str) -> Iterable[Any]:
        """The generator of an input, held against the flags.

        Raises `DataError` or `UsageError` where they do not go together.
        """
        with self._records.filling():  # as the sequences are encoded here
            own = self._own_generator
            data = self.definition.prediction_data(path) if own else self._windows_like_training(path)
        self._check_data(path, data)
        return data

    def try_out(self, model: BaseModel, path: str, data: Iterable[Any], rows: int) -> None:
        """Predict on the first batch, or so many windows; raises what is wrong, and writes nothing."""
        if self._is_windowed(data):
            try_windows(self._predictor(model, data, {}), self._formats, rows)
            return
        if type(model).predict is BaseModel.predict:
            y_pred, spread = rehearsal.predict(model, rehearsal.first_x(data), self.args.mc_dropout)
            for _ in named_arrays(y_pred, spread):
                pass
            if self.definition.function("save_prediction"):
                return
            if not has_table(path, y_pred) and self.args.names:
                raise self._no_table("a prediction is no number or row of numbers")

    def predict_all(
        self,
        load_model: Callable[[], BaseModel],
        facts: Mapping[str, Any],
        workers: ChunkWorkers,
    ) -> None:
        """Predict on each input with the model, unless that was done with the same `facts`.

        Chunks of windows are predicted by the `workers`, where there are any.
        """
        self._workers = workers
        try:
            for name, path in self.inputs.items():
                with self._records.filling():
                    self._predict(name, path, load_model, facts)
        finally:
            self._records.store()

    def _predict(
        self, name: str, path: str, load_model: Callable[[], BaseModel], facts: Mapping[str, Any]
    ) -> None:
        record, windows = self._look_up(name, path, facts)
        formats = self._formats
        if record.has(formats):
            listed = "".join(f", {output}" for output in record.outputs)
            if not listed:  # whatever that wrote is not known here
                again = self._records.path(name)
                listed = f" by save_prediction of the definition; delete {again} to have it done again"
            self.progress.say(f"predict: {path} is done already{listed}")
            return
        self.results.check_lock()
        model = load_model()
        data = self.data_of(path) if windows is None else windows
        seed_everything(derive_seed(self.args.seed, "predict", name))
        if self._is_windowed(data):
            outputs = self._predict_windows(name, path, model, data, record, formats)
        else:
            outputs = self._predict_whole(name, path, model, data, record)
        record.finish(formats, outputs)
        written = ", ".join(str(output) for output in outputs) or "save_prediction of the definition"
        self.progress.say(f"predict: {path} -> {written}")

    @property
    def _formats(self) -> Collection[str]:
        return self.args.format or DEFAULT_FORMATS

    def _look_up(
        self, name: str, path: str, facts: Mapping[str, Any]
    ) -> tuple[Record, SequenceBatchGenerator | None]:
        """What is recorded of an input, and its windows, where the training data say what these are."""
        seen = {"path": without_credentials(absolute(path)), "file": file_facts(path)}
        known = self._records.content(name, seen)
        facts = {**facts, "content": known or content_digest(path)}
        facts |= {"stride": self.args.stride, "both_strands": self.args.both_strands}
        facts |= {key: value for key, value in self._naming_facts().items() if value}
        windows = None if self._own_generator else self._windows_like_training(path)
        if windows is not None:
            facts["sequences"] = windows.store.digest  # of a BED file the genome
        return Record(self._records, self.results, name, facts, seen), windows

    def _is_windowed(self, data: Iterable[Any]) -> TypeGuard[SequenceBatchGenerator]:
        """Whether an input is predicted on window by window."""
        save = self.definition.function("save_prediction")
        return is_windowed(data) and not save

    def _predictor(
        self, model: BaseModel, data: SequenceBatchGenerator, renamed: dict[str, str]
    ) -> WindowPredictor:
        args = self.args
        return WindowPredictor(model, data, args.both_strands, args.mc_dropout, args.seed, renamed)

    def _predict_windows(
        self,
        name: str,
        path: str,
        model: BaseModel,
        data: SequenceBatchGenerator,
        record: Record,
        formats: Collection[str],
    ) -> list[Path]:
        args, chosen = self.args, None
        if args.chromosomes:
            chosen = on_chromosomes(data, args.chromosomes)
            record.part = part_of(chosen, data.n_examples)
        if args.debug:
            some = np.arange(data.n_examples) if chosen is None else chosen
            data, chosen = data.part(some[: DEBUG_BATCHES * args.batch_size]), None
        wanted = data if chosen is None else data.part(chosen)
        lengths = record_lengths(wanted)
        what = counted(wanted.n_examples, "window" if lengths is None else "record")
        extent = data.length if lengths is None else f"up to {lengths.max()}"
        self.progress.say(f"predict: {what} of {extent} bases of {name}")
        predictor = replace(self._predictor(model, data, self._renamed(data)), chosen=chosen)
        self.progress.begin_windows(bases_of_window(wanted))
        written = predict_windows(
            predictor,
            self.results,
            name,
            record.facts,
            formats,
            self.progress.windows,
            record.begin,
            predict=self._elsewhere(name, path, predictor, record.facts["trial"]),
        )
        self.progress.end()
        return written

    def _elsewhere(self, name: str, path: str, predictor: WindowPredictor, trial: str) -> Predict | None:
        """What has workers predict on the chunks of an input; None where this process does.

        A model that changes as it predicts does so in order, from the first window on, which is said.
        """
        args, begun = self.args, self.results.prediction(name, PART)
        workers = None if self._workers is None or not self._workers.are_wanted(args) else self._workers
        if args.debug or len(list(chunks(predictor.data))) == 1:
            workers = None
        is_begun = exists(begun)
        if (workers or is_begun) and effects_of(predictor.model, lambda: predictor.predict(0, 1))[0]:
            why = "its prediction changes what the model or the definition holds"
            if is_begun:
                self.progress.say(f"predict: {path} is begun anew: {why}")
                remove_folder(begun)
            if workers:
                self.progress.say(f"predict: in this process alone: {why}")
            return None
        if workers is None:
            return None
        config = self.results.config_of(self.results.trial(trial)) or {}
        task = Task(trial, config, epochs=0, chunk=Chunk(path, predictor.facts()))
        return SpreadOver(workers("windows"), task, begun, self.progress.say)

    def _predict_whole(
        self, name: str, path: str, model: BaseModel, data: Iterable[Any], record: Record
    ) -> list[Path]:
        samples = self.args.mc_dropout
        y_pred, spread = model.predict_mc(data, samples) if samples else (model.predict(data), None)
        if save := self.definition.function("save_prediction"):
            record.begin([])
            save(path, y_pred)
            return []
        suffixes = [".tsv", *(f"{key}.npy" for key, _ in named_arrays(y_pred, spread))]
        record.begin([self.results.prediction(name, suffix) for suffix in suffixes])
        say = self.progress.say
        return write_predictions(self.results, name, path, y_pred, spread, self.args.names, say)

    def _naming_facts(self) -> dict[str, Any]:
        """What the outputs depend on in --chromosomes and --names."""
        names = self.args.names
        is_file = names and names not in NAMINGS
        naming = {"names_file": file_digest(Path(names))} if is_file else {"names": names}
        return {"chromosomes": self.args.chromosomes, **naming}

    def _renamed(self, data: SequenceBatchGenerator) -> dict[str, str]:
        """What records are called in the outputs, where --names has it otherwise than the input."""
        store, scheme = data.store, self.args.names
        if not scheme or scheme == store.naming:
            return {}
        renamed = called(store.names, scheme, store.path)
        if scheme != "number" and (kept := [name for name in store.names if name not in renamed]):
            shown = shown_names(kept, at_most=3)
            self.progress.say(f"note: --names {scheme} leaves {len(kept):,} names as they are: {shown}")
        return renamed

    def _check_data(self, path: str, data: Iterable[Any]) -> None:
        """Raise `DataError` or `UsageError` for flags that do not go with an input."""
        args = self.args
        if not self._is_windowed(data):
            self._check_whole(path)
            return
        if args.both_strands:
            strands.check(data.store)
        if args.chromosomes:
            on_chromosomes(data, args.chromosomes)
        called(data.store.names, args.names, data.store.path)

    def _check_whole(self, path: str) -> None:
        """Of an input that is predicted on at once."""
        if flags := given(self.args, OF_WINDOWS):
            raise UsageError(
                f"{flags[0]} is for windows of sequences: leave it out, or have get_pred_generator in "
                f"{self.definition.path} return a FastaBatchGenerator or an IntervalBatchGenerator, of no "
                "class of its own that reads x"
            )
        if self.args.names and not self.definition.function("save_prediction"):
            if not is_fasta(path):
                raise self._no_table(f"{path} is no FASTA file")
            called_records(path, self.args.names)

    def _no_table(self, why: str) -> UsageError:
        return UsageError(
            f"--names {self.args.names}: {why}, so that no table with the names of records is written; leave "
            "--names out"
        )

    def _windows_like_training(self, path: str) -> SequenceBatchGenerator:
        return windows_like_training(self.definition, self.args, path)

    def _check_flags(self) -> None:
        flags = given(self.args, OF_PREDICTION)
        if self.args.names == "number" and not self._own_generator:
            flags.remove("--names")  # it is also how our generators read an input
        if flags and self.inputs and self.definition.function("save_prediction"):
            raise UsageError(
                f"{flags[0]} is for the files that are written where there is no save_prediction, and "
                f"{self.definition.path} has one: leave out one of them"
            )
        if self.args.names and self.args.names not in NAMINGS:
            read_aliases(self.args.names)
        for each in find_formats(self.args.format or ()):
            each.check_installed()
        if self._own_generator and self.args.stride:
            raise UsageError(
                f"--stride {self.args.stride}: the windows are those of get_pred_generator in "
                f"{self.definition.path}; set their stride there, or leave it out"
            )
