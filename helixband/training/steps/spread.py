"""The steps of a training that several processes take together."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from helixband.training import processes
from helixband.training.distributed import Shared
from helixband.training.member import Batch, Member, StepResult
from helixband.training.steps.eager import Eager, step_of
from helixband.training.steps.stepper import Stepper


class Spread(Eager):
    """Steps on this process's rows of each batch; the results are those of the whole batch."""

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self._shared = shared

    def join(self, member: Member) -> None:
        super().join(member)
        self._numbers = self._shared.numbers(member.seed, member.record.epoch)

    def step(self, batches: Sequence[Batch]) -> list[StepResult | None]:
        (member,), (batch,) = self._members, batches
        result = None
        with member.turn:
            with self._numbers:
                given = step_of(member, *batch)
            result = self._whole(member, given)
        return [result]

    def _whole(self, member: Member, given: StepResult) -> StepResult:
        with torch.no_grad():
            loss = self._shared.whole(given.loss)
        if member.metrics is None:
            return StepResult(loss, None)
        y_true = None if given.y_true is None else self._shared.outputs(given.y_true)
        return StepResult(loss, self._shared.outputs(given.y_pred), y_true)

    def state(self, member: Member) -> dict[str, Any]:
        state = super().state(member)
        if state.get("waits"):  # as they are in each process, its share; process 0 goes on with all
            state["gradients"] = self._shared.gradients(state["gradients"])
        return state

    def leave(self, member: Member) -> None:
        super().leave(member)
        if member.ended is None:
            with member.turn:
                self._shared.end_epoch()


@contextmanager
def spread(member: Member) -> Iterator[Stepper | None]:
    """What takes the steps of a member by all processes that torchrun has started; None by this one alone."""
    together, engine = processes.ours(), member.model.engine
    if together is None or not together.are_connected:
        yield None
        return
    engine.shared = shared = Shared(together, member.model)
    engine.update.share(shared)
    try:
        yield Spread(shared)
    finally:
        shared.leave()
        engine.shared = None
        engine.update.share(None)
