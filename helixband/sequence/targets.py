"""The targets of sequences: from an array, a `.target` file, a column of a table, or a rule on the header."""

import csv
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.sequence.fasta import record_name
from helixband.sequence.reading import Path, line_blocks, number_in, shown_name

Targets = NDArray[Any] | Sequence[float] | Path | tuple[Path, str] | Callable[[str], Any]


Place = Callable[[int], str]
"""Where the target of a record, by its number, is from."""

NUMBER_CLASSES = "map the classes to 0, 1, …"
"""What to do with targets that are the names of classes."""
MISSING = ("", "NA")
"""What pandas and R write for a number that is missing, besides NaN."""
OR_ALLOW = ", or pass allow_nan=True to a generator whose model leaves out targets that are missing"
"""What else can be done about these."""
LARGEST = np.finfo(np.float32).max
"""Larger numbers are infinite as soon as they are in a tensor of single precision."""


def read_targets(
    targets: Targets,
    headers: Sequence[str],
    where: str,
    allow_nan: bool = False,
    names: Sequence[str] | None = None,
    kept: NDArray[np.bool_] | None = None,
) -> NDArray[Any]:
    """The targets of the records with these headers, (R,) or (R, k), in their order.

    `targets` is an array or list in the order of the records; a path of a file with one line of numbers a
    record; `(path, column)` of a TSV or CSV file with titles, whose first column has the records' names,
    and may have others; or a function from the full header to a number or a list of them. Of a file, whole
    numbers become int64, others float64, and NA, NaN or an empty cell is NaN. `names`: of the records, where
    these are not in the headers. `kept`, (A,): which of all A records these are, where some were left out;
    an array or lines may then be of all. `allow_nan` admits NaN, for targets that are missing. `where` names
    the sequences in messages.

    Raises `DataError` naming the line, record or value that does not fit.
    """
    names = names or [record_name(header) for header in headers]
    values, place = _read(targets, headers, where, names, allow_nan, kept)
    if values.ndim == 0 or len(values) != len(headers):
        left_out = "" if kept is None or kept.all() else f", and {len(kept)} with those left out"
        raise DataError(
            f"{where} has {len(headers)} records{left_out}, and the targets"
            f"{f' of {targets}' if isinstance(targets, str | os.PathLike) else ''} have the shape "
            f"{values.shape}; one a record is needed"
        )
    check_finite(values, place, allow_nan)
    return values


def is_finite(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where floating values are finite, also in single precision, in which networks compute.

    >>> is_finite(np.array([1e38, 1e39, np.nan])).tolist()
    [True, False, False]
    """
    finite: NDArray[np.bool_] = np.isfinite(values) if values.itemsize <= 4 else np.abs(values) <= LARGEST
    return finite


def are_surely_finite(values: NDArray[Any]) -> bool:
    """Whether all floating values are finite, told in one fast pass; where it says no, they may still be.

    >>> [are_surely_finite(np.array(values)) for values in ([1.0, -2.0], [1.0, np.nan], [1e30, 0.0])]
    [True, False, False]
    """
    if values.dtype not in (np.float32, np.float64) or not values.flags.c_contiguous:
        return False
    flat = np.asarray(values).reshape(-1)  # of a matrix, too
    with np.errstate(all="ignore"):
        return bool(np.dot(flat, flat) <= LARGEST)


def is_finite_or_nan(values: NDArray[Any]) -> NDArray[np.bool_]:
    """As `is_finite`, and where they are NaN."""
    passed: NDArray[np.bool_] = is_finite(values) | np.isnan(values)
    return passed


def check_finite(values: NDArray[Any], place: Place, allow_nan: bool = False) -> None:
    """Raise `DataError` for the first of these targets, (R, …), that is infinite or, if not allowed, NaN.

    >>> check_finite(np.array([0, np.inf]), "line {}".format)
    Traceback (most recent call last):
    helixband.errors.DataError: line 1: the target is inf; remove or impute it
    """
    if values.dtype.kind != "f":
        return
    wrong = ~(is_finite_or_nan(values) if allow_nan else is_finite(values))
    if wrong.any():
        first = tuple(np.argwhere(wrong)[0].tolist())
        remedy = f"remove or impute it{OR_ALLOW if np.isnan(values[first]) else ''}"
        past = f", past {LARGEST:.2g}" if np.isfinite(values[first]) else ""
        raise DataError(f"{place(first[0])}: the target is {values[first]}{past}; {remedy}")


def check_type(values: NDArray[Any], name: str) -> None:
    """Raise `DataError` for numbers that no tensor holds as they are: masked, of 80 bits, or past int64."""
    if type(values) is not np.ndarray and np.ma.is_masked(values):  # numpy.ma is imported where it is needed
        raise DataError(
            f"{name}: a masked array with {np.ma.getmaskarray(values).sum()} values masked; remove these, "
            "or fill them with .filled(…)"
        )
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        raise DataError(f"{name}: no tensor has the type {values.dtype}; make it float64")
    if values.dtype == np.uint64 and values.size and values.max() > np.iinfo(np.int64).max:
        raise DataError(f"{name}: {values.max()} is past int64; make it float64, or number anew")


def _read(
    targets: Targets,
    headers: Sequence[str],
    where: str,
    names: Sequence[str],
    allow_nan: bool,
    kept: NDArray[np.bool_] | None,
) -> tuple[NDArray[Any], Place]:
    if callable(targets):
        rule = f"the values of the rule on the headers of {where}"
        values = _array([targets(header) for header in headers], rule)
        return values, lambda row: f"the rule on the header {headers[row][:80]!r} of {where}"
    if isinstance(targets, str | os.PathLike):
        values, numbers = _of_kept(_read_lines(targets), kept)
        return values, lambda row: f"{targets}, line {numbers[row] + 1}"
    if isinstance(targets, tuple) and len(targets) == 2 and isinstance(targets[1], str):
        path, column = targets
        values, rows = _read_column(path, column, names, where, allow_nan)
        return values, lambda row: f"{path}, row {rows[row]}, column {column!r}"
    values, numbers = _of_kept(_array(targets, "the targets"), kept)
    return (
        values,
        lambda row: f"number {numbers[row]} from 0 of the targets, of {names[row]!r} of {where}",
    )


def _of_kept(values: NDArray[Any], kept: NDArray[np.bool_] | None) -> tuple[NDArray[Any], Sequence[int]]:
    """Of values of all records those that are kept, any others as they are; and their numbers."""
    if kept is None or values.shape[:1] != kept.shape:
        return values, range(values.size)
    return values[kept], np.flatnonzero(kept).tolist()


def _array(values: Any, what: str) -> NDArray[Any]:
    try:
        array = np.asanyarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # a tensor raises any of these
        raise DataError(f"{what} make no array ({error})") from error
    if array.dtype.kind not in "biuf":
        strange = [value for value in array.ravel().tolist() if not isinstance(value, int | float)]
        first = (strange or [values])[0]
        remedy = f"; {NUMBER_CLASSES}" if isinstance(first, str) else ""
        raise DataError(f"{what} have to be numbers, and {first!r} is not a number{remedy}")
    check_type(array, what)
    return np.asarray(array)


def _read_lines(path: Path) -> NDArray[Any]:
    """A line of numbers a record: (R,) of one a line, (R, k) of more."""
    rows = []
    for number, line in enumerate(_lines(path), 1):
        parts = line.replace(",", " ").split()
        try:
            rows.append([_number(part) for part in parts])
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: {line.strip()!r} is no line of numbers; {NUMBER_CLASSES}; for a "
                "column of a table give (path, column)"
            ) from error
        if not parts or len(parts) != len(rows[0]):
            raise DataError(
                f"{path}, line {number}: {len(parts)} numbers, and {len(rows[0])} in line 1; "
                "a line of as many for each record is needed, NA for one that is missing"
            )
    return _as_whole_numbers(np.array(rows))


def _read_column(
    path: Path, column: str, names: Sequence[str], where: str, allow_nan: bool
) -> tuple[NDArray[Any], list[int]]:
    """A column by the names in the first one, and the row of each record, titles being row 1."""
    titles, *rows = _read_table(path)
    if titles[1:].count(column) != 1:
        listed = titles if len(titles) <= 20 else f"{titles[:20]}, …"
        times = "more than one" if column in titles[1:] else "no"
        raise DataError(f"{path} has {times} column {column!r} after its first; it has {listed}")
    place = titles.index(column, 1)
    values: dict[str, tuple[float, int]] = {}
    needed = set(names)
    for number, row in enumerate(rows, 2):
        if len(row) != len(titles):
            raise DataError(
                f"{path}, row {number}: {len(row)} cells, and {len(titles)} titles; give each one"
            )
        try:
            value = _number(row[place])
        except ValueError as error:
            raise DataError(
                f"{path}, row {number}: column {column!r} holds {row[place]!r}, which is no number; "
                f"{NUMBER_CLASSES}"
            ) from error
        if row[place].strip() in MISSING and row[0] in needed and not allow_nan:
            raise DataError(
                f"{path}, row {number}: column {column!r} holds {row[place]!r}, which is no number; remove "
                f"or impute it{OR_ALLOW}"
            )
        if row[0] in values:
            raise DataError(f"{path}, row {number}: the name {row[0]!r} is there twice")
        values[row[0]] = value, number
    missing = [name for name in names if name not in values]
    if missing:
        raise DataError(
            f"{path} has no row for {shown_name(missing[0])!r} and {len(missing) - 1} more of the "
            f"{len(names)} records of {where}; its first column has to hold their names"
        )
    column_values = np.array([[values[name][0]] for name in names])
    return _as_whole_numbers(column_values), [values[name][1] for name in names]


def _number(text: str) -> float:
    """The number in a cell, NaN where it is missing; raises `ValueError` for what is neither."""
    return math.nan if text.strip() in MISSING else number_in(text)


def _read_table(path: Path) -> list[list[str]]:
    """The rows of a TSV or CSV file, titles first."""
    lines = _lines(path)
    try:
        return list(csv.reader(lines, delimiter="\t" if "\t" in lines[0] else ","))
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as a table ({error})") from error


def _as_whole_numbers(values: NDArray[np.float64]) -> NDArray[Any]:
    """One column as (R,); class indexes as int64, as criteria want them."""
    if values.shape[1:] == (1,):
        values = values[:, 0]
    with np.errstate(invalid="ignore"):  # NaN, and what is too large
        whole = values.astype(np.int64)
    return whole if np.array_equal(whole, values) else values


def _lines(path: Path) -> list[str]:
    """The lines of a text file without their ends, but for blank ones at its end."""
    lines = [line for _, block in line_blocks(path) for line in block]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError(f"{path}: the file is empty; a line for each record is needed")
    return lines
