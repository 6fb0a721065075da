"""What changes as training goes on: scheduled hyperparameters by step, and torch's schedulers by epoch."""

from collections.abc import Mapping

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from helixband.training.schedules import Schedule


class Schedules:
    """The schedules among an optimizer's hyperparameters, such as its learning rate."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._scheduled = [
            (index, name, value)
            for index, group in enumerate(optimizer.param_groups)
            for name, value in group.items()
            if isinstance(value, Schedule)
        ]

    @property
    def empty(self) -> bool:
        """Whether none of them is a schedule."""
        return not self._scheduled

    def set(self, epoch: int, step: int) -> None:
        """Give each hyperparameter its value in this epoch and step, both from 0."""
        for index, name, schedule in self._scheduled:
            self._optimizer.param_groups[index][name] = schedule.at(epoch, step)


def step_scheduler(scheduler: LRScheduler, result: Mapping[str, float]) -> None:
    """Step one of torch's schedulers after an epoch with this result."""
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(result["val_loss"])
    else:
        scheduler.step()
