"""How criteria are called, and labels in the form that they take."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from helixband.errors import DefinitionError

Criterion = Callable[..., Tensor]


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """The mean cross-entropy of logits (N, C), or of two classes (N,) or (N, 1), with matched labels."""
    if logits.ndim == 1 or logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits, target)
    return F.cross_entropy(logits, target)


def match_labels(y: Tensor, logits: Tensor) -> Tensor:
    """Labels as the losses of torch take them.

    One logit: 0.0 or 1.0 in the logits' shape. C logits: int64 indexes (N,), or (N, C) probabilities as they
    are, which keeps soft labels.

    Raises `DefinitionError` where labels (N, C) are of other classes than the logits.
    """
    classes = 1 if logits.ndim == 1 else logits.shape[1]
    if y.ndim == 2 and y.shape[1] not in (1, max(2, classes)):
        raise DefinitionError(
            f"y has the shape {tuple(y.shape)} and the logits {tuple(logits.shape)}; "
            "labels with a column a class need as many as there are classes"
        )
    if classes > 1 and y.ndim == 2 and y.shape[1] == classes:
        return y.to(logits.dtype)
    index = y.argmax(1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1)
    return index.long() if classes > 1 else index.to(logits.dtype).reshape(logits.shape)


def parameter_names(criterion: Any) -> tuple[str, str] | None:
    """The names (y_true…, y_pred…) of a plain function's parameters, where it has such, to call it by."""
    if isinstance(criterion, nn.Module):
        return None
    try:
        names = list(inspect.signature(criterion).parameters)
    except ValueError:  # a function written in C has no signature to read
        return None
    true = [name for name in names if name.startswith("y_true")]
    pred = [name for name in names if name.startswith("y_pred")]
    return (true[0], pred[0]) if true and pred else None
