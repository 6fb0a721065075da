"""FASTA files, plain or compressed by gzip or bgzip, read block by block.

A record's name is its header up to the first white space, and is unique in the file. Lines may have any
length and end in LF, CRLF or CR; blank lines, and blanks within lines, are passed over.
"""

import os
from collections.abc import Iterator

from helixband.errors import DataError
from helixband.sequence.reading import Path, blocks

SUFFIXES = (".fa", ".fasta", ".fna", ".ffn", ".fas", ".faa", ".frn")
BLANKS = b"\n\t\v\f "
HEADER_BYTES = 1 << 20
"""A longer header is no header, but a file without line ends."""


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
                raise DataError(
                    f"{path}, line {line}: the header has {trouble}; names have to be unique, and end at the "
                    'first blank. To number them: awk \'/^>/ {sub(/^>/, ">" ++n "_")} 1\' FILE > NEW'
                )
            lines_of[name] = line
            yield header, b""
        elif text := piece.strip():
            if not lines_of:
                line += piece[: piece.index(text[:1])].count(b"\n")
                first = _text(path, text.split(b"\n", 1)[0])[:20]
                raise DataError(
                    f"{path}, line {line}: {first!r} before the first header; is this the FASTA file?"
                )
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
    for block in blocks(path):
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


def _text(path: Path, content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read as text ({error}); is it FASTA, in UTF-8?") from error
    if "\0" in text:
        raise DataError(f"{path}: cannot be read as text (it has NUL characters); is it FASTA, in UTF-8?")
    return text
