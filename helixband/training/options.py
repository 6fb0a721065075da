"""How a model is trained, as a definition says it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from constraints import Constraint
from helixband.errors import DefinitionError, in_one_line

Interval = Literal["epoch", "step"]


@dataclass(frozen=True)
class TrainingOptions:
    """What a training does besides forward, backward and update.

    `constraints` hold for the weights after each step. The model's scheduler is stepped after each epoch or
    step, as `scheduler_interval` says, by default each epoch; one that looks at a metric
    (`ReduceLROnPlateau`) gets the column `scheduler_metric` of the epoch's row, such as "val_pearson", or by
    default what its mode says.

    Raises `DefinitionError` for what is no constraint or no interval.
    """

    constraints: Iterable[Constraint] = ()
    scheduler_interval: Interval | Sequence[Interval] | None = None
    scheduler_metric: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "constraints", tuple(self.constraints))  # an iterator can be read once
        for constraint in self.constraints:
            if not (
                callable(getattr(constraint, "weights", None))
                and callable(getattr(constraint, "apply", None))
            ):
                raise DefinitionError(
                    f"constraints has {in_one_line(constraint)}; each has to be a constraint, "
                    "for example MaxNormConstraint(3.0)"
                )
        interval = self.scheduler_interval
        if isinstance(interval, list | tuple):
            object.__setattr__(self, "scheduler_interval", tuple(interval))
        for each in interval if isinstance(interval, list | tuple) else [interval]:
            if each not in (None, "epoch", "step") or (each is None and each is not interval):
                raise DefinitionError(f"scheduler_interval is {interval!r}; it has to be 'epoch' or 'step'")
