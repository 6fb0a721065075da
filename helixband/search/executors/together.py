"""Trials that one process trains together, as its parent gives them: they join and leave between epochs."""

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn, Protocol

from base_model import BaseModel, choose_device
from helixband.results.attempt import Superseded
from helixband.results.directory import Row, Trial
from helixband.search.executors.task import Task
from helixband.search.executors.trial import Trained, Trainer
from helixband.training.ended import Ended
from helixband.training.fit import fit
from helixband.training.member import Member
from helixband.training.single import tell_uncaptured
from helixband.training.steps.captured import Captured
from helixband.training.steps.packed import Packed

WAIT = 0.5
"""How long trials wait for others in the place of those that left, as a share of the epoch before."""


class Orders(Protocol):
    """Who gives the tasks, and is told of them."""

    def next(self, seconds: float | None = None, /) -> dict[str, Any] | None:
        """The next document; None where there is none after so many seconds."""
        ...

    def send(self, **message: Any) -> None:
        """Tell it something."""
        ...


@dataclass(frozen=True)
class _Place:
    """What belongs to a member: its task and trial, and what is to be closed at its end."""

    task: Task
    trial: Trial
    model: BaseModel
    closing: contextlib.ExitStack


class Together:
    """The trials of a process, at most `slots` at a time; a `Company` of `fit`."""

    def __init__(self, trainer: Trainer, orders: Orders, slots: int) -> None:
        self._trainer, self._orders, self._slots = trainer, orders, slots
        self._places: dict[Member, _Place] = {}
        self._left = slots  # in the places of which others are expected
        self._began = time.monotonic()
        is_gpu = choose_device(trainer.args.cpu).type == "cuda"
        tell, apart = self._tell_alone, self._tell_apart
        self._stepper = Captured(tell, tell_uncaptured, apart) if is_gpu else Packed(tell, apart)

    def work(self) -> None:
        """Train what is given, without end."""
        while True:
            fit(self.joining(0), self._stepper, self)

    def joining(self, running: int) -> Sequence[Member]:
        """Members for the tasks that are there; those that run wait a little for company, not for long."""
        members: list[Member] = []
        until = time.monotonic() + WAIT * (time.monotonic() - self._began)
        while len(members) + running < self._slots:
            waits = max(0.0, until - time.monotonic()) if len(members) < self._left else 0.0
            document = self._orders.next(waits if members or running else None)
            if document is None:
                break
            member = self._member(Task.of(document))
            members += [member] if member is not None else []
        self._left, self._began = 0, time.monotonic()
        return members

    def left(self, member: Member) -> None:
        """Tell what came of a trial."""
        place = self._places.pop(member)

        def trained() -> Trained:
            with place.closing:  # which an error reaches, as one in `fit` does
                member.raise_error()
            return place.model, member.ended or Ended.EPOCHS

        self._conclude(place.task, place.trial, trained)
        self._left += 1

    def _member(self, task: Task) -> Member | None:
        """The member of a task; None where the trial has failed before its first step, or is another's."""
        try:
            trial = self._trainer.trial_of(task)
        except Superseded as superseded:
            self._orders.send(trial=task.name, superseded=str(superseded))
            return None
        closing = contextlib.ExitStack()
        try:
            model, given = closing.enter_context(self._trainer.ready(task, trial, self._report))
            member: Member = model.as_member(*given)
        except (Exception, SystemExit) as error:
            self._conclude(task, trial, functools.partial(_fail, error, closing))
            return None
        self._places[member] = _Place(task, trial, model, closing)
        return member

    def _conclude(self, task: Task, trial: Trial, train: Callable[[], Trained]) -> None:
        outcome = self._trainer.concluded(task, trial, train)
        self._orders.send(trial=task.name, outcome=asdict(outcome))

    def _report(self, name: str, row: Row) -> None:
        self._orders.send(trial=name, row=row)

    def _tell_alone(self, member: Member, why: str) -> None:
        self._orders.send(trial=self._places[member].task.name, alone=why)

    def _tell_apart(self, why: str) -> None:
        self._orders.send(apart=why)


def _fail(error: BaseException, closing: contextlib.ExitStack) -> NoReturn:
    with closing:
        raise error
