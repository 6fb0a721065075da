"""One model in training: its data, how far it is, whose turn it is, and how it ended."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from helixband.errors import StorageError, TrainingError
from helixband.generators.base import BatchGenerator
from helixband.randomness import Stream
from helixband.results import checkpoints
from helixband.results.directory import Row, Superseded, Trial
from helixband.training.configuration import Config
from helixband.training.ended import Ended
from helixband.training.feed import kept, labelled, no_batch, to_device, trouble_in_data
from helixband.training.keeper import Keeper
from helixband.training.meters import Loss, LossMeter, MetricMeter, Metrics
from helixband.training.parts.schedule import Schedules
from helixband.training.state import ModelState, found_in

Batch = tuple[Any, Any]
"""(x, y) on the device."""


class StepResult(NamedTuple):
    """What a step gave for one member, on the device."""

    loss: Loss
    y_pred: Any


class Model(Protocol):
    """What a model is to its training; `BaseModel` is one."""

    config: Config
    device: torch.device

    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]: ...

    def evaluate(self, generator: Iterable[Any]) -> dict[str, float]: ...

    def get_hyperband_reward(self, result: Any) -> Any: ...


@dataclass(eq=False)
class Record:
    """How far a model is trained, and the states from which it goes on or is used."""

    epoch: int = 0
    """Epochs trained."""
    steps: int = 0
    """Optimizer steps taken, over all epochs."""
    history: list[Row] = field(default_factory=list)
    """epoch (from 1), train_*, val_*, reward: one row an epoch."""
    best_epoch: int = 0
    best_reward: float = -math.inf
    last: dict[str, Any] | None = None
    """The content of the last checkpoint, as of the best."""
    best: dict[str, Any] | None = None

    def weights(self, parts: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint of weights has, these being the states of the parts that have some."""
        return {"epoch": self.epoch, "steps": self.steps, "reward": self.best_reward, **parts}


@dataclass(eq=False)
class Member:
    """A model that is to be trained until it has had `epochs` epochs, those of its record included.

    With a `trial`, its states are kept in the trial's directory, and a training that is found there goes on.
    `seed` orders the epochs of `train`. `limit` is the number of batches of an epoch, if not all. `on_epoch`
    gets each row. `is_hopeless(epoch, best_reward)` says whether the training ends early after that epoch.
    """

    model: Model
    record: Record
    state: ModelState
    train: Iterable[Any]
    val: Iterable[Any]
    epochs: int
    trial: Trial | None = None
    seed: int = 0
    limit: int | None = None
    schedules: Schedules | None = None
    scheduler: LRScheduler | None = None
    metrics: Metrics | None = None
    on_epoch: Callable[[Row], None] | None = None
    is_hopeless: Callable[[int, float], bool] | None = None

    ended: Ended | None = None
    """None while it goes on."""
    error: BaseException | None = None
    """What it failed with."""

    def __post_init__(self) -> None:
        self.turn = Turn(self)
        self.keeper = Keeper(self.trial)

    def begin(self) -> None:
        """Go on from the last state, in memory or of the trial, where there is one."""
        with self.turn:
            record, trial = self.record, self.trial
            if record.last is None and trial is not None and trial.last_checkpoint.exists():
                record.last = checkpoints.load(trial.last_checkpoint)
                record.best = checkpoints.load(trial.best_checkpoint)
                # Of the two files the best is written first, so it can be ahead of the last, never behind.
                record.best_epoch, record.best_reward = record.best["epoch"], record.best["reward"]
            if record.last is not None:
                where = f"the last state of trial {trial.id}" if trial else "the last state"
                self.state.restore(record.last, self.train, where)
                record.epoch, record.steps = record.last["epoch"], record.last["steps"]
                record.history = list(record.last["history"])
            self.keeper.go_on(record.history)
            self.end_if_done()

    def begin_epoch(self) -> bool:
        """Set the order of the epoch; whether that went well."""
        with self.turn:
            for generator in found_in(self.train, BatchGenerator):  # it may be within one of the user's
                generator.set_epoch(self.seed, self.record.epoch)
            self._batches: Iterator[Batch] = labelled(self.train, self.limit)
            self._losses = LossMeter()
            self._metrics = MetricMeter(self.metrics) if self.metrics is not None else None
            return True
        return False

    def next_batch(self) -> Batch | None:
        """The next batch of the epoch, on the device; None after the last one, and where it failed."""
        with self.turn:
            if (batch := next(self._batches, None)) is not None:
                x, y = batch
                self._y_true = kept(y) if self._metrics is not None else None
                return to_device(x, self.model.device), to_device(y, self.model.device)
        return None

    def take(self, result: StepResult) -> None:
        """Add what a step on the last batch gave."""
        self._losses.add(result.loss)
        if self._metrics is not None:
            self._metrics.add(self._y_true, result.y_pred)

    def trained(self) -> dict[str, float]:
        """What the epoch's steps gave: train_loss, and the means of the batches' metrics as train_<name>.

        Raises `TrainingError` where the loss is not finite, and `DataError` where there was no batch.
        """
        if self._losses.empty:
            raise no_batch(self.train)
        loss = self._losses.mean()
        if not math.isfinite(loss):
            batch, value = self._losses.first_not_finite()
            raise TrainingError(
                f"the loss is {value} from batch {batch} of the epoch on (batches from 0); "
                + trouble_in_data(self.train, self.limit)
            )
        means = self._metrics.means() if self._metrics is not None else {}
        return {f"train_{name}": value for name, value in {"loss": loss, **means}.items()}

    def keep(self, row: Row, state: dict[str, Any]) -> None:
        """Take an epoch's row, and the state after it, which may be the best."""
        record, reward = self.record, row["reward"]
        record.history.append(row)
        counts = {"epoch": record.epoch, "steps": record.steps, "history": list(record.history)}
        record.last = counts | state
        is_best = reward > record.best_reward or record.best_epoch == 0
        if is_best:
            record.best_epoch = record.epoch
            record.best_reward = -math.inf if math.isnan(reward) else reward
            record.best = record.weights(self.state.weights_in(state))
        self.keeper.keep(record.last, record.best if is_best else None)

    def end_if_done(self) -> None:
        """End where it has had its epochs, or where the ones that it had leave no hope."""
        epoch, best = self.record.epoch, self.record.best_reward
        if epoch >= self.epochs:
            self.ended = Ended.EPOCHS
        elif self.is_hopeless is not None and self.is_hopeless(epoch, best):
            self.ended = Ended.HOPELESS

    def fail(self, error: BaseException) -> None:
        """End by an error."""
        self.ended = Ended.NAN if isinstance(error, TrainingError) else Ended.ERROR
        self.error = error

    def end(self) -> None:
        """Give the model its best weights, where it has had all its epochs."""
        with self.turn:
            if self.ended is Ended.EPOCHS and self.record.best is not None:
                self.state.use(self.record.best, "the best state")

    def raise_error(self) -> None:
        """Raise what it failed with, if it did."""
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds the model, and this frame


class Turn(Stream):
    """A member's turn: the global random numbers are the member's, and an error in it ends this member alone.

    What concerns all members is raised: an interruption, and a result directory that cannot be written.
    """

    def __init__(self, member: Member) -> None:
        super().__init__()
        self._member = member

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        if error is None or isinstance(error, StorageError | Superseded):
            return None
        if isinstance(error, Exception | SystemExit):
            self._member.fail(error)
            return True
        return None
