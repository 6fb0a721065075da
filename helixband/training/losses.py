"""How criteria are called, labels in the form that they take, and how losses of batches are put together."""

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from helixband.errors import DataError, DefinitionError
from helixband.losses.base import MaskedLoss, beside, paired
from helixband.metrics import no_class_row
from helixband.training import tape
from helixband.training.objects import is_of_helixband

Criterion = Callable[..., Tensor]


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """The mean cross-entropy of logits (N, C), or of two classes (N,) or (N, 1), with matched labels."""
    if logits.ndim == 1 or logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits, target)
    return F.cross_entropy(logits, target)


def cross_entropies(logits: Tensor, target: Tensor) -> Tensor:
    """As `cross_entropy`, of each example."""
    if logits.ndim == 1 or logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return F.cross_entropy(logits, target, reduction="none")


def is_standard(criterion: Any) -> bool:
    """Whether a criterion is torch's or Helixband's, as it comes."""
    is_function = isinstance(criterion, BuiltinFunctionType | FunctionType)
    module = (criterion if is_function else type(criterion)).__module__
    if module is None:  # of what is made in C, or by eval
        return isinstance(criterion, BuiltinFunctionType)
    return module.partition(".")[0] == "torch" or is_of_helixband(module)


def check_scalar(loss: Any) -> None:
    """Raise `DefinitionError` where what a criterion returned is no scalar tensor."""
    if not isinstance(loss, Tensor) or loss.ndim:
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise DefinitionError(f"the criterion returned {shape}; it has to return a scalar, the mean loss")


def check_several(criterion: Any, n_logits: int | None, logits: Any) -> None:
    """Raise `DefinitionError` for a softmax over one logit, whose loss is 0 whatever it is."""
    if n_logits == 1 and isinstance(criterion, nn.CrossEntropyLoss):
        raise DefinitionError(
            f"CrossEntropyLoss got logits of shape {tuple(logits.shape)}, one for each example; it "
            "takes one a class: give the network 2 outputs, or leave the criterion out"
        )


class MissingLabel:
    """What labels of unequal lengths are filled up with, by the criterion; None: NaN, of integers −100."""

    def __get__(self, model: Any, owner: type[Any] | None = None) -> Any:
        return self if model is None else getattr(model.criterion, "missing_label", None)


def none_given(input: Any, target: Any) -> Tensor:
    """The criterion of a model that has a `compute_loss` of its own, and got none."""
    raise DefinitionError(
        "compute_loss calls super().compute_loss, which calls the criterion, and init_model gave none: pass "
        "one to super().init_model(network, criterion, optimizer)"
    )


def label_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """The mean binary cross-entropy of logits (N, …) over the labels that are known: NaN is a missing one."""
    total, weight = label_losses(logits, target)
    return total / weight.clamp(min=1)


def label_losses(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    of_examples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The sum of the binary cross-entropies of the labels that are known, and their number.

    With weights `of_examples`, (N,), both are weighted by them.
    """
    known = ~target.isnan()
    losses = F.binary_cross_entropy_with_logits(
        logits, target.where(known, 0.0), weight, pos_weight=pos_weight, reduction="none"
    )
    counted = known if of_examples is None else known * beside(losses, of_examples)
    return (losses * counted).sum(), counted.sum()


def match_labels(y: Tensor, logits: Tensor, are_made: bool = False) -> Tensor:
    """Labels as the losses of torch take them.

    One logit: P(class 1) in the logits' shape, 0.0 or 1.0 where labels are not soft. C logits: int64 indexes
    (N,), or (N, C) probabilities as they are, which keeps soft labels.

    Raises `DefinitionError` where labels (N, C) are of other classes than the logits. With `are_made`, as by
    `prepare_batch`, also for class indexes that are not whole: others were looked at on the host.
    """
    classes = 1 if logits.ndim == 1 else logits.shape[1]
    if y.ndim == 2 and y.shape[1] not in (1, max(2, classes)):
        raise DefinitionError(
            f"y has the shape {tuple(y.shape)} and the logits {tuple(logits.shape)}; "
            "labels with a column a class need as many as there are classes"
        )
    if classes > 1 and y.ndim == 2 and y.shape[1] == classes:
        return y.to(logits.dtype)
    if classes > 1:
        index = y.reshape(-1).long()
        if are_made and y.is_floating_point() and bool((index != y.reshape(-1)).any()):
            strange = float(y.reshape(-1)[index != y.reshape(-1)][0])
            raise DefinitionError(
                f"the labels of a batch hold {strange:g}, and the network gives {classes} logits: "
                "class indexes are whole numbers. To mix examples in prepare_batch, make the labels one-hot "
                f"first: y = F.one_hot(y, {classes}).float()"
            )
        return index
    of_class_one = y[:, 1] if y.ndim == 2 and y.shape[1] > 1 else y
    return of_class_one.to(logits.dtype).reshape(logits.shape)


def check_classes(y: NDArray[Any], n_logits: int | None, what: str, ignored: int = -100) -> None:
    """Raise `DataError` for labels, NumPy, that are no classes as `match_labels` takes them.

    `n_logits`: how many the network gives for each example; None where that is not known yet. `what` is said
    of the model. The label `ignored` is of no class.
    """
    if (row := no_class_row(y)) is not None:
        raise DataError(
            f"{what}, with one class an example. Row {row} of the labels is {y[row].tolist()}: it sums to "
            f"{y[row].sum():g}, and has to sum to 1. For several labels an example derive Model from "
            "MultiLabelModel"
        )
    if n_logits is None or math.prod(y.shape[1:]) != 1:
        return
    of_none = np.flatnonzero(np.isfinite(y) & (y != np.rint(y)) & (n_logits > 1))
    if len(of_none):
        row = int(of_none[0])
        raise DataError(
            f"{what} whose network gives one logit for each class, so labels (N,) are numbers of classes: 0, "
            f"1, … Row {row} of the labels is {y.reshape(-1)[row]:g}. For soft labels give a column for each "
            "class, (N, C), whose rows sum to 1, or, of two classes, let the network give one logit. For "
            "numbers derive Model from RegressionModel"
        )
    check_range(y, n_logits, ignored)


@contextlib.contextmanager
def classes_checked(model: Any, y: Any) -> Iterator[None]:
    """Around a loss of classes: where it knows no class of an index, `DataError` says which label it is."""
    try:
        yield
    except IndexError:
        model.check_labels(y.numpy(force=True))
        raise
    except RuntimeError as error:
        is_of_one_hot = "Class values" in str(error)
        if is_of_one_hot and not torch._C._functorch.is_batchedtensor(y):
            model.check_labels(y.numpy(force=True))
        raise


def check_range(y: NDArray[Any], n_logits: int, ignored: int = -100) -> None:
    """Raise `DataError` for class indexes (N, …) that are not below the number of logits, or below 0."""
    classes = max(2, n_logits)
    strange = (y != ignored) & ((y < 0) | (y > classes - 1))
    if strange.any():
        place = np.argwhere(strange)[0]
        at = "".join(f", at position {each} (from 0)" for each in place[1:] if y.ndim > 1 and y.shape[1] > 1)
        raise DataError(
            f"row {place[0]} of the labels is {y[tuple(place)]:g}{at}, and the network tells apart "
            f"{classes} classes, 0 to {classes - 1}: correct the labels, or give the network more outputs"
        )


def like_prediction(y: Any, y_pred_loss: Any, rule: str, criterion: Any = None) -> Any:
    """y in the shape of the prediction, where they differ in dimensions of size 1 alone.

    Integers are numbers of its type for a `criterion` of torch's, as not all of these take integers.

    Raises `DefinitionError` with the `rule` where they differ otherwise: torch would broadcast one of them.
    """
    if not (isinstance(y_pred_loss, Tensor) and isinstance(y, Tensor)):
        return y
    is_of_torch = type(criterion).__module__ == nn.MSELoss.__module__
    if is_of_torch and y_pred_loss.is_floating_point() and not (y.is_floating_point() or y.is_complex()):
        y = y.to(y_pred_loss.dtype)
    return y if y.shape == y_pred_loss.shape else paired(y_pred_loss, y, rule)


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


Weigher = Callable[[Tensor, Tensor], float | Tensor | None]
"""Of (input, target) of a batch, the weight of its loss among those of other batches; None: it is a sum."""


def weigher(criterion: Any) -> Weigher | None:
    """How a loss of torch's, or of ours, is put together from those of batches; None where that is not known.

    The means of torch are over elements, over examples, or over the weights of the true classes, as the
    documentation of each loss says.
    """
    if isinstance(criterion, MaskedLoss):
        known = criterion.adds_up and computes_as(criterion, MaskedLoss)
        return criterion.weight_of if known else None
    kind = _kind(criterion)
    return kind and _by_reduction(*kind)


def divisor(criterion: Any) -> Weigher | None:
    """What a mean of torch's is divided by, where that can be 0: the weights of the true classes.

    If all labels of a batch are to be ignored, or of classes that weigh 0, their mean is NaN. None for other
    losses, as for `cross_entropy`, which ignores no label of a `ClassificationModel`.
    """
    kind = _kind(criterion)
    return _by_reduction(_class_weights, kind[1]) if kind and kind[0] is _true_classes else None


def divided(criterion: Criterion, weigh: Weigher, input: Tensor, target: Tensor) -> tuple[Tensor, Any]:
    """(loss, weight) of a criterion with a divisor; of weight 0 the loss is 0, and so are its gradients.

    This does not wait for a GPU. Other losses and gradients stay as they are, bit for bit.
    """
    weight = weigh(input, target)
    if not isinstance(weight, Tensor):  # of soft labels, or a sum
        return criterion(input, target), weight
    counts = weight != 0
    # Of several models at once there is no one truth, and of a step that is replayed none for good.
    is_one = counts.device.type == "cpu" and not torch._C._functorch.is_batchedtensor(counts)
    if is_one and not tape.is_recording() and counts:
        return criterion(input, target), weight
    seen = input.where(counts, input.detach())  # through which no gradient comes where none counts
    return criterion(seen, target).where(counts, 0.0), weight


Option = Callable[[str], Any]
Kind = Callable[[Option], Weigher | None]


def _kind(criterion: Any) -> tuple[Kind, Option] | None:
    """The kind of mean of a loss, and its options by name; None where it is no loss of torch's or ours."""
    if isinstance(criterion, nn.Module):
        kind = next((cls for cls in type(criterion).__mro__ if cls in _OF_MODULES), None)
        if kind is None or not computes_as(criterion, kind):
            return None
        return _OF_MODULES[kind], lambda name: getattr(criterion, name, None)
    options: dict[str, Any] = {}
    while isinstance(criterion, functools.partial):
        if criterion.args:
            return None
        options = {**criterion.keywords, **options}
        criterion = criterion.func
    of = next((weight for function, weight in _OF_FUNCTIONS if function is criterion), None)
    return of and (of, options.get)


def computes_as(criterion: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a call of the criterion is the forward of torch's own class, and nothing else."""
    own = type(criterion).forward is not kind.forward or type(criterion).__call__ is not kind.__call__
    hooks = criterion._forward_hooks or criterion._forward_pre_hooks
    return not (own or hooks or "forward" in vars(criterion))


def is_plain_bce(criterion: Any) -> TypeGuard[nn.BCEWithLogitsLoss]:
    """Whether a criterion is torch's mean binary cross-entropy of logits, and nothing else."""
    if not isinstance(criterion, nn.BCEWithLogitsLoss) or criterion.reduction != "mean":
        return False
    return computes_as(criterion, nn.BCEWithLogitsLoss)


def _by_reduction(weight: Kind, option: Option) -> Weigher | None:
    if option("size_average") is not None or option("reduce") is not None:  # as old versions of torch had it
        return None
    reduction = option("reduction") or "mean"
    if reduction == "sum":
        return lambda input, target: None
    return _batch_size if reduction == "batchmean" else weight(option)


def _elements(option: Option) -> Weigher:
    return _count_elements


def _examples(option: Option) -> Weigher:
    return _count_examples


def _known_labels(option: Option) -> Weigher:
    return lambda input, target: (~target.isnan()).sum()


def _true_classes(option: Option) -> Weigher | None:
    """The sum of the weights of the true classes, 1 each by default; of soft labels their number.

    Not known if labels are smoothed and a class weighs 0: then a batch of that class alone has the weight 0,
    and its smoothing counts all the same.
    """
    of_classes = option("weight")
    if option("label_smoothing") and of_classes is not None and bool((of_classes == 0).any()):
        return None
    return _class_weights(option)


def _class_weights(option: Option) -> Weigher:
    def weigh(input: Tensor, target: Tensor) -> float | Tensor:
        if target.is_floating_point():
            return input.numel() / input.shape[1 if input.ndim > 1 else 0]
        ignored, weights = option("ignore_index"), option("weight")
        known = target != (-100 if ignored is None else ignored)
        return known.sum() if weights is None else (weights[target.where(known, 0)] * known).sum()

    return weigh


def _logits_of_classes(option: Option) -> Weigher:
    of_classes = _true_classes(option)
    assert of_classes is not None  # it smooths no labels

    def weigh(input: Tensor, target: Tensor) -> float | Tensor | None:
        one_logit = input.ndim == 1 or input.shape[1] == 1
        return input.numel() if one_logit else of_classes(input, target)

    return weigh


def _count_elements(input: Tensor, target: Tensor) -> float:
    return input.numel()


def _count_examples(input: Tensor, target: Tensor) -> float:
    return len(input) if input.ndim > 1 else 1


def _batch_size(input: Tensor, target: Tensor) -> float:
    return len(input)


_OF_MODULES: dict[type[nn.Module], Kind] = {
    nn.L1Loss: _elements,
    nn.MSELoss: _elements,
    nn.HuberLoss: _elements,
    nn.SmoothL1Loss: _elements,
    nn.BCELoss: _elements,
    nn.BCEWithLogitsLoss: _elements,
    nn.KLDivLoss: _elements,
    nn.PoissonNLLLoss: _elements,
    nn.SoftMarginLoss: _elements,
    nn.HingeEmbeddingLoss: _elements,
    nn.MultiLabelSoftMarginLoss: _examples,
    nn.MultiLabelMarginLoss: _examples,
    nn.MultiMarginLoss: _examples,
    nn.CrossEntropyLoss: _true_classes,
    nn.NLLLoss: _true_classes,
}
_OF_FUNCTIONS: list[tuple[Any, Kind]] = [
    (F.l1_loss, _elements),
    (F.mse_loss, _elements),
    (F.huber_loss, _elements),
    (F.smooth_l1_loss, _elements),
    (F.binary_cross_entropy, _elements),
    (F.binary_cross_entropy_with_logits, _elements),
    (F.kl_div, _elements),
    (F.poisson_nll_loss, _elements),
    (F.soft_margin_loss, _elements),
    (F.hinge_embedding_loss, _elements),
    (F.multilabel_soft_margin_loss, _examples),
    (F.multilabel_margin_loss, _examples),
    (F.multi_margin_loss, _examples),
    (F.cross_entropy, _true_classes),
    (F.nll_loss, _true_classes),
    (cross_entropy, _logits_of_classes),
    (label_cross_entropy, _known_labels),
]
