"""Predictions as files: arrays, and a table where the input names its records."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helixband.errors import DefinitionError, StorageError
from helixband.outputs.whole import input_name, named_arrays, write_predictions
from helixband.results.directory import Results

FASTA = ">chr1:10-14 some words\nACGT\n>b\nAA\nCC\nG\n"


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.fixture
def fasta(tmp_path: Path) -> str:
    path = tmp_path / "x.fa"
    path.write_text(FASTA)
    return str(path)


def names(results: Results) -> list[str]:
    return sorted(str(path.relative_to(results.predictions)) for path in results.predictions.rglob("*.*"))


@pytest.mark.parametrize(
    ("path", "data_dir", "name"),
    [
        ("data/x.fa", "data", "x.fa"),
        ("data/sub/x.fa", "data", "sub/x.fa"),
        ("data/../data/x.fa", "data", "x.fa"),
        ("./x.fa", ".", "x.fa"),
        ("/else/x.fa", "/data", "x.fa"),
        ("../x.fa", "data", "x.fa"),
        ("data/..hidden", "data", "..hidden"),
        ("/some/data/.", "/some/data", "data"),
    ],
)
def test_an_input_is_named_by_its_place_under_the_data_directory(path: str, data_dir: str, name: str) -> None:
    assert input_name(path, data_dir) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("project/data/../x.fa", "x.fa"),
        ("project/data/link/../y.fa", "deep/y.fa"),
        ("project/data/../run1/sub/y.fa", "sub/y.fa"),
        ("project/data/..", "store"),
        ("project/data/sub/../y.fa", "y.fa"),
        ("project/data/alias.fa", "alias.fa"),
        ("project/data/../alias.fa", "alias.fa"),
    ],
)
def test_an_input_behind_a_link_is_named_by_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    for folder in ("store/run1/sub", "store/run1/deep/er", "project"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "project/data").symlink_to("../store/run1")
    (tmp_path / "store/run1/link").symlink_to("deep/er")
    for alias in ("store/alias.fa", "store/run1/alias.fa"):
        (tmp_path / alias).symlink_to("/elsewhere/genome.fa")
    monkeypatch.chdir(tmp_path)
    assert input_name(path, "project/data") == name


def test_an_array_is_written_as_it_is(results: Results) -> None:
    y_pred = np.arange(6, dtype=np.float32).reshape(2, 3)

    written = write_predictions(results, "x.csv", "data/x.csv", y_pred)

    assert written == [results.path / "predictions/x.csv.npy"]
    stored = np.load(written[0])
    assert stored.dtype == np.float32
    assert np.array_equal(stored, y_pred)


def test_a_spread_is_a_file_beside_it(results: Results) -> None:
    write_predictions(results, "x.csv", "x.csv", np.zeros(2), spread=np.ones(2))

    assert names(results) == ["x.csv.npy", "x.csv.std.npy"]
    assert np.load(results.predictions / "x.csv.std.npy").tolist() == [1, 1]


def test_parts_are_a_file_each(results: Results) -> None:
    y_pred = {"height": np.zeros(2), "pair": (np.ones(2), np.full((2, 3), 2))}
    spread = {"height": np.full(2, 3), "pair": (np.full(2, 4), np.full((2, 3), 5))}

    write_predictions(results, "x", "x", y_pred, spread)

    first = {path.name: np.load(path).flat[0] for path in results.predictions.iterdir()}
    assert first == {
        "x.height.npy": 0,
        "x.pair.0.npy": 1,
        "x.pair.1.npy": 2,
        "x.height.std.npy": 3,
        "x.pair.0.std.npy": 4,
        "x.pair.1.std.npy": 5,
    }


def test_records_of_fasta_have_a_row_each(results: Results, fasta: str) -> None:
    written = write_predictions(results, "x.fa", fasta, np.array([0.25, 1 / 3]))

    assert written[1].read_text() == (
        "name\tstart\tend\tstrand\tscore\n"
        "chr1:10-14\t0\t4\t+\t0.25\n"
        "b\t0\t5\t+\t0.333333\n"
    )  # fmt: skip


def test_several_scores_have_a_column_each(results: Results, fasta: str) -> None:
    written = write_predictions(results, "x.fa", fasta, np.array([[0.5, 0, 0.5], [1, 1e-7, 0]]))

    assert written[1].read_text().splitlines() == [
        "name\tstart\tend\tstrand\tscore_0\tscore_1\tscore_2",
        "chr1:10-14\t0\t4\t+\t0.5\t0\t0.5",
        "b\t0\t5\t+\t1\t1e-07\t0",
    ]


@pytest.mark.parametrize(
    ("y_pred", "shown"),
    [
        (np.array([3, 1234567]), ["3", "1.23457e+06"]),
        (np.array([True, False]), ["1", "0"]),
        (np.array([np.nan, -np.inf]), ["nan", "-inf"]),
        (np.array([[1e-12], [123456.4]], dtype=np.float32), ["1e-12", "123456"]),
    ],
)
def test_scores_have_six_significant_digits(
    results: Results, fasta: str, y_pred: np.ndarray, shown: list[str]
) -> None:
    written = write_predictions(results, "x.fa", fasta, y_pred)

    assert [line.split("\t")[-1] for line in written[1].read_text().splitlines()] == ["score", *shown]


@pytest.mark.parametrize("y_pred", [np.asfortranarray(np.eye(3)[:2]), np.arange(8)[::4], np.zeros((2, 0))])
def test_an_array_of_any_layout_reads_back_the_same(results: Results, y_pred: np.ndarray) -> None:
    (written,) = write_predictions(results, "x", "x", y_pred)

    assert np.array_equal(np.load(written), y_pred)


def test_gzipped_fasta_has_a_table_too(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "x.fa.gz"
    path.write_bytes(gzip.compress(FASTA.encode()))

    write_predictions(results, "sub/x.fa.gz", str(path), np.zeros((2, 1)))

    assert names(results) == ["sub/x.fa.gz.npy", "sub/x.fa.gz.tsv"]


@pytest.mark.parametrize("shape", [(3,), (2, 4, 5)])
def test_predictions_that_are_no_rows_of_records_have_no_table(
    results: Results, fasta: str, shape: tuple[int, ...]
) -> None:
    write_predictions(results, "x.fa", fasta, np.zeros(shape))

    assert names(results) == ["x.fa.npy"]


def test_a_place_that_cannot_be_written_is_told(results: Results) -> None:
    results.predictions.write_text("in the way")

    with pytest.raises(StorageError, match=r"cannot write .*predictions/x\.npy"):
        write_predictions(results, "x", "x", np.zeros(2))


@pytest.mark.parametrize(
    ("y_pred", "spread", "name"),
    [
        ({"a": {"b": np.ones(2)}, "a.b": np.ones(2)}, None, "a.b"),
        ({1: np.ones(2), "1": np.ones(2)}, None, "1"),
        ({"a": np.ones(2), "a.std": np.ones(2)}, {"a": np.ones(2), "a.std": np.ones(2)}, "a.std"),
    ],
)
def test_two_parts_of_one_name_are_refused(results: Results, y_pred: Any, spread: Any, name: str) -> None:
    with pytest.raises(DefinitionError, match=f"two parts that would both be named '{name}'; rename one"):
        dict(named_arrays(y_pred, spread))


def test_complex_scores_of_records_are_refused_before_anything_is_written(
    results: Results, fasta: str
) -> None:
    with pytest.raises(DefinitionError, match=r"y_pred is complex64.* real numbers, as y_pred\.abs\(\)"):
        write_predictions(results, "x.fa", fasta, np.ones(2, np.complex64))
    assert not results.predictions.exists()
    write_predictions(results, "x.csv", "data/x.csv", np.ones(2, np.complex64))
