"""Weights of examples: how batches bring them, and the losses that take them.

The loss of a batch is then the sum of its examples' losses, each times its weight, by the sum of what they
weigh: an example counts as much as its weight says, beside what the loss itself counts (elements, class
weights, known labels).
"""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from helixband.errors import DefinitionError, in_one_line
from helixband.generators.arrays import weights_of_examples
from helixband.losses.base import MaskedLoss, beside
from helixband.nested import length
from helixband.training import losses
from helixband.training.meters import Loss, mean_of


def split_of(model: Any) -> Callable[[Any, str], tuple[Any, ...]] | None:
    """What makes (x, y) or (x, y, weight) of the batches of a model that has a `split_batch`."""
    if not model.engine.own_split:
        return None
    return lambda batch, where: split(model.split_batch(batch), where)


def split(parts: Any, where: str) -> tuple[Any, ...]:
    """(x, y) or (x, y, weight) that `split_batch` made of a batch, checked; weights as an array, (N,).

    Raises `DefinitionError` for anything else, and `DataError` for weights that are none.
    """
    if not isinstance(parts, tuple | list) or len(parts) not in (2, 3):
        raise DefinitionError(
            f"split_batch returned {in_one_line(parts)}; it has to return (x, y) or (x, y, weight)"
        )
    x, y, *weights = parts
    return x, y, *(weights_of_examples(given, length(y), where) for given in weights)


def weighted(criterion: Any, y_pred_loss: Any, y: Any, weight: Tensor) -> Loss:
    """The loss of a batch whose examples have weights (N,).

    Raises `DefinitionError` for a criterion that cannot take them.
    """
    if isinstance(criterion, MaskedLoss) and not criterion.adds_up:
        return Loss(criterion(y_pred_loss, y, weight), weight.sum())
    if isinstance(criterion, MaskedLoss):
        return mean_of(criterion.sum_and_weight(y_pred_loss, y, weight))
    if criterion is losses.label_cross_entropy:
        return mean_of(losses.label_losses(y_pred_loss, y, of_examples=weight))
    if (weigh := losses.weigher(criterion)) is not None:
        terms = _without_reduction(criterion)(y_pred_loss, y)
        total, counts = (terms * beside(terms, weight)).sum(), _counts(weigh, y_pred_loss, y)
        return Loss(total, None) if counts is None else mean_of((total, (counts * weight).sum()))
    if _takes_weight(criterion):
        names = losses.parameter_names(criterion)
        given = {names[0]: y, names[1]: y_pred_loss} if names else {}
        total = weight.sum()
        weight = torch.where(total == 0, 1, weight)  # as of no weight at all there is no mean
        mean = criterion(**given, weight=weight) if names else criterion(y_pred_loss, y, weight=weight)
        return Loss(torch.where(total == 0, mean * 0, mean), total)
    raise DefinitionError(
        f"split_batch gives weights of examples, which {in_one_line(criterion)} does not take: use a loss of "
        "torch's or of helixband.losses, or give it a third parameter `weight`, (N,), and have it return the "
        "weighted mean"
    )


def _counts(weigh: losses.Weigher, input: Tensor, target: Tensor) -> Tensor | float | None:
    """What each example's loss is divided by in the mean of all; None in a sum."""
    total = weigh(input, target)
    if not isinstance(total, Tensor):
        return None if total is None else total / len(input)
    of_one: Any = lambda one, label: weigh(one[None], label[None])  # noqa: E731
    each: Tensor = torch.vmap(of_one)(input, target)
    return each


def _without_reduction(criterion: Any) -> Callable[..., Tensor]:
    if criterion is losses.cross_entropy:
        return losses.cross_entropies
    if not isinstance(criterion, nn.Module):
        return functools.partial(criterion, reduction="none")

    def call(input: Tensor, target: Tensor) -> Tensor:
        module: Any = criterion
        before, module.reduction = module.reduction, "none"
        try:
            found: Tensor = module(input, target)
        finally:
            module.reduction = before
        return found

    return call


def _takes_weight(criterion: Any) -> bool:
    return _weight_parameter(criterion) is not None


def needs_weight(criterion: Any) -> bool:
    """Whether a criterion has to be given the weights of examples."""
    parameter = _weight_parameter(criterion)
    return parameter is not None and parameter.default is inspect.Parameter.empty


def _weight_parameter(criterion: Any) -> inspect.Parameter | None:
    called = criterion.forward if isinstance(criterion, nn.Module) else criterion
    plain = getattr(called, "__func__", called)
    is_plain = isinstance(plain, FunctionType)
    return _weight_parameter_of(plain) if is_plain else _weight_parameter_of.__wrapped__(called)


@functools.lru_cache(maxsize=64)
def _weight_parameter_of(called: Any) -> inspect.Parameter | None:
    try:
        return inspect.signature(called).parameters.get("weight")
    except (TypeError, ValueError):
        return None
