"""Predictions under way, kept chunk by chunk: a run that was killed goes on from its last whole chunk.

<input>.part/
  facts.json     what the rows depend on, and the arrays there are
  0, 1, …        the rows of each array, one after another
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DefinitionError, StorageError
from helixband.files import read_json, write_json
from helixband.outputs.rows import Rows


class Parts:
    """Arrays that grow by a chunk of rows at a time in the files of `directory`.

    `ends`, int64 (chunks,): the row that each chunk ends before, in order; the last is the number of rows.
    `facts`: what the rows depend on, as JSON. Rows found there that depend on the same facts are kept, up to
    the last whole chunk; others are removed.

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
        found = read_json(self._document) if self._document.exists() else {}
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
            write_json(self._document, {"facts": self._facts, "arrays": described})
        expected = {name: [array.dtype.str, list(array.shape[1:])] for name, array in self.arrays.items()}
        if described != expected:
            raise DefinitionError(
                f"the predictions of windows {self.done} to {self.done + rows} have the types and shapes "
                f"{described}, those before them {expected}; all windows need predictions of the same type "
                "and shape"
            )
        for name, array in chunk.items():
            _append(self.arrays[name].path, array)
        self.done += rows

    def remove(self) -> None:
        """Delete the files."""
        if not self._directory.exists():
            return
        try:
            self._document.unlink(missing_ok=True)  # first, so that nothing takes the rest for whole
            shutil.rmtree(self._directory)
        except OSError as error:
            raise StorageError(f"cannot remove {self._directory}: {error.strerror}; delete it") from error

    def _take(self, described: Mapping[str, list[Any]]) -> None:
        self.arrays = {
            name: Rows(self._directory / str(number), np.dtype(dtype), (self._n_rows, *shape))
            for number, (name, (dtype, shape)) in enumerate(described.items())
        }

    def _cut(self) -> None:
        """Cut off what follows the last chunk that all arrays have."""
        sizes = {rows: rows.path.stat().st_size if rows.path.exists() else 0 for rows in self.arrays.values()}
        there = min(size // rows.row_bytes for rows, size in sizes.items())
        whole = int(np.searchsorted(self._ends, there, side="right"))
        self.done = int(self._ends[whole - 1]) if whole else 0
        for rows, size in sizes.items():
            if size > self.done * rows.row_bytes:
                os.truncate(rows.path, self.done * rows.row_bytes)


def _described(name: str, array: NDArray[Any], rows: int) -> list[Any]:
    """[dtype, shape of a row], as JSON has it."""
    if len(array) != rows or array.size == 0:
        raise DefinitionError(f"y_pred{name} of {rows} windows has the shape {array.shape}")
    return [array.dtype.str, list(array.shape[1:])]


def _append(path: Path, array: NDArray[Any]) -> None:
    try:
        with open(path, "ab") as file:
            file.write(np.ascontiguousarray(array).data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}; the predictions before are kept, and the same command "
            "goes on from there"
        ) from error
