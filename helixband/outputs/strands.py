"""Predictions on both strands: those of reverse complements, as of the strand that was asked for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError, DefinitionError
from helixband.generators.fasta import FastaBatchGenerator
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.nested import zip_leaves
from helixband.sequence.store import SequenceStore
from helixband.training import monte_carlo


def check(store: SequenceStore) -> None:
    """Raise `DataError` where sequences have no other strand."""
    if store.alphabet.complement is None:
        raise DataError(f"{store.path}: {store.alphabet} has no complement, so there is no other strand")


def extents(
    data: SequenceBatchGenerator, examples: NDArray[np.int64]
) -> tuple[int, NDArray[np.int64] | None]:
    """(the bases of what a network gets of examples, padding included; those of each, (N,), without).

    None where padding, if there is any, is turned with its window.
    """
    if not isinstance(data, FastaBatchGenerator):
        return data.length, None
    _, starts, ends, _ = data.regions(examples)
    lengths = ends - starts
    return int(lengths.max()) if data.unequal == "bucket" else data.length, lengths


def turned(window: int, lengths: NDArray[np.int64] | None, array: NDArray[Any]) -> NDArray[Any]:
    """An array (N, …, L) of windows with its positions from last to first; padding behind keeps its place.

    >>> turned(4, np.array([4, 3]), np.array([[1, 2, 3, 4], [1, 2, 3, 0]])).tolist()
    [[4, 3, 2, 1], [3, 2, 1, 0]]

    Raises `DefinitionError` for what is no such array, or does not say which positions are padding.
    """
    if not isinstance(array, np.ndarray) or array.ndim < 2:
        told = f"the shape {array.shape}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
        raise DefinitionError(
            f"other_strand had {told} turned; what is turned is an array (N, …, L), with positions along its "
            "last axis"
        )
    if lengths is None or (lengths == window).all():
        return array[..., ::-1]
    if array.shape[-1] != window:
        raise DefinitionError(
            f"y_pred has {array.shape[-1]} positions for windows of {window} bases, some of which are filled "
            "up, so that it is not known which positions are padding on the other strand: leave "
            "--both-strands out, or predict on sequences that fill their windows"
        )
    place = np.arange(window)
    order = np.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
    return np.take_along_axis(array, order.reshape(len(array), *[1] * (array.ndim - 2), window), -1)


def mean(forward: tuple[Any, Any], reverse: tuple[Any, Any]) -> tuple[Any, Any]:
    """(y_pred, spread) of two strands together; the spread is that of the passes on either."""
    y_pred = monte_carlo.mean([forward[0], reverse[0]])
    if forward[1] is None:
        return y_pred, None
    between = monte_carlo.spread([forward[0], reverse[0]])
    parts = [between, forward[1], reverse[1]]
    return y_pred, zip_leaves(lambda p: np.sqrt(p[0] ** 2 + (p[1] ** 2 + p[2] ** 2) / 2), parts)
