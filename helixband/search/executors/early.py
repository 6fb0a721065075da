"""Processes of trials that begin to come up with the command, while it loads the definition and checks."""

import os
from collections.abc import Mapping, Sequence

from helixband.search.executors.forks import Forks
from helixband.search.executors.spawned import Spawned, root


class Early:
    """Processes with these environments in the folder of this one, of which nobody has made use yet.

    They are forks where that is possible, and there are several: then the environments are the same.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]] = ()) -> None:
        self._spawned: list[Spawned] = []
        forks = Forks() if Forks.ARE_POSSIBLE and len(environments) > 1 else None
        try:
            for environment in environments:
                self._spawned.append(Spawned(root(), os.getcwd(), environment, forks))
        except BaseException:
            self.close()
            raise

    @property
    def is_empty(self) -> bool:
        """Whether there are none, or none any more."""
        return not self._spawned

    def place(self, environments: Sequence[Mapping[str, str]]) -> None:
        """Tell each what belongs to its place; those beyond are of no use."""
        for spawned, environment in zip(self._spawned, environments, strict=False):
            spawned.place(environment)

    def take(self) -> list[Spawned]:
        """All of them, to be somebody else's."""
        taken, self._spawned = self._spawned, []
        return taken

    def close(self) -> None:
        """End those that were not taken: they have done nothing."""
        for spawned in self.take():
            spawned.close()
