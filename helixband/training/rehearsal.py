"""One small batch through a model, before any work: what does not fit together shows there.

The model is one to be thrown away. What it may share with others (weights that a definition keeps in its
module), and the generators, are afterwards as they were.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from helixband.errors import DataError
from helixband.generators.arrays import to_numpy
from helixband.generators.base import BatchGenerator
from helixband.nested import leaves, length, map_leaves
from helixband.training import judge
from helixband.training.feed import kept, labelled, no_batch, to_device, unlabelled
from helixband.training.objects import found_in
from helixband.training.reading import keeps_iterator, left_as_it_was

PASSES = 3
"""So many of the passes with dropout left on are done, if there are more."""


def first_batch(generator: Iterable[Any], rows: int) -> tuple[Any, Any]:
    """(x, y) of the first batch, cut to so many rows. Raises `DataError` where it is none.

    Raises `Unreadable` where reading it would move the generator for good.
    """
    with _read(labelled(generator, 1), generator) as batches:
        for x, y in batches:
            x, y = _cut((x, y), rows)
            return x, y
    raise no_batch(generator)


def first_x(generator: Iterable[Any], rows: int) -> Any:
    """As `first_batch`, of a generator for prediction."""
    with _read(unlabelled(generator, 1), generator) as batches:
        for x in batches:
            return _cut(x, rows)
    raise DataError(f"{type(generator).__name__} gave no batch; prediction needs one example at least")


class Unreadable(Exception):
    """A generator keeps an iterator, whose place cannot be put back."""


def train(model: Any, batch: tuple[Any, Any]) -> tuple[Any, Any]:
    """(y_true, y_pred) of one batch in training mode, its loss computed."""
    x, y = (to_device(part, model.device) for part in batch)
    y_true = to_numpy(kept(batch[1]))
    model.check_labels(y_true)
    model.engine.begin_pass()
    model.engine.modes.train()
    loss, (y_pred, _) = judge.training_loss(model, x, y)
    model.engine.read((loss, y_pred), length(y), "train_step")
    return y_true, to_numpy(map_leaves(torch.Tensor.detach, y_pred))


def evaluate(model: Any, batch: tuple[Any, Any], passes: int | None) -> tuple[float, Any, Any]:
    """(loss, y_true, y_pred) of one batch; first, if asked, passes with dropout left on."""
    if passes:
        model.predict_mc([batch[0]], min(passes, PASSES))
    return judge.outputs(model, [batch])


def predict(model: Any, x: Any, passes: int | None) -> tuple[Any, Any]:
    """(y_pred, its spread or None) of one batch of a generator for prediction.

    Raises `DataError` where the batch is a pair (x, y), and the model takes its x.
    """
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
    holders = [generator, *found_in(generator, BatchGenerator)]
    attributes = [(vars(holder), dict(vars(holder))) for holder in holders if hasattr(holder, "__dict__")]
    with left_as_it_was(generator):
        try:
            with contextlib.closing(batches):
                yield batches
        finally:
            for now, before in attributes:
                now.clear()
                now.update(before)


def _cut(batch: Any, rows: int) -> Any:
    """At most so many rows of a batch, from all over it, where its parts are arrays of one length."""
    lengths = {len(leaf) if getattr(leaf, "ndim", 0) else 0 for leaf in leaves(batch)}
    if len(lengths) != 1 or (length := lengths.pop()) <= rows:
        return batch
    chosen = np.linspace(0, length - 1, rows).astype(np.int64)
    return map_leaves(lambda leaf: leaf[chosen], batch)
