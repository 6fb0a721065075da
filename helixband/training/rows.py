"""What a step gave, held against the rows of its batch."""

from typing import Any

import numpy as np
from torch import Tensor

from helixband.errors import DefinitionError, in_one_line
from helixband.nested import is_nested, leaves, named_leaves


def check_rows(y_pred: Any, rows: int, step: str = "predict_step", giver: str = "the network") -> None:
    """Raise `DefinitionError` where what a step gave is not a prediction for each example of a batch.

    `giver` is what gave it in the end: a step that a definition has itself may change what the network gave.
    """
    for leaf in leaves(y_pred) if is_nested(y_pred) else (y_pred,):  # nearly always one
        if not isinstance(leaf, (np.ndarray, Tensor)) or leaf.ndim == 0 or len(leaf) != rows:
            check_leaves(y_pred, step)
            raise DefinitionError(f"{giver} gave y_pred{_told_rows(y_pred, rows)}")


def check_leaves(nested: Any, giver: str, name: str = "y_pred") -> None:
    """Raise `DefinitionError` where something in an output is no array or tensor."""
    for leaf in leaves(nested) if is_nested(nested) else (nested,):
        if not isinstance(leaf, (np.ndarray, Tensor)):
            raise DefinitionError(
                f"{giver} gave {in_one_line(leaf)} ({type(leaf).__name__}) as {name}; it has to be an array "
                "or tensor with the batch as its first dimension, or a dict or tuple of such"
            )


def _told_rows(y_pred: Any, rows: int) -> str:
    """What is wrong with the first dimension of an output."""
    if not is_nested(y_pred):
        squeezed = " (after squeeze() of a batch of one, use squeeze(-1))" if rows == 1 else ""
        return (
            f" of shape {tuple(y_pred.shape)} for a batch of {rows}; its first dimension has to be the "
            f"batch{squeezed}"
        )
    part, leaf = next(
        (part, leaf) for part, leaf in named_leaves(y_pred) if leaf.ndim == 0 or len(leaf) != rows
    )
    return (
        f", a {type(y_pred).__name__}, whose part {part[1:]} has the shape {tuple(leaf.shape)} for a batch "
        f"of {rows}; the first dimension of each part has to be the batch. Return without it what is no "
        "prediction, as the state of a recurrent layer"
    )
