"""The data of all stages, checked before any work: each generator is made, and gives a model a batch.

Shapes, types and what raises are faults. A metric that raises or is undefined on so few rows is a note.
Nothing is written, and random numbers are afterwards as they were.
"""

import contextlib
import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from base_model import BaseModel, ClassificationModel
from helixband import interruption, randomness
from helixband.audit.examples import codes_of
from helixband.errors import DataError, HelixbandError
from helixband.generators.arrays import to_numpy
from helixband.generators.base import BatchGenerator
from helixband.nested import leaves, length, map_leaves
from helixband.run.context import Context, Stage
from helixband.run.evaluation import Evaluation
from helixband.run.findings import MODEL, PREDICTION, TEST, TRAINING, VALIDATION, Fault, Findings
from helixband.run.prediction import Prediction
from helixband.search.executors.task import Document
from helixband.search.executors.trial import Trainer
from helixband.training import judge, pictures, rehearsal, snapshot
from helixband.training.feed import Split, sizes
from helixband.training.result import joined
from helixband.training.weighting import split_of

SECONDS = 5.0
"""A check whose data take longer says so."""
TRIED = 20
"""So many configurations of --try are tried."""

Batch = tuple[Any, ...]
Place = Callable[[BaseException], str | None]
"""Where in the definition an error was raised."""


class Work(NamedTuple):
    """What a run has to do.

    `configs` are the configurations of which one has to do with the data: the one that is used, or draws.
    With `each`, they are those of --try, which all have to do.
    `predicts` are the paths of inputs that are not done: the first is tried, the others are only made.
    `replaces` says that this definition is to take the place of another one: a metric that raises is a fault
    then. `audits` says that the check for leakage reads the training and the test set.
    """

    trains: bool
    evaluates: bool
    predicts: list[str]
    configs: list[Document]
    each: bool
    replaces: bool = False
    audits: bool = False


class DataCheck(Stage):
    """Tries out the data that some work needs."""

    def __init__(
        self, context: Context, trainer: Trainer, evaluation: Evaluation, prediction: Prediction, work: Work
    ) -> None:
        super().__init__(context)
        self._trainer, self._evaluation, self._prediction = trainer, evaluation, prediction
        self._work = work
        self._rows = int(self.args.batch_size)
        self._made: dict[str, Iterable[Any]] = {}
        self._batches: dict[str, Batch] = {}

    def run(self) -> None:
        """Say what is to be noted; raises all that is wrong."""
        found = Findings()
        with self._left_as_it_was(found):
            began = time.monotonic()
            self._make(found)
            self._read(found)
            seconds = time.monotonic() - began  # without what metrics and optimizers import
            tried = self._try_configurations()
        for fault in tried.faults:
            found.add(fault, *fault.numbers)
        found.notes += tried.notes
        self._made, self._batches = {}, {}
        interruption.check()
        found.raise_faults(self.definition)
        for note in found.notes:
            self.progress.say(f"note: {note}")
        if seconds > SECONDS:
            self.progress.say(
                f"making and reading the data for their check took {seconds:.0f} s; --no-data-check leaves "
                "it out"
            )

    @contextlib.contextmanager
    def _left_as_it_was(self, found: Findings) -> Iterator[None]:
        """Around the check: random numbers and what the definition holds are afterwards as before.

        Where that had changed, all data are made anew for the work, as if they were not made here.
        """
        with randomness.unmoved():
            before, data = snapshot.of_the_definition(), self.definition.data_made()
            try:
                yield
            finally:
                changed, lost = before.put_back()
                if changed:
                    self.definition.forget_data(data)
                    self._evaluation.release()
        if lost:
            found.notes.append(
                f"{', '.join(lost)}: changed as the data were tried, and too large to be put back; the "
                "results may be others than with --no-data-check"
            )

    def _make(self, found: Findings) -> None:
        """The generators that the work needs."""
        if self._work.trains or self._work.audits:
            self._make_training_data(found)
        if self._work.evaluates or self._work.audits:
            with found.of(TEST, told=True):
                self._made[TEST] = self._evaluation.test_data()
        if self._work.predicts:
            with found.of(PREDICTION, told=True):
                self._prediction.check_form()
                self._make_inputs(found)

    def _make_inputs(self, found: Findings) -> None:
        """The first is kept, to be tried; of the others their making is the check."""
        for number, path in enumerate(self._work.predicts):
            with found.of(PREDICTION, told=True):
                data = self._prediction.data_of(path)
                if not number:
                    self._made[PREDICTION] = data

    def _make_training_data(self, found: Findings) -> None:
        """Each of both sets, so that the faults of one do not hide those of the other."""
        definition, data, rows = self.definition, self.args.data, self.args.batch_size
        if definition.data_made():
            self._made[TRAINING], self._made[VALIDATION] = definition.training_data(data, rows)
            return
        val = None
        with found.of(TRAINING, told=True):
            self._made[TRAINING], val = definition.training_set(data, rows)
        if val is not None:
            self._made[VALIDATION] = val
        elif definition.function("get_val_generator"):
            with found.of(VALIDATION, told=True):
                self._made[VALIDATION] = definition.validation_set(data)
        if TRAINING in self._made and VALIDATION in self._made:
            definition.keep(data, rows, self._made[TRAINING], self._made[VALIDATION])

    def _read(self, found: Findings) -> None:
        for where in (TRAINING, VALIDATION, TEST):
            if where in self._made:
                with found.of(where):
                    batch = rehearsal.first_batch(self._made[where], self._as_it_is)
                    if self._work.audits and where != VALIDATION and self._as_it_is is None:
                        self._evaluation.check_readable(codes_of(batch[0]), where.removeprefix("the "))
                    if self._work.evaluates if where == TEST else self._work.trains:
                        self._batches[where] = batch

    def _try_configurations(self) -> Findings:
        """What the first configuration that works gave to note, or else the faults of the first of all.

        A search goes on without a configuration that fails, so it has several here.
        """
        if self._work.each:
            return self._try_given()
        first = None
        for config in self._work.configs:
            found = self._try(config)
            if not found.faults:
                return found
            first = first or found
        return first or Findings()

    def _try_given(self) -> Findings:
        """The faults of all configurations of --try, with their numbers, and what the first gave to note."""
        found = Findings()
        for number, config in enumerate(self._work.configs[:TRIED], 1):
            tried = self._try(config)
            for fault in tried.faults:
                found.add(fault, number)
            if number == 1:
                found.notes = tried.notes
        return found

    def _try(self, config: Document) -> Findings:
        """What one configuration gives; the memory of its model is free afterwards."""
        found = self._tried(config)
        if torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()
        return found

    @property
    def _as_it_is(self) -> Split | None:
        """Batches are left whole where the model splits them."""
        own = self.definition.module.Model.split_batch is not BaseModel.split_batch
        return (lambda batch, where: (batch,)) if own else None

    def _split(self, model: BaseModel, found: Findings) -> dict[str, Batch]:
        """The batches of the sets as (x, y) or (x, y, weight)."""
        if (split := split_of(model)) is None:
            return self._batches
        batches: dict[str, Batch] = {}
        for where, (batch,) in self._batches.items():
            with found.of(where):
                batches[where] = split(batch, f"the first batch of {where}")
        return batches

    def _tried(self, config: Document) -> Findings:
        found, model = Findings(), None
        with found.of(MODEL):
            model = self._trainer.passing_model(config, self._made.get(TRAINING))
        if model is None:
            return found
        if model.engine.foreign is not None:
            sets = {"train": self._made.get(TRAINING), "val": self._made.get(VALIDATION)}
            with found.of(MODEL):
                model.engine.foreign.rehearse({name: made for name, made in sets.items() if made is not None})
            return found
        with rehearsal.weights_kept(model):
            batches, place_of = self._split(model, found), self.definition.place_of
            trial = _Rehearsal(model, found, batches, self._work.replaces, place_of)
            if TRAINING in batches:
                trial.train(self._made[TRAINING], sizes(self._made[TRAINING]))
            trial.evaluate(self.args.mc_dropout, self._made)
            trial.check_columns()
            trial.tell_metrics()
            if PREDICTION in self._made:
                with found.of(PREDICTION):
                    first = self._work.predicts[0]
                    self._prediction.try_out(model, first, self._made[PREDICTION], self._rows)
        return found


class _Rehearsal:
    """A model on a batch of each set. What a definition does in an own way as a whole is not tried."""

    def __init__(
        self, model: BaseModel, found: Findings, batches: dict[str, Batch], strict: bool, place_of: Place
    ) -> None:
        self._model, self._found, self._batches, self._strict = model, found, batches, strict
        self._place_of = place_of
        self._failed: set[Form] = set()
        self._names: dict[str, list[str]] = {}
        """The losses and metrics of each set, where all of them are known."""
        self._of_data: list[str] | None = None
        """The columns that the training data have, where these are known."""
        self._wrong_metrics: list[Fault] = []  # apart, for what is wrong with one set's hides no other's

    def train(self, generator: Iterable[Any], sizes: tuple[int, int] | None) -> None:
        """The criterion and the metrics of the training batch; the former also of one example, if the last
        batch has one.
        """
        model, batch = self._model, self._batches[TRAINING]
        if type(model).fit is not BaseModel.fit:
            return
        before = len(self._found.faults)
        with self._found.of(TRAINING):
            self._of_data = model.as_member(generator, (), model.args.epoch).columns_of_data()
            self._found.notes += rehearsal.without_effect(model)
            if model.engine.own_step:
                return
            losses, y_true, y_pred = rehearsal.train(model, batch)
            self._measure(TRAINING, "train_metrics", losses, y_true, y_pred)
            if isinstance(model, ClassificationModel):
                self._compare_classes(generator, y_pred)
            if sizes and sizes[0] > sizes[1] and sizes[0] % sizes[1] == 1 and not model.args.debug:
                self._train_on_one(generator, batch, sizes)
        if len(self._found.faults) > before:
            self._failed.add(_form(batch))

    def evaluate(self, passes: int | None, sets: Mapping[str, Iterable[Any]]) -> None:
        """The criterion and the metrics of both sets, and the criterion of their shortest records."""
        model = self._model
        if type(model).evaluate is not BaseModel.evaluate:
            return
        for where in (VALIDATION, TEST):
            batch = self._batches.get(where)
            if batch is None or _form(batch) in self._failed:  # it would be told twice
                continue
            before = len(self._found.faults)
            with self._found.of(where):
                losses, y_true, y_pred = rehearsal.evaluate(model, batch, passes if where == TEST else None)
                self._measure(where, "eval_metrics", losses, y_true, y_pred)
                rehearsal.evaluate_shortest(model, sets[where])
                if model.engine.has_pictures:
                    pictures.of_batch(model, *batch[:2])
                if where == TEST:
                    judge.names_of(model, y_pred)
            if len(self._found.faults) > before:
                self._failed.add(_form(batch))

    def tell_metrics(self) -> None:
        """Take the faults of metrics."""
        for fault in self._wrong_metrics:
            self._found.add(fault)

    def check_columns(self) -> None:
        """What patience and schedulers look at is among the losses and metrics, as far as they are known."""
        if VALIDATION in self._batches:
            with self._found.of(MODEL):
                names = self._names.get(TRAINING), self._names.get(VALIDATION)
                rehearsal.check_columns(self._model, *names, self._of_data)

    def _measure(self, where: str, name: str, losses: Iterable[str], y_true: Any, y_pred: Any) -> None:
        rows = f"on {length(y_true)} rows of {where}"
        try:
            values = judge.numbers(self._model, name, y_true, y_pred)
            joined(dict.fromkeys(losses, 0.0), values)
        except HelixbandError:
            raise
        except Exception as error:
            if self._strict or _is_certain(error):
                kept = "; nothing was replaced" if self._strict else ""
                error.add_note(f"{rows}{kept}. --no-data-check leaves the check of the data out")
                self._wrong_metrics.append(Fault(where, error, told=where == TRAINING))
                return
            place = self._place_of(error)
            told = f"{name} raised {type(error).__name__}: {error}, {rows}"
            self._found.notes.append(f"{told}\n  in {place}" if place else told)
            return
        self._names[where] = [*losses, *values]
        if undefined := [metric for metric, value in values.items() if value != value]:
            self._found.notes.append(f"{', '.join(undefined)} of {name}: undefined {rows}")

    def _compare_classes(self, generator: Iterable[Any], y_pred: Any) -> None:
        """Note outputs of which no label is, where all labels are in memory: torch trains them, too."""
        labels = _labels_in_memory(generator)
        if labels is None or np.ndim(y_pred) != 2 or y_pred.shape[1] < 3 or labels.size != len(labels):
            return
        classes, outputs = np.unique(labels).tolist(), y_pred.shape[1]
        if len(classes) < outputs:
            *others, last = [f"{label:g}" for label in classes]
            told = f"{', '.join(others)} and {last}" if others else f"{last} alone"
            if len(others) > 10:
                told = f"{len(classes)} classes, from {others[0]} to {last}"
            self._found.notes.append(
                f"the network has {outputs} outputs, and the labels of {TRAINING} are {told}; it needs one "
                "output for each class"
            )

    def _train_on_one(self, generator: Iterable[Any], batch: Batch, sizes: tuple[int, int]) -> None:
        try:
            rehearsal.train(self._model, map_leaves(lambda leaf: leaf[:1], batch))
        except Exception as error:
            examples, of_a_batch = sizes
            raise DataError(
                f"{type(generator).__name__} has {examples:,} examples in batches of {of_a_batch}, so that "
                f"the last has one, on which training fails ({type(error).__name__}: {error}). Pass "
                "drop_last=True to it, or choose another --batch-size"
            ) from error


def _is_certain(error: Exception) -> bool:
    """Whether more rows do not mend an error of a metric: a few may lack a label, which can be a key."""
    if isinstance(error, KeyError):
        return bool(error.args) and isinstance(error.args[0], str)
    return isinstance(error, NameError | AttributeError | TypeError | ImportError)


def _labels_in_memory(generator: Any) -> NDArray[Any] | None:
    """All labels of a generator of ours, where they are one array and no file is read for them."""
    if not isinstance(generator, BatchGenerator) or not getattr(generator, "in_memory", True):
        return None
    get_labels = getattr(generator, "get_Y", None)
    labels = to_numpy(get_labels()) if get_labels else None
    return labels if isinstance(labels, np.ndarray) else None


Form = tuple[tuple[tuple[int, ...], str], ...]


def _form(nested: Any) -> Form:
    """The shapes, but for rows, and types of a batch."""
    return tuple(
        (tuple(np.shape(leaf)[1:]), str(getattr(leaf, "dtype", type(leaf)))) for leaf in leaves(nested)
    )
