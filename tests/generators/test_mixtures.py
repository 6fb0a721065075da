"""Sets that are mixed by shares."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim

from base_model import RegressionModel
from batch_generator import FastaBatchGenerator, MatrixBatchGenerator, MixedBatchGenerator
from helixband.errors import DataError

LARGE, SMALL = np.arange(100), np.arange(1000, 1010)


def mixture(**options: Any) -> MixedBatchGenerator:
    sets = [MatrixBatchGenerator(part, part * 2, shuffle=True) for part in (LARGE, SMALL)]
    return MixedBatchGenerator(sets, [0.75, 0.25], **{"batch_size": 8, **options})


def of_large(x: Any) -> int:
    return int((np.asarray(x) < 1000).sum())


def test_each_batch_has_the_shares() -> None:
    generator = mixture()
    batches = list(generator)
    assert len(batches) == len(generator) == 14 and generator.n_examples == 110
    assert all(4 <= of_large(x) <= 8 for x, _ in batches[:-1])
    assert sum(of_large(x) for x, _ in batches) == 83  # of 82.5
    assert all((y == x * 2).all() for x, y in batches)
    firsts = {bool(x[0] < 1000) for x, _ in batches}
    assert firsts == {True, False}, "the sets lie mixed in a batch"


def test_a_large_set_goes_on_and_a_small_one_comes_again() -> None:
    generator = mixture(n_examples=80)
    seen = [np.concatenate([x for x, _ in generator.batches(0, epoch)]) for epoch in range(5)]
    large = np.concatenate([of_epoch[of_epoch < 1000] for of_epoch in seen])
    assert len(large) == 300
    assert (np.bincount(large) == 3).all()
    for of_epoch in seen:
        assert np.bincount(of_epoch[of_epoch >= 1000] - 1000).tolist() == [2] * 10


def test_as_stored_the_sets_come_one_after_the_other_whatever_their_shares() -> None:
    stored = mixture(n_examples=20, drop_last=True).as_stored()
    for epoch in (0, 3):
        assert [int(x) for batch, _ in stored.batches(0, epoch) for x in batch] == [*LARGE, *SMALL]
        assert [x.tolist() for x, _ in stored.batches(0, epoch, 13)] == [SMALL[4:].tolist()]
    assert stored.n_examples == 110 and len(stored) == 14


@pytest.mark.parametrize("drop_last", [False, True])
def test_an_epoch_can_be_read_from_any_batch_on(drop_last: bool) -> None:
    generator = mixture(drop_last=drop_last)
    for epoch in (0, 3):
        whole = [x.tolist() for x, _ in generator.batches(1, epoch)]
        assert len(whole) == len(generator) == 14 - drop_last
        for start in range(len(whole) + 1):
            assert [x.tolist() for x, _ in generator.batches(1, epoch, start)] == whole[start:]
    stream = [x.tolist() for x, _ in itertools.islice(generator.stream(1, 20), 12)]
    in_turn = [x.tolist() for epoch in range(3) for x, _ in generator.batches(1, epoch)]
    assert stream == in_turn[20:32]
    assert in_turn[:14] != in_turn[14:28]


def test_the_order_depends_on_the_seed_and_the_sets_are_drawn_apart() -> None:
    sets = [MatrixBatchGenerator(np.arange(20) + first, shuffle=True) for first in (0, 100)]
    generator = MixedBatchGenerator(sets, [0.5, 0.5], batch_size=40)
    (one,), (again,), (other,) = (list(generator.batches(seed, 0)) for seed in (0, 0, 1))
    assert one.tolist() == again.tolist() != other.tolist()
    assert one[one < 100].tolist() != (one[one >= 100] - 100).tolist()


def test_sets_keep_their_sampling_and_their_nesting() -> None:
    first = MatrixBatchGenerator(
        {"a": np.arange(10), "b": torch.arange(10)}, np.arange(10) % 2, shuffle=True, sampling=[0.0, 1.0] * 5
    )
    second = MatrixBatchGenerator({"a": np.arange(10) + 50, "b": torch.arange(10)}, np.arange(10) % 2)
    for x, y in MixedBatchGenerator([first, second], [0.5, 0.5], batch_size=6):
        assert (x["a"] % 50 == x["b"].numpy()).all() and (y == x["a"] % 2).all()
        assert (x["a"][x["a"] < 50] % 2 == 1).all()


def test_sets_may_come_from_an_iterator() -> None:
    sets = [MatrixBatchGenerator(np.full((4, 1), each), np.zeros(4), 2, shuffle=True) for each in (1.0, 2.0)]
    mixed = MixedBatchGenerator(iter(sets), iter([0.5, 0.5]), 4)
    assert sorted(np.concatenate([x for x, _ in mixed])[:, 0].tolist()) == [1.0] * 4 + [2.0] * 4


def test_sequences_are_mixed(tmp_path: Path) -> None:
    for name, letter in (("a", "A"), ("c", "C")):
        text = "".join(f">{name}{k}\n{letter * 5}\n" for k in range(8))
        (tmp_path / f"{name}.fa").write_text(text)
    sets = [
        FastaBatchGenerator(tmp_path / f"{name}.fa", [float(k)] * 8, shuffle=True)
        for k, name in enumerate("ac")
    ]
    generator = MixedBatchGenerator(sets, [0.5, 0.5], batch_size=4)
    assert generator.get_X_shape() == (5,)
    for x, y in generator:
        assert (x == y[:, None]).all() and y.sum() == 2


class Model(RegressionModel):
    def init_model(self) -> None:
        network = nn.Linear(1, 1)
        super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), lr=0.1))


def test_a_training_goes_on_in_the_same_order() -> None:
    def train(*epochs: int) -> list[Any]:
        torch.manual_seed(0)
        model = Model()
        weights = np.arange(20) % 3
        x = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
        sets = [
            MatrixBatchGenerator(x, x * 2, shuffle=True, sampling=weights),
            MatrixBatchGenerator(x, x * 3, shuffle=True),
        ]
        for until in epochs:
            data = MixedBatchGenerator(sets, [0.3, 0.7], batch_size=6)
            history = model.fit(data, MatrixBatchGenerator(x, x), until)
        return [row["train_loss"] for row in history]

    assert train(1, 3) == train(3)


@pytest.mark.parametrize(
    ("sets", "shares", "options", "message"),
    [
        (2, [0.5, 0.3], {}, r"the shares are 0.5 \+ 0.3 = 0.8; they have to add up to 1"),
        (2, [1.0], {}, "there are 1 shares for 2 sets"),
        (0, [], {}, "there are 0 shares for 0 sets"),
        (2, [1.5, -0.5], {}, "the share of set 0 is 1.5; it has to be above 0, and 1 at most"),
        (2, [1.0, 0.0], {}, "the share of set 1 is 0.0"),
        (2, [0.5, "half"], {}, "the share of set 1 is 'half'"),
        (2, [0.5, 0.5], {"batch_size": None}, "a mixture needs the size of its batches"),
        (2, [0.5, 0.5], {"batch_size": 0}, "batch_size is 0"),
        (2, [0.5, 0.5], {"n_examples": 0}, "n_examples is 0"),
        (2, [0.99, 0.01], {"n_examples": 10}, "set 1 of the mixture has the share 0.01, which is no example"),
    ],
)
def test_a_mixture_that_makes_no_sense_is_refused(sets: int, shares: Any, options: Any, message: str) -> None:
    generators = [MatrixBatchGenerator(np.arange(5)) for _ in range(sets)]
    with pytest.raises(DataError, match=message):
        MixedBatchGenerator(generators, shares, **{"batch_size": 4, **options})


def test_sets_that_are_not_alike_are_refused(tmp_path: Path) -> None:
    one = MatrixBatchGenerator(np.zeros((5, 3)), np.zeros(5))
    for other, message in (
        (
            MatrixBatchGenerator(np.zeros((5, 4)), np.zeros(5)),
            r"float64 \(3,\), float64 \(\) and float64 \(4,\)",
        ),
        (MatrixBatchGenerator(np.zeros((5, 3), np.int64), np.zeros(5)), "and int64"),
        (MatrixBatchGenerator(torch.zeros(5, 3), np.zeros(5)), "and torch.float32"),
    ):
        with pytest.raises(DataError, match=message):
            list(MixedBatchGenerator([one, other], [0.5, 0.5], batch_size=4))
    with pytest.raises(DataError, match="set 1 of the mixture has no labels, and others have"):
        MixedBatchGenerator([one, MatrixBatchGenerator(np.zeros((5, 3)))], [0.5, 0.5], batch_size=4)
    loader: Any = [(np.zeros((2, 3)), np.zeros(2))]
    with pytest.raises(DataError, match="set 1 of the mixture is a list; only generators of Helixband"):
        MixedBatchGenerator([one, loader], [0.5, 0.5], batch_size=4)
    (tmp_path / "a.fa").write_text(">a\nACGTACGT\n")
    windows = FastaBatchGenerator(tmp_path / "a.fa", window=3, random_offsets=True, shuffle=True)
    with pytest.raises(DataError, match="set 0 of the mixture has random_offsets"):
        MixedBatchGenerator([windows], [1.0], batch_size=4)
