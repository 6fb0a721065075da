"""The training of one model: which stepper takes its steps."""

import functools
import warnings

from helixband.errors import HelixbandWarning
from helixband.training.fit import fit
from helixband.training.member import Member
from helixband.training.steps.eager import Eager
from helixband.training.steps.spread import spread
from helixband.training.steps.stepper import Stepper


def fit_one(member: Member) -> None:
    """Train one member, by this process alone or by all that torchrun has started."""
    with spread(member) as stepper:
        try:
            fit([member], stepper or _stepper_of(member))
        except BaseException:
            _capturing.cache_clear()  # it may have members that did not leave
            raise


def _stepper_of(member: Member) -> Stepper:
    """On a GPU, where steps are captured if they can be, that of all trainings of this process."""
    if member.model.device.type != "cuda" or not member.model.engine.options.capture:
        return Eager()
    return _capturing()


@functools.cache
def _capturing() -> Stepper:
    from helixband.training.steps.captured import Captured  # which a training on a CPU does not need

    return Captured(tell_uncaptured, tell_uncaptured)


def tell_uncaptured(member: Member, why: str) -> None:
    """Say why the steps of a member are not captured."""
    warnings.warn(
        f"each step is computed by itself, and none is captured: {why}", HelixbandWarning, stacklevel=2
    )
