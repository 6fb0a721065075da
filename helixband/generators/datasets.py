"""The examples of a sequence generator for `torch.utils.data.DataLoader`, with workers or without."""

from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import numpy as np
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from helixband.errors import DataError
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.nested import map_leaves


class SequenceDataset(Dataset[Any]):
    """The stored examples of a generator, by number: (x, y), or x alone without targets.

    Workers share the memory-mapped sequences. Raises `DataError` for a generator that draws its examples
    again in each epoch (other strands, jitter, offsets, augmentation, balance), because examples by number do
    not change. Raises `IndexError` beyond the last example.
    """

    def __init__(self, generator: SequenceBatchGenerator) -> None:
        if generator.is_random:
            raise DataError(
                "the generator draws its examples anew in each epoch (reverse_complement, jitter, "
                "random_offsets, augmentation or balance), and a SequenceDataset has them as they stand: "
                "use SequenceStream(generator), or, as they stand, SequenceDataset(generator.plain())"
            )
        self.generator = generator.plain()

    def __len__(self) -> int:
        return self.generator.n_examples

    def __getitem__(self, number: int) -> Any:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: list[int]) -> list[Any]:
        """Several at once, which is how a `DataLoader` asks for a batch."""
        examples = np.asarray(numbers, dtype=np.int64)
        beyond = examples[(examples < -len(self)) | (examples >= len(self))]
        if beyond.size:
            raise IndexError(f"example {beyond[0]} of {len(self)}")
        batch = self.generator.batch(examples % len(self))
        return [map_leaves(itemgetter(row), batch) for row in range(len(examples))]


class SequenceStream(IterableDataset[Any]):
    """The batches of a generator in the order of an epoch, as the generator draws them: shuffled, augmented.

    Its `DataLoader` needs `batch_size=None`, because the stream gives whole batches, and must not have
    `persistent_workers`, because workers start each epoch from the generator in their parent process. The run
    sets the epoch. Outside a run, call `generator.set_epoch(seed, epoch)` before each iteration. Each of W
    workers draws the whole epoch and gives every W-th batch. So workers relieve the training process, but
    more workers are not faster.
    """

    def __init__(self, generator: SequenceBatchGenerator) -> None:
        self.generator = generator

    def __len__(self) -> int:
        return len(self.generator)

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        for number, batch in enumerate(self.generator):
            if worker is None or number % worker.num_workers == worker.id:
                yield batch
