"""Constraints on weights, after each update."""

from collections.abc import Iterable

from torch import Tensor, nn

from constraints import Constraint


class Constrain:
    """Constraints with the weights of a network that they hold for."""

    def __init__(self, constraints: Iterable[Constraint], network: nn.Module) -> None:
        self._pairs = [
            (constraint, weight) for constraint in constraints for weight in constraint.weights(network)
        ]

    def __call__(self, stepped: Iterable[Tensor] | None = None) -> None:
        """Change the weights, in place, so that each constraint holds; with `stepped`, those of these."""
        # A weight may be a view of its parameter.
        places = None if stepped is None else {each.untyped_storage().data_ptr() for each in stepped}
        for constraint, weight in self._pairs:
            if places is None or weight.untyped_storage().data_ptr() in places:
                constraint.apply(weight)
