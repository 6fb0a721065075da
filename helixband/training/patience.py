"""Early stopping: when a metric has not improved for too long."""

import math
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches

from helixband.errors import DefinitionError
from helixband.training.options import TrainingOptions


class Patience:
    """Whether a training has not improved for `patience` epochs, by a column of its rows.

    An epoch is an improvement if it is better than the best before it by more than `patience_gain`. NaN is
    none. The history alone decides, so that a training that goes on ends where it would have ended.
    """

    def __init__(self, options: TrainingOptions) -> None:
        assert options.patience is not None
        self._epochs, self._gain = options.patience, options.patience_gain
        self.metric, mode = options.patience_metric, options.patience_mode
        """The column that it looks at."""
        if mode is None and self.metric != "reward" and not self.metric.endswith("loss"):
            raise DefinitionError(
                f"patience_metric is {self.metric!r}: say whether it is to grow or to fall, with "
                "patience_mode='max' or 'min'"
            )
        self._sign = 1 if (mode or ("max" if self.metric == "reward" else "min")) == "max" else -1

    def check(self, columns: Collection[str]) -> None:
        """Raise `DefinitionError` where an epoch, which has these columns, does not have that one."""
        if self.metric not in columns:
            near = get_close_matches(self.metric, columns, 3, cutoff=0.4) or columns
            raise DefinitionError(
                f"patience_metric is {self.metric!r}, which an epoch does not have; nearest are: "
                f"{', '.join(near)}"
            )

    def is_over(self, rows: Sequence[Mapping[str, float]]) -> bool:
        """Whether a training with these rows, one an epoch, ends."""
        best, best_epoch = -math.inf, 0
        for epoch, row in enumerate(rows, 1):
            value = self._sign * row.get(self.metric, math.nan)
            if value > best + self._gain or (best == -math.inf and value > best):
                best, best_epoch = value, epoch
        return len(rows) - best_epoch >= self._epochs
