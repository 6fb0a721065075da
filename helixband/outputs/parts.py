"""Predictions under way, kept chunk by chunk: a run that was killed goes on from its last whole chunk.

<input>.part/
  facts.json     what the rows depend on, and the arrays there are
  0, 1, …        the rows of each array, one after another
  checksums      a line a chunk: the CRC-32 of its rows in each array
"""

import hashlib
import json
import operator
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DefinitionError
from helixband.files import (
    append,
    cut,
    exists,
    read_document,
    read_whole,
    remove_file,
    remove_folder,
    size_of,
    write_document,
)
from helixband.outputs.rows import BLOCK_BYTES, Rows


class Parts:
    """Arrays that grow by a chunk of rows at a time in the files of `directory`.

    `ends`, int64 (chunks,): the row that each chunk ends before, in order; the last is the number of rows.
    `facts`: what the rows depend on, as JSON. Rows found there that depend on the same facts are kept, up to
    the first chunk that is not whole or not as it was written; others are removed. `longest`: the shapes of
    rows, by name, of arrays of which chunks may have shorter rows.

    `done`: the rows that are there. `arrays`: what they belong to, by name, from the first chunk on.
    """

    def __init__(
        self,
        directory: Path,
        facts: Mapping[str, Any],
        ends: NDArray[np.int64],
        longest: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        self._longest = longest or {}
        self._directory = directory
        self._document = directory / "facts.json"
        chunks = hashlib.sha256(ends.tobytes()).hexdigest()
        self._facts = json.loads(json.dumps({**facts, "rows": int(ends[-1]), "chunks": chunks}))
        self._ends, self._n_rows = ends, int(ends[-1])
        self.arrays: dict[str, Rows] = {}
        self.done = 0
        self._sums = directory / "checksums"
        found = read_document(self._document) if exists(self._document) else {}
        if found.get("facts") == self._facts:
            self._take(found["arrays"])
            self._cut()
        else:
            self.remove()

    @property
    def next_end(self) -> int:
        """Where the next chunk ends."""
        return int(self._ends[np.searchsorted(self._ends, self.done, side="right")])

    def append(self, chunk: Mapping[str, NDArray[Any]]) -> None:
        """Add the next chunk: arrays by name, (rows, …), of the same types and shapes each time.

        Those of `longest`, shapes of rows by name, may be shorter: what they do not have becomes NaN.
        """
        rows = self.next_end - self.done
        described = {name: self._described(name, array, rows) for name, array in chunk.items()}
        if not self.arrays:
            self._take(described)
            write_document(self._document, {"facts": self._facts, "arrays": described})
        expected = {name: [array.dtype.str, list(array.shape[1:])] for name, array in self.arrays.items()}
        if described != expected:
            raise DefinitionError(
                f"the predictions of windows {self.done} to {self.done + rows} have the types and shapes "
                f"{described}, those before them {expected}; all windows need predictions of the same type "
                "and shape"
            )
        append(self._sums, _line([self._append(name, array) for name, array in chunk.items()]))
        self.done += rows

    def _append(self, name: str, array: NDArray[Any]) -> int:
        """Add the rows of a chunk to an array, block by block; their checksum."""
        rows, found = self.arrays[name], 0
        step = len(array) if array.shape[1:] == rows.shape[1:] else max(1, BLOCK_BYTES // rows.row_bytes)
        for first in range(0, len(array), step):
            block = _bytes(_filled(array[first : first + step], rows.shape[1:]))
            append(rows.path, block)
            found = zlib.crc32(block, found)
        return found

    def _described(self, name: str, array: NDArray[Any], rows: int) -> list[Any]:
        """[dtype, shape of a row] as JSON has it, of a chunk's array as it is stored."""
        shape, longest = array.shape[1:], self._longest.get(name, ())
        if len(shape) == len(longest) and all(map(operator.le, shape, longest)):
            shape = longest
        if len(array) != rows or 0 in shape:
            raise DefinitionError(f"y_pred{name} of {rows} windows has the shape {array.shape}")
        return [array.dtype.str, list(shape)]

    def remove(self) -> None:
        """Delete the files."""
        if not exists(self._directory):
            return
        remove_file(self._document)  # first, so that nothing takes the rest for whole
        remove_folder(self._directory)

    def _take(self, described: Mapping[str, list[Any]]) -> None:
        self.arrays = {
            name: Rows(self._directory / str(number), np.dtype(dtype), (self._n_rows, *shape))
            for number, (name, (dtype, shape)) in enumerate(described.items())
        }

    def _cut(self) -> None:
        """Cut off what follows the last chunk that all arrays have as it was written."""
        lines = read_whole(self._sums).splitlines(keepends=True) if exists(self._sums) else []
        whole = 0
        for end, line in zip(self._ends.tolist(), lines, strict=False):
            if line != _line(self._stored_sums(self.done, end)):
                break
            self.done, whole = end, whole + 1
        for rows in self.arrays.values():
            cut(rows.path, self.done * rows.row_bytes)
        cut(self._sums, sum(map(len, lines[:whole])))

    def _stored_sums(self, first: int, last: int) -> Iterator[int]:
        """Of the rows [first, last) of each array, as far as these are there."""
        for rows in self.arrays.values():
            if size_of(rows.path) >= last * rows.row_bytes:
                step, found = max(1, BLOCK_BYTES // rows.row_bytes), 0
                for at in range(first, last, step):
                    found = zlib.crc32(_bytes(rows.read(at, min(at + step, last))), found)
                yield found


def _bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _line(sums: Iterable[int]) -> bytes:
    return (" ".join(map(str, sums)) + "\n").encode()


def _filled(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Rows of that shape, NaN where the array has no value."""
    if array.shape[1:] == shape:
        return array
    found = np.full((len(array), *shape), np.nan, array.dtype)
    found[(slice(None), *map(slice, array.shape[1:]))] = array
    return found
