"""What is checked before any work: everything that the flags need."""

import os
from argparse import Namespace
from typing import Any

from base_model import BaseModel
from helixband.definition.classes import lightning_module
from helixband.env import number_of_processes
from helixband.errors import DefinitionError, ResultsMismatch, UsageError, counted
from helixband.files import exists
from helixband.results.directory import SINGLE, Trial
from helixband.run.batch_size import check_auto
from helixband.run.context import Context, Stage
from helixband.run.hyperparameters import agrees, completed_tries, part_of, unheard, values_given
from helixband.run.prediction import Prediction
from helixband.run.trained import check_weights, none_trained
from helixband.search.executors.workers import check_workers
from helixband.search.given import check_tries, distinct, read_tries, sample
from helixband.search.samplers.random import draw
from helixband.search.schedules import one_round
from helixband.search.space import configurations


def asks_for_training(args: Namespace) -> bool:
    """Whether a command line, its defaults not yet filled in, asks for training.

    A prediction by a model that is missing would else be one by a model that nobody asked for.
    """
    if args.weights is not None:  # these have a configuration, too
        return bool(args.train or args.hyper or args.epoch)
    asked = args.train or args.hyper or args.epoch or args.config or args.set or args.hparams or args.debug
    return bool(asked) or not (args.eval or args.predict or args.check)


class Checks(Stage):
    """The flags, the data directory, the definition and the results, held against each other.

    `fixed` is the configuration of --config and --set, or None. With `hparams` it may be a part of one.
    """

    def __init__(self, context: Context, prediction: Prediction) -> None:
        super().__init__(context)
        self.prediction = prediction
        values = values_given(self.args, self.definition)
        self.fixed = None if self.args.hyper else values
        given = {"set": values, "with": self.args.training} if self.args.hyper else {}
        self.given: dict[str, Any] = {name: value for name, value in given.items() if value}
        self.notes = unheard(self.args, self.definition)

    def run(self) -> None:
        """All checks in turn; raises `HelixbandError` where something is not as it should be."""
        if self.args.hyper and self.args.config:
            raise UsageError(
                "--hyper samples configurations, --config fixes one: give one or the other; with --hyper, "
                "--set fixes single hyperparameters, and --try has configurations to begin with"
            )
        if self.args.hyper or self.args.eval or self.args.predict:
            check_workers(self.args)
        self._check_model()
        self._check_data_directory()
        self.definition.check(self._needed())
        self.run_file.check(self.definition, self.args.force)
        self._check_fixed()
        self._check_batch_size()
        self._check_processes()
        if self._draws():
            self._check_draw()
        if self.args.hyper:
            self._check_given()
        self.prediction.find_inputs()

    def to_train(self) -> Trial | None:
        """The trial that has epochs to go without a search: a new one, or the one that would be used.

        Raises `UsageError` where it cannot go on.
        """
        best, epochs = self.results.best_trial(), self.args.epoch
        if not self.args.train or self.args.hyper:
            return None
        if best is None or (best.id == SINGLE and not exists(best.best_checkpoint)):
            return self.results.trial(SINGLE)
        if (
            best.trained_epochs() >= epochs
            or best.ended()
            or (best.id != SINGLE and epochs <= self._searched_epochs())
        ):
            return None
        if best.id != SINGLE and self.results.journal.events()[-1:] != [{"event": "end"}]:
            raise UsageError(
                f"the search in {self.results.path} is not finished: go on with it by --hyper, and then "
                f"train its best configuration to epoch {epochs}"
            )
        check_weights(self.results, best)
        if not exists(best.last_checkpoint):
            raise UsageError(
                f"{best.path} cannot be trained from epoch {best.trained_epochs()} to {epochs}: its last "
                f"checkpoint {best.last_checkpoint} is missing. Leave out --epoch and --train to use its "
                "best weights as they are, or choose another directory with --result"
            )
        return best

    def _searched_epochs(self) -> int:
        """To how many epochs the search trained its best."""
        searches = [event for event in self.results.journal.of_search() if event["event"] == "search"]
        return max((event["max_epochs"] for event in searches), default=0)

    def _needed(self) -> dict[str, str]:
        """The functions of the definition that this run calls, each with what asks for it first."""
        args, needed = self.args, dict[str, str]()
        if args.hyper or self.to_train():
            needed["get_train_generator"] = "--hyper" if args.hyper else "training"
            if self.fixed is None and self.definition.hparams is None:
                needed["get_config"] = "--hyper" if args.hyper else "training without --config or --set"
        if args.eval or args.check:
            flag = "--eval" if args.eval else "--check"
            needed.setdefault("get_train_generator", flag)
            needed["get_test_generator"] = flag
        if args.predict and not self.definition.function("get_pred_generator"):
            needed.setdefault("get_train_generator", "--predict without a get_pred_generator")
        return needed

    def _draws(self) -> bool:
        """Whether this run draws a configuration."""
        has_hparams, trains = self.definition.hparams is not None, bool(self.args.hyper or self.to_train())
        return trains and (has_hparams or self.fixed is None)

    def _check_draw(self) -> None:
        """That configurations can be drawn, and that there is something to search."""
        definition, kind = self.definition, self.definition.hparams
        get_config = definition.function("get_config")
        if self.args.hyper and kind is not None and not kind.space() and get_config is None:
            raise UsageError(
                f"--hyper: no hyperparameter of {definition.path} is searched; give those of class "
                f"{kind.__name__} that are to be tuned a search=[…] or search=Range(…), or write get_config()"
            )
        values = (self.given.get("set") if self.args.hyper else self.fixed) or {}
        whole = configurations(definition, values, self.args.seed, bool(self.args.hyper))
        configs = [draw(whole, 0)]
        if kind is None:
            return
        if self.args.hyper and get_config is not None:
            configs = sample(whole, self.args.seed)  # a value that does not fit may be a rare one
        for config in configs:
            try:
                kind(config)
            except UsageError as error:  # what hyperopt drew
                raise DefinitionError(f"{definition.path}: get_config() drew {config}: {error}") from error

    def _check_given(self) -> None:
        """Values that are fixed, and configurations to begin with: of the space, and no more than trials."""
        args, values = self.args, self.given.get("set", {})
        get_config = configurations(self.definition, values, args.seed, searches=True)
        if (path := vars(args)["try"]) is None:
            return
        tries = completed_tries(path, read_tries(path), self.definition, values)
        check_tries(path, tries, get_config, values, args.seed)
        self.given["try"], notes = distinct(tries)
        self.notes += notes
        one_round_has = sum(
            rungs[0].configurations for rungs in one_round(args.schedule, args.epoch, args.eta)
        )
        trials, count = args.trials or one_round_has, len(self.given["try"])
        if count > trials and not self.results.journal.events():
            raise UsageError(
                f"--try {path}: has {count} configurations, and the search has {counted(trials, 'trial')}; "
                f"give --trials {count} or more"
            )

    def _check_model(self) -> None:
        """What is to be evaluated or predicted with has to be there, where no training is asked for."""
        if self.args.train or self.args.weights is not None or not (self.args.eval or self.args.predict):
            return
        best = self.results.best_trial()
        if best is None:
            raise none_trained(self.results)
        check_weights(self.results, best)

    def _check_batch_size(self) -> None:
        """It is that of a training which goes on, and can be found where it is to be."""
        trial, recorded = self.to_train(), self.run_file.setting("batch_size")
        if trial and trial.is_resumable:
            self.run_file.check_batch_size()
        if trial and trial.is_resumable and recorded not in (None, self.args.batch_size):
            raise ResultsMismatch(
                f"{trial.path} was trained with --batch-size {recorded}, not {self.args.batch_size}; "
                "give the same one, or another directory with --result"
            )
        check_auto(self.args, self.definition, trains=bool(self.args.hyper or trial))

    def _check_processes(self) -> None:
        """Several processes train by Helixband's own `fit` alone."""
        model: Any = getattr(self.definition.module, "Model", None)
        if number_of_processes() > 1 and self.to_train() and getattr(model, "fit", None) is not BaseModel.fit:
            if (name := lightning_module(self.definition.module, self.definition.given)) is not None:
                raise DefinitionError(
                    f"{name} gives a LightningModule, which Lightning's Trainer trains, and the processes of "
                    "torchrun train by Helixband's own steps alone: train without torchrun"
                )
            raise DefinitionError(
                "Model.fit is the definition's own, and several processes train by Helixband's alone: leave "
                "it out, or train without torchrun"
            )

    def _check_data_directory(self) -> None:
        path = self.args.data
        if not os.path.isdir(path):
            what = "is no directory" if os.path.exists(path) else "does not exist"
            raise UsageError(f"the data directory {path!r} {what}; give it with --data")

    def _check_fixed(self) -> None:
        """A model that is there has to have the configuration that is asked for."""
        best = self.results.best_trial() or self.results.trial(SINGLE)
        stored = best.config()
        if not self.run_file.binding or self.fixed is None or stored is None:
            return
        if not agrees(self.definition, stored, self.fixed):
            raise ResultsMismatch(
                f"the model in {best.path} has the configuration "
                f"{part_of(stored, self.fixed, self.definition)}, not {self.fixed}; "
                "choose another directory with --result"
            )
