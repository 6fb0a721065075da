"""Keeps the states of a training: in memory after every epoch, on disk every ten seconds and at the end.

An interruption therefore costs at most the epoch under way; a kill, ten seconds more.
"""

import time
from typing import Any

from helixband import checkpoints
from helixband.results import Row, Trial

SECONDS_BETWEEN_WRITES = 10.0


class Keeper:
    """The last and the best state of one trial; without a `Trial`, in memory alone."""

    def __init__(self, trial: Trial | None) -> None:
        self._trial = trial
        self._written = time.monotonic()
        self._last: dict[str, Any] | None = None
        self._best: dict[str, Any] | None = None

    def go_on(self, history: list[Row]) -> None:
        """Mend the stored history where a kill left it behind the last state."""
        if self._trial is not None and history and self._trial.epochs() != len(history):
            self._trial.write_history(history)

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
        # The best goes first: a kill before the last leaves an older one, which comes to the same best again.
        # The history goes last, so that its length tells how far the checkpoints are at least.
        if self._best is not None:
            checkpoints.save(self._trial.best_checkpoint, self._best)
            self._best = None
        if self._last is not None:
            checkpoints.save(self._trial.last_checkpoint, self._last)
            history, self._last = self._last["history"], None
            self._trial.write_history(history)
        self._written = time.monotonic()
