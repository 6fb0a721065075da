"""Intervals on a genome: whose names are whose, and what does not lie on it."""

import time
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA

from helixband.errors import DataError
from helixband.sequence.chromosomes import match_names, on_genome, read_aliases
from helixband.sequence.interval_files import read_intervals
from helixband.sequence.intervals import Intervals

ROMAN = "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI".split()
YEAST = [*ROMAN, "Mito"]
WORM = ["I", "II", "III", "IV", "V", "X", "MtDNA"]
HUMAN = [*map(str, range(1, 23)), "X", "Y", "MT", "KI270728.1"]
UCSC = [f"chr{name}" for name in [*range(1, 23), "X", "Y", "M"]]

# Whose names are whose.


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (["chr1", "chr4", "chr10", "chrM"], YEAST, {"chr1": "I", "chr4": "IV", "chr10": "X", "chrM": "Mito"}),
        (["chrI", "chrX", "chrmt"], YEAST, {"chrI": "I", "chrX": "X", "chrmt": "Mito"}),
        (
            ["I", "IV", "IX", "X"],
            ["chr1", "chr4", "chr9", "chr10"],
            dict(I="chr1", IV="chr4", IX="chr9", X="chr10"),
        ),
        (["chr2", "III"], YEAST, {"chr2": "II"}),
        (["1", "2"], ["chr01", "chr02"], {"1": "chr01", "2": "chr02"}),
        (["Chr1", "ChrC", "ChrM"], ["1", "Pt", "Mt"], {"Chr1": "1", "ChrC": "Pt", "ChrM": "Mt"}),
        (["chr1", "chr5", "chrX", "chrM"], WORM, {"chr1": "I", "chr5": "V", "chrX": "X", "chrM": "MtDNA"}),
        (["chrI", "chrV", "chrX"], WORM, {"chrI": "I", "chrV": "V", "chrX": "X"}),
        (["chr10", "chrX", "chrY", "chrM"], HUMAN, {"chr10": "10", "chrX": "X", "chrY": "Y", "chrM": "MT"}),
        (["X", "22", "MT"], UCSC, {"X": "chrX", "22": "chr22", "MT": "chrM"}),
        (["2L", "X"], ["chr2L", "chr2R", "chrX"], {"2L": "chr2L", "X": "chrX"}),
        (["chromosome_1", "chrom2"], ["1", "2"], {"chromosome_1": "1", "chrom2": "2"}),
    ],
    ids=[
        "yeast",
        "yeast, Roman",
        "from Roman",
        "both",
        "zeros",
        "plant",
        "worm",
        "worm, Roman",
        "UCSC",
        "Ensembl",
        "fly",
        "words",
    ],
)
def test_names_are_matched_by_what_they_mean(
    ours: list[str], theirs: list[str], expected: dict[str, str]
) -> None:
    assert match_names(ours, theirs) == expected


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (["chr10", "chrX"], YEAST),
        (["chr1", "chrX"], YEAST),
        (["chr1", "1"], ["I", "II"]),
        (["chr1", "1"], ["1", "2"]),
        (["1", "x"], ["chr1", "Chr1"]),
        (["IX", "X"], HUMAN),
        (["chrX"], ["chr1", "chr10", "chr11"]),
        (["chr10"], WORM),
        (["chrUn_1"], YEAST),
        (YEAST, YEAST),
        ([], YEAST),
    ],
    ids=[
        "X or 10",
        "X among numbers",
        "two of one",
        "and itself",
        "one of two",
        "X and 10",
        "X alone",
        "no 10",
        "unknown",
        "same",
        "none",
    ],
)
def test_nothing_is_matched_where_a_name_could_be_another_or_need_not_be(
    ours: list[str], theirs: list[str]
) -> None:
    assert match_names(ours, theirs) == {}


def test_names_that_are_right_or_unknown_are_left_alone() -> None:
    assert match_names(["chr1", "MT", "chrUn_1"], HUMAN) == {"chr1": "1"}


# On the genome.

LENGTHS = [1000 - 10 * number for number in range(len(YEAST))]


def peaks(*names: str) -> Intervals:
    n = len(names)
    return Intervals.make(names, [10] * n, [20] * n, labels=map(str, range(n)), source="peaks.bed")


def test_intervals_get_the_records_of_the_genome() -> None:
    placed = on_genome(peaks("II", "Mito", "I", "II"), YEAST, LENGTHS)
    assert placed.names == tuple(YEAST)
    assert placed.chromosome.tolist() == [1, 16, 0, 1]
    assert placed.label.tolist() == ["0", "1", "2", "3"]
    assert (placed.start.tolist(), placed.end.tolist(), placed.source) == ([10] * 4, [20] * 4, "peaks.bed")


def test_other_names_are_told_with_the_remedy() -> None:
    with pytest.raises(DataError) as caught:
        on_genome(peaks("chr2", "chr1", "chr10", "chr1", "chr12"), YEAST, LENGTHS, genome="genome.fa")
    assert str(caught.value) == (
        "peaks.bed says 'chr2', genome.fa says 'II': pass aliases=\"match\" (chr2 -> II, chr1 -> I, "
        "chr10 -> X, …), or a table of two columns; of a command, --aliases match"
    )


def test_other_names_are_told_even_if_what_is_missing_may_be_dropped() -> None:
    with pytest.raises(DataError, match=r'pass aliases="match" \(chrM -> Mito\), or a table'):
        on_genome(peaks("I", "chrM", "chrUn_1"), YEAST, LENGTHS, missing="drop")


def test_on_request_names_are_matched() -> None:
    placed = on_genome(peaks("chr2", "chrM", "I"), YEAST, LENGTHS, aliases="match")
    assert placed.chromosome.tolist() == [1, 16, 0]


def test_a_table_renames_and_may_join(tmp_path: Path) -> None:
    (tmp_path / "aliases.tsv").write_text("# BED\tgenome\nNC_001133.9\tI\n\nchr1 I\nchr99\tIX\n")
    aliases = {"NC_001133.9": "I", "chr1": "I", "chr99": "IX"}
    assert read_aliases(tmp_path / "aliases.tsv") == aliases
    intervals = peaks("chr1", "II", "NC_001133.9")
    for given in (aliases, tmp_path / "aliases.tsv", str(tmp_path / "aliases.tsv")):
        assert on_genome(intervals, YEAST, LENGTHS, given).chromosome.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("chr1\tI\nchr2\n", "line 2: 'chr2' has 1 names in place of two"),
        ("#a\tb\tc\nchr1\tI\tensembl\n", r"line 2: 'chr1\\tI\\tensembl' has 3 names in place of two"),
        (
            "chr1\tI\nchr1\tI\nchr1\tII\n",
            "line 3: 'chr1' is 'II', and in an earlier line 'I'; delete one of them",
        ),
    ],
)
def test_a_bad_row_of_a_table_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "aliases.tsv"
    path.write_text(content)
    with pytest.raises(DataError, match=f"{path}, {message}"):
        on_genome(peaks("chr1"), YEAST, LENGTHS, path)


def test_a_table_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mach: cannot be read"):
        on_genome(peaks("chr1"), YEAST, LENGTHS, tmp_path / "mach")


def test_an_unknown_chromosome_is_told_with_near_names_and_both_remedies() -> None:
    with pytest.raises(DataError) as caught:
        on_genome(peaks("I", "XVIII", "chrUn_1", "chrUn_1"), YEAST, LENGTHS, genome="genome.fa")
    assert str(caught.value) == (
        "peaks.bed: genome.fa has no chromosome 'XVIII'; it has XIII, VIII, XVI, … Of 4 intervals 3 "
        "are on such: pass aliases, a table of the names in the intervals and those in the genome, or "
        'missing="drop" to leave them out'
    )


def test_an_alias_of_no_record_is_told() -> None:
    with pytest.raises(DataError, match="the genome has no chromosome 'chr1', by its alias 'one'; it has "):
        on_genome(peaks("chr1"), YEAST, LENGTHS, {"chr1": "one"})


def test_unknown_chromosomes_are_dropped_on_request() -> None:
    placed = on_genome(peaks("I", "chrUn_1", "IV"), YEAST, LENGTHS, missing="drop")
    assert (placed.chromosome.tolist(), placed.label.tolist()) == ([0, 3], ["0", "2"])
    placed = on_genome(peaks("chr1", "chrUn_1"), YEAST, LENGTHS, "match", missing="drop")
    assert placed.chromosome.tolist() == [0]


def test_not_everything_is_dropped() -> None:
    with pytest.raises(DataError, match="has no chromosome 'a'.* Of 2 intervals 2 are on such"):
        on_genome(peaks("a", "b"), YEAST, LENGTHS, missing="drop")
    with pytest.raises(DataError, match="missing is 'ignore'; it has to be 'raise' or 'drop'"):
        on_genome(peaks("I"), YEAST, LENGTHS, missing="ignore")  # type: ignore[arg-type]


def test_chromosomes_without_an_interval_may_be_unknown() -> None:
    some = peaks("I", "chrUn_1")[:1]
    assert on_genome(some, YEAST, LENGTHS).chromosome.tolist() == [0]
    assert len(on_genome(some[:0], YEAST, LENGTHS)) == 0


def test_an_interval_past_the_end_is_told_by_the_name_in_its_file() -> None:
    intervals = Intervals.make(
        ["chr1", "chr2", "chr2"], [990, 980, 985], [1000, 991, 999], source="peaks.bed"
    )
    with pytest.raises(DataError) as caught:
        on_genome(intervals, YEAST, LENGTHS, "match", genome="genome.fa")
    assert str(caught.value) == (
        "peaks.bed: the interval chr2 980 991 (0-based, end-exclusive) leaves its chromosome, which has 990 "
        "bases in genome.fa (of 3 intervals 2 do); take the genome they were made on, or trim them"
    )
    assert on_genome(intervals[:1], YEAST, LENGTHS, "match").end.tolist() == [1000]


def test_a_window_before_the_start_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"the interval I -35 65 \(0-based, end-exclusive\) leaves its chromosome"
    ):
        on_genome(peaks("I").resized(100), YEAST, LENGTHS)


def test_real_peaks_are_placed_on_the_real_genome() -> None:
    path = DATA / "yeast" / "Reb1.bed"
    if not path.exists():
        pytest.skip(f"{path} is not there; HELIXBAND_DATA names the folder of the real data")
    reb1 = read_intervals(path)
    lengths = [
        230218,
        813184,
        316620,
        1531933,
        576874,
        270161,
        1090940,
        562643,
        439888,
        745751,
        666816,
        1078177,
    ]
    lengths += [924431, 784333, 1091291, 948066, 85779]
    with pytest.raises(
        DataError, match=r"says 'chr6', the genome says 'VI': pass aliases=\"match\" \(chr6 -> VI"
    ):
        on_genome(reb1, YEAST, lengths)
    placed = on_genome(reb1, YEAST, lengths, "match")
    assert (placed.chromosome + 1).tolist() == [int(name[3:]) for name in reb1.chromosome_names()]


def test_a_chromosome_that_a_million_contigs_do_not_have_is_told_in_under_a_second() -> None:
    contigs = [f"scaffold_{number}_len20" for number in range(1_000_000)]
    lengths = np.full(len(contigs), 20)
    started = time.process_time()
    with pytest.raises(
        DataError, match="no chromosome 'scaffold_300007_len21'; it has scaffold_300007_len20"
    ):
        on_genome(Intervals.make(["scaffold_300007_len21"], [1], [5]), contigs, lengths)
    assert time.process_time() - started < 1.5


def test_one_of_a_million_contigs_that_is_called_otherwise_is_still_found() -> None:
    contigs = [*(f"scaffold_{number}" for number in range(10_000)), "MT", "II", "007"]
    assert match_names(["chrM", "chr2", "7"], contigs) == {"chrM": "MT", "chr2": "II", "7": "007"}
