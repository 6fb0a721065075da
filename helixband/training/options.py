"""How a model is trained, as a definition says it and `--with` overrides it."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from constraints import Constraint
from helixband.errors import DefinitionError, UsageError, in_one_line
from helixband.training.schedules import Schedule

Interval = Literal["epoch", "step"]

Rule = Callable[[Any], Any]
"""Gives the value of an option in its one form; raises `ValueError` with what it has to be."""


def one_of(*names: str) -> Rule:
    """One of these strings; a number on the command line is the string with its digits."""

    def read(value: Any) -> Any:
        text = str(value) if type(value) is int else value
        if text not in names:
            raise ValueError(f"it has to be {', '.join(map(repr, names[:-1]))} or {names[-1]!r}")
        return text

    return read


def whole(least: int) -> Rule:
    """An integer that is not smaller."""

    def read(value: Any) -> Any:
        if type(value) is not int or value < least:
            raise ValueError(f"it has to be a whole number from {least}")
        return value

    return read


def above(limit: float) -> Rule:
    """A finite number above a limit."""

    def read(value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not limit < value < float("inf"):
            raise ValueError(f"it has to be a number above {limit:g}")
        return float(value) if type(value) is int else value

    return read


def between_0_and_1(value: Any) -> Any:
    """A number from 0 on, below 1."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise ValueError("it has to be a number from 0 on, below 1")
    return value


def from_0(value: Any) -> Any:
    """A finite number from 0 on."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
        raise ValueError("it has to be a number from 0 on")
    return float(value)


def batches_or_share(value: Any) -> Any:
    """A number of batches, an integer, or a share, a float; or the text of one, from a hyperparameter."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", value):
        value = int(value) if value.isdigit() else float(value)
    is_share = type(value) is float and 0 < value <= 1
    if not is_share and (type(value) is not int or value < 1):
        raise ValueError("it has to be a whole number of batches from 1, or a share with a point, up to 1.0")
    return value


def yes_or_no(value: Any) -> Any:
    """A boolean."""
    if type(value) is not bool:
        raise ValueError("it has to be true or false")
    return value


def optional(rule: Rule) -> Rule:
    """As the rule, or None."""
    return lambda value: value if value is None else rule(value)


def one_or_each(rule: Rule) -> Rule:
    """As the rule, or a list of such values, as a tuple."""
    return lambda value: tuple(map(rule, value)) if isinstance(value, list | tuple) else rule(value)


def text(value: Any) -> Any:
    """A string."""
    if type(value) is not str:
        raise ValueError("it has to be a string")
    return value


def constraints_of(value: Any) -> Any:
    """Constraints, as a tuple: an iterator can be read once."""
    if not isinstance(value, Iterable):
        raise ValueError("it has to be a list of constraints, for example [MaxNormConstraint(3.0)]")
    constraints = tuple(value)
    for constraint in constraints:
        is_constraint = all(callable(getattr(constraint, name, None)) for name in ("weights", "apply"))
        if isinstance(constraint, type) or not is_constraint:
            raise DefinitionError(
                f"constraints has {in_one_line(constraint)}; each has to be a constraint, "
                "for example MaxNormConstraint(3.0)"
            )
    return constraints


def epochs_by_glob(value: Any) -> Any:
    """Numbers of epochs by globs; or texts GLOB=EPOCHS, as a hyperparameter has them."""
    if isinstance(value, list) and all(re.fullmatch(r".+=[0-9]{1,9}", str(each)) for each in value):
        value = {glob: int(epochs) for glob, _, epochs in (each.rpartition("=") for each in value)}
    if not isinstance(value, Mapping) or not all(
        type(glob) is str and type(epochs) is int and epochs > 0 for glob, epochs in value.items()
    ):
        raise ValueError("it has to be a dict of globs with numbers of epochs from 1: {'encoder.*': 3}")
    return dict(value)


def option(default: Any, rule: Rule, help: str, of_objects: bool = False, may_change: bool = False) -> Any:
    """A field of `TrainingOptions`.

    One `of_objects` cannot be written on a command line; one that `may_change` can be a schedule.
    """
    told = {"rule": rule, "help": help, "of_objects": of_objects, "may_change": may_change}
    return field(default=default, metadata=told)


@dataclass(frozen=True)
class TrainingOptions:
    """What a training does besides forward, backward and update; `OPTIONS` has the help of each field.

    Raises `DefinitionError` for a name that is none, and for a value that its field does not take.
    """

    def __new__(cls, *values: Any, **given: Any) -> "TrainingOptions":
        for name in [name for name in given if name not in OPTIONS]:
            raise DefinitionError(
                f"TrainingOptions got {name}=…: {_meant(name)}There are: {', '.join(OPTIONS)}"
            )
        return super().__new__(cls)

    constraints: Iterable[Constraint] = option(
        (), constraints_of, "Rules that hold for the weights after each optimizer step.", of_objects=True
    )
    scheduler_interval: Interval | Sequence[Interval] | None = option(
        None,
        optional(one_or_each(one_of("epoch", "step"))),
        'When schedulers are stepped: after each "epoch", as by default, or after each optimizer "step"; for '
        "several, one for all or a list.",
    )
    scheduler_metric: str | None = option(
        None,
        optional(text),
        "The column of the epoch's row that ReduceLROnPlateau looks at. The default is val_loss for its mode "
        '"min", and the reward for "max".',
    )
    freeze: Mapping[str, int] | None = option(
        None,
        optional(epochs_by_glob),
        'Parameters that are not trained in the first epochs, by globs on their names: {"encoder.*": 3}, or '
        '["encoder.*=3"]. The first glob that matches a parameter counts.',
    )
    ema_decay: float | None = option(
        None,
        optional(between_0_and_1),
        "Keep an exponential moving average of the weights over the optimizer steps, with this decay, for "
        "example 0.999. The network is validated and used with it.",
        may_change=True,
    )
    swa_start: float | None = option(
        None,
        optional(between_0_and_1),
        "Average the weights at the ends of the epochs after this share of --epoch (0.75). The network is "
        "validated and used with the average.",
    )
    renew_batch_norm: bool | None = option(
        None,
        optional(yes_or_no),
        "Compute the statistics of BatchNorm anew for averaged weights, by a pass over the training data "
        "before each validation. The default is true with swa_start, and false with ema_decay.",
    )
    patience: int | None = option(
        None,
        optional(whole(1)),
        "End a training when its metric has not improved for so many epochs. It is complete then.",
    )
    patience_metric: str = option(
        "reward", text, "The column of the epoch's row that patience looks at, for example val_loss."
    )
    patience_mode: Literal["max", "min"] | None = option(
        None,
        optional(one_of("max", "min")),
        'Whether that metric is to grow, "max", or to fall, "min". The default is "max" for the reward, and '
        '"min" for what ends in "loss"; of others it has to be given.',
    )
    patience_gain: float = option(
        0.0, from_0, "An epoch is an improvement if the metric is better than the best by more than this."
    )
    nan: Literal["fail", "stop", "skip"] = option(
        "fail",
        one_of("fail", "stop", "skip"),
        'A loss that is not finite: the training fails; with "stop" it ends, and its best epoch counts; with '
        '"skip" the optimizer step is left out, and counted as train_skipped.',
    )

    accumulate: int = option(
        1, whole(1), "How many batches make an optimizer step; --batch-size is that of one of them."
    )
    clip_value: float | None = option(
        None,
        optional(above(0)),
        "Each element of the gradients is brought into [-clip_value, clip_value].",
        may_change=True,
    )
    clip_norm: float | None = option(
        None,
        optional(above(0)),
        "The L2 norm of all gradients is brought to this, where it is above.",
        may_change=True,
    )
    gradient_norm: Literal["L1", "L2", "max"] | None = option(
        None,
        optional(one_of("L1", "L2", "max")),
        'The norm of all gradients that each epoch\'s row has, the mean over its steps: "L1", "L2" or "max".',
    )
    precision: Literal["32", "tf32", "bf16", "16"] = option(
        "32",
        one_of("32", "tf32", "bf16", "16"),
        'How the network computes: "32", "tf32", or in 16 bits, "bf16" or "16".',
    )
    capture: bool = option(True, yes_or_no, "On a GPU and in packs, replay steps; false computes each.")
    epoch_steps: int | None = option(
        None,
        optional(whole(1)),
        "An epoch is so many batches of the training data, which go on from epoch to epoch; for sets too "
        "large for epochs of their own.",
    )
    limit_train: float | None = option(
        None, optional(batches_or_share), "Train on so many batches of an epoch (10), or such a share (0.1)."
    )
    limit_val: float | None = option(
        None, optional(batches_or_share), "Validate on so many batches, or such a share."
    )
    limit_test: float | None = option(
        None, optional(batches_or_share), "Test on so many batches, or such a share; the result is marked."
    )

    def __post_init__(self) -> None:
        for name, each in OPTIONS.items():
            value = getattr(self, name)
            value = value.item() if isinstance(value, np.generic) else value
            try:
                if isinstance(value, Schedule) and not each.metadata["may_change"]:
                    raise ValueError("it stays the same during a training, and cannot be a schedule")
                object.__setattr__(self, name, each.metadata["rule"](value))
            except ValueError as error:
                raise DefinitionError(f"{name} is {in_one_line(value)}; {error}") from None
        if self.epoch_steps is not None and self.limit_train is not None:
            raise DefinitionError(
                "epoch_steps and limit_train are both given: an epoch has one size or the other"
            )
        if self.ema_decay is not None and self.swa_start is not None:
            raise DefinitionError(
                "ema_decay and swa_start are both given: a training has one average or the other"
            )

    @classmethod
    def from_hparams(cls, hparams: Mapping[str, Any], **given: Any) -> "TrainingOptions":
        """The options of their names that a mapping has, such as `self.hparams`; None is the default.

        `given` are those that it has not, for example constraints.
        """
        named = {name: hparams[name] for name in OPTIONS if hparams.get(name) is not None}
        return cls(**named, **given)

    def at(self, name: str, moment: tuple[int, int]) -> Any:
        """The value of an option in an epoch and at a step, both from 0.

        Raises `DefinitionError` where a schedule has left what the field takes.
        """
        value = getattr(self, name)
        return (
            value.within(OPTIONS[name].metadata["rule"], name, moment)
            if isinstance(value, Schedule)
            else value
        )

    def but(self, given: Mapping[str, Any]) -> "TrainingOptions":
        """These options, with other values for some."""
        return dataclasses.replace(self, **given) if given else self

    def with_keywords(self, **given: Any) -> "TrainingOptions":
        """These options, with those that `init_model` takes as keywords of its own.

        Raises `DefinitionError` where one is given both ways, and for another name.
        """
        for name in [name for name in given if name not in KEYWORDS]:
            if name in OPTIONS:
                told = f"give it as training=TrainingOptions({name}=…)"
            else:
                told = f"{_meant(name, INIT_MODEL)}It takes {', '.join(INIT_MODEL)}"
            raise DefinitionError(f"super().init_model got {name}=…: {told}")
        given = {name: value for name, value in given.items() if value not in (None, ())}
        if twice := [name for name in given if getattr(self, name) != OPTIONS[name].default]:
            raise DefinitionError(
                f"super().init_model got {twice[0]} twice: as its own keyword and in TrainingOptions(…)"
            )
        return self.but(given)

    def described(self) -> dict[str, str]:
        """The values that are not the defaults, as texts by name, to be compared with those of later."""
        values = {name: getattr(self, name) for name in OPTIONS}
        return {name: _text(value) for name, value in values.items() if value != OPTIONS[name].default}


OPTIONS = {each.name: each for each in dataclasses.fields(TrainingOptions)}
"""The fields by name; `metadata` has the `help` of each."""


KEYWORDS = ("constraints", "scheduler_interval", "scheduler_metric")
"""Options that `init_model` takes as keywords of its own, too."""
INIT_MODEL = ("network", "criterion", "optimizer", "scheduler", *KEYWORDS, "training")
"""What it takes."""


def _meant(name: str, names: Iterable[str] = OPTIONS) -> str:
    """The nearest name, in words; "" where none is near."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), [*names], 1)
    return f"did you mean {near[0]}? " if near else ""


def as_options(training: Any) -> TrainingOptions:
    """What `init_model` got as `training`; raises `DefinitionError` where it is none."""
    if training is None:
        return TrainingOptions()
    if not isinstance(training, TrainingOptions):
        raise DefinitionError(f"training is {in_one_line(training)}; it has to be TrainingOptions(…)")
    return training


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """In which options two trainings differ, in words, from what `described` gave of both."""
    default = {name: _text(each.default) for name, each in OPTIONS.items()}
    return [
        f"training option {name} was {before.get(name, default.get(name))}, and is "
        f"{now.get(name, default.get(name))}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]


def read_options(assignments: Sequence[str], read: Callable[[str], Any]) -> dict[str, Any]:
    """The options of `name=value` texts, whose values `read` reads.

    Raises `UsageError` for a name that there is not, with the nearest, for one that is given twice, and for a
    value that does not fit.
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not name or not equals:
            raise UsageError(f"--with takes name=value, got {assignment!r}")
        if name not in OPTIONS:
            raise UsageError(f"--with {assignment}: {_meant(name)}There are: {', '.join(_on_command_line())}")
        if name not in _on_command_line():
            raise UsageError(f"--with {assignment}: {name} holds objects; give it in init_model")
        if name in found:
            raise UsageError(f"--with {assignment}: {name} is given twice; give it once")
        try:
            found[name] = getattr(TrainingOptions(**{name: read(value)}), name)
        except (ValueError, DefinitionError) as error:
            raise UsageError(f"--with {assignment}: {error}") from None
    return found


def _on_command_line() -> list[str]:
    return [name for name, each in OPTIONS.items() if not each.metadata["of_objects"]]


def _text(value: Any) -> str:
    """A value as a text that is the same in another process."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_text, value))}]"
    if not isinstance(value, Constraint):
        return repr(value)
    parts = ", ".join(f"{name}={_text(part)}" for name, part in sorted(vars(value).items()))
    return f"{type(value).__name__}({parts})"
