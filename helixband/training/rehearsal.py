"""One batch through a model, before any work: what does not fit together shows there.

The model is one to be thrown away. What it may share with others (weights that a definition keeps in its
module), and the generators, are afterwards as they were.
"""

import contextlib
import itertools
from collections.abc import Collection, Generator, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from helixband.errors import DataError
from helixband.generators.arrays import to_numpy
from helixband.nested import length, map_leaves
from helixband.randomness import Stream
from helixband.training import judge
from helixband.training.feed import (
    Split,
    kept,
    labelled,
    no_batch,
    pieces,
    to_device,
    unlabelled,
    without_padding,
)
from helixband.training.fit import scheduled_values
from helixband.training.hooks import prepared
from helixband.training.parts.clip import Norms
from helixband.training.parts.schedule import schedulers
from helixband.training.passes import train_pass
from helixband.training.reading import keeps_iterator
from helixband.training.snapshot import left_as_it_was
from helixband.training.steps.eager import Eager
from helixband.training.weighting import split_of

PASSES = 3
"""So many of the passes with dropout left on are done, if there are more."""


def first_batch(generator: Iterable[Any], split: Split | None = None) -> tuple[Any, ...]:
    """(x, y) of the first batch, whole, or what `split` makes of it. Raises `DataError` where it is none.

    Raises `Unreadable` where reading it would move the generator for good.
    """
    with _read(labelled(generator, 1, split), generator) as batches:
        for batch in batches:
            return tuple(batch)
    raise no_batch(generator)


def first_x(generator: Iterable[Any]) -> Any:
    """As `first_batch`, of a generator for prediction."""
    with _read(unlabelled(generator, 1), generator) as batches:
        for x in batches:
            return x
    raise DataError(f"{type(generator).__name__} gave no batch; prediction needs one example at least")


class Unreadable(Exception):
    """A generator keeps an iterator, whose place cannot be put back."""


def train(model: Any, batch: tuple[Any, ...]) -> tuple[list[str], Any, Any]:
    """(the names of its losses, y_true, y_pred) of one batch in training mode."""
    x, y, *weight = (to_device(part, model.device) for part in batch)
    y_true = to_numpy(kept(batch[1]))
    model.check_labels(y_true)
    model.engine.begin_pass()
    model.engine.modes.train()
    if model.engine.own_prepare:
        x, y = prepared(model, x, y, *weight)
        y_true = to_numpy(kept(y))
    model.engine.sample_weight = weight[0] if weight else None
    output = model.forward(x)
    model.engine.see_logits(output["y_pred_loss"])
    model.check_labels(y_true)  # again, as what the network gives is known now
    loss, y_pred = judge.mean_loss(model, output["y_pred_loss"], y), output["y_pred"]
    found, _ = model.engine.read((loss, y_pred), length(y), "train_step")
    if model.engine.options.accumulate > 1:
        judge.check_sums(model, output["y_pred_loss"], y)
    return ["loss", *(found.parts or ())], y_true, to_numpy(map_leaves(torch.Tensor.detach, y_pred))


def step(model: Any, generator: Iterable[Any]) -> int:
    """Take the first training step as a training does: forward, backward, update; the rows of its batch.

    Raises whatever goes wrong in it.
    """
    member = model.as_member(generator, (), model.args.epoch)
    member.limit = 1
    with Stream.turns():
        member.begin()
        train_pass([member], Eager())
    member.raise_error()
    return int(model.engine.rows)


def check_columns(
    model: Any,
    trained: Collection[str] | None,
    validated: Collection[str] | None,
    of_data: Collection[str] | None = (),
) -> None:
    """Raise `DefinitionError` where patience or a scheduler looks at a column that no epoch's row will have.

    Given are the names of losses and metrics of both sets, without their prefixes, and the columns that the
    training data have, or None where these are not known. A definition's `on_epoch_end` may add any column.
    """
    engine = model.engine
    if engine.own_epoch_end:
        return
    known = {"train": trained, "val": validated, "coverage": of_data}
    names = [("train_", trained), ("val_", validated), ("", of_data)]
    columns = ["epoch", *(f"{prefix}{name}" for prefix, each in names for name in each or ()), "reward"]
    columns += [*Norms.columns(engine.options), *scheduled_values(model)]
    columns += ["train_skipped"] if engine.options.nan == "skip" else []
    columns += ["averaged"] if engine.average is not None else []

    def may_come(column: str) -> bool:
        return known.get(column.partition("_")[0], ()) is None

    if engine.patience is not None and not may_come(engine.patience.metric):
        engine.patience.check(columns)
    if not any(map(may_come, engine.schedules.columns(model.scheduler))):
        engine.schedules.check(model.scheduler, columns)


def without_effect(model: Any) -> list[str]:
    """What is said of training options that change nothing for this model."""
    options, average = model.engine.options, model.engine.average
    if average is None:
        renews = "neither ema_decay nor swa_start is given"
    else:
        renews = "" if average.renews_batch_norm else "the network has no BatchNorm"
    looks = model.engine.schedules.columns(model.scheduler)
    reasons = {
        "scheduler_interval": "" if schedulers(model.scheduler) else "the model has no scheduler",
        "scheduler_metric": "" if looks else "the model has no ReduceLROnPlateau",
        "renew_batch_norm": renews if options.renew_batch_norm else "",
        **dict.fromkeys(
            ("patience_metric", "patience_mode", "patience_gain"),
            "" if options.patience else "patience is not given",
        ),
    }
    given = options.described()
    return [f"{name} has no effect: {why}" for name, why in reasons.items() if why and name in given]


def evaluate(model: Any, batch: tuple[Any, ...], passes: int | None) -> tuple[dict[str, float], Any, Any]:
    """(losses, y_true, y_pred) of the first piece of a batch, as evaluation cuts it.

    First, if asked, passes with dropout left on.
    """
    batch = next(pieces(batch, model.args.batch_size, model.device))
    if passes:
        model.predict_mc([batch[0]], min(passes, PASSES))
    return judge.outputs(model, [batch], lambda batch, where: batch, of_part=True)


def evaluate_shortest(model: Any, generator: Iterable[Any]) -> None:
    """Evaluate the shortest records of a set, which an evaluation does not fill up; nothing of other sets."""
    read, _, order = without_padding(generator)
    if order is not None:
        evaluate(model, first_batch(read, split_of(model)), None)


def predict(model: Any, x: Any, passes: int | None) -> tuple[Any, Any]:
    """(y_pred, its spread or None) of the first piece of a batch of a generator for prediction.

    Raises `DataError` where the batch is a pair (x, y), and the model takes its x.
    """
    (x,) = next(pieces((x,), model.args.batch_size, model.device))
    try:
        return _predict(model, x, passes)
    except Exception:
        if not (isinstance(x, tuple | list) and len(x) == 2):
            raise
        try:
            _predict(model, x[0], passes)
        except Exception:
            pass
        else:
            raise DataError(
                "its batches are pairs, as of (x, y), and the model takes the first part alone; a generator "
                "for prediction gives x"
            ) from None
        raise


def _predict(model: Any, x: Any, passes: int | None) -> tuple[Any, Any]:
    return model.predict_mc([x], min(passes, PASSES)) if passes else (model.predict([x]), None)


@contextlib.contextmanager
def weights_kept(model: Any) -> Iterator[None]:
    """The weights, buffers and gradients of a model are afterwards as before."""
    parts = [part for part in (model.network, model.criterion) if isinstance(part, nn.Module)]
    tensors = [
        tensor
        for part in parts
        for tensor in itertools.chain(part.parameters(), part.buffers())
        if not is_lazy(tensor)
    ]
    before = [(tensor, tensor.detach().clone(), tensor.grad) for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value, gradient in before:
                tensor.copy_(value)
                tensor.grad = gradient


@contextlib.contextmanager
def _read(batches: Generator[Any], generator: Any) -> Iterator[Iterator[Any]]:
    """Around reading batches of a generator: what it keeps is afterwards as before."""
    if keeps_iterator(generator):
        raise Unreadable(
            f"the generator, a {type(generator).__name__}, keeps an iterator or an open file that this would "
            "move"
        )
    with left_as_it_was(generator), contextlib.closing(batches):
        yield batches
