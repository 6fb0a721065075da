"""Keeps the states of a training: in memory after every epoch, on disk every ten seconds and at the end.

An interruption therefore costs at most the epoch under way; a kill, ten seconds more.
"""

import time
from typing import Any

from helixband import checkpoints
from helixband.results import Trial

SECONDS_BETWEEN_WRITES = 10.0


class Keeper:
    """The last and the best state of one trial; without a `Trial`, in memory alone."""

    def __init__(self, trial: Trial | None) -> None:
        self._trial = trial
        self._written = time.monotonic()
        self._last: dict[str, Any] | None = None
        self._best: dict[str, Any] | None = None

    def keep(self, last: dict[str, Any], best: dict[str, Any] | None) -> None:
        """Take the state after an epoch, and the best one where this epoch is the best so far."""
        self._last = last
        self._best = best or self._best
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet."""
        if self._trial is None:
            return
        # The last state goes last: a kill in between leaves an older one, from which the training comes to
        # the same best and the same history again.
        if self._best is not None:
            checkpoints.save(self._trial.best_checkpoint, self._best)
        if self._last is not None:
            self._trial.write_history(self._last["history"])
            checkpoints.save(self._trial.last_checkpoint, self._last)
        self._last = self._best = None
        self._written = time.monotonic()
