"""How often a search suggests what was tried, in the README's space: a learning rate and a choice.

49 trials of Hyperband (R = 27) are simulated, with rewards that are best at one end of the space. A repeat
equals an earlier trial in four significant digits. The distance of two trials of one choice is the share of
the prior between their learning rates. Wanted: no repeat, and no distance below 0.001.
"""

import math
from collections.abc import Callable, Iterable

import torch
from common import make_parser, report, setting, table
from search_methods import (
    ETA,
    Account,
    BudgetSpent,
    Dimension,
    SimulatedHyperband,
    density_sampler,
    tpe_sampler,
)

from helixband.search.samplers.choice import Sampler
from helixband.search.samplers.evidence import Document, Evidence
from hyperband import brackets

SAMPLERS = {"density": density_sampler, "tpe": tpe_sampler}


class TwoHyperparameters:
    """The README's learning rate from 1e-4 to 1e-2, and its units."""

    max_epochs = 27
    space = [Dimension("lr", 1e-4, 1e-2, log=True), Dimension("units", choices=(32, 64, 128))]

    def curve(self, config: Document, trial: int) -> Callable[[int], float]:
        """Best at the highest learning rate and the most units."""
        quality = cdf(config) + 0.05 * math.log2(config["units"])
        return lambda epochs: quality - 0.3 / epochs

    def regret(self, config: Document) -> float:
        """Not asked for here."""
        return 0.0


class Recorded:
    """A sampler whose suggestions are kept, so many of them."""

    def __init__(self, sampler: Sampler, count: int) -> None:
        self.name, self.space, self.uses_evidence = sampler.name, sampler.space, sampler.uses_evidence
        self._sampler, self._count = sampler, count
        self.configs: list[Document] = []

    def suggest(self, trial: int, evidence: Evidence, pending: Iterable[Document] = ()) -> Document | None:
        """The sampler's; raises `BudgetSpent` beyond the count."""
        if len(self.configs) == self._count:
            raise BudgetSpent
        config = self._sampler.suggest(trial, evidence, pending)
        assert config is not None
        self.configs.append(config)
        return config


def cdf(config: Document) -> float:
    """The prior's, at the learning rate."""
    return (math.log10(config["lr"]) + 4) / 2


def searched(kind: str, seed: int) -> list[Document]:
    """The configurations of one search."""
    task = TwoHyperparameters()
    count = sum(rungs[0].configurations for rungs in brackets(task.max_epochs, ETA))
    sampler = Recorded(SAMPLERS[kind](task, seed), count)
    try:
        SimulatedHyperband(Account(task, math.inf, lag=8), sampler).run()
    except BudgetSpent:
        pass
    return sampler.configs


def repeats(configs: list[Document]) -> int:
    """Trials that equal an earlier one in four significant digits."""
    return len(configs) - len({(f"{config['lr']:.3e}", config["units"]) for config in configs})


def nearest(configs: list[Document]) -> float:
    """The least share of the prior between the learning rates of two trials of the same units."""
    ordered = sorted((config["units"], cdf(config)) for config in configs)
    pairs = zip(ordered, ordered[1:], strict=False)
    return min(right[1] - left[1] for left, right in pairs if left[0] == right[0])


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="searches by each sampler [%(default)s]")
    args = parser.parse_args()
    found, rows = {}, []
    for kind in SAMPLERS:
        searches = [searched(kind, seed) for seed in range(args.seeds)]
        counts = [repeats(configs) for configs in searches]
        least = min(map(nearest, searches))
        found[kind] = {"trials": len(searches[0]), "repeats": counts, "nearest": least}
        rows.append([kind, len(searches[0]), sum(counts), max(counts), f"{least:.5f}"])
    head = ["sampler", "trials", f"repeats in {args.seeds} searches", "in one at most", "nearest"]
    report({"setting": setting(torch.device("cpu")), "samplers": found}, [table(head, rows)], args.json)


if __name__ == "__main__":
    main()
