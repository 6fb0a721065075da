"""What a definition's generators hold, as sequences and labels."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from batch_generator import (
    FastaBatchGenerator,
    H5pyBatchGenerator,
    MatrixBatchGenerator,
    MixedBatchGenerator,
)
from helixband.audit.audit import audit
from helixband.audit.examples import Unlike, codes_of, digests_of, examples_of, marks
from helixband.errors import DataError
from helixband.networks.one_hot import OneHot
from helixband.sequence.alphabet import DNA, PROTEIN, RNA
from helixband.training.feed import labelled

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
    assert examples.sequences.codes.tolist() == DNA.encode("ACGTTTTTTGGGGG").tolist()  # type: ignore[union-attr]
    assert np.asarray(examples.labels).tolist() == [0, 1, 1]


def test_of_a_large_training_set_enough_is_read_from_all_over() -> None:
    letters = np.tile(np.arange(4, dtype=np.uint8), (1000, 5))
    batches = MatrixBatchGenerator(letters, np.repeat([0, 1], 500), batch_size=100)
    examples = examples_of(batches, enough_bases=4000)
    assert examples is not None
    assert 150 < len(examples.sequences) < 250
    assert 0.3 < np.mean(np.asarray(examples.labels)) < 0.7


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
def test_small_numbers_without_all_letters_are_no_sequences(kind: type) -> None:
    assert examples_of(MatrixBatchGenerator(np.eye(3, dtype=kind), np.arange(3))) is None


@pytest.mark.parametrize("unequal", ["pad", "bucket"])
def test_padding_is_no_part_of_a_sequence(tmp_path: Path, unequal: str) -> None:
    (tmp_path / "x.fa").write_text(">a\nACGT\n>b\nACNGTACGT\n>c\nNNN\n")
    examples = examples_of(FastaBatchGenerator(str(tmp_path / "x.fa"), [0, 1, 2], unequal=unequal))
    assert examples is not None
    lengths = examples.sequences.lengths.tolist()  # type: ignore[union-attr]
    assert lengths[:2] == [4, 9]
    assert examples.sequences.codes[:13].tolist() == DNA.encode("ACGTACNGTACGT").tolist()  # type: ignore[union-attr]


@pytest.fixture
def fasta(tmp_path: Path) -> str:
    path = tmp_path / "x.fa"
    path.write_text(">chr1:11-15\nACGTN\n>chr1:101-105(-)\nTTTTT\n>chr2:1-5\nGGGGG\n")
    return str(path)


def test_sequences_of_a_file_have_their_coordinates(fasta: str) -> None:
    examples = examples_of(FastaBatchGenerator(fasta, [0, 1, 1]))
    assert examples is not None and examples.intervals is not None
    assert examples.sequences.codes.tolist() == DNA.encode("ACGTTTTTTGGGGG").tolist()  # type: ignore[union-attr]
    assert examples.intervals.start.tolist() == [10, 100, 0]
    assert examples.intervals.chromosome_names().tolist() == ["chr1", "chr1", "chr2"]


def test_headers_that_look_like_regions_and_cannot_be_read_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">chr1:11-99\nACGTN\n>chr1:101-105\nTTTTT\n>chr2:1-5\nGGGGG\n")
    examples = examples_of(FastaBatchGenerator(path, [0, 1, 1], window=5))
    assert examples is not None and examples.intervals is None
    notes = audit(examples, examples).notes
    assert notes[1].startswith(f"Coordinates cannot be read: in {path}, 'chr1:11-99' looks like a region")


def test_of_a_large_file_some_sequences_are_taken(fasta: str) -> None:
    examples = examples_of(FastaBatchGenerator(fasta, [0, 1, 2]), enough_bases=10)
    assert examples is not None and len(examples.sequences) == 2


def test_a_file_without_targets_is_refused(fasta: str) -> None:
    with pytest.raises(DataError, match="has no targets, and needs them"):
        examples_of(FastaBatchGenerator(fasta))


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


DRAWN: dict[str, Any] = {
    "balanced": {"shuffle": True, "sampling": "balanced"},
    "weights": {"shuffle": True, "sampling": [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]},
    "drop_last": {"shuffle": True, "batch_size": 6, "drop_last": True},
}
OF_TEN = np.arange(10) // 9  # one of class 1


@pytest.mark.parametrize("drawn", DRAWN.values(), ids=DRAWN)
def test_each_example_counts_once_whatever_an_epoch_draws_or_leaves_out(drawn: Any) -> None:
    codes = np.arange(4)[np.indices((4,) * 3).reshape(3, -1).T][:10].astype(np.uint8)
    codes[-1] = 1, 2, 3
    examples = examples_of(MatrixBatchGenerator(codes, OF_TEN, **drawn))
    assert examples is not None
    assert examples.sequences.codes.reshape(10, 3).tolist() == codes.tolist()  # type: ignore[union-attr]
    assert np.asarray(examples.labels).tolist() == OF_TEN.tolist()


@pytest.mark.parametrize("drawn", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("streamed", [False, True])
def test_the_majority_and_the_mean_are_those_of_the_set_as_it_is(
    tmp_path: Path, drawn: Any, streamed: bool
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data"], file["label"] = np.zeros((10, 3), np.float32), OF_TEN
    options = {"batch_size": 6, **drawn, "memory_limit": 0 if streamed else 1 << 20}
    train = H5pyBatchGenerator(tmp_path / "x.h5", **options)
    test = MatrixBatchGenerator(np.zeros((4, 3), np.float32), np.array([0, 0, 0, 1]))
    found = [marks(train, test, classes) for classes in (True, False)]
    assert found[0] is not None and found[0].majority_accuracy == 0.75
    assert found[1] is not None and found[1].mean_mse == pytest.approx((3 * 0.1**2 + 0.9**2) / 4)


def test_of_a_mixture_each_example_of_its_sets_counts_once() -> None:
    sets = [MatrixBatchGenerator(CODES, np.array(labels)) for labels in ([0, 1, 2], [7, 8, 9])]
    examples = examples_of(MixedBatchGenerator(sets, [0.9, 0.1], batch_size=2))
    assert examples is not None
    assert examples.sequences.codes.tolist() == DNA.encode("ACGTTTTTTGGGGG" * 2).tolist()  # type: ignore[union-attr]
    assert np.asarray(examples.labels).tolist() == [0, 1, 2, 7, 8, 9]


def test_the_sets_of_a_mixture_have_their_coordinates(fasta: str, tmp_path: Path) -> None:
    (tmp_path / "y.fa").write_text(">chr3:1-5\nACGTA\n")
    sets = [
        FastaBatchGenerator(fasta, [0, 1, 1], shuffle=True),
        FastaBatchGenerator(tmp_path / "y.fa", [1], shuffle=True),
    ]
    mixture = MixedBatchGenerator(sets, [0.5, 0.5], batch_size=2)
    examples = examples_of(mixture)
    assert examples is not None and examples.intervals is not None
    assert examples.intervals.chromosome_names().tolist() == ["chr1", "chr1", "chr2", "chr3"]
    assert mixture.coordinates == "headers"
    sets[1] = FastaBatchGenerator(tmp_path / "y.fa", [1], window=3)
    assert MixedBatchGenerator(sets, [0.5, 0.5], batch_size=2).coordinates == "headers"
    (tmp_path / "y.fa").write_text(">a\nACGTA\n")
    sets[1] = FastaBatchGenerator(tmp_path / "y.fa", [1], window=3)
    assert MixedBatchGenerator(sets, [0.5, 0.5], batch_size=2).coordinates is None


def test_labels_of_several_numbers_have_no_marks() -> None:
    batches = MatrixBatchGenerator(np.zeros((4, 3), np.float32), np.ones((4, 2), np.float32))
    assert marks(batches, batches) is None
    parts = MatrixBatchGenerator(np.zeros((4, 3), np.float32), {"a": np.ones(4), "b": np.ones(4)})
    assert marks(parts, parts) is None


@pytest.mark.parametrize("batch_size", [1, 2, 3, None])
@pytest.mark.parametrize("shuffle", [False, True])
def test_examples_unlike_some_are_told_by_their_sequences(batch_size: int | None, shuffle: bool) -> None:
    batches = MatrixBatchGenerator({"x": CODES}, np.arange(3), batch_size, shuffle)
    unlike = Unlike(batches, digests_of(CODES[:1, :4]))  # its N counts for nothing
    for _ in range(2):
        assert sorted(int(label) for _, y in labelled(unlike) for label in y) == [1, 2]
        assert unlike.count == 2


def test_whole_numbers_are_classes_or_not_as_the_model_has_them() -> None:
    x = np.zeros((4, 3), np.float32)
    batches = MatrixBatchGenerator(x, np.array([0, 1, 1, 2]))
    assert marks(batches, batches, classes=True).task == "classification"  # type: ignore[union-attr]
    assert marks(batches, batches, classes=False).task == "regression"  # type: ignore[union-attr]
