"""Parameters of a network by globs on their names, such as `encoder.*` or `*.bias`."""

import math
from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from helixband.errors import DefinitionError, in_one_line, listed

SHOWN = 6
"""A message shows so many names."""

OTHER_NAMES = {"learning_rate": "lr", "learningrate": "lr", "decay": "weight_decay", "wd": "weight_decay"}
"""Of settings of an optimizer, as other packages call them."""

OF_TORCH = {"params", "param_names", "initial_lr", "swa_lr"}
OF_TORCH |= {f"{end}_{what}" for end in ("base", "max", "min") for what in ("lr", "momentum")}
"""What torch itself puts into a group of parameters besides an optimizer's settings."""


def parameter_groups(
    network: nn.Module, groups: Mapping[str, float | Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Groups of parameters for an optimizer of torch, by globs on the parameters' names in the network.

    The value of a glob is a learning rate, a number or a schedule, or a dict of the group's settings. A
    parameter belongs to the first glob that matches it, so `*` for all others comes last.

    >>> network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> groups = parameter_groups(network, {"0.*": 1e-5, "*.bias": {"weight_decay": 0.0}, "*": 1e-3})
    >>> [(len(group.pop("params")), group) for group in groups]
    [(2, {'lr': 1e-05}), (1, {'weight_decay': 0.0}), (1, {'lr': 0.001})]

    Raises `DefinitionError` for a glob that matches nothing, or nothing that an earlier one leaves to it,
    for a learning rate that is none, and where a parameter that is to be trained matches none.
    """
    left = dict(network.named_parameters())
    found = []
    for glob, value in groups.items():
        if not isinstance(value, Real | Mapping):
            raise DefinitionError(
                f"parameter_groups has {in_one_line(value)} for {glob!r}; it takes a learning rate, or a "
                "dict such as {'lr': 1e-3, 'weight_decay': 0.0}"
            )
        names = matching(glob, [name for name, _ in network.named_parameters()], "parameter_groups")
        taken = [left.pop(name) for name in names if name in left]
        if not taken:
            raise DefinitionError(
                f"parameter_groups: all that {glob!r} matches belongs to the globs before it: "
                "put it before them"
            )
        settings = value if isinstance(value, Mapping) else {"lr": value}
        if "lr" in settings and not _is_rate(settings["lr"]):
            raise DefinitionError(
                f"parameter_groups has the learning rate {in_one_line(settings['lr'])} for {glob!r}; it has "
                "to be a number from 0, or a schedule"
            )
        found.append({"params": taken, **settings})
    if missing := [name for name, parameter in left.items() if parameter.requires_grad]:
        raise DefinitionError(
            f"parameter_groups: no glob matches {listed(map(repr, missing), SHOWN)}: add '*' as the last, or "
            "requires_grad_(False) for what is not to be trained"
        )
    return found


def _is_rate(value: Any) -> bool:
    """Whether a value is a learning rate."""
    if isinstance(value, Tensor):
        value = value.item()
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < math.inf


def check_settings(optimizer: Optimizer) -> None:
    """Raise `DefinitionError` for a setting of a group of parameters that is nearly one of the optimizer's.

    Torch keeps whatever a group has and does not read it. What is near to none may be the definition's own.
    """
    known = optimizer.defaults
    for number, group in enumerate(optimizer.param_groups):
        for key in [key for key in group if key not in known and key not in OF_TORCH]:
            form = str(key).lower()
            meant = [OTHER_NAMES[form]] if form in OTHER_NAMES else get_close_matches(form, known, 1, 0.85)
            if meant:
                raise DefinitionError(
                    f"group {number} of the parameters has {key}={in_one_line(group[key])}, which "
                    f"{type(optimizer).__name__} does not read: did you mean {meant[0]}?"
                )


def matching(glob: str, names: list[str], whose: str) -> list[str]:
    """The names that a glob matches; raises `DefinitionError`, saying `whose` it is, where there is none."""
    found = [name for name in names if fnmatchcase(name, glob)]
    if not found:
        near = map(repr, get_close_matches(glob, names, 3, cutoff=0.4) or names)
        raise DefinitionError(
            f"{whose}: no parameter of the network matches {glob!r}; there are: "
            f"{listed(near, SHOWN) or 'none'}"
        )
    return found
