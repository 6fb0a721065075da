"""Constraints on the weights of a network, applied after each optimizer step.

A constraint selects modules by a glob on their dotted names in the network (`features.*`, `*.conv1`, `*`).
After each step of the optimizer it changes the `weight` of each, in place. To write your own, derive from
`Constraint` and write `apply`.
"""

from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn

from helixband.errors import DefinitionError

__all__ = ["Constraint", "MaxNormConstraint", "NonNegative", "UnitNorm"]

_EPSILON = 1e-12


class Constraint:
    """Base class: what is done to the weights of the modules whose names match `glob`."""

    min_dimensions = 2
    """Weights with fewer dimensions (such as the scale of a normalisation) are skipped."""

    def __init__(self, glob: str = "*") -> None:
        if not isinstance(glob, str):
            raise DefinitionError(
                f"{type(self).__name__}: glob is {glob!r}; it has to be a pattern of modules' names, such as "
                "'conv*'"
            )
        self.glob = glob

    def apply(self, weight: Tensor) -> None:
        """Change `weight`, (output units, …), in place."""
        raise NotImplementedError

    def weights(self, network: nn.Module) -> list[Tensor]:
        """The weights that this constraint holds for, output units first (views where need be).

        Raises `DefinitionError` where the glob matches no module that has a weight.
        """
        with_weight = {
            name: module
            for name, module in network.named_modules()
            if isinstance(weight := module._parameters.get("weight"), nn.Parameter)
            and weight.ndim >= self.min_dimensions
        }
        matched = [
            weight
            for name, module in with_weight.items()
            if fnmatchcase(name, self.glob)
            for weight in _output_first(module)
        ]
        if not matched:
            known = ", ".join(repr(name) for name in with_weight) or "none"
            raise DefinitionError(
                f"{type(self).__name__}: no module with a weight matches {self.glob!r}; "
                f"the network's modules with a weight are: {known}"
            )
        return matched


class MaxNormConstraint(Constraint):
    """The weights into each output unit have a Euclidean norm of at most `max_norm`.

    Srivastava et al. 2014, section 5.1. It is the same as Keras' `MaxNorm` with an axis for each dimension
    except the output: rows of a linear layer, filters of a convolution, vectors of an embedding. Units within
    the bound are not changed at all, not even in the last bit.

    >>> weight = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    >>> MaxNormConstraint(1.0).apply(weight)
    >>> weight
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """

    def __init__(self, max_norm: float, glob: str = "*") -> None:
        # As the first argument can be meant for the glob. A schedule would not change here.
        if not ((type(max_norm) in (int, float) or isinstance(max_norm, np.number)) and max_norm > 0):
            raise DefinitionError(
                f"MaxNormConstraint: max_norm is {max_norm!r}; it has to be a number above 0, as in "
                "MaxNormConstraint(3.0, 'conv*')"
            )
        super().__init__(glob)
        self.max_norm = float(max_norm)

    def apply(self, weight: Tensor) -> None:
        norm = _unit_norm(weight)
        weight.mul_(torch.where(norm > self.max_norm, self.max_norm / norm, 1.0))


class UnitNorm(Constraint):
    """The weights into each output unit have a Euclidean norm of 1."""

    def apply(self, weight: Tensor) -> None:
        weight.div_(_unit_norm(weight).clamp(min=_EPSILON))


class NonNegative(Constraint):
    """No weight is below 0."""

    min_dimensions = 1

    def apply(self, weight: Tensor) -> None:
        weight.clamp_(min=0)


def _unit_norm(weight: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True)
    return norm


def _output_first(module: nn.Module) -> list[Tensor]:
    """Views of a module's weight, each (output units, …)."""
    weight = module.get_parameter("weight").detach()
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        # (inputs, outputs of a group, …): the inputs of each group lead to outputs of their own.
        return [group.transpose(0, 1) for group in weight.chunk(module.groups)]
    return [weight]
