"""What a good score could come from besides biology."""

import gzip
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA, ROOT
from numpy.typing import NDArray

from helixband.audit.__main__ import main
from helixband.audit.audit import AuditReport, Examples, audit, describe
from helixband.errors import DataError
from helixband.sequence.alphabet import DNA
from helixband.sequence.intervals import Intervals

Codes = NDArray[np.uint8]

KEYS = {
    "n_train", "n_test", "exact_duplicates", "exact_duplicate_share", "reverse_complement_duplicates",
    "reverse_complement_duplicate_share", "near_duplicates", "near_duplicate_share", "overlapping_intervals",
    "overlapping_interval_share", "similar", "similar_share", "near_threshold", "conflicting_labels",
    "copy_label_accuracy", "copy_label_pearson", "task", "majority_accuracy", "length_auroc", "gc_auroc",
    "kmer_auroc", "kmer_accuracy", "mean_mse", "length_pearson", "gc_pearson", "kmer_pearson", "kmer_mse",
    "warnings", "notes",
}  # fmt: skip


def random_codes(n: int, length: int = 101, seed: int = 0) -> Codes:
    return np.random.default_rng(seed).integers(0, 4, (n, length), dtype=np.uint8)


def mutated(codes: Codes, step: int = 12) -> Codes:
    """Every `step`th base replaced by another."""
    codes = codes.copy()
    codes[..., ::step] = (codes[..., ::step] + 1) % 4
    return codes


def leaking() -> tuple[Codes, Codes]:
    """A training set of 100; of 100 test sequences 5 are equal, 4 of the other strand, 8 nearly the same."""
    train, rest = random_codes(100), random_codes(83, seed=1)
    turned = DNA.reverse_complement(train[5:9])
    return train, np.concatenate([train[:5], turned, mutated(train[9:17]), rest])


# The report.


def test_duplicates_of_every_kind_are_counted_once() -> None:
    train, test = leaking()
    report = audit(Examples(train), Examples(test))
    assert (report.n_train, report.n_test) == (100, 100)
    assert report.exact_duplicates == 5
    assert report.reverse_complement_duplicates == 4
    assert report.near_duplicates == 8
    assert report.similar.tolist() == [True] * 17 + [False] * 83


def test_a_palindrome_is_an_exact_duplicate() -> None:
    report = audit(Examples(DNA.encode(["GAATTC"])), Examples(DNA.encode(["GAATTC"])))
    assert (report.exact_duplicates, report.reverse_complement_duplicates) == (1, 0)


def test_of_sets_with_nothing_in_common_there_is_no_warning() -> None:
    labels = np.arange(1000) % 2
    report = audit(Examples(random_codes(1000), labels), Examples(random_codes(1000, seed=1), labels))
    assert not report.similar.any()
    assert report.warnings == []
    assert report.conflicting_labels == 0
    assert report.copy_label_accuracy == 0.5
    assert report.baselines and report.baselines.kmer_auroc == pytest.approx(0.5, abs=0.06)


def test_without_labels_and_coordinates_their_figures_are_null_and_a_note_says_so() -> None:
    document = audit(*map(Examples, leaking())).to_json()
    assert document.keys() == KEYS
    nulls = {name for name, value in document.items() if value is None}
    assert nulls == {
        "overlapping_intervals", "overlapping_interval_share", "conflicting_labels", "copy_label_accuracy",
        "copy_label_pearson", "task", "majority_accuracy", "length_auroc", "gc_auroc", "kmer_auroc",
        "kmer_accuracy", "mean_mse", "length_pearson", "gc_pearson", "kmer_pearson", "kmer_mse",
    }  # fmt: skip
    assert document["notes"] == [
        "There are no coordinates of either set: overlaps are not looked for.",
        "There are no labels of either set: what needs labels is left out.",
    ]
    assert document["near_duplicate_share"] == 0.08
    assert document["similar_share"] == 0.17


def test_one_set_without_labels_is_named() -> None:
    train, test = leaking()
    assert "no labels of the test set" in audit(Examples(train, np.zeros(100)), Examples(test)).notes[1]
    assert "no labels of the training set" in audit(Examples(train), Examples(test, np.zeros(100))).notes[1]


def test_labels_of_several_tasks_are_left_out_with_a_note() -> None:
    train, test = leaking()
    several = np.ones((100, 3))
    report = audit(Examples(train, several), Examples(test, several))
    assert report.baselines is None
    assert report.notes[1].startswith("Labels are not used (labels of 3 columns that are not one-hot")


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(DataError, match="1 training and 0 test sequences"):
        audit(Examples(random_codes(1)), Examples([]))


# Labels.


def test_the_label_is_copied_from_a_similar_sequence_and_is_the_majority_elsewhere() -> None:
    train, test = random_codes(10), random_codes(10, seed=1)
    test[0], test[1], test[2] = train[0], DNA.reverse_complement(train[1]), mutated(train[2])
    known = [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]
    right = audit(Examples(train, known), Examples(test, [0, 0, 0, 1, 1, 1, 1, 0, 0, 0]))
    assert right.copy_label_accuracy == 0.7
    wrong = audit(Examples(train, known), Examples(test, [1, 0, 0, 1, 1, 1, 1, 0, 0, 0]))
    assert wrong.copy_label_accuracy == 0.6


def test_of_numbers_the_correlation_with_copied_ones_is_told() -> None:
    train, known = random_codes(50), np.linspace(0, 1, 50)
    report = audit(Examples(train, known), Examples(mutated(train), known))
    assert report.copy_label_pearson == pytest.approx(1)
    assert report.copy_label_accuracy is None
    assert report.conflicting_labels is None
    document = report.to_json()
    assert document["task"] == "regression"
    assert document["kmer_auroc"] is None and document["kmer_mse"] > 0


def test_equal_training_sequences_with_different_labels_are_counted() -> None:
    train = random_codes(10)
    train[1], train[3], train[5] = train[0], DNA.reverse_complement(train[2]), train[4]
    labels = [0, 1, 1, 0, 1, 1, 0, 0, 0, 1]
    report = audit(Examples(train, labels), Examples(random_codes(4, seed=1), [0, 1, 0, 1]))
    assert report.conflicting_labels == 4
    assert "4 training sequences are equal to one with another label" in report.warnings[0]


# Places.


def places(*intervals: tuple[str, int, int]) -> Intervals:
    names, starts, ends = zip(*intervals, strict=True)
    return Intervals.make(names, starts, ends)


def overlaps(train: Intervals | None, test: Intervals | None) -> AuditReport:
    sizes = [len(part) if part else 2 for part in (train, test)]
    return audit(
        Examples(random_codes(sizes[0]), None, train), Examples(random_codes(sizes[1], seed=1), None, test)
    )


def test_intervals_that_share_a_base_with_a_training_one_overlap() -> None:
    report = overlaps(
        places(("chr1", 100, 200), ("chr2", 100, 200)),
        places(("chr1", 200, 300), ("chr1", 199, 299), ("chr2", 0, 101), ("chr3", 100, 200)),
    )
    assert report.overlapping_intervals == 2
    assert report.similar.tolist() == [False, True, True, False]
    assert report.warnings[0].startswith("2 of 4 test examples (50.00%) lie where training examples lie")


def test_chromosomes_of_other_names_are_not_compared() -> None:
    report = overlaps(places(("chr1", 100, 200), ("chr2", 0, 9)), places(("1", 100, 200)))
    assert report.overlapping_intervals is None
    assert report.notes[0] == "'1' is 'chr1' in the training set: overlaps are not looked for."


@pytest.mark.parametrize("strand", [0, 1, -1])
def test_one_chromosome_with_a_name_in_each_set_is_told(strand: int) -> None:
    genome = random_codes(1, 1000)[0]
    windows = [[genome[start : start + 100] for start in range(first, 900, 100)] for first in (0, 50)]
    windows[1] = [DNA.reverse_complement(codes) for codes in windows[1]]
    known = Intervals.make(["s1_I"] * 9, range(0, 900, 100), range(100, 901, 100), [abs(strand)] * 9)
    true = Intervals.make(["s2_I"] * 9, range(50, 900, 100), range(150, 951, 100), [-abs(strand)] * 9)
    if strand < 0:
        known, true, windows = true, known, windows[::-1]
    report = audit(Examples(windows[0], intervals=known), Examples(windows[1], intervals=true))
    assert report.overlapping_intervals is None
    assert report.notes[0] == (
        f"{known.names[0]!r} and {true.names[0]!r} have the same bases at the same positions, and may be one "
        "chromosome: overlaps are not looked for."
    )


def test_a_set_without_coordinates_is_named() -> None:
    interval = places(("chr1", 100, 200))
    assert "no coordinates of the test set" in overlaps(interval, None).notes[0]
    assert "no coordinates of the training set" in overlaps(None, interval).notes[0]


# Warnings.


def test_each_finding_has_its_threshold() -> None:
    train, test = random_codes(100), random_codes(200, seed=1)
    test[:2] = mutated(train[:2])
    assert audit(Examples(train), Examples(test)).warnings == []
    test[:3] = mutated(train[:3])
    assert audit(Examples(train), Examples(test)).warnings == [
        "3 of 200 test examples (1.50%) are nearly the same as a training sequence: a score on them shows "
        "memory, not understanding."
    ]
    test[:2] = train[0], DNA.reverse_complement(train[1])
    assert [sentence[:60] for sentence in audit(Examples(train), Examples(test)).warnings] == [
        "1 of 200 test examples (0.50%) are in the training set too: ",
        "1 of 200 test examples (0.50%) are the reverse complement of",
    ]


def test_copied_labels_are_warned_of() -> None:
    train, labels = random_codes(100), np.arange(100) % 2
    report = audit(Examples(train, labels), Examples(mutated(train), labels))
    assert (
        "Labels copied from similar sequences are right for 100.0%, the majority class for 50.0%: split by "
        "similarity or chromosome." in report.warnings
    )


def test_length_and_gc_content_that_tell_the_classes_apart_are_warned_of() -> None:
    labels = np.arange(400) % 2
    short = list(random_codes(400))
    rich = np.random.default_rng(1).choice(4, (400, 101), p=[0.1, 0.4, 0.4, 0.1]).astype(np.uint8)
    for index in np.flatnonzero(labels):
        short[index] = short[index][:80]
        rich[index] = random_codes(1, seed=index)
    assert [sentence.split(":")[0] for sentence in told(short, labels)] == [
        "The length alone tells the classes apart, AUROC 1.000"
    ]
    assert told(list(rich), labels)[0].startswith(
        "The GC content alone tells the classes apart, AUROC 1.000: ch"
    )


def test_length_and_gc_content_that_predict_a_number_are_warned_of() -> None:
    sequences = list(random_codes(200))
    lengths = 60 + np.arange(200) % 41
    cut = [codes[:length] for codes, length in zip(sequences, lengths, strict=True)]
    assert "The length alone predicts the labels, r = 0.99" in told(cut, lengths / 7.5)[0]


def told(sequences: Sequence[Codes], labels: NDArray[Any]) -> list[str]:
    """The warnings for a random split in two halves."""
    half = len(sequences) // 2
    train, test = Examples(sequences[:half], labels[:half]), Examples(sequences[half:], labels[half:])
    return audit(train, test).warnings


# The command.


def fasta(path: Path, codes: Sequence[Codes] | Codes, headers: Sequence[str] | None = None) -> Path:
    names = headers or [f"{path.stem}{number}" for number in range(len(codes))]
    records = [f">{name}\n{DNA.decode(row)}\n" for name, row in zip(names, codes, strict=True)]
    path.write_text("".join(records))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """The JSON document that the command prints."""
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def fails(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """What the command says where it fails."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")
    return captured.err


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    train, test = leaking()
    return fasta(tmp_path / "train.fa", train), fasta(tmp_path / "test.fa", test)


def test_the_command_reads_fasta_files(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    document = run(capsys, *files)
    assert document.keys() == KEYS
    assert (document["n_train"], document["n_test"]) == (100, 100)
    assert (document["exact_duplicates"], document["reverse_complement_duplicates"]) == (5, 4)
    assert (document["near_duplicates"], document["length_auroc"]) == (8, None)


def test_the_command_runs_as_a_module(files: tuple[Path, Path], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "helixband.audit", "train.fa", "test.fa"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:6] == [
        "100 test examples, in the training set of 100               number     share",
        "  exactly                                                        5     5.00%",
        "  as the reverse complement                                      4     4.00%",
        "  nearly, by k-mers                                              8     8.00%",
        "  overlapping a training interval                                -",
        "  any of these                                                  17    17.00%",
    ]


def test_labels_beside_a_fasta_file_are_read_and_told(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = files
    lines = "1 0\n0 1\n" * 50
    train.with_suffix(".target").write_text(lines)
    test.with_suffix(".target").write_text(lines)
    document = run(capsys, train, test)
    assert document["task"] == "classification"
    assert document["majority_accuracy"] == 0.5
    assert document["notes"][:2] == [
        f"The labels of {train} are those of {train.with_suffix('.target')}.",
        f"The labels of {test} are those of {test.with_suffix('.target')}.",
    ]


def test_labels_of_a_flag_come_first(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    train, test = files
    train.with_suffix(".target").write_text("0\n1\n" * 50)
    numbers = train.with_name("numbers.txt")
    numbers.write_text("".join(f"{value / 8}\n" for value in range(100)))
    document = run(capsys, train, test, "--train-labels", numbers, "--test-labels", numbers)
    assert document["task"] == "regression"
    assert document["copy_label_pearson"] is not None


def test_a_second_class_may_have_files_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"train": (60, 40), "test": (10, 30)}
    arguments: list[object] = []
    for seed, (name, (ones, zeros)) in enumerate(sizes.items()):
        fasta(tmp_path / f"{name}1.fa", random_codes(ones, 80, seed))
        fasta(tmp_path / f"{name}0.fa", random_codes(zeros, 90, seed))
        arguments += [tmp_path / f"{name}1.fa"]
    for name in sizes:
        arguments += [f"--{name}-negatives", tmp_path / f"{name}0.fa"]
    document = run(capsys, *arguments)
    assert (document["n_train"], document["n_test"]) == (100, 40)
    assert document["majority_accuracy"] == 0.25
    assert document["length_auroc"] == 1


def test_a_rule_on_the_headers_may_make_the_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headers = [f"a{number}" + " bound" * (number % 4 == 0) for number in range(40)]
    train = fasta(tmp_path / "train.fa", random_codes(40), headers)
    test = fasta(tmp_path / "test.fa", random_codes(40, seed=1), headers)
    document = run(capsys, train, test, "--label-regex", "bound$")
    assert (document["task"], document["majority_accuracy"]) == ("classification", 0.75)


def test_regions_in_headers_count_from_1_and_include_their_last_base(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = fasta(tmp_path / "train.fa", random_codes(2, 100), ["chr1:101-200", "chr1:1001-1100"])
    test = fasta(
        tmp_path / "test.fa", random_codes(3, 100, 1), ["chr1:201-300", "chr1:200-299", "chr2:101-200"]
    )
    assert run(capsys, train, test)["overlapping_intervals"] == 1


def test_regions_of_bedtools_with_names_are_seen_to_overlap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = fasta(tmp_path / "train.fa", random_codes(2, 100), ["a::chr1:100-200(+)", "b::chr1:0-100(+)"])
    test = fasta(tmp_path / "test.fa", random_codes(2, 100, 1), ["c::chr1:200-300(-)", "d::chr1:199-299(-)"])
    assert run(capsys, train, test)["overlapping_intervals"] == 1


def test_regions_that_cannot_be_read_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = fasta(tmp_path / "train.fa", random_codes(1, 100), ["chr1:1-100"])
    test = fasta(tmp_path / "test.fa", random_codes(1, 100, 1), ["chr1:1-100bp"])
    document = run(capsys, train, test)
    assert document["overlapping_intervals"] is None
    why = "'chr1:1-100bp' looks like a region, but its sequence has 100 bases"
    assert f"Coordinates cannot be read: in {test}, {why}." in document["notes"]


def test_what_the_output_cannot_show_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fasta(tmp_path / "größe.fa", random_codes(2, 100))
    path.with_suffix(".target").write_text("0\n1\n")
    output = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(output, "ascii", write_through=True))
    assert main([str(path), str(path)]) == 0
    assert rb"gr\xf6\xdfe.fa" in output.getvalue()


def genome(tmp_path: Path) -> Path:
    return fasta(tmp_path / "genome.fa", random_codes(2, 5000), ["chr1", "chr2"])


def bed(path: Path, rows: Sequence[tuple[Any, ...]]) -> Path:
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


def test_the_command_reads_intervals_and_a_genome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = bed(tmp_path / "train.bed", [("chr1", 1000, 1100)])
    test = bed(tmp_path / "test.bed", [("chr1", 1050, 1150), ("chr1", 3000, 3100), ("chr2", 1000, 1100)])
    document = run(capsys, train, test, "--genome", genome(tmp_path))
    assert (document["n_train"], document["n_test"]) == (1, 3)
    assert document["overlapping_intervals"] == 1
    assert document["near_duplicates"] == 1
    assert document["similar"] == 1


def test_the_strand_of_an_interval_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = bed(tmp_path / "train.bed", [("chr1", 1000, 1100, "a", 0, "+")])
    test = bed(tmp_path / "test.bed", [("chr1", 1000, 1100, "b", 0, "-")])
    document = run(capsys, train, test, "--genome", genome(tmp_path))
    assert (document["exact_duplicates"], document["reverse_complement_duplicates"]) == (0, 1)


def test_a_window_is_taken_around_each_centre(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = bed(tmp_path / "train.bed", [("chr1", 1000, 1001), ("chr1", 3, 4)])
    test = bed(tmp_path / "test.bed", [("chr1", 1060, 1061), ("chr1", 1110, 1111)])
    flags = (train, test, "--genome", genome(tmp_path))
    assert run(capsys, *flags, "--window", 100)["overlapping_intervals"] == 1
    assert run(capsys, *flags, "--window", 50)["overlapping_intervals"] == 0
    assert "half of the intervals have 1 bases or fewer; --window N" in fails(capsys, 2, *flags)
    assert "the window is 0" in fails(capsys, 1, *flags, "--window", 0)


def test_names_of_chromosomes_can_be_matched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = bed(tmp_path / "train.bed", [("1", 1000, 1100)])
    test = bed(tmp_path / "test.bed", [("1", 1050, 1150)])
    flags = (train, test, "--genome", genome(tmp_path))
    assert "says '1'" in fails(capsys, 1, *flags)
    assert run(capsys, *flags, "--aliases", "match")["overlapping_intervals"] == 1
    table = tmp_path / "aliases.tsv"
    table.write_text("1\tchr2\n")
    assert run(capsys, *flags, "--aliases", table)["overlapping_intervals"] == 1


# What the command refuses.


def test_flags_that_do_not_go_together_are_refused(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = files
    peaks = bed(train.with_name("peaks.bed"), [("chr1", 100, 200)])
    assert "--genome has to name" in fails(capsys, 2, train, peaks)
    assert "both files are FASTA" in fails(capsys, 2, *files, "--window", 5)
    both = ("--train-labels", train, "--test-negatives", test)
    assert "one of --train-labels, --train-negatives and --label-regex" in fails(capsys, 2, *files, *both)
    assert "'(' is no regular expression" in fails(capsys, 2, *files, "--label-regex", "(")


def test_files_that_are_something_else_are_refused(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = files
    protein = train.with_name("protein.fa")
    protein.write_text(">p\nMKLV\n")
    assert f"{protein}" in fails(capsys, 1, train, protein)
    assert "no file" in fails(capsys, 1, train, train.with_name("absent.fa"))
    assert "its suffix says neither FASTA" in fails(capsys, 1, train, train.with_suffix(".txt"))
    train.with_suffix(".target").write_text("0\n1\n")
    assert "100 records" in fails(capsys, 1, train, test)


# Real data.


def real(folder: str) -> Path:
    if not (DATA / folder).is_dir():
        pytest.skip(f"there is no {DATA / folder}; HELIXBAND_DATA names the folder that holds it")
    return DATA / folder


def unpacked(source: Path, path: Path) -> Path:
    path.write_bytes(gzip.decompress(source.read_bytes()))
    return path


def test_of_the_ctcf_set_some_sites_are_repeats_of_training_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = real("tf_classifier")
    unpacked(folder / "train.target.gz", tmp_path / "train.target")
    document = run(
        capsys,
        unpacked(folder / "train.fa.gz", tmp_path / "train.fa"),
        folder / "valid.fa",
    )
    assert (document["n_train"], document["n_test"]) == (77174, 1000)
    assert document["exact_duplicates"] == document["reverse_complement_duplicates"] == 0
    assert 30 < document["near_duplicates"] < 70
    assert document["copy_label_accuracy"] > 0.53
    assert document["length_auroc"] == 0.5
    assert document["gc_auroc"] == pytest.approx(0.5, abs=0.03)  # the shuffles keep it
    assert document["kmer_auroc"] == pytest.approx(0.885, abs=0.01)
    assert document["overlapping_intervals"] is None


@pytest.mark.parametrize(
    ("one", "zero", "gc_auroc", "kmer_auroc"),
    [
        ("cnnprom/Ecoli_prom.fa.gz", "cnnprom/Ecoli_non_prom.fa.gz", 0.88, 0.93),
        ("ienhancer/train_enhancers.fa.gz", "ienhancer/train_nonenhancers.fa.gz", 0.81, 0.83),
    ],
    ids=["promoters", "enhancers"],
)
def test_of_promoters_and_enhancers_the_gc_content_tells_most(
    tmp_path: Path, one: str, zero: str, gc_auroc: float, kmer_auroc: float
) -> None:
    ones, zeros = (records(real(name.split("/")[0]).parent / name) for name in (one, zero))
    labels = np.repeat([1, 0], [len(ones), len(zeros)])
    order = np.random.default_rng(0).permutation(len(labels))
    sequences = [(ones + zeros)[index] for index in order]
    cut = len(order) * 3 // 4
    report = audit(
        Examples(sequences[:cut], labels[order[:cut]]), Examples(sequences[cut:], labels[order[cut:]])
    )
    assert report.baselines
    assert report.baselines.gc_auroc == pytest.approx(gc_auroc, abs=0.03)
    assert report.baselines.kmer_auroc == pytest.approx(kmer_auroc, abs=0.03)
    assert any(sentence.startswith("The GC content alone") for sentence in report.warnings)


def records(path: Path) -> list[Codes]:
    """The sequences of a FASTA file whose names may come twice."""
    parts = gzip.decompress(path.read_bytes()).decode().split(">")[1:]
    return [DNA.encode("".join(part.split("\n")[1:]).strip()) for part in parts]


def test_of_yeast_peaks_split_by_chromosome_none_overlap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = real("yeast")
    rows = [line.split("\t") for line in (folder / "Reb1.bed").read_text().splitlines()]
    parts = {"train": [f"chr{n}" for n in range(1, 9)], "test": ["chr11", "chr12"]}
    paths = [
        bed(tmp_path / f"{name}.bed", [tuple(row) for row in rows if row[0] in chromosomes])
        for name, chromosomes in parts.items()
    ]
    flags = ("--genome", folder / "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz", "--window", 201)
    assert "says 'chr" in fails(capsys, 1, *paths, *flags)
    document = run(capsys, *paths, *flags, "--aliases", "match")
    assert (document["n_train"], document["n_test"]) == (455, 151)
    assert document["overlapping_intervals"] == 0
    assert document["near_duplicates"] < 5


def test_undefined_figures_are_null_in_json_and_a_dash_in_the_table() -> None:
    train, test = leaking()
    report = audit(Examples(train, np.ones(100)), Examples(test, np.ones(100)))
    assert report.baselines and math.isnan(report.baselines.kmer_auroc)
    assert report.to_json()["kmer_auroc"] is None
    assert "  6-mers: the mark to beat                                       -         -" in describe(report)
