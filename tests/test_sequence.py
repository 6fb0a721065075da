"""FASTA files and alphabets."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helixband.errors import DataError
from helixband.sequence.alphabet import DNA, Alphabet
from helixband.sequence.fasta import is_fasta, read_fasta


def read(tmp_path: Path, content: str | bytes, name: str = "a.fa") -> tuple[list[str], list[str]]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_fasta(path)


def refuses(tmp_path: Path, content: str | bytes, message: str, name: str = "a.fa") -> None:
    with pytest.raises(DataError, match=f"{tmp_path}/{name}{message}"):
        read(tmp_path, content, name)


# FASTA that is read.

TWO = (["chr1", "chr2"], ["ACGTAC", "nnGT"])


@pytest.mark.parametrize(
    "content",
    [
        ">chr1\nACGTAC\n>chr2\nnnGT\n",
        ">chr1\nACGT\nAC\n>chr2\nnn\nGT\n",
        ">chr1\nACGTAC\n>chr2\nnnGT",
        ">chr1\r\nACGTAC\r\n>chr2\r\nnnGT\r\n",
        ">chr1\rACGTAC\r>chr2\rnnGT\r",
        "\n>chr1\n\nACG\n\nTAC\n\n\n>chr2\nnnGT\n\n",
        ">chr1 Homo sapiens chromosome 1\nACGTAC\n>chr2\tthe second\nnnGT\n",
        "> chr1\n ACGTAC \n>chr2\n\tnnGT\n",
    ],
    ids=["plain", "wrapped", "no end", "CRLF", "CR", "blank lines", "descriptions", "spaces"],
)
def test_the_same_records_are_read_from_every_form(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == TWO


@pytest.mark.parametrize("name", ["a.fa.gz", "a.FA.GZ"])
def test_a_gzipped_file_is_read(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, gzip.compress(b">chr1\nACGTAC\n>chr2\nnnGT\n"), name) == TWO


def test_a_compressed_file_is_known_by_its_content(tmp_path: Path) -> None:
    assert read(tmp_path, gzip.compress(b">a\nACGT\n"), "a.fa") == (["a"], ["ACGT"])


def test_names_and_letters_are_kept_as_they_stand(tmp_path: Path) -> None:
    names, sequences = read(tmp_path, ">chr1:100-200(+)|é>\nACGTacgtNRYKM*-\n")
    assert names == ["chr1:100-200(+)|é>"]
    assert sequences == ["ACGTacgtNRYKM*-"]


names = st.text("ABCxyz019._|:-", min_size=1, max_size=8)


@settings(deadline=None, max_examples=50)
@given(
    records=st.dictionaries(names, st.text("ACGTN", min_size=1, max_size=30), min_size=1, max_size=5),
    width=st.integers(1, 40),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_was_written_at_any_width_is_read(
    tmp_path_factory: pytest.TempPathFactory, records: dict[str, str], width: int, end: str
) -> None:
    lines = []
    for name, sequence in records.items():
        lines += [f">{name} described", *[sequence[i : i + width] for i in range(0, len(sequence), width)]]
    found = read(tmp_path_factory.mktemp("fasta"), end.join(lines) + end)
    assert found == (list(records), list(records.values()))


# FASTA that is refused.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": the file has no record"),
        ("\n\n \n", ": the file has no record"),
        ("ACGT\n", ", line 1: 'ACGT' before the first header"),
        ("\n;old comment\n>a\nACGT\n", ", line 2: ';old comment' before the first header"),
        (
            ">a\nA\n>b\nC\n>a x\nG\n",
            ", line 5: the header has the name 'a', as does line 1; names have to be",
        ),
        (">a\nA\n>\nC\n", ", line 3: the header has no name"),
        (">a\nA\n>  \nC\n", ", line 3: the header has no name"),
        (">a\n>b\nC\n", ": the record 'a' has no sequence"),
        (">a\nA\n>b\n\n", ": the record 'b' has no sequence"),
        (b">a\nAC\xff\xfeGT\n", ": cannot be read as text"),
        (b"\x7fELF\x02\x01\x01\x00\xf0\x9f", ": cannot be read as text"),
    ],
)
def test_what_is_no_fasta_is_refused_with_its_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    refuses(tmp_path, content, message)


@pytest.mark.parametrize("kept", [1, 12, 40, 60])
def test_a_gzipped_file_that_is_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    rng = np.random.default_rng(0)
    whole = gzip.compress(b">a\n" + bytes(rng.choice(list(b"ACGT"), 1000).tolist()) + b"\n")
    assert len(whole) > 100
    refuses(tmp_path, whole[:kept], ": cannot be read as text", "a.fa.gz")
    refuses(tmp_path, whole[:-4], ": cannot be read as text", "a.fa.gz")


GZIPPED = gzip.compress(b">a\nACGT\n")


@pytest.mark.parametrize(
    "content",
    [b">a\nACGT\n", GZIPPED[:10] + b"\xff" + GZIPPED[11:], GZIPPED[:-8] + bytes(8), GZIPPED + b"ACGT"],
    ids=["plain", "wrong block", "wrong checksum", "more after it"],
)
def test_a_file_that_is_no_whole_gzip_is_refused(tmp_path: Path, content: bytes) -> None:
    refuses(tmp_path, content, ": cannot be read as text", "a.fa.gz")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}/a.fa: no such file"):
        read_fasta(tmp_path / "a.fa")
    with pytest.raises(DataError, match=f"{tmp_path}: cannot be read"):
        read_fasta(tmp_path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.fa", True),
        ("data/a.fasta.gz", True),
        (Path("a.FNA.GZ"), True),
        ("a.fas", True),
        ("a.ffn", True),
        ("a.fa.npy", False),
        ("a.h5", False),
        ("fa", False),
        ("a.gz", False),
    ],
)
def test_the_name_of_a_file_says_whether_it_is_fasta(path: str | Path, expected: bool) -> None:
    assert is_fasta(path) is expected


# Alphabets.


def test_dna_has_its_four_letters_in_alphabetical_order_and_then_every_code_for_several() -> None:
    assert DNA.encode("ACGT").tolist() == [0, 1, 2, 3]
    assert DNA.encode("acgt").tolist() == [0, 1, 2, 3]
    assert DNA.encode("NRYSWKMBDHVnryswkmbdhv").tolist() == [4] * 22
    assert DNA.encode("ACGT").dtype == np.uint8
    assert DNA.encode("").shape == (0,)


@pytest.mark.parametrize(
    ("sequence", "place", "letter"),
    [
        ("ACGU", 3, "U"),
        ("AC GT", 2, " "),
        ("-ACGT", 0, "-"),
        ("ACG*", 3, "*"),
        ("Aé", 1, "é"),
        ("AÿC", 1, "ÿ"),
        ("ACG🧬T?", 3, "🧬"),
        ("A\n", 1, "\\n"),
    ],
)
def test_a_letter_of_no_alphabet_is_refused_with_its_place(sequence: str, place: int, letter: str) -> None:
    with pytest.raises(DataError) as caught:
        DNA.encode(sequence)
    assert str(caught.value) == (
        f"position {place} (from 0) holds '{letter}', which is not in the alphabet 'ACGT'"
    )


@settings(deadline=None)
@given(sequence=st.text("ACGTacgtN"))
def test_encoding_is_letter_by_letter(sequence: str) -> None:
    assert DNA.encode(sequence).tolist() == ["ACGTN".index(letter.upper()) for letter in sequence]


def test_an_alphabet_of_ones_own_has_its_letters_in_the_order_given() -> None:
    protein = Alphabet("ARNDCQEGHILKMFPSTWYV", ["X"], synonyms=dict.fromkeys("BZ", "X"))
    assert protein.encode("ARvxB").tolist() == [0, 1, 19, 20, 20]
    assert protein.index("X") == 20
    with pytest.raises(DataError, match=r"position 1 \(from 0\) holds 'N'"):
        Alphabet("ACGT").encode("AN")
