"""Whether predictions lie along their windows, or are scores of whole windows."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from base_model import BaseModel
from helixband.generators.arrays import laid_out
from helixband.generators.fasta import FastaBatchGenerator
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.outputs.whole import named_arrays
from helixband.randomness import seed_everything
from helixband.sequence.alphabet import Codes

PARTS = 8
"""The first and the last of so many parts of a window are its ends. Each has two bases or more."""

LEAST, MOST = 8, 64
"""So many random windows are tried: more of short ones. A column is of one end if a change of that end
changes it in a quarter of them, and in `LEAST`, and one of the other end in none. By chance, where a maximum
is of few positions, one column in a million is so, and there have to be two, one of each end."""

BASES = 2 << 20
"""A pass has windows of about so many bases."""


def along_windows(
    model: BaseModel,
    data: SequenceBatchGenerator,
    arrays: Mapping[str, NDArray[Any]],
    differing: Collection[str],
) -> set[str]:
    """Which predictions (N, L), of all `arrays` by name, lie along their windows.

    They have a number for each base; or differ in length between records, as those named in `differing`; or
    some columns see one end of a window alone, and others the other end, as bins along it do: scores of a
    whole window see both. To find these, the model predicts on random windows, three times.
    """
    tables = {name: array for name, array in arrays.items() if array.ndim == 2}
    found = {name for name, array in tables.items() if _is_as_long(data, name, array, differing)}
    unknown = {name for name, array in tables.items() if array.shape[1] > 1} - found
    return found | _of_one_end(model, data, unknown) if unknown else found


def record_lengths(
    data: SequenceBatchGenerator, examples: NDArray[np.int64] | None = None
) -> NDArray[np.int64] | None:
    """The bases of all or some examples, (N,), where they are whole records; None for windows."""
    if not (isinstance(data, FastaBatchGenerator) and data.unequal == "bucket"):
        return None
    lengths: NDArray[np.int64] = data.store.lengths[
        data.records(np.arange(data.n_examples) if examples is None else examples)
    ]
    return lengths


def _is_as_long(
    data: SequenceBatchGenerator, name: str, array: NDArray[Any], differing: Collection[str]
) -> bool:
    """Whether predictions, (N, …), have as many numbers as their windows or records have bases."""
    lengths = record_lengths(data)
    if lengths is not None and lengths.min() < lengths.max():
        return name in differing
    return array.shape[1:] == (data.length,) and data.length > 1


def _of_one_end(model: BaseModel, data: SequenceBatchGenerator, names: Collection[str]) -> set[str]:
    """Of predictions (N, K), by name, those of which some columns see one end of a window alone, and others
    the other end.
    """
    length = data.length if record_lengths(data) is None else min(data.length, BASES // LEAST)
    end = length // PARTS
    if end < 2:
        return set()
    rng, size = np.random.default_rng(0), (int(np.clip(BASES // length, LEAST, MOST)), length)
    codes, others = (rng.integers(data.store.alphabet.n_tokens, size=size, dtype=np.uint8) for _ in range(2))
    at_first, at_last = codes.copy(), codes.copy()
    at_first[:, :end], at_last[:, -end:] = others[:, :end], others[:, -end:]
    whole, *changed = (_predicted(model, data, each) for each in (codes, at_first, at_last))
    found, often = set(), max(LEAST, len(codes) // 4)
    for name in names:
        first, last = ((each[name] != whole[name]).sum(axis=0) for each in changed)
        if ((first >= often) & (last == 0)).any() and ((last >= often) & (first == 0)).any():
            found.add(name)
    return found


def _predicted(model: BaseModel, data: SequenceBatchGenerator, codes: Codes) -> dict[str, NDArray[Any]]:
    """What a model predicts on indexes, (N, L), in the form of x, with the same random numbers each time."""
    x: Any = laid_out(codes, data.layout, data.store.alphabet)
    if data.headers is not None:
        x = {"x": x, "metadata": data.x(np.zeros(len(codes), np.int64))["metadata"]}
    seed_everything(0)
    return dict(named_arrays(model.predict([x])))
