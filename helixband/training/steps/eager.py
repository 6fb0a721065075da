"""The plain stepper: each member's own `train_step`, one after another."""

from collections.abc import Sequence
from typing import Any

from helixband.errors import DefinitionError
from helixband.nested import length
from helixband.training.member import Batch, Member, StepResult
from helixband.training.meters import Loss


class Eager:
    """Calls `train_step` of each member's model, the schedules at the values of the moment."""

    def __init__(self) -> None:
        self._members: list[Member] = []

    def join(self, member: Member) -> None:
        self._members.append(member)

    def leave(self, member: Member) -> None:
        self._members.remove(member)

    def step(self, batches: Sequence[Batch]) -> list[StepResult | None]:
        results: list[StepResult | None] = []
        for member, (x, y) in zip(self._members, batches, strict=True):
            result = None
            with member.turn:
                record, model = member.record, member.model
                if member.schedules is not None:
                    member.schedules.set(record.epoch, record.steps)
                model.config.set_time(record.epoch, record.steps)
                record.steps += 1
                given = model.train_step(x, y)
                if not isinstance(given, tuple) or len(given) != 2:
                    raise DefinitionError(
                        f"train_step returned {type(given).__name__}; it has to return (loss, y_pred)"
                    )
                rows = length(y)
                result = StepResult(Loss(given[0], rows, rows), given[1])
            results.append(result)
        return results

    def state(self, member: Member) -> dict[str, Any]:
        return member.state.capture(member.train)
