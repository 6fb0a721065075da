"""Losses of classes and of several labels an example, on logits: focal loss, label smoothing."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from helixband.errors import DataError, DefinitionError, in_one_line
from helixband.losses.base import MaskedLoss, at_least, check_range, is_number, numbers

MISSING_CLASS = -100
"""The class index of a label that is missing, as torch's `ignore_index` has it."""


class _BinaryLoss(MaskedLoss):
    """Of logits (N, …) and labels of the same shape: 0, 1, a probability between, or NaN if missing."""

    def prediction(self, input: Tensor) -> Tensor:
        return torch.sigmoid(input)

    def check_labels(self, y: NDArray[Any]) -> None:
        check_range(y, 0, 1, f"{type(self).__name__} takes 0, 1, or a probability between")


class BinaryFocalLoss(_BinaryLoss):
    """The focal loss of single labels: FL(p) = −α (1 − p)^γ log p, p being the true label's probability.

    `gamma`: how much well classified labels are played down; with 0 it is binary cross-entropy. `alpha`: the
    weight of the label 1, and 1 − alpha that of 0, between 0 and 1; None weights both 1. A label between 0
    and 1 is the mean of both losses by it. Logits (N, …), labels of the same shape.

    Lin et al. 2017, Focal Loss for Dense Object Detection (arXiv:1708.02002), eq. 5; there γ = 2, α = 0.25.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        self.gamma = at_least("gamma", gamma, 0)
        if alpha is not None and not (is_number(alpha) and 0 <= alpha <= 1):
            raise DefinitionError(
                f"alpha is {in_one_line(alpha)}; it has to be the weight of the label 1, from 0 to 1"
            )
        self.alpha = alpha

    def terms(self, input: Tensor, target: Tensor, known: Tensor) -> Tensor:
        of_one, of_zero = (1.0, 1.0) if self.alpha is None else (self.alpha, 1 - self.alpha)
        # In logarithms: 1 − p of a probability near 1 would be rounded to 0.
        log_p, log_rest = F.logsigmoid(input), F.logsigmoid(-input)
        one, zero = log_p * torch.exp(self.gamma * log_rest), log_rest * torch.exp(self.gamma * log_p)
        return -of_one * target * one - of_zero * (1 - target) * zero


class BinaryLabelSmoothingLoss(_BinaryLoss):
    """Binary cross-entropy with labels moved by `smoothing` towards 1/2: y (1 − ε) + ε / 2.

    `pos_weight`: the weight of the label 1, a number or one a column. Logits (N, …), labels of the same
    shape.

    Szegedy et al. 2016, Rethinking the Inception Architecture (arXiv:1512.00567), section 7, for two classes.
    """

    pos_weight: Tensor | None

    def __init__(self, smoothing: float = 0.1, pos_weight: ArrayLike | Tensor | None = None) -> None:
        super().__init__()
        self.smoothing = at_least("smoothing", smoothing, 0, 1)
        self.register_buffer("pos_weight", _weights("pos_weight", pos_weight))

    def terms(self, input: Tensor, target: Tensor, known: Tensor) -> Tensor:
        target = target * (1 - self.smoothing) + self.smoothing / 2
        return F.binary_cross_entropy_with_logits(input, target, pos_weight=self.pos_weight, reduction="none")


class _ClassLoss(MaskedLoss):
    """Of logits (N, C, …) and labels: class indexes (N, …), or probabilities (N, C, …).

    An index that is missing is NaN or −100, and a row of probabilities is missing if it has a NaN.
    """

    missing_label = None

    def matched(self, input: Tensor, target: Tensor) -> Tensor:
        if input.ndim < 2 or input.shape[1] < 2:
            raise DefinitionError(
                f"{type(self).__name__} got logits of shape {tuple(input.shape)}; it takes one a class, "
                f"(N, C, …). For single labels there is Binary{type(self).__name__}"
            )
        if target.shape == input.shape:
            return target.to(input.dtype)
        of_index = input.shape[:1] + input.shape[2:]
        if target.shape != of_index and target.shape != (*of_index, 1):
            raise DefinitionError(
                f"y has the shape {tuple(target.shape)} and the logits {tuple(input.shape)}; "
                f"{type(self).__name__} takes indexes {tuple(of_index)}, or a probability for each logit"
            )
        target = target.reshape(of_index)
        index = target.to(input.dtype)
        known = ~index.isnan() & (index != MISSING_CLASS)
        one_hot = F.one_hot(index.where(known, 0).long(), input.shape[1]).movedim(-1, 1)
        return one_hot.to(input.dtype).where(known.unsqueeze(1), torch.nan)

    def counted(self, known: Tensor) -> Tensor:
        return known.all(1)

    def prediction(self, input: Tensor) -> Tensor:
        return input.softmax(1)

    def check_labels(self, y: NDArray[Any]) -> None:
        if y.ndim < 2 or y.shape[1] == 1:
            index = y[~np.isnan(y)] if y.dtype.kind == "f" else y.ravel()
            strange = index[(index != np.rint(index)) | ((index < 0) & (index != MISSING_CLASS))]
            if strange.size:
                raise DataError(f"the labels have {strange[0]:g}, which is no class index")


class FocalLoss(_ClassLoss):
    """The focal loss of classes: FL(p) = −α_t (1 − p_t)^γ log p_t, p_t being the true class's probability.

    `gamma`: how much well classified examples are played down; with 0 it is cross-entropy. `alpha`: a weight
    for each class, (C,); None weights all 1. It is the mean over examples, also with `alpha`. Logits
    (N, C, …), labels: class indexes (N, …), or probabilities (N, C, …).

    Lin et al. 2017, Focal Loss for Dense Object Detection (arXiv:1708.02002), with a softmax.
    """

    alpha: Tensor | None

    def __init__(self, gamma: float = 2.0, alpha: ArrayLike | Tensor | None = None) -> None:
        super().__init__()
        self.gamma = at_least("gamma", gamma, 0)
        self.register_buffer("alpha", _weights("alpha", alpha))
        if self.alpha is not None and self.alpha.ndim != 1:
            raise DefinitionError(
                f"alpha is {in_one_line(alpha)}; it has to be a weight for each class, (C,)"
            )

    def terms(self, input: Tensor, target: Tensor, known: Tensor) -> Tensor:
        log_p, log_rest = _log_both(input)
        losses = -log_p * torch.exp(self.gamma * log_rest) * target
        if self.alpha is not None:
            if len(self.alpha) != input.shape[1]:
                raise DefinitionError(f"alpha has {len(self.alpha)} weights for {input.shape[1]} classes")
            losses = losses * self.alpha.reshape(1, -1, *[1] * (input.ndim - 2))
        return losses.sum(1)


class LabelSmoothingLoss(_ClassLoss):
    """Cross-entropy with labels moved by `smoothing` towards the uniform distribution: y (1 − ε) + ε / C.

    It is `nn.CrossEntropyLoss(label_smoothing=…)` that leaves out missing labels. Logits (N, C, …), labels:
    class indexes (N, …), or probabilities (N, C, …).

    Szegedy et al. 2016, Rethinking the Inception Architecture (arXiv:1512.00567), section 7.
    """

    def __init__(self, smoothing: float = 0.1) -> None:
        super().__init__()
        self.smoothing = at_least("smoothing", smoothing, 0, 1)

    def terms(self, input: Tensor, target: Tensor, known: Tensor) -> Tensor:
        log_p = input.log_softmax(1)
        return -(1 - self.smoothing) * (target * log_p).sum(1) - self.smoothing * log_p.mean(1)


class NeighbourLoss(_ClassLoss):
    """Cross-entropy along sequences in which errors that lie together weigh more than single ones.

    The term of position i is −log p_i (1 + w m_i), where p_i is the probability of the true class there, and
    m_i the mean of 1 − p_j over the positions j at most `reach` from i, without i and those without a label.
    m_i counts as a number and has no gradient, so the loss is least where cross-entropy is. `weight`: w; with
    0 it is cross-entropy. Logits (N, C, S), labels: class indexes (N, S), or probabilities (N, C, S).
    """

    def __init__(self, weight: float = 1.0, reach: int = 1) -> None:
        super().__init__()
        self.weight = at_least("weight", weight, 0)
        if type(reach) is not int or reach < 1:
            raise DefinitionError(
                f"reach is {in_one_line(reach)}; it has to be a number of positions to each side, from 1"
            )
        self.reach = reach

    def terms(self, input: Tensor, target: Tensor, known: Tensor) -> Tensor:
        if input.ndim != 3:
            raise DefinitionError(
                f"NeighbourLoss got logits of shape {tuple(input.shape)}; it is of sequences, (N, C, S)"
            )
        losses = -(target * input.log_softmax(1)).sum(1)
        counted = self.counted(known)
        wrong = -torch.expm1(-losses.detach()).where(counted, 0.0)
        near = self._beside(counted.to(wrong.dtype)).clamp(min=1)
        return losses * (1 + self.weight * self._beside(wrong) / near)

    def _beside(self, values: Tensor) -> Tensor:
        """Of values (N, S), for each position the sum of those beside it."""
        ones = values.new_ones(1, 1, 2 * self.reach + 1)
        ones[..., self.reach] = 0
        return F.conv1d(values.unsqueeze(1), ones, padding=self.reach).squeeze(1)


def _log_both(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(log p, log(1 − p)) for each class, (N, C, …); of the likeliest, whose p may be rounded to 1, too."""
    log_p = logits.log_softmax(1)
    top = log_p.argmax(1, keepdim=True)
    others = log_p.scatter(1, top, -torch.inf).logsumexp(1, keepdim=True)
    of_top = torch.log1p(-others.exp().clamp(max=0.5)).where(others < -1, log_p.gather(1, top))
    log_rest = torch.log1p(-log_p.exp().clamp(max=0.5)).scatter(1, top, others)
    return log_p.scatter(1, top, of_top), log_rest


def _weights(name: str, given: ArrayLike | Tensor | None) -> Tensor | None:
    if given is None:
        return None
    rule = "weights are finite, 0 or more, and not all 0"
    weights = numbers(name, given, rule)
    if not (torch.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise DefinitionError(f"{name} is {weights.tolist()}; {rule}")
    return weights
