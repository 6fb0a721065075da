"""Targets: in every form, and every fault of each."""

import gzip
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helixband.errors import DataError
from helixband.sequence.targets import Targets, are_surely_finite, read_targets

HEADERS = ["a first", "b", "c the third"]


def read(targets: Targets, headers: list[str] = HEADERS) -> np.ndarray:
    return read_targets(targets, headers, "x.fa")


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refuses(targets: Targets, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(targets)
    assert str(caught.value).startswith(message)


# Arrays.


@pytest.mark.parametrize(
    ("targets", "dtype"),
    [
        ([1, 0, 1], np.int64),
        ((1.0, 0.5, 2.0), np.float64),
        (np.array([1, 0, 1], np.uint8), np.uint8),
        (np.array([True, False, True]), np.bool_),
        (np.array([[1, 2], [3, 4], [5, 6]], np.float32), np.float32),
        (torch.tensor([0.5, 1.0, 2.0]), np.float32),
    ],
)
def test_an_array_is_taken_as_it_stands(targets: Any, dtype: type) -> None:
    values = read(targets)
    assert values.dtype == dtype
    assert values.tolist() == np.asarray(targets).tolist()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([1, 0], "x.fa has 3 records, and the targets have the shape (2,); one a record is needed"),
        ([], "x.fa has 3 records, and the targets have the shape (0,); one a record is needed"),
        (np.array(1), "x.fa has 3 records, and the targets have the shape (); one a record is needed"),
        (
            np.zeros((1, 3)),
            "x.fa has 3 records, and the targets have the shape (1, 3); one a record is needed",
        ),
        (
            ["1", "0", "1"],
            "the targets have to be numbers, and '1' is not a number; map the classes to 0, 1, …",
        ),
        ([1, None, 0], "the targets have to be numbers, and None is not a number"),
        (np.array([1j, 2, 3]), "the targets have to be numbers, and 1j is not a number"),
        (
            np.array([], dtype=str),
            "the targets have to be numbers, and array([], dtype='<U1') is not a number",
        ),
    ],
)
def test_an_array_that_does_not_fit_is_refused(targets: Any, message: str) -> None:
    refuses(targets, message)


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(DataError, match="^the targets make no array "):
        read([[1, 2], [3], [4, 5]])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([1, np.nan, 0], "number 1 from 0 of the targets, of 'b' of x.fa: the target is nan"),
        (
            np.array([[1, 2], [3, 4], [5, -np.inf]]),
            "number 2 from 0 of the targets, of 'c' of x.fa: the target",
        ),
        (
            lambda header: np.nan if header == "b" else 1,
            "the rule on the header 'b' of x.fa: the target is",
        ),
        (np.zeros(3, np.longdouble), "the targets: no tensor has the type "),
        (np.array([1, 2, 1 << 63], np.uint64), "the targets: 9223372036854775808 is past int64"),
        (np.ma.masked_equal([1, 2, 3], 2), "the targets: a masked array with 1 values masked"),
        (np.zeros(3, [("a", "f4")]), "the targets have to be numbers"),
        (np.array([1, 2, 3], "M8[s]"), "the targets have to be numbers"),
    ],
)
def test_what_is_no_finite_number_is_refused(targets: Any, message: str) -> None:
    refuses(targets, message)


@pytest.mark.parametrize("dtype", [">f4", ">i2", "<f2", np.bool_, np.uint64])
def test_types_that_tensors_can_have_are_taken(dtype: Any) -> None:
    assert read(np.array([1, 0, 1], dtype)).tolist() == [1, 0, 1]


# A line a record.


@pytest.mark.parametrize(
    ("content", "expected", "dtype"),
    [
        ("1\n0\n1\n", [1, 0, 1], np.int64),
        ("1\n0\n1", [1, 0, 1], np.int64),
        ("1\r\n0\r\n1\r\n", [1, 0, 1], np.int64),
        ("1\r0\r1\r", [1, 0, 1], np.int64),
        ("\ufeff1\n0\n1\n\n\n", [1, 0, 1], np.int64),
        ("1.0\n-2e0\n3\n", [1, -2, 3], np.int64),
        ("0.5\n1\n2\n", [0.5, 1, 2], np.float64),
        ("1 0\n0 1\n1 0\n", [[1, 0], [0, 1], [1, 0]], np.int64),
        ("1,0.5\n0,1\n1,\t0 \n", [[1, 0.5], [0, 1], [1, 0]], np.float64),
        ("1e30\n0\n1\n", [1e30, 0, 1], np.float64),
    ],
)
def test_a_file_has_a_line_of_numbers_for_each_record(
    tmp_path: Path, content: str, expected: list[Any], dtype: type
) -> None:
    path = written(tmp_path / "x.target", content)
    for form in (path, str(path)):
        values = read(form)
        assert (values.tolist(), values.dtype) == (expected, dtype)


def test_a_value_that_is_missing_stays_nan_where_that_is_allowed(tmp_path: Path) -> None:
    path = written(tmp_path / "x.target", "1\nnan\n0\n")
    values = read_targets(path, HEADERS, "x.fa", allow_nan=True)
    assert values.dtype == np.float64
    assert np.array_equal(values, [1, np.nan, 0], equal_nan=True)
    assert np.isnan(read_targets([1, np.nan, 0], HEADERS, "x.fa", allow_nan=True)[1])


@pytest.mark.parametrize("cell", ["NA", "NaN", "nan", "", " NA "])
@pytest.mark.parametrize("separator", ["\t", ","])
def test_a_cell_that_is_missing_is_nan(tmp_path: Path, cell: str, separator: str) -> None:
    lines = ["name\tlevel\tother", f"a\t1\t{cell}", f"b\t{cell}\t2", "c\t3\t1"]
    path = written(tmp_path / "x.tsv", "\n".join(lines).replace("\t", separator))
    levels, others = (
        read_targets((path, name), HEADERS, "x.fa", allow_nan=True) for name in ("level", "other")
    )
    assert np.array_equal(levels, [1, np.nan, 3], equal_nan=True)
    assert np.array_equal(others, [np.nan, 2, 1], equal_nan=True)
    assert read_targets((path, "level"), ["a", "c"], "x.fa").tolist() == [1, 3], "other names do not matter"
    refuses(
        (path, "level"),
        f"{path}, row 3: column 'level' holds {cell!r}, which is no number; remove or impute it, or pass al"
        if cell.strip() in ("", "NA")
        else f"{path}, row 3, column 'level': the target is nan; remove or impute it, or pass allow_nan",
    )


def test_a_number_that_is_missing_in_a_line_is_nan(tmp_path: Path) -> None:
    path = written(tmp_path / "x.target", "1 NA\n3,4\nNA 6\n")
    values = read_targets(path, HEADERS, "x.fa", allow_nan=True)
    assert np.array_equal(values, [[1, np.nan], [3, 4], [np.nan, 6]], equal_nan=True)
    refuses(path, f"{path}, line 1: the target is nan; remove or impute it, or pass allow_nan=True to a ")


@pytest.mark.parametrize("allow_nan", [False, True])
@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e999"])
def test_infinity_is_refused_with_its_line(tmp_path: Path, allow_nan: bool, text: str) -> None:
    path = written(tmp_path / "x.target", f"1\n{text}\n0\n")
    with pytest.raises(DataError, match=f"{path}, line 2: the target is -?inf; remove or impute it$"):
        read_targets(path, HEADERS, "x.fa", allow_nan)


def test_nan_is_refused_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path / "x.target", "1 2\n3 4\n5 nan\n")
    refuses(path, f"{path}, line 3: the target is nan; remove or impute it, or pass allow_nan=True to a ")
    table = written(tmp_path / "x.tsv", "name\tlevel\nother\tnan\nc\t1\na\t2\nb\tNaN\n")
    refuses((table, "level"), f"{table}, row 5, column 'level': the target is nan")
    assert read_targets((table, "level"), ["a", "c"], "x.fa").tolist() == [2, 1], "other names do not matter"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\nx\n1\n", ", line 2: 'x' is no line of numbers"),
        ("1\n1_0\n1\n", ", line 2: '1_0' is no line of numbers"),
        ("y\n1\n0\n1\n", ", line 1: 'y' is no line of numbers; map the classes to 0, 1, …"),
        ("a\t1\nb\t0\nc\t1\n", ", line 1: 'a\\t1' is no line of numbers"),
        (
            "1\n\n0\n1\n",
            ", line 2: 0 numbers, and 1 in line 1; a line of as many for each record is needed",
        ),
        (
            "1 0\n0 1 1\n1 0\n",
            ", line 2: 3 numbers, and 2 in line 1; a line of as many for each record is needed",
        ),
        (
            " \n1\n",
            ", line 1: 0 numbers, and 0 in line 1; a line of as many for each record is needed",
        ),
        ("", ": the file is empty; a line for each record is needed"),
        ("\n\n", ": the file is empty; a line for each record is needed"),
    ],
)
def test_a_line_that_is_none_of_numbers_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = written(tmp_path / "x.target", content)
    refuses(path, f"{path}{message}")


@pytest.mark.parametrize("count", [2, 4])
def test_more_or_fewer_lines_than_records_are_refused(tmp_path: Path, count: int) -> None:
    path = written(tmp_path / "x.target", "1\n" * count)
    refuses(
        path,
        f"x.fa has 3 records, and the targets of {path} have the shape ({count},); one a record is needed",
    )


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    written(tmp_path / "binary", b"\x1f\x8b\xff\xfe")
    for name, reason in [
        ("nowhere", r"cannot be read \(No such file or directory"),
        (".", "cannot be read, for it is no regular file"),
        ("pipe", "cannot be read, for it is no regular file"),
        ("binary", r"cannot be read as gzip"),
    ]:
        for targets in (tmp_path / name, (tmp_path / name, "y")):
            with pytest.raises(DataError, match=f"^{tmp_path / name}: {reason}"):
                read(targets)


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.target.gz"
    path.write_bytes(gzip.compress(b"1\n0\n1\n"))
    assert read(path).tolist() == [1, 0, 1]


# A column of a table.


@pytest.mark.parametrize(
    "content",
    [
        "name\ty\na\t1\nb\t0\nc\t2\n",
        "name,y\na,1\nb,0\nc,2\n",
        "y,x,y2,y\n" + "c,9,9,2\na,9,9,1\nd,9,9,9\nb,9,9,0\n",
        '"name","y"\r\n"a","1"\r\n"b","0"\r\n"c","2"\r\n\r\n',
        '\ufeffname,text,y\na,"x, y",1\nb,"two\nlines",0\nc,,2',
        "name\ty\tnote\na\t1\tx\nb\t0\tx\nc\t2\t\n",
    ],
    ids=[
        "TSV",
        "CSV",
        "any order, more columns and rows",
        "quoted",
        "quoted text",
        "an empty cell at the end",
    ],
)
def test_a_column_is_read_by_name(tmp_path: Path, content: str) -> None:
    path = written(tmp_path / "x.tsv", content)
    for form in ((path, "y"), (str(path), "y")):
        values = read(form)
        assert (values.tolist(), values.dtype) == ([1, 0, 2], np.int64)


def test_numbers_of_a_column_that_are_not_all_whole_stay_so(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", "name,y\na,1\nb,0.25\nc,-3\n")
    assert read((path, "y")).tolist() == [1, 0.25, -3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,z\na,1\n", " has no column 'y' after its first; it has ['name', 'z']"),
        ("y,z\na,1\n", " has no column 'y' after its first; it has ['y', 'z']"),
        ("name;y\na;1\n", " has no column 'y' after its first; it has ['name;y']"),
        (
            "name,y,y\na,1,2\n",
            " has more than one column 'y' after its first; it has ['name', 'y', 'y']",
        ),
        (
            "name,y\na,1\nb,high\nc,1\n",
            ", row 3: column 'y' holds 'high', which is no number; map the classes to 0, 1, …",
        ),
        ("name,y\na,1\nb,\nc,1\n", ", row 3: column 'y' holds '', which is no number"),
        ("name,y\na,1\nb\nc,1\n", ", row 3: 1 cells, and 2 titles; give each one"),
        ("name,y\na,1\n\nb,1\nc,1\n", ", row 3: 0 cells, and 2 titles; give each one"),
        ("name,y\na,1\nb,1,000\nc,1\n", ", row 3: 3 cells, and 2 titles; give each one"),
        ("x\ty\na\t1\t2\n", ", row 2: 3 cells, and 2 titles; give each one"),
        ("name,y\na,1\nb,0\na,1\nc,1\n", ", row 4: the name 'a' is there twice"),
        (
            "name,y\nb,1\n",
            " has no row for 'a' and 1 more of the 3 records of x.fa; its first column has "
            "to hold their names",
        ),
        (
            "name,y\na first,1\nb,1\nc,1\n",
            " has no row for 'a' and 0 more of the 3 records of x.fa; its first column has "
            "to hold their names",
        ),
        ("", ": the file is empty; a line for each record is needed"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = written(tmp_path / "x.csv", content)
    refuses((path, "y"), f"{path}{message}")


def test_a_cell_that_is_too_long_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", f"name,sequence,y\na,{'ACGT' * 50_000},1\n")
    refuses((path, "y"), f"{path}: cannot be read as a table (field larger than field limit (131072))")


# A rule on the header.


def test_a_rule_is_given_the_full_header() -> None:
    values = read(lambda header: float("third" in header))
    assert (values.tolist(), values.dtype) == ([0, 0, 1], np.float64)
    assert read(len).tolist() == [7, 1, 11]
    assert read(lambda header: [len(header), 0]).tolist() == [[7, 0], [1, 0], [11, 0]]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            lambda header: header[0],
            "^the values of the rule on the headers of x.fa have to be num.* 'a' is not a number; "
            "map the classes to 0, 1, …$",
        ),
        (
            lambda header: None,
            "^the values of the rule on the headers of x.fa have to be num.* None is not a number$",
        ),
        (lambda header: [1] * len(header), "^the values of the rule on the headers of x.fa make no array"),
    ],
)
def test_a_rule_that_gives_no_numbers_is_told(rule: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(rule)


def test_finite_values_are_told_in_any_form_and_whatever_numpy_raises() -> None:
    with np.errstate(all="raise"):
        assert are_surely_finite(np.full(3, 1e-30, np.float32))
        assert not are_surely_finite(np.array([1e30, np.inf], np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        assert are_surely_finite(np.matrix([[1.0, 2.0], [3.0, 4.0]]))
