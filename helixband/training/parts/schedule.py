"""What changes as training goes on: scheduled hyperparameters, and torch's schedulers."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from helixband.errors import DefinitionError
from helixband.training.options import TrainingOptions
from helixband.training.schedules import Schedule


class Schedules:
    """The schedules among an optimizer's hyperparameters, and when and by what torch's scheduler is stepped.

    The optimizer and the scheduler are those that the model has at the moment: a definition may replace them.
    """

    def __init__(self, optimizer: Optimizer | None, options: TrainingOptions) -> None:
        self._scheduled = [
            (index, name, value)
            for index, group in enumerate(optimizer.param_groups if optimizer else [])
            for name, value in group.items()
            if isinstance(value, Schedule)
        ]
        self.empty = not self._scheduled
        self.by_step = options.scheduler_interval == "step"
        self.interval = options.scheduler_interval
        """As the definition gave it, or None."""
        self._metric = options.scheduler_metric

    def set(self, optimizer: Optimizer, epoch: int, step: int) -> None:
        """Give each hyperparameter its value in this epoch and step, both from 0."""
        for index, name, schedule in self._scheduled:
            optimizer.param_groups[index][name] = schedule.at(epoch, step)

    def step(self, scheduler: Any) -> None:
        """Step a scheduler after an optimizer step."""
        if isinstance(scheduler, ReduceLROnPlateau):
            raise DefinitionError(
                "ReduceLROnPlateau looks at the metrics of an epoch; it goes with scheduler_interval='epoch'"
            )
        scheduler.step()

    def step_epoch(self, scheduler: LRScheduler | ReduceLROnPlateau, row: Mapping[str, float]) -> None:
        """Step a scheduler after an epoch, whose row has `train_*`, `val_*` and `reward`.

        Raises `DefinitionError` for a column that there is not, and where torch would take every value for an
        improvement: one below 0 with a relative threshold.
        """
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()
            return
        name = self._metric or ("reward" if scheduler.mode == "max" else "val_loss")
        if name not in row:
            raise DefinitionError(f"scheduler_metric is {name!r}, and an epoch has: {', '.join(row)}")
        value = row[name]
        if value < 0 and scheduler.threshold_mode == "rel" and scheduler.threshold > 0:
            raise DefinitionError(
                f"ReduceLROnPlateau gets {name}, which is {value:g}. Below 0 its relative threshold takes "
                "every value for an improvement: give it threshold_mode='abs', or another scheduler_metric"
            )
        scheduler.step(value)


def learning_rate(optimizer: Optimizer) -> dict[str, float]:
    """The learning rate of the first group as `lr`; where groups differ, `lr_<number>` of the others."""
    rates = [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]
    found = {"lr": rates[0]} if rates else {}
    if len(set(rates)) > 1:
        found |= {f"lr_{number}": rate for number, rate in enumerate(rates[1:], 1)}
    return found


def check_interval(scheduler: Any, options: TrainingOptions) -> None:
    """Raise `DefinitionError` where a definition counts in steps, and does not say how often it steps."""
    if options.scheduler_interval is None and not isinstance(scheduler, ReduceLROnPlateau):
        raise DefinitionError(
            "init_model uses self.total_steps or self.steps_per_epoch, and gives a "
            f"{type(scheduler).__name__} without scheduler_interval, so that it would be stepped once an "
            "epoch: pass "
            "scheduler_interval='step' to super().init_model, or 'epoch' if that is meant"
        )


def check_total(scheduler: Any, interval: str | None, epochs: int, steps_per_epoch: int | None) -> None:
    """Raise `DefinitionError` where a scheduler is made for another number of steps than it will get.

    `epochs` are those of the whole training. Some schedulers have a total among their parameters. Beyond it
    `OneCycleLR` fails, and others begin again or stay where they are. Far before it `OneCycleLR` has not
    begun to lower the learning rate; who means that says interval="epoch".
    """
    by_step = interval == "step"
    steps = None if steps_per_epoch is None else epochs * steps_per_epoch
    planned, other = (steps, epochs) if by_step else (epochs, steps)
    for each in _with_inner(scheduler):
        for name in ("total_steps", "T_max", "total_iters"):
            total = getattr(each, name, None)
            if total is None or total == planned or planned is None:
                continue
            is_whole = each is scheduler and name == "total_steps"
            # One more than planned leaves the last epoch a learning rate above the end of the schedule.
            too_long = name == "total_steps" and interval is None and total > planned + 1
            meant_for_other = total == other and (each is scheduler or not by_step)
            if meant_for_other or too_long or (is_whole and total < planned):
                every, unit = ("optimizer step", "step") if by_step else ("epoch", "epoch")
                for_steps = not by_step and total > planned
                remedy = "scheduler_interval='step'" if for_steps else f"{name}={planned}"
                raise DefinitionError(
                    f"{type(each).__name__} has {name}={total}, and is stepped once an {every}, {planned} "
                    f"times: pass {remedy} (scheduler_interval is {unit!r})"
                )


def _with_inner(scheduler: Any) -> Iterator[Any]:
    """A scheduler, and those that it is made of."""
    yield scheduler
    for inner in getattr(scheduler, "_schedulers", ()):
        yield from _with_inner(inner)
