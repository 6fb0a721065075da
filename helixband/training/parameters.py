"""Parameters of a network by globs on their names, such as `encoder.*` or `*.bias`."""

from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any

from torch import nn

from helixband.errors import DefinitionError, in_one_line, listed

SHOWN = 6
"""A message shows so many names."""


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

    Raises `DefinitionError` for a glob that matches nothing, or nothing that an earlier one leaves to it, and
    where a parameter that is to be trained matches none.
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
        found.append({"params": taken, **(value if isinstance(value, Mapping) else {"lr": value})})
    if missing := [name for name, parameter in left.items() if parameter.requires_grad]:
        raise DefinitionError(
            f"parameter_groups: no glob matches {listed(map(repr, missing), SHOWN)}: add '*' as the last, or "
            "requires_grad_(False) for what is not to be trained"
        )
    return found


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
