"""The parts that a model uses, in their one order."""

from torch import nn

from helixband.training.options import TrainingOptions
from helixband.training.parts.average import Average
from helixband.training.parts.clip import ClipNorm, ClipValue, Measure, Norms
from helixband.training.parts.constrain import Constrain
from helixband.training.parts.update import OnGradients, Part


def before_update(options: TrainingOptions, norms: Norms) -> list[OnGradients]:
    """What a step does to the gradients before the update. A part that is off is not in the list.

    Values are clipped before the norm, so that its bound holds in the end.
    """
    parts: list[OnGradients] = []
    if options.gradient_norm is not None and not (options.gradient_norm == "L2" and options.clip_norm):
        parts.append(Measure(options.gradient_norm, norms))
    if options.clip_value is not None:
        parts.append(ClipValue(options))
    if options.clip_norm is not None:
        parts.append(ClipNorm(options, norms))
    return parts


def after_update(
    options: TrainingOptions, network: nn.Module, average: Average | None = None, several: bool = False
) -> list[Part]:
    """What a step of one or of `several` optimizers does after the update. A part that is off is not there.

    A moving average takes frozen weights, too, as it does in a plain loop; constraints leave these.
    """
    parts: list[Part] = []
    if options.constraints:
        parts.append(Constrain(options.constraints, network))
    if average is not None and average.by_step:
        parts.append(average if several else average.of_all)
    return parts
