"""What a worker is told to do, and what it tells: JSON both, and without torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from helixband.results.directory import Row
from helixband.training.ended import LOST, Ended

Document = dict[str, Any]
Report = Callable[[str, Row], None]
"""Gets the name of a trial and the row of an epoch of it, in whatever thread."""


@dataclass(frozen=True)
class Chunk:
    """Predict on the windows [first, last) of the input `path`, and write the arrays to the file `target`.

    Without a path, evaluate the batches [first, last) of the test set, in pass number `sample` over it.
    `facts`: what the outcome depends on, as it is in the run's own process.
    """

    path: str | None
    facts: Document
    first: int = 0
    last: int = 0
    target: str = ""
    sample: int = 0

    @property
    def work(self) -> str:
        """What it is a part of, for messages."""
        return "evaluation" if self.path is None else "prediction"

    def __str__(self) -> str:
        what, of = ("batches", "the test set") if self.path is None else ("windows", self.path)
        return f"{what} {self.first:,} to {self.last:,} of {of}"


@dataclass(frozen=True)
class Task:
    """Train a trial until it has had `epochs` epochs, those found in its directory included.

    `floors[k]` belongs to epoch k + 1 of the trial, whichever task trained it: where the best reward of the
    first k + 1 epochs is below it, the trial goes no further. Beyond the last floor nothing stops it.
    `attempt` is the token of the attempt at the trial that was begun for the task; without one, it begins
    where it is carried out. With a `chunk` nothing is trained: the trial's best weights are used on that, and
    of the outcome nothing counts but that there is one. All of it is JSON.
    """

    name: str
    config: Document
    epochs: int
    floors: tuple[float, ...] = ()
    attempt: str | None = None
    chunk: Chunk | None = None

    @classmethod
    def of(cls, document: Document) -> "Task":
        """The task of its JSON."""
        chunk = document["chunk"] and Chunk(**document["chunk"])
        return cls(**{**document, "floors": tuple(document["floors"]), "chunk": chunk})

    def is_hopeless(self, epoch: int, best_reward: float) -> bool:
        """Whether the trial ends after so many epochs, its best reward being so.

        While no epoch had a finite reward, there is nothing to compare.

        >>> task = Task("0000", {}, epochs=9, floors=(-2.0, -1.0))
        >>> [task.is_hopeless(epoch, -1.5) for epoch in (0, 1, 2, 3)]
        [False, False, True, False]
        >>> task.is_hopeless(1, -math.inf)
        False
        """
        return 0 < epoch <= len(self.floors) and -math.inf < best_reward < self.floors[epoch - 1]


class DeviceLost(Exception):
    """The device of a process is lost, and the process of no more use."""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: its highest reward and that epoch, or the error it failed with.

    `epochs` is how many it has had in all, and `ended` says why it has no more. A trial that was
    `out_of_memory` may do better alone.
    """

    reward: float
    best_epoch: int
    epochs: int = 0
    error: str | None = None
    out_of_memory: bool = False
    ended: str = Ended.EPOCHS
    place: str = field(default="", compare=False)
    """Where in the definition it failed, for messages."""

    @property
    def told_error(self) -> str | None:
        """The error with its place."""
        if not self.error or not self.place:
            return self.error
        first, *others = self.error.split("\n", 1)
        return "\n".join([f"{first} ({self.place})", *others])

    @property
    def has_lost_device(self) -> bool:
        """Whether it has taken the device with it, as seen from its process."""
        return self.error is not None and LOST in self.error and not self.out_of_memory

    @property
    def hopeless(self) -> bool:
        """Whether it was stopped early, for it could not reach the best trial."""
        return self.ended == Ended.HOPELESS

    @property
    def complete(self) -> bool:
        """Whether it ended by itself without an error: what came of it stands, and it is not trained on."""
        return Ended(self.ended).is_by_itself and self.error is None
