"""Batches of HDF5 files, read into memory or streamed, and the files that are refused."""

import re
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_generator import POOL_BLOCKS, H5pyBatchGenerator
from helixband.errors import DataError
from helixband.generators.memory import Joining

STREAMED = {"memory_limit": 0}
NAN = float("nan")


def write(path: Path, data: Any, label: Any = None, **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=data, **options)
        if label is not None:
            file.create_dataset("label", data=label)
    return path


def write_files(folder: Path, sizes: list[int]) -> str:
    """Files of so many examples, numbered through, with ten times the number as label; their glob."""
    start = 0
    for index, size in enumerate(sizes):
        numbers = np.arange(start, start + size)
        write(folder / f"batch{index}.h5", numbers.reshape(-1, 1), numbers * 10)
        start += size
    return str(folder / "batch*.h5")


def examples(generator: H5pyBatchGenerator) -> list[int]:
    """The numbers of all examples in the order in which they come; each has its own label."""
    numbers = []
    for x, y in generator:
        assert (x[:, 0] * 10 == y).all()
        numbers += x[:, 0].tolist()
    return numbers


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streaming reads blocks of four of the numbered examples, label included."""
    monkeypatch.setattr("batch_generator.BLOCK_BYTES", 64)


# Order.


def test_files_follow_one_another_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write(tmp_path / f"train.batch{number}.h5", np.full((2, 1), number), np.full(2, number * 10))
    assert examples(H5pyBatchGenerator(f"{tmp_path}/train.batch*.h5")) == [1, 1, 2, 2, 10, 10]


def test_names_that_differ_in_leading_zeros_alone_have_an_order_still(tmp_path: Path) -> None:
    for number, name in enumerate(("b001", "b01", "b1")):
        write(tmp_path / f"{name}.h5", [[number]], [number * 10])
    assert examples(H5pyBatchGenerator(f"{tmp_path}/*.h5")) == [0, 1, 2]


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4), batch_size=st.integers(1, 50))
def test_streaming_gives_the_batches_that_memory_gives(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], batch_size: int
) -> None:
    pattern = write_files(tmp_path_factory.mktemp("files"), [*sizes, 1])
    in_memory = H5pyBatchGenerator(pattern, batch_size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batch_generator.BLOCK_BYTES", 64)
        streamed = H5pyBatchGenerator(pattern, batch_size, **STREAMED)
        expected = [(x.tolist(), y.tolist()) for x, y in in_memory]
        assert [(x.tolist(), y.tolist()) for x, y in streamed] == expected
        assert len(streamed) == len(in_memory) == len(expected)
        assert streamed.get_Y().tolist() == in_memory.get_Y().tolist()
    assert [number for x, _ in expected for (number,) in x] == list(range(sum(sizes) + 1))


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=4), batch_size=st.integers(1, 100))
def test_a_streamed_shuffle_has_every_example_once_in_full_batches(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], batch_size: int
) -> None:
    pattern = write_files(tmp_path_factory.mktemp("files"), [*sizes, 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batch_generator.BLOCK_BYTES", 64)
        generator = H5pyBatchGenerator(pattern, batch_size, shuffle=True, **STREAMED)
        assert sorted(examples(generator)) == list(range(sum(sizes) + 1))
        lengths = [len(y) for _, y in generator]
    assert len(lengths) == len(generator)
    assert all(length == batch_size for length in lengths[:-1])


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
def test_the_shuffled_order_is_a_function_of_seed_and_epoch(
    tmp_path: Path, small_blocks: None, memory_limit: int
) -> None:
    pattern = write_files(tmp_path, [100, 100])

    def order(seed: int, epoch: int) -> list[int]:
        generator = H5pyBatchGenerator(pattern, 7, shuffle=True, memory_limit=memory_limit)
        generator.set_epoch(seed, epoch)
        return examples(generator)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_a_streamed_shuffle_mixes_the_files(tmp_path: Path, small_blocks: None) -> None:
    rows_of_pool = 4 * POOL_BLOCKS
    pattern = write_files(tmp_path, [2 * rows_of_pool, 2 * rows_of_pool])
    x, _ = next(iter(H5pyBatchGenerator(pattern, rows_of_pool, shuffle=True, **STREAMED)))
    first_file = (x[:, 0] < 2 * rows_of_pool).mean()
    assert 0.25 < first_file < 0.75
    neighbours = (np.diff(x[:, 0]) == 1).mean()
    assert neighbours < 0.2  # of a block, which are read together but not given so


def test_what_fits_the_memory_limit_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", np.zeros((10, 1), np.int32), np.zeros(10, np.int32))  # 80 bytes
    reads = []

    def record(x: Any, y: Any) -> Any:
        reads.append(len(x))
        return x, y

    in_memory = H5pyBatchGenerator(path, process_x_y=record, memory_limit=80)
    list(in_memory)
    list(in_memory)
    assert reads == [10]
    reads.clear()
    streamed = H5pyBatchGenerator(path, process_x_y=record, memory_limit=79)
    assert reads == [1]  # one example, for its shape
    list(streamed)
    list(streamed)
    assert reads == [1, 10, 10]


def test_a_batch_size_of_none_gives_the_set_at_once_and_a_block_at_a_time_where_it_is_streamed(
    tmp_path: Path, small_blocks: None
) -> None:
    pattern = write_files(tmp_path, [10, 3])
    whole = H5pyBatchGenerator(pattern)
    assert [len(y) for _, y in whole] == [13] and len(whole) == 1
    streamed = H5pyBatchGenerator(pattern, **STREAMED)
    assert [len(y) for _, y in streamed] == [4, 4, 2, 3] and len(streamed) == 4
    write_files(tmp_path, [4 * POOL_BLOCKS, 8])
    mixed = H5pyBatchGenerator(pattern, shuffle=True, **STREAMED)
    assert [len(y) for _, y in mixed] == [4 * POOL_BLOCKS, 8] and len(mixed) == 2


# What comes out.


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
def test_files_without_labels_give_x_alone(tmp_path: Path, memory_limit: int) -> None:
    path = write(tmp_path / "x.h5", np.arange(3))
    generator = H5pyBatchGenerator(path, 2, memory_limit=memory_limit)
    assert [x.tolist() for x in generator] == [[0, 1], [2]]
    assert not generator.labelled
    assert generator.get_Y() is None


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
def test_process_x_y_makes_what_comes_out(tmp_path: Path, small_blocks: None, memory_limit: int) -> None:
    pattern = write_files(tmp_path, [5, 6])
    generator = H5pyBatchGenerator(
        pattern,
        4,
        process_x_y=lambda x, y: ({"x": x.repeat(3, axis=1), "half": x[:, 0] / 2}, y > 20),
        memory_limit=memory_limit,
    )
    assert generator.get_X_shape() == {"x": (3,), "half": ()}
    assert generator.get_Y().tolist() == [False] * 3 + [True] * 8
    x, y = next(iter(generator))
    assert x["x"].tolist() == [[0] * 3, [1] * 3, [2] * 3, [3] * 3]
    assert x["half"].tolist() == [0.0, 0.5, 1.0, 1.5]
    assert y.tolist() == [False, False, False, True]


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
@pytest.mark.parametrize("shuffle", [False, True])
def test_process_x_y_may_make_tensors_and_lists(
    tmp_path: Path, small_blocks: None, memory_limit: int, shuffle: bool
) -> None:
    generator = H5pyBatchGenerator(
        write_files(tmp_path, [5, 6]),
        4,
        shuffle,
        process_x_y=lambda x, y: (torch.from_numpy(x), y.tolist()),
        memory_limit=memory_limit,
    )
    for x, y in generator:
        assert isinstance(x, torch.Tensor) and isinstance(y, np.ndarray)
        assert (x[:, 0] * 10).tolist() == y.tolist()


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
def test_process_x_y_may_make_labels_and_drop_them(tmp_path: Path, memory_limit: int) -> None:
    unlabelled = write(tmp_path / "x.h5", np.arange(3))
    made = H5pyBatchGenerator(unlabelled, process_x_y=lambda x, y: (x, x), memory_limit=memory_limit)
    ((x, y),) = made
    assert x.tolist() == y.tolist() == made.get_Y().tolist() == [0, 1, 2]
    labelled = write(tmp_path / "xy.h5", np.arange(3), np.arange(3))
    (x,) = H5pyBatchGenerator(labelled, process_x_y=lambda x, y: (x, None), memory_limit=memory_limit)
    assert x.tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [">f4", ">i8", "<f2", "u1", "?"])
@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
def test_numbers_of_any_type_are_read(tmp_path: Path, dtype: str, memory_limit: int) -> None:
    path = write(tmp_path / "a.h5", np.array([[0, 1], [1, 0]], dtype), np.array([1, 0], dtype))
    ((x, y),) = H5pyBatchGenerator(path, memory_limit=memory_limit)
    assert x.tolist() == [[0, 1], [1, 0]] and y.tolist() == [1, 0]
    assert x.dtype == y.dtype == np.dtype(dtype).newbyteorder("=")  # which torch takes


def test_compressed_files_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", np.arange(100), compression="gzip", chunks=(7,))
    assert [x.tolist() for x in H5pyBatchGenerator(path)] == [list(range(100))]


def test_a_path_with_the_characters_of_a_glob_is_taken_literally(tmp_path: Path) -> None:
    path = write(tmp_path / "cells[1]*.h5", np.arange(2))
    assert H5pyBatchGenerator(str(path)).paths == [str(path)]


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
def test_an_empty_file_among_others_adds_nothing(tmp_path: Path, memory_limit: int) -> None:
    generator = H5pyBatchGenerator(write_files(tmp_path, [0, 3, 0, 2]), 2, memory_limit=memory_limit)
    assert examples(generator) == [0, 1, 2, 3, 4]
    assert generator.get_X_shape() == (1,)


# What is refused.


def refuses(pattern: Path | str, message: str, **options: Any) -> None:
    with pytest.raises(DataError, match=message):
        list(H5pyBatchGenerator(pattern, **options))


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    refuses(f"{tmp_path}/*.h5", re.escape(f"no file matches '{tmp_path}/*.h5'"))


def test_files_that_are_all_empty_are_refused(tmp_path: Path) -> None:
    refuses(write_files(tmp_path, [0, 0]), "the set is empty")


@pytest.mark.parametrize("content", [b"", b"data,label\n1,2\n", bytes(10_000)])
def test_a_file_that_is_not_hdf5_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    refuses(path, f"{path}: cannot be read as HDF5")


def test_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    refuses(tmp_path, f"{tmp_path}: cannot be read as HDF5")


@settings(deadline=None, max_examples=30)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_short_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    path = write(tmp_path_factory.mktemp("cut") / "a.h5", np.arange(5000), np.arange(5000))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refuses(path, str(path))


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_by_name_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("damaged") / "a.h5", np.arange(50), np.arange(50))
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 2500), min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        list(H5pyBatchGenerator(path, 10))
    except DataError as error:
        assert str(path) in str(error) or "the set is empty" in str(error)


def test_a_file_that_was_damaged_after_it_was_opened_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", np.arange(1000))
    generator = H5pyBatchGenerator(path, 10, **STREAMED)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=str(path)):
        list(generator)


def test_a_file_without_data_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["sequences"] = np.arange(3)
    refuses(tmp_path / "a.h5", "no dataset 'data' of examples; the file holds 'sequences'")


@pytest.mark.parametrize("name", ["data", "label"])
@pytest.mark.parametrize("kind", ["group", "scalar"])
def test_data_and_labels_that_are_no_examples_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["label" if name == "data" else "data"] = np.arange(3)
        if kind == "group":
            file.create_group(name)
        else:
            file[name] = 3
    refuses(tmp_path / "a.h5", f"no dataset '{name}' of examples; the file holds 'data', 'label'")


def test_data_and_labels_of_different_lengths_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", np.zeros((3, 4)), np.zeros(2))
    refuses(path, f"{path}: data has 3 examples and label 2")


def test_text_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", np.array([b"ACGT", b"TTTT"]))
    refuses(path, rf"{path}: data has the type \|S4")


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
def test_a_nan_is_named_by_file_dataset_and_index(
    tmp_path: Path, small_blocks: None, memory_limit: int
) -> None:
    data = np.zeros((50, 2))
    data[33, 1] = NAN
    path = write(tmp_path / "a.h5", np.zeros((50, 2)), data)
    refuses(path, rf"{path}: label\[33, 1\] is nan", memory_limit=memory_limit)
    H5pyBatchGenerator(path, memory_limit=memory_limit, allow_nan=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("row", range(1, 38, 5))
def test_a_nan_in_any_row_of_a_shuffled_stream_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any, row: int
) -> None:
    monkeypatch.setattr("batch_generator.BLOCK_BYTES", 16)
    data = np.zeros((38, 2), dtype)
    data[row, 1] = NAN
    generator = H5pyBatchGenerator(write(tmp_path / "a.h5", data), 9, shuffle=True, **STREAMED)
    with pytest.raises(DataError, match=rf"a\.h5: data\[{row}, 1\] is nan"):
        list(generator)


def test_infinity_is_no_label_and_may_be_data(tmp_path: Path) -> None:
    refuses(
        write(tmp_path / "a.h5", np.zeros((1, 2)), np.array([np.inf])), r"label\[0\] is inf", allow_nan=True
    )
    H5pyBatchGenerator(write(tmp_path / "b.h5", np.array([[np.inf]]), np.array([NAN])), allow_nan=True)


def test_a_type_that_torch_has_not_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", np.zeros((2, 2), np.longdouble))
    refuses(path, rf"{path}: data: no tensor has the type .*; make it float64")


# Data that lie in other files.


def write_virtual(folder: Path, rows: int = 6, source: str = "{}.h5", dataset: str = "data") -> Path:
    """v.h5, of whose rows the first three are those of a.h5, and the next three those of b.h5."""
    layout = h5py.VirtualLayout((rows, 2), np.float64)
    for number, name in enumerate("ab"):
        write(folder / f"{name}.h5", np.full((3, 2), number + 1.0))
        layout[3 * number : 3 * number + 3] = h5py.VirtualSource(source.format(name), dataset, (3, 2))
    with h5py.File(folder / "v.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    return folder / "v.h5"


@pytest.mark.parametrize("source", ["{}.h5", "./{}.h5", "/nowhere/{}.h5"])
def test_sources_of_a_virtual_dataset_are_found_where_hdf5_finds_them(tmp_path: Path, source: str) -> None:
    (x,) = H5pyBatchGenerator(write_virtual(tmp_path, source=source))
    assert x[:, 0].tolist() == [1, 1, 1, 2, 2, 2]


def test_a_source_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    path = write_virtual(tmp_path)
    (tmp_path / "b.h5").unlink()
    refuses(path, f"{path}: '/data' takes data from 'b.h5', dataset 'data', a file that is missing")


def test_a_source_of_a_source_is_looked_for_too(tmp_path: Path) -> None:
    write_virtual(tmp_path)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        layout = h5py.VirtualLayout((6, 2), np.float64)
        layout[:] = h5py.VirtualSource("v.h5", "data", (6, 2))
        file.create_virtual_dataset("data", layout)
    H5pyBatchGenerator(tmp_path / "w.h5")
    (tmp_path / "a.h5").unlink()
    refuses(tmp_path / "w.h5", "from 'v.h5', .*, where '/data' takes data from 'a.h5'")


def test_sources_that_have_not_the_values_are_refused(tmp_path: Path) -> None:
    path = write_virtual(tmp_path)
    write(tmp_path / "b.h5", np.zeros((2, 2)))
    refuses(path, r"from 'b.h5', dataset 'data', which has only the shape \(2, 2\)")
    write(tmp_path / "b.h5", np.zeros((2, 2)), np.zeros((3, 2)))
    refuses(write_virtual(tmp_path, dataset="labels"), "from 'a.h5', dataset 'labels', which is not in it")
    refuses(write_virtual(tmp_path, rows=7), "'/data' has sources for 12 of 14 values")
    (tmp_path / "b.h5").write_bytes(b"no HDF5")
    refuses(path, "cannot be read as HDF5")


def test_sources_of_the_same_values_are_counted_once(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", np.arange(5.0))
    layout = h5py.VirtualLayout(shape=(10,), dtype=np.float64)
    for _ in range(2):
        layout[:5] = h5py.VirtualSource(str(tmp_path / "a.h5"), "data", shape=(5,))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    refuses(tmp_path / "v.h5", "'/data' has sources for 5 of 10 values")


@pytest.mark.parametrize(
    ("chunks", "written", "message"),
    [
        (None, 0, "no value of '/label' was ever written"),
        ((2,), 4, "of '/label' 2 of 5 chunks were written"),
        ((4,), 8, "of '/label' 2 of 3 chunks were written"),
    ],
)
def test_values_that_were_never_written_are_refused(
    tmp_path: Path, chunks: tuple[int] | None, written: int, message: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((10, 2))
        label = file.create_dataset("label", (10,), np.float32, chunks=chunks)
        if written:
            label[:written] = 1
    refuses(tmp_path / "a.h5", f"{message}; HDF5 would read zeros there")


def test_values_that_were_never_written_are_what_the_file_says_they_mean(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((4, 2))
        file.create_dataset("label", (4,), np.float32, chunks=(2,), fillvalue=0)[:2] = 1
    (batch,) = H5pyBatchGenerator(tmp_path / "a.h5")
    assert batch[1].tolist() == [1, 1, 0, 0]


def test_part_of_a_source_may_be_taken(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", np.arange(10.0)[:, None])
    layout = h5py.VirtualLayout((3, 1), np.float64)
    layout[:] = h5py.VirtualSource("a.h5", "data", (10, 1))[4:7]
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    (x,) = H5pyBatchGenerator(tmp_path / "v.h5")
    assert x[:, 0].tolist() == [4, 5, 6]
    write(tmp_path / "a.h5", np.arange(6.0)[:, None])
    refuses(tmp_path / "v.h5", r"which has only the shape \(6, 1\)")


def test_a_raw_file_cut_short_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "raw.bin"
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", (3,), np.float64, external=[(str(raw), 0, 24)])[:] = [1, 2, 3]
    (x,) = H5pyBatchGenerator(tmp_path / "a.h5")
    assert x.tolist() == [1, 2, 3]
    raw.write_bytes(raw.read_bytes()[:16])
    refuses(tmp_path / "a.h5", f"'/data' takes data from {raw}, which is cut short")


# Files that do not go together.


@pytest.mark.parametrize(
    ("data", "label"),
    [
        (np.zeros((2, 5)), np.zeros(2)),
        (np.zeros((2, 4), np.float32), np.zeros(2)),
        (np.zeros((2, 4)), np.zeros((2, 1))),
        (np.zeros((2, 4)), np.zeros(2, np.int64)),
        (np.zeros((2, 4)), None),
    ],
)
def test_files_that_differ_in_kind_are_refused_by_name(tmp_path: Path, data: Any, label: Any) -> None:
    write(tmp_path / "a.h5", np.zeros((3, 4)), np.zeros(3))
    write(tmp_path / "b.h5", data, label)
    refuses(
        f"{tmp_path}/*.h5", rf"{tmp_path}/b.h5 has .*, but {tmp_path}/a.h5 data of \(4,\) float64 and label"
    )


def test_process_x_y_has_to_keep_the_number_of_examples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", np.zeros((3, 4)), np.zeros(3))
    refuses(path, rf"{path}: process_x_y made \[2, 3\] examples of 3", process_x_y=lambda x, y: (x[1:], y))


def reading() -> int:
    """How many threads read ahead."""
    return sum(thread.name.startswith("ThreadPoolExecutor") for thread in threading.enumerate())


@pytest.mark.parametrize("process", [None, lambda x, y: (x, y)], ids=["as they are", "processed"])
def test_a_thread_reads_ahead_and_ends_with_the_iteration(
    tmp_path: Path, small_blocks: None, process: Any
) -> None:
    pattern = write_files(tmp_path, [200, 100])
    generator = H5pyBatchGenerator(pattern, 10, shuffle=True, process_x_y=process, **STREAMED)
    before = reading()
    whole = examples(generator)
    assert sorted(whole) == list(range(300)) and reading() == before

    left = iter(generator)
    next(left)
    assert reading() == before + 1
    left.close()
    assert reading() == before


def test_a_forked_process_goes_on_with_an_iteration(tmp_path: Path, small_blocks: None) -> None:
    left = iter(H5pyBatchGenerator(write_files(tmp_path, [40]), 10, **STREAMED))
    next(left)

    class Left(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return left

    loader = torch.utils.data.DataLoader(
        Left(), batch_size=None, num_workers=1, multiprocessing_context="fork", timeout=20
    )
    labels = [y.tolist() for _, y in loader]
    assert labels == [list(range(first, first + 100, 10)) for first in (100, 200, 300)]


def test_process_x_y_is_called_by_the_thread_that_iterates(tmp_path: Path, small_blocks: None) -> None:
    threads = set()

    def process(x: Any, y: Any) -> Any:
        threads.add(threading.current_thread())
        return x, y

    list(H5pyBatchGenerator(write_files(tmp_path, [200]), 10, process_x_y=process, **STREAMED))
    assert threads == {threading.current_thread()}


def test_a_fault_of_what_is_read_ahead_is_told_by_name(tmp_path: Path, small_blocks: None) -> None:
    generator = H5pyBatchGenerator(write_files(tmp_path, [200, 200]), 10, **STREAMED)
    (tmp_path / "batch1.h5").unlink()
    found = []
    with pytest.raises(DataError, match=r"batch1\.h5: cannot be read as HDF5"):
        found.extend(generator)
    assert len(found) > 5  # those of the pools before


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
@pytest.mark.parametrize("shuffle", [False, True])
def test_drop_last_leaves_out_a_last_batch_that_is_not_full(
    tmp_path: Path, small_blocks: None, memory_limit: int, shuffle: bool
) -> None:
    pattern = write_files(tmp_path, [4, 3])
    generator = H5pyBatchGenerator(pattern, 3, shuffle, memory_limit=memory_limit, drop_last=True)
    assert [len(x) for x, _ in generator] == [3, 3]
    assert len(generator) == 2


def test_parts_of_other_types_and_kinds_are_joined_as_numpy_and_torch_join_them() -> None:
    joining = Joining()
    of_int, of_float = (np.array([1, 2]), None), (np.array([0.5]), None)
    first = joining.joined([of_int, of_float, of_int], 5)[0].copy()
    assert first.tolist() == [1, 2, 0.5, 1, 2] and first.dtype == np.float64
    again = joining.joined([of_int, of_int], 4)[0]
    assert again.tolist() == [1, 2, 1, 2] and again.dtype == np.int64
    x, y = joining.joined([({"a": torch.ones(1)}, np.zeros(1)), ({"a": torch.zeros(2)}, np.ones(2))], 3)
    assert x["a"].tolist() == [1, 0, 0] and y.tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="must match exactly"):
        joining.joined([(np.zeros((2, 1)), None), (np.zeros((2, 3)), None)], 4)
