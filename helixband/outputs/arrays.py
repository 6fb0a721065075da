"""Predictions as arrays: NumPy's format, and HDF5 with the windows' places beside them."""

import errno
import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from helixband.files import open_to_read, replacing, writing_whole
from helixband.outputs.rows import BLOCK_BYTES, BLOCK_ROWS, RegionsOf, Rows, Windows


class Npy:
    """NumPy's format: an array (N, …), a file for each part of y_pred and of its spread."""

    name = "npy"
    for_scores = False
    may_be_skipped = False
    for_positions = True

    def check_installed(self) -> None:
        """Nothing else is needed."""

    def suffixes(self, arrays: Mapping[str, Rows]) -> list[str]:
        return [f"{key}.npy" for key in arrays]

    def write(self, paths: list[Path], arrays: Mapping[str, Rows], windows: Windows) -> None:
        for path, rows in zip(paths, arrays.values(), strict=True):
            write_npy(path, rows)


class H5:
    """HDF5: all arrays in one file, with the places of the windows."""

    name = "h5"
    for_scores = False
    may_be_skipped = False
    for_positions = True

    def check_installed(self) -> None:
        """Nothing else is needed."""

    def suffixes(self, arrays: Mapping[str, Rows]) -> list[str]:
        return [".h5"]

    def write(self, paths: list[Path], arrays: Mapping[str, Rows], windows: Windows) -> None:
        write_h5(paths[0], arrays, windows.regions, list(windows.lengths))


def write_npy(path: Path, rows: Rows) -> None:
    """Write the array as `np.save` does."""
    header = {"descr": npy_format.dtype_to_descr(rows.dtype), "fortran_order": False, "shape": rows.shape}
    with writing_whole(path) as file, open_to_read(rows.path) as source:
        npy_format.write_array_header_1_0(file, header)
        shutil.copyfileobj(source, file, BLOCK_BYTES)


def write_h5(path: Path, arrays: Mapping[str, Rows], regions: RegionsOf, names: list[str]) -> None:
    """Write the dataset `predictions` (N, …), and `name`, `start`, `end` and `strand`, (N,), of the windows.

    Of several arrays there is one dataset each, `predictions` and their name. `names` are those that windows
    may have. Coordinates are 0-based, end-exclusive; strings are UTF-8 of one length.
    """
    import h5py

    def check(file: io.BufferedRandom) -> None:
        try:
            with open(file.name, "rb") as source, h5py.File(source) as h5:
                _check_arrays(h5, arrays)
                _check_regions(h5, len(next(iter(arrays.values()))), regions)
        except (KeyError, ValueError, RuntimeError, TypeError) as error:  # what h5py has for a damaged file
            raise OSError(errno.EIO, f"it cannot be read back ({error})") from error

    with replacing(path, check) as file, _Target(file.name, "r+") as target:
        try:
            with h5py.File(target, "w") as h5:
                _write_arrays(h5, arrays)
                _write_regions(h5, len(next(iter(arrays.values()))), regions, names)
        finally:
            if target.error is not None:
                raise target.error


def _write_arrays(h5: Any, arrays: Mapping[str, Rows]) -> None:
    for name, rows in arrays.items():
        chunk = (min(len(rows), max(1, BLOCK_BYTES // rows.row_bytes)), *rows.shape[1:])
        dataset = h5.create_dataset(f"predictions{name}", rows.shape, rows.dtype, chunks=chunk)
        for first, last in rows.blocks():
            dataset[first:last] = rows.read(first, last)


def _write_regions(h5: Any, n_rows: int, regions: RegionsOf, names: list[str]) -> None:
    import h5py

    longest = max(len(name.encode()) for name in names)
    types = {"name": h5py.string_dtype("utf-8", longest), "start": "i8", "end": "i8"}
    types["strand"] = h5py.string_dtype("utf-8", 1)
    step = min(n_rows, BLOCK_ROWS)
    # Compressed, as names and strands are much the same all along.
    datasets = [
        h5.create_dataset(title, (n_rows,), dtype, chunks=(step,), compression="gzip", compression_opts=1)
        for title, dtype in types.items()
    ]
    for first in range(0, n_rows, step):
        last = min(first + step, n_rows)
        for dataset, column in zip(datasets, regions(first, last), strict=True):
            dataset[first:last] = column


def _check_arrays(h5: Any, arrays: Mapping[str, Rows]) -> None:
    for name, rows in arrays.items():
        dataset = h5[f"predictions{name}"]
        for first, last in rows.blocks():
            _check_same(dataset[first:last].tobytes(), rows.read(first, last).tobytes())


def _check_regions(h5: Any, n_rows: int, regions: RegionsOf) -> None:
    columns = [h5["name"].asstr(), h5["start"], h5["end"], h5["strand"].asstr()]
    step = min(n_rows, BLOCK_ROWS)
    for first in range(0, n_rows, step):
        last = min(first + step, n_rows)
        for column, expected in zip(columns, regions(first, last), strict=True):
            _check_same(column[first:last].tolist(), np.array(expected).tolist())


def _check_same(found: Any, written: Any) -> None:
    if found != written:
        raise OSError(errno.EIO, "what is read back is not what was written; the disk may be faulty")


class _Target(io.FileIO):
    """A file for HDF5, which crashes where a write fails: the first failure is kept, for after."""

    error: OSError | None = None

    def write(self, content: Any) -> int:
        left = memoryview(content).cast("B")
        while len(left) and self.error is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.error = error
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return self.tell() if size is None else size
