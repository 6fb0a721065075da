"""When a trial is given up between rungs: it cannot reach the best one by anything that was seen so far."""

import itertools
import math
from collections.abc import Sequence

FULL_CURVES = 5
"""No trial is given up before so many were trained to the end."""
DOUBT = 2.0
"""A trial may gain so many times what the one that gained most has gained."""


class Gains:
    """The largest gain of any trial from an epoch on, learned from the trials' rewards by epoch.

    It holds whatever the scale of the reward, and is meant to err on the side of going on: late starters are
    given up only where none was seen.
    """

    def __init__(self, max_epochs: int) -> None:
        self._gains = [0.0] * max_epochs
        self._full_curves = 0

    def add(self, rewards: Sequence[float]) -> None:
        """The rewards of a trial's epochs; NaN where undefined."""
        best = best_so_far(rewards)
        self._full_curves += len(best) == len(self._gains)
        for epoch, value in enumerate(best):
            if value > -math.inf:
                self._gains[epoch] = max(self._gains[epoch], best[-1] - value)

    def floors(self, best: float, epochs: int) -> tuple[float, ...]:
        """For each epoch up to `epochs` what a trial's best reward has to be by then to reach `best`.

        >>> gains = Gains(max_epochs=3)
        >>> for _ in range(FULL_CURVES):
        ...     gains.add([0.1, 0.4, 0.5])
        >>> [round(floor, 6) for floor in gains.floors(best=0.9, epochs=2)]
        [0.1, 0.7]
        """
        if self._full_curves < FULL_CURVES:
            return ()
        return tuple(best - DOUBT * gain for gain in self._gains[:epochs])


def best_so_far(rewards: Sequence[float]) -> list[float]:
    """The highest reward up to each epoch; minus infinity before there is one.

    >>> best_so_far([0.2, 0.1, math.nan, 0.4])
    [0.2, 0.2, 0.2, 0.4]
    """
    numbers = [-math.inf if math.isnan(reward) else reward for reward in rewards]
    return list(itertools.accumulate(numbers, max))
