"""How the training of a model ended."""

from enum import StrEnum

from helixband.errors import TrainingError

LOST = "CUDA error: "
"""What CUDA's errors begin with after which a process computes nothing more there."""


def lost_device(error: BaseException) -> bool:
    """Whether an error says that the device computes nothing more in this process."""
    return str(error).startswith(LOST)


class Ended(StrEnum):
    """Why a training goes no further; a string, so that JSON holds it."""

    EPOCHS = "epochs"
    """It has had the epochs that were asked for."""
    HOPELESS = "hopeless"
    """Its best reward was too low to reach the best of the search."""
    PATIENCE = "patience"
    """Its metric had not improved for as many epochs as its patience says."""
    NAN = "nan"
    """Its loss was not finite, or its reward was finite in no epoch."""
    ERROR = "error"
    """It raised an exception."""

    @property
    def is_by_itself(self) -> bool:
        """Whether it ended for a reason of its own, and not for what was asked of it.

        Where it raised no error, such a training is complete: it is not trained on.
        """
        return self in (Ended.PATIENCE, Ended.NAN)

    @classmethod
    def by(cls, error: BaseException) -> "Ended":
        """How a training ended that raised this."""
        return cls.NAN if isinstance(error, TrainingError) else cls.ERROR
