"""One model in training: its data, how far it is, whose turn it is, and how it ended."""

import math
import time
import warnings
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from helixband.errors import HelixbandWarning, TrainingError
from helixband.generators.base import BatchGenerator
from helixband.generators.coverage import Coverage
from helixband.randomness import set_state
from helixband.results import checkpoints
from helixband.results.directory import Row, Trial
from helixband.training.configuration import Config
from helixband.training.ended import Ended
from helixband.training.engine import Engine, Record
from helixband.training.feed import (
    Fed,
    Place,
    all_finite,
    for_training,
    labelled,
    no_batch,
    to_device,
    trouble_in_data,
)
from helixband.training.gradients import put_gradients
from helixband.training.holdings import Opaque
from helixband.training.iterators import Iterators, iterators_of
from helixband.training.keeper import Keeper
from helixband.training.meters import LabelCheck, Loss, LossMeter, MetricMeter
from helixband.training.objects import is_stateful
from helixband.training.parts.average import renew_batch_norm
from helixband.training.residence import fed, may_change_data
from helixband.training.result import joined
from helixband.training.state import MODEL, TRAIN, VAL, set_epoch, use_best, validation_numbers
from helixband.training.turns import Turn
from helixband.training.way import Way, as_state, ways_in
from helixband.training.weighting import split_of

Batch = tuple[Any, ...]
"""(x, y) on the device, or (x, y, weight)."""


class StepResult(NamedTuple):
    """What a step gave for one member, on the device."""

    loss: Loss
    y_pred: Any
    y_true: Any = None
    """The labels that it was trained on, where these are others than the batch's."""


class Model(Protocol):
    """What a model is to its training; `BaseModel` is one."""

    args: Namespace
    config: Config
    device: torch.device
    network: nn.Module
    criterion: Any
    optimizer: Optimizer | None
    scheduler: LRScheduler | Sequence[LRScheduler] | None
    engine: Engine

    def train_step(self, x: Any, y: Any) -> tuple[Any, Any]: ...

    def evaluate(self, generator: Iterable[Any]) -> dict[str, float]: ...

    def get_hyperband_reward(self, result: Any) -> Any: ...

    def check_labels(self, y_true: Any) -> None: ...


@dataclass(eq=False)
class Member:
    """A model that is to be trained until it has had `epochs` epochs, those of its record included.

    With a `trial`, its states are kept in the trial's directory, and a training that is found there goes on.
    `seed` orders the epochs of `train`. `limit` is the number of batches of an epoch, if not all. `on_epoch`
    gets each row.
    """

    model: Model
    train: Iterable[Any]
    val: Iterable[Any]
    epochs: int
    trial: Trial | None = None
    seed: int = 0
    limit: int | None = None
    metrics: Callable[[], MetricMeter] | None = None
    on_epoch: Callable[[Row], None] | None = None
    goes_on: bool = True
    """Whether a training that is stopped can be continued, as none of --debug is."""
    total_epochs: int | None = None
    """Of the whole training, if `epochs` are a part of it."""

    ended: Ended | None = None
    """None while it goes on."""
    error: BaseException | None = None
    """What it failed with."""

    def __post_init__(self) -> None:
        self.turn = Turn(self)
        self.keeper = Keeper(self.trial, self.model.args.keep_checkpoints)
        self._averaged: dict[str, Any] | None = None
        if (average := self.model.engine.average) is not None:
            average.total_epochs = self.total_epochs or self.epochs
        self._epoch = _Epoch()
        check = self.model.check_labels if self.model.engine.checks_labels else None
        self._new_labels = None if check is None else LabelCheck(check)
        """Of the first epoch: afterwards all labels have been seen."""
        self._has_own_data = True
        """Whether code of a definition makes the data of the epoch under way."""
        self._iterators = Iterators()
        self._coverage = self._coverage_of_train()

    def _opaque(self) -> list[Opaque]:
        """The iterators and files that training and validation hold."""
        return [*self.model.engine.state.opaque, *iterators_of(VAL, self.val)]

    def _coverage_of_train(self) -> Coverage | None:
        if not isinstance(self.train, BatchGenerator):
            return None
        return self.train.coverage(self.seed, self.limit, self.model.engine.options.epoch_steps)

    def columns_of_data(self) -> list[str]:
        """The columns that an epoch's row has because of what the training data are."""
        return [] if self._coverage is None else ["coverage"]

    def covered(self) -> dict[str, float]:
        """The column of the share of a genome that the epochs up to the one under way have had, if any."""
        return {} if self._coverage is None else {"coverage": self._coverage.after(self.record.epoch + 1)}

    @property
    def record(self) -> Record:
        """How far the model is."""
        return self.model.engine.record

    def begin(self) -> None:
        """Go on from the last state, in memory or of the trial, where there is one."""
        with self.turn:
            record, trial = self.record, self.trial
            self.model.engine.state.begin(self.model, self.train)
            self._iterators.look(self._opaque())
            if record.last is None and trial is not None and trial.is_resumable:
                record.last = checkpoints.load(trial.last_checkpoint, trial.id)
                record.best = checkpoints.load(trial.best_checkpoint, trial.id)
                # Of the two files the best is written first, so it can be ahead of the last, never behind.
                record.best_epoch, record.best_reward = record.best["epoch"], record.best["reward"]
            if (shared := self.model.engine.shared) is not None:
                found = shared.same((record.last, record.best_epoch, record.best_reward))
                record.last, record.best_epoch, record.best_reward = found
            if record.last is not None:
                where = f"the last state of trial {trial.id}" if trial else "the last state"
                self.model.engine.state.restore(self.model, record.last, self.train, where)
                set_state(record.last["random"])
                record.epoch, record.steps = record.last["epoch"], record.last["steps"]
                record.history = list(record.last["history"])
                record.seconds = list(record.last.get("seconds", [math.nan] * record.epoch))
                record.ways = ways_in(record.last)
                if "gradients" in record.last:
                    has_all = shared is None or shared.is_first
                    put_gradients(self.model, record.last["gradients"] if has_all else {})
                    self.model.engine.update.waits = record.last.get("waits", False)
                self.keeper.go_on(record.last)
            if shared is not None:
                shared.begin()
            self.end_if_done()

    def begin_epoch(self) -> None:
        """Set the order of the epoch."""
        with self.turn:
            set_epoch(self.train, self.seed, self.record.epoch)
            self.model.engine.modes.train()  # for what comes before the first step, or computes without one
            self._has_own_data = not (isinstance(self.train, BatchGenerator) and self.train.is_made_alone())
            self.model.engine.begin_epoch()
            skips, waits = self.model.engine.options.nan == "skip", self.model.engine.shared is not None
            metrics = self.metrics() if self.metrics is not None else None
            keeps = metrics is not None or self._new_labels is not None
            how = self.limit, split_of(self.model), self._place, keeps
            stays = not may_change_data(type(self.model))
            batches = (
                for_training(self.train, *how) if waits else fed(self.train, self.model.device, *how, stays)
            )
            losses = LossMeter(looks=not skips, skips=skips, waits=waits)
            self._epoch = _Epoch(batches, metrics, self._new_labels, losses, draws=self.is_read_by_code)

    @property
    def is_read_by_code(self) -> bool:
        """Whether code of a definition reads batches, which may draw from the global generators."""
        engine = self.model.engine
        own_check = engine.own_check or any(
            "check_labels" in getattr(each, "__dict__", ()) for each in (self.model, self.model.criterion)
        )
        return self._has_own_data or (self._new_labels is not None and own_check) or engine.own_split

    @property
    def _place(self) -> Place:
        """Where an epoch of a stream begins; None where an epoch is all of the set."""
        steps = self.model.engine.options.epoch_steps
        return None if steps is None else (self.seed, steps * self.record.epoch)

    def _labelled(self) -> Iterator[tuple[Any, ...]]:
        """The batches of the epoch under way."""
        return labelled(self.train, self.limit, split_of(self.model), self._place)

    def elapsed(self) -> float:
        """Seconds since the epoch began."""
        return time.monotonic() - self._epoch.began

    def next_batch(self) -> Batch | None:
        """The next batch of the epoch, on the device; None after the last one, and where it failed."""
        batch: Batch | None = None
        epoch = self._epoch
        with self.turn if epoch.draws else self.turn.without_numbers:
            if epoch.losses.is_lost:
                raise TrainingError(self._trouble(epoch.losses))
            found, shared = next(epoch.batches, None), self.model.engine.shared
            if shared is not None:
                found = shared.next_rows(found)
            if found is not None:
                device = self.model.device
                epoch.y_true.append(found.kept)
                if epoch.labels is not None:
                    epoch.labels.add(found.kept)
                if found.is_there:
                    return found.x, found.y
                batch = to_device(found.x, device), to_device(found.y, device)
                if found.weight is not None:
                    batch += (to_device(found.weight, device),)
        return batch

    def take(self, result: StepResult) -> None:
        """Add what the step on the next of the batches that were read gave."""
        self._epoch.losses.add(result.loss)
        y_true = self._epoch.y_true.popleft()
        if self._epoch.metrics is not None:
            y_true = y_true if result.y_true is None else result.y_true
            self._epoch.metrics.add(y_true, result.y_pred)

    def trained(self) -> dict[str, float]:
        """What the epoch's steps gave: train_loss, and the means of the batches' metrics as train_<name>.

        Raises `TrainingError` where the loss is not finite, and `DataError` where there was no batch or where
        the model is not made for the labels.
        """
        epoch = self._epoch
        if not len(epoch.losses):
            raise no_batch(self.train)
        if epoch.labels is not None:
            epoch.labels.finish()
            if self._place is None:
                self._new_labels = None
        loss = epoch.losses.total()
        if not math.isfinite(loss):
            raise TrainingError(self._trouble(epoch.losses))
        means = joined(epoch.losses.parts(), epoch.metrics.means() if epoch.metrics is not None else {})
        self._epoch = _Epoch(began=epoch.began)  # its tensors are not needed in the validation
        return {f"train_{name}": value for name, value in {"loss": loss, **means}.items()}

    @contextmanager
    def weights_to_use(self) -> Iterator[None]:
        """The model has the weights with which it is validated and used: averages, where it has some.

        What evaluation depends on is then kept, for the best state.
        """
        engine, average = self.model.engine, self.model.engine.average
        if average is None:
            yield
            return
        average.end_epoch()
        with average.in_use():
            if average.begun and average.renews_batch_norm:
                self._renew_batch_norm()
            yield
            self._averaged = engine.state.weights(self.model)

    def _renew_batch_norm(self) -> None:
        """Compute the statistics of the network's BatchNorm anew, by a pass over the training data."""
        train: Any = self.train
        state = train.state_dict() if is_stateful(train) else None
        with validation_numbers(self.train, self.seed, self.record.epoch, TRAIN):
            skips, shared = self.model.engine.options.nan == "skip", self.model.engine.shared
            batches = (Fed(*batch) for batch in self._labelled() if not skips or all_finite(batch[0]))
            if shared is not None and shared.synchronises:
                batches = (shared.rows(batch) for batch in batches)
            renew_batch_norm(self.model, (to_device(batch.x, self.model.device) for batch in batches))
        if state is not None:
            train.load_state_dict(state)

    def keep(self, row: Row, seconds: float, way: Way, state: dict[str, Any]) -> None:
        """Take an epoch's row, in which way its steps were computed, and the state after it."""
        if self.trial is not None and self.goes_on:
            self._iterators.check(self._opaque(), used=(*MODEL, TRAIN, VAL))
        record, reward = self.record, row["reward"]
        record.history.append(row)
        record.seconds.append(seconds)
        record.ways.append(way)
        counts = {"epoch": record.epoch, "steps": record.steps, "history": list(record.history)}
        record.last = {**counts, "seconds": list(record.seconds), **as_state(record.ways), **state}
        is_best = reward > record.best_reward or record.best_epoch == 0
        if is_best:
            record.best_epoch = record.epoch
            record.best_reward = -math.inf if math.isnan(reward) else reward
            weights = self._averaged or self.model.engine.state.weights_in(self.model, state)
            record.best = record.weights(weights)
        self._averaged = None
        self.keeper.keep(record.last, record.best if is_best else None)

    def end_if_done(self) -> None:
        """End where it has had its epochs, has ended by itself, or where its epochs leave no hope."""
        epoch, is_hopeless = self.record.epoch, self.model.engine.is_hopeless
        patience = self.model.engine.patience
        # Only of the epochs that are asked for: it may have been trained further before.
        if patience is not None and patience.is_over(self.record.history[: self.epochs]):
            self._complete(Ended.PATIENCE)
        elif epoch >= self.epochs:
            self.ended = Ended.EPOCHS
        elif self.record.last is not None and self.record.last.get("ended") == Ended.NAN:
            self.ended = Ended.NAN
        elif is_hopeless is not None and is_hopeless(epoch, self.record.best_reward):
            self.ended = Ended.HOPELESS

    def fail(self, error: BaseException) -> None:
        """End by an error, or where the loss is not finite, as the options say."""
        self._epoch = _Epoch()  # which closes the user's generator
        self.ended, options = Ended.by(error), self.model.engine.options
        if self.ended is Ended.NAN and options.nan == "stop" and self.record.best_epoch:
            warnings.warn(f"{error}; the training stops with its best epoch", HelixbandWarning, stacklevel=2)
            self._complete(Ended.NAN)
        else:
            self.error = error

    def _complete(self, ended: Ended) -> None:
        """End by itself, which its state says from now on."""
        self.ended, last = ended, self.record.last
        if last is not None and last.get("ended") != ended:
            self.record.last = {**last, "ended": str(ended)}
            self.keeper.end(self.record.last)

    def end(self) -> None:
        """Give the model its best weights, where it has had all its epochs or ended by itself."""
        with self.turn:
            is_over = self.ended in (Ended.EPOCHS, Ended.PATIENCE, Ended.NAN) and self.error is None
            if is_over and self.record.best is not None:
                use_best(self.model, self.record.best)
        self.record.ended = self.ended

    def _trouble(self, losses: LossMeter) -> str:
        """Why the loss of an epoch is not finite."""
        found = losses.first_not_finite()
        if found is None:
            what = "all batches are empty, or all labels missing or ignored, or all weights 0"
            return f"no example counts for the loss: {what}"
        batch, value = found
        where = f"the loss is {value} from batch {batch} of the epoch on (batches from 0)"
        split = split_of(self.model)
        return f"{where}; {trouble_in_data(self.train, self.limit, split, self._place)}"

    def raise_error(self) -> None:
        """Raise what it failed with, if it did."""
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds the model, and this frame


@dataclass(eq=False)
class _Epoch:
    """The batches of an epoch under way, and what the steps on them gave."""

    batches: Iterator[Fed] = field(default_factory=lambda: iter(()))
    metrics: MetricMeter | None = None
    labels: LabelCheck | None = None
    losses: LossMeter = field(default_factory=LossMeter)
    y_true: deque[Any] = field(default_factory=deque)
    """The labels, on the host, of the batches that were read and not trained on."""
    began: float = field(default_factory=time.monotonic)
    draws: bool = True
    """Whether reading its batches may draw from the global generators."""
