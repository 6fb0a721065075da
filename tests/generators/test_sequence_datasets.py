"""Sequences for a `DataLoader`, with workers or without, and what training does with one."""

import pickle
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader

from base_model import ClassificationModel
from batch_generator import FastaBatchGenerator, IntervalBatchGenerator
from helixband.errors import DataError
from helixband.generators.datasets import SequenceDataset, SequenceStream
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.networks.one_hot import OneHot
from helixband.randomness import seed_everything
from helixband.sequence.alphabet import DNA
from helixband.sequence.augmentation import Augmentation
from helixband.sequence.intervals import Intervals
from helixband.training.objects import found_in

N, LENGTH = 53, 12


@pytest.fixture
def path(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    rows = ["".join(rng.choice(list("ACGTN"), LENGTH).tolist()) for _ in range(N)]
    (tmp_path / "x.fa").write_text("".join(f">s{i}\n{row}\n" for i, row in enumerate(rows)))
    return str(tmp_path / "x.fa")


def shuffled(path: str, **options: Any) -> FastaBatchGenerator:
    return FastaBatchGenerator(
        path, np.arange(N), batch_size=6, shuffle=True, reverse_complement=True, **options
    )


def examples(batches: Any) -> list[tuple[str, int]]:
    """(sequence, target) of each example, in order."""
    return [
        pair
        for x, y in batches
        for pair in zip(DNA.decode(np.asarray(x)), np.asarray(y).tolist(), strict=True)
    ]


def loader(data: Any, workers: int, start: str | None = None, **options: Any) -> "DataLoader[Any]":
    return DataLoader(data, num_workers=workers, multiprocessing_context=start, **options)


WORKERS = [(0, None), (2, "fork"), (2, "spawn")]


# Examples by number.


def test_a_dataset_has_the_examples_as_they_stand(path: str) -> None:
    generator = FastaBatchGenerator(path, np.arange(N), batch_size=6, shuffle=True)
    list(generator)
    dataset = SequenceDataset(generator)
    assert not dataset.generator.shuffle
    plain = examples(FastaBatchGenerator(path, np.arange(N)))
    assert len(dataset) == N
    assert [(DNA.decode(x), y) for x, y in (dataset[number] for number in range(N))] == plain
    assert dataset[-1][1] == N - 1 and dataset[np.int64(3)][1] == 3
    for number in (N, -N - 1):
        with pytest.raises(IndexError, match=f"example {number} of {N}"):
            dataset[number]


@pytest.mark.parametrize(
    "drawn",
    [
        {"reverse_complement": True},
        {"augmentation": Augmentation(reverse=0.5)},
        {"balance": True},
        {"window": 5, "random_offsets": True},
    ],
)
def test_what_is_drawn_in_each_epoch_has_no_numbers(path: str, drawn: dict[str, Any]) -> None:
    generator = FastaBatchGenerator(path, np.arange(N) % 2, shuffle=True, **drawn)
    with pytest.raises(DataError, match=r"anew in each epoch .*use SequenceStream\(generator\)"):
        SequenceDataset(generator)
    assert len(SequenceDataset(generator.plain())) == generator.n_examples


def test_jitter_has_no_numbers(path: str) -> None:
    peaks = Intervals.make(["s0", "s1"], [2, 3], [8, 9])
    with pytest.raises(DataError, match=r"SequenceStream\(generator\)"):
        SequenceDataset(IntervalBatchGenerator(path, peaks, jitter=1, shuffle=True))


def test_examples_have_the_form_of_the_generator(path: str) -> None:
    unlabelled = SequenceDataset(FastaBatchGenerator(path, layout="NC1L", metadata=True))[2]
    assert unlabelled["x"].shape == (4, 1, LENGTH) and unlabelled["x"].dtype == np.float32
    assert unlabelled["metadata"].shape == (2,)
    x, y = SequenceDataset(FastaBatchGenerator(path, np.zeros((N, 3))))[2]
    assert x.shape == (LENGTH,) and y.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("workers", "start"), WORKERS)
def test_a_loader_of_a_dataset_gives_all_examples_in_order(path: str, workers: int, start: str) -> None:
    dataset = SequenceDataset(FastaBatchGenerator(path, np.arange(N), layout="NCL", metadata=True))
    batches = list(loader(dataset, workers, start, batch_size=10))
    assert [len(y) for _, y in batches] == [10, 10, 10, 10, 10, 3]
    whole = FastaBatchGenerator(path, np.arange(N), layout="NCL", metadata=True)
    ((expected, y),) = whole
    for part in ("x", "metadata"):
        assert np.array_equal(torch.cat([x[part] for x, _ in batches]).numpy(), expected[part])
    assert torch.cat([y for _, y in batches]).tolist() == y.tolist()


def test_a_loader_may_shuffle_a_dataset(path: str) -> None:
    dataset = SequenceDataset(FastaBatchGenerator(path, np.arange(N)))
    found = examples(loader(dataset, 0, batch_size=10, shuffle=True))
    assert found != examples(dataset.generator) and sorted(found) == sorted(examples(dataset.generator))


def test_sequences_of_several_lengths_are_padded_by_batch(tmp_path: Path) -> None:
    (tmp_path / "x.fa").write_text(">a\nACGT\n>b\nAC\n>c\nT\n")
    dataset = SequenceDataset(FastaBatchGenerator(tmp_path / "x.fa", unequal="bucket"))
    batches = list(loader(dataset, 0, batch_size=2))
    assert [DNA.decode(batch.numpy()) for batch in batches] == [["ACGT", "ACNN"], ["T"]]


# The batches of an epoch.


@pytest.mark.parametrize(("workers", "start"), WORKERS)
def test_a_loader_of_a_stream_gives_each_batch_of_the_epoch_once(
    path: str, workers: int, start: str | None
) -> None:
    generator, alone = shuffled(path), shuffled(path)
    stream = loader(SequenceStream(generator), workers, start, batch_size=None)
    assert len(stream) == len(generator) == 9
    epochs = []
    for epoch in (1, 0):
        generator.set_epoch(5, epoch)
        alone.set_epoch(5, epoch)
        batches = list(stream)
        assert all(isinstance(x, Tensor) and x.dtype == torch.uint8 for x, _ in batches)
        epochs.append(examples(batches))
        assert epochs[-1] == examples(alone), "the order of the generator, whatever the number of workers"
        assert sorted(y for _, y in epochs[-1]) == list(range(N))
    assert epochs[0] != epochs[1]


def test_a_stream_of_drawn_windows_says_no_more_batches_than_it_gives(path: str) -> None:
    generator = FastaBatchGenerator(
        path, np.arange(N), batch_size=2, window=5, random_offsets=True, shuffle=True
    )
    for _ in range(5):  # a loader warns where there are more
        assert 0 < len(list(loader(SequenceStream(generator), 0, batch_size=None))) <= len(generator)


def test_shuffles_and_windows_of_a_genome_come_from_workers_too(path: str) -> None:
    peaks = Intervals.make([f"s{i}" for i in range(30)], [2] * 30, [8] * 30, ["-", "+"] * 15)
    generator = IntervalBatchGenerator(path, peaks, negatives="shuffle", jitter=2, shuffle=True, batch_size=7)
    generator.set_epoch(1, 1)
    found = examples(loader(SequenceStream(generator), 2, "spawn", batch_size=None))
    generator.set_epoch(1, 1)
    assert found == examples(generator)


def test_a_generator_travels_without_its_sequences(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">chr1\n" + "ACGT" * 100_000 + "\n")
    generator = FastaBatchGenerator(tmp_path / "g.fa", window=100, reverse_complement=True, shuffle=True)
    content = pickle.dumps(generator)
    assert len(content) < 20_000
    assert [x.tolist() for x in pickle.loads(content)] == [x.tolist() for x in generator]


# Training.


class Model(ClassificationModel):
    def init_model(self) -> None:
        network = nn.Sequential(OneHot(), nn.Flatten(), nn.Linear(4 * LENGTH, 2))
        super().init_model(network, nn.CrossEntropyLoss(), optim.SGD(network.parameters(), 0.1))


def trained(train: Any, val: Any, epochs: int = 3, seed: int = 0) -> list[dict[str, Any]]:
    """The history of a training."""
    seed_everything(0)
    model = Model({}, Namespace(cpu=True, seed=seed, debug=False, batch_size=6))
    return [dict(row) for row in model.fit(train, val, epochs)]


def classes(path: str, **options: Any) -> SequenceBatchGenerator:
    return FastaBatchGenerator(path, np.arange(N) % 2, **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_by_a_loader_has_the_epochs_of_the_generator(path: str, workers: int) -> None:
    drawn = {"batch_size": 6, "shuffle": True, "reverse_complement": True}
    val = classes(path)
    expected = trained(classes(path, **drawn), val)
    assert len({row["train_loss"] for row in expected}) == 3
    stream = loader(SequenceStream(classes(path, **drawn)), workers, batch_size=None)
    assert trained(stream, val) == expected
    assert trained(stream, loader(SequenceDataset(val), workers, batch_size=6))[-1] == pytest.approx(
        expected[-1]
    )
    assert trained(stream, val, seed=1) != expected, "the seed of the run orders them"


def test_two_trials_that_share_a_generator_train_as_they_would_alone(path: str) -> None:
    drawn = {"batch_size": 6, "shuffle": True, "reverse_complement": True}
    val, shared = classes(path), classes(path, **drawn)
    first, second = trained(shared, val, seed=1), trained(shared, val, seed=2)
    assert trained(classes(path, **drawn), val, seed=1) == first != second
    assert trained(classes(path, **drawn), val, seed=2) == second


def test_the_generator_within_a_loader_is_found(path: str) -> None:
    generator = shuffled(path)
    assert found_in(loader(SequenceStream(generator), 2, batch_size=None), SequenceBatchGenerator) == [
        generator
    ]
    assert found_in([loader(SequenceStream(generator), 0, batch_size=None)], FastaBatchGenerator) == [
        generator
    ]
