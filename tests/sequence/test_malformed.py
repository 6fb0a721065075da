"""Files that are not as they should be: each is read right, or refused and told why."""

import gzip
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, ROOT
from pyfaidx import Fasta, FastaIndexingError

from helixband.errors import DataError
from helixband.sequence.alphabet import DNA, PROTEIN
from helixband.sequence.fasta import read_fasta
from helixband.sequence.interval_files import read_bed, read_intervals
from helixband.sequence.store import SequenceStore

pytestmark = pytest.mark.timeout(60)

FIXTURES = DATA / "malformed"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"{FIXTURES} is not there (HELIXBAND_DATA)")

ROSE = ("gi|4959044|gb|AAD34209.1|AF069992_1", 600)
ROSEMARY = ("gi|671626|emb|CAA85685.1|", 473)
LOVE = ("gi|2781234|pdb|1JLY|B", 304)
ASTER = ("gi|3298468|dbj|BAA31520.1|", 107)
SUBUNIT = ("gi|3318709|pdb|1A91|", 79)

NUCLEOTIDES = {
    "biopython_fasta/centaurea.nu": [("gi|4104054|gb|AH007193.1|SEG_CVIGS", 1002)],
    "biopython_fasta/elderberry.nu": [("gi|4218935|gb|AF074388.1|AF074388", 2050)],
    "biopython_fasta/f002": [
        ("gi|1348912|gb|G26680|G26680", 633),
        ("gi|1348917|gb|G26685|G26685", 413),
        ("gi|1592936|gb|G29385|G29385", 471),
    ],
    "biopython_fasta/lavender.nu": [("gi|5690369|gb|AF158246.1|AF158246", 550)],
    "biopython_fasta/lupine.nu": [("gi|5049839|gb|AI730987.1|AI730987", 655)],
    "biopython_fasta/phlox.nu": [("gi|5052071|gb|AF067555.1|AF067555", 623)],
    "biopython_fasta/sweetpea.nu": [("gi|3176602|gb|U78617.1|LOU78617", 309)],
    "biopython_fasta/wisteria.nu": [("gi|5817701|gb|AF142731.1|AF142731", 2551)],
    "pyfaidx/chr17.hg19.part.fa": [("chr17", 40000)],
    "pyfaidx/gene.bed12.fasta": [("chr17:6010-31420(-)", 1073)],
    "pyfaidx/issue_83.fasta": [("MT", 119), ("GL000207.1", 60)],
}
"""Names and lengths."""

PROTEINS = {
    "biopython_fasta/aster.pro": ([ASTER], 5, "P"),
    "biopython_fasta/aster_no_wrap.pro": ([ASTER], 5, "P"),
    "biopython_fasta/f001": ([SUBUNIT], 1, "E"),
    "biopython_fasta/f003.fa": ([SUBUNIT, ("gi|whatever|whatever", 33)], 1, "E"),
    "biopython_fasta/flowers.pro.gz": ([LOVE, ROSE, ROSEMARY], 0, "X"),
    "biopython_fasta/loveliesbleeding.pro": ([LOVE], 0, "X"),
    "biopython_fasta/protein_lib.fa": (
        [
            ("sp|P00193|FER_PEPAS", 54),
            ("sp|P00502|GSTA1_RAT", 222),
            ("sp|P00517|KAPCA_BOVIN", 351),
            ("sp|P01593|KV101_HUMAN", 108),
            ("sp|P01834|IGKC_HUMAN", 106),
            ("sp|P02585|TNNC2_HUMAN", 160),
            ("sp|P03435|HEMA_I75A3", 567),
            ("sp|P09488|GSTM1_HUMAN", 218),
            ("sp|P14960|RBS_GUITH", 139),
            ("sp|P60615|NXL1A_BUNMU", 95),
            ("sp|P69905|HBA_HUMAN", 142),
            ("sp|P99998|CYC_PANTR", 105),
        ],
        3,
        "I",
    ),
    "biopython_fasta/rose.pro": ([ROSE], 1, "E"),
    "biopython_fasta/rosemary.pro": ([ROSEMARY], 2, "P"),
}
"""Names and lengths, and the position and letter of the first record that DNA does not have."""

REFUSED = {
    "biopython_fasta/README": ", line 1: 'FASTA TEST DATA FILE' before the first header; is this the",
    "biopython_fasta/aster_blast.pro": ", line 1: '# Some header' before the first header; is this the",
    "biopython_fasta/aster_pearson.pro": ", line 1: 'Some header' before the first header; is this the",
    "biopython_fasta/dups.fasta": (
        ", line 10: the header has the name 'alpha', as does line 1; names have to be unique"
    ),
    "biopython_fasta/nucleotide_lib.fa": (
        ", line 285: the header has the name 'RABGSTB', as does line 268; names have to be unique"
    ),
    "pyfaidx/gene.bed12": r", line 1: 'chr17\t6010\t31420\tuc0' before the first header; is this the",
    "pyfaidx/malformed.bed": ", line 1: 'gi|563317589|dbj|AB8' before the first header; is this the",
    "pyfaidx/regions.bed": ", line 1: 'gi|563317589|dbj|AB8' before the first header; is this the",
}

ALIGNMENT = "biopython_fasta/fa01"

NOT_OF_PYFAIDX = {
    "biopython_fasta/centaurea.nu",
    "biopython_fasta/loveliesbleeding.pro",
    "biopython_fasta/rose.pro",
    "biopython_fasta/sweetpea.nu",
}
"""These end in blank lines, which pyfaidx refuses; it needs another package for gzip."""


def fixture(name: str) -> Path:
    return (FIXTURES / name).resolve()


def records_of(path: Path) -> list[tuple[str, int]]:
    return [(name, len(sequence)) for name, sequence in zip(*read_fasta(path), strict=True)]


@needs_fixtures
def test_every_fixture_has_an_expectation() -> None:
    files = {str(path.relative_to(FIXTURES)) for path in FIXTURES.rglob("*") if path.is_file()}
    assert files == {*NUCLEOTIDES, *PROTEINS, *REFUSED, ALIGNMENT}


@needs_fixtures
@pytest.mark.parametrize(("name", "expected"), NUCLEOTIDES.items())
def test_a_fixture_of_nucleotides_is_read(name: str, expected: list[tuple[str, int]]) -> None:
    path = fixture(name)
    store = SequenceStore.open(path)

    assert records_of(path) == expected
    assert list(zip(store.names, store.lengths.tolist(), strict=True)) == expected
    letters = "".join(read_fasta(path)[1]).upper()
    assert set(letters) <= set("ACGTN")
    assert DNA.decode(store.codes) == letters


@needs_fixtures
@pytest.mark.parametrize("name", PROTEINS)
def test_a_fixture_of_proteins_is_read_as_such_and_is_no_dna(name: str) -> None:
    path, (expected, place, letter) = fixture(name), PROTEINS[name]
    store = SequenceStore.open(path, PROTEIN)

    assert records_of(path) == expected
    assert list(zip(store.names, store.lengths.tolist(), strict=True)) == expected
    assert PROTEIN.decode(store.codes) == "".join(read_fasta(path)[1]).upper()
    with pytest.raises(DataError) as caught:
        SequenceStore.open(path)
    where = f"record '{expected[0][0]}', position {place} (from 0)"
    assert str(caught.value).startswith(f"{path}, {where}: '{letter}' is not in the alphabet 'ACGT'")


@needs_fixtures
@pytest.mark.parametrize("name", sorted({*NUCLEOTIDES, *PROTEINS} - {"biopython_fasta/flowers.pro.gz"}))
def test_pyfaidx_has_the_same_of_a_fixture_where_it_takes_it(tmp_path: Path, name: str) -> None:
    path = Path(shutil.copy(fixture(name), tmp_path))  # beside it pyfaidx writes its index
    if name in NOT_OF_PYFAIDX:
        with pytest.raises(FastaIndexingError, match="Line length of fasta file is not consistent"):
            Fasta(str(path))
        return
    with Fasta(str(path)) as known:
        expected = {key: str(known[key][:]) for key in known.keys()}
    assert dict(zip(*read_fasta(path), strict=True)) == expected


@needs_fixtures
def test_the_gzipped_fixture_has_the_records_of_three_others() -> None:
    three = [
        read_fasta(fixture(f"biopython_fasta/{name}.pro"))
        for name in ("loveliesbleeding", "rose", "rosemary")
    ]
    names, sequences = read_fasta(fixture("biopython_fasta/flowers.pro.gz"))
    assert names == [found[0][0] for found in three]
    assert sequences == [found[1][0] for found in three]


@needs_fixtures
@pytest.mark.parametrize("name", REFUSED)
def test_a_fixture_that_is_no_fasta_is_refused(tmp_path: Path, name: str) -> None:
    path = fixture(name)
    for read in (read_fasta, SequenceStore.open, lambda path: SequenceStore.open(path, PROTEIN)):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}{REFUSED[name]}")
    assert list((tmp_path / "cache").glob("*.codes")) == []


@needs_fixtures
def test_the_fixture_of_an_alignment_has_gaps_which_no_alphabet_reads() -> None:
    path = fixture(ALIGNMENT)
    assert records_of(path) == [("AK1H_ECOLI/1-378", 378), ("AKH_HAEIN/1-382", 382)]
    with pytest.raises(DataError) as caught:
        SequenceStore.open(path, PROTEIN)
    assert str(caught.value) == (
        f"{path}, record 'AK1H_ECOLI/1-378', position 30 (from 0): "
        "'-' is not in the alphabet 'ACDEFGHIKLMNPQRSTVWY'"
    )


@needs_fixtures
def test_fixtures_of_intervals() -> None:
    regions = read_intervals(fixture("pyfaidx/regions.bed"))
    assert regions.names == ("gi|563317589|dbj|AB821309.1|", "gi|543583785|ref|NM_000465.3|")
    assert (regions.start.tolist(), regions.end.tolist()) == ([0, 99], [999, 5522])

    gene = read_bed(fixture("pyfaidx/gene.bed12"))
    assert (gene.names, gene.start.tolist(), gene.end.tolist()) == (("chr17",), [6010], [31420])
    assert (gene.label.tolist(), gene.score.tolist(), gene.strand.tolist()) == (["uc010vpx.1"], [0], [-1])

    malformed = fixture("pyfaidx/malformed.bed")
    with pytest.raises(DataError, match=f"^{malformed}, line 1: BED needs .* 2[,;]"):
        read_intervals(malformed)


@needs_fixtures
@pytest.mark.parametrize("name", [*NUCLEOTIDES, *PROTEINS, ALIGNMENT, "biopython_fasta/README"])
def test_a_fixture_of_sequences_is_no_intervals(name: str) -> None:
    with pytest.raises(DataError, match=f"^{fixture(name)}: its suffix names no format of intervals"):
        read_intervals(fixture(name))
    with pytest.raises(DataError, match=f"^{fixture(name)}, line 1: "):
        read_bed(fixture(name))


# By hand.


@pytest.mark.parametrize(
    ("content", "names", "sequence"),
    [
        (">a\n\nAC\n\n \nGT\n\n>b\nA\n", ["a", "b"], "ACGTA"),
        (">a\r\nACGT\r\n>b\r\nA\r\n", ["a", "b"], "ACGTA"),
        (">a\nACGT\n>b\nA", ["a", "b"], "ACGTA"),
        (">a\nacgtnRYK\n", ["a"], "ACGTNNNN"),
        (">a>b c>d\nACGT\n", ["a>b"], "ACGT"),
        (">>a\nACGT\n", [">a"], "ACGT"),
        (">a\tb\tc\nAC\tGT\n", ["a"], "ACGT"),
        (f">{'a' * 10_000}\nACGT\n", ["a" * 10_000], "ACGT"),
        (f">a {'é🧬' * 5_000}\nACGT\n", ["a"], "ACGT"),
        (">\"a,'b'\";$(c)|*?[d]\\&#%\nACGT\n", ["\"a,'b'\";$(c)|*?[d]\\&#%"], "ACGT"),
        (">a;b=c\nACGT\n", ["a;b=c"], "ACGT"),
        ("\ufeff>a\nACGT\n", ["a"], "ACGT"),
        (">a\nA\n>A\nC\n", ["a", "A"], "AC"),
    ],
    ids=[
        *("blank lines", "CRLF", "no final newline", "lower case and IUPAC", "> in the header", "two >"),
        *(
            "tabs",
            "a name of 10,000",
            "a header of 50,000 bytes",
            "a name to quote",
            "semicolons",
            "BOM",
            "case",
        ),
    ],
)
def test_what_readers_of_the_field_take_is_taken(
    tmp_path: Path, content: str, names: list[str], sequence: str
) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(content.encode())

    store = SequenceStore.open(path)

    assert (store.names, DNA.decode(store.codes)) == (names, sequence)
    assert read_fasta(path)[0] == names
    assert [store.index_of(name) for name in names] == list(range(len(names)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": the file has no record"),
        (b"\n\n", ": the file has no record"),
        (b"\xef\xbb\xbf", ": the file has no record"),
        (b"ACGT\nACGT\n", ", line 1: 'ACGT' before the first header; is this the FASTA file?"),
        (b"@r1\nACGT\n+\nIIII\n", ", line 1: '@r1' before the first header; is this the FASTA file?"),
        (b"<html>\n>a\nACGT\n", ", line 1: '<html>' before the first header; is this the FASTA file?"),
        (
            b">a x\nA\n\n>b\nC\n>a y\nG\n",
            ", line 6: the header has the name 'a', as does line 1; names have to be unique",
        ),
        (b">a\nACGT\n>b\n>c\nA\n", ": the record 'b' has no sequence; give it one, or remove it"),
        (b">a\nACGT\n>", ", line 3: the header has no name; names have to be unique"),
        (b">a\nACGE\n", ", record 'a', position 3 (from 0): 'E' is not in the alphabet 'ACGT'"),
        (b">a\nACGU\n", ", record 'a', position 3 (from 0): 'U' is not in the alphabet 'ACGT'"),
        (b">a\nAC-GT\n", ", record 'a', position 2 (from 0): '-' is not in the alphabet 'ACGT'"),
        (b">a\nACGT*\n", ", record 'a', position 4 (from 0): '*' is not in the alphabet 'ACGT'"),
        (b">a\nACGT>b\nA\n", ", record 'a', position 4 (from 0): '>' is not in the alphabet 'ACGT'"),
        (b">a\nACGT\n >b\nA\n", ", record 'a', position 4 (from 0): '>' is not in the alphabet 'ACGT'"),
        (b">a\n;comment\nACGT\n", ", record 'a', position 0 (from 0): ';' is not in the alphabet 'ACGT'"),
        (b">a\n1 ACGT\n", ", record 'a', position 0 (from 0): '1' is not in the alphabet 'ACGT'"),
        (b">a\nAC\0GT\n", ", record 'a', position 2 (from 0): '\\x00' is not in the alphabet 'ACGT'"),
        (b">a\nAC\xc3\xa9\n", ", record 'a', position 2 (from 0): 'Ã' is not in the alphabet 'ACGT'"),
        (b">a\xff\nACGT\n", ": cannot be read as text ('utf-8' codec can't decode byte 0xff in position 1: "
         "invalid start byte); is it FASTA, in UTF-8?"),
        (b">a\0b\nACGT\n", ": cannot be read as text (it has NUL characters); is it FASTA, in UTF-8?"),
        (
            ">a\nACGT\n".encode("utf-16-le"),
            ": cannot be read as text (it has NUL characters); is it FASTA, in UTF-8?",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.fa"
    for form in (content, gzip.compress(content)):
        path.write_bytes(form)
        with pytest.raises(DataError) as caught:
            SequenceStore.open(path)
        assert str(caught.value).startswith(f"{path}{message}")
    assert list((tmp_path / "cache").glob("*.codes")) == []


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_refused(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.fa"
    noise = np.random.default_rng(seed).bytes(100_000)
    for content in (
        noise,
        b">" + noise,
        b">a\nACGT\n" + noise,
        b"\x1f\x8b" + noise,
        b"\x1f\x8b\x08\x04" + noise,
    ):
        path.write_bytes(content)
        for read in (read_fasta, SequenceStore.open):
            with pytest.raises(DataError, match=f"^{path}[,:] "):
                read(path)


def test_a_gzip_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.fa.gz"
    letters = np.random.default_rng(0).choice(list(b"ACGT"), 200).astype(np.uint8).tobytes()
    whole = gzip.compress(b">a\n" + letters + b"\n")
    for kept in range(1, len(whole)):
        path.write_bytes(whole[:kept])
        with pytest.raises(DataError, match=f"^{path}: cannot be read as gzip .*; is the file whole"):
            SequenceStore.open(path)
    path.write_bytes(whole)
    assert SequenceStore.open(path).lengths.tolist() == [200]


def test_a_gzip_with_a_flipped_bit_is_refused_or_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.fa.gz"
    whole = gzip.compress(b">a\n" + b"ACGTTGCA" * 20 + b"\n")
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            try:
                assert read_fasta(path) == (["a"], ["ACGTTGCA" * 20])  # some bits mean nothing
            except DataError as error:
                assert str(error).startswith(f"{path}")


# Sizes.

MEASURED = """
import resource, sys
from helixband.errors import DataError
from helixband.sequence.fasta import scan
from helixband.sequence.store import SequenceStore

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(SequenceStore.open(sys.argv[1]).lengths.tolist())
except DataError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="ru_maxrss is in other units")
@pytest.mark.parametrize(
    ("begin", "letter", "outcome"),
    [
        (b">a\n", b"A", "[134217728]"),
        (b">a\n", b"0", "{path}, record 'a', position 0 (from 0): '0' is not in the alphabet 'ACGT'"),
        (b">a\nA", b"\n", "[1]"),
        (b">", b"0", "{path}: the header '" + "0" * 40 + "'… does not end within 1048576 bytes; "
         "does the file have line ends?"),
        (
            b"",
            b"0",
            "{path}, line 1: '00000000000000000000' before the first header; is this the FASTA file?",
        ),
        (b"", b" ", "{path}: the file has no record"),
    ],
    ids=["sequence", "zeros", "blank lines", "header", "no header", "blanks"],
)  # fmt: skip
def test_a_small_gzip_of_a_long_line_is_read_in_bounded_memory(
    tmp_path: Path, begin: bytes, letter: bytes, outcome: str
) -> None:
    path = tmp_path / "a.fa.gz"
    packer = zlib.compressobj(1, wbits=31)
    block = letter * (1 << 20)
    with open(path, "wb") as file:
        file.write(packer.compress(begin))
        for _ in range(128):
            file.write(packer.compress(block))
        file.write(packer.flush())
    assert path.stat().st_size < 4 << 20

    command = [sys.executable, "-c", MEASURED, str(path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    told, kilobytes = answer.splitlines()
    assert told == outcome.replace("{path}", str(path))
    assert int(kilobytes) < 64 << 10


def test_many_records_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text("".join(f">r{number} x\nAC\n" for number in range(100_000)))
    store = SequenceStore.open(path)
    assert len(store) == 100_000
    assert store.index_of("r99999") == 99_999
    assert store.total == 200_000
