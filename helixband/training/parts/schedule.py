"""What changes as training goes on: scheduled hyperparameters, and torch's schedulers."""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, ReduceLROnPlateau

from helixband.errors import DefinitionError, in_one_line
from helixband.training.optimizers import Optimizers
from helixband.training.options import OPTIONS, Interval, TrainingOptions
from helixband.training.schedules import Schedule


class Schedules:
    """The schedules among an optimizer's hyperparameters, and when and by what schedulers are stepped.

    The optimizer and the schedulers are those that the model has now: a definition may replace them.
    """

    def __init__(self, optimizer: Optimizer | None, options: TrainingOptions) -> None:
        groups = list(enumerate(optimizer.param_groups if optimizer else []))
        values = [(index, name, value) for index, group in groups for name, value in group.items()]
        self._scheduled = [each for each in values if isinstance(each[2], Schedule)]
        for _, name, value in values:
            if isinstance(value, tuple | list) and any(isinstance(each, Schedule) for each in value):
                raise DefinitionError(
                    f"{name} of the optimizer is {in_one_line(value)}; a schedule has to be the whole value "
                    f"of a hyperparameter, and not a part of it: give {name} numbers"
                )
        self._options = options
        self.empty = not self._scheduled
        self.interval = options.scheduler_interval
        """As the definition gave it, or None."""
        self.by_step = self.interval == "step" or "step" in (self.interval or ())
        """Whether any scheduler is stepped after each optimizer step."""
        self._metric = options.scheduler_metric

    def set(self, optimizer: Optimizer, epoch: int, step: int) -> None:
        """Give each hyperparameter its value in this epoch and step, both from 0."""
        for index, name, schedule in self._scheduled:
            optimizer.param_groups[index][name] = _hyperparameter(schedule, name, (epoch, step))

    def check_values(self, epochs: int, steps: int | None) -> None:
        """Raise `DefinitionError` where a schedule leaves what its option or optimizer takes.

        It is looked at in each of `epochs`, at the first and the last of `steps`, if their number is known.
        """
        if not self._scheduled and not scheduled_options(self._options, (0, 0)):
            return
        for epoch in range(epochs):
            first, last = epoch * (steps or 0), (epoch + 1) * (steps or 0) - 1
            for moment in ((epoch, first), (epoch, max(first, last))):
                scheduled_options(self._options, moment)
                for _, name, schedule in self._scheduled:
                    _hyperparameter(schedule, name, moment)

    def values(self, optimizer: Optimizer) -> dict[str, float]:
        """The scheduled hyperparameters but the learning rate at the moment, by name.

        Those of further groups of parameters are called <name>_<number of the group>.
        """
        return {
            f"{name}_{index}" if index else name: float(optimizer.param_groups[index][name])
            for index, name, _ in self._scheduled
            if name != "lr"
        }

    def step(self, scheduler: Any) -> None:
        """Step the schedulers that are stepped after an optimizer step."""
        for each, interval in paired(scheduler, self.interval):
            if interval == "step":
                each.step()

    def end_epoch(self, scheduler: Any, row: Mapping[str, float]) -> None:
        """Step those that are stepped after an epoch, whose row has `train_*`, `val_*` and `reward`."""
        self.check(scheduler, row)
        for each, interval in paired(scheduler, self.interval):
            if interval != "step":
                self._step_epoch(each, row)

    def columns(self, scheduler: Any) -> list[str]:
        """The columns of an epoch's row that the schedulers look at."""
        return [self._column(each) for each in schedulers(scheduler) if isinstance(each, ReduceLROnPlateau)]

    def check(self, scheduler: Any, columns: Collection[str]) -> None:
        """Raise `DefinitionError` where an epoch, which has these columns, lacks one of them."""
        for name in self.columns(scheduler):
            if name not in columns:
                raise DefinitionError(f"scheduler_metric is {name!r}, and an epoch has: {', '.join(columns)}")

    def _column(self, scheduler: ReduceLROnPlateau) -> str:
        return self._metric or ("reward" if scheduler.mode == "max" else "val_loss")

    def _step_epoch(self, scheduler: LRScheduler | ReduceLROnPlateau, row: Mapping[str, float]) -> None:
        """Step a scheduler after an epoch.

        Raises `DefinitionError` where torch would take every value for an improvement: one below 0 with a
        relative threshold.
        """
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()
            return
        name = self._column(scheduler)
        value = row[name]
        if value < 0 and scheduler.threshold_mode == "rel" and scheduler.threshold > 0:
            raise DefinitionError(
                f"ReduceLROnPlateau gets {name}, which is {value:g}. Below 0 its relative threshold takes "
                "every value for an improvement: give it threshold_mode='abs', or another scheduler_metric"
            )
        scheduler.step(value)


def learning_rate(optimizer: Optimizer) -> dict[str, float]:
    """The learning rate of the first group of parameters as `lr`, of others as `lr_<number>`."""
    rates = [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]
    return {f"lr_{number}" if number else "lr": rate for number, rate in enumerate(rates)}


def scheduled_options(options: TrainingOptions, time: tuple[int, int]) -> dict[str, float]:
    """The options that are schedules, with their values in this epoch and step, both from 0.

    Raises `DefinitionError` for a value that its option does not take.
    """
    scheduled = [name for name in OPTIONS if isinstance(getattr(options, name), Schedule)]
    return {name: options.at(name, time) for name in scheduled}


def _hyperparameter(schedule: Schedule, name: str, moment: tuple[int, int]) -> float:
    """The value of an optimizer's hyperparameter; torch holds that at the beginning against its own rules.

    Raises `DefinitionError` where it is not finite, or below 0 and did not begin there.
    """

    def rule(value: float) -> None:
        if not math.isfinite(value) or value < min(0.0, schedule):
            raise ValueError("it has to be a finite number from 0 on")

    return schedule.within(rule, f"{name} of the optimizer", moment)


def schedulers(scheduler: Any) -> list[Any]:
    """The schedulers of a model: none, one, or those of a list."""
    if scheduler is None:
        return []
    return list(scheduler) if isinstance(scheduler, list | tuple) else [scheduler]


def paired(scheduler: Any, interval: Any) -> list[tuple[Any, Interval | None]]:
    """The schedulers of a model, each with its interval: that of a list, or the one for all."""
    found = schedulers(scheduler)
    if isinstance(interval, tuple):
        return list(zip(found, cast("tuple[Interval, ...]", interval), strict=True))
    return [(each, interval) for each in found]


def check_optimizers(scheduler: Any, optimizer: Optimizer | None, own_step: bool) -> None:
    """Raise `DefinitionError` for a scheduler that would change nothing, or what a schedule changes.

    A definition's `own_step` may step a single optimizer that the model does not know.
    """
    groups = [id(group) for group in optimizer.param_groups] if optimizer is not None else []
    may_be_other = optimizer is None or (own_step and not isinstance(optimizer, Optimizers))
    for each in schedulers(scheduler):
        its = getattr(each, "optimizer", None)
        if not isinstance(its, Optimizer):
            continue
        kind = type(each).__name__
        if not may_be_other and not any(id(group) in groups for group in its.param_groups):
            raise DefinitionError(
                f"{kind} is made for another optimizer ({type(its).__name__}) than super().init_model got, "
                "so it would change nothing: make it for the optimizer that you pass"
            )
        if name := _scheduled_by_both(each, its):
            raise DefinitionError(
                f"{name} of the optimizer is a schedule, and {kind} changes it, too: give the optimizer a "
                "number, or leave the scheduler out"
            )


def _scheduled_by_both(scheduler: Any, optimizer: Optimizer) -> str | None:
    """A hyperparameter which is a schedule, and which a scheduler sets: the learning rate, or momentum."""
    cycles = any(getattr(each, "cycle_momentum", False) for each in _with_inner(scheduler))
    names = {"lr": "lr", "initial_lr": "lr"} | ({"momentum": "momentum"} if cycles else {})
    # A scheduler may have put its first value in the place of a schedule; then only the defaults have it.
    for values in (*optimizer.param_groups, optimizer.defaults):
        for name, told in names.items():
            if isinstance(values.get(name), Schedule):
                return told
    return None


def check_schedulers(scheduler: Any, options: TrainingOptions, counts_steps: bool) -> None:
    """Raise `DefinitionError` for what is no scheduler, and for intervals that do not go with the schedulers.

    A definition that `counts_steps` has to say how often it steps.
    """
    found, interval = schedulers(scheduler), options.scheduler_interval
    for each in found:
        if isinstance(each, type) or not callable(getattr(each, "step", None)):
            raise DefinitionError(
                f"init_model passed {in_one_line(each)} as a scheduler to super().init_model; it takes "
                "schedulers of torch.optim.lr_scheduler, one or a list of them"
            )
    if isinstance(interval, tuple) and len(interval) != len(found):
        raise DefinitionError(
            f"scheduler_interval has {len(interval)} entries, and there are {len(found)} schedulers: give "
            "one for each, or a single one for all, 'epoch' or 'step'"
        )
    for each, its in paired(scheduler, interval):
        if isinstance(each, ReduceLROnPlateau):
            if its == "step":
                raise DefinitionError(
                    "ReduceLROnPlateau looks at the metrics of an epoch; it goes with "
                    "scheduler_interval='epoch', and in a list of schedulers with an 'epoch' in its place"
                )
        elif its is None and counts_steps:
            raise DefinitionError(
                "init_model uses self.total_steps or self.steps_per_epoch, and gives a "
                f"{type(each).__name__} without scheduler_interval, so that it would be stepped once an "
                "epoch: pass "
                "scheduler_interval='step' to super().init_model, or 'epoch' if that is meant"
            )
        elif its is None and any(isinstance(inner, CyclicLR) for inner in _with_inner(each)):
            raise DefinitionError(
                "CyclicLR is made for steps, and would be stepped once an epoch: pass "
                "scheduler_interval='step' to super().init_model, or 'epoch' if that is meant"
            )


def check_totals(scheduler: Any, interval: Any, epochs: int, steps_per_epoch: int | None) -> None:
    """`_check_total` of each scheduler of a model."""
    for each, its in paired(scheduler, interval):
        _check_total(each, its, epochs, steps_per_epoch)


def _check_total(scheduler: Any, interval: str | None, epochs: int, steps_per_epoch: int | None) -> None:
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
