"""One trial: a configuration of a definition, trained in its own directory with its own seed."""

import gc
import math
import traceback
from argparse import Namespace
from dataclasses import dataclass

import torch

from base_model import BaseModel
from helixband.definition import Definition
from helixband.errors import HelixbandError, StorageError
from helixband.randomness import derive_seed, seed_everything
from helixband.results.directory import Results, Row, Superseded, Trial
from helixband.search.executors.task import Document, OnEpoch, Outcome, Task
from helixband.training.configuration import from_json
from helixband.training.tensorboard import TensorBoardLog

# What torch raises as a plain RuntimeError where memory is short: on the CPU, and in CUDA's own libraries.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


@dataclass(frozen=True)
class Trainer:
    """Trains configurations of a definition under the command line's settings."""

    definition: Definition
    results: Results
    args: Namespace

    def new_model(self, name: str, config: Document) -> BaseModel:
        """The model of a trial as it is before training, its random numbers set."""
        seed_everything(self._seed(name))
        return self.definition.new_model(from_json(config), self.args)

    def train(
        self, name: str, config: Document, epochs: int, on_epoch: OnEpoch, floors: tuple[float, ...] = ()
    ) -> BaseModel:
        """The model of a trial after `epochs` epochs, those found in its directory included.

        Below its floor (see `Task`) it ends earlier, with the weights of its last epoch.
        """
        trial = self.results.trial(name)
        trial.begin_attempt()
        return self._train(trial, Task(name, config, epochs, floors), on_epoch)

    def attempt(self, task: Task, on_epoch: OnEpoch) -> Outcome:
        """As `train`, but whatever goes wrong with the trial is its outcome, with a traceback in error.txt.

        Only `StorageError` is passed on, which concerns every trial, and `Superseded`, which concerns none.
        """
        trial = self.results.trial(task.name)
        trial.begin_attempt()
        try:
            model = self._train(trial, task, on_epoch)
        except (StorageError, Superseded):
            raise
        except (Exception, SystemExit) as error:
            account, short = self._account(error), f"{type(error).__name__}: {error}"
            out_of_memory = _is_out_of_memory(error)
        else:
            if math.isfinite(model.best_reward):
                trial.clear_error()
                return Outcome(model.best_reward, model.best_epoch, model.epoch)
            short = f"the reward was {model.history[-1]['reward']}, and finite in no epoch of {model.epoch}"
            account, out_of_memory = f"{short}\n", False
        if out_of_memory:  # here and not above, where the traceback still holds the model
            gc.collect()
            torch.cuda.empty_cache()
        trial.write_error(account)
        return Outcome(-math.inf, 0, trial.epochs(), short, out_of_memory)

    def _train(self, trial: Trial, task: Task, on_epoch: OnEpoch) -> BaseModel:
        train, val = self.definition.training_data(self.args.data, self.args.batch_size)
        trial.write_config(task.config)
        model, seed = self.new_model(task.name, task.config), self._seed(task.name)
        if task.floors:
            # Only takes up what is there: a trial that was stopped and then lost its report stops here again.
            model.fit(train, val, 0, trial, seed)
            if task.is_hopeless(model.epoch, model.best_reward):
                return model
        with TensorBoardLog(self.results.logs(trial)) as log:

            def report(row: Row) -> None:
                log.add(row)
                on_epoch(row)
                if task.is_hopeless(model.epoch, model.best_reward):
                    raise _Hopeless

            try:
                model.fit(train, val, task.epochs, trial, seed, report)
            except _Hopeless:
                pass  # its state was kept on the way out
        return model

    def _seed(self, name: str) -> int:
        return derive_seed(self.args.seed, "trial", name)

    def _account(self, error: BaseException) -> str:
        if isinstance(error, HelixbandError):
            return f"{self.definition.explain(error)}\n"
        return self.definition.traceback_of(error) or "".join(traceback.format_exception(error))


class _Hopeless(Exception):
    """Ends a training whose reward is below its floor."""


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
