"""The trained model that is there: of which trial, what it depends on, and that it is missing."""

import functools
import os
from typing import Any

from base_model import BaseModel
from helixband.errors import UsageError
from helixband.files import exists
from helixband.results import checkpoints
from helixband.results.digests import file_digest
from helixband.results.directory import SINGLE, Results, Trial
from helixband.run.context import Context, Stage
from helixband.search.executors.trial import Trainer
from helixband.training.start import WEIGHTS


class Trained(Stage):
    """The best model of a result directory."""

    def __init__(self, context: Context, trainer: Trainer) -> None:
        super().__init__(context)
        self.trainer = trainer

    def trial(self) -> Trial:
        """The trial whose weights are used; raises `UsageError` where there is none, or they are missing."""
        trial = self.results.best_trial()
        if trial is None:
            raise none_trained(self.results)
        check_weights(self.results, trial)
        self.results.config_of(trial)  # which is told where it is another than the recorded one
        return trial

    def tell(self) -> None:
        """Which model is there, where nothing is trained."""
        if (start := self.run_file.start) is not None and start["flag"] == WEIGHTS:
            self.progress.say(f"weights: those of {start['file']}, as they are")
            return
        trial = self.trial()
        epochs, wanted = self.epochs, self.run_file.setting("epoch") or 0
        what = f"training: done already, to epoch {epochs}, {trial.path}"
        if trial.ended():
            what += f", where it ended by itself ({trial.ended()})"
        elif trial.id == SINGLE and epochs < wanted:
            what = (
                f"training: {trial.path} was stopped in epoch {epochs} of {wanted}; go on with it by --train"
            )
        if trial.id != SINGLE and not self.results.journal.events()[-1:] == [{"event": "end"}]:
            what = f"training: {trial.path} is the best of an unfinished search; go on with it by --hyper"
        self.progress.say(what)
        if not exists(trial.history_file):
            self.progress.say(
                f"note: {trial.history_file} is missing; put back a copy of it. A training that goes on from "
                "the last checkpoint writes it again"
            )

    @functools.cached_property
    def epochs(self) -> int:
        """How many epochs it has had; where no table says it, the last checkpoint or the best does."""
        trial = self.trial()
        states = (trial.last_checkpoint, trial.best_checkpoint)
        return trial.trained_epochs() or max(
            int(checkpoints.load(file, trial.id)["epoch"]) for file in states if exists(file)
        )

    @functools.cached_property
    def model(self) -> BaseModel:
        """The best model of the result directory."""
        trial = self.trial()
        return self.trainer.trained_model(trial, self.results.config_of(trial) or {})

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """What the outcome of evaluation and prediction depends on."""
        trial = self.trial()
        return {
            "trial": trial.id,
            "epochs": self.epochs,
            "weights": file_digest(trial.best_checkpoint),
            "definition": self.definition.digest,
            "mc_dropout": self.args.mc_dropout,
        }


def no_model(path: str | os.PathLike[str], what: str) -> UsageError:
    """That there is nothing to evaluate or to predict with in a result directory."""
    return UsageError(
        f"there is no trained model in the result directory {path}: {what}. Give the right directory with "
        "--result, or ask for a training: --train trains one configuration, --hyper searches for the best"
    )


def none_trained(results: Results) -> UsageError:
    """`no_model` of a result directory that has no best trial: how far its search or training is."""
    what, epochs = "nothing was trained there", results.trial(SINGLE).trained_epochs()
    if results.journal.events():
        what = "its search has no result yet; go on with it by --hyper"
    elif epochs:
        what = f"its training was stopped in epoch {epochs}; go on with it by --train"
    return no_model(results.path, what)


def check_weights(results: Results, trial: Trial) -> None:
    """Raises `UsageError` where the weights of a trial are missing that would be used."""
    if not exists(trial.best_checkpoint):
        flag, copy = "--train" if trial.id == SINGLE else "--hyper", results.best_link
        way = f"run again with {flag} to train it again, or put back a copy of it"
        if exists(Trial(copy).best_checkpoint) and not copy.is_symlink():
            way = f"the folder {copy} is a copy of the trial and has it: rename it to {trial.path}"
            way += ", in the place of what is there" if exists(trial.path) else ""
        raise UsageError(f"{trial.best_checkpoint} is missing; {way}")
