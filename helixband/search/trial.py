"""One trial: a configuration of a definition, trained in its own directory with its own seed."""

import math
import traceback
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from base_model import BaseModel
from helixband.configuration import from_json
from helixband.definition import Definition
from helixband.errors import HelixbandError, StorageError
from helixband.randomness import derive_seed, seed_everything
from helixband.results import Results, Row
from helixband.training.tensorboard import TensorBoardLog

Document = dict[str, Any]
OnEpoch = Callable[[Row], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: its highest reward and that epoch, or the error it failed with."""

    reward: float
    best_epoch: int
    error: str | None = None


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

    def train(self, name: str, config: Document, epochs: int, on_epoch: OnEpoch) -> BaseModel:
        """The model of a trial after `epochs` epochs, those found in its directory included."""
        train, val = self.definition.training_data(self.args.data, self.args.batch_size)
        trial = self.results.trial(name)
        trial.write_config(config)
        model = self.new_model(name, config)
        with TensorBoardLog(self.results.logs(trial)) as log:

            def report(row: Row) -> None:
                log.add(row)
                on_epoch(row)

            model.fit(train, val, epochs, trial, self._seed(name), report)
        return model

    def attempt(self, name: str, config: Document, epochs: int, on_epoch: OnEpoch) -> Outcome:
        """As `train`, but whatever goes wrong with the trial is its outcome, with a traceback in error.txt.

        Only `StorageError` is passed on, which concerns every trial.
        """
        try:
            model = self.train(name, config, epochs, on_epoch)
        except StorageError:
            raise
        except (Exception, SystemExit) as error:
            self.results.trial(name).write_error(self._account(error))
            return Outcome(-math.inf, 0, f"{type(error).__name__}: {error}")
        if not math.isfinite(model.best_reward):
            text = f"the reward was {model.history[-1]['reward']}, and finite in no epoch of {model.epoch}"
            self.results.trial(name).write_error(text + "\n")
            return Outcome(-math.inf, 0, text)
        return Outcome(model.best_reward, model.best_epoch)

    def _seed(self, name: str) -> int:
        return derive_seed(self.args.seed, "trial", name)

    def _account(self, error: BaseException) -> str:
        if isinstance(error, HelixbandError):
            return f"{self.definition.explain(error)}\n"
        return self.definition.traceback_of(error) or "".join(traceback.format_exception(error))
