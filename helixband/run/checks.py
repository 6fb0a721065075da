"""What is checked before any work: everything that the flags need."""

import os

from helixband.errors import ResultsMismatch, UsageError
from helixband.results.directory import SINGLE
from helixband.run.context import Context, Stage
from helixband.run.prediction import Prediction
from helixband.search.executors.workers import check_workers
from helixband.search.samplers.random import draw
from helixband.training.configuration import canonical, read_config

SEARCH_FLAGS = ("trials", "time_budget", "workers", "trials_per_gpu", "cluster")
"""What has no meaning without --hyper."""


class Checks(Stage):
    """The flags, the data directory, the definition and the results, held against each other.

    `fixed` is the configuration of --config and --set, or None.
    """

    def __init__(self, context: Context, prediction: Prediction) -> None:
        super().__init__(context)
        self.prediction = prediction
        given = self.args.config or self.args.set
        self.fixed = read_config(self.args.config, self.args.set) if given else None

    def run(self) -> None:
        """All checks in turn; raises `HelixbandError` where something is not as it should be."""
        self._check_flags()
        self._check_data_directory()
        self.definition.check(self._needed())
        self.run_file.check(self.definition, self.args.force)
        self._check_fixed()
        if "get_config" in self._needed():
            draw(self.definition.module.get_config, 0)
        self.prediction.find_inputs()
        if self.args.force:
            self.run_file.accept(self.definition)

    def to_train(self) -> bool:
        """Whether a single configuration has epochs to go."""
        best = self.results.best_trial()
        return best is None or (best.id == SINGLE and best.resumable_epochs() < self.args.epoch)

    def _needed(self) -> list[str]:
        """The functions of the definition that this run calls."""
        needed = []
        if self.args.hyper or self.to_train():
            needed += ["get_train_generator"] + ["get_config"] * (self.fixed is None)
        if self.args.eval or self.args.check:
            needed += ["get_train_generator", "get_test_generator"]
        if self.args.predict and not self.definition.function("get_pred_generator"):
            needed += ["get_train_generator"]
        return list(dict.fromkeys(needed))

    def _check_flags(self) -> None:
        args = self.args
        if args.hyper and self.fixed is not None:
            raise UsageError(
                "--hyper samples configurations, --config and --set fix one: give one or the other"
            )
        if args.hyper:
            check_workers(args)
        elif given := [flag for flag in SEARCH_FLAGS if getattr(args, flag) is not None]:
            flags = ", ".join(f"--{flag.replace('_', '-')}" for flag in given)
            raise UsageError(f"{flags}: for a search alone; add --hyper, or leave it out")

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
        if canonical(stored) != canonical(self.fixed):  # true is no 1
            raise ResultsMismatch(
                f"the model in {best.path} has the configuration {stored}, not {self.fixed}; "
                "choose another directory with --result"
            )
