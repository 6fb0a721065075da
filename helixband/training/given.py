"""What `init_model` passed, put on the model."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from helixband.errors import DefinitionError, in_one_line
from helixband.training.engine import Engine
from helixband.training.losses import none_given
from helixband.training.optimizers import Optimizers
from helixband.training.parameters import check_settings


def take_parts(model: Any, network: Any, criterion: Any, optimizer: Any, own_loss: bool) -> None:
    """Put what `init_model` passed on the model, on its device; a model may have a criterion by default.

    One with a `compute_loss` of its own needs none.

    Raises `DefinitionError` for something else than the part of its place.
    """
    if not isinstance(getattr(model, "engine", None), Engine):
        raise DefinitionError(
            f"{type(model).__name__} sets self.engine, which is Helixband's: use another name"
        )
    if isinstance(criterion, Optimizer) and model.default_criterion is not None and optimizer is None:
        criterion, optimizer = None, criterion
    criterion = criterion or model.default_criterion or (none_given if own_loss else None)
    optimizer = Optimizers(optimizer) if isinstance(optimizer, dict) else optimizer
    _check_part(model, "network", network, isinstance(network, nn.Module))
    _check_part(model, "criterion", criterion, callable(criterion) and not isinstance(criterion, type))
    _check_part(model, "optimizer", optimizer, isinstance(optimizer, Optimizer | None))
    for each in optimizer.each if isinstance(optimizer, Optimizers) else filter(None, [optimizer]):
        check_settings(each)
    model.network = network.to(model.device)
    model.criterion = criterion.to(model.device) if isinstance(criterion, nn.Module) else criterion
    model.optimizer = optimizer


def _check_part(model: Any, name: str, value: Any, fits: bool) -> None:
    """Raise `DefinitionError` where `init_model` passed something else than the part of that name."""
    if not fits:
        raise DefinitionError(
            f"{type(model).__name__}.init_model passed {in_one_line(value)} as the {name} to "
            "super().init_model; it takes (network, criterion, optimizer): a torch module, a loss, and an "
            "optimizer of torch"
        )
