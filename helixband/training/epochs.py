"""How many batches an epoch or a set has, where it is not all of them."""

import math
from typing import Any

from helixband.errors import DefinitionError
from helixband.training.feed import number_of_batches
from helixband.training.options import TrainingOptions


def batches_used(options: TrainingOptions, batches: int | None, debug: int | None) -> int | None:
    """The batches of an epoch, given those of the training set, None where it has no length.

    `debug` is how many are used at most, if that is a debug run; None is all there are.
    """
    used = options.epoch_steps or limited(options.limit_train, batches, "limit_train")
    if debug is not None:
        used = debug if used is None else min(used, debug)
    if batches is None or options.epoch_steps:
        return used
    return batches if used is None else min(batches, used)


def limited(limit: float | None, batches: int | None, name: str) -> int | None:
    """The batches of a set under a limit: an integer is a number of batches, a float a share of them.

    >>> limited(0.5, 9, "limit_val"), limited(2, 9, "limit_val"), limited(None, 9, "limit_val")
    (4, 2, None)

    Raises `DefinitionError` for a share of a set without a length.
    """
    if limit is None or isinstance(limit, int):
        return limit
    if batches is None:
        raise DefinitionError(
            f"{name} is {limit}, a share of a set whose generator has no length: give it __len__, the "
            "number of its batches, or a number of batches as an integer"
        )
    return max(1, whole_share(limit, batches))


def whole_share(share: float, number: int) -> int:
    """A share of a whole number, rounded down; a share with up to nine digits is taken as it is written.

    >>> int(0.29 * 100), whole_share(0.29, 100), whole_share(1 / 3, 3), whole_share(0.299, 100)
    (28, 29, 1, 29)
    """
    return math.floor(round(share * number, 9))


def check_sets(options: TrainingOptions, generator: Any, val: Any) -> None:
    """Raise `DefinitionError` where the options need what the sets for training and validation cannot do."""
    limited(options.limit_val, number_of_batches(val), "limit_val")
    if options.epoch_steps and not callable(getattr(generator, "stream", None)):
        raise DefinitionError(
            f"epoch_steps is {options.epoch_steps}, and {type(generator).__name__} cannot begin at any "
            "batch: use a generator of Helixband's, or give yours a method stream(seed, start), which yields "
            "batches without end, from batch number `start` on, the same for the same seed"
        )
