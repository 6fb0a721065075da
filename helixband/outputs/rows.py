"""What the writers are given: rows of numbers on disk, and where each row's window is."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import StorageError
from helixband.files import open_to_read

BLOCK_BYTES = 1 << 20
"""Rows are read in blocks of about this size: as text and Python's numbers they take ten times as much."""

BLOCK_ROWS = 1 << 16
"""And of so many rows at most, for their names and coordinates."""

Regions = tuple[list[str], NDArray[np.int64], NDArray[np.int64], list[str]]
"""(names of records, starts, ends, strands) of windows, 0-based, end-exclusive."""

RegionsOf = Callable[[int, int], Regions]
"""The regions of the windows [first, last)."""


@dataclass(frozen=True)
class Windows:
    """The windows that were predicted: the region of each, and the length of each record of the sequences."""

    regions: RegionsOf
    lengths: Mapping[str, int]


@dataclass(frozen=True)
class Rows:
    """An array of `shape` (N, …) in a file that has its rows one after another and nothing else."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """The bytes of one row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def read(self, first: int, last: int) -> NDArray[Any]:
        """The rows [first, last); raises `StorageError` where the file ends before."""
        count = (last - first) * (self.row_bytes // self.dtype.itemsize)
        with open_to_read(self.path) as file:
            values = np.fromfile(file, self.dtype, count, offset=first * self.row_bytes)
        if len(values) < count:
            raise StorageError(f"{self.path} ends before row {last}; delete it, and predict again")
        return values.reshape(last - first, *self.shape[1:])

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(first, last) of each block of rows, in order."""
        step = min(BLOCK_ROWS, max(1, BLOCK_BYTES // self.row_bytes))
        for first in range(0, len(self), step):
            yield first, min(first + step, len(self))
