"""What steps gave, as it waits for the end of a pass: kept from later steps, and put together."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helixband.nested import is_nested, leaves, map_leaves


class Apart:
    """Keeps what a step gave, batch after batch, from being overwritten by a later step.

    A network may give all batches in one memory, as in views of a buffer. The first batch is copied, as it
    cannot be known of it, and later ones that begin where the one before did; others are kept as they are.
    """

    def __init__(self) -> None:
        self._before: Any = None  # as it was given: alive, so that no other has its memory
        self._places: list[int] = []

    def kept(self, nested: Any) -> Any:
        """The arrays and tensors of the next batch, or copies of them."""
        places = [_place(leaf) for leaf in leaves(nested)] if is_nested(nested) else [_place(nested)]
        is_shared = self._before is None or not set(places).isdisjoint(self._places)
        self._before, self._places = nested, places
        return map_leaves(_copied, nested) if is_shared else nested


def _place(array: Any) -> int:
    """Where an array or tensor begins in memory; 0 of what is in several places, as a sparse tensor."""
    if isinstance(array, Tensor):
        return array.data_ptr() if array.layout == torch.strided else 0
    place: int = array.__array_interface__["data"][0]
    return place


def _copied(array: Any) -> Any:
    return array.clone() if isinstance(array, Tensor) else array.copy()


def alike(batches: list[tuple[Any, Any]]) -> Iterator[list[tuple[Any, Any]]]:
    """The batches (y_true, y_pred) in lots of the same shapes, in their order."""
    for _, lot in itertools.groupby(batches, lambda batch: (batch[0].shape, batch[1].shape)):
        yield list(lot)


def stacked(batches: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """The labels (B, N, …) and the predictions (B, N, …) of batches of the same shapes."""
    y_true, y_pred = (_stacked(list(parts)) for parts in zip(*batches, strict=True))
    return y_true, y_pred


def _stacked(parts: list[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.stack(parts)
    return np.concatenate(parts).reshape(len(parts), *parts[0].shape)  # as np.stack, in a third of its time
