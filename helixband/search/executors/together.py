"""Trials that one process trains together, as its parent gives them: they join and leave between epochs."""

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn, Protocol, TypeGuard

import torch

from base_model import BaseModel, choose_device
from helixband import randomness
from helixband.definition.lasting import in_variables, orders
from helixband.generators.base import BatchGenerator
from helixband.randomness import held
from helixband.results.attempt import Superseded
from helixband.results.directory import Row, Trial
from helixband.search.executors.task import DeviceLost, Task
from helixband.search.executors.trial import Trained, Trainer
from helixband.training import snapshot
from helixband.training.ended import Ended, lost_device
from helixband.training.fit import fit
from helixband.training.holdings import Look, changed, look, shown, unchanged
from helixband.training.member import Member
from helixband.training.objects import walk
from helixband.training.single import tell_uncaptured
from helixband.training.state import TRAIN
from helixband.training.steps.captured import Captured
from helixband.training.steps.packable import shares_no_step

_ONE = "all of them have one {}, or one generator in it"

WAIT = 0.25
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
    orders: Mapping[int, Any]
    """What the trial's generator reads in an order, by `id`."""


class _Later(Exception):
    """A trial is trained when those that run have ended."""


class Together:
    """The trials of a process, at most `slots` at a time; a `Company` of `fit`.

    Where making a trial changes a variable of the definition's modules, which those that run may read, or
    a network takes its weights from one, or they have one training generator, they are trained one after
    another.
    """

    def __init__(self, trainer: Trainer, orders: Orders, slots: int) -> None:
        self._trainer, self._orders, self._slots = trainer, orders, slots
        self._places: dict[Member, _Place] = {}
        self._later: list[dict[str, Any]] = []
        """The documents of trials that were given, and cannot run beside others."""
        self._at_first: Look | None = None
        """What the definition's modules hold as an epoch of several trials begins, until a change is told."""
        self._tells_changes = True
        self._is_read = False
        self._left = slots  # in the places of which others are expected
        self._began = time.monotonic()
        # On a CPU, a lone trial that needs no masks of a pack keeps its last digits by itself.
        self._takes_one = choose_device(trainer.args.cpu).type == "cuda"
        # What a CPU replays is a little faster than what it computes: whether it does is told of a GPU alone.
        tells = self._tell_alone, tell_uncaptured if self._takes_one else None, self._tell_apart
        self._stepper = Captured(*tells, takes_one=self._takes_one)

    def work(self) -> None:
        """Train what is given, without end."""
        while True:
            fit(self.joining(0), self._stepper, self)

    def joining(self, running: int) -> Sequence[Member]:
        """Members for the tasks that are there; those that run wait a little for company, not for long."""
        self._tell_changes()
        members: list[Member] = []
        until = time.monotonic() + WAIT * (time.monotonic() - self._began)
        while len(members) + running < self._slots:
            waits = max(0.0, until - time.monotonic()) if len(members) < self._left else 0.0
            document = self._next(waits if members or running else None)
            if document is None:
                break
            try:
                member = self._member(Task.of(document))
            except _Later:
                self._later.append(document)
                continue
            members += [member] if member is not None else []
        is_watched = self._tells_changes and len(self._places) > 1
        self._at_first = self._look() if is_watched else None
        self._left, self._began = 0, time.monotonic()
        return members

    def _tell_changes(self) -> None:
        """Tell once where an epoch of several trials has changed a variable, which all of them have."""
        if self._at_first is not None and (name := changed(self._at_first, self._look())) is not None:
            self._tells_changes = False
            self._orders.send(changes=name)

    def _look(self) -> Look:
        """What the trials have in common: variables of the definition, and what copied generators share.

        The order that generators of Helixband are given is left out.
        """
        made = (train for train, _ in self._trainer.definition.data_made().values())
        numbered = enumerate(filter(_is_copied, made))
        copied = {f"{TRAIN} {number}" if number else TRAIN: train for number, train in numbered}
        entered = {id(train) for train in copied.values()}

        def is_left_out(holder: Any) -> Callable[[str], bool] | None:
            is_given = isinstance(holder, BatchGenerator) and id(holder) not in entered
            return (lambda name: True) if is_given else None

        return look({**held.variables(), **copied}, is_left_out)

    def _changed_by_reading(self, train: Iterable[Any]) -> str | None:
        """The name of something that the trials have in common and that reading a copy changes; once."""
        if self._is_read or not _is_copied(train):
            return None
        self._is_read = True
        with randomness.unmoved(), unchanged({**held.variables(), TRAIN: train}, strict=False):
            copied = _of_its_own(train)
            before = self._look()
            own = {id(source) for source in held.sources()}
            drawn = {shown(path): source for path, source in before.sources if id(source) not in own}
            places = {name: randomness.state_of(source) for name, source in drawn.items()}
            for _ in itertools.islice(copied, 2):
                pass
            for name, source in drawn.items():
                if not randomness.equal_states(randomness.state_of(source), places[name]):
                    return name
            return changed(before, self._look())

    def _next(self, seconds: float | None) -> dict[str, Any] | None:
        return self._later.pop(0) if self._later else self._orders.next(seconds)

    def left(self, member: Member) -> None:
        """Tell what came of a trial.

        Raises `DeviceLost` where it has taken the device with it, and tells nothing where others had that,
        too: each of them then goes on alone.
        """
        place = self._places.pop(member)
        is_lost = member.error is not None and lost_device(member.error)
        if is_lost and self._places:
            raise DeviceLost(str(member.error))

        def trained() -> Trained:
            with place.closing:  # which an error reaches, as one in `fit` does
                member.raise_error()
            return place.model, member.ended or Ended.EPOCHS

        self._conclude(place.task, place.trial, trained)
        if is_lost:
            raise DeviceLost("the device is lost")
        self._left += 1

    def _member(self, task: Task) -> Member | None:
        """The member of a task; None where the trial has failed before its first step, or is another's.

        Raises `_Later` where making it changed what those that run may read, which is put back, or where its
        data are read from what theirs are.
        """
        before = _Variables() if self._places else None
        try:
            trial = self._trainer.trial_of(task)
        except Superseded as superseded:
            self._orders.send(trial=task.name, superseded=str(superseded))
            return None
        closing = contextlib.ExitStack()
        try:
            model, (train, *given) = closing.enter_context(self._trainer.ready(task, trial, self._report))
            member: Member = model.as_member(_of_its_own(train), *given)
            read = orders(train)
            why = self._in_common(train, read)
        except (Exception, SystemExit) as error:
            self._conclude(task, trial, functools.partial(_fail, error, closing))
            return None
        is_later = any(not place.orders.keys().isdisjoint(read) for place in self._places.values())
        if before is not None and (name := before.changed()) is not None:
            before.put_back()
            is_later, why = True, f"making one changes {name}, which all of them have"
        elif is_later:
            why = _ONE.format(type(train).__name__)
        if why is not None:
            self._slots = 1
            self._orders.send(shared=why)
        if is_later:
            with contextlib.suppress(_Later):
                _fail(_Later(), closing)
            raise _Later
        self._places[member] = _Place(task, trial, model, closing, read)
        if self._takes_one and (why := shares_no_step(member)):  # in a pack of its own, not told otherwise
            self._tell_alone(member, why)
        return member

    def _in_common(self, train: Iterable[Any], read: Mapping[int, Any]) -> str | None:
        """Why the trial made latest, whose data are `read` in an order, is trained by itself, in words."""
        if (name := self._trainer.definition.lent.name) is not None:
            return f"each trains weights of {name}, which all of them have"
        if not in_variables().isdisjoint(read) or _holds_itself(train):
            return _ONE.format(type(train).__name__)
        if (name := self._changed_by_reading(train)) is not None:
            return f"reading the data changes {name}, which all of them have"
        return None

    def _conclude(self, task: Task, trial: Trial, train: Callable[[], Trained]) -> None:
        outcome = self._trainer.concluded(task, trial, train)
        self._orders.send(trial=task.name, outcome=asdict(outcome))

    def _report(self, name: str, row: Row) -> None:
        self._orders.send(trial=name, row=row)

    def _tell_alone(self, member: Member, why: str) -> None:
        self._orders.send(trial=self._places[member].task.name, alone=why)

    def _tell_apart(self, why: str) -> None:
        self._orders.send(apart=why)


class _Variables:
    """What the modules of the definition hold at a moment, and the type of numbers that torch makes."""

    def __init__(self) -> None:
        self._before, self._snapshot = look(held.variables()), snapshot.of_the_definition(room=0)
        self._type = torch.get_default_dtype()

    def changed(self) -> str | None:
        """The name of something that has become another one since then."""
        if torch.get_default_dtype() != self._type:
            return "torch's default dtype"
        return changed(self._before, look(held.variables()))

    def put_back(self) -> None:
        """Have them hold the same again."""
        torch.set_default_dtype(self._type)
        self._snapshot.put_back()


def _of_its_own(train: Iterable[Any]) -> Iterable[Any]:
    """The training generator of a member: of one that code of the user's may have a part in, a copy.

    It has the data in common with the others, and an order, attributes and random numbers of its own.
    """
    if not _is_copied(train):
        return train
    made = train.copied()
    for name, value in vars(made).items():
        if isinstance(value, randomness.SOURCES):
            vars(made)[name] = randomness.of_its_own(value)
    return made


def _is_copied(train: Iterable[Any]) -> TypeGuard[BatchGenerator]:
    is_derived = isinstance(train, BatchGenerator) and not train.is_made_alone()
    return is_derived and not _holds_itself(train)


def _holds_itself(train: Iterable[Any]) -> bool:
    """Whether a copy would read what it is from the generator, as from a method of it in an attribute."""
    is_derived = isinstance(train, BatchGenerator) and not train.is_made_alone()
    return is_derived and any(
        value is train for _, value in walk({"": vars(train)}, lambda value, path: False)
    )


def _fail(error: BaseException, closing: contextlib.ExitStack) -> NoReturn:
    with closing:
        raise error
