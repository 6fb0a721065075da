"""One pass over a set: `train_pass` changes the models, `evaluate` and `predict` do not.

Nothing is copied from the device while a pass runs. Losses and outputs are read at its end.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from helixband import interruption
from helixband.errors import DataError
from helixband.nested import length, nbytes
from helixband.training.feed import (
    Split,
    in_order,
    kept,
    labelled,
    no_batch,
    pieces,
    to_device,
    unlabelled,
    without_padding,
)
from helixband.training.member import Member, Model
from helixband.training.meters import Loss, LossMeter, Outputs, WholeSet
from helixband.training.rows import check_rows
from helixband.training.steps.stepper import Stepper


def train_pass(members: Sequence[Member], stepper: Stepper) -> None:
    """Train each member on the batches of an epoch, a step of all members at a time.

    What the steps gave is in the members' meters. A member that fails leaves, and the others go on.
    """
    for member in members:
        member.begin_epoch()
    running = [member for member in members if member.ended is None]
    for member in running:
        stepper.join(member)
    take_steps = _in_blocks if stepper.in_blocks else _one_by_one
    take_steps(running, stepper)


def _one_by_one(running: list[Member], stepper: Stepper) -> None:
    """A step of all members at a time, as soon as there are the batches for it."""
    while running:
        interruption.check()
        batches = []
        for member in list(running):
            if (batch := member.next_batch()) is not None:
                batches.append(batch)
            else:
                running.remove(member)
                stepper.leave(member)
        if not running:
            return
        for member, result in zip(list(running), stepper.step(batches), strict=True):
            if result is not None:
                member.take(result)
            else:
                running.remove(member)
                stepper.leave(member)


def _in_blocks(running: list[Member], stepper: Stepper) -> None:
    """As many steps at a time as the stepper takes, on batches that are read ahead."""
    waiting: dict[Member, deque[Any]] = {member: deque() for member in running}
    while running:
        interruption.check()
        _read_ahead(running, waiting, stepper.at_once)
        count = min(len(waiting[member]) for member in running)
        rounds = [[waiting[member][number] for member in running] for number in range(count)]
        members = list(running)
        for results in stepper.steps(rounds) if rounds else ():
            for member, result in zip(members, results, strict=True):
                if result is not None and member in running:
                    member.take(result)
                    waiting[member].popleft()
                elif member in running:
                    running.remove(member)
                    stepper.leave(member)
        if not rounds:
            for member in [member for member in running if not waiting[member]]:
                running.remove(member)
                stepper.leave(member)


def _read_ahead(running: Sequence[Member], waiting: dict[Member, deque[Any]], most: int) -> None:
    """Read batches in turn until there are so many of each member, or 64 MB of all, or one has no other."""
    of_round = 0
    while (there := max(len(waiting[member]) for member in running)) < most:
        of_round = of_round or sum(nbytes(waiting[member][0]) for member in running if waiting[member])
        if there > 1 and there * of_round >= BYTES_AHEAD:  # of a single round no block would be made
            return
        for member in running:
            batch = member.next_batch()
            if batch is not None:
                waiting[member].append(batch)
            elif member.ended is not None:
                waiting[member].clear()
        if len({len(waiting[member]) for member in running}) > 1 or batch is None:
            return


BYTES_AHEAD = 64 << 20
"""The bytes of batches that are read ahead, but for two steps of each member."""


class Evaluated(NamedTuple):
    """What a model made of one batch of a set, on the device.

    `outputs` are (y_pred_loss, y) if the losses of batches do not tell that of the set, else None.
    """

    loss: Loss
    y_pred: Any
    outputs: tuple[Any, Any] | None = None


class Evaluator(Protocol):
    """Has the pieces of a set evaluated, in several processes."""

    def evaluated(self, step: Callable[..., Evaluated], pieces: Iterable[Any]) -> Iterable[tuple[Any, Any]]:
        """Each piece, of which x need not be there, with what `step` gives of it."""
        ...


def captures(model: Model) -> bool:
    """Whether the batches of a pass of a model are captured, if they can be: on a GPU, without dropout."""
    engine = model.engine
    is_alone = engine.shared is None and not engine.modes.is_sampling
    return model.device.type == "cuda" and engine.options.capture and is_alone


def evaluate(
    step: Callable[..., Evaluated],
    criterion: Callable[..., Loss],
    generator: Iterable[Any],
    device: torch.device,
    training_rows: int,
    limit: int | None = None,
    split: Split | None = None,
    shared: Evaluator | None = None,
    of_part: bool = False,
    missing: float | None = None,
) -> tuple[dict[str, float], Any, Any]:
    """(losses, y_true, y_pred) of a whole set, the latter as NumPy arrays (N, …).

    The losses are `loss`, and those by name of which it is the sum, where it is one. `step(x, y)` evaluates
    one batch, `step(x, y, weight)` one that `split` gives with weights.

    Batches of more than `training_rows` examples are cut into pieces, so that the device's memory is bounded
    whatever the generator yields. What `without_padding` gives in its place is read, and the arrays are in
    the generator's order. Labels of unequal lengths are `filled_up` with `missing`. The loss is the same
    for any pieces: it is put together from theirs, or is
    `criterion(y_pred_loss, y)` of the whole set, with a third argument where its examples have weights.
    Raises `DataError` where no example counts for it, unless this is `of_part` of a set alone.
    """
    losses, true, predicted, whole = LossMeter(), Outputs(missing), Outputs(), WholeSet()
    read, limit, order = without_padding(generator, limit)
    batches = labelled(read, limit, split)
    cut = (piece for batch in batches for piece in pieces(batch, training_rows, device))

    def evaluated(*piece: Any) -> Evaluated:
        return step(*(to_device(part, device) for part in piece))

    results = ((piece, evaluated(*piece)) for piece in cut)
    for (_, y, *weight), found in results if shared is None else shared.evaluated(evaluated, cut):
        losses.add(found.loss)
        if found.outputs is not None:
            y_pred_loss, labels = found.outputs
            given = (to_device(each, device) for each in weight)
            whole.add(y_pred_loss, labels, found.loss.value, *given)
        true.add(kept(y))
        predicted.add(found.y_pred)
    if not len(losses):
        raise no_batch(generator)
    is_known = whole.empty or len(losses) == 1
    exact = None if is_known else whole.loss(criterion, type(generator).__name__)
    if exact is not None:
        losses = LossMeter()
        losses.add(exact)
    if not (losses.counts or of_part):
        raise DataError(
            f"no example of {type(generator).__name__} counts for the loss: all labels are missing or "
            "ignored, or all weights are 0"
        )
    y_true, y_pred = in_order(true.joined(), order), in_order(predicted.joined(), order)
    return {"loss": losses.total(), **losses.parts()}, y_true, y_pred


def predict(
    step: Callable[[Any], Any],
    generator: Iterable[Any],
    device: torch.device,
    training_rows: int,
    limit: int | None = None,
    giver: str = "the network",
) -> Any:
    """y_pred over a whole set, as NumPy arrays (N, …); `step(x) -> y_pred`. Pieces as in `evaluate`.

    `giver` is what gives the predictions, for messages.
    """
    predicted = Outputs()
    read, limit, order = without_padding(generator, limit)
    for batch in unlabelled(read, limit):
        for (x,) in pieces((batch,), training_rows, device):
            y_pred = step(to_device(x, device))
            check_rows(y_pred, length(x), giver=giver)
            predicted.add(y_pred)
    if predicted.empty:
        raise DataError(f"{type(generator).__name__} gave no batch; prediction needs one example at least")
    return in_order(predicted.joined(), order)
