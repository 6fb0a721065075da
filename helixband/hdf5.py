"""HDF5 files of examples: a dataset `data` (N, …) and, with labels, a dataset `label` (N, …)."""

import math
from typing import Any

import h5py

from helixband.errors import DataError


class H5Table:
    """One file, known by its shape; rows are read when asked for, and no file stays open.

    Raises `DataError` naming the file and what is wrong with it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with _open(path) as file:
            data, label = file.get("data"), file.get("label")
            if not isinstance(data, h5py.Dataset) or data.ndim == 0:
                held = ", ".join(repr(name) for name in file) or "nothing"
                raise DataError(f"{path}: no dataset 'data' of examples; the file holds {held}")
            self.rows, self.shape, self.dtype = data.shape[0], data.shape[1:], data.dtype
            self.bytes = math.prod(data.shape) * data.dtype.itemsize
            self.labelled = label is not None
            if label is not None and len(label) != self.rows:
                raise DataError(
                    f"{path}: data has {self.rows} examples and label {len(label)}; they have to agree"
                )

    def read(self, start: int, stop: int) -> tuple[Any, Any]:
        """Rows start to stop (0-based, end-exclusive) of `data` and of `label`, None without labels."""
        with _open(self.path) as file:
            try:
                label = file["label"][start:stop] if self.labelled else None
                return file["data"][start:stop], label
            except (OSError, KeyError) as error:
                raise DataError(
                    f"{self.path}: cannot read rows {start} to {stop} ({error}); make the file anew"
                ) from error

    def describe(self) -> str:
        """The shape and type of an example, for messages."""
        labels = "with" if self.labelled else "without"
        return f"examples of {self.shape} {self.dtype} {labels} labels"


def open_tables(paths: list[str]) -> list[H5Table]:
    """The tables of several files, which have to be alike."""
    tables = [H5Table(path) for path in paths]
    first = tables[0]
    for table in tables[1:]:
        if table.describe() != first.describe():
            raise DataError(
                f"{table.path} has {table.describe()}, but {first.path} {first.describe()}; "
                "files read together have to be alike"
            )
    return tables


def _open(path: str) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path}: not an HDF5 file, or cut short ({error})") from error
