"""Which examples an epoch has, in every generator, and epochs that are read from any batch on."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from batch_generator import (
    BatchGenerator,
    FastaBatchGenerator,
    H5pyBatchGenerator,
    IntervalBatchGenerator,
    MatrixBatchGenerator,
)
from helixband.errors import DataError
from helixband.generators.hdf5 import H5Table
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.sequence.alphabet import DNA
from helixband.sequence.augmentation import Augmentation
from helixband.sequence.intervals import Intervals

NAN = float("nan")
N = 60
Y = np.repeat([0, 1, 2], [40, 15, 5])
WEIGHTS = np.repeat([0.0, 1.0, 3.0], 20)
Make = Callable[..., BatchGenerator]


@pytest.fixture
def make(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A generator of the kind that a test names, of 60 examples of which x tells the number."""
    kind = request.param
    if kind == "matrix":
        return lambda **options: MatrixBatchGenerator(np.arange(N), Y, **options)
    if kind == "fasta":
        texts = DNA.decode(
            np.stack([np.arange(N) // 16, np.arange(N) // 4 % 4, np.arange(N) % 4], 1).astype(np.uint8)
        )
        (tmp_path / "a.fa").write_text("".join(f">s{k}\n{text}\n" for k, text in enumerate(texts)))
        return lambda **options: FastaBatchGenerator(tmp_path / "a.fa", Y, **options)
    for number, (start, stop) in enumerate([(0, 25), (25, 60)]):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["data"], file["label"] = np.arange(start, stop), Y[start:stop]
    monkeypatch.setattr("batch_generator.BLOCK_BYTES", 48)  # three rows
    monkeypatch.setattr("batch_generator.POOL_BLOCKS", 4)
    limit = 0 if kind == "streamed" else 1 << 20
    return lambda **options: H5pyBatchGenerator(f"{tmp_path}/*.h5", memory_limit=limit, **options)


every_kind = pytest.mark.parametrize("make", ["matrix", "fasta", "hdf5", "streamed"], indirect=True)


def numbers(batches: Any) -> list[int]:
    """The numbers of the examples of batches."""
    found: list[int] = []
    for x, _ in batches:
        x = x @ np.array([16, 4, 1]) if x.ndim == 2 else x
        found += np.asarray(x).astype(int).tolist()
    return found


def labels(batches: Any) -> NDArray[np.int64]:
    return np.concatenate([np.asarray(y) for _, y in batches])


# What is drawn.


@every_kind
def test_balanced_sampling_gives_each_class_its_share(make: Make) -> None:
    generator = make(batch_size=7, shuffle=True, sampling="balanced")
    assert len(generator) == 9 and [len(y) for _, y in generator] == [7] * 8 + [4]
    for epoch in range(3):
        found = numbers(generator.batches(0, epoch))
        assert np.bincount(Y[found]).tolist() == [20, 20, 20]
        times = np.bincount(found, minlength=N)
        assert times[:40].max() == 1 and set(times[40:55]) == {1, 2} and (times[55:] == 4).all()
        assert (labels(generator.batches(0, epoch)) == Y[found]).all()


@every_kind
def test_weights_say_how_often_an_example_comes(make: Make) -> None:
    generator = make(batch_size=7, shuffle=True, sampling=WEIGHTS)
    times = np.zeros(N)
    for epoch in range(20):
        of_epoch = np.bincount(numbers(generator.batches(0, epoch)), minlength=N)
        assert of_epoch.sum() == N
        assert (of_epoch[:20] == 0).all()
        assert set(of_epoch[20:40]) <= {0, 1} and set(of_epoch[40:]) <= {2, 3}  # 0.75 and 2.25
        times += of_epoch
    assert times[20:].min() > 0
    assert times[20:40].mean() == pytest.approx(15, rel=0.05)
    assert times[40:].mean() == pytest.approx(45, rel=0.05)


@every_kind
def test_equal_weights_give_each_example_once(make: Make) -> None:
    found = numbers(make(batch_size=7, shuffle=True, sampling=[0.1] * N))
    assert sorted(found) == list(range(N)) and found != list(range(N))


@every_kind
def test_what_is_drawn_is_a_function_of_seed_and_epoch(make: Make) -> None:
    for sampling in ("balanced", WEIGHTS):
        one, other = (make(batch_size=7, shuffle=True, sampling=sampling) for _ in range(2))
        list(other)
        other.set_epoch(5, 3)
        assert numbers(one.batches(5, 3)) == numbers(other)
        orders = [numbers(one.batches(seed, epoch)) for seed in range(2) for epoch in range(2)]
        assert len({tuple(order) for order in orders}) == 4


def test_neighbours_are_drawn_independently() -> None:
    # In the stored order every second one of equal weights would come, or every other second.
    weights = np.r_[np.ones(40), 20.0, 20.0]
    generator = MatrixBatchGenerator(np.arange(42), shuffle=True, sampling=weights)
    drawn = []
    for epoch in range(200):
        times = np.bincount(np.concatenate(list(generator.batches(0, epoch))), minlength=42)
        drawn.append(times[:40])
    assert abs(np.corrcoef(np.array(drawn).T)[0, 1]) < 0.25


def test_labels_of_any_form_are_balanced() -> None:
    one_hot = np.eye(3, dtype=np.float32)[Y]
    forms: list[Any] = [Y, Y[:, None], Y.astype(np.float32), one_hot, torch.from_numpy(Y), Y.tolist()]
    for y, share in [*((form, 20) for form in forms), (Y == 0, 30), (np.where(Y == 0, -1, 1), 30)]:
        generator = MatrixBatchGenerator(np.arange(N), y, shuffle=True, sampling="balanced")
        assert (Y[numbers(generator.batches(0, 0))] == 0).sum() == share


def test_a_split_keeps_the_sampling_for_training() -> None:
    train, val = MatrixBatchGenerator.get_train_val_generator(
        np.arange(N), Y, 0.25, batch_size=5, sampling=np.arange(N) % 2
    )
    assert {number % 2 for number in numbers(train)} == {1}
    assert len(numbers(val)) == 15 and {number % 2 for number in numbers(val)} == {0, 1}
    balanced, _ = MatrixBatchGenerator.get_train_val_generator(np.arange(N), Y, 0.25, sampling="balanced")
    assert np.bincount(Y[numbers(balanced)]).tolist() == [15, 15, 15]


@pytest.mark.parametrize("make", ["fasta"], indirect=True)
def test_parts_of_sequences_keep_the_weights_of_their_examples(make: Make) -> None:
    generator = make(shuffle=True, sampling=np.arange(N) % 2)
    assert isinstance(generator, SequenceBatchGenerator)
    train, val, _ = generator.split("ratio", val=0.2, test=0.2, seed=1)
    assert {number % 2 for number in numbers(train)} == {1}
    assert {number % 2 for number in numbers(val)} == {0, 1}
    even = generator.part(np.arange(0, N, 2))
    with pytest.raises(DataError, match="all examples of this part of the set have the weight 0"):
        list(even)
    without = make(shuffle=True, sampling="balanced")
    assert isinstance(without, SequenceBatchGenerator)
    with pytest.raises(DataError, match="all 40 examples are of the class 0: there is nothing to balance"):
        list(without.part(np.arange(40)))


# What cannot be drawn.


@every_kind
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": "balanced", "shuffle": False}, "sampling is for training, .*pass shuffle=True too"),
        ({"sampling": "balance"}, "sampling is 'balance'; it has to be as in sampling='balanced'"),
        ({"sampling": {"a": 1}}, "sampling is {'a': 1}; it has to be as in"),
        ({"sampling": [1.0] * 59}, r"have the shape \(59,\); there are 60 examples, so it has to be \(60,\)"),
        (
            {"sampling": [*[1.0] * 58, -1, 1]},
            "weight of example 58 is -1.0; weights are finite, and 0 or more",
        ),
        ({"sampling": [NAN, *[1.0] * 59]}, "weight of example 0 is nan"),
        ({"sampling": [0.0] * 60}, "all weights of sampling are 0"),
    ],
)
def test_a_sampling_that_makes_no_sense_is_refused(make: Make, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**{"batch_size": 5, "shuffle": True, **options})


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "needs labels; there are none"),
        ([0.5, 1.0, 0.0], "labels of which one is 0.5. Otherwise give a weight for each example"),
        ([NAN, 1.0, 0.0], "labels of which one is nan"),
        ([[0, 1], [1, 1], [1, 0]], r"labels of shape \(3, 2\), whose rows are not one-hot"),
        (np.zeros((3, 2, 2)), r"labels of shape \(3, 2, 2\)"),
        ({"a": [0, 1, 1]}, "labels of several parts"),
        ([2, 2, 2], "all 3 examples are of the class 2"),
        (
            [0, 2, 2],
            "the class 1 has no example, of the classes 0 to 2, .*number classes from 0 without gaps",
        ),
        ([[1, 0, 0], [0, 1, 0], [0, 1, 0]], "the class 2 has no example, of the classes 0 to 2"),
    ],
)
def test_labels_that_cannot_be_balanced_are_refused(y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        MatrixBatchGenerator(np.arange(3), y, shuffle=True, allow_nan=True, sampling="balanced")


@pytest.mark.parametrize("make", ["streamed"], indirect=True)
def test_sampling_of_streamed_files_needs_a_batch_size(make: Make) -> None:
    with pytest.raises(DataError, match="sampling of streamed files needs a batch_size"):
        make(shuffle=True, sampling="balanced")


def test_sampling_of_sequences_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">a\nACGT\n>b\nACGT\n")
    with pytest.raises(DataError, match="balance=True is sampling='balanced'"):
        FastaBatchGenerator(tmp_path / "a.fa", [0, 1], shuffle=True, balance=True, sampling="balanced")
    with pytest.raises(DataError, match="with random_offsets the windows differ in each epoch"):
        FastaBatchGenerator(
            tmp_path / "a.fa", shuffle=True, window=2, random_offsets=True, sampling=[1.0, 1.0, 1.0, 1.0]
        )


def test_balance_is_of_integers_and_names_what_balances_other_classes(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">c\nACGTACGT\n")
    (tmp_path / "a.bed").write_text("c 0 4 a 0\nc 2 6 b 1\nc 4 8 d 0\nc 1 5 e 0\n")
    files: Any = (tmp_path / "a.fa", tmp_path / "a.bed", None)
    with pytest.raises(DataError, match="as integers; sampling='balanced' takes whole numbers of any type"):
        IntervalBatchGenerator(*files, "score", shuffle=True, balance=True)
    for targets, options in (
        ("score", {"sampling": "balanced"}),
        ([0, 1, 0, 0], {"sampling": "balanced"}),
        ([0, 1, 0, 0], {"balance": True}),
    ):
        generator = IntervalBatchGenerator(*files, targets, shuffle=True, **options)  # type: ignore[arg-type]
        assert sorted(int(label) for _, y in generator for label in y) == [0, 0, 1, 1]


@every_kind
@pytest.mark.parametrize("sampling", [None, "balanced", WEIGHTS], ids=["plain", "balanced", "weights"])
def test_as_stored_each_example_comes_once_and_in_order(make: Make, sampling: Any) -> None:
    drawn = make(batch_size=7, shuffle=True, drop_last=True, sampling=sampling)
    epoch = list(drawn.batches(0, 0))
    stored = drawn.as_stored()
    for _ in range(2):
        assert numbers(stored) == list(range(N))
    assert len(stored) == 9
    assert same(drawn.batches(0, 0), epoch), "the other stays as it is"


# Any batch on.


def same(one: Any, other: Any) -> bool:
    """Whether batches are the same, bit for bit."""
    one, other = list(one), list(other)
    return len(one) == len(other) and all(
        np.array_equal(np.asarray(a), np.asarray(b))
        for pair in zip(one, other, strict=True)
        for a, b in zip(*pair, strict=True)
    )


@every_kind
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": True},
        {"shuffle": True, "sampling": "balanced"},
        {"shuffle": True, "sampling": WEIGHTS},
    ],
)
def test_an_epoch_can_be_read_from_any_batch_on(make: Make, options: Any, drop_last: bool) -> None:
    for batch_size in (1, 7, 13, 60):
        generator = make(batch_size=batch_size, drop_last=drop_last, **options)
        whole = list(generator.batches(3, 2))
        assert len(whole) == len(generator)
        for start in range(len(whole) + 2):
            assert same(generator.batches(3, 2, start), whole[start:])


@pytest.mark.parametrize("make", ["hdf5", "streamed"], indirect=True)
@pytest.mark.parametrize("shuffle", [False, True])
def test_without_a_batch_size_too(make: Make, shuffle: bool) -> None:
    generator = make(shuffle=shuffle)
    whole = list(generator.batches(3, 2))
    assert len(whole) == len(generator)
    for start in range(len(whole) + 1):
        assert same(generator.batches(3, 2, start), whole[start:])


@pytest.mark.parametrize("make", ["streamed"], indirect=True)
@pytest.mark.parametrize("shuffle", [False, True])
def test_blocks_before_the_first_batch_are_not_read(
    make: Make, shuffle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = make(batch_size=5, shuffle=shuffle)
    reads: list[int] = []
    read, read_into = H5Table.read, H5Table.read_into

    def counted(self: H5Table, start: int, stop: int) -> Any:
        reads.append(stop - start)
        return read(self, start, stop)

    def counted_into(self: H5Table, parts: list[tuple[list[Any], int]]) -> None:
        reads.extend(len(arrays[0]) for arrays, _ in parts)
        read_into(self, parts)

    monkeypatch.setattr(H5Table, "read", counted)
    monkeypatch.setattr(H5Table, "read_into", counted_into)
    list(generator.batches(0, 0))
    assert sum(reads) == N
    reads.clear()
    assert len(list(generator.batches(0, 0, 10))) == 2
    # Ten examples, the pool that they are in, and the blocks of what was left of the pool before it.
    assert 10 <= sum(reads) <= 10 + 12 * shuffle + 4 * 3


@pytest.fixture
def genome(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    path = tmp_path / "genome.fa"
    texts = DNA.decode(rng.integers(0, 4, (6, 300)).astype(np.uint8))
    lengths = [300, 250, 31, 100, 180, 77]
    path.write_text(
        "".join(
            f">c{k}\n{text[:length]}\n" for k, (text, length) in enumerate(zip(texts, lengths, strict=True))
        )
    )
    return str(path)


CHANGED: dict[str, Any] = {"reverse_complement": True, "augmentation": Augmentation(shift=0.5, max_shift=3)}


@pytest.mark.parametrize("block_bytes", [1, 100, 1 << 21])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("windows", {"window": 10}),
        ("windows", {"window": 10, "shuffle": True}),
        ("windows", {"window": 10, "shuffle": True, "random_offsets": True, "stride": 4, **CHANGED}),
        ("windows", {"unequal": "bucket"}),
        ("windows", {"unequal": "bucket", "shuffle": True, **CHANGED}),
        ("intervals", {"window": 20, "shuffle": True, "jitter": 5, **CHANGED}),
        ("intervals", {"window": 20, "shuffle": True, "jitter": 5, "negatives": "shuffle", "balance": True}),
    ],
)
def test_sequences_can_be_read_from_any_batch_on(
    genome: str, kind: str, options: Any, drop_last: bool, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helixband.generators.sequences.BLOCK_BYTES", block_bytes)
    monkeypatch.setattr("helixband.generators.fasta.BUCKET_BATCHES", 2)
    generator: SequenceBatchGenerator
    if kind == "intervals":
        starts = np.arange(0, 240, 24)
        intervals = Intervals.make(["c0"] * len(starts), starts, starts + 20)
        generator = IntervalBatchGenerator(genome, intervals, batch_size=3, drop_last=drop_last, **options)
    else:
        generator = FastaBatchGenerator(
            genome, lambda header: len(header), batch_size=4, drop_last=drop_last, **options
        )
    of_epochs = [list(generator.batches(3, epoch)) for epoch in range(3)]
    for start in range(len(of_epochs[1]) + 1):
        assert same(
            [pair(b) for b in generator.batches(3, 1, start)], [pair(b) for b in of_epochs[1][start:]]
        )
    in_turn = list(itertools.chain(*of_epochs))
    for start in range(0, len(in_turn) - 2, 3):
        found = itertools.islice(generator.stream(3, start), 2)
        assert same([pair(b) for b in found], [pair(b) for b in in_turn[start : start + 2]])


def pair(batch: Any) -> tuple[Any, Any]:
    return batch if isinstance(batch, tuple) else (batch, np.zeros(0))


@every_kind
def test_a_stream_has_the_epochs_one_after_the_other(make: Make) -> None:
    generator = make(batch_size=7, shuffle=True, drop_last=True)
    in_turn = [batch for epoch in range(3) for batch in generator.batches(1, epoch)]
    assert len(in_turn) == 24
    for start in (0, 5, 8, 9, 17):
        assert same(itertools.islice(generator.stream(1, start), 6), in_turn[start : start + 6])


def test_reading_from_a_batch_on_moves_no_state() -> None:
    generator = MatrixBatchGenerator(np.arange(9), np.arange(9), batch_size=2, shuffle=True)
    generator.set_epoch(4, 1)
    list(generator.batches(0, 0, 2))
    next(generator.stream(0, 7))
    assert same(generator, generator.batches(4, 1))
    assert same(generator, generator.batches(4, 2)), "without set_epoch an iteration is the next epoch"
