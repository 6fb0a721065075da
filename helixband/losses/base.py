"""What the losses have in common: labels that are missing, weights of examples, and how batches add up."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from helixband.errors import DataError, DefinitionError, in_one_line

SUM_TOLERANCE = 1e-3
"""So much may the parts of a distribution differ from 1 together."""


class MaskedLoss(nn.Module):
    """A loss that is the mean of its terms over the labels that are known. NaN is a label that is missing.

    It is called as torch calls a loss, `loss(input, target)`, and returns the mean, a scalar; of labels that
    are all missing 0. `loss(input, target, weight)` weights the terms of each example by `weight`, (N,).
    `sum_and_weight` gives the sum and the weight of which the mean is the quotient. Those of batches add up
    to those of the set, and so a `compute_loss` may return them.

    A subclass has `terms`, and what else of `matched`, `counted`, `prediction` and `check_labels` is its own.
    """

    adds_up = True
    """Whether the loss of a set is the sum of its batches' sums by that of their weights."""
    missing_label: float | None = math.nan
    """As `BaseModel.missing_label`."""

    def forward(self, input: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        total, weights = self._sum_and_weight(input, target, weight)
        return total / torch.where(weights == 0, 1, weights)

    def sum_and_weight(
        self, input: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(the sum of the terms, their number); with a `weight`, (N,), both weighted by example.

        Raises `DefinitionError` for a loss that does not add up over batches.
        """
        if not self.adds_up:
            raise DefinitionError(
                f"{type(self).__name__} is a number of a whole set, and does not add up over batches: return "
                "what a call of it gives, a scalar"
            )
        return self._sum_and_weight(input, target, weight)

    def weight_of(self, input: Tensor, target: Tensor) -> Tensor:
        """The number of terms that count: the weight of a batch's mean among those of other batches."""
        return self.counted(~self.matched(input, target).isnan()).sum()

    def _sum_and_weight(self, input: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        target = self.matched(input, target)
        known = ~target.isnan()
        counted = self.counted(known)
        terms = self.terms(input, target.where(known, 0), known).where(counted, 0.0)
        if weight is None:
            return terms.sum(), counted.sum()
        weight = beside(terms, weight)
        return (terms * weight).sum(), (counted * weight).sum()

    def matched(self, input: Tensor, target: Tensor) -> Tensor:
        """The labels in the form that `terms` takes; by default the input's shape and dtype."""
        return paired(input, target, f"{type(self).__name__} needs one prediction for each label").to(
            input.dtype
        )

    def counted(self, known: Tensor) -> Tensor:
        """Which terms count, bool of their shape, of the labels that are known; by default the same."""
        return known

    def terms(self, input: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """The loss of each label. Where one is missing, target is 0, and the gradient has to be finite."""
        raise NotImplementedError

    def prediction(self, input: Tensor) -> Tensor:
        """What the input predicts, in the units of the labels."""
        return input

    def check_labels(self, y: NDArray[Any]) -> None:
        """Raise `DataError` for labels that the loss is not made for. Missing ones are admitted."""


def paired(input: Tensor, target: Tensor, rule: str) -> Tensor:
    """The labels in the shape of the input, where they differ in dimensions of size 1 alone.

    Raises `DefinitionError` with the `rule` where they differ otherwise: torch would broadcast one of them.
    """
    if target.shape == input.shape:
        return target
    if [n for n in target.shape if n > 1] != [n for n in input.shape if n > 1]:
        raise DefinitionError(
            f"y has the shape {tuple(target.shape)} and the prediction {tuple(input.shape)}; {rule}"
        )
    return target.reshape(input.shape)


def beside(terms: Tensor, weight: Tensor) -> Tensor:
    """The weights of examples, (N,), in a shape in which they multiply terms (N, …)."""
    if weight.ndim != 1 or len(weight) != len(terms):
        raise DefinitionError(
            f"the weights of examples have the shape {tuple(weight.shape)}; for {len(terms)} examples they "
            f"have to be ({len(terms)},)"
        )
    return weight.reshape(-1, *[1] * (terms.ndim - 1))


def at_least(name: str, value: Any, least: float, below: float = math.inf) -> float:
    """A parameter of a loss; raises `DefinitionError` where it is not in [least, below)."""
    if not (is_number(value) and least <= value < below):
        end = "" if below == math.inf else f", and below {below:g}"
        raise DefinitionError(f"{name} is {in_one_line(value)}; it has to be a number from {least:g}{end}")
    return float(value)


def is_number(value: Any) -> bool:
    """Whether a value is one real number."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def one_of(name: str, value: Any, *allowed: Any) -> Any:
    """A parameter of a loss; raises `DefinitionError` where it is none of these."""
    if not any(type(value) is type(each) and value == each for each in allowed):
        told = " or ".join(map(repr, allowed))
        raise DefinitionError(f"{name} is {in_one_line(value)}; it has to be {told}")
    return value


def numbers(name: str, given: Any, rule: str, dtype: torch.dtype | None = None) -> Tensor:
    """A parameter of a loss that is one number or several; raises `DefinitionError` where it is none."""
    try:
        found = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DefinitionError(f"{name} is {in_one_line(given)}; {rule}") from error
    if found.dtype == torch.bool or found.is_complex():
        raise DefinitionError(f"{name} is {in_one_line(given)}; {rule}")
    return found.to(dtype or torch.get_default_dtype())


def check_range(y: NDArray[Any], least: float, most: float, rule: str) -> None:
    """Raise `DataError` with the `rule` for a label beyond these bounds."""
    strange = (y < least) | (y > most)  # NaN is not
    if strange.any():
        place = np.argwhere(strange)[0]
        raise DataError(f"row {place[0]} of the labels has {y[tuple(place)]:g}; {rule}")


def check_distributions(y: NDArray[Any]) -> None:
    """Raise `DataError` for a row, along the last dimension, that is no distribution."""
    check_range(y, 0, 1, "parts of a distribution are from 0 to 1")
    sums = y.sum(axis=-1, dtype=np.float64)
    strange = np.abs(sums - 1) > SUM_TOLERANCE
    if strange.any():
        place = np.argwhere(strange)[0]
        raise DataError(
            f"row {place[0]} of the labels sums to {sums[tuple(place)]:g} along its last dimension; a "
            "distribution sums to 1"
        )
