"""torch's compiler, whose import takes as long as that of torch: what compiles nothing does without it.

torch imports it when an optimizer is made, takes a step or gives its state, to have it leave these methods
alone where it compiles. There is nothing to leave alone as long as nothing else has imported it.
"""

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import _use_grad_for_differentiable

_NAME = "torch._dynamo"
_LEFT_ALONE = "add_param_group", "load_state_dict", "state_dict", "zero_grad"
"""The methods of optimizers that it is to leave alone."""
_HOW = "__dynamo_disable"
"""The attribute in which torch keeps how it calls such a method."""
_CHOOSING_GRADIENTS = _use_grad_for_differentiable(lambda: None).__code__
"""Of the function in which torch puts the `step` of each of its optimizers, to turn gradients on or off."""


def do_without() -> None:
    """Have optimizers be made, and give and take states, without torch's compiler until that is imported."""
    if _NAME in sys.modules or any(isinstance(each, _UntilImported) for each in sys.meta_path):
        return
    methods = [getattr(Optimizer, name) for name in _LEFT_ALONE]
    plain = [each.__wrapped__ for each in methods if hasattr(each, "__wrapped__")]
    for each in plain:
        setattr(each, _HOW, each)
    sys.meta_path.insert(0, _UntilImported(plain))


class _UntilImported(importlib.abc.MetaPathFinder):
    """Finds nothing. Where the compiler is looked for, torch calls the methods in its own way again."""

    def __init__(self, methods: Sequence[Any]) -> None:
        self._methods = methods

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _NAME and self in sys.meta_path:
            sys.meta_path.remove(self)
            for each in self._methods:
                delattr(each, _HOW)
        return None


def take_step(step: Any, optimizer: Any) -> None:
    """`step(optimizer)`, given what a class of optimizers has in what torch puts around it for hooks."""
    if _NAME in sys.modules or getattr(step, "__code__", None) is not _CHOOSING_GRADIENTS:
        step(optimizer)
        return
    with torch.set_grad_enabled(optimizer.defaults["differentiable"]):
        step.__wrapped__(optimizer)
