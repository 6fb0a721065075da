"""A model that another package trains: what a run and an executor have to know of it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from helixband.training.processes import Processes

Companions = Callable[[int, str, Mapping[str, str]], AbstractContextManager[Processes]]
"""Has this process and others of this machine take part in a training.

It gets their number, the type of the devices ("cpu" or "cuda"), and what is added to the environment of the
others. In the body of what it gives, all are connected and have begun the same training.
"""


class Foreign(Protocol):
    """A model that another package trains: it scores a set, and is tried, by that package's means.

    `left_out`: why labels and predictions of the set that was scored last are not known. `companions`: where
    a training finds other processes, if it can have some.
    """

    left_out: str
    companions: Companions | None

    def score(self, generator: Any, samples: int | None) -> tuple[dict[str, float], Any, Any]:
        """(metrics, y_true, y_pred) of a set, the latter None where they are not known."""

    def rehearse(self, sets: Mapping[str, Any]) -> None:
        """Try one batch of the sets, "train" and "val"; raises what is wrong."""
