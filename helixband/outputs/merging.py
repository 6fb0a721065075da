"""Predictions on one input that several runs made, each on chromosomes of its own, put together.

The outputs are those of one run, byte for byte: the rows of all in the order of the input.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from helixband.errors import DataError, UsageError
from helixband.files import NewFile, open_to_read, writing_whole
from helixband.outputs.rows import BLOCK_BYTES
from helixband.results.directory import RECORD, existing_results

MERGED = (".npy", ".tsv")


@dataclass(frozen=True)
class _Part:
    """What one run has: its record, and its outputs by what follows the input's name."""

    place: Path
    record: dict[str, Any]
    outputs: dict[str, Path]


def merge_predictions(results: Sequence[Path], name: str, target: Path) -> list[Path]:
    """Put the predictions on the input `name` in several result directories together, below a folder.

    Raises `UsageError` where a directory has none of them, `DataError` where they are not of one model and
    input, or are not all windows, each once; both name the directory.
    """
    parts = [_read(path, name) for path in results]
    if not parts:
        raise UsageError(f"there is no result directory to merge the predictions on {name} of")
    for part in parts[1:]:
        _check_same(parts[0], part)
    order = _ordered(parts)
    files = []
    for suffix in parts[0].outputs:
        path = target / f"{name}{suffix}"
        with writing_whole(path) as file:
            (_merge_tables if suffix.endswith(".tsv") else _merge_arrays)(file, parts, order, suffix)
        files.append(path)
    return files


def _read(path: Path, name: str) -> _Part:
    results = existing_results(path)
    record = results.record(results.prediction(name, RECORD))
    if "part" not in record or not record["outputs"]:
        raise UsageError(
            f"{path} has no finished predictions with --chromosomes on the input {name}: predict there first"
        )
    outputs = [results.path / output for output in record["outputs"]]
    found = {str(output.relative_to(results.predictions)).removeprefix(name): output for output in outputs}
    if other := next((suffix for suffix in found if not suffix.endswith(MERGED)), None):
        raise UsageError(
            f"{path} has {name}{other}: npy and tsv alone are merged; predict at once for others"
        )
    return _Part(path, record, found)


def _check_same(one: _Part, other: _Part) -> None:
    """Raise `DataError` where two parts are of different models, inputs or flags."""
    facts = [
        {key: value for key, value in part.record["facts"].items() if key != "chromosomes"}
        for part in (one, other)
    ]
    of = [part.record["part"]["of"] for part in (one, other)]
    differing = [key for key in {*facts[0], *facts[1]} if facts[0].get(key) != facts[1].get(key)]
    if differing or of[0] != of[1] or one.outputs.keys() != other.outputs.keys():
        what = ", ".join(sorted(differing)) or ("number of windows" if of[0] != of[1] else "formats")
        raise DataError(
            f"{one.place} and {other.place} are not parts of one prediction: they differ in {what}"
        )


def _ordered(parts: Sequence[_Part]) -> list[tuple[int, int]]:
    """(number of the part, rows) of each run of windows, in the order of the input: all, each once."""
    runs = sorted(
        (first, last, number)
        for number, part in enumerate(parts)
        for first, last in part.record["part"]["windows"]
    )
    at = 0
    for first, last, number in [*runs, (parts[0].record["part"]["of"], 0, 0)]:
        if first != at:
            windows = f"the windows [{min(at, first)}, {max(at, first)})"
            if first > at:
                raise DataError(f"{windows} are in none of the parts: predict on their chromosomes too")
            raise DataError(f"{windows} of {parts[number].place} are in another part too: leave one out")
        at = last
    return [(number, last - first) for first, last, number in runs]


def _merge_tables(
    file: NewFile, parts: Sequence[_Part], order: Sequence[tuple[int, int]], suffix: str
) -> None:
    with ExitStack() as stack:
        tables = [stack.enter_context(open_to_read(part.outputs[suffix])) for part in parts]
        titles = [table.readline() for table in tables]
        file.write(titles[0])
        for number, rows in order:
            for _ in range(rows):
                line = tables[number].readline()
                if not line.endswith(b"\n"):
                    raise DataError(f"{parts[number].outputs[suffix]} has too few lines: predict there again")
                file.write(line)


def _merge_arrays(
    file: NewFile, parts: Sequence[_Part], order: Sequence[tuple[int, int]], suffix: str
) -> None:
    with ExitStack() as stack:
        arrays = [stack.enter_context(open_to_read(part.outputs[suffix])) for part in parts]
        heads = list(_heads(arrays))
        total = sum(rows for _, rows in order)
        (_, *shape), dtype = heads[0][0], heads[0][1]
        head = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": False, "shape": (total, *shape)}
        npy_format.write_array_header_1_0(file, head)
        row_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        for number, rows in order:
            _copy(arrays[number], file, rows * row_bytes, parts[number].outputs[suffix])


def _heads(arrays: Sequence[Any]) -> Iterator[tuple[tuple[int, ...], np.dtype[Any]]]:
    for array in arrays:
        npy_format.read_magic(array)
        shape, _, dtype = npy_format.read_array_header_1_0(array)
        yield shape, dtype


def _copy(source: Any, target: NewFile, size: int, path: Path) -> None:
    while size:
        block = source.read(min(size, BLOCK_BYTES))
        if not block:
            raise DataError(f"{path} has too few rows: predict there again")
        target.write(block)
        size -= len(block)
