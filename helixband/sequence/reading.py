"""Text files, plain or compressed by gzip or bgzip, read block by block."""

import bisect
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

NEIGHBOURS = 500
"""So many names on either side of one are compared with it, for a message."""

GZIP_MAGIC = b"\x1f\x8b"
BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that a bgzip file ends in, unless it was cut between blocks (SAM 1.6, 4.1.2)."""

Path = str | os.PathLike[str]


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
            compressed = start.startswith(GZIP_MAGIC) or os.fspath(path).lower().endswith(".gz")
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


def near_names(name: str, names: Sequence[str]) -> list[str]:
    """Up to three names for a message that has no `name` among them: those that are alike, or else the first.

    Of more than a thousand, those that begin like it are looked at: comparing a million takes a minute.
    """
    if len(names) > 2 * NEIGHBOURS:
        ordered = sorted(names)
        place = bisect.bisect_left(ordered, name)
        near = difflib.get_close_matches(name, ordered[max(0, place - NEIGHBOURS) : place + NEIGHBOURS], 3)
    else:
        near = difflib.get_close_matches(name, names, 3)
    return near or list(names[:3])


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
