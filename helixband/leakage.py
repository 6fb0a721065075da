"""The data of a definition as sequences and labels, for the audit and for the marks that a model has to beat.

Any generator will do whose x is indexes (N, L) or one-hot (N, 4, L), (N, 4, 1, L) or (N, L, 4).
"""

import math
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.nested import leaves, length, map_leaves
from helixband.sequence.alphabet import DNA, RNA, Codes
from helixband.sequence.audit import Examples
from helixband.sequence.baselines import Baselines, are_classes, baselines, single_labels
from helixband.sequence.similarity import SequenceSet
from helixband.training.batches import concatenate, labelled, to_numpy

BLOCK = 1 << 16
"""So many windows are gathered at a time."""

ENOUGH_BASES = 1 << 25
"""Of a training set, so much is read for what trivial models learn from it."""


def examples_of(generator: Iterable[Any], enough_bases: int | None = None) -> Examples | None:
    """The examples of a generator over (x, y), or None where x is no nucleic acids.

    With `enough_bases`, of a training set, as many examples as have about so many.
    """
    if isinstance(generator, SequenceBatchGenerator):
        return _of_windows(generator, enough_bases)
    sequences: list[SequenceSet] = []
    labels: list[Any] = []
    bases = 0
    for x, y in labelled(generator):
        codes = codes_of(x)
        if codes is None:
            return None
        sequences.append(SequenceSet.of(codes))
        labels.append(y)
        bases += codes.size
        if enough_bases is not None and bases >= enough_bases:
            break
    return Examples(SequenceSet.concatenate(sequences), to_numpy(concatenate(labels))) if sequences else None


def codes_of(x: Any) -> Codes | None:
    """x as indexes of DNA, uint8 (N, L), or None where it is something else.

    >>> codes_of(np.array([[[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]]])).tolist()
    [[0, 3, 4]]
    """
    parts = [np.asarray(to_numpy(part)) for part in leaves(x)]
    if len(parts) != 1:
        return None
    values = parts[0]
    if values.ndim == 4 and values.shape[1:3] == (DNA.n_tokens, 1):
        values = values[:, :, 0, :]
    if values.ndim == 2:
        whole = values.dtype.kind in "iu" and values.size and 0 <= values.min() <= values.max() < len(DNA)
        return values.astype(np.uint8) if whole else None
    if values.ndim != 3 or DNA.n_tokens not in values.shape[1:]:
        return None
    hot = values if values.shape[1] == DNA.n_tokens else values.transpose(0, 2, 1)
    if not np.isin(hot, (0, 1)).all() or (hot.sum(axis=1) > 1).any():
        return None
    return np.where(hot.any(axis=1), hot.argmax(axis=1), DNA.index("N")).astype(np.uint8)


def marks(train: Iterable[Any], test: Iterable[Any]) -> Baselines | None:
    """What trivial models score on a test set: of sequences all, of anything else the majority or mean.

    None where labels are neither classes nor single numbers.
    """
    known, true = examples_of(train, ENOUGH_BASES), examples_of(test)
    try:
        if known is None or true is None:
            return _of_labels(_labels(train), _labels(test))
        assert known.labels is not None and true.labels is not None
        return baselines(known.sequences, known.labels, true.sequences, true.labels)
    except DataError:  # of labels, which the model reads otherwise
        return None


class Selected:
    """The examples of a generator over (x, y) that `chosen`, bool (N,), marks."""

    labelled = True

    def __init__(self, generator: Iterable[Any], chosen: NDArray[np.bool_]) -> None:
        self._generator = generator
        self._chosen = chosen

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        first = 0
        for batch in labelled(self._generator):
            rows = length(batch[1])
            kept = np.flatnonzero(self._chosen[first : first + rows])
            first += rows
            if len(kept):
                x, y = map_leaves(itemgetter(kept), batch)
                yield x, y


def _of_windows(generator: SequenceBatchGenerator, enough_bases: int | None) -> Examples | None:
    labels = generator.get_Y()
    if labels is None or generator.store.alphabet.tokens not in (DNA.tokens, RNA.tokens):
        return None
    numbers = np.arange(generator.n_examples)
    if enough_bases is not None and len(numbers) * generator.length > enough_bases:
        step = math.ceil(len(numbers) * generator.length / enough_bases)
        numbers = numbers[::step]
    places = generator.intervals()
    codes = [generator.codes(numbers[first : first + BLOCK]) for first in range(0, len(numbers), BLOCK)]
    sequences = SequenceSet.concatenate([SequenceSet.of(block) for block in codes])
    return Examples(sequences, labels[numbers], None if places is None else places[numbers])


def _labels(generator: Iterable[Any]) -> NDArray[Any]:
    """All labels; raises `DataError` where they are not one array."""
    labels = concatenate([to_numpy(y) for _, y in labelled(generator)])
    if not isinstance(labels, np.ndarray):
        raise DataError("labels in several parts")
    return single_labels(labels, len(labels))


def _of_labels(known: NDArray[Any], true: NDArray[Any]) -> Baselines:
    if are_classes(known, true):
        classes, sizes = np.unique(known, return_counts=True)
        majority = float(np.mean(true == classes[sizes.argmax()]))
        return Baselines("classification", majority_accuracy=majority)
    return Baselines("regression", mean_mse=float(np.mean((true - known.mean()) ** 2)))
