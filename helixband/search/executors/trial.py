"""One trial: a configuration of a definition, trained in its own directory with its own seed."""

import contextlib
import gc
import math
import os
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch

from base_model import BaseModel
from helixband.definition import Definition
from helixband.definition.contract import kind_of
from helixband.definition.lasting import left_for_others
from helixband.env import without_credentials
from helixband.errors import DefinitionError, HelixbandError, ResultsMismatch, StorageError, UsageError
from helixband.hparams import Hparams
from helixband.hparams.groups import Training
from helixband.randomness import derive_seed, seed_everything
from helixband.results.attempt import Superseded
from helixband.results.best import best_state
from helixband.results.directory import Results, Row, Trial
from helixband.results.pictures import Picture
from helixband.search.executors.task import Document, Outcome, Report, Task
from helixband.training import pictures
from helixband.training.configuration import from_json
from helixband.training.ended import Ended
from helixband.training.feed import number_of_batches
from helixband.training.options import TrainingOptions
from helixband.training.processes import Processes
from helixband.training.start import Start
from helixband.training.tensorboard import TensorBoardLog

OF_A_WHOLE = (
    ". Without --hyper, --set and --config give the whole configuration: add --set {}=…, and whatever else "
    "the model reads"
)
"""What to do about a hyperparameter that a fixed configuration lacks."""
NOT_DECLARED = ". The definition's class hparams declares what there is: add {} to it"
# What torch raises as a plain RuntimeError where memory is short: on the CPU, and in CUDA's own libraries.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")

Trained = tuple[BaseModel, Ended]
"""A model after its training, and how that ended."""


@dataclass(frozen=True)
class Part:
    """What a process has to know to take part in the training of a trial to so many epochs.

    `plan` is that which the trial was begun with, if it was.
    """

    name: str
    config: Document
    epochs: int
    plan: Document | None

    @classmethod
    def of(cls, trial: Trial, config: Document, epochs: int) -> "Part":
        """That of a training which begins, or goes on."""
        return cls(trial.id, config, epochs, trial.plan() if trial.is_resumable else None)


class Companions(Protocol):
    """What gives a training other processes of this machine; see `companions.py`."""

    def of(
        self, trainer: "Trainer", part: Part, count: int, device: str, environment: Mapping[str, str]
    ) -> contextlib.AbstractContextManager[Processes]: ...


@dataclass(frozen=True)
class Trainer:
    """Trains configurations of a definition under the command line's settings."""

    definition: Definition
    results: Results
    args: Namespace
    start: Start | None = None
    """The weights of a file that new trials begin with."""
    companions: Companions | None = None

    def new_model(self, trial: Trial, config: Document, train: Iterable[Any] | None = None) -> BaseModel:
        """The model of a trial as it is before training, its random numbers set.

        With the training generator it knows how many steps there will be, and with or without it those of the
        plan that the trial was begun with. Raises `ResultsMismatch` where that was of fewer epochs than now.
        """
        plan = trial.plan()
        is_new = plan is None or (train is not None and not trial.is_resumable)
        if is_new:
            plan = self.plan(train)
        assert plan is not None
        if train is not None and not is_new:
            self.check_plan(trial)
        model = self._model(trial.id, config, plan)
        if is_new and train is not None and model.engine.asked_total:
            if trial.is_resumable:
                raise StorageError(
                    f"{trial.plan_file} is missing, which the schedule of trial {trial.id} depends on; put "
                    "back a copy of it, or delete the trial's folder checkpoints/ to train it anew"
                )
            trial.write_plan(plan)
        if self.start is not None and train is not None and not trial.is_resumable:
            trial.write_start(self.start.put_into(model.network).document())
        return model

    def trained_model(self, trial: Trial, config: Document) -> BaseModel:
        """The model of a trial with its best weights; raises `StorageError` where they are of another."""
        model = self.new_model(trial, config)
        model.engine.state.use(model, best_state(self.results, trial), str(trial.best_checkpoint))
        return model

    def check_plan(self, trial: Trial) -> None:
        """Raise `ResultsMismatch` where a trial's schedule is of fewer epochs than it would get now."""
        plan = trial.plan()
        if plan is not None and self._epochs > plan["epochs"]:
            raise ResultsMismatch(
                f"trial {trial.id} was begun with --epoch {plan['epochs']}, and its schedule depends on the "
                f"total of its steps. It cannot go on to epoch {self._epochs}: "
                f"give --epoch {plan['epochs']}, or another directory with --result"
            )

    def passing_model(self, config: Document, train: Iterable[Any] | None = None) -> BaseModel:
        """A model that belongs to no trial, to be thrown away; nothing is written."""
        model = self._model("", config, self.plan(train))
        if self.start is not None and train is not None:
            self.start.put_into(model.network)
        return model

    def plan(self, train: Iterable[Any] | None) -> dict[str, Any]:
        """The epochs and the steps of an epoch of a training that begins."""
        steps = 1 if train is None else number_of_batches(train)
        return {"epochs": self._epochs, "steps_per_epoch": steps}

    def _model(self, name: str, config: Document, plan: dict[str, Any]) -> BaseModel:
        return make_model(self.definition, self.args, name, config, plan)

    @property
    def _epochs(self) -> int:
        """The epochs of a whole training; a rung of a search has fewer."""
        return int(getattr(self.args, "epoch", None) or 1)

    def train(
        self, name: str, config: Document, epochs: int, on_epoch: Report, floors: tuple[float, ...] = ()
    ) -> BaseModel:
        """The model of a trial after `epochs` epochs, those found in its directory included.

        Below its floor (see `Task`) it ends earlier, with the weights of its last epoch.
        """
        trial = self.results.trial(name)
        trial.begin_attempt()
        return self._train(trial, Task(name, config, epochs, floors), on_epoch)[0]

    def take_part(self, part: Part) -> None:
        """Train with the process that called `train` so; nothing is written here."""
        train, val = self.definition.training_data(self.args.data, self.args.batch_size)
        model = self._model(part.name, part.config, part.plan or self.plan(train))
        model.fit(train, val, part.epochs, seed=self._seed(part.name))

    def attempt(self, task: Task, on_epoch: Report) -> Outcome:
        """As `train`, but whatever goes wrong with the trial is its outcome, with a traceback in error.txt.

        `StorageError` and `ResultsMismatch` are passed on, which concern every trial, and `Superseded`, which
        concerns none.
        """
        return self.carry_out(task, self.trial_of(task), on_epoch)

    def carry_out(self, task: Task, trial: Trial, on_epoch: Report) -> Outcome:
        """As `attempt`, of a trial that `trial_of` gave."""
        return self.concluded(task, trial, lambda: self._train(trial, task, on_epoch))

    def concluded(self, task: Task, trial: Trial, train: Callable[[], Trained]) -> Outcome:
        """What becomes of a trial by its training, which `train` does, or has done elsewhere."""
        outcome, account = self._outcome(trial, task, train)
        if outcome.out_of_memory:  # here, where nothing holds the model any more
            gc.collect()
            torch.cuda.empty_cache()
        if account:
            trial.write_error(account)
        else:
            trial.clear_error()
        return outcome

    def trial_of(self, task: Task) -> Trial:
        """The trial of a task, to be written in its attempt; raises `Superseded` where that is over."""
        trial = self.results.trial(task.name)
        if task.attempt is None:
            trial.begin_attempt()
        else:
            trial.join_attempt(task.attempt)
        return trial

    def _outcome(self, trial: Trial, task: Task, train: Callable[[], Trained]) -> tuple[Outcome, str]:
        """What comes of a trial, and the account of what went wrong, if anything did."""
        try:
            model, ended = train()
        except (StorageError, ResultsMismatch, Superseded):
            raise
        except (Exception, SystemExit) as error:
            short = without_credentials(f"{type(error).__name__}: {error}")
            reason = is_out_of_memory(error), Ended.by(error), without_credentials(self._place(error))
            return Outcome(-math.inf, 0, trial.epochs(), short, *reason), without_credentials(
                self._account(error)
            )
        reward, best_epoch, epochs = model.best_reward, model.best_epoch, model.epoch
        if epochs > task.epochs and len(model.history) == epochs:
            # It was trained further, to the end of the search or before the journal lost its last lines.
            epochs = task.epochs
            reward, best_epoch = best_of([row["reward"] for row in model.history[:epochs]])
        if math.isfinite(reward):
            return Outcome(reward, best_epoch, epochs, ended=ended), ""
        rows = model.history[:epochs]
        short = f"the reward was {rows[-1]['reward']}, and finite in no epoch of {epochs}"
        if any(math.isfinite(row["reward"]) for row in rows):
            short = f"the reward of epoch {best_epoch} was {reward}; it has to be finite, to be compared"
        return Outcome(-math.inf, 0, trial.epochs(), short, ended=Ended.NAN), f"{short}\n"

    def _train(self, trial: Trial, task: Task, on_epoch: Report) -> Trained:
        with self.ready(task, trial, on_epoch) as (model, given):
            model.fit(*given)
        # A definition's own fit may train by other means, which then had all their epochs.
        return model, model.engine.record.ended or Ended.EPOCHS

    @contextlib.contextmanager
    def ready(
        self, task: Task, trial: Trial, on_epoch: Report
    ) -> Iterator[tuple[BaseModel, tuple[Any, ...]]]:
        """A new model for a task, and the arguments of its `fit`; its logs are open until the end."""
        train, val = self.definition.training_data(self.args.data, self.args.batch_size)
        trial.write_config(task.config)
        model, seed = self.new_model(trial, task.config, train), self._seed(task.name)
        with (
            left_for_others(train),
            TensorBoardLog(self.results.logs(trial), trial.writing) as log,
        ):

            def report(row: Row) -> None:
                took = model.engine.record.seconds[-1:]  # none of a definition's own training
                row = row | {"seconds": took[0]} if took else row
                log.add(row)
                on_epoch(task.name, row)

            model.engine.is_hopeless = task.is_hopeless
            if model.engine.foreign is not None and self.companions is not None:
                part = Part.of(trial, task.config, task.epochs)
                model.engine.foreign.companions = partial(self.companions.of, self, part)
            yield model, (train, val, task.epochs, trial, seed, report)
            if log.is_open:
                log.show(_pictures(model, val), model.epoch)

    def _seed(self, name: str) -> int:
        return derive_seed(self.args.seed, "trial", name)

    def _place(self, error: BaseException) -> str:
        """Where in the definition an error was raised, or nothing."""
        place = self.definition.place_of(error) or ""
        return place.removeprefix(f"{self.definition.path.parent}{os.sep}")

    def _account(self, error: BaseException) -> str:
        if isinstance(error, HelixbandError):
            return f"{self.definition.explain(error)}\n"
        return self.definition.traceback_of(error) or "".join(traceback.format_exception(error))


def _pictures(model: BaseModel, val: Iterable[Any]) -> dict[str, Picture]:
    """What is drawn of the validation set; a model that a definition evaluates itself has only its own."""
    is_ours = type(model).fit is BaseModel.fit and type(model).evaluate is BaseModel.evaluate
    of_whole = pictures.of_outcomes(model, val, kind_of(model)) if is_ours else {}
    return of_whole | pictures.of_set(model, val)


def make_model(
    definition: Definition, args: Namespace, name: str, config: Document, plan: dict[str, Any]
) -> BaseModel:
    """A definition's model of a configuration, untrained, with the random numbers of the trial `name`.

    `plan`: as `Trainer.plan` gives it, or as the trial was begun with.
    """
    known = {"total_epochs": plan["epochs"], "steps_per_epoch": plan["steps_per_epoch"]}
    seed_everything(derive_seed(args.seed, "trial", name))
    flags, kind = vars(args), definition.hparams
    if kind is not None:
        made = from_json(_declared(kind, config), NOT_DECLARED, kind)
    else:
        is_given = not flags.get("hyper") and (flags.get("set") or flags.get("config"))
        made = from_json(config, OF_A_WHOLE if is_given else "")
    model = definition.new_model(made, Namespace(**{**flags, **known}))
    if kind is not None and issubclass(kind, Training):
        _check_options(kind(made), model, flags.get("training") or {})
    return model


def _declared(kind: type[Hparams], config: Document) -> Document:
    """A configuration with all values; raises `DefinitionError` for one that the class does not take."""
    try:
        return kind(config).to_json()
    except UsageError as error:
        told = f"the configuration {config} does not fit the definition's hparams: {error}"
        raise DefinitionError(told) from error


def _check_options(hparams: Training, model: BaseModel, given: Mapping[str, Any]) -> None:
    """Raise `DefinitionError` where an option among the hyperparameters is not the model's.

    `given` are those of --with, which go before.
    """
    wanted = TrainingOptions.from_hparams(hparams).described()
    has = model.engine.options.described()
    for name in wanted.keys() - given.keys():
        if has.get(name) != wanted[name]:
            raise DefinitionError(
                f"the hyperparameter {name} is {wanted[name]}, and the model is trained with "
                f"{has.get(name, 'the default')}: give training=TrainingOptions.from_hparams(self.hparams) "
                "to super().init_model"
            )


def best_of(rewards: Sequence[float]) -> tuple[float, int]:
    """The highest of the rewards of a trial's epochs, NaN where undefined, and its epoch, the first of these.

    >>> best_of([0.1, math.nan, 0.4, 0.4])
    (0.4, 3)
    """
    numbers = [-math.inf if math.isnan(reward) else reward for reward in rewards]
    best = max(numbers)
    return best, numbers.index(best) + 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on the host or on a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
