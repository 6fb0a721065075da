"""The search methods that the benchmarks of searching compare, and the simulation of a search."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from common import ROOT  # noqa: F401  puts the project on the path
from hyperopt import hp
from hyperopt.pyll import scope

from helixband.search.density import DensitySampler
from helixband.search.evidence import Document, Evidence
from helixband.search.tpe import TpeSampler
from hyperband import Hyperband


class Dimension(NamedTuple):
    """A hyperparameter: a number from `low` to `high`, or one of `choices`."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    integer: bool = False
    choices: tuple[Any, ...] = ()

    def draw(self, generator: random.Random) -> Any:
        """A value by a generator with the functions of the module `random`."""
        if self.choices:
            return generator.choice(self.choices)
        low, high = self._ends()
        value = math.exp(generator.uniform(low, high)) if self.log else generator.uniform(low, high)
        return round(value) if self.integer else value

    def expression(self) -> Any:
        """The same as a hyperopt expression."""
        if self.choices:
            return hp.choice(self.name, list(self.choices))
        low, high = self._ends()
        if self.integer:
            quantised = hp.qloguniform if self.log else hp.quniform
            return scope.int(quantised(self.name, low, high, 1))
        return (hp.loguniform if self.log else hp.uniform)(self.name, low, high)

    def _ends(self) -> tuple[float, float]:
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


Suggest = Callable[[int, Evidence], Document | None]


def random_search(task: Task, seed: int) -> Suggest:
    """Independent draws."""
    generator = random.Random(seed)
    return lambda trial, evidence: {dimension.name: dimension.draw(generator) for dimension in task.space}


def density(task: Task, seed: int) -> Suggest:
    """The project's sampler for an opaque get_config()."""

    def draw() -> Document:
        return {dimension.name: dimension.draw(random) for dimension in task.space}  # type: ignore[arg-type]

    return DensitySampler(draw, seed).suggest


def tpe(task: Task, seed: int) -> Suggest:
    """The project's sampler for hyperopt expressions."""
    return TpeSampler({dimension.name: dimension.expression() for dimension in task.space}, seed).suggest


METHODS: dict[str, tuple[Callable[[Task, int], Suggest], bool]] = {
    "density": (density, True),
    "tpe": (tpe, True),
    "hyperband": (random_search, True),
    "random": (random_search, False),
}
"""By name: what suggests, and whether the schedule is Hyperband or every trial is trained to the end."""


class Step(NamedTuple):
    """The state of a search after a job: epochs spent, in R, and the incumbent's regret."""

    cost: float
    regret: float


def simulate(task: Task, method: str, seed: int, budget: float) -> Iterator[Step]:
    """A search by one worker until `budget` R are spent; Hyperband begins anew when its brackets are done.

    The incumbent is the trial of the highest reward among those at the largest number of epochs seen.
    """
    make, by_hyperband = METHODS[method]
    suggest, evidence = make(task, seed), Evidence()
    trained: dict[int, int] = {}
    spent, trial_count, best = 0, 0, (0, -math.inf)
    while True:
        first = trial_count
        eta = 3 if by_hyperband else task.max_epochs + 1  # then one bracket of one trial to the end
        search = Hyperband(task.max_epochs, eta, lambda trial: suggest(trial + first, evidence))  # noqa: B023
        curves: dict[int, Callable[[int], float]] = {}
        while (job := search.ask()) is not None:
            trial = first + job.trial
            if job.trial not in curves:
                curves[job.trial] = task.curve(job.config, trial)
            spent += job.epochs - trained.get(trial, 0)
            if spent > budget * task.max_epochs:
                return
            trained[trial] = job.epochs
            reward = curves[job.trial](job.epochs)
            search.tell(job.trial, reward)
            evidence.add(trial, job.config, job.epochs, reward)
            if (job.epochs, reward) > best:
                best, regret = (job.epochs, reward), task.regret(job.config)
            yield Step(spent / task.max_epochs, regret)
        trial_count += len(search.configs)
