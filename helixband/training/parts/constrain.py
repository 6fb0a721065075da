"""Constraints on weights, after each update."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from constraints import Constraint
from helixband.errors import DefinitionError


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


class ConstrainRows:
    """Constraints of K members whose networks are of one structure, with their parameters as rows (K, n).

    `first` has the parameters of the first by name: views of its row.
    """

    def __init__(
        self,
        constraints: Iterable[Constraint],
        network: nn.Module,
        first: Mapping[str, Tensor],
        rows: Tensor,
    ) -> None:
        parameters = dict(network.named_parameters())
        before = {name: parameter.data for name, parameter in parameters.items()}
        try:
            for name, parameter in parameters.items():
                parameter.data = first[name]
            found = [
                (constraint, weight) for constraint in constraints for weight in constraint.weights(network)
            ]
        finally:
            for name, parameter in parameters.items():
                parameter.data = before[name]
        self._pairs = [(constraint, _of_all(weight, rows)) for constraint, weight in found]

    def check(self) -> None:
        """Raise `DefinitionError` for a constraint that gives others weights to several than to each."""
        for constraint, weights in self._pairs:
            together, apart = weights.clone(), weights.clone()
            for weight in apart:
                constraint.apply(weight)
            try:
                torch.vmap(_applied, in_dims=(None, 0))(constraint, together)
                is_same = torch.allclose(together, apart, 1e-5, 1e-6)
            except RuntimeError:  # what torch does not do for several at once
                is_same = False
            if not is_same:
                name = type(constraint).__name__
                raise DefinitionError(f"its constraint {name} takes the weights of one network at a time")

    def __call__(self) -> None:
        """Change the weights of all, in place, so that each constraint holds."""
        for constraint, weights in self._pairs:
            torch.vmap(_applied, in_dims=(None, 0))(constraint, weights)


def _applied(constraint: Constraint, weight: Tensor) -> Tensor:
    constraint.apply(weight)
    return weight


def _of_all(weight: Tensor, rows: Tensor) -> Tensor:
    """The weights (K, …) of all members, given that of the first, a view of the first row."""
    size, stride = (len(rows), *weight.shape), (rows.stride(0), *weight.stride())
    return rows.as_strided(size, stride, weight.storage_offset())
