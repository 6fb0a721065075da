"""The search methods that the benchmarks of searching compare, and what they search."""

import functools
import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from common import ROOT  # noqa: F401  puts the project on the path
from hyperopt import hp
from hyperopt.pyll import scope

from helixband.search.hopeless import Gains, best_so_far
from helixband.search.samplers.choice import Sampler
from helixband.search.samplers.density import DensitySampler
from helixband.search.samplers.evidence import Document, Evidence
from helixband.search.samplers.random import RandomSampler
from helixband.search.samplers.tpe import TpeSampler
from helixband.training.configuration import canonical
from hyperband import brackets

ETA = 3


class Dimension(NamedTuple):
    """A hyperparameter: a number from `low` to `high`, or one of `choices`."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    integer: bool = False
    choices: tuple[Any, ...] = ()

    def draw(self) -> Any:
        """A value by the global generator."""
        if self.choices:
            return random.choice(self.choices)
        low, high = self.ends()
        value = math.exp(random.uniform(low, high)) if self.log else random.uniform(low, high)
        return round(value) if self.integer else value

    def expression(self) -> Any:
        """The same as a hyperopt expression."""
        if self.choices:
            return hp.choice(self.name, list(self.choices))
        low, high = self.ends()
        if self.integer:
            quantised = hp.qloguniform if self.log else hp.quniform
            return scope.int(quantised(self.name, low, high, 1))
        return (hp.loguniform if self.log else hp.uniform)(self.name, low, high)

    def ends(self) -> tuple[float, float]:
        """Those of the uniform distribution, of the logarithm where it is `log`."""
        low, high = (self.low - 0.499, self.high + 0.499) if self.integer else (self.low, self.high)
        return (math.log(low), math.log(high)) if self.log else (low, high)


class Task(Protocol):
    """What is searched."""

    max_epochs: int
    space: Sequence[Dimension]

    def curve(self, config: Document, trial: int) -> Callable[[int], float]:
        """A configuration's reward by epochs."""

    def regret(self, config: Document) -> float:
        """(best - x) / (best - median), x the quality of a configuration trained to the end."""


class Step(NamedTuple):
    """The state of a search after a job: epochs spent, in R, and the incumbent's regret."""

    cost: float
    regret: float


class BudgetSpent(BaseException):
    """Ends a search; not an `Exception`, which the packages compared take for a failed trial."""


class Account:
    """Trains configurations on a task until `budget` times R epochs are spent, and keeps the steps.

    The incumbent is the trial of the highest reward among those at the largest number of epochs seen. Our
    suggestions do without the results of the last `lag` jobs.
    """

    def __init__(self, task: Task, budget: float, lag: int) -> None:
        self.task = task
        self.lag = lag
        self.steps: list[Step] = []
        self._left = budget * task.max_epochs
        self._spent = 0
        self._curves: dict[str, Callable[[int], float]] = {}
        self._trained: dict[str, int] = {}
        self._best = (0, -math.inf)

    def train(self, config: Document, epochs: int, key: str = "") -> float:
        """The reward after so many epochs in all; those that it had before, under this key, cost nothing."""
        key = key or canonical(config)
        curve = self._curve(config, key)
        self._spent += max(epochs - self._trained.get(key, 0), 0)
        if self._spent > self._left:
            raise BudgetSpent
        self._trained[key] = max(epochs, self._trained.get(key, 0))
        reward = curve(epochs)
        regret = self.steps[-1].regret if self.steps else 1.0
        if (epochs, reward) > self._best:
            self._best, regret = (epochs, reward), self.task.regret(config)
        self.steps.append(Step(self._spent / self.task.max_epochs, regret))
        return reward

    def rewards(self, config: Document, epochs: int, key: str) -> list[float]:
        """What the epochs will have given, up to that one: to know where a training would be stopped."""
        curve = self._curve(config, key)
        return [curve(epoch) for epoch in range(1, epochs + 1)]

    def _curve(self, config: Document, key: str) -> Callable[[int], float]:
        if key not in self._curves:
            self._curves[key] = self.task.curve(config, len(self._curves))
        return self._curves[key]


class Patience:
    """Trains on an account; with `stop_hopeless` as the product's flag of that name has it."""

    def __init__(self, account: Account, stop_hopeless: bool) -> None:
        self._account = account
        self._gains = Gains(account.task.max_epochs) if stop_hopeless else None
        self._best = -math.inf

    def train(self, config: Document, epochs: int, key: str) -> tuple[float, bool]:
        """(reward, whether the trial was stopped before)."""
        reached = epochs
        if self._gains is not None:
            rewards = best_so_far(self._account.rewards(config, epochs, key))
            floors = self._gains.floors(self._best, epochs)
            below = (n for n, floor in enumerate(floors, 1) if rewards[n - 1] < floor)
            reached = next(below, epochs)
            self._gains.add(rewards[:reached])
        reward = self._account.train(config, reached, key)
        self._best = max(self._best, reward)
        return reward, reached < epochs


Method = Callable[[Account, int], None]
"""Searches, from a seed, until the account's budget is spent."""


class SimulatedHyperband:
    """Hyperband by one worker, anew when its brackets are done, until the budget is spent.

    A suggestion sees the results of all jobs before it but the account's lag, as in the product for any
    number of workers.
    """

    def __init__(self, account: Account, sampler: Sampler, stop_hopeless: bool = False) -> None:
        self._account, self._sampler = account, sampler
        self._patience = Patience(account, stop_hopeless)
        self._stopped: set[int] = set()
        self._evidence = Evidence()
        self._configs: list[Document] = []
        self._jobs: list[tuple[int, int, float]] = []
        self._finished: set[int] = set()

    def run(self) -> None:
        """Raises `BudgetSpent` in the end."""
        for rungs in itertools.cycle(brackets(self._account.task.max_epochs, ETA)):
            first = len(self._configs)
            found = {}
            for trial in range(first, first + rungs[0].configurations):
                self._draw()
                found[trial] = self._train(trial, rungs[0].epochs)
            for count, epochs in rungs[1:]:
                going = found.keys() - self._stopped
                best = sorted(going, key=lambda trial: (-found[trial], trial))[:count]  # noqa: B023
                found = {trial: self._train(trial, epochs) for trial in best}

    def _draw(self) -> None:
        while len(self._jobs) > self._account.lag:
            trial, epochs, reward = self._jobs.pop(0)
            self._evidence.add(trial, self._configs[trial], epochs, reward)
            self._finished.add(trial)
        pending = [self._configs[trial] for trial, _, _ in self._jobs if trial not in self._finished]
        config = self._sampler.suggest(len(self._configs), self._evidence, pending)
        assert config is not None, "the spaces here have no end"
        self._configs.append(config)

    def _train(self, trial: int, epochs: int) -> float:
        reward, stopped = self._patience.train(self._configs[trial], epochs, str(trial))
        if stopped:
            self._stopped.add(trial)
        self._jobs.append((trial, epochs, reward))
        return reward


def random_sampler(task: Task, seed: int) -> Sampler:
    """Independent draws."""
    return RandomSampler(_draw_from(task), seed)


def density_sampler(task: Task, seed: int) -> Sampler:
    """The project's for an opaque get_config()."""
    return DensitySampler(_draw_from(task), seed)


def tpe_sampler(task: Task, seed: int) -> Sampler:
    """The project's for hyperopt expressions."""
    return TpeSampler(lambda: {one.name: one.expression() for one in task.space}, seed)


def hyperband_with(make: Callable[[Task, int], Sampler], stop_hopeless: bool = False) -> Method:
    """Hyperband with such a sampler."""
    return lambda account, seed: SimulatedHyperband(account, make(account.task, seed), stop_hopeless).run()


def random_search(account: Account, seed: int, stop_hopeless: bool = False) -> None:
    """Every draw is trained to the end, or until it is hopeless."""
    sampler, patience = random_sampler(account.task, seed), Patience(account, stop_hopeless)
    for trial in itertools.count():
        patience.train(sampler.suggest(trial, Evidence()) or {}, account.task.max_epochs, str(trial))


METHODS: dict[str, dict[str, Method]] = {
    "helixband": {
        "helixband (density)": hyperband_with(density_sampler),
        "helixband (tpe)": hyperband_with(tpe_sampler),
    },
    "density": {"helixband (density)": hyperband_with(density_sampler)},
    "tpe": {"helixband (tpe)": hyperband_with(tpe_sampler)},
    "hyperband": {"hyperband": hyperband_with(random_sampler)},
    "random": {"random": random_search},
    "hopeless": {
        "random, hopeless trials stopped": functools.partial(random_search, stop_hopeless=True),
        "hyperband, hopeless trials stopped": hyperband_with(random_sampler, stop_hopeless=True),
        "helixband (density), hopeless trials stopped": hyperband_with(density_sampler, stop_hopeless=True),
    },
}
"""By name on the command line: the rows of the table. Those of other packages are in search_packages.py."""


def simulate(task: Task, method: Method, seed: int, budget: float, lag: int) -> list[Step]:
    """The steps of a search until `budget` R are spent."""
    account = Account(task, budget, lag)
    try:
        method(account, seed)
    except BudgetSpent:
        pass
    return account.steps


def _draw_from(task: Task) -> Callable[[], Document]:
    return lambda: {one.name: one.draw() for one in task.space}
