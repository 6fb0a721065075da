"""HDF5 files of examples: a dataset `data` (N, …) and, with labels, a dataset `label` (N, …)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py

from helixband.errors import DataError
from helixband.files import absolute


class H5Table:
    """One file, known by its shape; rows are read when asked for, and no file stays open.

    Raises `DataError` naming the file and what is wrong with it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._place = absolute(path)  # whatever folder a definition changes to
        with self._reading() as file:
            data = self._dataset(file, "data")
            label = self._dataset(file, "label") if "label" in file else None
            self.rows = len(data)
            self.bytes = data.nbytes + (0 if label is None else label.nbytes)
            self.labelled = label is not None
            self.kind = f"data of {data.shape[1:]} {data.dtype}"
            if label is not None:
                self.kind += f" and label of {label.shape[1:]} {label.dtype}"
                if len(label) != self.rows:
                    raise DataError(
                        f"{path}: data has {self.rows} examples and label {len(label)}; they have to agree"
                    )

    def read(self, start: int, stop: int) -> tuple[Any, Any]:
        """Rows start to stop (0-based, end-exclusive) of `data` and of `label`, None without labels."""
        with self._reading() as file:
            return file["data"][start:stop], file["label"][start:stop] if self.labelled else None

    def _dataset(self, file: h5py.File, name: str) -> h5py.Dataset:
        held = file.get(name)
        if not isinstance(held, h5py.Dataset) or not held.shape:
            names = ", ".join(repr(name) for name in file) or "nothing"
            raise DataError(f"{self.path}: no dataset {name!r} of examples; the file holds {names}")
        return held

    @contextmanager
    def _reading(self) -> Iterator[h5py.File]:
        """The open file; whatever h5py raises, which of a damaged file may be anything, names the file."""
        try:
            with h5py.File(self._place, "r") as file:
                yield file
        except DataError:
            raise
        except Exception as error:
            raise DataError(
                f"{self.path}: cannot be read as HDF5; it is another kind of file, or damaged ({error})"
            ) from error


def open_tables(paths: list[str]) -> list[H5Table]:
    """The tables of several files, which have to be alike in all but the number of examples."""
    tables = [H5Table(path) for path in paths]
    first = tables[0]
    for table in tables[1:]:
        if table.kind != first.kind:
            raise DataError(
                f"{table.path} has {table.kind}, but {first.path} {first.kind}; "
                "files read together have to be alike"
            )
    return tables
