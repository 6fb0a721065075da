"""The parts that a model uses, in their one order."""

from collections.abc import Callable

from torch import nn

from helixband.training.options import TrainingOptions
from helixband.training.parts.average import Average
from helixband.training.parts.constrain import Constrain

Part = Callable[[], None]


def after_update(options: TrainingOptions, network: nn.Module, average: Average | None = None) -> list[Part]:
    """What a step does after the update. A part that is off is not in the list."""
    parts: list[Part] = []
    if options.constraints:
        parts.append(Constrain(options.constraints, network))
    if average is not None and average.by_step:
        parts.append(average)
    return parts
