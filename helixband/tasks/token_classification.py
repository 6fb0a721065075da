"""Token classification: a label at each position of a sequence, as in the annotation of genes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from base_model import BaseModel, Number
from helixband import metrics
from helixband.errors import DataError
from helixband.generators.arrays import to_numpy
from helixband.metrics.tokens import MISSING
from helixband.tasks.positions import check_logits
from helixband.training import judge
from helixband.training.losses import check_range, classes_checked


class TokenClassificationModel(BaseModel):
    """One class at each position: cross-entropy, accuracy, AUROC, spans; the reward is −val_loss.

    Labels are class indexes, (N, S), integers; −100 where there is none, as in padding: such a position does
    not count, neither in the loss nor in metrics. The network gives logits (N, C, S). y_pred is the
    probabilities, (N, C, S).
    """

    default_criterion = nn.CrossEntropyLoss()
    missing_label = MISSING
    class_names: Sequence[str] | None = None
    """The names of the classes, by default class_0, class_1, … With names there are metrics of spans:
    "O" is outside of them, and "B-gene", "I-gene" are read as `helixband.metrics.spans` has it."""

    def split_output(self, output: Any) -> dict[str, Any]:
        """A plain tensor is the logits; metrics and predictions get probabilities."""
        if isinstance(output, Tensor):
            return {"y_pred": output.softmax(1) if output.ndim > 1 else output, "y_pred_loss": output}
        return super().split_output(output)

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        """The criterion's loss over the positions that have a label.

        Raises `DefinitionError` for logits that are not (N, C, S), and `DataError` for a label of no class.
        """
        if not isinstance(y, Tensor) or y.ndim != 2:
            self.check_labels(to_numpy(y))
        check_logits(y_pred_loss, y, 2 if self.class_names is None else len(self.class_names))
        self.engine.see_logits(y_pred_loss)
        with classes_checked(self, y):
            return super().compute_loss(y_pred_loss, y.long())

    def other_strand(self, y_pred: Any, turned: Callable[[Any], Any]) -> Any:
        """The classes stay, and positions are turned."""
        return turned(y_pred)

    def train_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        return {"accuracy": metrics.accuracy(*metrics.at_known(y_true, y_pred))}

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        """Those of a `ClassificationModel` over the positions, and with `class_names` those of spans."""
        names = judge.names_of(self, y_pred)
        found = metrics.of_classes(*metrics.at_known(y_true, y_pred), names or None)
        if names:
            found |= metrics.span_scores(y_true, y_pred.argmax(1), names)
        return found

    def check_labels(self, y_true: Any) -> None:
        """Raise `DataError` for labels that are not class indexes (N, S), or of no class."""
        if not isinstance(y_true, np.ndarray) or y_true.ndim != 2 or y_true.dtype.kind not in "iuf":
            is_array = isinstance(y_true, np.ndarray)
            told = f"an array {y_true.shape} of {y_true.dtype}" if is_array else f"a {type(y_true).__name__}"
            raise DataError(
                f"{type(self).__name__} is a TokenClassificationModel, and the labels are {told}; they "
                "have to be class indexes, one for each position: (N, S) integers, −100 where there is none"
            )
        if y_true.dtype.kind == "f" and (strange := y_true != np.rint(y_true)).any():
            row, place = np.argwhere(strange)[0]
            raise DataError(
                f"row {row} of the labels is {y_true[row, place]:g}, at position {place} (from 0); classes "
                "are whole numbers, and −100 is a label that is missing"
            )
        classes = len(self.class_names) if self.class_names else self.engine.n_logits
        check_range(y_true, classes or np.iinfo(np.int32).max, MISSING)
