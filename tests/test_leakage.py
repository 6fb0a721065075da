"""What a definition's generators hold, as sequences and labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from batch_generator import FastaBatchGenerator, MatrixBatchGenerator
from helixband.leakage import Selected, codes_of, examples_of, marks
from helixband.networks.one_hot import OneHot
from helixband.sequence.alphabet import DNA, PROTEIN, RNA
from helixband.training.batches import labelled

CODES = DNA.encode(["ACGTN", "TTTTT", "GGGGG"])
HOT = OneHot()(torch.from_numpy(CODES)).numpy()  # (3, 4, 5)


@pytest.mark.parametrize(
    "x",
    [
        CODES,
        CODES.astype(np.int64),
        torch.from_numpy(CODES),
        HOT,
        HOT[:, :, None],
        HOT.transpose(0, 2, 1),
        HOT.astype(np.uint8),
        {"x": CODES},
    ],
    ids=["indexes", "int64", "tensor", "NCL", "NC1L", "NLC", "bytes", "dict of one"],
)
def test_sequences_are_read_from_any_form_of_x(x: Any) -> None:
    codes = codes_of(x)
    assert codes is not None and codes.dtype == np.uint8
    assert codes.tolist() == CODES.tolist()


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((3, 5), np.float32),
        np.full((3, 5), 17),
        np.full((3, 5), -1),
        HOT + 0.5,
        np.ones((3, 4, 5)),
        np.zeros((3, 7, 5)),
        np.zeros(3, np.int64),
        (CODES, CODES),
    ],
    ids=[
        "numbers",
        "large",
        "negative",
        "no one-hot",
        "several ones",
        "7 channels",
        "one value",
        "two parts",
    ],
)
def test_what_is_no_sequence_is_told_apart(x: Any) -> None:
    assert codes_of(x) is None


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_examples_do_not_depend_on_the_batch_size(batch_size: int | None) -> None:
    examples = examples_of(MatrixBatchGenerator(HOT, np.array([0, 1, 1]), batch_size))
    assert examples is not None
    assert examples.sequences.codes.tolist() == CODES.ravel().tolist()  # type: ignore[union-attr]
    assert np.asarray(examples.labels).tolist() == [0, 1, 1]


def test_of_a_large_training_set_enough_is_read() -> None:
    examples = examples_of(MatrixBatchGenerator(CODES, np.arange(3), batch_size=1), enough_bases=6)
    assert examples is not None and len(examples.sequences) == 2


@pytest.fixture
def fasta(tmp_path: Path) -> str:
    path = tmp_path / "x.fa"
    path.write_text(">chr1:11-15\nACGTN\n>chr1:101-105(-)\nTTTTT\n>chr2:1-5\nGGGGG\n")
    return str(path)


def test_sequences_of_a_file_have_their_coordinates(fasta: str) -> None:
    examples = examples_of(FastaBatchGenerator(fasta, [0, 1, 1]))
    assert examples is not None and examples.intervals is not None
    assert examples.sequences.codes.tolist() == CODES.ravel().tolist()  # type: ignore[union-attr]
    assert examples.intervals.start.tolist() == [10, 100, 0]
    assert examples.intervals.chromosome_names().tolist() == ["chr1", "chr1", "chr2"]


def test_of_a_large_file_sequences_from_all_over_are_taken(fasta: str) -> None:
    examples = examples_of(FastaBatchGenerator(fasta, [0, 1, 2]), enough_bases=10)
    assert examples is not None
    assert np.asarray(examples.labels).tolist() == [0, 2]


def test_proteins_are_no_nucleic_acids(tmp_path: Path) -> None:
    (tmp_path / "p.fa").write_text(">a\nMKL\n")
    assert examples_of(FastaBatchGenerator(str(tmp_path / "p.fa"), [0], alphabet=PROTEIN)) is None


def test_rna_is_one(tmp_path: Path) -> None:
    (tmp_path / "r.fa").write_text(">a\nACGU\n")
    examples = examples_of(FastaBatchGenerator(str(tmp_path / "r.fa"), [0], alphabet=RNA))
    assert examples is not None and examples.sequences.codes.tolist() == [0, 1, 2, 3]  # type: ignore[union-attr]


def test_the_marks_of_what_is_no_sequence_are_the_majority_or_the_mean() -> None:
    def of(y_train: list[float], y_test: list[float]) -> Any:
        x = np.zeros((4, 3), np.float32)
        return marks(MatrixBatchGenerator(x, np.array(y_train)), MatrixBatchGenerator(x, np.array(y_test)))

    assert of([0, 1, 1, 1], [1, 1, 0, 0]).majority_accuracy == 0.5
    assert of([0.5, 1.5, 0.5, 1.5], [1.0, 2.5, 1.0, 1.0]).mean_mse == pytest.approx(2.25 / 4)


def test_labels_of_several_numbers_have_no_marks() -> None:
    batches = MatrixBatchGenerator(np.zeros((4, 3), np.float32), np.ones((4, 2), np.float32))
    assert marks(batches, batches) is None
    parts = MatrixBatchGenerator(np.zeros((4, 3), np.float32), {"a": np.ones(4), "b": np.ones(4)})
    assert marks(parts, parts) is None


@pytest.mark.parametrize("batch_size", [1, 2, 3, None])
def test_selected_examples_are_those_that_are_marked(batch_size: int | None) -> None:
    batches = MatrixBatchGenerator({"x": np.arange(5)}, np.arange(5) * 10, batch_size)
    found = [
        (x["x"].tolist(), y.tolist())
        for x, y in labelled(Selected(batches, np.array([True, False, False, True, True])))
    ]
    assert sum((x for x, _ in found), []) == [0, 3, 4]
    assert sum((y for _, y in found), []) == [0, 30, 40]
