"""What an optimizer and a scheduler were made with.

A checkpoint brings their states back, and with them the settings of then. A definition or a command line that
was changed since would have others, which nothing would use.
"""

from typing import Any

from torch.optim import Optimizer

from helixband.errors import in_one_line
from helixband.training.holdings import shown
from helixband.training.objects import walk
from helixband.training.optimizers import Optimizers
from helixband.training.parts.schedule import paired
from helixband.training.plain import NotPlain, mark

Settings = dict[str, str]
"""Texts by name."""

_HOW = frozenset({"params", "foreach", "fused", "capturable", "differentiable"})
"""How a step is computed, which may be another way on another machine."""


def settings_of(model: Any) -> Settings:
    """The settings of a model that was made just now."""
    optimizer, scheduler, engine = model.optimizer, model.scheduler, model.engine
    found: Settings = {}
    if optimizer is not None:
        several = isinstance(optimizer, Optimizers)
        found["the optimizer"] = optimizer.kinds if several else type(optimizer).__name__
        for number, group in enumerate(optimizer.param_groups):
            of_group = f" of group {number}" if len(optimizer.param_groups) > 1 else ""
            found |= {f"{name}{of_group}": repr(group[name]) for name in group if name not in _HOW}
    if scheduler is not None:
        intervals = [interval or "epoch" for _, interval in paired(scheduler, engine.schedules.interval)]
        found |= {**_of_scheduler(scheduler), "scheduler_interval": ", ".join(intervals)}
    if engine.asked_total:
        total = model.total_steps if engine.asked_steps else model.args.total_epochs
        found["scheduler: total_steps"] = str(total)
    return found


def _of_scheduler(scheduler: Any) -> Settings:
    """What a scheduler holds, also that of schedulers and of functions within it."""
    found = {}
    for path, value in walk({"scheduler": scheduler}, lambda value, path: _is_end(value)):
        if callable(getattr(value, "get_last_lr", None)):
            found[shown(path)] = type(value).__name__
        try:
            mark(value)
        except NotPlain:
            continue
        found[shown(path)] = in_one_line(value)
    return found


def _is_end(value: Any) -> bool:
    """Whether a value is an optimizer, a model, or plain."""
    if isinstance(value, Optimizer) or hasattr(value, "engine"):
        return True
    try:
        mark(value)
    except NotPlain:
        return False
    return True


def differences(before: Settings, now: Settings) -> list[str]:
    """What differs, in words."""
    return [
        f"{name} was {before.get(name, 'not there')}, and is {now.get(name, 'not there')}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]


def can_be_left(difference: str) -> bool:
    """Whether a training can go on with the earlier setting: not with another optimizer or schedule."""
    return not difference.startswith(("the optimizer", "scheduler", "training"))
