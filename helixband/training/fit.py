"""Training, in the order in which things happen."""

from collections.abc import Sequence
from typing import Protocol

from helixband import randomness
from helixband.randomness import Stream
from helixband.results.directory import Row
from helixband.training.hooks import with_columns
from helixband.training.member import Member, Model
from helixband.training.parts.schedule import learning_rate, scheduled_options
from helixband.training.passes import train_pass
from helixband.training.result import Result, number
from helixband.training.state import validation_numbers
from helixband.training.steps.stepper import Stepper


class Company(Protocol):
    """Who joins a training under way. It is asked and told between epochs, when it is no member's turn."""

    def joining(self, running: int) -> Sequence[Member]:
        """Those who join the `running` ones; where nobody does and nobody runs, the training is over."""
        ...

    def left(self, member: Member) -> None:
        """Take a member that has ended; its state is kept."""
        ...


def fit(members: Sequence[Member], stepper: Stepper, company: Company | None = None) -> None:
    """Train each member until it has ended; `member.ended` says how, and `member.error` by what.

    Members leave at their end, and others of `company` join, between epochs. What goes wrong with one member
    ends that member. Raised is what concerns all: an interruption, a result directory that cannot be written,
    and whatever an `on_epoch` raises. Finished epochs are kept then, too.
    """
    running: list[Member] = []
    with Stream.turns():
        try:
            while members or running:
                for member in members:
                    running.append(member)
                    member.begin()
                train_pass([member for member in running if member.ended is None], stepper)
                for member in list(running):
                    if member.ended is None:
                        close_epoch(member, stepper)
                    if member.ended is not None:
                        leave(member, company)
                        running.remove(member)
                members = ()
                if company is not None:
                    with Stream.pause():
                        members = company.joining(len(running))
        finally:
            for member in running:
                member.keeper.flush()


def leave(member: Member, company: Company | None) -> None:
    """Keep the state of a member that has ended, and give its model its best weights."""
    member.keeper.flush()
    member.end()
    if company is not None:
        with Stream.pause():
            company.left(member)


def close_epoch(member: Member, stepper: Stepper) -> None:
    """Validate, reward, step the scheduler, keep the state, report the row, end after the last epoch.

    All that has random numbers of its own; the next epoch goes on with those that the last step left.
    """
    row = None
    with member.turn:
        pass  # so that the numbers to put back are the member's
    with randomness.unmoved() as numbers:
        with member.turn:
            row = _validated(member)
            member.keep(
                row,
                member.elapsed(),
                stepper.way(member),
                {**stepper.state(member), "random": numbers.state()},
            )
        if row is not None and member.ended is None:
            if member.on_epoch is not None:
                member.on_epoch(row)
            member.end_if_done()


def _validated(member: Member) -> Row:
    """The row of the epoch, its validation and reward included; the scheduler stepped."""
    model, record, schedules = member.model, member.model.engine.record, member.model.engine.schedules
    result = member.trained()
    limit = model.engine.limited(model.engine.options.limit_val, member.val, "limit_val")
    with member.weights_to_use(), limit, validation_numbers(member.val, member.seed, record.epoch):
        result |= {f"val_{name}": value for name, value in model.evaluate(member.val).items()}
    result |= model.engine.norms.means() | member.covered()
    if model.engine.update.skip is not None:
        result["train_skipped"] = model.engine.update.skip.count()
    if model.engine.average is not None:
        result["averaged"] = model.engine.average.count
    if model.engine.own_epoch_end:
        result = with_columns(model, record.epoch + 1, result)
    reward = number(model.get_hyperband_reward(Result(result)), "get_hyperband_reward")
    record.epoch += 1
    row = {"epoch": record.epoch, **result, "reward": reward, **scheduled_values(model)}
    if model.engine.shared is not None:  # what is decided by it, all processes decide alike
        row = model.engine.shared.same(row)
    schedules.end_epoch(model.scheduler, row)
    if model.engine.patience is not None:
        model.engine.patience.check(row)
    return row


def scheduled_values(model: Model) -> Row:
    """The learning rates, and the scheduled hyperparameters and options, at the moment, by columns."""
    found, time = {}, model.config.time
    scheduled = scheduled_options(model.engine.options, time) | model.config.scheduled()
    if model.optimizer is not None:
        found = learning_rate(model.optimizer)
        scheduled = model.engine.schedules.values(model.optimizer) | scheduled
    return found | {f"hp_{name}": value for name, value in scheduled.items()}
