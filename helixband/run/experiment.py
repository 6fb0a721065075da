"""The stages of a run, in order: search or train, evaluate, predict. Each is done once."""

import contextlib
import functools
import math
import os
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from base_model import choose_device
from helixband import interruption
from helixband.definition import load_definition
from helixband.display.live import make_progress
from helixband.display.text import show_number
from helixband.errors import ProcessError, UsageError, counted
from helixband.files import absolute, exists, write_whole
from helixband.hparams import Hparams
from helixband.randomness import choose_algorithms, derive_seed, seed_everything
from helixband.results.best import best_state
from helixband.results.directory import SINGLE, Trial
from helixband.results.older import older_results
from helixband.run.batch_size import BatchSize, first_configs
from helixband.run.checks import Checks, asks_for_training
from helixband.run.context import Context, Stage
from helixband.run.data_check import DataCheck, Work
from helixband.run.evaluation import Evaluation
from helixband.run.flags import check_flags, notes_on_algorithms
from helixband.run.following import accompanied, begin, follow, leading
from helixband.run.hyperparameters import single_configuration, unsearched_defaults
from helixband.run.opening import command_of, opened, planned_by
from helixband.run.packing import SLOTS, Packing
from helixband.run.prediction import NAMINGS, Prediction
from helixband.run.replacement import Replacement
from helixband.run.runfile import RunFile
from helixband.run.starting import Starting
from helixband.run.trained import Trained, no_model
from helixband.run.untrained import Untrained
from helixband.run.values import AUTO
from helixband.search.executors.companions import Companions
from helixband.search.executors.early import Early
from helixband.search.executors.trial import Part, Trainer
from helixband.search.executors.workers import ChunkWorkers, make_executor, places
from helixband.search.journal import SearchJournal
from helixband.search.run import FIRST_TRIALS, Search
from helixband.search.samplers.random import draw
from helixband.search.space import configurations, log_scaled_names
from helixband.training.processes import joined
from helixband.training.start import FLAGS

SEARCH_SETTINGS = ("schedule", "eta", "sampler", "seed", "batch_size", "stop_hopeless")
"""What stays the same as long as a search goes on."""


def run(args: Namespace, hyperparameters: Callable[[type[Hparams]], dict[str, str]], early: Early) -> None:
    """What the command line asks for, in the result directory.

    `hyperparameters` gives the texts of the flags that a class of declared hyperparameters has; `early` are
    the processes that come up for a search.

    Raises `HelixbandError` for what the user can mend; with the traceback, where the definition raised.
    """
    with joined() as ours:
        if ours is None:
            _run(args, hyperparameters, early)
        elif ours.rank:
            follow(ours)
        else:
            with leading(ours):
                _run(args, hyperparameters, early)


def _run(args: Namespace, hyperparameters: Callable[[type[Hparams]], dict[str, str]], early: Early) -> None:
    if (planned := planned_by(args)) is None:
        return
    check_flags(args)
    told = begin(args)
    progress = make_progress(args.quiet)
    args.directory = os.getcwd()
    args.data = absolute(args.data)  # whatever folder a definition changes to
    args.config = args.config and absolute(args.config)
    for flag in (*FLAGS, "weights"):
        setattr(args, flag, getattr(args, flag) and absolute(getattr(args, flag)))
    args.names = args.names if args.names in (None, *NAMINGS) else absolute(args.names)
    setattr(args, "try", vars(args)["try"] and absolute(vars(args)["try"]))
    args.train = asks_for_training(args)
    planned.settle(args)
    uses = (args.eval or args.predict) and not (args.train or args.weights)
    if uses and not os.path.isdir(args.result):
        raise no_model(absolute(args.result), "it does not exist")
    with opened(args) as results:
        if args.debug:
            args.epoch = 1
        # A run that failed before its first epoch binds the next one to nothing.
        run_file = RunFile(results, binding=results.has_trained())
        is_auto = args.batch_size == AUTO
        run_file.settle(args)
        is_kept = is_auto and args.batch_size != AUTO
        kept = [f"--batch-size {AUTO}: {args.batch_size:,}, as recorded"] if is_kept else []
        if planned.source is not None:
            args.model = str(results.definition_file)
        definition = load_definition(args.model, args.seed, planned.source)
        definition.arguments = (args.data, args.batch_size)
        run_file.follow(definition)
        if args.hparams and definition.hparams is None:
            definition.check({})  # which tells why
            raise UsageError(f"{definition.path} has no hparams, and so no flags of its own; see --help")
        args.hparams = hyperparameters(definition.hparams) if args.hparams and definition.hparams else {}
        try:
            context = Context(args, definition, results, run_file, progress, planned, early)
            experiment = Experiment(context)
            with progress.shown():
                for line in [*([told] if told else []), *planned.notes, *kept]:
                    progress.say(line)
                try:
                    experiment.run()
                except KeyboardInterrupt:
                    for line in [*progress.summary(), f"go on with: {command_of(args)}"]:
                        progress.say(line)
                    raise
        except ProcessError:
            raise
        except (Exception, SystemExit) as error:
            interruption.check()  # what a worker's end by the same signal would hide
            explained = definition.explain(error)
            if explained is error:
                raise
            raise explained from error


class Experiment(Stage):
    """A definition, its results, and the flags of this run."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.progress.defaults = unsearched_defaults(self.definition)
        self.evaluation = Evaluation(context)
        self.prediction = Prediction(context)
        self.checks = Checks(context, self.prediction)
        self.untrained = Untrained(context)
        self.starting = Starting(context, self.checks.to_train())
        self.checks.fixed = self.untrained.fixed(self.starting.fixed(self.checks.fixed))
        self.checks.run()
        if not context.early.is_empty:
            context.early.place(places(context.args))
        self.trainer = Trainer(
            context.definition, context.results, context.args, self.starting.start, Companions()
        )
        self.trained = Trained(context, self.trainer)
        self._context = context
        # Nothing was finished here: what began is not looked at, and is removed when the work begins.
        self._begins_anew = self.run_file.begun and not self.run_file.binding

    def run(self) -> None:
        """All stages asked for."""
        self._announce()
        self._find_batch_size()
        going_on = self._going_on()
        for begun in going_on:
            self.trainer.check_plan(begun)
        replacing = Replacement(self._context, self.trainer, going_on)
        replacing.check()
        self.starting.check(self.trainer)
        if untrained := self.untrained.trial:
            self.untrained.check(self.trainer, self._config(untrained))
        self._check_data()
        self.run_file.check(self.definition, self.args.force)  # with what the data functions have read
        if self.args.dry_run:
            untried = ", but that no batch was tried (--no-data-check)" if self.args.no_data_check else ""
            self.progress.say(f"dry run: everything was checked{untried}, and nothing done")
            return
        replacing.accept(searches=self.args.hyper and not self._is_searched())
        if self.args.check:
            self.evaluation.check()
            if not (self.args.train or self.args.eval or self.args.predict):
                return
        if self._begins_anew:
            self.results.forget_trials()
            self._begins_anew = False
        self._mend_best()
        if self.args.hyper:
            self._decide_to_pack()
            self._search()
        elif trial := self.checks.to_train():
            self._train(trial)
        else:
            if untrained:
                config = self._config(untrained)
                self._prepare_training()
                self.untrained.install(config)
            self.trained.tell()
        with contextlib.closing(ChunkWorkers(self.trainer, self.progress.say)) as workers:
            if self.args.eval:
                self.evaluation.evaluate(lambda: self.trained.model, self.trained.facts, workers)
            if self.prediction.inputs:
                self.prediction.predict_all(lambda: self.trained.model, self.trained.facts, workers)
        if self.args.train and (older := older_results(self.results).note()):
            self.progress.say(older)
        interruption.check()
        self.progress.say(f"results are in {self.results.path}")

    # The stages.

    def _announce(self) -> None:
        device = choose_device(self.args.cpu)
        if device.type == "cuda":
            choose_algorithms(self.args.nondeterministic)
            self.progress.say(f"running on {torch.cuda.get_device_name(device)}")
        else:
            self.progress.say("running on the CPU" + ("" if self.args.cpu else ": no GPU was found"))
        notes = [*self.run_file.notes(self.definition), *self.checks.notes, *self.starting.notes]
        for note in [*notes, *notes_on_algorithms(self.args, device.type)]:
            self.progress.say(note)

    def _find_batch_size(self) -> None:
        """The largest that fits, where it was asked for and none is recorded."""
        if self.args.batch_size == AUTO:
            trial = self.checks.to_train()
            of_search = (self.definition, self.args, self.checks.given)
            config = self._config(trial) if trial else first_configs(*of_search, 1)[0]
            BatchSize(self._context, self.trainer).find(config)

    def _check_data(self) -> None:
        """Try out the data of what is to be done."""
        args, trial, untrained = self.args, self.checks.to_train(), self.untrained.trial
        searches = args.hyper and not self._is_searched()
        trains = searches or trial is not None
        facts = None if trains or untrained or not (args.eval or args.predict) else self.trained.facts
        evaluates = args.eval and (facts is None or not self.evaluation.is_done(facts))
        predicts = self.prediction.to_make(facts)
        uses = bool(trains or evaluates or predicts)
        if not (uses or args.check):
            return
        if args.no_data_check:
            self._make_data(trains, predicts)
            return
        configs: list[dict[str, Any]] = []  # --check alone has no model
        if searches:
            given = self.checks.given
            get_config = configurations(self.definition, given.get("set", {}), args.seed, searches=True)
            seeds = (derive_seed(args.seed, "config", number, 0) for number in range(FIRST_TRIALS))
            configs = given.get("try") or [draw(get_config, seed) for seed in seeds]
        elif uses:
            used = trial or untrained or self.trained.trial()
            configs = [self._config(used)]
        each, replaces = searches and "try" in self.checks.given, self.run_file.changes(self.definition)
        work = Work(trains, evaluates, predicts, configs, each, bool(replaces), args.check)
        DataCheck(self._context, self.trainer, self.evaluation, self.prediction, work).run()

    def _make_data(self, trains: bool, inputs: list[str]) -> None:
        """Make the data once, so that their faults show before any work, where no batch of them is tried."""
        if trains:
            self.definition.training_data(self.args.data, self.args.batch_size)
        self.prediction.make(inputs)

    def _config(self, trial: Trial) -> dict[str, Any]:
        """The configuration of a trial, begun or new."""
        begun = None if self._begins_anew else self.results.config_of(trial)
        return begun or single_configuration(self.definition, self.checks.fixed, self.args.seed)

    def _mend_best(self) -> None:
        """Have `best_config` lead to the best trial, where a kill or somebody left it at another."""
        best, linked = self.results.best_trial(), self.results.linked_trial()
        if best is not None and linked is not None and best.id != linked.id:
            self.progress.say(
                f"note: {self.results.best_link} led to trial {linked.id}; the best is trial {best.id}, as "
                "was recorded, and it leads there now"
            )
            self.results.set_best(best)

    def _going_on(self) -> list[Trial]:
        """The trials with epochs that this run may train on."""
        trial = self.checks.to_train()
        trials = [trial] if trial else []
        if self.args.hyper and not self._is_searched():
            trials = self.results.trials()
        return [trial for trial in trials if trial.resumable_epochs()]

    def _prepare_training(self, trial: Trial | None = None) -> None:
        """Record the run; a search whose best is trained on keeps its settings."""
        self.evaluation.release()
        if trial is None or trial.id == SINGLE:
            self.run_file.record(self.definition, self.args)
            if self._context.planned.text is not None:
                write_whole(self.results.experiment_file, self._context.planned.text.encode())
        self.starting.keep()

    @functools.cached_property
    def _journal(self) -> SearchJournal:
        """That of the search which is asked for; raises `ResultsMismatch` where there is another."""
        args = self.args
        settings = {
            "max_epochs": args.epoch,
            "trials": args.trials,
            **{name: getattr(args, name) for name in SEARCH_SETTINGS},
            "pack": None if args.pack == AUTO else args.pack,
            **self.checks.given,
        }
        return SearchJournal(self.results.journal, settings)

    def _is_searched(self) -> bool:
        """Whether nothing is left to do of the search."""
        if self._begins_anew:
            return False
        best = self.results.best_trial()
        return self._journal.finished and best is not None and exists(best.best_checkpoint)

    def _decide_to_pack(self) -> None:
        """By a timing, where that was asked for and the search is new."""
        if self.args.pack != AUTO:
            return
        self.args.pack = None  # as recorded
        if not self.results.journal.events():
            configs = first_configs(self.definition, self.args, self.checks.given, SLOTS)
            self.args.pack = Packing(self._context, self.trainer).slots(configs)
        vars(self).pop("_journal", None)  # which had no number yet, where it was looked at

    def _search(self) -> None:
        deadline = time.monotonic() + (self.args.time_budget or math.inf)
        if self._is_searched():
            self.progress.say("search: done already")
        elif not self._go_on_searching(self._journal, deadline):
            self.progress.say("search: the time is spent; the same command goes on with it")
        if self.results.best_trial():
            self._tell_best(self.trained.trial())

    def _go_on_searching(self, journal: SearchJournal, deadline: float) -> bool:
        """Whether the search came to its end."""
        self._prepare_training()
        self._record_scales()
        if (best := self.results.best_trial()) and best.id == SINGLE:
            self.progress.say("  its best trial replaces the single configuration that was trained before")
        slots = journal.settings.get("pack", 1)
        made = make_executor(self.trainer, self.progress.say, slots, self._context.early)
        self._context.early.close()  # of which there may be no need
        with contextlib.closing(made) as executor:
            finished = Search(self.trainer, journal, executor, self.progress, deadline).run()
        self.progress.end()
        leaders = self.progress.best()
        self.progress.say("best trials:" if leaders else "no trial has a result yet")
        for one in leaders:
            told = f"{one.name}  reward {show_number(one.reward)}  {self.progress.show_config(one.config)}"
            self.progress.say(f"  {told}")
        return finished

    def _record_scales(self) -> None:
        seed_everything(derive_seed(self.args.seed, "space", 0))
        names = log_scaled_names(self.definition, self.checks.given.get("set", {}))
        if names is not None:
            self.run_file.record_log_scaled(names)

    def _tell_best(self, trial: Trial) -> None:
        best, config = best_state(self.results, trial), self.results.config_of(trial) or {}
        reward = f"reward {show_number(best['reward'])} in epoch {best['epoch']}"
        self.progress.say(f"best: trial {trial.id}, {reward}  {self.progress.show_config(config)}")
        self._show_network(trial, config)

    def _train(self, trial: Trial) -> None:
        args, config = self.args, self._config(trial)
        self._prepare_training(trial)
        if trial.id == SINGLE:
            self.run_file.record_single(config, finished=False)
        self.progress.say(f"training: {self.progress.show_config(config)}")
        self._show_network(trial, config)
        self.starting.install()
        if exists(trial.history_file) and not trial.is_resumable:
            self.progress.say(f"  checkpoints are missing of {trial.path}; it is trained from its beginning")
        self.progress.begin_training(trial.id, trial.resumable_epochs(), args.epoch)
        with accompanied(args, Part.of(trial, config, args.epoch)):
            model = self.trainer.train(trial.id, config, args.epoch, self.progress.epoch)
        self.progress.end()
        self.results.set_best(trial)
        if trial.id == SINGLE:
            self.run_file.record_single(config, finished=True)
        if math.isfinite(model.best_reward):
            reward = show_number(model.best_reward)
            told = f", where it ended by itself ({ended})" if (ended := trial.ended()) else ""
            self.progress.say(
                f"training: best epoch {model.best_epoch} of {model.epoch}{told}, reward {reward}"
            )
        else:
            self.progress.say(
                f"training: the reward was finite in no epoch; epoch {model.best_epoch} is kept"
            )

    def _show_network(self, trial: Trial, config: dict[str, Any]) -> None:
        """What `--debug` is for: the network of a configuration, layer by layer."""
        if self.args.debug:
            network = self.trainer.new_model(trial, config).network
            known = [parameter for parameter in network.parameters() if not is_lazy(parameter)]
            more = (
                ", and those of lazy layers, whose shapes the first batch gives"
                if any(map(is_lazy, network.parameters()))
                else ""
            )
            self.progress.say(f"{network}\n{counted(sum(map(torch.numel, known)), 'parameter')}{more}")
