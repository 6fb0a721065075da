"""The encoded store: windows as pyfaidx has them; made once, whole or absent, and shared by processes."""

import gzip
import json
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyfaidx import Fasta
from test_fasta import bgzip

from helixband.errors import DataError, StorageError
from helixband.sequence import encoded as encoding
from helixband.sequence import fasta, reading
from helixband.sequence.alphabet import DNA, PROTEIN, RNA, Alphabet
from helixband.sequence.store import SequenceStore

RECORDS = {"chr1": "ACGTTGCAAC", "chr2": "ggatcN", "chr3": "TTAC"}
TEXT = ">chr1 the first\nACGTTG\nCAAC\n>chr2\nggatcN\n>chr3 len=4\nTTAC\n"
CHANGED = TEXT.replace("TTAC", "TTAG")


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    path = tmp_path / "genome.fa"
    path.write_text(TEXT)
    return path


def encoded_files(tmp_path: Path) -> list[Path]:
    """All that is in the cache but for locks."""
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock")


def encoded(tmp_path: Path) -> Path:
    (only,) = encoded_files(tmp_path)
    return only


def text(codes: NDArray[np.uint8]) -> Any:
    return DNA.decode(codes)


def write(path: Path, content: str, seconds: int = 0) -> None:
    """A file of a time of its own, as no clock is too coarse for."""
    path.write_text(content)
    os.utime(path, (1_700_000_000 + seconds,) * 2)


# What is in it.


def test_a_store_has_the_records_one_after_another(genome: Path) -> None:
    opened = SequenceStore.open(genome)

    assert opened.names == ["chr1", "chr2", "chr3"]
    assert opened.headers == ["chr1 the first", "chr2", "chr3 len=4"]
    assert len(opened) == 3
    assert (opened.lengths.tolist(), opened.lengths.dtype) == ([10, 6, 4], np.int64)
    assert (opened.offsets.tolist(), opened.offsets.dtype) == ([0, 10, 16], np.int64)
    assert (text(opened.codes), opened.codes.dtype) == ("ACGTTGCAACGGATCNTTAC", np.uint8)
    assert (opened.path, opened.paths, opened.total) == (str(genome), (str(genome),), 20)
    assert (opened.alphabet, opened.both_strands) == (DNA, False)
    assert opened.file_of_record.tolist() == [0, 0, 0]


def test_a_sequence_is_a_record_or_a_part_of_it(genome: Path) -> None:
    opened = SequenceStore.open(genome, both_strands=True)
    for record, sequence in enumerate(RECORDS.values()):
        assert text(opened.sequence(record)) == sequence.upper()
    assert text(opened.sequence(0, 2, 5)) == "GTT"
    assert text(opened.sequence(0, 2, 5, reverse=True)) == "AAC"
    assert text(opened.sequence(2, reverse=True)) == "GTAA"
    assert text(opened.sequence(2, -1, 5)) == "NTTACN"
    assert text(opened.sequence(0, 3, 3)) == ""
    with pytest.raises(DataError, match=r"^\[5, 3\) of 'chr1' ends before it starts$"):
        opened.sequence(0, 5, 3)


def test_a_record_is_found_by_its_name_and_near_names_are_told(genome: Path) -> None:
    opened = SequenceStore.open(genome)
    assert [opened.index_of(name) for name in RECORDS] == [0, 1, 2]
    with pytest.raises(DataError, match=f"^{genome} has no record 'chr4'; it has chr[123], "):
        opened.index_of("chr4")
    with pytest.raises(DataError, match="has no record ''; it has chr1, chr2, chr3"):
        opened.index_of("")


def test_codes_cannot_be_written_to(genome: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        SequenceStore.open(genome).codes[0] = 1


# Windows, beside pyfaidx.

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def with_pyfaidx(known: Fasta, name: str, start: int, length: int, reverse: bool) -> str:
    """The same window from pyfaidx, padded by hand."""
    end = start + length
    inside = str(known[name][max(start, 0) : max(end, 0)]).upper()
    window = "N" * min(max(-start, 0), length) + inside
    window += "N" * (length - len(window))
    return window.translate(COMPLEMENT)[::-1] if reverse else window


@pytest.mark.parametrize(
    ("name", "start", "length", "reverse", "expected"),
    [
        ("chr1", 0, 4, False, "ACGT"),
        ("chr1", 3, 4, False, "TTGC"),
        ("chr1", 6, 4, False, "CAAC"),
        ("chr1", 0, 4, True, "ACGT"),
        ("chr1", 3, 4, True, "GCAA"),
        ("chr1", 6, 4, True, "GTTG"),
        ("chr1", 0, 10, True, "GTTGCAACGT"),
        ("chr1", -2, 4, False, "NNAC"),
        ("chr1", -2, 4, True, "GTNN"),
        ("chr1", 8, 4, False, "ACNN"),
        ("chr1", 8, 4, True, "NNGT"),
        ("chr2", 0, 6, False, "GGATCN"),
        ("chr2", 0, 6, True, "NGATCC"),
        ("chr2", -1, 8, False, "NGGATCNN"),
        ("chr3", -3, 10, False, "NNNTTACNNN"),
        ("chr3", -3, 10, True, "NNNGTAANNN"),
        ("chr3", 4, 3, False, "NNN"),
        ("chr3", 40, 3, True, "NNN"),
        ("chr3", -9, 3, False, "NNN"),
        ("chr3", 3, 1, True, "G"),
        ("chr2", -30, 100, False, "N" * 30 + "GGATCN" + "N" * 64),
    ],
)
def test_a_window_is_what_pyfaidx_has(
    genome: Path, name: str, start: int, length: int, reverse: bool, expected: str
) -> None:
    opened = SequenceStore.open(genome, both_strands=True)
    record = np.array([opened.index_of(name)])

    window = opened.windows(record, np.array([start]), length, np.array([reverse]))

    assert (window.shape, window.dtype) == ((1, length), np.uint8)
    assert text(window) == [expected]
    with Fasta(str(genome), rebuild=True) as known:
        assert with_pyfaidx(known, name, start, length, reverse) == expected


@pytest.fixture(scope="module")
def random_genome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SequenceStore, Fasta]]:
    folder = tmp_path_factory.mktemp("random")
    rng = np.random.default_rng(0)
    lines = []
    for number, length in enumerate([50, 1, 33, 7, 120]):
        letters = "".join(rng.choice(list("ACGTacgtN"), length))
        lines += [f">r{number}", *[letters[i : i + 9] for i in range(0, length, 9)]]
    (folder / "a.fa").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELIXBAND_CACHE", str(folder / "cache"))
        opened = SequenceStore.open(folder / "a.fa", both_strands=True)
        with Fasta(str(folder / "a.fa")) as known:
            yield opened, known


@settings(deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(0, 4), st.integers(-20, 130), st.booleans()), max_size=12),
    length=st.integers(1, 60),
)
def test_windows_are_what_pyfaidx_has_however_many_at_once(
    random_genome: tuple[SequenceStore, Fasta], places: list[tuple[int, int, bool]], length: int
) -> None:
    opened, known = random_genome
    records = np.array([place[0] for place in places], dtype=np.int64)
    starts = np.array([place[1] for place in places], dtype=np.int64)
    reverse = np.array([place[2] for place in places], dtype=np.bool_)

    windows = opened.windows(records, starts, length, reverse)

    assert windows.shape == (len(places), length)
    assert text(windows) == [
        with_pyfaidx(known, f"r{record}", start, length, turned) for record, start, turned in places
    ]
    for row in range(len(places)):
        one = slice(row, row + 1)
        assert np.array_equal(opened.windows(records[one], starts[one], length, reverse[one]), windows[one])
    forward = opened.windows(records, starts, length)
    assert np.array_equal(forward, opened.windows(records, starts, length, np.zeros_like(reverse)))


def test_no_window_is_an_array_of_none(genome: Path) -> None:
    none = np.array([], dtype=np.int64)
    assert SequenceStore.open(genome).windows(none, none, 1000).shape == (0, 1000)


def test_windows_of_the_reverse_strand_need_it_in_the_store(genome: Path) -> None:
    opened = SequenceStore.open(genome)
    place = np.array([0]), np.array([0])
    with pytest.raises(ValueError, match="open the store with both_strands=True"):
        opened.windows(*place, 4, np.array([True]))
    assert text(opened.windows(*place, 4, np.array([False]))) == ["ACGT"]


def test_an_alphabet_without_an_empty_token_cannot_pad(genome: Path) -> None:
    genome.write_text(">a\nACGT\n")
    opened = SequenceStore.open(genome, Alphabet("ACGT"))
    assert opened.sequence(0).tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match=rf"^\[2, 6\) leaves the record 'a' of {genome}, and the alpha"):
        opened.sequence(0, 2, 6)


def test_pages_that_are_given_back_are_read_anew(genome: Path) -> None:
    opened = SequenceStore.open(genome)
    before = opened.codes.tolist()
    opened.forget_pages()
    assert opened.codes.tolist() == before


# Whatever the form of the file.


def test_the_form_of_the_file_does_not_show(tmp_path: Path, genome: Path) -> None:
    plain = SequenceStore.open(genome)
    content = TEXT.encode()
    forms = {
        "a.fa.gz": gzip.compress(content),
        "b.fa": gzip.compress(content[:20]) + gzip.compress(content[20:]),
        "c.fa.gz": bgzip(content, 7),
        "d.fa": content.replace(b"\n", b"\r\n"),
        "e.fa": content.replace(b"\nCAAC", b"CAAC").rstrip(),
        "f.fa": b"\n" + content.replace(b"\n", b"\n\n"),
    }
    for name, form in forms.items():
        (tmp_path / name).write_bytes(form)
        other = SequenceStore.open(tmp_path / name)
        assert (other.headers, other.codes.tolist()) == (plain.headers, plain.codes.tolist())
        assert other.digest == plain.digest


def contents(path: Path, block: int) -> tuple[Any, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELIXBAND_CACHE", str(path.parent / f"cache{block}"))
        patch.setattr(reading, "BLOCK_BYTES", block)
        patch.setattr(encoding, "BLOCK_BYTES", block)
        opened = SequenceStore.open(path, both_strands=True)
        backwards = [text(opened.sequence(record, reverse=True)) for record in range(len(opened))]
        return opened.headers, text(opened.codes), opened.digest, backwards


@settings(deadline=None, max_examples=60)
@given(
    sequences=st.lists(st.text("ACGTN \r\n", max_size=25), min_size=1, max_size=4),
    block=st.integers(1, 7),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_the_ends_of_blocks_do_not_show(
    tmp_path_factory: pytest.TempPathFactory, sequences: list[str], block: int, end: str
) -> None:
    path = tmp_path_factory.mktemp("blocks") / "a.fa"
    records = {f"r{number}": f"A{sequence}" for number, sequence in enumerate(sequences)}
    path.write_bytes("".join(f">{name} x{end}{sequence}{end}" for name, sequence in records.items()).encode())

    found = contents(path, block)

    assert found == contents(path, 4 << 20)
    assert found[:2] == ([f"{name} x" for name in records], "".join("".join(records.values()).split()))


def test_a_digest_is_of_the_records(tmp_path: Path, genome: Path) -> None:
    digests = {SequenceStore.open(genome).digest}
    name = TEXT.replace("chr3", "chr4")
    border = TEXT.replace("CAAC\n>chr2\ng", "CAACG\n>chr2\n")
    for number, changed in enumerate([CHANGED, name, border]):
        path = tmp_path / f"{number}.fa"
        path.write_text(changed)
        assert len(SequenceStore.open(path).codes) == 20
        digests.add(SequenceStore.open(path).digest)
    assert len(digests) == 4
    assert SequenceStore.open(genome, both_strands=True).digest in digests


# Several files, and alphabets.


def test_several_files_are_one_store_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        (tmp_path / f"part{number}.fa").write_text(f">r{number}\n{'A' * number}\n>s{number}\nC\n")
    opened = SequenceStore.open(str(tmp_path / "part*.fa"))
    assert opened.names == ["r1", "s1", "r2", "s2", "r10", "s10"]
    assert opened.file_of_record.tolist() == [0, 0, 1, 1, 2, 2]
    assert opened.path == f"{tmp_path}/part1.fa (and 2 more)"
    given_order = SequenceStore.open([tmp_path / "part10.fa", str(tmp_path / "part[12].fa")])
    assert given_order.names == ["r10", "s10", "r1", "s1", "r2", "s2"]


def test_a_name_in_two_files_and_a_file_given_twice_are_refused(tmp_path: Path, genome: Path) -> None:
    other, link = tmp_path / "other.fa", tmp_path / "link.fa"
    other.write_text(">x\nA\n>chr2 another\nA\n")
    link.symlink_to(genome)
    both = f"^{other} and {genome} both have a record 'chr2'; rename one, or number the records: in "
    with pytest.raises(DataError, match=both):
        SequenceStore.open([genome, other])
    for twice in ([genome, genome], [genome, link], tmp_path / "[gl]*.fa"):
        with pytest.raises(DataError, match=f"^{genome} is given 2 times, itself or by links to it"):
            SequenceStore.open(twice)
    assert encoded_files(tmp_path) == []


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fa")
    (tmp_path / "loop.fa").symlink_to(tmp_path / "loop.fa")
    for path, message in [
        (tmp_path / "a.fa", "no file matches .*/a.fa"),
        (tmp_path / "loop.fa", rf"{tmp_path}/loop.fa: cannot be read \(Too many levels of symbolic links\)"),
        (tmp_path / "*.fna", "no file matches"),
        (tmp_path, f"{tmp_path}: cannot be read, for it is no regular file"),
        (tmp_path / "pipe.fa", f"{tmp_path}/pipe.fa: cannot be read, for it is no regular file"),
        ([], "no FASTA file is given"),
    ]:
        with pytest.raises(DataError, match=f"^{message}"):
            SequenceStore.open(path)


def test_each_alphabet_has_an_encoded_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text(">a\nACCA\n")
    synonyms = dict.fromkeys("RYSWKMBDHV", "N")
    swapped = Alphabet("ACGT", ["N"], empty="N", synonyms=synonyms, complement={"A": "C", "C": "A"})
    assert np.array_equal(swapped.letter_codes, DNA.letter_codes)
    stores = [SequenceStore.open(path, alphabet, both_strands=True) for alphabet in (DNA, RNA, swapped)]

    backwards = [opened.sequence(0, reverse=True).tolist() for opened in stores]
    assert backwards == [[3, 2, 2, 3], [3, 2, 2, 3], [1, 0, 0, 1]]
    assert SequenceStore.open(path, PROTEIN).sequence(0).tolist() == [0, 1, 1, 0]
    marked = SequenceStore.open(path, DNA.add_control_tokens(["[CLS]"]))
    assert marked.sequence(0, -1).tolist() == [4, 0, 1, 1, 0]
    with pytest.raises(DataError, match="has no complement"):
        SequenceStore.open(path, PROTEIN, both_strands=True)


def test_a_letter_that_is_not_in_the_alphabet_is_told_with_its_record_and_position(
    tmp_path: Path, genome: Path
) -> None:
    genome.write_text(">a\nACGT\n>b x\nAC\n \nGTACE\nE\n")
    with pytest.raises(DataError) as caught:
        SequenceStore.open(genome)
    assert str(caught.value) == (
        f"{genome}, record 'b', position 6 (from 0): 'E' is not in the alphabet 'ACGT'; "
        "for PROTEIN pass alphabet=PROTEIN, of helixband.sequence.alphabet"
    )
    assert encoded_files(tmp_path) == []


def test_the_position_is_that_in_the_record_wherever_blocks_end(
    genome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BLOCK_BYTES", 4)
    genome.write_text(">a\nACGT\n>b x\nACACACAC\nACACE\n")
    with pytest.raises(DataError, match=r"record 'b', position 12 \(from 0\): 'E' is not in the alphabet"):
        SequenceStore.open(genome)


def test_an_alphabet_of_longer_tokens_does_not_read_files(genome: Path) -> None:
    with pytest.raises(DataError, match=f"^{genome} is read letter by letter, and 'ATG' is a token of 3; "):
        SequenceStore.open(genome, Alphabet(["ATG", "TAA"]))


NAMES = ['a b\'s "c";$d[1]*?.fa', "-é🧬.fa", "x" * 252 + ".fa", "ü" * 126 + ".fa"]
NO_UTF_8 = pytest.param(
    "\udce4.fa", marks=pytest.mark.skipif(sys.platform == "darwin", reason="not on macOS")
)


@pytest.mark.parametrize("name", [*NAMES, NO_UTF_8])
def test_a_file_has_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TEXT)
    opened = SequenceStore.open(tmp_path / name)
    assert opened.names == list(RECORDS)
    assert opened.with_both_strands().sequence(2, reverse=True).tolist() == [2, 3, 0, 0]


# Made once, and anew when the file has changed.


def test_a_store_is_made_once(tmp_path: Path, genome: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SequenceStore.open(genome)
    before = encoded(tmp_path).stat()
    monkeypatch.setattr(encoding, "scan", None)  # nothing is read again

    second = SequenceStore.open(str(genome))
    monkeypatch.chdir(tmp_path)
    third = SequenceStore.open("genome.fa")

    after = encoded(tmp_path).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert first.digest == second.digest == third.digest


@pytest.mark.parametrize(
    ("content", "seconds"),
    [(CHANGED, 1), (CHANGED, -1), (TEXT.replace("TTAC", "TTACG"), 0)],
    ids=["later", "earlier", "longer"],
)
def test_a_store_is_made_anew_when_the_file_has_another_size_or_time(
    tmp_path: Path, genome: Path, content: str, seconds: int
) -> None:
    write(genome, TEXT)
    old = SequenceStore.open(genome)

    write(genome, content, seconds)
    new = SequenceStore.open(genome)

    assert text(new.sequence(2)) == content.split()[-1]
    assert text(old.sequence(2)) == "TTAC"  # the old one stays as it was, for who has it open
    assert new.digest != old.digest
    assert len(encoded_files(tmp_path)) == 1


def test_a_store_is_made_anew_when_another_file_of_the_same_size_and_time_has_the_name(
    tmp_path: Path,
) -> None:
    for folder, content in (("old", TEXT), ("new", CHANGED)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "genome.fa", content)
    SequenceStore.open(tmp_path / "old" / "genome.fa")

    (tmp_path / "old").rename(tmp_path / "older")
    (tmp_path / "new").rename(tmp_path / "old")

    assert text(SequenceStore.open(tmp_path / "old" / "genome.fa").sequence(2)) == "TTAG"


def test_a_store_is_made_anew_when_a_file_was_written_over_and_its_time_set_back(genome: Path) -> None:
    write(genome, TEXT)
    SequenceStore.open(genome)
    time.sleep(0.02)  # a tick of the clock of the file system
    write(genome, CHANGED)
    assert text(SequenceStore.open(genome).sequence(2)) == "TTAG"


def test_a_file_that_changed_into_no_fasta_is_refused_though_there_is_an_old_store(genome: Path) -> None:
    SequenceStore.open(genome)
    genome.write_text("nothing")
    with pytest.raises(DataError, match="line 1: 'nothing' before the first header"):
        SequenceStore.open(genome)


def test_reverse_strands_are_added_once_and_kept(tmp_path: Path, genome: Path) -> None:
    forward = SequenceStore.open(genome)
    assert encoded(tmp_path).stat().st_size < 20 + 500
    both = forward.with_both_strands()
    before = encoded(tmp_path).stat()

    assert (forward.both_strands, both.both_strands) == (False, True)
    assert both.digest == forward.digest
    assert text(both.sequence(0, reverse=True)) == "GTTGCAACGT"
    assert SequenceStore.open(genome).both_strands
    assert both.with_both_strands() is both
    assert encoded(tmp_path).stat().st_ino == before.st_ino


def test_reverse_strands_of_a_file_that_changed_meanwhile_are_refused(genome: Path) -> None:
    opened = SequenceStore.open(genome)
    write(genome, CHANGED, 1)
    with pytest.raises(DataError, match=f"^{genome}: changed while it was in use"):
        opened.with_both_strands()


@pytest.mark.parametrize("kind", ["garbage", "stale", "folder"])
def test_an_index_beside_the_file_is_neither_used_nor_touched(
    tmp_path: Path, genome: Path, kind: str
) -> None:
    index = tmp_path / "genome.fa.fai"
    if kind == "folder":
        index.mkdir()
    else:
        index.write_bytes(b"\xff\0garbage" if kind == "garbage" else b"chr1\t5\t16\t5\t6\n")
    before = index.stat()

    assert text(SequenceStore.open(genome).sequence(0)) == "ACGTTGCAAC"

    after = index.stat()
    assert (after.st_mtime_ns, after.st_ino, after.st_size) == (
        before.st_mtime_ns,
        before.st_ino,
        before.st_size,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "genome.fa", "genome.fa.fai"]


def test_nothing_is_written_beside_the_file(tmp_path: Path, genome: Path) -> None:
    SequenceStore.open(genome, both_strands=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "genome.fa"]


# Whole or absent.


def changing(change: Callable[[], object]) -> Callable[..., Iterator[tuple[str | None, bytes]]]:
    """`scan`, with something that happens after the first header."""

    def scan(*of: Any) -> Iterator[tuple[str | None, bytes]]:
        records = fasta.scan(*of)
        yield next(records)
        change()
        yield from records

    return scan


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, genome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def append() -> None:
        with open(genome, "a") as file:
            file.write(">chr4\nACGT\n")

    with monkeypatch.context() as patch:
        patch.setattr(encoding, "scan", changing(append))
        with pytest.raises(DataError, match=f"^{genome}: changed while it was read; start again when"):
            SequenceStore.open(genome)
    assert encoded_files(tmp_path) == []
    assert SequenceStore.open(genome).names == ["chr1", "chr2", "chr3", "chr4"]


def test_a_file_that_goes_away_while_it_is_read_is_told(
    tmp_path: Path, genome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "scan", changing(genome.unlink))
    with pytest.raises(DataError, match=rf"^{genome}: cannot be read \(No such file or directory\)$"):
        SequenceStore.open(genome)
    assert encoded_files(tmp_path) == []


STOPPING = """
import sys, time
from helixband.files import writing
from helixband.sequence import encoded, fasta, reading, store

def stop(*_):
    print("there", flush=True)
    time.sleep(600)

def scan(*of):
    for number, piece in enumerate(fasta.scan(*of)):
        if number == 3:
            stop()
        yield piece

if sys.argv[2] == "midway":
    encoded.scan = scan
else:
    writing.os.replace = stop
store.SequenceStore.open(sys.argv[1])
"""


@pytest.mark.parametrize("place", ["midway", "at its end"])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_store_whose_making_was_killed_is_made_anew(
    tmp_path: Path, genome: Path, place: str, earlier: bool
) -> None:
    if earlier:
        write(genome, TEXT)
        SequenceStore.open(genome)
        write(genome, CHANGED, 1)
    builder = subprocess.Popen(
        [sys.executable, "-c", STOPPING, str(genome), place], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert builder.stdout is not None
    with builder.stdout as out:
        assert out.readline() == "there\n"
        builder.send_signal(signal.SIGKILL)
        assert builder.wait() == -signal.SIGKILL
    assert sorted(path.suffix for path in encoded_files(tmp_path)) == [".codes"] * earlier + [".tmp"]

    opened = SequenceStore.open(genome)

    assert text(opened.codes) == "ACGTTGCAACGGATCN" + ("TTAG" if earlier else "TTAC")
    assert [path.suffix for path in encoded_files(tmp_path)] == [".codes"]


TOGETHER = """
import sys
from helixband.sequence import store

made, encode = [], store.encode

def counted(*arguments):
    made.append(1)
    encode(*arguments)

store.encode = counted
print("ready", flush=True)
sys.stdin.readline()
opened = store.SequenceStore.open(sys.argv[1], both_strands=True)
print(len(made), opened.digest, opened.alphabet.decode(opened.sequence(0, 0, 50, reverse=True)))
"""


def test_of_several_processes_one_makes_the_store_and_all_have_it(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text(">a\n" + "AACGT" * 200_000 + "\n")
    command = [sys.executable, "-c", TOGETHER, str(path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate()[0].split() for process in processes]

    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(answer[0] for answer in answers) == ["0", "0", "0", "1"]
    assert {tuple(answer[1:]) for answer in answers} == {(SequenceStore.open(path).digest, "ACGTT" * 10)}


def damaged_documents(whole: bytes) -> dict[str, bytes]:
    """Encoded files that are not whole, by what is wrong with them."""
    size = int.from_bytes(whole[-12:-4], "little")
    codes, content = whole[: -12 - size], whole[-12 - size : -12]
    document = json.loads(content)

    def file(document: object, codes: bytes = codes) -> bytes:
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        return codes + content + struct.pack("<QI", len(content), zlib.crc32(content))

    return {
        "empty": b"",
        "short": b"abc",
        "zeros": bytes(len(whole)),
        "garbage": bytes(range(256)) * 4,
        "cut": whole[:-1],
        "cut in the middle": whole[:30],
        "begun late": whole[5:],
        "no JSON": file(b"\xff" * 12),
        "another letter in the document": whole[: -12 - size] + content.replace(b"e", b"f", 1) + whole[-12:],
        "of version 2": codes + content + size.to_bytes(8, "little"),
        "a list": file([1]),
        "a number": file(1),
        "lengths of texts": file({**document, "lengths": ["a"]}),
        "another format": file({**document, "format": 0}),
        "without format": file({key: value for key, value in document.items() if key != "format"}),
        "fewer codes": file(document, codes[:-1]),
        "more codes": file(document, codes + b"\0"),
        "one strand": file({**document, "both_strands": True}),
    }


@pytest.mark.parametrize("damage", damaged_documents(b"\0\0{}" + struct.pack("<QI", 2, 0)))
def test_a_damaged_encoded_file_is_made_anew(tmp_path: Path, genome: Path, damage: str) -> None:
    digest = SequenceStore.open(genome).digest
    path = encoded(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damaged_documents(whole)[damage])

    opened = SequenceStore.open(genome)

    assert (text(opened.codes), opened.digest) == ("ACGTTGCAACGGATCNTTAC", digest)
    assert path.read_bytes() == whole


def test_a_folder_in_the_place_of_the_encoded_file_is_told(tmp_path: Path, genome: Path) -> None:
    SequenceStore.open(genome)
    path = encoded(tmp_path)
    path.unlink()
    (path / "something").mkdir(parents=True)
    with pytest.raises(StorageError, match=f"^cannot write {path}: .*; set HELIXBAND_CACHE to"):
        SequenceStore.open(genome)


# The folder it is in.


def test_a_cache_that_cannot_be_written_is_told_with_the_remedy(
    tmp_path: Path, genome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "within"):
        monkeypatch.setenv("HELIXBAND_CACHE", str(folder))
        with pytest.raises(StorageError) as caught:
            SequenceStore.open(genome)
        assert str(caught.value).startswith(f"cannot write encoded sequences to {folder} (")
        assert "; set HELIXBAND_CACHE to a folder that can be written" in str(caught.value)


def test_a_cache_that_is_not_ones_own_is_told(
    tmp_path: Path, genome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(StorageError, match=rf" to {tmp_path}/cache \(Permission denied\); set"):
        SequenceStore.open(genome)


def test_a_store_that_is_there_needs_no_writing(
    tmp_path: Path, genome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SequenceStore.open(genome)
    for path in (tmp_path / "cache").glob("*.lock"):
        path.unlink()
    SequenceStore.open(genome)
    assert list((tmp_path / "cache").glob("*.lock")) == []


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path, genome: Path) -> None:
    write(genome, TEXT)
    SequenceStore.open(genome)
    before = encoded(tmp_path).read_bytes()
    write(genome, ">a\n" + "ACGT" * 50_000, 1)

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError) as caught:
            SequenceStore.open(genome)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert str(caught.value).startswith(
        f"cannot write {encoded(tmp_path)}: File too large; what was there before"
    )
    assert str(caught.value).endswith("with room for two bytes a base")
    assert encoded(tmp_path).read_bytes() == before


def test_the_cache_is_in_the_folder_that_is_named(
    tmp_path: Path, genome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HELIXBAND_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    SequenceStore.open(genome)
    assert [path.name[:10] for path in (tmp_path / "xdg" / "helixband").glob("*.codes")] == ["genome.fa."]

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    SequenceStore.open(genome)
    assert len(list((tmp_path / "home" / ".cache" / "helixband").glob("*.codes"))) == 1


# Other processes.


def test_a_pickled_store_has_no_sequence_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text("".join(f">record{number}\n{'ACGT' * 50}\n" for number in range(1000)))
    opened = SequenceStore.open(path, both_strands=True)

    content = pickle.dumps(opened)

    assert len(content) < 2_000
    copied = pickle.loads(content)
    assert (copied.names, copied.digest, copied.both_strands) == (opened.names, opened.digest, True)
    assert np.array_equal(copied.codes, opened.codes)


def maps_of(_: SequenceStore) -> str:
    """The files that the process maps which has the store."""
    return Path("/proc/self/maps").read_text()


@pytest.mark.skipif(sys.platform == "darwin", reason="what is mapped is read from /proc")
def test_a_process_that_is_spawned_maps_the_same_file(tmp_path: Path, genome: Path) -> None:
    opened = SequenceStore.open(genome, both_strands=True)
    before = encoded(tmp_path).stat()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert text(pool.apply(opened.sequence, (0, 2, 5, True))) == "AAC"
        assert str(encoded(tmp_path)) in pool.apply(maps_of, (opened,))
    assert encoded(tmp_path).stat().st_ino == before.st_ino


def test_a_copy_for_another_process_is_of_the_same_records_or_refused(tmp_path: Path, genome: Path) -> None:
    write(genome, TEXT)
    content = pickle.dumps(SequenceStore.open(genome, both_strands=True))

    shutil.rmtree(tmp_path / "cache")
    assert text(pickle.loads(content).sequence(2, reverse=True)) == "GTAA"
    write(genome, TEXT, 1)
    assert text(pickle.loads(content).sequence(2)) == "TTAC"
    write(genome, CHANGED, 2)
    with pytest.raises(DataError, match=f"^{genome}: changed while it was in use; start again"):
        pickle.loads(content)
