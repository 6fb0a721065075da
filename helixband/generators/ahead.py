"""Blocks of streamed files, read by a thread while the batches of those before are used."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from helixband.generators.hdf5 import H5Table

Indexes = NDArray[np.int64]
Read = TypeVar("Read")


class Block(NamedTuple):
    """Rows of a streamed file that are read together."""

    table: H5Table
    start: int
    rows: int
    number: int
    """Of the first row among those of all files."""

    def numbers(self, times: Indexes | None = None) -> Indexes:
        """The numbers of its rows among all, each as often as `times`, (N,), says."""
        numbers = np.arange(self.number, self.number + self.rows)
        return numbers if times is None else np.repeat(numbers, times[self.number : self.number + self.rows])


class Joined(NamedTuple):
    """Rows that were read, together with those that come before them."""

    x: Any
    y: Any
    find_fault: Callable[[], None] | None = None
    """Raises the fault of a value that may not be there; None where all values were looked at."""


Join = Callable[[list[tuple[Any, Any]]], Joined]
"""What joins rows that were read to those that come before them."""


class Memory:
    """Memory for blocks of rows as they are read, one after another, which is used again for the next ones.

    `lead` rows before them are free, for rows that come first.
    """

    def __init__(self, lead: int) -> None:
        self._lead = self._end = lead
        self._held: list[NDArray[Any]] = []
        self._blocks: Sequence[Block] = ()

    def read(self, blocks: Sequence[Block]) -> None:
        """Read blocks of tables that are `plain`; a table is opened once."""
        self._blocks, self._end = blocks, self._lead + sum(block.rows for block in blocks)
        if not self._held or len(self._held[0]) < self._end:
            self._held = blocks[0].table.empty(self._end)
        of_tables: dict[H5Table, list[tuple[list[NDArray[Any]], int]]] = {}
        for block, arrays in self.parts():
            of_tables.setdefault(block.table, []).append((arrays, block.start))
        for table, parts in of_tables.items():
            table.read_into(parts)

    def parts(self) -> Iterator[tuple[Block, list[NDArray[Any]]]]:
        """The blocks that were read, each with its data and label."""
        first = self._lead
        for block in self._blocks:
            yield block, [held[first : first + block.rows] for held in self._held]
            first += block.rows

    def after(self, rows: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """These rows of data and of label, `lead` at most, and what was read after them; no copy of it."""
        first = self._lead - len(rows[0]) if rows else self._lead
        for held, leaf in zip(self._held, rows, strict=False):
            held[first : self._lead] = leaf
        return [held[first : self._end] for held in self._held]


class Ahead(Generic[Read]):
    """Items read one after another: while one is used, a thread reads the next.

    `read(number)` is called in the thread, for one number at a time; `count` is the number of items.
    """

    def __init__(self, read: Callable[[int], Read], count: int) -> None:
        self._read, self._count = read, count
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._thread = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[Read]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def item(self, number: int) -> Read:
        """The item of this number; raises what its reading raised."""
        if os.getpid() != self._process:  # a fork, which has no thread
            self._begin()
        number_read, future = self._next or (-1, None)
        if future is None or number_read != number:
            future = self._thread.submit(self._read, number)
        self._next = None
        found = future.result()
        if number + 1 < self._count:
            self._next = number + 1, self._thread.submit(self._read, number + 1)
        return found
