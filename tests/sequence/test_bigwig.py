"""Values along windows of a genome, from bigWig files: as targets, shifted and turned as the windows are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_generator import FastaBatchGenerator, IntervalBatchGenerator
from helixband.errors import DataError, HelixbandError
from helixband.sequence.augmentation import Augmentation

pybigtools = pytest.importorskip("pybigtools")

LENGTHS = {"chr1": 200, "chr2": 100}


@pytest.fixture
def genome(tmp_path: Path) -> str:
    """A's and C's in turn; the value at base p of chr1 is p + 1, and of chr2 1000 + p."""
    path = tmp_path / "genome.fa"
    path.write_text("".join(f">{name}\n{'AC' * (length // 2)}\n" for name, length in LENGTHS.items()))
    write(tmp_path / "plus.bw", lambda name, p: p + 1 if name == "chr1" else 1000 + p)
    write(tmp_path / "minus.bw", lambda name, p: -(p + 1) if name == "chr1" else -(1000 + p))
    return str(path)


def write(path: Path, value: Any, lengths: dict[str, int] = LENGTHS, last: int = 90) -> None:
    """A bigWig with a value at each base up to `last`."""
    entries = [(name, p, p + 1, float(value(name, p))) for name in sorted(lengths) for p in range(last)]
    pybigtools.open(str(path), "w").write(lengths, iter(entries))


def peaks(genome: str, *lines: str) -> str:
    path = Path(genome).parent / "peaks.bed"
    path.write_text("".join(f"{line}\n" for line in lines).replace(" ", "\t"))
    return str(path)


def beside(genome: str, name: str) -> str:
    return str(Path(genome).parent / name)


def test_the_target_is_the_value_at_each_base(genome: str) -> None:
    bed = peaks(genome, "chr1 10 14 a 0 +", "chr2 20 24 b 0 +", "chr1 10 14 c 0 -")
    data = IntervalBatchGenerator(genome, bed, targets=beside(genome, "plus.bw"))
    expected = [[11, 12, 13, 14], [1020, 1021, 1022, 1023], [14, 13, 12, 11]]
    ((x, y),) = data
    assert y.tolist() == expected and y.dtype == np.float32 and x.shape == (3, 4)
    assert data.get_Y().tolist() == expected


def test_a_base_without_a_value_has_0(genome: str) -> None:
    bed = peaks(genome, "chr1 88 92 a 0 +", "chr2 98 102 b 0 +".replace("102", "100"))
    data = IntervalBatchGenerator(genome, bed, window=6, targets=beside(genome, "plus.bw"))
    assert next(iter(data))[1].tolist() == [[88, 89, 90, 0, 0, 0], [0] * 6]


def test_a_pair_is_of_both_strands(genome: str) -> None:
    bed = peaks(genome, "chr1 10 13 a 0 +", "chr1 10 13 c 0 -")
    pair = (beside(genome, "plus.bw"), beside(genome, "minus.bw"))
    ((_, y),) = IntervalBatchGenerator(genome, bed, targets=pair)
    assert y.tolist() == [[[11, 12, 13], [-11, -12, -13]], [[-13, -12, -11], [13, 12, 11]]]


def test_targets_move_and_turn_with_their_windows(genome: str) -> None:
    bed = peaks(genome, *[f"chr1 {start} {start + 8} . 0 +" for start in range(20, 60)])
    data = IntervalBatchGenerator(
        genome,
        bed,
        targets=beside(genome, "plus.bw"),
        jitter=3,
        reverse_complement=True,
        batch_size=7,
        shuffle=True,
        metadata=True,
    )
    seen = set()
    for x, y in data:
        for codes, (_, start), values in zip(x["x"], x["metadata"], y, strict=True):
            forward = np.arange(start, start + 8) + 1
            turned = values[0] > values[-1]
            assert values.tolist() == (forward[::-1] if turned else forward).tolist()
            assert codes[0] == ((3 if start % 2 else 2) if turned else start % 2)
            seen.add(bool(turned))
    assert seen == {True, False}
    train, val, test = data.split(by="ratio", val=0.25, test=0.25)
    for part in (val, test):
        assert [row[0] for row in part.get_Y()] == [start + 1 for start in part.intervals().start]


def test_names_of_chromosomes_are_matched_on_request(genome: str, tmp_path: Path) -> None:
    write(tmp_path / "other.bw", lambda name, p: p, {"I": 200, "II": 100})
    bed = peaks(genome, "chr2 5 8 a 0 +")
    with pytest.raises(DataError, match='aliases="match"'):
        IntervalBatchGenerator(genome, bed, targets=str(tmp_path / "other.bw"))
    data = IntervalBatchGenerator(genome, bed, targets=str(tmp_path / "other.bw"), aliases="match")
    assert data.get_Y().tolist() == [[5, 6, 7]]


def test_a_chromosome_that_the_bigwig_lacks_is_told(genome: str, tmp_path: Path) -> None:
    write(tmp_path / "one.bw", lambda name, p: p, {"chr1": 200})
    bed = peaks(genome, "chr1 5 8 a 0 +", "chr2 5 8 a 0 +")
    with pytest.raises(
        DataError, match=r"one.bw does not have the chromosome 'chr2' of .*genome.fa, and 1 w"
    ):
        IntervalBatchGenerator(genome, bed, targets=str(tmp_path / "one.bw"))


@pytest.mark.parametrize("length", [190, 210])
def test_a_bigwig_of_another_assembly_is_refused(genome: str, tmp_path: Path, length: int) -> None:
    write(tmp_path / "other.bw", lambda name, p: p, {"chr1": length, "chr2": 100})
    other = str(tmp_path / "other.bw")
    told = rf"other.bw has {length} bases in the chromosome 'chr1', and .*genome.fa has 200: .* assemblies"
    with pytest.raises(DataError, match=told):
        IntervalBatchGenerator(genome, peaks(genome, "chr1 5 8 a 0 +"), targets=other)
    data = IntervalBatchGenerator(genome, peaks(genome, "chr2 5 8 a 0 +"), targets=other)
    assert data.get_Y().tolist() == [[5, 6, 7]]  # of a chromosome that both have alike


def test_an_infinite_value_is_refused_and_nan_is_none(genome: str, tmp_path: Path) -> None:
    write(tmp_path / "odd.bw", lambda name, p: {6: np.inf, 50: np.nan}.get(p, p))
    odd = str(tmp_path / "odd.bw")
    with pytest.raises(DataError, match=r"odd.bw has the value inf at chr1 6 \(0-based\)"):
        IntervalBatchGenerator(genome, peaks(genome, "chr1 49 52 a 0 +", "chr1 5 8 a 0 +"), targets=odd)
    data = IntervalBatchGenerator(genome, peaks(genome, "chr1 49 52 a 0 +"), targets=odd)
    assert data.get_Y().tolist() == [[49, 0, 51]]


@pytest.mark.parametrize("paths", [("plus.bw", "minus.bw", "plus.bw"), ("plus.bw", "labels.tsv")])
def test_other_than_one_bigwig_or_a_pair_is_refused(genome: str, paths: tuple[str, ...]) -> None:
    with pytest.raises(
        DataError, match=f"the targets are .*{paths[-1]}'.; bigWigs as targets are one path, or"
    ):
        IntervalBatchGenerator(genome, peaks(genome, "chr1 5 8 a 0 +"), targets=paths)


def test_what_is_no_bigwig_is_told(genome: str, tmp_path: Path) -> None:
    (tmp_path / "text.bw").write_text("chr1 0 5 1.0\n" * 50)
    bed = peaks(genome, "chr1 5 8 a 0 +")
    with pytest.raises(DataError, match=r"text.bw: cannot be read as bigWig"):
        IntervalBatchGenerator(genome, bed, targets=str(tmp_path / "text.bw"))
    with pytest.raises((DataError, HelixbandError), match=r"none.bw"):
        IntervalBatchGenerator(genome, bed, targets=str(tmp_path / "none.bw"))


def test_augmentation_of_sequences_alone_is_refused(genome: str) -> None:
    bed = peaks(genome, "chr1 5 8 a 0 +")
    with pytest.raises(DataError, match="the targets of a bigWig would not be changed with them"):
        IntervalBatchGenerator(
            genome,
            bed,
            targets=beside(genome, "plus.bw"),
            shuffle=True,
            augmentation=Augmentation(shift=0.5, max_shift=2),
        )


def test_a_bigwig_for_whole_records_is_refused(genome: str) -> None:
    with pytest.raises(DataError, match="plus.bw'; .* bigWigs are for IntervalBatchGenerator"):
        FastaBatchGenerator(genome, targets=beside(genome, "plus.bw"), window=10)
