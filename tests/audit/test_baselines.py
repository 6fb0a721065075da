"""What trivial models score."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from helixband.audit import baselines as module
from helixband.audit.baselines import Baselines, are_classes, baselines, single_labels
from helixband.errors import DataError
from helixband.sequence.alphabet import DNA

Codes = NDArray[np.uint8]


def random_set(n: int, length: int = 50, seed: int = 0) -> tuple[list[Codes], NDArray[np.int64]]:
    """Random sequences and labels that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 4, (n, length), dtype=np.uint8)), np.arange(n) % 2


def of_lengths(lengths: NDArray[np.int64], seed: int = 0) -> list[Codes]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 4, length, dtype=np.uint8) for length in lengths]


def with_motif(n: int, motif: str, seed: int) -> tuple[list[Codes], NDArray[np.int64]]:
    sequences, labels = random_set(n, seed=seed)
    for index in np.flatnonzero(labels):
        sequences[index][20 : 20 + len(motif)] = DNA.encode(motif)
    return sequences, labels


# Length and GC content.


def test_what_has_nothing_to_do_with_the_labels_scores_half() -> None:
    found = baselines(*random_set(2000), *random_set(1000, seed=1))
    assert found.task == "classification"
    assert found.majority_accuracy == 0.5
    assert found.length_auroc == 0.5
    assert found.gc_auroc == pytest.approx(0.5, abs=0.06)
    assert found.kmer_auroc == pytest.approx(0.5, abs=0.06)
    assert found.kmer_accuracy == pytest.approx(0.5, abs=0.06)
    assert math.isnan(found.mean_mse) and math.isnan(found.kmer_pearson)


def test_the_direction_is_learned_on_the_training_set() -> None:
    labels = np.arange(400) % 2
    longer, shorter = of_lengths(60 + 20 * labels), of_lengths(80 - 20 * labels, seed=1)
    assert baselines(longer, labels, longer, labels).length_auroc == 1
    assert baselines(longer, labels, shorter, labels).length_auroc == 0


def test_a_range_of_lengths_is_found_too() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 2
    sequences = of_lengths(np.where(labels == 1, 60, rng.integers(30, 91, 600)))
    found = baselines(sequences[:400], labels[:400], sequences[400:], labels[400:])
    assert found.length_auroc > 0.95


def gc_auroc(one: str, zero: str) -> float:
    labels = np.arange(200) % 2
    sequences = [DNA.encode(one if label else zero) for label in labels]
    return baselines(sequences, labels, sequences, labels).gc_auroc


def test_gc_content_is_that_of_the_known_bases() -> None:
    assert gc_auroc("GCGCAT", "GCATAT") == 1
    assert gc_auroc("GCATGCAT", "GCATNNNN") == 0.5
    assert gc_auroc("GCAT", "NNNN") == 0.5


def test_a_gc_content_in_the_middle_is_found_too() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    shares = np.where(labels == 1, 0.5, rng.choice([0.2, 0.8], 400))
    sequences = [(rng.permutation(100) < 100 * share).astype(np.uint8) for share in shares]  # C and A
    found = baselines(sequences[:200], labels[:200], sequences[200:], labels[200:])
    assert found.gc_auroc > 0.99


def test_lengths_that_differ_do_not_show_in_the_gc_content() -> None:
    labels = np.arange(2000) % 2
    sequences = of_lengths(80 + 21 * labels)
    found = baselines(sequences[:1000], labels[:1000], sequences[1000:], labels[1000:])
    assert found.length_auroc == 1
    assert found.gc_auroc == pytest.approx(0.5, abs=0.06)


def test_padding_is_no_length() -> None:
    labels = np.arange(200) % 2
    padded = np.full((200, 90), DNA.empty, dtype=np.uint8)
    padded[:, :60] = random_set(200, 60)[0]
    unequal = padded.copy()
    unequal[labels == 1, 40:] = DNA.empty
    assert baselines(padded, labels, padded, labels).length_auroc == 0.5
    assert baselines(unequal, labels, unequal, labels).length_auroc == 1


# 6-mers.


def test_a_motif_is_found_by_its_kmers_on_either_strand() -> None:
    train, test = with_motif(1000, "GATTACA", 0), with_motif(400, "TGTAATC", 1)
    found = baselines(*train, *test)
    assert found.kmer_auroc > 0.95
    assert found.kmer_accuracy > 0.85


def test_one_hot_labels_are_classes() -> None:
    (train, known), (test, true) = with_motif(400, "GATTACA", 0), with_motif(200, "GATTACA", 1)
    expected = baselines(train, known, test, true)
    columns = np.eye(2)
    assert baselines(train, columns[known], test, columns[true]) == expected
    assert baselines(train, known[:, None], test, true.astype(np.float32)) == expected
    assert baselines(train, known == 1, test, true == 1) == expected
    assert baselines(train, 2 * known - 1, test, 2 * true - 1) == expected


def test_of_more_classes_the_auroc_is_the_mean_of_each_against_the_rest() -> None:
    labels = np.arange(600) % 3
    lengths = np.array([40, 60, 60])[labels]
    sequences = of_lengths(lengths)
    found = baselines(sequences, labels, sequences, labels)
    assert found.length_auroc == pytest.approx((1 + 0.75 + 0.75) / 3)
    assert found.majority_accuracy == pytest.approx(1 / 3)


def test_a_class_that_one_set_lacks_is_allowed() -> None:
    sequences, labels = with_motif(300, "GATTACA", 0)
    unseen = np.where(np.arange(300) < 10, 2, labels)
    assert baselines(sequences, labels, sequences, unseen).kmer_accuracy <= 290 / 300
    assert baselines(sequences, unseen, sequences, labels).kmer_auroc > 0.9
    found = baselines(sequences, labels, sequences[:5], np.ones(5))
    assert math.isnan(found.kmer_auroc) and not math.isnan(found.kmer_accuracy)


def test_a_training_set_of_one_class_has_a_majority_and_nothing_else() -> None:
    sequences, labels = random_set(10)
    found = baselines(sequences, np.ones(10), sequences, labels)
    assert found == Baselines("classification", majority_accuracy=0.5, **undefined(found))


def undefined(found: Baselines) -> dict[str, Any]:
    """The fields that are NaN, which is not equal to itself."""
    return {name: value for name, value in vars(found).items() if isinstance(value, float) and value != value}


def test_the_majority_is_that_of_the_training_set() -> None:
    sequences, _ = random_set(10)
    found = baselines(sequences, [0] * 6 + [1] * 4, sequences, [0] * 3 + [1] * 7)
    assert found.majority_accuracy == 0.3


# Numbers.


def test_numbers_are_regressed_on() -> None:
    rng = np.random.default_rng(0)
    (train, _), (test, _) = random_set(1000), random_set(300, seed=1)

    def value(codes: Codes) -> float:
        return float(np.isin(codes, DNA.encode("CG")).mean() + rng.normal(scale=0.01))

    known, true = np.array([value(codes) for codes in train]), np.array([value(codes) for codes in test])
    found = baselines(train, known, test, true)
    assert found.task == "regression"
    assert found.mean_mse == pytest.approx(np.mean((true - known.mean()) ** 2))
    assert found.gc_pearson > 0.95
    assert found.kmer_pearson > 0.8
    assert found.kmer_mse < found.mean_mse
    assert math.isnan(found.length_pearson) and math.isnan(found.kmer_auroc)


@pytest.mark.parametrize(
    ("known", "true", "expected"),
    [
        ([0, 1], [1, 0], True),
        ([0.0, 1.0], [1.0, 2.0], True),
        ([0.0, 1.5], [1.0, 2.0], False),
        ([0.0, 1.0], [1.0, 2.5], False),
        (range(50), [1], True),
        (range(50), [50], False),
    ],
)
def test_whole_numbers_of_at_most_50_values_are_classes(known: Any, true: Any, expected: bool) -> None:
    assert are_classes(np.array(known), np.array(true)) is expected


# Labels.


def test_labels_of_any_form_become_one_a_sequence() -> None:
    assert single_labels([[0.5], [2.5]], 2).tolist() == [0.5, 2.5]
    assert single_labels([[0, 0, 1], [1, 0, 0]], 2).tolist() == [2, 0]
    assert single_labels([True, False], 2).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 0], r"labels of shape \(3,\) for 2 sequences"),
        (np.zeros((2, 1, 1)), r"labels of shape \(2, 1, 1\) for 2 sequences"),
        (np.zeros((2, 0)), r"labels of shape \(2, 0\) for 2 sequences"),
        ([0.0, float("nan")], "no finite number"),
        (["a", "b"], "no finite number"),
        ([[1, 1, 0], [0, 0, 1]], "labels of 3 columns that are not one-hot"),
        ([[0.5, 0.5], [0, 1]], "labels of 2 columns that are not one-hot"),
    ],
)
def test_labels_that_are_not_one_a_sequence_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        single_labels(labels, 2)


# Any size.


def test_the_same_figures_come_out_again() -> None:
    sets = (*with_motif(400, "GATTACA", 0), *with_motif(200, "GATTACA", 1))
    assert baselines(*sets) == baselines(*sets)


def test_of_a_large_training_set_a_part_is_learned_on(monkeypatch: pytest.MonkeyPatch) -> None:
    train, known = with_motif(2000, "GATTACA", 0)
    test = with_motif(200, "GATTACA", 1)
    whole = baselines(train, known, *test)
    monkeypatch.setattr(module, "LEARNED_BASES", 50 * 500)
    monkeypatch.setattr(module, "PREDICTED_BASES", 1000)
    part = baselines(train, known, *test)
    assert len(module._learned(module.SequenceSet.of(train))) == pytest.approx(500, abs=1)
    assert part.kmer_auroc > 0.9 and part.majority_accuracy == whole.majority_accuracy
    assert part.gc_auroc != whole.gc_auroc
