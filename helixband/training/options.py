"""How a model is trained, as a definition says it."""

from collections.abc import Sequence
from dataclasses import dataclass

from constraints import Constraint
from helixband.errors import DefinitionError


@dataclass(frozen=True)
class TrainingOptions:
    """What an optimizer step does besides the update; all of it is off by default.

    `constraints` hold for the weights after each step. Raises `DefinitionError` for what is no constraint.
    """

    constraints: Sequence[Constraint] = ()

    def __post_init__(self) -> None:
        for constraint in self.constraints:
            if not isinstance(constraint, Constraint):
                raise DefinitionError(
                    f"constraints has {constraint!r}; each has to be a constraint, "
                    "for example MaxNormConstraint(3.0)"
                )
