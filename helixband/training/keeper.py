"""Keeps the states of a training: in memory after every epoch, on disk at the end and wherever that is cheap.

Writing takes at most a fiftieth of the time; states so large that this comes to more than ten seconds between
two writes are written every ten. An interruption therefore costs at most the epoch under way, and a kill
the epochs of a fraction of a second more, or of ten.
"""

import time
from collections import deque
from typing import Any

from helixband.results import checkpoints
from helixband.results.directory import Row, Trial

SECONDS_BETWEEN_WRITES = 10.0
"""Two writes are at most so far apart, whatever they cost, where epochs are shorter."""

COSTS_BETWEEN_WRITES = 50.0
"""After so many times what the last write took, there may be another."""

FIRST_COST = 0.01
"""What the first write is taken to cost, in seconds: that of a small network on a disk."""


class Keeper:
    """The last and the best state of one trial, and those of the `latest` epochs; without a `Trial`, none."""

    def __init__(self, trial: Trial | None, latest: int = 0) -> None:
        self._trial = trial
        self._latest: deque[dict[str, Any]] = deque(maxlen=latest)
        self._written = time.monotonic()
        self._cost = FIRST_COST
        self._last: dict[str, Any] | None = None
        self._best: dict[str, Any] | None = None

    def go_on(self, last: dict[str, Any]) -> None:
        """Write the table of epochs again where it is damaged, or a kill left it behind the last state."""
        rows = table(last)
        if self._trial is not None and rows and not self._trial.has_history(len(rows)):
            self._trial.write_history(rows, last.get("ended"), last.get("ways"))

    def keep(self, last: dict[str, Any], best: dict[str, Any] | None) -> None:
        """Take the state after an epoch, and the best one where this epoch is the best so far."""
        self._last = last
        self._latest.append(last)
        self._best = best or self._best
        wait = min(SECONDS_BETWEEN_WRITES, COSTS_BETWEEN_WRITES * self._cost)
        if time.monotonic() - self._written >= wait:
            self.flush()

    def end(self, last: dict[str, Any]) -> None:
        """Take the state of the last epoch again, which says now how the training ended."""
        self._last = last
        if self._latest and self._latest[-1]["epoch"] == last["epoch"]:
            self._latest[-1] = last

    def flush(self) -> None:
        """Write what is not on disk yet."""
        if self._trial is None:
            return
        began = time.monotonic()
        # The best goes first: a kill before the last leaves an older one, which comes to the same best again.
        # The history goes last, so that its length tells how far the checkpoints are at least.
        files = {self._trial.best_checkpoint: self._best}
        files |= {self._trial.epoch_checkpoint(state["epoch"]): state for state in self._latest}
        files[self._trial.last_checkpoint] = self._last
        states = {
            file: {**state, "trial": self._trial.id} for file, state in files.items() if state is not None
        }
        if states:
            with self._trial.writing():
                checkpoints.save_together(states)
                if self._latest.maxlen and self._last is not None:
                    self._trial.forget_epochs(self._last["epoch"] - self._latest.maxlen)
        if self._last is not None:
            self._trial.write_history(table(self._last), self._last.get("ended"), self._last.get("ways"))
        self._latest.clear()
        self._best = self._last = None
        self._written = time.monotonic()
        self._cost = self._written - began


def table(last: dict[str, Any]) -> list[Row]:
    """The history in a state, with the seconds that each epoch took where it has them."""
    rows: list[Row] = last["history"]
    seconds = last.get("seconds")
    return (
        rows
        if seconds is None
        else [{**row, "seconds": took} for row, took in zip(rows, seconds, strict=True)]
    )
