"""Losses of distributions and of directions: Kullback-Leibler divergence, correlation, cosine."""

import copy
import math
from typing import Any

import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from helixband.errors import DefinitionError, in_one_line
from helixband.losses.base import MaskedLoss, beside, check_distributions, is_number, numbers


class KLDivergenceLoss(MaskedLoss):
    """The Kullback-Leibler divergence Σ y (log y − log p) of labels y that are distributions, as soft bins.

    p is the softmax of the logits along the last dimension. It is the mean over distributions; one with a NaN
    is missing. Logits (N, …, C), labels of the same shape, which sum to 1 along the last dimension.

    Kullback and Leibler 1951; for soft bins of expression Penzar et al. 2023 (LegNet). `soft_bins` makes
    them.
    """

    def counted(self, known: Tensor) -> Tensor:
        return known.all(-1)

    def terms(self, input: Tensor, target: Tensor, known: Tensor) -> Tensor:
        return (torch.xlogy(target, target) - target * input.log_softmax(-1)).sum(-1)

    def prediction(self, input: Tensor) -> Tensor:
        return input.softmax(-1)

    def check_labels(self, y: NDArray[Any]) -> None:
        check_distributions(y)


def soft_bins(y: Tensor, edges: ArrayLike | Tensor, sigma: float) -> Tensor:
    """Values (N, …) as distributions over bins, (N, …, C): the share of N(y, σ²) in each of C bins.

    `edges`: the C − 1 values between bins, ascending; the outer bins have no outer end. NaN gives NaN.

    >>> soft_bins(torch.tensor([0.0]), [-1.0, 1.0], sigma=1.0)
    tensor([[0.1587, 0.6827, 0.1587]])

    Raises `DefinitionError` for edges that do not ascend, and a sigma that is not above 0.
    """
    if not isinstance(y, Tensor):
        raise DefinitionError(f"y is {in_one_line(y)}; it has to be a tensor of values")
    y = y if y.is_floating_point() else y.to(torch.get_default_dtype())
    rule = "it has to be the values between bins, ascending"
    between = numbers("edges", edges, rule, y.dtype).to(y.device)
    if between.ndim != 1 or not len(between) or not bool((between.diff() > 0).all()):
        raise DefinitionError(f"edges is {between.tolist()}; {rule}")
    if not (is_number(sigma) and math.isfinite(sigma) and sigma > 0):
        raise DefinitionError(f"sigma is {in_one_line(sigma)}; it has to be a standard deviation above 0")
    ends = torch.nn.functional.pad(between, (1, 1), value=torch.inf)
    ends[0] = -torch.inf
    z = (ends - y.unsqueeze(-1)) / sigma
    low, high = z[..., :-1], z[..., 1:]
    # Above the mean both are near 1: the difference is that of their counterparts below it.
    upper = low > 0
    low, high = torch.where(upper, -high, low), torch.where(upper, -low, high)
    shares: Tensor = torch.special.ndtr(high) - torch.special.ndtr(low)
    return shares


class _SimilarityLoss(MaskedLoss):
    """1 less how alike predictions and labels are along one dimension; pairs without a label are left out.

    Where the labels have no direction, it is not defined, and does not count. Where predictions have none, it
    is 1.
    """

    centred = False

    def __init__(self, dim: int) -> None:
        super().__init__()
        if type(dim) is not int:
            raise DefinitionError(f"dim is {in_one_line(dim)}; it has to be the number of a dimension")
        self.dim = dim
        self.adds_up = dim != 0

    def weight_of(self, input: Tensor, target: Tensor) -> Tensor:
        target = self.matched(input, target)
        return self._direction(target, (~target.isnan()).to(target.dtype))[1].sum()

    def _sum_and_weight(self, input: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        target = self.matched(input, target)
        weights = (~target.isnan()).to(input.dtype)
        if weight is not None and self.dim == 0:
            weights = weights * beside(input, weight)
        predicted, _ = self._direction(input, weights)
        true, defined = self._direction(target, weights)
        losses = (1 - (predicted * true).sum(self.dim)).where(defined, 0.0)
        if weight is None or self.dim == 0:
            return losses.sum(), defined.sum()
        weight = beside(losses, weight)
        return (losses * weight).sum(), (defined * weight).sum()

    def matched(self, input: Tensor, target: Tensor) -> Tensor:
        if self.dim != 0 and not (-input.ndim < self.dim < input.ndim):
            raise DefinitionError(
                f"{type(self).__name__} compares along dimension {self.dim}, and the predictions have the "
                f"shape {tuple(input.shape)}; the first dimension is that of examples (dim=0)"
            )
        return super().matched(input, target)

    def _direction(self, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Values of norm 1 along `dim`, 0 where they have no direction, and where they have one.

        Values are weighted by the square roots of the weights, so that products are by the weights.
        """
        dim, counts = self.dim, weights > 0
        values = values.where(counts, 0.0)
        if self.centred:
            least = values.where(counts, torch.inf).amin(dim, keepdim=True)
            most = values.where(counts, -torch.inf).amax(dim, keepdim=True)
            known = (least < most).squeeze(dim)  # the mean of equal values may differ from them by rounding
            number = weights.sum(dim, keepdim=True)
            for _ in range(2):  # the mean of large numbers is rounded, that of the differences is not
                mean = (values * weights).sum(dim, keepdim=True) / number.where(number > 0, 1.0)
                values = (values - mean).where(counts, 0.0)
        else:
            known = (values != 0).any(dim)
        largest = values.detach().abs().amax(dim, keepdim=True)
        values = values / largest.where(largest > 0, 1.0) * weights.sqrt()
        squares = values.square().sum(dim, keepdim=True)
        shown = known.unsqueeze(dim)
        return (values / squares.where(shown, 1.0).sqrt()).where(shown, 0.0), known


class PearsonLoss(_SimilarityLoss):
    """1 − r, Pearson's correlation of predictions and labels.

    `dim=0`, the default, correlates over examples, and is the mean over columns. It is a number of a whole
    set: what is reported is computed of all its examples, and not the mean over batches. `dim=-1` correlates
    along the last dimension of each example, as of profiles, and is the mean over these. (N, …) both.

    A column without two different labels does not count. Predictions that are all the same have r = 0.
    """

    centred = True

    def __init__(self, dim: int = 0) -> None:
        super().__init__(dim)


class CosineLoss(_SimilarityLoss):
    """1 − cos, the cosine of the angle between predictions and labels along `dim`, the last by default.

    It is the mean over examples. (N, …, D) both. An example whose known labels are all 0 does not count.
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim)


class IgnoreMissing(MaskedLoss):
    """A loss of torch's of single values, over the labels that are known: `IgnoreMissing(nn.HuberLoss())`.

    For losses that give one value for each label with `reduction="none"`: `MSELoss`, `L1Loss`, `HuberLoss`,
    `SmoothL1Loss`, `BCEWithLogitsLoss`. (N, …) both.

    Raises `DefinitionError` for another loss.
    """

    criterion: Any

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        if not isinstance(criterion, nn.Module) or getattr(criterion, "reduction", None) != "mean":
            raise DefinitionError(
                f"criterion is {in_one_line(criterion)}; IgnoreMissing takes a loss of torch's with the "
                "reduction 'mean'"
            )
        self.criterion = copy.copy(criterion)
        self.criterion.reduction = "none"

    def terms(self, input: Tensor, target: Tensor, known: Tensor) -> Tensor:
        terms: Tensor = self.criterion(input.where(known, 0.0), target)
        if terms.shape != target.shape:
            raise DefinitionError(
                f"{type(self.criterion).__name__} gives values of shape {tuple(terms.shape)} for labels of "
                f"shape {tuple(target.shape)}; IgnoreMissing takes a loss that has one for each label"
            )
        return terms
