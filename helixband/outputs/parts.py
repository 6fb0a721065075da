"""Predictions under way, kept chunk by chunk: a run that was killed goes on from its last whole chunk.

<input>.part/
  facts.json     what the rows depend on, and the arrays there are
  0, 1, …        the rows of each array, one after another
  checksums      a line a chunk: the CRC-32 of its rows in each array
"""

import hashlib
import json
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
from helixband.outputs.rows import Rows


class Parts:
    """Arrays that grow by a chunk of rows at a time in the files of `directory`.

    `ends`, int64 (chunks,): the row that each chunk ends before, in order; the last is the number of rows.
    `facts`: what the rows depend on, as JSON. Rows found there that depend on the same facts are kept, up to
    the first chunk that is not whole or not as it was written; others are removed.

    `done`: the rows that are there. `arrays`: what they belong to, by name, from the first chunk on.
    """

    def __init__(self, directory: Path, facts: Mapping[str, Any], ends: NDArray[np.int64]) -> None:
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
        """Add the next chunk: arrays by name, (rows, …), of the same types and shapes each time."""
        rows = self.next_end - self.done
        described = {name: _described(name, array, rows) for name, array in chunk.items()}
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
        contents = {name: _bytes(array) for name, array in chunk.items()}
        for name, content in contents.items():
            append(self.arrays[name].path, content)
        append(self._sums, _line(map(zlib.crc32, contents.values())))
        self.done += rows

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
                yield zlib.crc32(_bytes(rows.read(first, last)))


def _bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _line(sums: Iterable[int]) -> bytes:
    return (" ".join(map(str, sums)) + "\n").encode()


def _described(name: str, array: NDArray[Any], rows: int) -> list[Any]:
    """[dtype, shape of a row], as JSON has it."""
    if len(array) != rows or array.size == 0:
        raise DefinitionError(f"y_pred{name} of {rows} windows has the shape {array.shape}")
    return [array.dtype.str, list(array.shape[1:])]
