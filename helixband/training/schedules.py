"""Hyperparameters that change while a model trains.

A schedule is a float (its value at the start), so that it goes wherever a number goes, for example
`Adam(parameters, lr=config["lr"])`. The run finds it in the optimizer's parameter groups and sets it as
training goes on; `config["lr"]` read during training gives the value of that moment.

>>> warmup = LinearSchedule(start=0.0, end=0.1, duration=5)
>>> [round(warmup.at(epoch), 2) for epoch in range(7)]
[0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.1]
"""

import inspect
import math
from collections.abc import Callable
from typing import Any, ClassVar

from helixband.errors import DefinitionError, UsageError

UNITS = ("epoch", "step")
WARMUP = {"warmup": 0, "warmup_start": 0.0}
"""What every schedule takes besides its own parameters, with the defaults."""


class Schedule(float):
    """A value for each epoch or each optimizer step, both counted from 0.

    With `warmup=n` it first rises (or falls) for n epochs or steps in a straight line from `warmup_start`, by
    default 0, to the value at which it begins. All of the schedule comes after that: a `duration` counts from
    the end of the warm-up.

    A schedule of one's own is a subclass with one static method, `value(time, **parameters)`. The
    parameters have names and are JSON, which is how a schedule is stored and read back. If one of them is
    called `warmup`, all of the warm-up is the subclass's own.
    """

    unit: str
    parameters: dict[str, Any]
    _classes: ClassVar[dict[str, type["Schedule"]]] = {}
    _warms_up_itself: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        Schedule._classes[cls.__name__] = cls
        taken = inspect.signature(cls.value).parameters
        cls._warms_up_itself = "warmup" in taken or any(
            part.kind is inspect.Parameter.VAR_KEYWORD for part in taken.values()
        )

    def __new__(cls, *, unit: str = "epoch", **parameters: Any) -> "Schedule":
        if unit not in UNITS:
            raise UsageError(f"{cls.__name__}: unit is {unit!r}; it has to be 'epoch' or 'step'")
        try:
            schedule = super().__new__(cls, cls._at(0, parameters))
        except TypeError as error:
            raise UsageError(f"{cls.__name__} got wrong parameters: {error}") from error
        schedule.unit, schedule.parameters = unit, parameters
        return schedule

    @classmethod
    def _at(cls, time: int, parameters: dict[str, Any]) -> float:
        """The value at `time`, the warm-up included."""
        if cls._warms_up_itself or "warmup" not in parameters:
            return cls.value(time, **parameters)
        own = {name: value for name, value in parameters.items() if name not in WARMUP}
        warmup, start = (parameters.get(name, default) for name, default in WARMUP.items())
        if warmup < 0:
            raise UsageError(f"the warmup of a schedule is {warmup!r}; it cannot be below 0")
        if time >= warmup:
            return cls.value(time - warmup, **own)
        return float(start + (cls.value(0, **own) - start) * time / warmup)

    @staticmethod
    def value(time: int, **parameters: Any) -> float:
        """The value at `time`, an epoch or a step from 0 as `unit` says."""
        raise NotImplementedError

    def at(self, epoch: int, step: int = 0) -> float:
        """The value in `epoch` at optimizer step `step`, the latter counted over the whole training."""
        return self._at(epoch if self.unit == "epoch" else step, self.parameters)

    def within(self, rule: Callable[[float], Any], name: str, moment: tuple[int, int]) -> float:
        """The value in an epoch and at a step, both from 0, of what is called `name`.

        Raises `DefinitionError` where `rule` raises `ValueError` for it.
        """
        value = self.at(*moment)
        try:
            rule(value)
        except ValueError as error:
            epoch, step = moment
            when = f"epoch {epoch + 1}" if self.unit == "epoch" else f"step {step + 1}"
            raise DefinitionError(f"{name} is {self!r}, which is {value!r} in {when}; {error}") from None
        return value

    def to_json(self) -> dict[str, Any]:
        """`{"__schedule__": name, "unit": …, parameters…}`; `from_json` reads it back."""
        return {"__schedule__": type(self).__name__, "unit": self.unit, **self.parameters}

    @staticmethod
    def from_json(document: dict[str, Any]) -> "Schedule":
        """The schedule that `to_json` wrote; raises `UsageError` for a name that is not known."""
        arguments = dict(document)
        name = arguments.pop("__schedule__")
        if name not in Schedule._classes:
            known = ", ".join(sorted(Schedule._classes))
            raise UsageError(f"no schedule is called {name!r}; there are: {known}")
        return Schedule._classes[name](**arguments)

    def __repr__(self) -> str:
        values = "".join(f"{name}={value!r}, " for name, value in self.parameters.items())
        return f"{type(self).__name__}({values}unit={self.unit!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # To copy and pickle; float's own way would call __new__ with the wrong arguments.
        return Schedule.from_json, (self.to_json(),)


class LinearSchedule(Schedule):
    """From `start` to `end` in a straight line over `duration` epochs or steps, `end` from then on."""

    @staticmethod
    def value(time: int, *, start: float, end: float, duration: int) -> float:  # type: ignore[override]
        return start + (end - start) * _share(time, duration)


class CosineSchedule(Schedule):
    """From `start` to `end` along half a cosine (Loshchilov and Hutter 2017, eq. 5, one cycle)."""

    @staticmethod
    def value(time: int, *, start: float, end: float, duration: int) -> float:  # type: ignore[override]
        return end + (start - end) * (1 + math.cos(math.pi * _share(time, duration))) / 2


class PolynomialSchedule(Schedule):
    """From `start` to `end` over `duration`: what is left of the way is (1 - time / duration) ** `power`.

    Without a warm-up it is torch's `PolynomialLR`, which ends at 0.
    """

    @staticmethod
    def value(time: int, *, start: float, end: float, duration: int, power: float) -> float:  # type: ignore[override]
        return float(end + (start - end) * (1 - _share(time, duration)) ** _positive("power", power))


class InverseSquareRootSchedule(Schedule):
    """`start` divided by the square root of (1 + time / `timescale`).

    With a `warmup` as long as `timescale` it is that of Vaswani et al. 2017, eq. 3.
    """

    @staticmethod
    def value(time: int, *, start: float, timescale: int) -> float:  # type: ignore[override]
        return start * math.sqrt(_positive("timescale", timescale) / (timescale + time))


class ExponentialSchedule(Schedule):
    """`start` times `factor` for each epoch or step that has passed."""

    @staticmethod
    def value(time: int, *, start: float, factor: float) -> float:  # type: ignore[override]
        return start * factor**time


class StepSchedule(Schedule):
    """`start` times `factor` for each `every` epochs or steps that have passed."""

    @staticmethod
    def value(time: int, *, start: float, factor: float, every: int) -> float:  # type: ignore[override]
        return float(start * factor ** (time // _positive("every", every)))


def _share(time: int, duration: int) -> float:
    """The part of `duration` that has passed, 1 from its end on."""
    return min(time / _positive("duration", duration), 1.0)


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise UsageError(f"the {name} of a schedule is {value!r}; it has to be above 0")
    return value
