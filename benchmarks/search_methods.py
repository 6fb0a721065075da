"""The search methods that the benchmarks of searching compare, and what they search."""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from common import ROOT  # noqa: F401  puts the project on the path
from hyperopt import hp
from hyperopt.pyll import scope

from helixband.configuration import canonical
from helixband.search.choice import Sampler
from helixband.search.density import DensitySampler
from helixband.search.evidence import Document, Evidence
from helixband.search.samplers import RandomSampler
from helixband.search.tpe import TpeSampler
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
        if key not in self._curves:
            self._curves[key] = self.task.curve(config, len(self._curves))
        self._spent += max(epochs - self._trained.get(key, 0), 0)
        if self._spent > self._left:
            raise BudgetSpent
        self._trained[key] = max(epochs, self._trained.get(key, 0))
        reward = self._curves[key](epochs)
        regret = self.steps[-1].regret if self.steps else 1.0
        if (epochs, reward) > self._best:
            self._best, regret = (epochs, reward), self.task.regret(config)
        self.steps.append(Step(self._spent / self.task.max_epochs, regret))
        return reward


Method = Callable[[Account, int], None]
"""Searches, from a seed, until the account's budget is spent."""


class SimulatedHyperband:
    """Hyperband by one worker, anew when its brackets are done, until the budget is spent.

    A suggestion sees the results of all jobs before it but the account's lag, as in the product for any
    number of workers.
    """

    def __init__(self, account: Account, sampler: Sampler) -> None:
        self._account, self._sampler = account, sampler
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
                best = sorted(found, key=lambda trial: (-found[trial], trial))[:count]  # noqa: B023
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
        reward = self._account.train(self._configs[trial], epochs, str(trial))
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


def hyperband_with(make: Callable[[Task, int], Sampler]) -> Method:
    """Hyperband with such a sampler."""
    return lambda account, seed: SimulatedHyperband(account, make(account.task, seed)).run()


def random_search(account: Account, seed: int) -> None:
    """Every draw is trained to the end."""
    sampler = random_sampler(account.task, seed)
    for trial in itertools.count():
        account.train(sampler.suggest(trial, Evidence()) or {}, account.task.max_epochs, str(trial))


METHODS: dict[str, dict[str, Method]] = {
    "helixband": {
        "helixband (density)": hyperband_with(density_sampler),
        "helixband (tpe)": hyperband_with(tpe_sampler),
    },
    "density": {"helixband (density)": hyperband_with(density_sampler)},
    "tpe": {"helixband (tpe)": hyperband_with(tpe_sampler)},
    "hyperband": {"hyperband": hyperband_with(random_sampler)},
    "random": {"random": random_search},
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
