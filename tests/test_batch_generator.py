"""Batches of data in memory: their order, their kind, the split, and what is refused."""

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_generator import MatrixBatchGenerator
from helixband.errors import DataError
from helixband.randomness import get_state

NAN, INFINITY = float("nan"), float("inf")


def numbers(batches: Any) -> list[list[int]]:
    """The x of each batch as a list."""
    return [batch.tolist() for batch in batches]


def shuffled(n: int, seed: int, epoch: int) -> list[list[int]]:
    generator = MatrixBatchGenerator(np.arange(n), batch_size=3, shuffle=True)
    generator.set_epoch(seed, epoch)
    return numbers(generator)


# Batches.


def test_examples_come_in_batches_and_the_last_may_be_short() -> None:
    generator = MatrixBatchGenerator(np.arange(5), np.arange(5) * 10, batch_size=2)
    assert [(x.tolist(), y.tolist()) for x, y in generator] == [
        ([0, 1], [0, 10]),
        ([2, 3], [20, 30]),
        ([4], [40]),
    ]
    assert len(generator) == 3


@pytest.mark.parametrize("batch_size", [None, 5, 6, np.int64(100)])
def test_a_batch_size_of_none_or_of_the_set_and_more_gives_the_set_in_one_batch(batch_size: Any) -> None:
    generator = MatrixBatchGenerator(np.arange(5), batch_size=batch_size)
    assert numbers(generator) == [[0, 1, 2, 3, 4]]
    assert len(generator) == 1


def test_without_labels_x_comes_alone() -> None:
    generator = MatrixBatchGenerator(np.arange(3), batch_size=2)
    assert numbers(generator) == [[0, 1], [2]]
    assert not generator.labelled
    assert generator.get_Y() is None


def test_the_stored_order_is_the_same_each_time() -> None:
    generator = MatrixBatchGenerator(np.arange(7), batch_size=3)
    assert numbers(generator) == numbers(generator) == [[0, 1, 2], [3, 4, 5], [6]]


def test_the_shape_of_an_example_and_the_labels_can_be_asked_for() -> None:
    generator = MatrixBatchGenerator(np.zeros((6, 4, 20)), np.arange(6))
    assert generator.get_X_shape() == (4, 20)
    assert generator.get_Y().tolist() == [0, 1, 2, 3, 4, 5]
    parts = MatrixBatchGenerator({"dna": np.zeros((6, 20)), "dose": np.zeros(6)})
    assert parts.get_X_shape() == {"dna": (20,), "dose": ()}


# Kinds.


def test_arrays_come_out_as_arrays_of_their_own_type() -> None:
    ((x, y),) = MatrixBatchGenerator(np.zeros((3, 2), np.uint8), np.zeros(3, np.float16))
    assert isinstance(x, np.ndarray) and x.dtype == np.uint8
    assert isinstance(y, np.ndarray) and y.dtype == np.float16


@pytest.mark.parametrize("shuffle", [False, True])
def test_tensors_come_out_as_tensors_of_their_own_type(shuffle: bool) -> None:
    X = torch.arange(4, dtype=torch.bfloat16)
    ((x, y),) = MatrixBatchGenerator(X, torch.arange(4, dtype=torch.uint8), shuffle=shuffle)
    assert x.dtype == torch.bfloat16 and y.dtype == torch.uint8
    assert sorted(x.tolist()) == [0, 1, 2, 3]
    assert x.tolist() == y.tolist()


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_parts_of_dicts_and_tuples_stay_together(shuffle: bool) -> None:
    X = {"a": np.arange(5), "b": torch.arange(5) * 10}
    Y = (np.arange(5) * 100, np.arange(5) * 1000)
    for x, y in MatrixBatchGenerator(X, Y, batch_size=2, shuffle=shuffle):
        assert list(x) == ["a", "b"] and isinstance(y, tuple)
        a = x["a"]
        assert isinstance(x["b"], torch.Tensor) and x["b"].tolist() == (a * 10).tolist()
        assert y[0].tolist() == (a * 100).tolist() and y[1].tolist() == (a * 1000).tolist()


def test_a_named_tuple_stays_one() -> None:
    Pair = namedtuple("Pair", ["left", "right"])
    (x,) = MatrixBatchGenerator(Pair(np.arange(2), np.arange(2, 4)))
    assert isinstance(x, Pair) and x.right.tolist() == [2, 3]


def test_a_list_of_numbers_is_made_an_array() -> None:
    ((x, y),) = MatrixBatchGenerator([[1, 2], [3, 4]], [0.5, 1.5])
    assert x.tolist() == [[1, 2], [3, 4]] and y.tolist() == [0.5, 1.5]


def test_a_table_whose_brackets_choose_columns_is_made_an_array_first() -> None:
    class Table:
        shape = (3, 2)

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.arange(6).reshape(self.shape)

        def __getitem__(self, column: Any) -> Any:
            raise KeyError(column)

    assert numbers(MatrixBatchGenerator(Table(), batch_size=2)) == [[[0, 1], [2, 3]], [[4, 5]]]


# Shuffling.


def test_each_epoch_has_an_order_of_its_own() -> None:
    generator = MatrixBatchGenerator(np.arange(20), shuffle=True)
    epochs = [numbers(generator)[0] for _ in range(4)]
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    assert shuffled(20, seed=1, epoch=2) == shuffled(20, seed=1, epoch=2)
    assert shuffled(20, seed=1, epoch=2) != shuffled(20, seed=1, epoch=3)
    assert shuffled(20, seed=1, epoch=2) != shuffled(20, seed=2, epoch=2)
    assert shuffled(20, seed=1, epoch=2) != shuffled(20, seed=2, epoch=1)


def test_epochs_counted_by_the_generator_are_those_that_can_be_set() -> None:
    generator = MatrixBatchGenerator(np.arange(20), batch_size=3, shuffle=True)
    generator.set_epoch(9, 0)
    assert [numbers(generator) for _ in range(3)] == [shuffled(20, 9, epoch) for epoch in range(3)]


def test_an_epoch_that_was_left_half_way_does_not_move_the_next() -> None:
    generator = MatrixBatchGenerator(np.arange(20), batch_size=3, shuffle=True)
    generator.set_epoch(9, 0)
    next(iter(generator))
    assert numbers(generator) == shuffled(20, 9, 1)


def test_shuffling_takes_nothing_from_the_global_random_numbers() -> None:
    before = get_state()
    numbers(MatrixBatchGenerator(np.arange(20), shuffle=True))
    MatrixBatchGenerator.get_train_val_generator(np.arange(20), np.arange(20), 0.5)
    after = get_state()
    assert torch.equal(before["python"][1], after["python"][1])
    assert before["numpy"][1].equal(after["numpy"][1]) and before["numpy"][2:] == after["numpy"][2:]
    assert before["torch"].equal(after["torch"])


@settings(deadline=None)
@given(
    n=st.integers(1, 40),
    batch_size=st.none() | st.integers(1, 50),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 100),
)
def test_a_shuffled_epoch_has_every_example_once_with_its_label(
    n: int, batch_size: int | None, seed: int, epoch: int
) -> None:
    generator = MatrixBatchGenerator(np.arange(n), np.arange(n) * 10, batch_size, shuffle=True)
    generator.set_epoch(seed, epoch)
    batches = list(generator)
    assert len(batches) == len(generator)
    assert all(len(x) == (batch_size or n) for x, _ in batches[:-1])
    x, y = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert sorted(x.tolist()) == list(range(n))
    assert (y == x * 10).all()


# The split.


def test_val_ratio_is_the_share_of_the_validation_part() -> None:
    train, val = MatrixBatchGenerator.get_train_val_generator(np.arange(10), np.arange(10) * 10, 0.2)
    assert (train.n_examples, val.n_examples) == (8, 2)


def test_the_training_part_is_shuffled_in_batches_and_the_validation_part_whole_in_order() -> None:
    train, val = MatrixBatchGenerator.get_train_val_generator(np.arange(20), np.arange(20), 0.5, batch_size=3)
    assert [len(x) for x, _ in train] == [3, 3, 3, 1]
    assert train.shuffle and not val.shuffle
    ((x, _),) = val
    assert x.tolist() == sorted(x.tolist())


@settings(deadline=None)
@given(n=st.integers(2, 60), val_ratio=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
def test_a_split_puts_every_example_in_one_part(n: int, val_ratio: float, seed: int) -> None:
    def split() -> list[tuple[list[int], list[int]]]:
        parts = MatrixBatchGenerator.get_train_val_generator(
            {"x": np.arange(n)}, np.arange(n) * 10, val_ratio, seed=seed
        )
        return [(part.X["x"].tolist(), part.get_Y().tolist()) for part in parts]

    if not 0 < round(n * val_ratio) < n:
        with pytest.raises(DataError, match="leaves a part empty"):
            split()
        return
    (train, train_y), (val, val_y) = split()
    assert sorted(train + val) == list(range(n))
    assert len(val) == round(n * val_ratio)
    assert [x * 10 for x in train + val] == train_y + val_y
    assert split() == split()


def test_another_seed_splits_otherwise() -> None:
    first, second = (
        MatrixBatchGenerator.get_train_val_generator(np.arange(50), np.arange(50), 0.5, seed=seed)[1]
        for seed in (0, 1)
    )
    assert first.X.tolist() != second.X.tolist()


@pytest.mark.parametrize("val_ratio", [0, 1, -0.1, 1.5, NAN, 0.01, 0.99, "0.2"])
def test_a_ratio_that_leaves_a_part_empty_is_refused(val_ratio: float) -> None:
    with pytest.raises(DataError, match=f"val_ratio {val_ratio!r} of 10 examples leaves a part empty"):
        MatrixBatchGenerator.get_train_val_generator(np.arange(10), np.arange(10), val_ratio)


@pytest.mark.parametrize("labels", [8, 12])
def test_a_split_refuses_x_and_y_of_different_lengths(labels: int) -> None:
    with pytest.raises(DataError, match=rf"X \(10,\) and Y \({labels},\)"):
        MatrixBatchGenerator.get_train_val_generator(np.arange(10), np.arange(labels), 0.5)


def test_a_split_names_a_nan_by_its_index_before_the_split() -> None:
    X = np.zeros(100)
    X[97] = NAN
    with pytest.raises(DataError, match=r"X\[97\] is nan"):
        MatrixBatchGenerator.get_train_val_generator(X, np.zeros(100), 0.5)
    train, val = MatrixBatchGenerator.get_train_val_generator(X, np.zeros(100), 0.5, allow_nan=True)
    assert np.isnan(train.X).sum() + np.isnan(val.X).sum() == 1


# What is refused.


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        (np.zeros(3), np.zeros(4), r"same number of examples .* X \(3,\) and Y \(4,\)"),
        ((np.zeros(3), np.zeros((2, 5))), None, r"same number of examples .* X \(\(3,\), \(2, 5\)\)"),
        ({}, None, "same number of examples"),
        (np.zeros((0, 4)), np.zeros(0), "the set is empty"),
        (np.array([[0, 1], [NAN, 0]]), None, r"X\[1, 0\] is nan \(indexes from 0\)"),
        (np.zeros(3), np.array([0, 1, -INFINITY]), r"Y\[2\] is -inf"),
        (torch.tensor([1.0, INFINITY]), None, r"X\[1\] is inf"),
        (torch.tensor([1.0, NAN], dtype=torch.bfloat16), None, r"X\[1\] is nan"),
        ({"dose": np.array([NAN])}, None, r"X\['dose'\]\[0\] is nan"),
        (np.zeros(1), (np.zeros(1), np.array([NAN])), r"Y\[1\]\[0\] is nan"),
        (np.array(["ACGT"]), None, "X has the type <U4"),
        (np.array([None, 1]), None, "X has the type object"),
        (np.array([1j]), None, "X has the type complex128"),
        (np.zeros(3, [("a", "f4")]), None, r"X has the type \[\('a', '<f4'\)\]"),
        (np.zeros(3, np.longdouble), None, "X: no tensor has the type .*; make it float64"),
        (np.zeros(1), np.array([1 << 63], np.uint64), "Y: 9223372036854775808 is past int64"),
        (np.ma.masked_less([1.0, -1.0], 0), None, "X: a masked array with 1 values masked; remove these"),
        (torch.eye(2).to_sparse(), None, "X is a tensor that makes no NumPy array .* make it dense"),
        (3.0, None, r"X has the type float64 and shape \(\)"),
        (None, None, r"X has the type object and shape \(\)"),
        ([[1, 2], [3]], None, "X cannot be made an array .* in a tuple or a dict"),
    ],
)
def test_data_that_are_no_examples_are_refused(X: Any, Y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        MatrixBatchGenerator(X, Y)


def test_a_nan_far_into_a_large_set_is_found_by_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_generator.BLOCK_BYTES", 64)  # the set is looked through piece by piece
    X = np.zeros((1000, 3))
    X[701, 2] = INFINITY
    with pytest.raises(DataError, match=r"X\[701, 2\] is inf"):
        MatrixBatchGenerator(X)


def test_nan_passes_where_it_is_allowed() -> None:
    ((x, y),) = MatrixBatchGenerator(np.array([NAN, INFINITY]), np.array([NAN, 0]), allow_nan=True)
    assert np.isnan(x[0]) and np.isinf(x[1]) and np.isnan(y[0])
    with pytest.raises(DataError, match=r"Y\[1\] is inf .*; remove or impute such values$"):
        MatrixBatchGenerator(np.zeros(2), np.array([NAN, INFINITY]), allow_nan=True)


def test_a_number_that_is_infinite_in_single_precision_is_refused() -> None:
    past = r"\[1\] is 1e\+39, past 3.4e\+38 and so infinite in single precision \(indexes from 0\)"
    with pytest.raises(DataError, match="^X" + past):
        MatrixBatchGenerator(np.array([0, 1e39]))
    with pytest.raises(DataError, match="^Y" + past):
        MatrixBatchGenerator(np.zeros(2), np.array([NAN, 1e39]), allow_nan=True)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, 3.0, "3"])
def test_a_batch_size_that_is_no_count_is_refused(batch_size: Any) -> None:
    with pytest.raises(DataError, match=f"batch_size is {batch_size!r}"):
        MatrixBatchGenerator(np.arange(5), batch_size=batch_size)


# A last batch that is not full.


@pytest.mark.parametrize("shuffle", [False, True])
def test_drop_last_leaves_out_a_last_batch_that_is_not_full(shuffle: bool) -> None:
    generator = MatrixBatchGenerator(np.arange(7), batch_size=3, shuffle=shuffle, drop_last=True)
    assert [len(batch) for batch in generator] == [3, 3]
    assert len(generator) == 2


def test_drop_last_leaves_full_batches_as_they_are() -> None:
    generator = MatrixBatchGenerator(np.arange(6), batch_size=3, drop_last=True)
    assert numbers(generator) == [[0, 1, 2], [3, 4, 5]]
    assert len(generator) == 2


def test_drop_last_of_a_split_is_for_the_training_part() -> None:
    x = np.arange(9)
    train, val = MatrixBatchGenerator.get_train_val_generator(x, x, 0.2, batch_size=3, drop_last=True)
    assert [len(x) for x, _ in train] == [3, 3]
    assert [len(x) for x, _ in val] == [2]


@pytest.mark.parametrize("batch_size", [None, 4])
def test_drop_last_that_would_leave_nothing_or_means_nothing_is_refused(batch_size: int | None) -> None:
    told = rf"drop_last=True leaves out .* batch_size is {batch_size}, and there are 3 examples"
    with pytest.raises(DataError, match=told):
        MatrixBatchGenerator(np.arange(3), batch_size=batch_size, drop_last=True)


def test_a_generator_of_data_alone_says_so_unless_it_holds_more() -> None:
    class Drawn(MatrixBatchGenerator):
        pass

    plain = MatrixBatchGenerator(np.zeros(3), np.zeros(3), 2, shuffle=True)
    assert plain.is_data_alone() and not Drawn(np.zeros(3)).is_data_alone()
    plain.rng = np.random.default_rng(0)  # type: ignore[attr-defined]
    assert not plain.is_data_alone()
