"""FASTA files: what is read, in every form, and what is refused."""

import gzip
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyfaidx import Fasta

from helixband.errors import DataError
from helixband.sequence import fasta, reading
from helixband.sequence.fasta import is_fasta, read_fasta, record_name, scan


def read(tmp_path: Path, content: str | bytes, name: str = "a.fa") -> tuple[list[str], list[str]]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_fasta(path)


def refuses(tmp_path: Path, content: str | bytes, message: str, name: str = "a.fa") -> None:
    with pytest.raises(DataError, match=f"{tmp_path}/{name}{message}"):
        read(tmp_path, content, name)


def bgzip(content: bytes, block: int = 65280) -> bytes:
    """As the program of that name writes it: a gzip member a block, with its size, and an empty one."""
    members = []
    for start in [*range(0, len(content), block), len(content)]:
        piece = content[start : start + block]
        packer = zlib.compressobj(wbits=-15)
        packed = packer.compress(piece) + packer.flush()
        extra = struct.pack("<HBBHH", 6, ord("B"), ord("C"), 2, len(packed) + 25)
        check = struct.pack("<II", zlib.crc32(piece), len(piece))
        members.append(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + extra + packed + check)
    return b"".join(members)


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
        ">chr1\nAC GT\tAC\n>chr2\nnn\x0b\x0cGT\n",
        ">chr1\nACG\r\nTA\nC\r>chr2\r\nnnGT",
        "\ufeff>chr1\nACGTAC\n>chr2\nnnGT\n",
        "\r\n\r\n>chr1\r\nACGTAC\r\n>chr2\r\nnnGT\r",
    ],
    ids=[
        *("plain", "wrapped", "no end", "CRLF", "CR", "blank lines", "descriptions", "spaces"),
        *("blanks within lines", "mixed ends", "byte order mark", "blank lines in front"),
    ],
)
def test_the_same_records_are_read_from_every_form(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == TWO


@pytest.mark.parametrize("name", ["a.fa.gz", "a.FA.GZ"])
def test_a_gzipped_file_is_read(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, gzip.compress(b">chr1\nACGTAC\n>chr2\nnnGT\n"), name) == TWO


def test_a_compressed_file_is_known_by_its_content(tmp_path: Path) -> None:
    assert read(tmp_path, gzip.compress(b">a\nACGT\n"), "a.fa") == (["a"], ["ACGT"])


@pytest.mark.parametrize("block", [1, 5, 17, 65280])
def test_bgzip_and_other_gzip_of_several_members_is_read(tmp_path: Path, block: int) -> None:
    content = b">chr1\nACGTAC\n>chr2\nnnGT\n"
    assert read(tmp_path, bgzip(content, block), "a.fa.gz") == TWO
    halves = gzip.compress(content[:block]) + gzip.compress(content[block:])
    assert read(tmp_path, halves, "b.fa.gz") == TWO
    assert read(tmp_path, halves + bytes(512), "c.fa.gz") == TWO  # zeros at the end are allowed, as of tapes


def test_a_line_is_of_any_length(tmp_path: Path) -> None:
    sequence = "ACGTN" * 2_000_000
    assert len(sequence) > 2 * reading.BLOCK_BYTES
    names, sequences = read(tmp_path, f">a\n{sequence}\n>b\nAC")
    assert (names, sequences[1]) == (["a", "b"], "AC")
    assert sequences[0] == sequence


def test_a_header_is_of_any_length_that_a_header_has(tmp_path: Path) -> None:
    header = "a " + "x" * 9_998
    assert [found for found, _ in scan_of(tmp_path, f">{header}\nACGT\n")] == [header, None]
    refuses(
        tmp_path,
        ">" + "a" * (fasta.HEADER_BYTES + 1),
        r": the header 'aaaa.*a'… does not end within 1048576 bytes; does the file have line ends\?$",
    )


def scan_of(tmp_path: Path, content: str) -> list[tuple[str | None, bytes]]:
    (tmp_path / "a.fa").write_text(content)
    return list(scan(tmp_path / "a.fa"))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("chr1", "chr1"),
        ("chr1 dna:chromosome", "chr1"),
        ("chr1\tlen=5", "chr1"),
        ("sp|P1|A_B x>y", "sp|P1|A_B"),
        ("a>b c", "a>b"),
        (">a", ">a"),
        ("'a b'", "'a"),
        ('a"b,c;d$e*?[f]\\', 'a"b,c;d$e*?[f]\\'),
        ("", ""),
    ],
)
def test_a_name_is_the_header_up_to_the_first_white_space(tmp_path: Path, header: str, name: str) -> None:
    assert record_name(header) == name
    if name:
        assert read(tmp_path, f">{header}\nACGT\n") == ([name], ["ACGT"])


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


@settings(deadline=None, max_examples=30)
@given(
    records=st.dictionaries(names, st.text("ACGTNacgtn", min_size=1, max_size=30), min_size=1, max_size=5),
    width=st.integers(1, 40),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_pyfaidx_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, records: dict[str, str], width: int, end: str, last: bool
) -> None:
    lines = []
    for name, sequence in records.items():
        lines += [f">{name} x", *[sequence[i : i + width] for i in range(0, len(sequence), width)]]
    path = tmp_path_factory.mktemp("fasta") / "a.fa"
    path.write_bytes((end.join(lines) + end * last).encode())

    with Fasta(str(path), rebuild=True) as known:
        expected = {name: str(known[name][:]) for name in known.keys()}

    assert dict(zip(*read_fasta(path), strict=True)) == expected == records


def outcome(path: Path, block: int) -> object:
    """What reading comes to with blocks of so many bytes; of an error, all but the text that it quotes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_BYTES", block)
        try:
            return read_fasta(path)
        except DataError as error:
            return re.sub(r"'[^']*' before", "before", str(error))


@settings(deadline=None, max_examples=300)
@given(
    parts=st.lists(
        st.sampled_from([b">", b"\r", b"\n", b"\r\n", b" ", b"A", b"CG", b"\n>a\n", b"\n>b x\r\n"]),
        max_size=25,
    ),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    block=st.integers(1, 7),
    packed=st.booleans(),
)
def test_the_ends_of_blocks_do_not_show(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], mark: bytes, block: int, packed: bool
) -> None:
    content = mark + b"".join(parts)
    path = tmp_path_factory.mktemp("fasta") / "a.fa"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert outcome(path, block) == outcome(path, 4 << 20)


@pytest.mark.parametrize("block", range(1, 8))
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_end_that_two_blocks_share_is_one(tmp_path: Path, block: int, end: str) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(end.join([">a 1", "ACGT", "AC", ">b", "", "GG", ">a", "T"]).encode())
    assert outcome(path, block) == (
        f"{path}, line 7: the header has the name 'a', as does line 1; names have to be unique, and end at "
        'the first blank: number the records: in the generator of def.py by names="number", in an input of '
        "--predict or of a command by --names number"
    )


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
        (b">a\nAC\0\0GT\n", r": cannot be read as text \(it has NUL characters\)"),
        (b">a\0b\nACGT\n", r": cannot be read as text \(it has NUL characters\)"),
        (">a\nACGT\n".encode("utf-16"), ": cannot be read as text"),
        (">a\nACGT\n".encode("utf-16-le"), ": cannot be read as text"),
        (">a\nACGT\n".encode("utf-16-be"), ": cannot be read as text"),
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
    refuses(tmp_path, whole[:kept], ": cannot be read as gzip", "a.fa.gz")
    refuses(tmp_path, whole[:-4], ": cannot be read as gzip", "a.fa.gz")


GZIPPED = gzip.compress(b">a\nACGT\n")


@pytest.mark.parametrize(
    "content",
    [b">a\nACGT\n", GZIPPED[:10] + b"\xff" + GZIPPED[11:], GZIPPED[:-8] + bytes(8), GZIPPED + b"ACGT"],
    ids=["plain", "wrong block", "wrong checksum", "more after it"],
)
def test_a_file_that_is_no_whole_gzip_is_refused(tmp_path: Path, content: bytes) -> None:
    refuses(tmp_path, content, ": cannot be read as gzip", "a.fa.gz")


def test_a_bgzip_file_that_is_cut_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    whole = bgzip(b">a\nACGT\n>b\nACGT\n>c\nACGT\n", block=8)
    assert read(tmp_path, whole, "a.fa.gz")[0] == ["a", "b", "c"]
    for kept in range(14, len(whole)):
        refuses(tmp_path, whole[:kept], ": the last block of bgzip is missing; is the file whole", "a.fa.gz")
    refuses(tmp_path, whole[:13], ": cannot be read as gzip", "a.fa.gz")


def test_a_missing_file_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    loop, pipe = tmp_path / "loop.fa", tmp_path / "pipe.fa"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    for path, reason in [
        (tmp_path / "a.fa", r"cannot be read \(No such file or directory\)"),
        (tmp_path, "cannot be read, for it is no regular file"),
        (pipe, "cannot be read, for it is no regular file"),
        (loop, r"cannot be read \(Too many levels of symbolic links\)"),
    ]:
        with pytest.raises(DataError, match=f"^{path}: {reason}"):
            read_fasta(path)


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.fa"
    path.write_text(">a\nACGT\n")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(DataError, match=rf"^{path}: cannot be read \(Permission denied\)$"):
        read_fasta(path)


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
