"""FASTA files, plain or compressed by gzip or bgzip, read block by block.

A record's name is its header up to the first white space, and is unique in the file; or, where it is asked
for, the name of the file and the number of the record in it, which headers cannot repeat. Lines may have any
length and end in LF, CRLF or CR; blank lines, and blanks within lines, are passed over.
"""

import os
from collections.abc import Iterator, Sequence

from helixband.errors import DataError
from helixband.sequence.reading import Path, blocks, plain_name

SUFFIXES = (".fa", ".fasta", ".fna", ".ffn", ".fas", ".faa", ".frn")
BLANKS = b"\n\t\v\f "
HEADER_BYTES = 1 << 20
"""A longer header is no header, but a file without line ends."""


NAMES = ("header", "number")
"""Where the names of records are from."""

REMEDY = (
    'number the records: in the generator of def.py by names="number", in an input of --predict or of a '
    "command by --names number"
)


class RepeatedNames(DataError):
    """Two records have one name, or one has none."""


def check_names(names: str) -> None:
    """Raise `DataError` for what is none of `NAMES`."""
    if names not in NAMES:
        raise DataError(f"names is {names!r}; it has to be one of {', '.join(map(repr, NAMES))}")


def numbered(paths: Sequence[Path], counts: Sequence[int]) -> list[str]:
    """The names of the records of files, by the file's name and the record's number in it, from 1.

    Of files of one name, those of their folders come before.

    >>> numbered(["data/bound.fa", "data/free.fa.gz"], [2, 1])
    ['bound.fa:1', 'bound.fa:2', 'free.fa.gz:1']
    >>> numbered(["a/x.fa", "b/x.fa"], [1, 1])
    ['a/x.fa:1', 'b/x.fa:1']
    """
    parts = [os.path.abspath(path).split(os.sep) for path in paths]
    depth = 1
    while len({tuple(part[-depth:]) for part in parts}) < len(parts) and depth < max(map(len, parts)):
        depth += 1
    labels = ["/".join(part[-depth:]) for part in parts]
    return [
        f"{label}:{number}"
        for label, count in zip(labels, counts, strict=True)
        for number in range(1, count + 1)
    ]


def is_fasta(path: Path) -> bool:
    """Whether the name of a file says that it is FASTA, compressed or not."""
    return plain_name(path).endswith(SUFFIXES)


def record_name(header: str) -> str:
    """The name of a record, from its header without the `>`.

    >>> record_name("chr1 dna:chromosome")
    'chr1'
    """
    return (header.split(maxsplit=1) or [""])[0]


def read_fasta(path: Path, names: str = "header") -> tuple[list[str], list[str]]:
    """(names, sequences) of a FASTA file, the letters as they stand.

    `names="number"` gives each record the name of the file and its number in it, as `numbered` does: for a
    file that has a name twice. Raises `DataError` as `scan` does.
    """
    check_names(names)
    found: list[str] = []
    sequences: list[list[bytes]] = []
    for header, letters in scan(path, unique=names == "header"):
        if header is None:
            sequences[-1].append(letters.translate(None, BLANKS))
        else:
            found.append(record_name(header))
            sequences.append([])
    if names == "number":
        found = numbered([path], [len(found)])
    return found, [_text(path, b"".join(pieces)) for pieces in sequences]


def scan(path: Path, unique: bool = True) -> Iterator[tuple[str | None, bytes]]:
    """A file from its beginning to its end: (header, b"") at each header, (None, letters) after it.

    Letters come in pieces of some megabytes at most, and with the `BLANKS` that stand among them.

    Raises `DataError` naming file and line where the file is empty, does not begin with a header, has a
    record without sequence, is cut short or no text; `RepeatedNames` where names have to be `unique`, and one
    is there twice or is empty.
    """
    lines_of: dict[str, int] = {}
    name, has_letters = "", True
    line = 1
    for is_header, piece in _pieces(path):
        if is_header:
            _check_record(path, name, has_letters)
            header = _text(path, piece).strip()
            name, has_letters = record_name(header), False
            if unique and (not name or name in lines_of):
                trouble = f"the name {name!r}, as does line {lines_of[name]}" if name else "no name"
                raise RepeatedNames(
                    f"{path}, line {line}: the header has {trouble}; names have to be unique, and end at the "
                    f"first blank: {REMEDY}"
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
