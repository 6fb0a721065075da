"""Hyperband: the brackets, the machine that hands out jobs and takes rewards, and the running of a search.

Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar, "Hyperband: A Novel Bandit-Based Approach to
Hyperparameter Optimization", JMLR 18 (2018), Algorithm 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from helixband.errors import TrainingError, UsageError
from helixband.progress import Progress
from helixband.results import Results
from helixband.search.choice import make_sampler
from helixband.search.evidence import Evidence
from helixband.search.journal import SearchJournal
from helixband.search.trial import Document, Trainer

FIRST_TRIALS = 5
"""A search where all of the first so many trials fail is stopped: the fault is not in one configuration."""


class Rung(NamedTuple):
    """So many configurations, trained until they have had so many epochs."""

    configurations: int
    epochs: int


def brackets(max_epochs: int, eta: int) -> list[list[Rung]]:
    """The rungs of each bracket, the most exploring bracket first.

    `max_epochs` is R of the paper and `eta` the share of configurations, one in eta, that goes on at each
    rung. All in integers: log(243, 3) is 4.999… in floating point, and would lose a bracket. Epochs are rounded
    to the nearest (52 gives 2, 6, 17, 52), halves up.

    >>> [rungs[0].configurations for rungs in brackets(81, 3)]
    [81, 34, 15, 8, 5]
    >>> brackets(9, 3)[0]
    [Rung(configurations=9, epochs=1), Rung(configurations=3, epochs=3), Rung(configurations=1, epochs=9)]

    Raises `UsageError` for max_epochs below 1 or eta below 2.
    """
    if max_epochs < 1 or eta < 2:
        raise UsageError(f"Hyperband needs an epoch or more and eta from 2, got {max_epochs} and {eta}")
    s_max = 0
    while eta ** (s_max + 1) <= max_epochs:
        s_max += 1
    return [_rungs(s, s_max, max_epochs, eta) for s in range(s_max, -1, -1)]


def _rungs(s: int, s_max: int, max_epochs: int, eta: int) -> list[Rung]:
    first = -(-(s_max + 1) * eta**s // (s + 1))  # the ceiling of (s_max + 1) eta^s / (s + 1)
    shares = [eta ** (s - i) for i in range(s + 1)]
    return [Rung(first // eta**i, (2 * max_epochs + n) // (2 * n)) for i, n in enumerate(shares)]


@dataclass(frozen=True)
class Job:
    """Train a trial until it has had `epochs` epochs."""

    trial: int
    config: Document
    epochs: int
    bracket: int
    rung: int


class Hyperband:
    """The search as a machine: `ask` for a job, `tell` its reward. It knows no model, file or clock.

    `suggest(trial)` gives the configuration of trial 0, 1, 2, … as a dict, or None where there is no new one;
    the bracket then goes on with those it has, and no further one begins.
    A reward of minus infinity is a failure, which is never promoted. Equal rewards go by the trials' order.

    >>> search = Hyperband(3, 3, suggest=lambda trial: {"x": trial})
    >>> while job := search.ask():
    ...     search.tell(job.trial, reward=job.config["x"])
    >>> search.best
    (4, 4.0)
    """

    def __init__(self, max_epochs: int, eta: int, suggest: Callable[[int], Document | None]) -> None:
        self.brackets = brackets(max_epochs, eta)
        self.bracket = 0
        self.rung = 0
        self.configs: list[Document] = []
        self.best: tuple[int, float] | None = None
        """(trial, reward) of the highest finite reward so far."""
        self.exhausted = False
        """Whether `suggest` had no new configuration."""
        self._suggest = suggest
        self._to_draw = self.brackets[0][0].configurations
        self._waiting: list[int] = []
        self._asked: list[int] = []
        self._rewards: dict[int, float] = {}

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to ask for, ever."""
        return self.bracket == len(self.brackets)

    def ask(self) -> Job | None:
        """The next job, or None: because the search is finished, or jobs have to be told of first."""
        while not self.finished:
            trial = self._next_trial()
            if trial is not None:
                self._asked.append(trial)
                epochs = self.brackets[self.bracket][self.rung].epochs
                return Job(trial, self.configs[trial], epochs, self.bracket, self.rung)
            if len(self._rewards) < len(self._asked):
                return None
            self._advance()
        return None

    def tell(self, trial: int, reward: float) -> None:
        """The reward of a job that was asked for; NaN counts as minus infinity."""
        if trial not in self._asked or trial in self._rewards:
            raise ValueError(f"trial {trial} has no job under way")
        reward = -math.inf if math.isnan(reward) else float(reward)
        self._rewards[trial] = reward
        if reward > -math.inf and (self.best is None or (reward, -trial) > (self.best[1], -self.best[0])):
            self.best = trial, reward

    def _next_trial(self) -> int | None:
        """A trial of this rung that was not handed out yet; in a first rung, a new one."""
        if self._to_draw:
            config = self._suggest(len(self.configs))
            if config is not None:
                self.configs.append(config)
                self._to_draw -= 1
                return len(self.configs) - 1
            self._to_draw = 0
            self.exhausted = True
            del self.brackets[self.bracket + 1 :]
        return self._waiting.pop(0) if self._waiting else None

    def _advance(self) -> None:
        """Go on to the next rung with the best of this one, or to the next bracket."""
        ranked = sorted(self._rewards, key=lambda trial: (-self._rewards[trial], trial))
        good = [trial for trial in ranked if self._rewards[trial] > -math.inf]
        self.rung += 1
        if self.rung == len(self.brackets[self.bracket]) or not good:
            self.bracket, self.rung = self.bracket + 1, 0
            self._to_draw = 0 if self.finished else self.brackets[self.bracket][0].configurations
            good = []
        else:
            good = good[: self.brackets[self.bracket][self.rung].configurations]
        self._waiting, self._asked, self._rewards = good, [], {}


def run_search(trainer: Trainer, journal: SearchJournal, progress: Progress) -> None:
    """Run a search, or what is missing of it, one trial at a time; `best_config` then points to the best.

    The journal is the state of the search: what it holds is told to a new machine, and not done again.

    Raises `TrainingError` where the first trials all fail.
    """
    results = trainer.results
    max_epochs, eta = journal.settings["max_epochs"], journal.settings["eta"]
    evidence = Evidence()
    search = Hyperband(max_epochs, eta, _suggestions(trainer, journal, evidence))
    failures: list[str] = []
    progress.begin_search(list(search.brackets))
    while (job := search.ask()) is not None:
        name = trial_name(job.trial)
        outcome = journal.outcome(job.trial, job.epochs)
        recorded = outcome is not None
        progress.begin_job(name, job.bracket, job.rung, job.epochs)
        if outcome is None:
            outcome = trainer.attempt(name, job.config, job.epochs, progress.epoch)
            journal.write_outcome(job.trial, job.epochs, outcome)
        search.tell(job.trial, outcome.reward)
        evidence.add(job.trial, job.config, job.epochs, outcome.reward)
        if search.best is not None and not recorded:
            results.set_best(results.trial(trial_name(search.best[0])))
        progress.end_job(job.config, outcome.reward, outcome.error)
        if outcome.error:
            failures.append(outcome.error)
        if search.best is None and len(failures) == FIRST_TRIALS:
            raise _all_failed(failures, results)
    if search.best is None:
        raise _all_failed(failures, results)
    results.set_best(results.trial(trial_name(search.best[0])))
    if search.exhausted:
        count = len(search.configs)
        progress.say(f"the space holds {count} configurations that were found: the search ends with them")
    journal.write_end()


def trial_name(trial: int) -> str:
    """The id of a trial, which is its directory's name.

    >>> trial_name(7)
    '0007'
    """
    return f"{trial:04d}"


def _suggestions(
    trainer: Trainer, journal: SearchJournal, evidence: Evidence
) -> Callable[[int], Document | None]:
    """Configurations from the journal while it has them, then new ones, which go into it."""
    sampler = make_sampler(
        journal.settings["sampler"], trainer.definition.module.get_config, trainer.args.seed
    )

    def suggest(trial: int) -> Document | None:
        config = journal.config(trial)
        if config is not None:
            return config
        config = sampler.suggest(trial, evidence)
        if config is not None:
            journal.write_config(trial, config)
        return config

    return suggest


def _all_failed(failures: list[str], results: Results) -> TrainingError:
    first = results.trial(trial_name(0)).error_file
    return TrainingError(
        f"no trial has succeeded of {len(failures)}; trial 0000 failed with: {failures[0]}\n"
        f"See {first}; mend the definition or its ranges, and search in another directory (--result)"
    )
