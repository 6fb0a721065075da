"""What a search has found out so far, and the one order in which samplers see it."""

import math
from typing import Any, NamedTuple

Document = dict[str, Any]


class Finding(NamedTuple):
    """A configuration and its reward after so many epochs, the most it was trained for."""

    config: Document
    epochs: int
    reward: float


class Evidence:
    """The results of a search: of each trial the latest, which is the one at its highest rung.

    >>> evidence = Evidence()
    >>> evidence.add(0, {"lr": 0.1}, 1, 0.9)
    >>> evidence.add(1, {"lr": 0.2}, 1, 0.7)
    >>> evidence.add(1, {"lr": 0.2}, 3, 0.8)
    >>> evidence.ranked()
    [1, 0]
    """

    def __init__(self) -> None:
        self._findings: dict[int, Finding] = {}

    def __len__(self) -> int:
        return len(self._findings)

    def __getitem__(self, trial: int) -> Finding:
        return self._findings[trial]

    def configs(self) -> list[Document]:
        """The configurations that have a result, in the order of their first."""
        return [finding.config for finding in self._findings.values()]

    def add(self, trial: int, config: Document, epochs: int, reward: float) -> None:
        """A result; minus infinity and NaN are failures. One of fewer epochs than known is ignored."""
        known = self._findings.get(trial)
        if known is None or epochs >= known.epochs:
            reward = -math.inf if math.isnan(reward) else reward
            self._findings[trial] = Finding(config, epochs, reward)

    def ranked(self) -> list[int]:
        """The trials, best first: rung by rung from the highest, within a rung by reward, then by number.

        Who got further was chosen for it, so the rung comes first: rewards of different rungs are not
        comparable, ranks are. Failures come last, wherever they happened.
        """

        def key(trial: int) -> tuple[bool, int, float, int]:
            _, epochs, reward = self._findings[trial]
            return reward == -math.inf, -epochs, -reward, trial

        return sorted(self._findings, key=key)
