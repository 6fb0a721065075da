"""What a module gives for the batches of a set: labels and predictions of a test, and predictions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from helixband.errors import DataError, DefinitionError
from helixband.interop.packages import overrides
from helixband.nested import leaves, map_leaves
from helixband.randomness import unmoved
from helixband.training.meters import Outputs

NAMED = (
    ("targets", "target", "y_true", "y", "labels", "label"),
    ("preds", "pred", "predictions", "y_pred", "y_hat", "logits", "outputs"),
)
"""Under which names `test_step` may return labels and predictions; the first that is there."""


class Seen:
    """A callback that keeps labels and predictions of a test, or why they are not known: `left_out`.

    They are those of the dict that `test_step` returns; or the y of batches (x, y) and what `predict_step`
    gives for the batch.
    """

    def __init__(self) -> None:
        self._true, self._predicted = Outputs(), Outputs()
        self.left_out = ""

    def on_test_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep those of a batch."""
        if self.left_out:
            return
        found = _named(outputs)
        if found[0] is None or found[1] is None:
            found = self._predict(trainer, module, batch, batch_idx)
        if self.left_out:
            return
        try:
            true = on_host(found[0], "the test set, for labels,")
            predicted = on_host(found[1], "the module, for predictions,")
        except DefinitionError as error:
            self.left_out = str(error)
            return
        self._true.add(true)
        self._predicted.add(predicted)

    def joined(self) -> tuple[Any, Any]:
        """(y_true, y_pred) of the whole set, as NumPy (N, …); (None, None) where they are not known."""
        if self._true.empty:
            self.left_out = self.left_out or "there was no batch"
        if self.left_out:
            return None, None
        true, predicted = self._true.joined(), self._predicted.joined()
        sizes = {leaf.shape[:1] for part in (true, predicted) for leaf in leaves(part)}
        if len(sizes) != 1 or () in sizes:
            self.left_out = "those of the module are not of the same number of examples"
            return None, None
        return true, predicted

    def _predict(self, trainer: Any, module: Any, batch: Any, number: int) -> tuple[Any, Any]:
        """The labels of a batch (x, y), and what predict_step gives; else it says why not."""
        if not (isinstance(batch, tuple | list) and len(batch) == 2 and overrides(module, "predict_step")):
            self.left_out = (
                "test_step returns no dict with 'targets' and 'preds', and there is no predict_step for "
                "batches (x, y)"
            )
            return None, None
        try:
            with unmoved(), trainer.precision_plugin.predict_step_context():
                predicted = module.predict_step(batch, number)
        except Exception as error:  # what the module raises: its predict_step may be for other batches
            self.left_out = f"predict_step of a batch of the test set raised {type(error).__name__}: {error}"
            return None, None
        return batch[1], predicted


class Predicted:
    """A callback that keeps what `predict_step` gives, of several loaders one after another."""

    def __init__(self) -> None:
        self._kept = Outputs()

    def on_predict_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep that of a batch; raises `DefinitionError` where it is nothing."""
        if outputs is None:
            raise DefinitionError(f"{type(module).__name__}.predict_step returned nothing for a batch")
        self._kept.add(on_host(outputs, f"{type(module).__name__}.predict_step"))

    def joined(self) -> Any:
        """That of the whole set, as NumPy (N, …); raises `DataError` where there was no batch."""
        if self._kept.empty:
            raise DataError("there was no batch to predict on; prediction needs one example at least")
        return self._kept.joined()


def on_host(nested: Any, what: str) -> Any:
    """Arrays (N, …) of a batch on the host; raises `DefinitionError` where `what` gave something else."""

    def moved(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor | np.ndarray):
            raise DefinitionError(
                f"{what} gave a {type(leaf).__name__}; it has to give tensors or arrays (N, …)"
            )
        if leaf.ndim == 0:
            raise DefinitionError(
                f"{what} gave one number for a batch; it has to give one row for each example"
            )
        return leaf.detach().cpu() if isinstance(leaf, Tensor) else leaf

    return map_leaves(moved, nested)


def _named(outputs: Any) -> tuple[Any, Any]:
    """The labels and the predictions in a dict, each None where it has none."""
    if not isinstance(outputs, Mapping):
        return None, None
    true, predicted = (next((outputs[name] for name in names if name in outputs), None) for names in NAMED)
    return true, predicted
