"""The data of a definition as sequences and labels, for the audit and for the marks that a model has to beat.

Any generator will do whose x is indexes (N, L) or one-hot (N, 4, L), (N, 4, 1, L) or (N, L, 4).
"""

from collections.abc import Collection, Iterable, Iterator
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.audit.audit import Examples
from helixband.audit.baselines import Baselines, are_classes, baselines, single_labels
from helixband.errors import DataError
from helixband.generators.arrays import filled_up, to_numpy
from helixband.generators.base import BatchGenerator
from helixband.generators.mixtures import MixedBatchGenerator
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.nested import leaves, map_leaves
from helixband.sequence.alphabet import DNA, RNA, Codes
from helixband.sequence.intervals import Intervals
from helixband.sequence.similarity import Sequences, SequenceSet
from helixband.training.feed import as_stored, labelled, no_batch, without_padding

BLOCK_BASES = 1 << 24
"""Windows are gathered in blocks of so many bases."""

ENOUGH_BASES = 1 << 25
"""Of a training set, about so much is read for what trivial models learn from it."""


def examples_of(generator: Iterable[Any], enough_bases: int | None = None) -> Examples | None:
    """The examples of a generator over (x, y), without padding, or None where x is no nucleic acids.

    Of a generator of ours these are all that there are, each once, whatever an epoch draws or leaves out.
    With `enough_bases`, of a larger set some at random, of about so many bases.
    """
    if isinstance(generator, SequenceBatchGenerator):
        return _of_windows(generator, enough_bases)
    if isinstance(generator, MixedBatchGenerator):
        return _of_sets(generator, enough_bases)
    generator = as_stored(generator)
    n_examples = generator.n_examples if isinstance(generator, BatchGenerator) else 0
    rng = np.random.default_rng(0)
    sequences: list[SequenceSet] = []
    labels: list[Any] = []
    for x, y in labelled(generator):
        codes = codes_of(x)
        if codes is None:
            return None
        bases = n_examples * codes.shape[1]
        share = 1.0 if enough_bases is None else enough_bases / max(1, enough_bases, bases)
        kept = np.flatnonzero(rng.random(len(codes)) < share)
        sequences.append(_without_padding(codes[kept]))
        labels.append(to_numpy(map_leaves(itemgetter(kept), y)))
    if not sequences:
        return None
    whole = SequenceSet.concatenate(sequences)
    return Examples(whole, filled_up(labels)) if _has_all_letters(whole) else None


def codes_of(x: Any) -> Codes | None:
    """x as indexes of DNA, uint8 (N, L), or None where it is something else.

    >>> codes_of(np.array([[[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]]])).tolist()
    [[0, 3, 4]]
    """
    if isinstance(x, dict) and x.keys() == {"x", "metadata"}:  # of a generator of sequences
        x = x["x"]
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


def marks(train: Iterable[Any], test: Iterable[Any], classes: bool | None = None) -> Baselines | None:
    """What trivial models score on a test set: of sequences all, of anything else the majority or mean.

    `classes`: whether labels are classes or numbers; None where their values tell. The answer is None where
    labels are neither classes nor single numbers.
    """
    known, true = examples_of(train, ENOUGH_BASES), examples_of(test)
    try:
        if known is None or true is None:
            return _of_labels(_labels(train), _labels(test), classes)
        assert known.labels is not None and true.labels is not None
        return baselines(known.sequences, known.labels, true.sequences, true.labels, classes)
    except DataError:  # of labels, which the model reads otherwise
        return None


def digests_of(sequences: Sequences) -> list[str]:
    """A hash of each sequence, which tells it again whatever the order."""
    return [digest.hex() for digest in SequenceSet.of(sequences).digests()]


class Unlike:
    """The examples of a generator over (x, y) whose sequences have none of some digests; `count` of them."""

    labelled = True

    def __init__(self, generator: Iterable[Any], digests: Collection[str]) -> None:
        self._generator = generator
        self._digests = set(digests)
        self.count = 0

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        self.count = 0
        for batch in labelled(without_padding(self._generator)[0]):
            codes = codes_of(batch[0])
            assert codes is not None
            found = digests_of(_without_padding(codes))
            kept = np.array(
                [row for row, digest in enumerate(found) if digest not in self._digests], np.int64
            )
            self.count += len(kept)
            if len(kept):
                x, y = map_leaves(itemgetter(kept), batch)
                yield x, y


def _of_windows(generator: SequenceBatchGenerator, enough_bases: int | None) -> Examples | None:
    labels = generator.get_Y()
    if labels is None:
        raise DataError(
            f"{type(generator).__name__} of {generator.store.path} has no targets, and needs them"
        )
    if generator.store.alphabet.tokens not in (DNA.tokens, RNA.tokens):
        return None
    numbers = np.arange(generator.n_examples)
    if enough_bases is not None and len(numbers) * generator.length > enough_bases:
        few = max(1, enough_bases // generator.length)
        numbers = np.sort(np.random.default_rng(0).permutation(len(numbers))[:few])
    rows = max(1, BLOCK_BASES // generator.length)
    blocks = [numbers[first : first + rows] for first in range(0, len(numbers), rows)]
    sequences = SequenceSet.concatenate([_without_padding(generator.codes(block)) for block in blocks])
    places = generator.intervals()
    if places is not None:
        places = places[numbers]
    return Examples(sequences, labels[numbers], places, generator.no_coordinates)


def _of_sets(mixture: MixedBatchGenerator, enough_bases: int | None) -> Examples | None:
    """The examples of the sets of a mixture, one set after the other, whatever their shares."""
    total, parts = sum(generator.n_examples for generator in mixture.generators), []
    for generator in mixture.generators:
        enough = None if enough_bases is None else enough_bases * generator.n_examples // total
        if (found := examples_of(generator, enough)) is None:
            return None
        parts.append(found)
    places = [part.intervals for part in parts if part.intervals is not None]
    return Examples(
        SequenceSet.concatenate([SequenceSet.of(part.sequences) for part in parts]),
        filled_up([part.labels for part in parts]),
        Intervals.concatenate(places) if len(places) == len(parts) else None,
        next((part.no_intervals for part in parts if part.no_intervals), ""),
    )


def _without_padding(codes: Codes) -> SequenceSet:
    """The rows of codes (N, L) without the N's that they begin and end with."""
    known = codes != DNA.index("N")
    known[~known.any(axis=1)] = True
    first, end = known.argmax(axis=1), codes.shape[1] - known[:, ::-1].argmax(axis=1)
    columns = np.arange(codes.shape[1])
    inside = (columns >= first[:, None]) & (columns < end[:, None])
    return SequenceSet(codes[inside], np.concatenate([[0], np.cumsum(end - first)]))


def _has_all_letters(sequences: SequenceSet) -> bool:
    """Whether each of the bases occurs: numbers from 0 to 5 may be something else."""
    return bool(np.bincount(sequences.codes, minlength=DNA.n_tokens)[: DNA.n_tokens].all())


def _labels(generator: Iterable[Any]) -> NDArray[Any]:
    """All labels, each once; raises `DataError` where they are not one array."""
    batches = [to_numpy(y) for _, y in labelled(as_stored(generator))]
    if not batches:
        raise no_batch(generator)
    labels = filled_up(batches)
    if not isinstance(labels, np.ndarray):
        raise DataError("labels in several parts")
    return single_labels(labels, len(labels))


def _of_labels(known: NDArray[Any], true: NDArray[Any], classes: bool | None) -> Baselines:
    if are_classes(known, true) if classes is None else classes:
        values, sizes = np.unique(known, return_counts=True)
        majority = float(np.mean(true == values[sizes.argmax()]))
        return Baselines("classification", majority_accuracy=majority)
    return Baselines("regression", mean_mse=float(np.mean((true - known.mean()) ** 2)))
