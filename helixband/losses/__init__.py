"""Losses that PyTorch does not have, or not with missing labels: `criterion = PoissonLoss()`.

All take the network's outputs before any activation, and leave out labels that are NaN. What is reported for
a set is exact, whatever batches it is computed in (see `MaskedLoss`).
"""

from helixband.losses.base import MaskedLoss
from helixband.losses.classes import (
    BinaryFocalLoss,
    BinaryLabelSmoothingLoss,
    FocalLoss,
    LabelSmoothingLoss,
    NeighbourLoss,
)
from helixband.losses.counts import MultinomialLoss, NegativeBinomialLoss, PoissonLoss
from helixband.losses.shapes import CosineLoss, IgnoreMissing, KLDivergenceLoss, PearsonLoss, soft_bins

__all__ = [
    "BinaryFocalLoss",
    "BinaryLabelSmoothingLoss",
    "CosineLoss",
    "FocalLoss",
    "IgnoreMissing",
    "KLDivergenceLoss",
    "LabelSmoothingLoss",
    "MaskedLoss",
    "MultinomialLoss",
    "NegativeBinomialLoss",
    "NeighbourLoss",
    "PearsonLoss",
    "PoissonLoss",
    "soft_bins",
]
