"""What a stepper is: the way in which members of a training take their steps."""

from collections.abc import Sequence
from typing import Any, Protocol

from helixband.training.member import Batch, Member, StepResult
from helixband.training.way import Way


class Stepper(Protocol):
    """Takes the optimizer steps of the members that have joined it, each step for all of them.

    Before a step it sets the schedules and the configuration's time, and counts the step, as `Eager` does.
    What it does for one member it does in that member's turn.
    """

    def join(self, member: Member) -> None:
        """Take a member in, at the beginning of its epoch."""
        ...

    def leave(self, member: Member) -> None:
        """Let a member go, at the end of its epoch or where it failed: its model has what was learned."""
        ...

    def step(self, batches: Sequence[Batch]) -> list[StepResult | None]:
        """Train each member on its batch, in the order in which they joined.

        The results stay on the device. None stands for a member that failed, which has then ended.
        """
        ...

    in_blocks: bool
    """Whether it may take several steps at a time, by `steps`."""

    @property
    def at_once(self) -> int:
        """How many rounds of batches `steps` is given at most, for the next steps."""
        ...

    def steps(self, rounds: Sequence[Sequence[Batch]]) -> list[list[StepResult | None]]:
        """As `step`, of the first rounds or all of them, as it chooses; what each of these gave."""
        ...

    def way(self, member: Member) -> Way:
        """How the steps of a member are computed."""
        ...

    def state(self, member: Member) -> dict[str, Any]:
        """All that the member's next epoch depends on but the global random numbers.

        It has the one form that every stepper gives and takes.
        """
        ...
