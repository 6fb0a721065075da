"""Intervals from BED and GFF3: what is read, what is refused and how that is told."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from helixband.errors import DataError
from helixband.sequence import reading
from helixband.sequence.interval_files import is_intervals, read_bed, read_gff, read_intervals
from helixband.sequence.intervals import Intervals


def written(tmp_path: Path, content: str | bytes, name: str = "x.bed") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(intervals: Intervals) -> list[tuple[object, ...]]:
    """(chromosome, start, end, label, score, strand) of each, a score that is none as None."""
    columns = [
        intervals.chromosome_names(),
        intervals.start,
        intervals.end,
        intervals.label,
        np.where(np.isnan(intervals.score), np.array(None), intervals.score),
        intervals.strand,
    ]
    return list(zip(*(column.tolist() for column in columns), strict=True))


def refusal(path: Path, **options: bool) -> str:
    """The message after the path."""
    with pytest.raises(DataError) as caught:
        read_bed(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


# BED that is read.

PLAIN = [("chr1", 0, 5, "", None, 0), ("chr2", 10, 20, "", None, 0)]


@pytest.mark.parametrize(
    "content",
    [
        "chr1\t0\t5\nchr2\t10\t20\n",
        "chr1\t0\t5\nchr2\t10\t20",
        "chr1\t0\t5\r\nchr2\t10\t20\r\n",
        "chr1\t0\t5\rchr2\t10\t20\r",
        "\ufeffchr1\t0\t5\nchr2\t10\t20\n",
        "\n\nchr1\t0\t5\n \t\n\nchr2\t10\t20\n\n",
        "chr1 0 5\nchr2  10   20 \n",
        "# by hand\nbrowser position chr1:1-5\ntrack name=x\nchr1\t0\t5\n#more\ntrack y\nchr2\t10\t20\n",
        "track\nbrowser\tposition chr1:1-5\ntrack\tname=x\nchr1\t0\t5\nchr2\t10\t20\n",
        "track name='peaks\tof\ttabs'\nchr1 0 5\nchr2 10 20\n",
        "chrom\tstart\tend\nchr1\t0\t5\nchr2\t10\t20\n",
        "#chrom\tchromStart\tchromEnd\nchr1\t0\t5\nchr2\t10\t20\n",
        "Chrom chromStart chromEnd\nchr1 0 5\nchr2 10 20\n",
    ],
    ids=[
        "plain",
        "no end",
        "CRLF",
        "CR",
        "byte order mark",
        "blank lines",
        "blanks",
        "comments",
        "bare track lines",
        "tabs in a track line",
        "column names",
        "comment of column names",
        "UCSC's column names",
    ],
)
def test_the_same_intervals_are_read_from_every_form(tmp_path: Path, content: str) -> None:
    assert rows(read_bed(written(tmp_path, content))) == PLAIN


@pytest.mark.parametrize("name", ["x.bed.gz", "x.BED.GZ", "x.bed"])
def test_a_gzipped_file_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    blocks = (
        gzip.compress(b"chr1\t0\t5\nchr2") + gzip.compress(b"\t10\t20\n") + gzip.compress(b"")
    )  # as of bgzip
    assert rows(read_intervals(written(tmp_path, blocks, name))) == PLAIN


def test_the_columns_after_the_third_are_label_score_and_strand(tmp_path: Path) -> None:
    path = written(tmp_path, "chr1\t0\t5\tpeak 1, é\t7.5\t-\tx\nchr1\t6\t9\t\t\t\ty\nchr1\t7\t9\t.\t.\t.\t\n")
    assert rows(read_bed(path)) == [
        ("chr1", 0, 5, "peak 1, é", 7.5, -1),
        ("chr1", 6, 9, "", None, 0),
        ("chr1", 7, 9, ".", None, 0),
    ]


def test_a_file_has_any_number_of_columns_from_three_to_twelve(tmp_path: Path) -> None:
    line = "chr17\t6010\t31420\tuc010vpx.1\t0\t-\t6012\t31270\t0\t2\t158,523,\t0,24887,".split("\t")
    for n_columns in range(3, 13):
        [row] = rows(read_bed(written(tmp_path, "\t".join(line[:n_columns]) + "\n")))
        expected = ("chr17", 6010, 31420, "uc010vpx.1", 0.0, -1)
        nothing = ("", None, 0)
        known = max(0, min(n_columns, 6) - 3)
        assert row == (*expected[: 3 + known], *nothing[known:])


def test_peaks_are_read_as_bed_and_on_request_as_their_summits(tmp_path: Path) -> None:
    content = "chr1\t100\t200\tpeak1\t50\t.\t8.5\t-1\t-1\t30\nchr2\t0\t9\tpeak2\t5\t.\t1\t-1\t-1\t0\n"
    path = written(tmp_path, content, "x.narrowPeak")
    assert rows(read_intervals(path)) == [("chr1", 100, 200, "peak1", 50, 0), ("chr2", 0, 9, "peak2", 5, 0)]
    assert rows(read_bed(path, summits=True)) == [
        ("chr1", 130, 131, "peak1", 50, 0),
        ("chr2", 0, 1, "peak2", 5, 0),
    ]


def test_the_file_is_named_and_the_chromosomes_are_in_its_order(tmp_path: Path) -> None:
    path = written(tmp_path, "b\t0\t1\na\t0\t1\nb\t2\t3\n")
    peaks = read_bed(path)
    assert (peaks.names, peaks.source) == (("b", "a"), str(path))


lines = st.tuples(
    st.sampled_from(["chr1", "2", "gi|5|dbj|A.1|", "HLA:A*01"]),
    st.integers(0, 10**9),
    st.integers(1, 10**9),
    st.text("ab é:;|", max_size=6),
    st.one_of(st.none(), st.integers(0, 1000), st.floats(allow_nan=False, allow_infinity=False)),
    st.sampled_from([1, -1, 0]),
).map(lambda row: (row[0], row[1], row[1] + row[2], *row[3:]))


@settings(deadline=None, max_examples=60)
@given(expected=st.lists(lines, min_size=1, max_size=30), block=st.integers(1, 100))
def test_what_was_written_is_read_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, expected: list[tuple[object, ...]], block: int
) -> None:
    content = "".join(
        f"{name}\t{start}\t{end}\t{label}\t{'.' if score is None else score}\t{'.+-'[strand]}\n"
        for name, start, end, label, score, strand in expected
    )
    path = written(tmp_path_factory.mktemp("bed"), content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "LINES_BLOCK_BYTES", block)
        assert rows(read_bed(path)) == expected


# BED that is refused.

ONE_TAB = "put one tab, and no blank, between columns in every line"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chr1\t1e6\t2e6\t.", ", line 4: column 2 (start) holds '1e6', which is no whole number from 0"),
        ("chr1\t5\t1,000\t.", ", line 4: column 3 (end) holds '1,000', which is no whole number"),
        ("chr1\t5.0\t9\t.", ", line 4: column 2 (start) holds '5.0', which"),
        ("chr1\t-5\t9\t.", ", line 4: column 2 (start) holds '-5', which is no whole number from 0"),
        ("chr1\t+5\t9\t.", ", line 4: column 2 (start) holds '+5', which"),
        ("chr1\t1_0\t90\t.", ", line 4: column 2 (start) holds '1_0', which"),
        ("chr1\t٣\t9\t.", ", line 4: column 2 (start) holds '٣', which"),
        ("chr1\t5²\t99\t.", ", line 4: column 2 (start) holds '5²', which"),
        ("chr1\t\t9\t.", ", line 4: column 2 (start) holds '', which"),
        ("chr1\tstart\tend\tname", ", line 4: column 2 (start) holds 'start', which"),
        (
            "chr1\t5\t9223372036854775808\t.",
            ", line 4: column 3 (end) holds 9223372036854775808, which is past",
        ),
        ("chr1\t5\t999999999999999999\t.", ", line 4: the end 999999999999999999 is past the end of any"),
        ("chr1\t9\t5\t.", ", line 4: the end 5 is before the start 9; swap them"),
        (
            "chr1\t5\t5\t.",
            ", line 4: start and end are both 5, so there is no base in it; delete it, or make an",
        ),
        ("chr1\t5", ", line 4: the number of columns in 'chr1\\t5' is 2, and has to be 4; " + ONE_TAB),
        ("chr1\t5\t9", ", line 4: the number of columns in 'chr1\\t5\\t9' is 3, and has to be 4"),
        (
            "chr1\t5\t9\t.\t.",
            ", line 4: the number of columns in 'chr1\\t5\\t9\\t.\\t.' is 5, and has to be 4",
        ),
        ("chr1 5 9 .", ", line 4: the number of columns in 'chr1 5 9 .' is 1, and has to be 4; " + ONE_TAB),
        ("chr1 5\t9\t.\t.", ", line 4: column 1 (chromosome) holds 'chr1 5'; " + ONE_TAB),
        ("\t5\t9\t.", ", line 4: column 1 (chromosome) holds ''; " + ONE_TAB),
        (
            "chr1\t 5\t9\t.",
            ", line 4: column 2 (start) holds ' 5', which is no whole number from 0 in plain digits",
        ),
    ],
)
def test_a_line_that_is_wrong_is_named_with_what_it_holds(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, f"# peaks\nchr1\t0\t5\t.\n\n{line}\nchr1\t7\t6\t.\n")
    assert refusal(path).startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chr1\t0\t5\tx\thigh\t+", ", line 2: column 5 (score) holds 'high'; it has to be a number or ."),
        ("chr1\t0\t5\tx\t1_0\t+", ", line 2: column 5 (score) holds '1_0'; it has to be a number or ."),
        (
            "chr1\t0\t5\tx\t1\tplus",
            ", line 2: column 6 (strand) holds 'plus'; it has to be + or -, or . for neither",
        ),
        (
            "chr1\t0\t5\tx\t1\t+-",
            ", line 2: column 6 (strand) holds '+-'; it has to be + or -, or . for neither",
        ),
    ],
)
def test_a_score_and_a_strand_have_to_be_such(tmp_path: Path, line: str, message: str) -> None:
    assert refusal(written(tmp_path, f"chr1\t0\t5\tx\t.\t.\n{line}\n")) == message


def test_tabs_among_blanks_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "chr1 0 5\nchr1\t7 9\n")
    assert refusal(path) == f", line 2: 'chr1\\t7 9' has a tab, and the first line has none; {ONE_TAB}"


def test_too_few_columns_throughout_are_refused_at_the_first_line(tmp_path: Path) -> None:
    path = written(tmp_path, "\nchr1\t0\nchr1\t5\n")
    assert (
        refusal(path)
        == f", line 2: BED needs chromosome, start and end; the number of columns is 2; {ONE_TAB}"
    )


def test_the_first_of_many_faults_is_told_wherever_blocks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "chr1\t0\t5\n" * 9 + "chr1\t5\n" + "chr1\tx\t5\n" * 9)
    for block in (1, 10, 25, 1000):
        monkeypatch.setattr(reading, "LINES_BLOCK_BYTES", block)
        assert refusal(path).startswith(", line 10: the number of columns")


@pytest.mark.parametrize("content", ["", "\n \n", "# nothing\ntrack name=x\n", "chrom\tstart\tend\n"])
def test_a_file_without_an_interval_is_refused(tmp_path: Path, content: str) -> None:
    assert (
        refusal(written(tmp_path, content)) == ": the file has no interval; is it the right one, and whole?"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"chr1\t0\t5\nchr\xff\t0\t5\n",
            ", line 2: the byte 0xff is not of text in UTF-8; unpack the file, or convert",
        ),
        (b"chr1\t0\t5\n\x00\x01\n", ", line 2: the byte 0x00 is not of text"),
        ("chr1\t0\t5\n".encode("utf-16"), ", line 1: the byte 0x00 is not of text"),
        (b"\x7fELF\x02\x01\x01\x00", ", line 1: the byte 0x00 is not of text"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    assert refusal(written(tmp_path, content)).startswith(message)


GZIPPED = gzip.compress(b"".join(b"chr1\t%d\t%d\n" % (i * i, i * i + 9) for i in range(500)))


@pytest.mark.parametrize(
    "content",
    [
        GZIPPED[:1],
        GZIPPED[:12],
        GZIPPED[:-100],
        GZIPPED[:-4],
        GZIPPED[:-8] + bytes(8),
        GZIPPED + b"x",
        b"chr1\t0\t5\n",
    ],
    ids=["1 byte", "header", "cut", "no checksum", "wrong checksum", "more after it", "plain"],
)
def test_a_file_that_is_no_whole_gzip_is_refused(tmp_path: Path, content: bytes) -> None:
    message = refusal(written(tmp_path, content, "x.bed.gz"))
    assert message.startswith(": cannot be read as gzip (")
    assert message.endswith("; is the file whole?")


@settings(deadline=None, max_examples=200)
@given(
    content=st.lists(
        st.sampled_from(["chr1", "\t", " ", "\n", "5", "9", "-", ".", "#", "é", "\r", "x", "\x1c"])
    )
)
def test_whatever_a_file_holds_it_is_intervals_or_an_error_that_names_it(
    tmp_path_factory: pytest.TempPathFactory, content: list[str]
) -> None:
    path = written(tmp_path_factory.mktemp("bed"), "chr1\t5\t9" + "".join(content))
    for read in (read_bed, read_gff):
        try:
            found = read(path)
        except DataError as error:
            assert str(error).startswith(str(path))
        else:
            assert (found.start >= 0).all() and (found.end > found.start).all()
            assert all(name.split() == [name] for name in found.names)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "x.bed") == ": cannot be read (No such file or directory)"
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        assert refusal(path) == ": cannot be read, for it is no regular file"


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LINE_BYTES", 100)
    monkeypatch.setattr(reading, "LINES_BLOCK_BYTES", 10)
    path = written(tmp_path, "chr1\t0\t5\n" + "x" * 200)
    assert refusal(path) == ", line 2: more than 100 bytes; is it the right file?"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "chr1\t5\t9\tx\t1\t.\t1\t1\t1\t-1",
            ", line 2: column 10 (summit) holds '-1', which is no whole number from 0: no summit called",
        ),
        (
            "chr1\t5\t9\tx\t1\t.\t1\t1\t1\t4",
            ", line 2: column 10 (summit) holds 4, past the peak; it counts from the",
        ),
    ],
)
def test_a_summit_lies_in_its_peak(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, "chr1\t5\t9\tx\t1\t.\t1\t1\t1\t3\n" + line + "\n")
    assert refusal(path, summits=True).startswith(message)


def test_only_narrow_peaks_have_summits(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "chr1\t5\t9\n"), summits=True)
    assert (
        message == ", line 1: the summit is column 10, and there are 3 columns; only narrowPeak files have it"
    )


# GFF3.

GFF = """##gff-version 3
##sequence-region I 1 230218
I\tSGD\tgene\t335\t649\t.\t+\t.\tID=YAL069W;Name=a%3Bb
I\tSGD\tCDS\t335\t649\t7.5\t-\t0\tParent=YAL069W;Name=CDS%20of it;xID=no
###

I\tSGD\tregion\t1\t1\t.\t?\t.\t.
chr%7C2\tSGD\tgene\t10\t20\t.\t.\t.\tNote=x; ID=g%252
"""


def test_features_become_half_open_intervals(tmp_path: Path) -> None:
    path = written(tmp_path, GFF + "##FASTA\n>I\nACGT\n", "x.gff3")
    genes = read_gff(path)
    assert rows(genes) == [
        ("I", 334, 649, "a;b", None, 1),
        ("I", 334, 649, "CDS of it", 7.5, -1),
        ("I", 0, 1, "", None, 0),
        ("chr|2", 9, 20, "g%2", None, 0),
    ]
    assert genes.kind.tolist() == ["gene", "CDS", "region", "gene"]
    assert genes.source == str(path)


def test_features_are_chosen_by_their_kinds(tmp_path: Path) -> None:
    path = written(tmp_path, GFF, "x.gff")
    assert read_gff(path, "gene").label.tolist() == ["a;b", "g%2"]
    assert read_gff(path, ["CDS", "gene"]).kind.tolist() == ["gene", "CDS", "gene"]


def test_a_kind_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    path = written(tmp_path, GFF, "x.gff")
    for kinds in ("exon", ["gene", "exon"]):
        with pytest.raises(DataError) as caught:
            read_gff(path, kinds)
        assert str(caught.value) == (
            f"{path}: no feature is of the kind 'exon'; the kinds in it are gene (2), CDS (1), region (1)"
        )


@pytest.mark.parametrize("end", ["##FASTA\n", ""])
def test_sequences_after_the_features_are_not_read(tmp_path: Path, end: str) -> None:
    path = written(tmp_path, GFF + end + ">I\nI\tx\n" + GFF, "x.gff")
    assert len(read_gff(path)) == 4


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "I\tx\tgene\t5\t9\t.\t+\t.",
            "the number of columns in 'I\\tx\\tgene\\t5\\t9\\t.\\t+\\t.' is 8, and has to be 9",
        ),
        (
            "I x gene 5 9 . + . ID=1",
            "the number of columns in 'I x gene 5 9 . + . ID=1' is 1, and has to be 9",
        ),
        (
            "I\tx\tgene\t0\t9\t.\t+\t.\t.",
            "column 4 (start) holds 0, and GFF3 counts from 1; add 1 to each start",
        ),
        ("I\tx\tgene\t9\t8\t.\t+\t.\t.", "the end 8 is before the start 9; swap them and set the strand"),
        ("I\tx\tgene\t.\t8\t.\t+\t.\t.", "column 4 (start) holds '.', which is no whole number"),
        ("I\tx\tgene\t5\t1e3\t.\t+\t.\t.", "column 5 (end) holds '1e3', which is no whole number"),
        ("I\tx\tgene\t5\t8\tx\t+\t.\t.", "column 6 (score) holds 'x'; it has to be a number or ."),
        (
            "I\tx\tgene\t5\t8\t.\t1\t.\t.",
            "column 7 (strand) holds '1'; it has to be + or -, or . for neither",
        ),
    ],
)
def test_a_feature_that_is_wrong_is_told(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, GFF + line + "\n", "x.gff")
    with pytest.raises(DataError) as caught:
        read_gff(path)
    assert str(caught.value).startswith(f"{path}, line 9: {message}")


def test_a_gff_without_features_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "##gff-version 3\n", "x.gff3")
    for kinds in (None, "gene"):
        with pytest.raises(DataError, match=f"{path}: the file has no interval"):
            read_gff(path, kinds)


# Suffixes.


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x.bed", True),
        ("data/x.BED.gz", True),
        (Path("x.narrowPeak"), True),
        ("x.broadPeak.gz", True),
        ("x.gappedPeak", True),
        ("x.gff3.gz", True),
        ("x.gff", True),
        ("x.gtf", False),
        ("x.bed.npy", False),
        ("x.fa", False),
        ("bed", False),
        ("x.gz", False),
    ],
)
def test_the_name_of_a_file_says_whether_it_has_intervals(path: str | Path, expected: bool) -> None:
    assert is_intervals(path) is expected


def test_the_suffix_tells_the_formats_apart(tmp_path: Path) -> None:
    bed, gff = b"I\t334\t649\n", GFF.encode()
    assert read_intervals(written(tmp_path, gzip.compress(bed), "x.bed.gz")).start[0] == 334
    assert read_intervals(written(tmp_path, gzip.compress(gff), "x.gff3.gz")).start[0] == 334
    with pytest.raises(DataError, match=r"x.gtf: its suffix names no format of intervals; known are \.bed, "):
        read_intervals(tmp_path / "x.gtf")


# Real files.


def real(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not there; HELIXBAND_DATA names the folder of the real data")
    return path


def test_real_peaks_and_genes_are_read() -> None:
    peaks = read_intervals(real("yeast", "Reb1.bed"))
    assert rows(peaks)[0] == ("chr6", 90846, 90847, "chr6_90846_90847", 1000, 0)
    assert (len(peaks), len(peaks.names)) == (700, 12)
    genes = read_gff(real("yeast", "orfs.gff3.gz"), "transcript")
    assert (len(genes), int((genes.strand == 1).sum()) > 2000) == (5171, True)
    promoters = read_bed(real("ecoli_mpra", "lb_promoter_peaks.bed"))
    assert rows(promoters)[0] == ("U00096.2", 52, 281, "52_281_+", 940.7, 1)


def test_real_files_that_are_broken_are_refused() -> None:
    assert refusal(real("malformed", "pyfaidx", "malformed.bed")).startswith(
        ", line 1: BED needs chromosome, start and end; the number of columns is 2"
    )
    assert len(read_bed(real("malformed", "pyfaidx", "regions.bed"))) == 2
    assert rows(read_bed(real("malformed", "pyfaidx", "gene.bed12"))) == [
        ("chr17", 6010, 31420, "uc010vpx.1", 0, -1)
    ]


def test_a_chromosome_called_like_the_word_is_none_of_these_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.bed"
    path.write_text("track1\t1\t5\nbrowser_2\t7\t9\n")
    assert read_bed(path).names == ("track1", "browser_2")


def test_a_file_of_bgzip_may_end_in_bgz(tmp_path: Path) -> None:
    path = tmp_path / "x.bed.bgz"
    path.write_bytes(gzip.compress(b"chr1\t1\t5\n"))
    assert read_intervals(path).end.tolist() == [5]
