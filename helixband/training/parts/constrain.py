"""Constraints on weights, after each update."""

from collections.abc import Iterable

from torch import nn

from constraints import Constraint


class Constrain:
    """Constraints with the weights of a network that they hold for."""

    def __init__(self, constraints: Iterable[Constraint], network: nn.Module) -> None:
        self._pairs = [
            (constraint, weight) for constraint in constraints for weight in constraint.weights(network)
        ]

    def __call__(self) -> None:
        """Change the weights, in place, so that each constraint holds."""
        for constraint, weight in self._pairs:
            constraint.apply(weight)
