"""HDF5 files of examples: a dataset `data` (N, …) and, with labels, a dataset `label` (N, …)."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.files import absolute
from helixband.sequence.reading import shown_names

_PREFIXES = os.environ.get("HDF5_VDS_PREFIX", "")  # HDF5 reads it once, when it is loaded


class H5Table:
    """One file, known by its shape; rows are read when asked for, and no file stays open.

    Numbers come in the byte order of the machine, whatever that of the file.
    `plain` are tables of numbers, which `read_into` can read.
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
            sets = [held for held in (data, label) if held is not None]
            self._forms = [(held.shape[1:], held.dtype.newbyteorder("=")) for held in sets]
            self.plain = all(dtype.kind in "biuf" and 0 not in shape for shape, dtype in self._forms)
            self.kind = f"data of {data.shape[1:]} {data.dtype}"
            if label is not None:
                self.kind += f" and label of {label.shape[1:]} {label.dtype}"
                if len(label) != self.rows:
                    raise DataError(
                        f"{path}: data has {self.rows} examples and label {len(label)}; they have to agree"
                    )

    def read(self, start: int, stop: int) -> tuple[Any, Any]:
        """Rows start to stop (0-based, end-exclusive) of `data` and of `label`, None without labels."""
        if self.plain:
            arrays = self.empty(stop - start)
            self.read_into([(arrays, start)])
            return arrays[0], arrays[1] if self.labelled else None
        with self._reading() as file:
            return file["data"][start:stop], file["label"][start:stop] if self.labelled else None

    def empty(self, rows: int) -> list[NDArray[Any]]:
        """Arrays of so many rows for `data` and, where there are labels, for `label`."""
        return [np.empty((rows, *shape), dtype) for shape, dtype in self._forms]

    def read_into(self, parts: list[tuple[list[NDArray[Any]], int]]) -> None:
        """Read into arrays of `empty` as many rows as they have, from the row on that is beside them."""
        with self._reading() as file:
            datasets = [file[name] for name in ("data", "label")[: len(self._forms)]]
            for arrays, start in parts:
                for dataset, array in zip(datasets, arrays, strict=True):
                    dataset.read_direct(array, np.s_[start : start + len(array)])

    def _dataset(self, file: h5py.File, name: str) -> h5py.Dataset:
        held = file.get(name)
        if not isinstance(held, h5py.Dataset) or not held.shape:
            names = shown_names([repr(name) for name in file]) or "nothing"
            raise DataError(f"{self.path}: no dataset {name!r} of examples; the file holds {names}")
        if fault := _missing_part(held):
            raise DataError(f"{self.path}: {fault}; HDF5 would read zeros there")
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


def _missing_part(dataset: h5py.Dataset) -> str:
    """What a dataset does not hold, or does not find where it takes it from; '' if nothing is missing."""
    for name, offset, size in dataset.external or ():
        if os.path.isfile(name) and os.path.getsize(name) < offset + min(size, dataset.nbytes):
            return f"{dataset.name!r} takes data from {name}, which is cut short"
    if not dataset.is_virtual:
        return _never_written(dataset)
    covered = h5py.h5s.create_simple(dataset.shape)
    covered.select_none()
    for mapped in dataset.virtual_sources():
        what = f"{dataset.name!r} takes data from {mapped.file_name!r}, dataset {mapped.dset_name!r}"
        if "%b" in mapped.file_name:
            return f"{what}, a pattern of which no file can be seen to be missing; map each file by its name"
        _add(covered, mapped.vspace)
        place = _source_file(dataset, mapped.file_name)
        if place is None:
            return f"{what}, a file that is missing"
        with h5py.File(place, "r") as file:
            held = file.get(mapped.dset_name)
            if not isinstance(held, h5py.Dataset):
                return f"{what}, which is not in it"
            if not _holds(held, mapped.src_space, mapped.vspace.get_select_npoints()):
                return f"{what}, which has only the shape {held.shape}"
            if fault := _missing_part(held):
                return f"{what}, where {fault}"
    values = covered.get_select_npoints()
    return (
        ""
        if values == dataset.size
        else f"{dataset.name!r} has sources for {values} of {dataset.size} values"
    )


def _add(covered: h5py.h5s.SpaceID, selected: h5py.h5s.SpaceID) -> None:
    """Select what is selected in another space of the same shape, too."""
    if selected.get_select_type() == h5py.h5s.SEL_ALL:
        covered.select_all()
    elif covered.get_select_type() != h5py.h5s.SEL_ALL:
        for first, last in selected.get_select_hyper_blocklist():
            size = tuple(np.subtract(last, first) + 1)
            covered.select_hyperslab(tuple(first), (1,) * len(size), block=size, op=h5py.h5s.SELECT_OR)


def _never_written(dataset: h5py.Dataset) -> str:
    """Which part of a dataset was never written, if it has no fill value that says what it means; or ''."""
    made_with = dataset.id.get_create_plist()
    if dataset.external or made_with.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED:
        return ""
    if dataset.chunks is None:
        empty = dataset.size and not dataset.id.get_storage_size()
        return f"no value of {dataset.name!r} was ever written" if empty else ""
    chunks = math.prod(-(-size // of) for size, of in zip(dataset.shape, dataset.chunks, strict=True))
    written = dataset.id.get_num_chunks()
    return "" if written >= chunks else f"of {dataset.name!r} {written} of {chunks} chunks were written"


def _holds(source: h5py.Dataset, selected: h5py.h5s.SpaceID, values: int) -> bool:
    """Whether a source has the values selected of it; without dimensions, `selected` is all of it."""
    if not selected.shape:
        return bool(source.size >= values)
    _, last = selected.get_select_bounds()
    return len(last) == source.ndim and all(np.less(last, source.shape))


def _source_file(dataset: h5py.Dataset, name: str) -> str | None:
    """The file of a source, looked for where HDF5 does (H5Pset_virtual_prefix), or None."""
    path = dataset.file.filename
    if name == ".":
        return str(path)
    origin = os.path.dirname(path)
    prefixes = _PREFIXES.split(":")
    prefixes.append(os.fsdecode(dataset.id.get_access_plist().get_virtual_prefix()))
    folders = [prefix.replace("${ORIGIN}", origin) for prefix in prefixes if prefix]
    folders += [origin, "", os.path.dirname(os.path.realpath(path))]
    places = [
        os.path.join(folder, os.path.basename(name) if os.path.isabs(name) else name) for folder in folders
    ]
    return next(filter(os.path.isfile, [name, *places]), None)


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
