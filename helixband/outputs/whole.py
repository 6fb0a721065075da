"""Writing predictions: an array, and for inputs whose records have names a table."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DefinitionError, counted
from helixband.files import absolute, write_whole, writing_whole
from helixband.nested import named_leaves
from helixband.outputs import table
from helixband.outputs.rows import Regions
from helixband.results.directory import Results
from helixband.sequence.chromosomes import output_names
from helixband.sequence.fasta import RepeatedNames, is_fasta, numbered, read_fasta

LONGEST_NAME = 200
"""The bytes of the name of a part: what is left of a file's name for that of the input, on usual disks."""


def input_name(path: str, data_dir: str) -> str:
    """The name of an input in the result directory: its path under the data directory, or its file name."""
    places = absolute(path), absolute(data_dir)
    if any(os.pardir in place.split(os.sep) for place in places):  # behind a symbolic link
        places = _real_place(path), os.path.realpath(data_dir)
    relative = os.path.relpath(*places)
    outside = relative == os.curdir or relative.split(os.sep)[0] == os.pardir
    return os.path.basename(places[0]) if outside else relative


def _real_place(path: str) -> str:
    """Where a file lies, by the name it has there, itself a link or not."""
    folder, name = os.path.split(path)
    return (
        os.path.realpath(path) if name in ("", os.curdir, os.pardir) else f"{os.path.realpath(folder)}/{name}"
    )


def write_predictions(
    results: Results,
    name: str,
    path: str,
    y_pred: Any,
    spread: Any = None,
    names: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Write y_pred, (N, …) or a dict or tuple of such, of the input at `path`; the files written.

    `<name>.npy` has the array, of a dict or tuple `<name>.<key>.npy` one part; `<name>.std.npy` the `spread`,
    where there is one.
    For a FASTA input with as many records as predictions, `<name>.tsv` has name, start, end (0-based,
    end-exclusive), strand and the scores. `names` is what records are called there, as `called` has it; where
    the file repeats a name, they are numbered, which `say` is told.
    """
    written, is_table = [], has_table(path, y_pred)
    for suffix, array in named_arrays(y_pred, spread):
        written.append(results.prediction(name, f"{suffix}.npy"))
        with writing_whole(written[-1]) as file:
            np.save(file, array)
    if is_table:
        found, sequences, repeated = _records(path)
        if repeated is not None and names != "number":
            say(f"note: the records are numbered in {results.prediction(name, '.tsv')}: {repeated}")
        if len(found) == len(y_pred):
            renamed = called(found, names, path)
            titles = [renamed.get(one, one) for one in found]
            starts, ends = np.zeros(len(found), np.int64), np.array([len(sequence) for sequence in sequences])
            rows = table.lines((titles, starts, ends, ["+"] * len(found)), y_pred)
            written.append(results.prediction(name, ".tsv"))
            write_whole(written[-1], table.titles(y_pred.shape) + rows)
        elif names:
            say(
                f"note: --names {names} had no effect: {path} has {counted(len(found), 'record')} and "
                f"{counted(len(y_pred), 'prediction')}, so that no table with their names was written"
            )
    return written


def regions_of_records(path: str, count: int) -> Regions | None:
    """(names, starts, ends, strands) of the records of a FASTA file; None where there are not so many."""
    names, sequences, _ = _records(path)
    if len(names) != count:
        return None
    ends = np.array([len(sequence) for sequence in sequences])
    return names, np.zeros(count, np.int64), ends, ["+"] * count


def has_table(path: str, y_pred: Any) -> bool:
    """Whether predictions are written as a table, too, if there is one for each record of their input.

    Raises `DefinitionError` where they are complex, which no table has.
    """
    if not (is_fasta(path) and isinstance(y_pred, np.ndarray) and y_pred.ndim <= 2):
        return False
    table.check_real(y_pred)
    return True


def called_records(path: str, scheme: str) -> dict[str, str]:
    """What the records of a FASTA file are called, as `called` has it."""
    return called(_records(path)[0], scheme, path)


def _records(path: str) -> tuple[list[str], list[str], RepeatedNames | None]:
    """(names, sequences) of a FASTA file, and, where its records are numbered, why."""
    try:
        return *read_fasta(path), None
    except RepeatedNames as error:
        return *read_fasta(path, names="number"), error


def called(names: Sequence[str], scheme: str | None, path: str) -> dict[str, str]:
    """What records of these names are called in outputs, where that is another name.

    `scheme`: "number", "ucsc", "ensembl", the path of a table, or None for their own names.
    """
    if scheme == "number":
        numbers = numbered([path], [len(names)])
        return {name: number for name, number in zip(names, numbers, strict=True) if name != number}
    return output_names(names, scheme) if scheme else {}


def named_arrays(y_pred: Any, spread: Any = None) -> Iterator[tuple[str, NDArray[Any]]]:
    """Each array of predictions and of their spread with what it adds to the name of a file.

    >>> ones = np.ones(2)
    >>> [name for name, _ in named_arrays({"height": ones, "pair": (ones, ones)}, {"height": ones})]
    ['.height', '.pair.0', '.pair.1', '.height.std']

    Raises `DefinitionError` where two would have one name, or one has a name that no file can have.
    """
    names = set()
    for suffix, part in (("", y_pred), *([(".std", spread)] if spread is not None else [])):
        for key, array in named_leaves(part):
            if f"{key}{suffix}" in names:
                raise DefinitionError(
                    f"y_pred has two parts that would both be named {f'{key}{suffix}'[1:]!r}; rename one"
                )
            if "/" in key or "\0" in key or len(os.fsencode(key)) > LONGEST_NAME:
                raise DefinitionError(
                    f"y_pred has a part of the name {key[1:]!r}, which no file can have; rename it"
                )
            names.add(f"{key}{suffix}")
            yield f"{key}{suffix}", array
