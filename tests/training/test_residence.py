"""Batches that are gathered on a device are those that a generator yields."""

import mmap
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from base_model import RegressionModel
from batch_generator import (
    FastaBatchGenerator,
    H5pyBatchGenerator,
    IntervalBatchGenerator,
    MatrixBatchGenerator,
    MixedBatchGenerator,
)
from helixband.generators.base import BatchGenerator
from helixband.nested import leaves
from helixband.sequence.alphabet import Alphabet
from helixband.sequence.augmentation import Augmentation
from helixband.sequence.intervals import Intervals
from helixband.training import residence
from helixband.training.feed import Place, for_training, to_device
from helixband.training.residence import Residence

CPU = torch.device("cpu")
X = np.arange(21, dtype=np.float64).reshape(7, 3) / 7
Y = np.arange(7)
AUGMENTATION = Augmentation(reverse=0.5, complement=0.5, reverse_complement=0.3, shift=0.6, max_shift=3)


def genome(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    path = folder / "genome.fa"
    bases = ("".join(rng.choice(list("ACGTN"), size)) for size in (60, 47, 33))
    path.write_text("".join(f">chr{number}\n{each}\n" for number, each in enumerate(bases)))
    return path


def fasta(folder: Path, **options: Any) -> FastaBatchGenerator:
    return FastaBatchGenerator(genome(folder), np.array([0.5, 1.5, 2.5]), 4, **options)


def intervals(folder: Path, **options: Any) -> IntervalBatchGenerator:
    starts = np.array([0, 5, 12, 56, 30, 3, 20, 0, 43])
    records = ["chr0", "chr0", "chr1", "chr0", "chr1", "chr2", "chr2", "chr1", "chr1"]
    strand = np.array([1, -1, 1, -1, 1, -1, 1, -1, -1], dtype=np.int8)
    places = Intervals.make(records, starts, starts + 4, strand)
    if "negatives" not in options and "targets" not in options:
        options["targets"] = np.arange(9) / 4
    return IntervalBatchGenerator(genome(folder), places, 12, batch_size=4, **options)


def tracks(folder: Path) -> IntervalBatchGenerator:
    """Profiles of two strands, as two bigWigs give them."""
    made = intervals(folder, jitter=2, shuffle=True, reverse_complement=0.5)
    made.targets, made._margin = np.arange(9 * 2 * 16, dtype=np.float32).reshape(9, 2, 16), 2
    return made


def table(folder: Path, **options: Any) -> H5pyBatchGenerator:
    with h5py.File(folder / "set.h5", "w") as file:
        file["data"], file["label"] = X, Y
    return H5pyBatchGenerator(folder / "set.h5", 3, **options)


def mixture(folder: Path, **options: Any) -> MixedBatchGenerator:
    sets = [
        MatrixBatchGenerator(X, Y, shuffle=True),
        MatrixBatchGenerator(X[:3] + 10, Y[:3], shuffle=True),
        MatrixBatchGenerator(X[3:5] - 10, Y[:2]),
    ]
    return MixedBatchGenerator(sets, [0.5, 0.3, 0.2], 4, **options)


def mixed_windows(folder: Path) -> MixedBatchGenerator:
    sets = [intervals(folder, shuffle=True, jitter=3, reverse_complement=0.5), intervals(folder)]
    return MixedBatchGenerator(sets, [0.6, 0.4], 5)


KINDS = {
    "arrays as stored": lambda _: MatrixBatchGenerator(X, Y, 3),
    "arrays": lambda _: MatrixBatchGenerator(X, Y, 3, shuffle=True),
    "arrays whole": lambda _: MatrixBatchGenerator(X, Y, shuffle=True),
    "without the last": lambda _: MatrixBatchGenerator(X, Y, 3, shuffle=True, drop_last=True),
    "balanced": lambda _: MatrixBatchGenerator(X, Y % 3 // 2, 3, shuffle=True, sampling="balanced"),
    "weighted": lambda _: MatrixBatchGenerator(X, Y, 3, shuffle=True, sampling=np.arange(7)),
    "nested": lambda _: MatrixBatchGenerator({"a": X, "b": (Y,)}, (torch.tensor(X), Y), 3, shuffle=True),
    "unsigned": lambda _: MatrixBatchGenerator(X.astype(np.float16), Y.astype(np.uint16), 3, shuffle=True),
    "tables": lambda folder: table(folder, shuffle=True),
    "tables whose rows are made": lambda folder: table(folder, process_x_y=lambda x, y: (x * 2, y + 1)),
    "records padded": lambda folder: fasta(folder, unequal="pad", shuffle=True, reverse_complement=0.5),
    "tiles": lambda folder: fasta(
        folder, window=10, stride=4, incomplete="pad", reverse_complement=0.5, shuffle=True
    ),
    "random tiles": lambda folder: fasta(folder, window=10, stride=6, random_offsets=True, shuffle=True),
    "tiles as stored": lambda folder: fasta(folder, window=10, incomplete="pad", metadata=True),
    "windows": lambda folder: intervals(folder, metadata=True, drop_last=True),
    "windows moved": lambda folder: intervals(folder, shuffle=True, jitter=4, reverse_complement=0.5),
    "windows augmented": lambda folder: intervals(folder, shuffle=True, jitter=4, augmentation=AUGMENTATION),
    "one-hot": lambda folder: intervals(folder, shuffle=True, layout="NCL", reverse_complement=0.5),
    "one-hot with height": lambda folder: intervals(folder, layout="NC1L"),
    "one-hot in rows": lambda folder: intervals(folder, layout="NLC"),
    "shuffled negatives": lambda folder: intervals(
        folder, negatives="shuffle", shuffle=True, jitter=2, reverse_complement=0.5, augmentation=AUGMENTATION
    ),
    "profiles": tracks,
    "a part": lambda folder: intervals(folder, shuffle=True, jitter=3).part(np.array([1, 3, 4, 6, 8])),
    "a mixture": lambda folder: mixture(folder, n_examples=22),
    "a mixture without the last": lambda folder: mixture(folder, drop_last=True),
    "a mixture of windows": mixed_windows,
}


def of_plain_path(generator: BatchGenerator, place: Place = None) -> list[Any]:
    found = for_training(generator, 20, None, place, keeps=True)
    return [(to_device(each.x, CPU), to_device(each.y, CPU), each.kept) for each in found]


def of_device(generator: BatchGenerator, place: Place = None) -> list[Any]:
    gather = generator.gather()
    assert gather is not None
    found = islice(Residence().batches(generator, gather, CPU, place, keeps=True), 20)
    return [(each.x, each.y, each.kept) for each in found]


def assert_equal(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert type(one[0]) is type(other[0])
        for leaf, wanted in zip(leaves(one), leaves(other), strict=True):
            assert leaf.dtype == wanted.dtype and leaf.shape == wanted.shape
            assert leaf.tolist() == wanted.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_gathered_on_a_device_is_what_the_generator_yields(kind: str, tmp_path: Path) -> None:
    generator = KINDS[kind](tmp_path)
    for epoch in (0, 3):
        generator.set_epoch(7, epoch)
        expected = of_plain_path(generator)
        generator.set_epoch(7, epoch)
        assert_equal(of_device(generator), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_gathered_from_any_batch_on(kind: str, tmp_path: Path) -> None:
    generator = KINDS[kind](tmp_path)
    for start in (1, 5):
        assert_equal(of_device(generator, (3, start)), of_plain_path(generator, (3, start)))


def test_what_can_only_be_read_batch_by_batch_is_not_gathered(tmp_path: Path) -> None:
    class Own(MatrixBatchGenerator):
        def __iter__(self) -> Any:
            return iter([])

    odd = Alphabet("AC", "N", empty="N", complement={"A": "N", "N": "A"})
    inner = mixture(tmp_path)
    for generator in [
        Own(X, Y, 3),
        fasta(tmp_path, unequal="bucket", shuffle=True),
        MixedBatchGenerator([inner, MatrixBatchGenerator(X, Y)], [0.5, 0.5], 4),
        MixedBatchGenerator([Own(X, Y), MatrixBatchGenerator(X, Y)], [0.5, 0.5], 4),
        table(tmp_path, memory_limit=0),
    ]:
        assert generator.gather() is None
    (tmp_path / "odd.fa").write_text(">a\nACAC\n")
    assert FastaBatchGenerator(tmp_path / "odd.fa", alphabet=odd).gather() is None


def test_data_are_placed_once_for_all_who_read_them() -> None:
    residence, shared = Residence(), X.astype(np.float32)
    first, second = (MatrixBatchGenerator(shared, Y, 3, shuffle=True) for _ in range(2))
    for generator in (first, second):
        gather = generator.gather()
        assert gather is not None
        assert residence.fits(gather, CPU, free=0) == (generator is second)
        list(residence.batches(generator, gather, CPU, None, keeps=False))
    assert residence.place(shared, CPU) is residence.place(shared, CPU)


def test_data_leave_the_device_with_those_who_read_them() -> None:
    residence, array = Residence(), np.zeros((2, 2))
    residence.place(array, CPU)
    assert len(residence._placed) == 1
    del array
    assert not residence._placed


def test_data_that_take_more_than_half_of_the_free_memory_do_not_fit() -> None:
    gather = MatrixBatchGenerator(np.zeros((8, 2), np.float32), np.zeros(8, np.float32), 3).gather()
    assert gather is not None  # 96 bytes
    assert Residence().fits(gather, CPU, free=192)
    assert not Residence().fits(gather, CPU, free=191)


def test_what_a_network_does_to_its_batch_does_not_reach_the_data() -> None:
    generator, residence = MatrixBatchGenerator(X, Y, 3), Residence()
    gather = generator.gather()
    assert gather is not None
    for batch in residence.batches(generator, gather, CPU, None, keeps=True):
        batch.x.zero_()
        batch.y.zero_()
        assert batch.kept.any()
    assert_equal(of_device(generator), of_plain_path(generator))


def test_a_training_on_a_device_has_the_order_of_one_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers(device: torch.device) -> list[list[int]]:
        generator = MatrixBatchGenerator(X, Y, 3, shuffle=True)
        generator.set_epoch(4, 0)
        epochs = [residence.fed(generator, device, None, None, None, True) for _ in range(3)]
        return [[int(y) for batch in epoch for y in batch.y] for epoch in epochs]

    on_host = numbers(CPU)
    monkeypatch.setattr(residence, "_resident", lambda generator, device: generator.gather())
    batches = residence.RESIDENCE.batches
    monkeypatch.setattr(
        residence.RESIDENCE,
        "batches",
        lambda generator, gather, _, *how: batches(generator, gather, CPU, *how),
    )
    assert numbers(torch.device("cuda")) == on_host


CHANGES = {
    "an array": lambda x, y: np.multiply(y, 3, out=y),
    "one value": lambda x, y: x.__setitem__((6, 2), -1.0),
    "signs": lambda x, y: np.negative(x, out=x),
    "order": lambda x, y: x.__setitem__(slice(None), x[::-1].copy()),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("as_data", [lambda array: array, torch.from_numpy, np.transpose])
def test_data_that_change_in_place_are_read_as_they_are_in_the_next_epoch(change: str, as_data: Any) -> None:
    x, y, held = X.astype(np.float32), Y.copy(), Residence()
    generator = MatrixBatchGenerator(as_data(x if as_data is not np.transpose else x.T.copy()), as_data(y), 3)
    gather = generator.gather()
    assert gather is not None
    x, y = (np.asarray(leaf) for leaf in (generator.X, generator.Y))
    for _ in range(3):
        generator.set_epoch(7, 0)
        expected = of_plain_path(generator)
        generator.set_epoch(7, 0)
        batches = held.batches(generator, gather, CPU, None, keeps=True)
        assert_equal([(each.x, each.y, each.kept) for each in batches], expected)
        CHANGES[change](x, y)
    assert len(held._placed) == 2


def test_a_change_is_seen_in_each_piece_that_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residence, "CHUNK_BYTES", 16)
    array, held = np.zeros((7, 3), np.float32), Residence()
    copy = held.place(array, CPU)
    for row in range(7):
        array[row] = row + 1
        assert held.place(array, CPU) is copy
        assert copy.tolist() == array.tolist()


def test_a_view_that_is_read_only_changes_with_what_it_is_a_view_of() -> None:
    array, held = np.zeros((7, 3), np.float32), Residence()
    view = array[2:]
    view.flags.writeable = False
    held.place(view, CPU)
    array[:] = 1.0
    assert held.place(view, CPU).tolist() == [[1.0] * 3] * 5


def test_files_that_are_mapped_for_reading_are_not_read_again(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    for mode, is_checked in (("r", False), ("r+", True)):
        mapped = np.load(tmp_path / "a.npy", mmap_mode=mode)
        assert (residence._mark(mapped) is not None) is is_checked
        assert (residence._mark(mapped[2:]) is not None) is is_checked
    with open(tmp_path / "a.npy", "rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert residence._mark(np.frombuffer(whole, np.uint8)[2:]) is None


def test_a_class_with_code_of_its_own_as_an_epoch_begins_is_not_gathered() -> None:
    class Noisy(MatrixBatchGenerator):
        def set_epoch(self, seed: int, epoch: int) -> None:
            super().set_epoch(seed, epoch)
            self.Y[:] = epoch

    assert Noisy(X, Y.copy(), 3).gather() is None


class Quiet(RegressionModel):
    def init_model(self) -> None:
        network = torch.nn.Linear(3, 1)
        super().init_model(network, optimizer=torch.optim.SGD(network.parameters(), 0.1))


class Measured(Quiet):
    def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
        return {}


def test_data_are_looked_at_again_only_for_models_with_methods_that_may_change_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[Any] = []
    monkeypatch.setattr(residence, "_mark", lambda leaf: looks.append(leaf) or len(looks))
    assert [residence.may_change_data(kind) for kind in (RegressionModel, Quiet, Measured)] == [
        False,
        False,
        True,
    ]
    array, held = np.zeros((7, 3), np.float32), Residence()
    first = held.place(array, CPU, stays=True)
    assert held.place(array, CPU, stays=True) is first and not looks
    array[:] = 1.0
    assert held.place(array, CPU) is first and len(looks) == 1
    assert first.tolist() == array.tolist()
