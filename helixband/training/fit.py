"""Training, in the order in which things happen."""

from collections.abc import Sequence

from helixband import metrics
from helixband.randomness import Stream
from helixband.training.member import Member
from helixband.training.parts.schedule import step_scheduler
from helixband.training.passes import train_pass
from helixband.training.steps.stepper import Stepper


def fit(members: Sequence[Member], stepper: Stepper) -> None:
    """Train each member until it has ended; `member.ended` says how, and `member.error` by what.

    What goes wrong with one member ends that member. Raised is what concerns all: an interruption, a result
    directory that cannot be written, and whatever an `on_epoch` raises. Finished epochs are kept then, too.
    """
    with Stream.turns():
        for member in members:
            member.begin()
        try:
            while running := [member for member in members if member.ended is None]:
                train_pass(running, stepper)
                for member in running:
                    if member.ended is None:
                        close_epoch(member, stepper)
        finally:
            for member in members:
                member.keeper.flush()
        for member in members:
            member.end()


def close_epoch(member: Member, stepper: Stepper) -> None:
    """Validate, reward, step the scheduler, keep the state, report the row, end after the last epoch."""
    model, record, row = member.model, member.record, None
    with member.turn:
        result = member.trained()
        result |= {f"val_{name}": value for name, value in model.evaluate(member.val).items()}
        reward = metrics.number(model.get_hyperband_reward(dict(result)), "get_hyperband_reward")
        record.epoch += 1
        if member.scheduler is not None:
            step_scheduler(member.scheduler, result)
        row = {"epoch": record.epoch, **result, "reward": reward}
        member.keep(row, stepper.state(member))
    if row is not None and member.ended is None:
        if member.on_epoch is not None:
            member.on_epoch(row)
        member.end_if_done()
