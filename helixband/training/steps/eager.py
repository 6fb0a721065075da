"""The plain stepper: each member's own `train_step`, one after another."""

from collections.abc import Sequence
from typing import Any

from helixband.errors import DefinitionError
from helixband.nested import length
from helixband.training.gradients import kept_gradients
from helixband.training.hooks import prepared
from helixband.training.member import Batch, Member, StepResult
from helixband.training.way import Way


class Eager:
    """Calls `train_step` of each member's model, the schedules at the values of the moment."""

    def __init__(self) -> None:
        self._members: list[Member] = []

    def join(self, member: Member) -> None:
        self._members.append(member)

    def leave(self, member: Member) -> None:
        model, update = member.model, member.model.engine.update
        if member.ended is None and update.pending:
            with member.turn:
                if not update.is_ever_full and member.limit is None:
                    raise DefinitionError(
                        f"accumulate is {update.accumulate}, and the epoch had {update.pending} batches: no "
                        "optimizer step is ever full; take a smaller one, or a smaller --batch-size"
                    )
                update.finish(model)
                if model.engine.schedules.by_step:
                    model.engine.schedules.step(model.scheduler)
        if member.ended is None and model.engine.own_step:
            update.end_epoch()
        self._members.remove(member)

    def step(self, batches: Sequence[Batch]) -> list[StepResult | None]:
        results: list[StepResult | None] = []
        for member, batch in zip(self._members, batches, strict=True):
            result = None
            with member.turn:
                result = step_of(member, *batch)
            results.append(result)
        return results

    in_blocks = False

    @property
    def at_once(self) -> int:
        return 1

    def steps(self, rounds: Sequence[Sequence[Batch]]) -> list[list[StepResult | None]]:
        return [self.step(rounds[0])]

    def way(self, member: Member) -> Way:
        return Way.ALONE

    def state(self, member: Member) -> dict[str, Any]:
        model = member.model
        state = model.engine.state.capture(model, member.train)
        if not model.engine.own_step:  # a step of ours begins without gradients
            return state
        # One of a definition may add to those of the last.
        return {**state, "gradients": kept_gradients(model), "waits": model.engine.update.waits}


def step_of(member: Member, x: Any, y: Any, weight: Any = None, is_prepared: bool = False) -> StepResult:
    """Train a member on one batch, in its turn."""
    model, engine = member.model, member.model.engine
    record, schedules = engine.record, engine.schedules
    if not schedules.empty and model.optimizer is not None:
        schedules.set(model.optimizer, record.epoch, record.steps)
    model.config.set_time(record.epoch, record.steps)
    before, update = record.steps, engine.update
    if not update.counts:
        record.steps += 1
        update.ahead = True
    y_true = None
    if engine.own_prepare and not is_prepared:
        x, y = prepared(model, x, y, weight)
        y_true = y
    engine.sample_weight, engine.noted = weight, None
    engine.rows = rows = length(y)  # before the step, in which a definition may change it
    if engine.own_step:
        update.begin_step(model)
        given = engine.own(model, "train_step", x, y)
    else:
        given = model.train_step(x, y)
    loss, y_pred = engine.read(given, rows, "train_step")
    if update.ahead and update.was_called:
        record.steps -= 1  # it took none
    update.ahead = False
    if engine.own_step and not update.was_called and engine.needs_calls:
        raise DefinitionError(
            "train_step is the definition's own, and updates by other means than Helixband's, which training "
            "options, on_before_step and several processes need: write self.backward(loss) for "
            "loss.backward() and self.optimizer_step() for self.optimizer.step(), and leave out zero_grad()"
        )
    engine.sample_weight = None
    if schedules.by_step:
        for _ in range(record.steps - before):
            schedules.step(model.scheduler)
    return StepResult(loss, y_pred, y_true)


def labelled(result: StepResult | None, y_true: Any) -> StepResult | None:
    """A result with the labels that the step was given, where these are others than the batch's."""
    return result if result is None or y_true is None else result._replace(y_true=y_true)
