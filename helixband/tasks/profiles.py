"""Base-resolution profiles: how many reads there are in a window, and how they lie along it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from base_model import BaseModel, Number
from helixband import metrics
from helixband.errors import DataError, DefinitionError, in_one_line
from helixband.generators.arrays import to_numpy
from helixband.losses import IgnoreMissing, MultinomialLoss
from helixband.losses.base import at_least, paired
from helixband.metrics.common import paired as paired_numbers

LEAST_COUNT, MOST_LOG_COUNT = 1e-3, 80.0
"""Bounds of a predicted number of reads, so that it is above 0 and finite."""
COUNT_DIGITS = 5
"""Of log(1 + n) of a predicted profile; further ones are rounding, and equal counts stay equal."""


class ProfileModel(BaseModel):
    """Profile and total count, as BPNet (Avsec et al. 2021) and ChromBPNet; the reward is −val_loss.

    y is counts, (N, L), or (N, T, L) of T tracks, such as both strands. The network gives a dict of
    `profile`, logits (N, L) or (N, T, L), and `log_count`, log(1 + n) for n reads, (N,) or (N, T), as
    `helixband.networks.sequence_heads.ProfileCountHead` does; (N, 1, L) and (N, 1) are of one track. The
    loss is a sum of two, which are reported too: `profile_loss`, the multinomial negative log-likelihood of
    where the reads lie, and `count_loss`, `count_weight` times the squared error of log(1 + n). y_pred is the
    expected counts at each base, of the profile's shape: their sum is n, and their shares are the profile.

    A base whose count is NaN is left out of its profile, and the count of such a profile is not known.
    """

    default_criterion = MultinomialLoss()
    missing_label = np.nan
    count_weight = 1.0

    def init_model(self, *parts: Any, count_weight: float | None = None, **others: Any) -> None:
        """As `BaseModel.init_model`: (network, optimizer); `count_weight` of the loss, by default 1.

        ChromBPNet takes a tenth of the median number of reads in a window. With `MultinomialLoss(full=True)`
        as the criterion, the likelihood has its constant.
        """
        weight = self.count_weight if count_weight is None else count_weight
        self.count_weight = at_least("count_weight", weight, 0)
        super().init_model(*parts, **others)
        if not isinstance(self.criterion, MultinomialLoss):
            raise DefinitionError(
                f"the criterion is {in_one_line(self.criterion)}; a ProfileModel takes a MultinomialLoss"
            )

    def split_output(self, output: Any) -> dict[str, Any]:
        """y_pred of what the network gave; raises `DefinitionError` where that is not both parts."""
        if not isinstance(output, Mapping) or not {"profile", "log_count"} <= output.keys():
            told = (
                f"a dict of {', '.join(map(str, output))}"
                if isinstance(output, Mapping)
                else in_one_line(output)
            )
            raise DefinitionError(
                f"the network gave {told}; a ProfileModel needs a dict of 'profile', logits (N, …, L), and "
                "'log_count', (N, …)"
            )
        profile, log_count = output["profile"], output["log_count"]
        if log_count.numel() * profile.shape[-1] != profile.numel() or len(log_count) != len(profile):
            raise DefinitionError(
                f"the network gave a profile of shape {tuple(profile.shape)} and a log_count of shape "
                f"{tuple(log_count.shape)}; it has to give one number for each profile, "
                f"{tuple(profile.shape[:-1])}"
            )
        log_count = log_count.reshape(profile.shape[:-1])
        count = torch.expm1(log_count.clamp(max=MOST_LOG_COUNT)).clamp(min=LEAST_COUNT)
        y_pred = profile.softmax(-1) * count.unsqueeze(-1)
        return {"y_pred": y_pred, "y_pred_loss": {"profile": profile, "log_count": log_count}}

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        """Both losses by name, each as (sum, weight)."""
        profile, log_count = y_pred_loss["profile"], y_pred_loss["log_count"]
        if not isinstance(y, Tensor):
            self.check_labels(to_numpy(y))
        y = paired(profile, y, "there has to be a count for each base: (N, L), or (N, T, L) of T tracks")
        weight, criterion = self.engine.take_weight(), self.criterion
        assert isinstance(criterion, MultinomialLoss)
        true = torch.log1p(y.to(log_count.dtype).sum(-1))
        total, number = IgnoreMissing(nn.MSELoss()).sum_and_weight(log_count, true, weight)
        return {
            "profile_loss": criterion.sum_and_weight(profile, y, weight),
            "count_loss": (self.count_weight * total, number),
        }

    def other_strand(self, y_pred: Any, turned: Callable[[Any], Any]) -> Any:
        """The bases are turned; two tracks are of the + and the − strand, and change places.

        Raises `DefinitionError` for more tracks: it is not known which of them are pairs.
        """
        if y_pred.ndim > 2 and y_pred.shape[1] > 2:
            raise DefinitionError(
                f"the profiles have {y_pred.shape[1]} tracks, and which of them change places on the other "
                f"strand is not known: give {type(self).__name__} an other_strand of its own, or leave "
                "--both-strands out"
            )
        y_pred = turned(y_pred)
        return y_pred if y_pred.ndim == 2 else y_pred[:, ::-1]

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        """Of profiles `profile_pearson` and `jensen_shannon`; of counts `count_pearson`, of log(1 + n).

        A base of which the prediction is NaN, too, is filled up, behind the end of a shorter window.

        `jensen_shannon_shuffled` is what the profiles themselves have with the bases that they have a count
        of in random order: a profile that is better than this has learned where reads lie.
        """
        true, pred = paired_numbers(y_true, y_pred)
        is_behind = np.isnan(true) & np.isnan(pred)
        true_count, count = (np.where(is_behind, 0, each).sum(-1) for each in (true, pred))
        return {
            "profile_pearson": metrics.profile_pearson(y_true, y_pred),
            "jensen_shannon": metrics.jensen_shannon(y_true, y_pred),
            "jensen_shannon_shuffled": metrics.jensen_shannon(y_true, _shuffled(y_true)),
            "count_pearson": metrics.pearson(np.log1p(true_count), np.log1p(count).round(COUNT_DIGITS)),
        }

    def check_labels(self, y_true: Any) -> None:
        """Raise `DataError` for labels that are not counts, (N, L) or (N, T, L)."""
        if not isinstance(y_true, np.ndarray) or y_true.ndim not in (2, 3) or y_true.dtype.kind not in "biuf":
            is_array = isinstance(y_true, np.ndarray)
            told = f"an array {y_true.shape} of {y_true.dtype}" if is_array else f"a {type(y_true).__name__}"
            raise DataError(
                f"{type(self).__name__} is a ProfileModel, and the labels are {told}; they have to be "
                "counts, one for each base: (N, L), or (N, T, L) of T tracks"
            )
        MultinomialLoss().check_labels(y_true)


def _shuffled(y_true: NDArray[Any]) -> NDArray[Any]:
    """Profiles (…, L) with their known counts in random order, at the bases that have one."""
    permuted, found = np.random.default_rng(0).permuted(y_true, axis=-1), y_true.copy()
    found[~np.isnan(found)] = permuted[~np.isnan(permuted)]  # of each profile, both have the same number
    return found
