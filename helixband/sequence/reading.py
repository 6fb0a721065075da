"""Text files, plain or compressed by gzip or bgzip, read block by block."""

import difflib
import gzip
import os
import stat
import zlib
from collections.abc import Iterator, Sequence

from helixband.errors import DataError

BLOCK_BYTES = 4 << 20
LINES_BLOCK_BYTES = 1 << 16
"""Of blocks in lines, as of larger ones the garbage collector makes slow work."""

LINE_BYTES = 16 << 20
"""A longer line is that of no table."""

COMPARED = 1000
"""So many names are compared with one, for a message."""

SHOWN_LETTERS = 80
"""Of a longer name a message has the beginning, and it is compared with no other."""

GZIP_MAGIC = b"\x1f\x8b"
BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that a bgzip file ends in, unless it was cut between blocks (SAM 1.6, 4.1.2)."""

Path = str | os.PathLike[str]


def plain_name(path: Path) -> str:
    """The name of a file in lower case without the suffix of gzip or bgzip.

    >>> plain_name("data/Genome.FA.bgz")
    'data/genome.fa'
    """
    return os.fspath(path).lower().removesuffix(".gz").removesuffix(".bgz")


def blocks(path: Path, block_bytes: int | None = None) -> Iterator[bytes]:
    """The bytes of a file, decompressed, every line end as LF, without a byte order mark.

    Raises `DataError` where it is missing, no regular file, not to be read, or cut short.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: cannot be read, for it is no regular file")
        with open(path, "rb") as raw:
            start = raw.read(14)
            compressed = start.startswith(GZIP_MAGIC) or os.fspath(path).lower().endswith((".gz", ".bgz"))
            if (start[:4], start[12:]) == (BGZIP_END[:4], BGZIP_END[12:14]):
                raw.seek(max(0, status.st_size - len(BGZIP_END)))
                if raw.read() != BGZIP_END:
                    raise DataError(f"{path}: the last block of bgzip is missing; is the file whole?")
            raw.seek(0)
            with gzip.open(raw) if compressed else raw as file:
                held = file.read(3).removeprefix(b"\xef\xbb\xbf")
                while block := file.read(block_bytes or BLOCK_BYTES):
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


def number_in(text: str) -> float:
    """A number in plain digits; raises `ValueError` for what is none, and for 1_0, which to Python is 10."""
    if "_" in text:
        raise ValueError(f"{text!r} has an underscore")
    return float(text)


def near_names(name: str, names: Sequence[str]) -> list[str]:
    """Up to three names for a message that has no `name` among them: those that are alike, or else the first.

    Of more than `COMPARED`, those are looked at that share the longest beginning with it: it takes a time in
    proportion to their number.
    """
    likely = names
    if len(names) > COMPARED:
        shared, end = 0, min(len(name), SHOWN_LETTERS)
        while shared < end:
            middle = (shared + end + 1) // 2
            if len(found := [other for other in likely if other.startswith(name[:middle])]) >= 3:
                likely, shared = found, middle
            else:
                end = middle - 1
    comparable = [other for other in likely[:COMPARED] if len(other) <= SHOWN_LETTERS]
    near = difflib.get_close_matches(name, comparable, 3) if len(name) <= SHOWN_LETTERS else []
    return [shown_name(other) for other in near or names[:3]]


def shown_name(name: str) -> str:
    """A name for a message: of a very long one the beginning."""
    return name if len(name) <= SHOWN_LETTERS else f"{name[:SHOWN_LETTERS]}…"


def shown_names(names: Sequence[str], at_most: int = 10) -> str:
    """The first names for a message, and `…` where there are more.

    >>> shown_names(["a", "b"]), shown_names([f"chr{n}" for n in range(1, 99)], at_most=3)
    ('a, b', 'chr1, chr2, chr3, …')
    """
    return ", ".join([shown_name(name) for name in names[:at_most]] + ["…"] * (len(names) > at_most))


def line_blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number from 1 of the first line, lines without their ends) of block after block.

    Raises `DataError` as `blocks` does, and naming the line that is no text in UTF-8.
    """
    number, rest = 1, b""
    for block in blocks(path, LINES_BLOCK_BYTES):
        whole, end, rest = (rest + block).rpartition(b"\n")
        if end:
            lines = _decoded(path, number, whole).split("\n")
            yield number, lines
            number += len(lines)
        if len(rest) > LINE_BYTES:
            raise DataError(f"{path}, line {number}: more than {LINE_BYTES} bytes; is it the right file?")
    if rest:
        yield number, _decoded(path, number, rest).split("\n")


def _decoded(path: Path, number: int, content: bytes) -> str:
    wrong = content.find(b"\0")
    if wrong < 0:
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            wrong = error.start
    line = number + content.count(b"\n", 0, wrong)
    raise DataError(
        f"{path}, line {line}: the byte {content[wrong]:#04x} is not of text in UTF-8; "
        "unpack the file, or convert it with iconv -t utf-8"
    )
