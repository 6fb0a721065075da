"""One pass over a set: `train_pass` changes the models, `evaluate` and `predict` do not.

Nothing is copied from the device while a pass runs. Losses and outputs are read at its end.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from helixband import interruption
from helixband.errors import DataError, DefinitionError
from helixband.nested import leaves, length
from helixband.training.feed import kept, labelled, no_batch, pieces, to_device, unlabelled
from helixband.training.member import Member
from helixband.training.meters import Loss, LossMeter, Outputs
from helixband.training.steps.stepper import Stepper


def train_pass(members: Sequence[Member], stepper: Stepper) -> None:
    """Train each member on the batches of an epoch, a step of all members at a time.

    What the steps gave is in the members' meters. A member that fails leaves, and the others go on.
    """
    running = []
    for member in members:
        if member.begin_epoch():
            stepper.join(member)
            running.append(member)
    while running:
        interruption.check()
        batches = []
        for member in list(running):
            if (batch := member.next_batch()) is not None:
                batches.append(batch)
            else:
                running.remove(member)
                stepper.leave(member)
        for member, result in zip(list(running), stepper.step(batches), strict=True):
            if result is not None:
                member.take(result)
            else:
                running.remove(member)
                stepper.leave(member)


def evaluate(
    step: Callable[[Any, Any], tuple[Tensor, Any]],
    generator: Iterable[Any],
    device: torch.device,
    training_rows: int,
    limit: int | None = None,
) -> tuple[float, Any, Any]:
    """(mean loss, y_true, y_pred) over a whole set, the latter as NumPy arrays (N, …).

    `step(x, y) -> (loss, y_pred)` evaluates one batch. Batches of more than `training_rows` examples are
    cut into pieces, so that the device's memory is bounded whatever the generator yields.
    """
    losses, true, predicted = LossMeter(), Outputs(), Outputs()
    for batch in labelled(generator, limit):
        for x, y in pieces(batch, training_rows, device):
            loss, y_pred = step(to_device(x, device), to_device(y, device))
            rows = length(y)
            _check_rows(y_pred, rows)
            losses.add(Loss(loss, rows, rows))
            true.add(kept(y))
            predicted.add(y_pred)
    if losses.empty:
        raise no_batch(generator)
    return losses.mean(), true.joined(), predicted.joined()


def predict(
    step: Callable[[Any], Any],
    generator: Iterable[Any],
    device: torch.device,
    training_rows: int,
    limit: int | None = None,
) -> Any:
    """y_pred over a whole set, as NumPy arrays (N, …); `step(x) -> y_pred`. Pieces as in `evaluate`."""
    predicted = Outputs()
    for batch in unlabelled(generator, limit):
        for (x,) in pieces((batch,), training_rows, device):
            y_pred = step(to_device(x, device))
            _check_rows(y_pred, length(x))
            predicted.add(y_pred)
    if predicted.empty:
        raise DataError(f"{type(generator).__name__} gave no batch; prediction needs one example at least")
    return predicted.joined()


def _check_rows(y_pred: Any, rows: int) -> None:
    for leaf in leaves(y_pred):
        if leaf.ndim == 0 or len(leaf) != rows:
            raise DefinitionError(
                f"the network gave y_pred of shape {tuple(leaf.shape)} for a batch of {rows}; its first "
                "dimension has to be the batch (after squeeze() of a batch of one, use squeeze(-1))"
            )
