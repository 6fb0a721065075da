"""Hyperband: the arithmetic of its brackets, and the machine that hands out jobs and takes rewards.

Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar, "Hyperband: A Novel Bandit-Based Approach to
Hyperparameter Optimization", JMLR 18 (2018), Algorithm 1.

The machine knows no model, file or clock. `helixband/search/run.py` runs it; the other schedules are in
`helixband/search/schedules.py`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from helixband.errors import UsageError

__all__ = ["Hyperband", "Job", "Result", "Rung", "brackets"]

Document = dict[str, Any]

KEPT = 10
"""So many trials of a bracket's last rung stay in the race, at most, and on the disk."""


class Rung(NamedTuple):
    """So many configurations, trained until they have had so many epochs."""

    configurations: int
    epochs: int


def brackets(max_epochs: int, eta: int) -> list[list[Rung]]:
    """The rungs of each bracket, the most exploring bracket first.

    `max_epochs` is R of the paper and `eta` the share of configurations, one in eta, that goes on at each
    rung. All in integers: log(243, 3) is 4.999… in floating point, and would lose a bracket. Epochs are
    rounded to the nearest (52 gives 2, 6, 17, 52), halves up.

    >>> [rungs[0].configurations for rungs in brackets(81, 3)]
    [81, 34, 15, 8, 5]
    >>> brackets(9, 3)[0]
    [Rung(configurations=9, epochs=1), Rung(configurations=3, epochs=3), Rung(configurations=1, epochs=9)]

    Raises `UsageError` for max_epochs below 1 or eta below 2.
    """
    if max_epochs < 1 or eta < 2:
        raise UsageError(
            f"Hyperband needs at least 1 epoch and an eta of at least 2, got {max_epochs} and {eta}"
        )
    s_max = 0
    while eta ** (s_max + 1) <= max_epochs:
        s_max += 1
    return [_rungs(s, s_max, max_epochs, eta) for s in range(s_max, -1, -1)]


def _rungs(s: int, s_max: int, max_epochs: int, eta: int) -> list[Rung]:
    first = -(-(s_max + 1) * eta**s // (s + 1))  # the ceiling of (s_max + 1) eta^s / (s + 1)
    shares = [eta ** (s - i) for i in range(s + 1)]
    return [Rung(first // eta**i, (2 * max_epochs + n) // (2 * n)) for i, n in enumerate(shares)]


class Job(NamedTuple):
    """Train a trial until it has had `epochs` epochs; `bracket` and `rung` are places in the plan."""

    trial: int
    config: Document
    epochs: int
    bracket: int
    rung: int


class Result(NamedTuple):
    """The reward of a trial after a job of so many epochs; minus infinity is a failure."""

    trial: int
    epochs: int
    reward: float


Suggest = Callable[[int, Sequence[Result]], Document | None]


@dataclass
class Entry:
    """A trial as a schedule sees it."""

    config: Document
    bracket: int
    rewards: dict[int, float] = field(default_factory=dict)
    """By the epochs of its jobs."""
    target: int | None = None
    """The epochs of the job under way."""
    out: bool = False
    """It failed, or is never promoted any more."""

    def reward_at(self, epochs: int) -> float | None:
        """The reward when it first had so many epochs or more; None where it never had."""
        if epochs in self.rewards:
            return self.rewards[epochs]
        reached = [told for told in self.rewards if told > epochs]
        return self.rewards[min(reached)] if reached else None


class Schedule(ABC):
    """A search as a machine: `ask` for a job, `tell` its reward.

    `plan` has the rungs of each bracket. `suggest(trial, results)` gives the configuration of trial 0, 1, 2,
    …, or None where there is no new one; the search then goes on with those it has. A failure is never
    promoted. Equal rewards go by the trials' order. What is told alone decides what comes next, so that a
    search which is told its earlier results anew, in whatever order, goes on as before, also under a plan
    that has grown.
    """

    def __init__(self, plan: Sequence[Sequence[Rung]], eta: int, suggest: Suggest) -> None:
        self.plan = plan
        self.eta = eta
        self.trials: list[Entry] = []
        self.best: tuple[int, float] | None = None
        """(trial, reward) of the highest finite reward so far."""
        self.exhausted = False
        """Whether `suggest` had no new configuration."""
        self._suggest = suggest
        self._members: list[list[int]] = [[] for _ in plan]

    @abstractmethod
    def ask(self) -> Job | None:
        """The next job, or None: because the search is finished, or jobs have to be told of first."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether there is nothing more to ask for, ever."""

    @abstractmethod
    def _losers(self, bracket: int) -> list[int]:
        """The trials of a bracket that are in the race and cannot be promoted any more."""

    def tell(self, trial: int, epochs: int, reward: float, hopeless: bool = False) -> list[int]:
        """The reward of a job that was asked for, NaN counting as minus infinity.

        Returns the trials that this puts out of the race, this one included where it is `hopeless`; of a
        bracket's last rung, all but those that one more rung would take, KEPT at most.
        """
        entry = self.trials[trial] if trial < len(self.trials) else None
        if entry is None or entry.target != epochs:
            raise ValueError(f"trial {trial} has no job to epoch {epochs} under way")
        entry.target = None
        self._take(trial, epochs, -math.inf if math.isnan(reward) else float(reward))
        stops = [trial] if hopeless and not entry.out else []
        entry.out = entry.out or hopeless
        for other in self._losers(entry.bracket):
            self.trials[other].out = True
            stops.append(other)
        return stops

    def restore_trial(self, config: Document, bracket: int) -> None:
        """The next trial, as an earlier run drew it."""
        self._members[bracket].append(len(self.trials))
        self.trials.append(Entry(config, bracket))

    def restore_result(self, result: Result, stops: Iterable[int]) -> None:
        """A result of an earlier run, and the trials that it put out of the race."""
        self._take(*result)
        for trial in stops:
            self.trials[trial].out = True

    def results(self) -> list[Result]:
        """All that was told, by trial and epochs."""
        return [
            Result(trial, epochs, reward)
            for trial, entry in enumerate(self.trials)
            for epochs, reward in sorted(entry.rewards.items())
        ]

    def _take(self, trial: int, epochs: int, reward: float) -> None:
        entry = self.trials[trial]
        entry.rewards[epochs] = reward
        if reward == -math.inf:
            entry.out = True
        elif self.best is None or (reward, -trial) > (self.best[1], -self.best[0]):
            self.best = trial, reward

    def _job(self, trial: int, rung: int) -> Job:
        entry = self.trials[trial]
        entry.target = self.plan[entry.bracket][rung].epochs
        return Job(trial, entry.config, entry.target, entry.bracket, rung)

    def _kept(self, count: int) -> int:
        """How many of so many trials at a last rung stay in the race, for a longer search."""
        return max(1, min(KEPT, count // self.eta))

    def _to_draw(self, bracket: int) -> int:
        """How many trials a bracket lacks."""
        planned = self.plan[bracket][0].configurations
        return 0 if self.exhausted else max(0, planned - len(self._members[bracket]))

    def _draw(self, bracket: int, results: Sequence[Result]) -> int | None:
        config = self._suggest(len(self.trials), results)
        if config is None:
            self.exhausted = True
            return None
        self.restore_trial(config, bracket)
        return len(self.trials) - 1

    def _ranked(self, bracket: int, rung: int) -> list[int]:
        """The trials with a result at a rung, the best first."""
        epochs = self.plan[bracket][rung].epochs
        found = [(self.trials[trial].reward_at(epochs), trial) for trial in self._members[bracket]]
        return [
            trial for _, trial in sorted((-reward, trial) for reward, trial in found if reward is not None)
        ]

    def _has_begun(self, trial: int, bracket: int, rung: int) -> bool:
        """Whether a trial has had the job of a rung, or has it under way."""
        entry, epochs = self.trials[trial], self.plan[bracket][rung].epochs
        return entry.reward_at(epochs) is not None or (entry.target or 0) >= epochs

    def _is_waiting(self, trial: int, bracket: int, rung: int) -> bool:
        """Whether a trial of a rung is still to be handed out."""
        return not self.trials[trial].out and not self._has_begun(trial, bracket, rung)


class Hyperband(Schedule):
    """Successive halving, bracket after bracket: a rung begins when the one before it is told of.

    Where a job has to wait for that, one of the next bracket is handed out, for several workers. The results
    that a suggestion gets are those of all jobs but the last `lag` before it, in the order in which a single
    worker does them, and it waits for these: so it depends on neither the number of workers nor their pace.
    With `lag` None it gets none, and waits for nothing.

    >>> search = Hyperband(brackets(3, 3), 3, suggest=lambda trial, results: {"x": trial})
    >>> while job := search.ask():
    ...     stops = search.tell(job.trial, job.epochs, reward=job.config["x"])
    >>> search.best
    (4, 4.0)
    """

    def __init__(
        self, plan: Sequence[Sequence[Rung]], eta: int, suggest: Suggest, lag: int | None = 0
    ) -> None:
        super().__init__(plan, eta, suggest)
        self._lag = lag
        self._complete = [0] * len(plan)
        """Of each bracket, how many rungs have all their results."""

    @property
    def finished(self) -> bool:
        return not any(True for _ in self._open())

    def ask(self) -> Job | None:
        for bracket in self._open():
            rung = self._complete[bracket]
            for trial in self._chosen(bracket, rung):
                if self._is_waiting(trial, bracket, rung):
                    return self._job(trial, rung)
            if self._to_draw(bracket):
                results = self._results_before(bracket)
                if results is None:
                    return None
                drawn = self._draw(bracket, results)
                return self.ask() if drawn is None else self._job(drawn, 0)
        return None

    def _open(self) -> Iterator[int]:
        """The brackets that lack results."""
        for bracket, rungs in enumerate(self.plan):
            while self._complete[bracket] < len(rungs) and self._has_all(bracket, self._complete[bracket]):
                self._complete[bracket] += 1
            if self._complete[bracket] < len(rungs):
                yield bracket

    def _has_all(self, bracket: int, rung: int) -> bool:
        """Whether all results of a rung are there, those of the rung before being there."""
        if rung == 0 and self._to_draw(bracket):
            return False
        return all(self._is_told(trial, bracket, rung) for trial in self._chosen(bracket, rung))

    def _is_told(self, trial: int, bracket: int, rung: int) -> bool:
        entry = self.trials[trial]
        return entry.out or entry.reward_at(self.plan[bracket][rung].epochs) is not None

    def _chosen(self, bracket: int, rung: int) -> list[int]:
        """The trials of a rung, the rung before being complete, whose best come first."""
        if rung == 0:
            return self._members[bracket]
        ranked = self._ranked(bracket, rung - 1)
        begun = {trial for trial in ranked if self._has_begun(trial, bracket, rung)}
        new = [trial for trial in ranked if trial not in begun and not self.trials[trial].out]
        room = max(0, self.plan[bracket][rung].configurations - len(begun))
        chosen = begun.union(new[:room])
        return [trial for trial in ranked if trial in chosen]

    def _results_before(self, bracket: int) -> list[Result] | None:
        """The results for the next suggestion, one in that bracket; None where some are to come."""
        found: list[Result] = []
        if self._lag is None:
            return found
        slots = sum(rung.configurations for rungs in self.plan[:bracket] for rung in rungs)
        slots += len(self._members[bracket]) - self._lag
        for earlier in range(bracket + 1):
            for rung, (configurations, epochs) in enumerate(self.plan[earlier]):
                if slots <= 0:
                    return found
                if rung > self._complete[earlier]:
                    return None
                for trial in self._chosen(earlier, rung)[:slots]:
                    if not self._is_told(trial, earlier, rung):
                        return None
                    reward = self.trials[trial].reward_at(epochs)
                    if reward is not None:
                        found.append(Result(trial, epochs, reward))
                slots -= configurations
        return found

    def _losers(self, bracket: int) -> list[int]:
        rungs, losers = self.plan[bracket], []
        for rung in range(len(rungs)):
            ranked = self._ranked(bracket, rung)
            if rung + 1 == len(rungs):
                waiting, room = ranked, self._kept(rungs[rung].configurations)
            else:
                waiting = [trial for trial in ranked if not self._has_begun(trial, bracket, rung + 1)]
                room = max(0, rungs[rung + 1].configurations - (len(ranked) - len(waiting)))
            losers += [trial for trial in waiting if not self.trials[trial].out][room:]
        return losers
