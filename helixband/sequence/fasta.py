"""FASTA files, plain or compressed by gzip or bgzip, read block by block.

A record's name is its header up to the first white space, and is unique in the file. Lines may have any
length and end in LF, CRLF or CR; blank lines, and blanks within lines, are passed over.
"""

import gzip
import os
import stat
import zlib
from collections.abc import Iterator

from helixband.errors import DataError

SUFFIXES = (".fa", ".fasta", ".fna", ".ffn", ".fas", ".faa", ".frn")
BLANKS = b"\n\t\v\f "
BLOCK_BYTES = 4 << 20
HEADER_BYTES = 1 << 20
"""A longer header is no header, but a file without line ends."""

GZIP_MAGIC = b"\x1f\x8b"
BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that a bgzip file ends in, unless it was cut between blocks (SAM 1.6, 4.1.2)."""

Path = str | os.PathLike[str]


def is_fasta(path: Path) -> bool:
    """Whether the name of a file says that it is FASTA, compressed or not."""
    return os.fspath(path).lower().removesuffix(".gz").endswith(SUFFIXES)


def record_name(header: str) -> str:
    """The name of a record, from its header without the `>`.

    >>> record_name("chr1 dna:chromosome")
    'chr1'
    """
    return (header.split(maxsplit=1) or [""])[0]


def read_fasta(path: Path) -> tuple[list[str], list[str]]:
    """(names, sequences) of a FASTA file, the letters as they stand. Raises `DataError` as `scan` does."""
    names: list[str] = []
    sequences: list[list[bytes]] = []
    for header, letters in scan(path):
        if header is None:
            sequences[-1].append(letters.translate(None, BLANKS))
        else:
            names.append(record_name(header))
            sequences.append([])
    return names, [_text(path, b"".join(pieces)) for pieces in sequences]


def scan(path: Path) -> Iterator[tuple[str | None, bytes]]:
    """A file from its beginning to its end: (header, b"") at each header, (None, letters) after it.

    Letters come in pieces of some megabytes at most, and with the `BLANKS` that stand among them.

    Raises `DataError` naming file and line where the file is empty, does not begin with a header, has a
    name twice or a record without sequence, is cut short or no text.
    """
    lines_of: dict[str, int] = {}
    name, has_letters = "", True
    line = 1
    for is_header, piece in _pieces(path):
        if is_header:
            _check_record(path, name, has_letters)
            header = _text(path, piece).strip()
            name, has_letters = record_name(header), False
            if not name or name in lines_of:
                trouble = f"the name {name!r}, as does line {lines_of[name]}" if name else "no name"
                raise DataError(f"{path}, line {line}: the header has {trouble}; names have to be unique")
            lines_of[name] = line
            yield header, b""
        elif text := piece.strip():
            if not lines_of:
                line += piece[: piece.index(text[:1])].count(b"\n")
                first = _text(path, text.split(b"\n", 1)[0])[:20]
                raise DataError(f"{path}, line {line}: {first!r} before the first header; no FASTA file?")
            has_letters = True
            yield None, piece
        line += piece.count(b"\n") + is_header
    if not lines_of:
        raise DataError(f"{path}: the file has no record")
    _check_record(path, name, has_letters)


def _check_record(path: Path, name: str, has_letters: bool) -> None:
    if not has_letters:
        raise DataError(f"{path}: the record {name!r} has no sequence; give it one, or remove it")


def _pieces(path: Path) -> Iterator[tuple[bool, bytes]]:
    """(True, a header without `>` and line end) and (False, lines or parts of them), in order."""
    header: bytes | None = None  # the part of a header that the last block ended in
    at_line_start = True
    for block in _blocks(path):
        place = 0
        while place < len(block):
            if header is not None:
                end = block.find(b"\n", place)
                header += block[place : end if end >= 0 else len(block)]
                if len(header) > HEADER_BYTES:
                    raise DataError(
                        f"{path}: the header {header[:40].decode('utf-8', 'replace')!r}… does not end "
                        f"within {HEADER_BYTES} bytes; does the file have line ends?"
                    )
                if end < 0:
                    break
                yield True, header
                header, place, at_line_start = None, end + 1, True
            elif at_line_start and block[place : place + 1] == b">":
                header, place = b"", place + 1
            else:
                end = block.find(b"\n>", place) + 1 or len(block)
                yield False, block[place:end]
                place, at_line_start = end, block[end - 1 : end] == b"\n"
    if header is not None:
        yield True, header


def _blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, decompressed, every line end as LF, without a byte order mark."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: cannot be read, for it is no regular file; give a FASTA file")
        with open(path, "rb") as raw:
            start = raw.read(14)
            compressed = start.startswith(GZIP_MAGIC) or os.fspath(path).lower().endswith(".gz")
            if (start[:4], start[12:]) == (BGZIP_END[:4], BGZIP_END[12:14]):
                raw.seek(max(0, status.st_size - len(BGZIP_END)))
                if raw.read() != BGZIP_END:
                    raise DataError(f"{path}: the last block of bgzip is missing; is the file whole?")
            raw.seek(0)
            with gzip.open(raw) if compressed else raw as file:
                held = file.read(3).removeprefix(b"\xef\xbb\xbf")
                while block := file.read(BLOCK_BYTES):
                    block = held + block
                    held = b"\r" if block.endswith(b"\r") else b""  # its LF may be in the next block
                    yield _with_line_feeds(block.removesuffix(b"\r"))
                yield _with_line_feeds(held)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as gzip ({error}); is the file whole?") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _with_line_feeds(block: bytes) -> bytes:
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in block else block


def _text(path: Path, content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read as text ({error}); is it FASTA, in UTF-8?") from error
    if "\0" in text:
        raise DataError(f"{path}: cannot be read as text (it has NUL characters); is it FASTA, in UTF-8?")
    return text
