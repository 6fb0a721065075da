"""Generators of batches: `(x, y)` for training and evaluation, `x` alone where there are no labels.

A generator is any object that iterates over batches, and starts again from the beginning each time. This
module has Helixband's own. x and y are arrays or tensors with the examples along the first dimension, or
dicts and tuples of these. They come out as the same kind that went in.

The order of a shuffled epoch depends only on (seed, epoch), which the run sets. So it is the same after an
interruption, and other random draws do not change it.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.files import matching_files
from helixband.generators.ahead import Ahead, Block, Join, Joined, Memory
from helixband.generators.arrays import OF_X, OF_Y, as_arrays, concatenate, is_admitted, shapes_of
from helixband.generators.base import BatchGenerator, Lot
from helixband.generators.fasta import FastaBatchGenerator
from helixband.generators.gathers import Gather
from helixband.generators.hdf5 import H5Table, open_tables
from helixband.generators.intervals import IntervalBatchGenerator
from helixband.generators.memory import Joining, batches_of, gather_of, lots_of, taken
from helixband.generators.mixtures import MixedBatchGenerator
from helixband.generators.sampling import Drawing, Sampling
from helixband.nested import leaves, length

__all__ = [
    "BatchGenerator",
    "FastaBatchGenerator",
    "H5pyBatchGenerator",
    "IntervalBatchGenerator",
    "MatrixBatchGenerator",
    "MixedBatchGenerator",
]

Indexes = NDArray[np.int64]
ProcessXY = Callable[[Any, Any], tuple[Any, Any]]
Self = TypeVar("Self", bound="MatrixBatchGenerator")

MEMORY_LIMIT = 4 << 30
"""HDF5 files whose examples have more bytes than this together are streamed. It is a constant, and not the
memory that is free, because the order of a shuffled epoch depends on it."""

BLOCK_BYTES = 8 << 20
"""Streamed files are read in blocks of about this size."""

POOL_BLOCKS = 16
"""So many blocks, drawn from anywhere in the files, are shuffled together when streaming."""


class MatrixBatchGenerator(BatchGenerator):
    """Batches of arrays or tensors in memory.

    `X` and `Y`: (N, …), or dicts or tuples of these; a list becomes an array. `batch_size=None` gives the
    whole set in one batch; for evaluation, a model cuts it into pieces that fit the device. Floating-point
    values have to be finite. `allow_nan` admits NaN and infinity in X, and NaN in Y: a label that is missing,
    which the criterion masks. `drop_last` leaves a last batch of fewer than `batch_size` examples out: batch
    normalisation, for one, cannot train on a batch of one. `sampling` is which examples a shuffled epoch has:
    "balanced", the same number of each class, to within one, rare ones more than once; or a weight for each
    example, (N,), in proportion to which they come. An epoch has N examples in any case.

    >>> batches = MatrixBatchGenerator(np.arange(5), np.arange(5) * 10, batch_size=2)
    >>> [(x.tolist(), y.tolist()) for x, y in batches]
    [([0, 1], [0, 10]), ([2, 3], [20, 30]), ([4], [40])]

    Raises `DataError` if X and Y differ in length, are empty, are not numeric, or contain NaN or infinity;
    and for a `sampling` that cannot be.
    """

    labels_by = "Y, its second argument"

    def __init__(
        self,
        X: Any,
        Y: Any = None,
        batch_size: int | None = None,
        shuffle: bool = False,
        allow_nan: bool = False,
        drop_last: bool = False,
        sampling: Sampling = None,
    ) -> None:
        self.X = as_arrays(X, "X", OF_X[allow_nan])
        self.Y = None if Y is None else as_arrays(Y, "Y", OF_Y[allow_nan])
        lengths = {len(leaf) for leaf in leaves([self.X] if Y is None else [self.X, self.Y])}
        if len(lengths) != 1:
            shapes = f"X {shapes_of(self.X)}" + ("" if Y is None else f" and Y {shapes_of(self.Y)}")
            raise DataError(f"all parts need the same number of examples (the first dimension), got {shapes}")
        super().__init__(lengths.pop(), batch_size, shuffle, Y is not None, drop_last)
        self._drawing = Drawing(sampling, shuffle, self.Y, self.n_examples, type(self).__name__)

    @classmethod
    def get_train_val_generator(
        cls: type[Self],
        X: Any,
        Y: Any,
        val_ratio: float,
        batch_size: int | None = None,
        seed: int = 0,
        allow_nan: bool = False,
        drop_last: bool = False,
        sampling: Sampling = None,
    ) -> tuple[Self, Self]:
        """Two generators over a random split: training (shuffled) and validation (whole, in order).

        `val_ratio` is the share of the validation part, above 0 and below 1. The split depends only on the
        number of examples and on `seed`. `drop_last` and `sampling` are for the training part;
        weights are those of all examples, (N,).
        """
        whole = cls(X, Y, allow_nan=allow_nan)
        n_examples = whole.n_examples
        is_share = isinstance(val_ratio, int | float | np.number) and 0 < val_ratio < 1
        n_val = round(n_examples * val_ratio) if is_share else 0
        if not 0 < n_val < n_examples:
            raise DataError(
                f"val_ratio {val_ratio!r} of {n_examples} examples leaves a part empty; "
                "it is the share of the validation part, above 0 and below 1"
            )
        order = np.random.default_rng(seed).permutation(n_examples)

        def part(chosen: Indexes, **options: Any) -> Self:
            chosen = np.sort(chosen)
            return cls(taken(whole.X, chosen), taken(whole.Y, chosen), allow_nan=allow_nan, **options)

        if not isinstance(sampling, str | None):
            weights = Drawing(sampling, True, None, n_examples, cls.__name__).sampling
            assert isinstance(weights, np.ndarray)
            sampling = weights[np.sort(order[n_val:])]
        options = {"drop_last": drop_last, "sampling": sampling}
        training = part(order[n_val:], batch_size=batch_size, shuffle=True, **options)
        return training, part(order[:n_val])

    def get_X_shape(self) -> Any:
        """The shape of one example's x; of a dict or tuple, one for each part."""
        return shapes_of(self.X, first=1)

    def get_Y(self) -> Any:
        """All labels, (N, …), or None."""
        return self.Y

    def is_data_alone(self) -> bool:
        return type(self) is MatrixBatchGenerator and vars(self).keys() == _HELD

    def is_made_alone(self) -> bool:
        return self.is_data_alone()

    def lots(self) -> Iterator[Lot] | None:
        return lots_of(self, MatrixBatchGenerator, self._drawing, self.X, self.Y)

    def gather(self) -> Gather | None:
        return gather_of(self, MatrixBatchGenerator, self._drawing, self.X, self.Y)

    def _batches(self, seed: int, epoch: int, start: int) -> Iterator[tuple[Any, Any]]:
        order = self._drawing.order(self._rng(seed, epoch))
        return batches_of(self.X, self.Y, self.n_examples, self.batch_size, order, start)


class H5pyBatchGenerator(BatchGenerator):
    """Batches of HDF5 files with the datasets `data` (N, …) and `label` (N, …); prediction needs no labels.

    `glob_str`: a path or glob; files come in natural order of their names (batch2 before batch10). Files of
    up to `memory_limit` bytes in total are read into memory. Larger ones are streamed; to shuffle them,
    blocks are drawn from all files, and 16 blocks at a time are mixed. `batch_size=None` gives one batch, or
    for streamed files one per block or mixture. `process_x_y(x, y) -> (x, y)` is applied to each file or
    block when it is read, and must keep the number of examples; y is None without labels. `allow_nan`,
    `drop_last` and `sampling` are those of `MatrixBatchGenerator`; balanced sampling reads all labels once.

    Raises `DataError`, with the file, if one is missing, damaged, without `data`, or of another shape; and
    for `sampling` of streamed files without a `batch_size`.
    """

    labels_by = "files with a dataset 'label', or a process_x_y that makes labels"

    def __init__(
        self,
        glob_str: str | os.PathLike[str],
        batch_size: int | None = None,
        shuffle: bool = False,
        process_x_y: ProcessXY | None = None,
        memory_limit: int = MEMORY_LIMIT,
        allow_nan: bool = False,
        drop_last: bool = False,
        sampling: Sampling = None,
    ) -> None:
        self.paths = matching_files(os.fspath(glob_str))
        self.process_x_y = process_x_y or _as_they_are
        self.allow_nan = allow_nan
        tables = open_tables(self.paths)
        self._tables = [table for table in tables if table.rows]
        self._matrix: tuple[Any, Any] | None = None
        n_examples = sum(table.rows for table in tables)
        super().__init__(n_examples, batch_size, shuffle, tables[0].labelled, drop_last)
        if sum(table.bytes for table in tables) <= memory_limit:
            self._matrix = _concatenate([self._read(table, 0, table.rows) for table in self._tables])
        x, y = self._matrix or self._read(self._tables[0], 0, 1)
        self.labelled = y is not None  # process_x_y may make labels, or drop them
        self._X_shape = shapes_of(x, first=1)
        name = type(self).__name__
        if sampling is not None and not (self._matrix or batch_size):
            raise DataError(f"{name}: sampling of streamed files needs a batch_size")
        labels = self.get_Y() if isinstance(sampling, str) else None
        self._drawing = Drawing(sampling, shuffle, labels, n_examples, name)

    def __len__(self) -> int:
        if self._matrix or self.batch_size:
            return super().__len__()
        return math.ceil(len(self._blocks()) / self._pool_blocks)

    def get_X_shape(self) -> Any:
        """The shape of one example's x, after `process_x_y`."""
        return self._X_shape

    def get_Y(self) -> Any:
        """All labels, (N, …), after `process_x_y`, or None. Reads the files once where they are streamed."""
        if self._matrix:
            return self._matrix[1]
        return (
            concatenate([self._taken(block, block.numbers())[1] for block in self._blocks()])
            if self.labelled
            else None
        )

    def is_made_alone(self) -> bool:
        return self._is_a(H5pyBatchGenerator) and self.process_x_y is _as_they_are

    @property
    def in_memory(self) -> bool:
        """Whether the files were read into memory, and are not streamed."""
        return self._matrix is not None

    @property
    def _pool_blocks(self) -> int:
        return POOL_BLOCKS if self.shuffle else 1

    def lots(self) -> Iterator[Lot] | None:
        return lots_of(self, H5pyBatchGenerator, self._drawing, *self._matrix) if self._matrix else None

    def gather(self) -> Gather | None:
        return gather_of(self, H5pyBatchGenerator, self._drawing, *self._matrix) if self._matrix else None

    def _batches(self, seed: int, epoch: int, start: int) -> Iterator[tuple[Any, Any]]:
        rng = self._rng(seed, epoch)
        if self._matrix:
            order = self._drawing.order(rng)
            return batches_of(*self._matrix, self.n_examples, self.batch_size, order, start)
        return self._stream(rng, start)

    def _stream(self, rng: np.random.Generator | None, start: int) -> Iterator[tuple[Any, Any]]:
        """Batches of blocks read a pool at a time; what fills no batch goes on to the next pool.

        Rows are known by their numbers before they are read, and pools before batch `start` are not.
        """
        times = None if rng is None else self._drawing.times(rng)
        blocks = self._blocks(times)
        if rng is not None:
            blocks = [blocks[index] for index in rng.permutation(len(blocks))]
        pools = [
            blocks[first : first + self._pool_blocks] for first in range(0, len(blocks), self._pool_blocks)
        ]
        left = np.zeros(0, dtype=np.int64)  # the numbers of the rows that filled no batch
        rest: tuple[Any, Any] | None = None  # and these themselves, if they were read
        with self._ahead(pools, times) as ahead:
            for number, pool in enumerate(pools):
                numbers = np.concatenate([left, *(block.numbers(times) for block in pool)])
                rows = len(numbers)
                batch_size = self.batch_size or rows
                full = rows if number + 1 == len(pools) else rows - rows % batch_size
                order = rng.permutation(rows) if rng is not None else np.arange(rows)
                in_pool = math.ceil(full / batch_size)
                before, left = left, numbers[order[full:]]
                if start and start >= in_pool:
                    start, rest = start - in_pool, None
                    continue
                joined = ahead.item(number)(self._rows_of(before, rest))
                rest = self._checked(joined, order[full:])
                for row in range(start * batch_size, full, batch_size):
                    yield self._checked(joined, order[row : min(row + batch_size, full)])
                start = 0

    def _checked(self, joined: Joined, chosen: Indexes) -> tuple[Any, Any]:
        """Rows of a pool; those not checked before are checked here, while the cache has them."""
        x, y = taken(joined.x, chosen), taken(joined.y, chosen)
        rules = (x, OF_X), (y, OF_Y)
        if joined.find_fault and not all(is_admitted(rows, rule[self.allow_nan]) for rows, rule in rules):
            joined.find_fault()
        return x, y

    def _ahead(self, pools: list[list[Block]], times: Indexes | None) -> Ahead[Join]:
        """The pools, each as a function that joins it to rows that come before it."""
        if times is None and self.process_x_y is _as_they_are and all(table.plain for table in self._tables):
            memories = [Memory(self.batch_size or 0), Memory(self.batch_size or 0)]

            def whole(number: int) -> Join:
                memory = memories[number % 2]  # the other one is in use
                memory.read(pools[number])

                def find_fault() -> None:
                    for block, arrays in memory.parts():
                        self._processed(block.table, *_pair(arrays), block.start)

                def joined(before: list[tuple[Any, Any]]) -> Joined:
                    return Joined(*_pair(memory.after(list(leaves(before)))), find_fault)

                return joined

            return Ahead(whole, len(pools))
        joining = Joining()

        def parts(number: int) -> Join:
            pool = pools[number]
            read = [block.table.read(block.start, block.start + block.rows) for block in pool]

            def joined(before: list[tuple[Any, Any]]) -> Joined:
                numbers = [block.numbers(times) for block in pool]
                rows = sum(map(len, numbers)) + sum(length(x) for x, _ in before)
                made = (self._chosen(*part) for part in zip(pool, numbers, read, strict=True))
                return Joined(*joining.joined(itertools.chain(before, made), rows))

            return joined

        return Ahead(parts, len(pools))

    def _rows_of(self, numbers: Indexes, read: tuple[Any, Any] | None) -> list[tuple[Any, Any]]:
        """Rows by number, as they were `read` or from their blocks; nothing where there are none."""
        if read is not None or not len(numbers):
            return [read] if read is not None and len(numbers) else []
        parts, places = [], []
        for block in self._blocks():
            here = np.flatnonzero((numbers >= block.number) & (numbers < block.number + block.rows))
            if len(here):
                parts.append(self._taken(block, numbers[here]))
                places.append(here)
        x, y = _concatenate(parts)
        back = np.argsort(np.concatenate(places))
        return [(taken(x, back), taken(y, back))]

    def _taken(self, block: Block, numbers: Indexes) -> tuple[Any, Any]:
        """The rows of a block with these numbers among all."""
        return self._chosen(block, numbers, block.table.read(block.start, block.start + block.rows))

    def _chosen(self, block: Block, numbers: Indexes, read: tuple[Any, Any]) -> tuple[Any, Any]:
        """The rows with these numbers of a block that was read."""
        x, y = self._processed(block.table, *read, block.start)
        rows = numbers - block.number
        whole = len(rows) == block.rows and bool((rows == np.arange(block.rows)).all())
        return (x, y) if whole else (taken(x, rows), taken(y, rows))

    def _blocks(self, times: Indexes | None = None) -> list[Block]:
        """The blocks in order; with `times`, how often each row comes, those of which any does."""
        blocks, number = [], 0
        for table in self._tables:
            rows = max(1, BLOCK_BYTES * table.rows // max(1, table.bytes))
            for row in range(0, table.rows, rows):
                blocks.append(Block(table, row, min(rows, table.rows - row), number + row))
            number += table.rows
        return [block for block in blocks if times is None or len(block.numbers(times))]

    def _read(self, table: H5Table, start: int, stop: int) -> tuple[Any, Any]:
        """Rows of a file as (x, y)."""
        return self._processed(table, *table.read(start, stop), start)

    def _processed(self, table: H5Table, data: Any, label: Any, start: int) -> tuple[Any, Any]:
        """What was read of a file from row `start` on, as (x, y), processed and checked."""
        x, y = self.process_x_y(data, label)
        x = as_arrays(x, f"{table.path}: data", OF_X[self.allow_nan], start)
        y = None if y is None else as_arrays(y, f"{table.path}: label", OF_Y[self.allow_nan], start)
        lengths = {len(leaf) for leaf in leaves([x] if y is None else [x, y])}
        if lengths != {len(data)}:
            raise DataError(
                f"{table.path}: process_x_y made {sorted(lengths)} examples of {len(data)}; "
                "it has to keep their number"
            )
        return x, y


_HELD = vars(MatrixBatchGenerator(np.zeros(1))).keys()
"""What such a generator holds, unless someone has put more on it."""


def _as_they_are(x: Any, y: Any) -> tuple[Any, Any]:
    return x, y


def _pair(arrays: list[NDArray[Any]]) -> tuple[Any, Any]:
    """x and y, which is None where there are no labels."""
    return arrays[0], arrays[1] if len(arrays) > 1 else None


def _concatenate(parts: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Parts of (x, y) one after another; y stays None without labels."""
    if len(parts) == 1:
        return parts[0]
    x, y = zip(*parts, strict=True)
    return concatenate(list(x)), None if y[0] is None else concatenate(list(y))
