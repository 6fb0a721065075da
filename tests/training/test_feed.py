"""From what a generator yields to tensors, and from results back to NumPy."""

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from batch_generator import MatrixBatchGenerator
from helixband.errors import DataError
from helixband.generators import memory
from helixband.generators.arrays import to_numpy
from helixband.training import feed, meters
from helixband.training.feed import (
    as_stored,
    as_tensor,
    for_training,
    labelled,
    no_batch,
    pieces,
    to_device,
    unlabelled,
)
from helixband.training.meters import Outputs

CPU = torch.device("cpu")


def read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


# To tensors.


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([1.5, -2.0]), torch.float32),
        (np.array([1.5, -2.0], np.float32), torch.float32),
        (np.array([1.5, -2.0], np.float16), torch.float32),
        (np.array([1.5, -2.0], ">f4"), torch.float32),
        (np.array([1.5, -2.0], ">f8"), torch.float32),
        (np.array([0, 255], np.uint8), torch.uint8),
        (np.array([0, 65535], np.uint16), torch.int64),
        (np.array([0, 4294967295], np.uint32), torch.int64),
        (np.array([0, 258], ">u2"), torch.int64),
        (np.array([0, 258], ">i4"), torch.int32),
        (np.array([-1, 7], np.int64), torch.int64),
        (np.array([True, False]), torch.bool),
        (read_only(np.array([1.5, -2.0], np.float32)), torch.float32),
        (read_only(np.array([0, 255], np.uint8)), torch.uint8),
        (np.arange(6, dtype=np.float32)[::-1], torch.float32),
        (np.arange(12, dtype=np.int64).reshape(3, 4)[::-1, ::-2], torch.int64),
        (np.arange(12, dtype=np.float32).reshape(3, 4).T, torch.float32),
        (np.zeros((0, 4)), torch.float32),
        (np.float64(0.5), torch.float32),
    ],
    ids=lambda value: f"{value.dtype}{value.strides}" if isinstance(value, np.ndarray) else str(value),
)
def test_arrays_of_any_type_and_layout_become_tensors_that_networks_take(
    array: Any, dtype: torch.dtype
) -> None:
    tensor = as_tensor(array)
    assert tensor.dtype == dtype
    assert tensor.tolist() == array.tolist()
    (tensor + 1).sum()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float32])
def test_tensors_of_floating_values_take_the_default_type(dtype: torch.dtype) -> None:
    assert as_tensor(torch.ones(2, dtype=dtype)).dtype == torch.float32


def test_the_default_type_of_torch_decides() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert as_tensor(np.ones(2, np.float32)).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_arrays_that_need_no_change_are_not_copied() -> None:
    for array in (np.zeros(3, np.float32), np.zeros(3, np.uint8)):
        as_tensor(array)[0] = 1
        assert array[0] == 1


def test_structures_go_to_the_device_and_back() -> None:
    Pair = namedtuple("Pair", ["a", "b"])
    nested = {"x": Pair(np.array([1.5]), torch.tensor([2])), "y": [np.array([3], np.uint8)]}
    moved = to_device(nested, CPU)
    assert isinstance(moved["x"], Pair)
    assert [leaf.device for leaf in (*moved["x"], *moved["y"])] == [CPU] * 3
    back = to_numpy(moved)
    assert isinstance(back["x"].a, np.ndarray)
    assert {"x": back["x"].b.tolist(), "y": back["y"][0].tolist()} == {"x": [2], "y": [3]}


def test_tensors_that_numpy_cannot_share_come_back_too() -> None:
    assert to_numpy(torch.tensor([1.5, 2.0], dtype=torch.bfloat16)).tolist() == [1.5, 2.0]
    assert to_numpy(torch.tensor([1.5], requires_grad=True)).tolist() == [1.5]


# Batches of a generator.


def test_labelled_batches_are_pairs_of_any_generator() -> None:
    X, Y = torch.arange(5.0), torch.arange(5)
    expected = [([0.0, 1.0], [0, 1]), ([2.0, 3.0], [2, 3]), ([4.0], [4])]
    for generator in (
        MatrixBatchGenerator(X, Y, batch_size=2),
        DataLoader(TensorDataset(X, Y), batch_size=2),
        [(X[:2], Y[:2]), [X[2:4], Y[2:4]], (X[4:], Y[4:])],
    ):
        assert [(x.tolist(), y.tolist()) for x, y in labelled(generator)] == expected
        assert len(list(labelled(generator, limit=2))) == 2


class ByNumber:
    """Batches by number, which says how many there are and gives others for any number, as Keras has them."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Any:
        if number == 5:
            raise IndexError
        return torch.full((1,), number), torch.full((1,), -number)


def test_batches_by_number_end_at_their_length_or_an_index_error() -> None:
    for length, expected in ((3, [0, 1, 2]), (9, [0, 1, 2, 3, 4])):
        assert [(int(x), int(y)) for x, y in labelled(ByNumber(length))] == [(n, -n) for n in expected]
        assert [int(x) for x, _ in unlabelled(ByNumber(length))] == expected


class Endless:
    """A generator that says what it was asked for."""

    def __init__(self) -> None:
        self.made = 0

    def __iter__(self) -> Any:
        while True:
            self.made += 1
            yield torch.zeros(1), torch.zeros(1)


def test_no_more_batches_are_asked_for_than_are_wanted() -> None:
    generator = Endless()
    assert len(list(labelled(generator, limit=3))) == 3
    assert generator.made == 3


@pytest.mark.parametrize(
    "batch", [np.zeros((2, 4)), torch.zeros(2, 4), (np.zeros(2),), (1, 2, 3), {"x": 1, "y": 2}]
)
def test_a_batch_that_is_no_pair_is_refused_with_its_number(batch: Any) -> None:
    good = (np.zeros(2), np.zeros(2))
    with pytest.raises(DataError, match=f"batch 1 of list is a {type(batch).__name__}, not a pair"):
        list(labelled([good, batch]))


def test_a_generator_without_labels_is_refused_though_its_x_is_a_pair() -> None:
    generator = MatrixBatchGenerator((np.zeros(3), np.zeros(3)))
    with pytest.raises(DataError, match="MatrixBatchGenerator has no labels"):
        list(labelled(generator))


@pytest.mark.parametrize(
    "generator",
    [
        MatrixBatchGenerator(torch.arange(3), batch_size=2),
        MatrixBatchGenerator(torch.arange(3), torch.zeros(3), batch_size=2),
        DataLoader(TensorDataset(torch.arange(3)), batch_size=2),
        [torch.tensor([0, 1]), torch.tensor([2])],
    ],
    ids=["unlabelled", "labelled", "DataLoader", "list"],
)
def test_x_alone_is_taken_for_prediction(generator: Any) -> None:
    assert [x.tolist() for x in unlabelled(generator)] == [[0, 1], [2]]
    assert [x.tolist() for x in unlabelled(generator, limit=1)] == [[0, 1]]


def test_an_x_of_several_parts_stays_as_it_is() -> None:
    x = (torch.zeros(2), torch.ones(2))
    assert list(unlabelled([x, {"a": x[0]}])) == [x, {"a": x[0]}]


# Pieces.


@settings(deadline=None)
@given(
    rows=st.integers(1, 60),
    training_rows=st.integers(1, 70),
    limit=st.integers(1, 300),
    width=st.integers(0, 5),
)
def test_the_pieces_of_a_batch_are_the_batch_and_each_is_bounded(
    rows: int, training_rows: int, limit: int, width: int
) -> None:
    x = {"a": np.arange(rows * width).reshape(rows, width), "b": torch.arange(rows, dtype=torch.uint8)}
    y = torch.arange(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed, "EVALUATION_BYTES", {"cpu": limit})
        cut = list(pieces((x, y), training_rows, CPU))
    assert np.concatenate([part["a"] for part, _ in cut]).tolist() == x["a"].tolist()
    assert torch.cat([part["b"] for part, _ in cut]).equal(x["b"])
    assert torch.cat([part for _, part in cut]).equal(y)
    row_bytes = 8 * width + 1
    assert all(len(part) <= max(training_rows, limit // row_bytes) for _, part in cut)


def test_a_batch_of_few_rows_or_few_bytes_is_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "EVALUATION_BYTES", {"cpu": 80})
    x = np.zeros(20)
    assert [len(part) for (part,) in pieces((x,), training_rows=20, device=CPU)] == [20]
    assert [len(part) for (part,) in pieces((x[:10],), training_rows=2, device=CPU)] == [10]
    assert [len(part) for (part,) in pieces((x,), training_rows=2, device=CPU)] == [10, 10]
    assert [len(part) for (part,) in pieces((x,), training_rows=15, device=CPU)] == [15, 5]
    assert [len(part) for (part,) in pieces((x[:0],), training_rows=2, device=CPU)] == [0]


# Results.


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    limit=st.sampled_from([0, 50, 1 << 20]),
    kind=st.sampled_from([torch.tensor, np.array]),
)
def test_results_are_joined_the_same_however_often_they_moved_to_the_host(
    sizes: list[int], limit: int, kind: Any
) -> None:
    numbers = iter(range(1000))
    given = [[next(numbers) for _ in range(size)] for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meters, "WAITING_BYTES", limit)
        results = Outputs()
        assert results.empty
        for part in given:
            results.add({"y_pred": kind(part), "twice": kind([[2 * number] for number in part])})
            assert not results.empty
    joined = results.joined()
    assert isinstance(joined["y_pred"], np.ndarray)
    assert joined["y_pred"].tolist() == list(range(sum(sizes)))
    assert joined["twice"].tolist() == [[2 * number] for number in range(sum(sizes))]


def test_results_that_wait_on_the_device_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "WAITING_BYTES", 100)
    waiting = []
    results = Outputs()
    for _ in range(10):
        results.add(torch.zeros(8))  # 32 bytes
        waiting.append(len(results._waiting))
    assert waiting == [1, 2, 3, 0, 1, 2, 3, 0, 1, 2]
    assert results.joined().shape == (80,)


@pytest.mark.parametrize("kind", [torch.zeros, np.zeros])
def test_what_is_joined_is_a_copy(kind: Any) -> None:
    data = kind(3)
    results = Outputs()
    results.add(data)
    results.joined()[:] = 7
    assert data.tolist() == [0, 0, 0]


def test_small_integers_count_as_the_floats_that_a_network_makes_of_them() -> None:
    x = np.zeros((4, 1 << 15), dtype=np.uint8)  # an eighth of a mebibyte a row as float32
    assert [len(piece) for (piece,) in pieces((x,), training_rows=1, device=CPU)] == [2, 2]


# Many batches at once, for training.


def trained_on(generator: Any, limit: int | None = None) -> list[tuple[Any, Any, Any]]:
    batches = for_training(generator, limit, None, None, keeps=True)
    return [to_numpy((batch.x, batch.y, batch.kept)) for batch in batches]


@pytest.mark.parametrize(("n", "batch_size", "drop_last"), [(10, 4, False), (10, 4, True), (8, 4, False)])
def test_training_sees_the_batches_that_an_iteration_gives(n: int, batch_size: int, drop_last: bool) -> None:
    generator = MatrixBatchGenerator(
        np.arange(n), np.arange(n) / 3, batch_size, shuffle=True, drop_last=drop_last
    )
    for epoch in range(2):  # the second is not set: each reading goes on to the next epoch
        if not epoch:
            generator.set_epoch(5, 0)
        seen = trained_on(generator)
        given = list(generator.batches(5, epoch))
        assert len(seen) == len(given) == len(generator)
        for (x, y, kept), (x_given, y_given) in zip(seen, given, strict=True):
            assert x.tolist() == x_given.tolist()
            assert y.dtype == np.float32 and y.tolist() == y_given.astype(np.float32).tolist()
            assert kept.dtype == np.float64 and kept.tolist() == y_given.tolist()


def test_lots_of_several_gathers_follow_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "GATHER_BYTES", 64)
    generator = MatrixBatchGenerator(np.arange(50.0), np.arange(50), 4, shuffle=True)
    generator.set_epoch(1, 0)
    seen = trained_on(generator, limit=7)
    assert [x.tolist() for x, _, _ in seen] == [x.tolist() for x, _ in list(generator.batches(1, 0))[:7]]


def test_lots_of_dicts_are_cut_part_by_part() -> None:
    generator = MatrixBatchGenerator({"a": np.arange(5), "b": -np.arange(5)}, np.arange(5), 2, shuffle=True)
    generator.set_epoch(1, 0)
    for x, y, kept in trained_on(generator):
        assert x["a"].tolist() == (-x["b"]).tolist() == y.tolist() == kept.tolist()


def test_what_a_network_does_to_its_labels_does_not_reach_those_that_are_kept() -> None:
    generator = MatrixBatchGenerator(np.arange(4.0), np.arange(4, dtype=np.float32), 2, shuffle=True)
    for batch in for_training(generator, None, None, None, keeps=True):
        to_device(batch.y, CPU).zero_()
    generator.set_epoch(0, 0)
    assert sorted(np.concatenate([kept for _, _, kept in trained_on(generator)]).tolist()) == [0, 1, 2, 3]


class Doubled(MatrixBatchGenerator):
    def batches(self, seed: int, epoch: int, start: int = 0) -> Any:
        for x, y in super().batches(seed, epoch, start):
            yield 2 * x, y


def test_a_class_that_iterates_in_a_way_of_its_own_is_read_so() -> None:
    (batch,) = trained_on(Doubled(np.arange(3), np.arange(3), shuffle=True))
    assert batch[0].tolist() == (2 * batch[1]).tolist()


# No batch.


def test_a_set_without_a_batch_is_told_with_the_reason_if_it_is_known() -> None:
    part = MatrixBatchGenerator(np.arange(9), np.arange(9), 4, drop_last=True)
    assert "a set needs one example at least" in str(no_batch(part))
    part.n_examples = 3  # as of a part of a split
    assert str(no_batch(part)).startswith(
        "MatrixBatchGenerator gave no batch; drop_last=True leaves out a last batch of fewer than batch_size "
        "examples; batch_size is 4, and there are 3 examples: give a batch_size (--batch-size) up to that"
    )
    assert "a set needs one example at least" in str(no_batch([]))


# Each example once.

OF_TEN: Dataset[Any] = TensorDataset(torch.arange(10))


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"shuffle": True}, range(10)),
        ({"drop_last": True}, range(10)),
        ({"shuffle": True, "drop_last": True}, range(10)),
        ({"sampler": RandomSampler(range(10), replacement=True, num_samples=30)}, range(10)),
        ({"sampler": SubsetRandomSampler([7, 3, 5])}, [7, 3, 5]),
        ({"sampler": WeightedRandomSampler([0.0, 1, 0, 9, 9, 0, 0, 0, 0, 0], 40)}, [1, 3, 4]),
    ],
    ids=["shuffle", "drop_last", "both", "replacement", "subset", "weights"],
)
def test_a_loader_as_stored_has_each_example_that_it_can_draw_once(options: Any, numbers: Any) -> None:
    collated: list[int] = []

    def collate(rows: Any) -> Any:
        collated.append(len(rows))
        return torch.stack([x for (x,) in rows])

    stored = as_stored(DataLoader(OF_TEN, 4, collate_fn=collate, **options))
    for _ in range(2):
        assert [int(x) for batch in stored for x in batch] == list(numbers)
    assert max(collated) == min(4, len(numbers))


def test_a_loader_in_batches_of_a_sampler_as_stored_is_whole() -> None:
    batches = BatchSampler(RandomSampler(range(10)), 4, drop_last=True)
    stored = as_stored(DataLoader(OF_TEN, batch_sampler=batches))
    assert [x.tolist() for (x,) in stored] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_loader_of_examples_alone_as_stored_is_in_order() -> None:
    stored = as_stored(DataLoader(OF_TEN, None, shuffle=True))
    assert [int(x) for (x,) in stored] == list(range(10))


def test_a_loader_that_is_whole_or_draws_by_a_rule_of_its_own_stays_as_it_is() -> None:
    class Own(SequentialSampler):
        pass

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(range(10))

    loaders: list[Any] = [
        DataLoader(OF_TEN, 4),
        DataLoader(OF_TEN, 4, sampler=Own(range(10))),
        DataLoader(Stream(), 4, drop_last=True),
    ]
    for loader in loaders:
        assert as_stored(loader) is loader


def test_a_set_with_no_more_than_the_name_of_ours_stays_as_it_is() -> None:
    class Own(MatrixBatchGenerator):
        def __init__(self) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            return getattr(self.data, name)

    assert as_stored(own := Own()) is own


def test_a_derived_set_that_looks_up_what_it_lacks_is_read_whole() -> None:
    class Own(MatrixBatchGenerator):
        def __getattr__(self, name: str) -> Any:
            return getattr(self.data, name)

    stored = as_stored(Own(np.arange(5.0), np.arange(5.0), 2, shuffle=True, drop_last=True))
    assert [x.tolist() for x, _ in stored] == [[0, 1], [2, 3], [4]]
