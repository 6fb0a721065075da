"""Mean regret of search methods on counting-ones: how many of 16 hyperparameters are one, seen through noise.

Eight are 0 or 1, eight are probabilities (Falkner, Klein and Hutter, "BOHB", ICML 2018). The reward after b
epochs is the sum of the former and of the means of b Bernoulli draws of each of the latter; R = 729. Costs,
budgets and regret as in search_lcbench.py, but best (16) and median (8) are known.
"""

from collections.abc import Callable

import numpy as np
from search_lcbench import compare, search_parser
from search_methods import Dimension

from helixband.search.samplers.evidence import Document


class CountingOnes:
    """The task; `seed` is that of the noise."""

    max_epochs = 729
    space = [Dimension(f"c{i}", choices=(0, 1)) for i in range(8)] + [Dimension(f"p{i}") for i in range(8)]

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def curve(self, config: Document, trial: int) -> Callable[[int], float]:
        """Each epoch adds one draw of each probability."""
        probabilities = [config[f"p{i}"] for i in range(8)]
        drawn = np.random.default_rng([self.seed, trial]).random((self.max_epochs, 8)) < probabilities
        sums = drawn.sum(axis=1).cumsum()
        certain = sum(config[f"c{i}"] for i in range(8))
        return lambda epochs: float(certain + sums[epochs - 1] / epochs)

    def regret(self, config: Document) -> float:
        """Of the expected reward."""
        return (16 - sum(config.values())) / 8


def main() -> None:
    parser = search_parser(__doc__.splitlines()[0], seeds=20, budgets=[20, 60])
    args = parser.parse_args()
    compare({"counting-ones": CountingOnes}, args)


if __name__ == "__main__":
    main()
