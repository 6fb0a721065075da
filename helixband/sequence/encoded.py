"""The files of encoded sequences: where they are, how they are written, read and checked.

An encoded file has

    the indexes of all records, one after another, uint8
    the same of the reverse strand, last to first, where it was asked for
    a JSON document: headers, lengths, a SHA-256 of them and of the indexes, facts of the FASTA files, and the
    CRC-32 of each block of 16 MiB of the above
    the length of that document, 8 bytes, and its CRC-32, 4 bytes, little-endian

so that a window of either strand is one gather. A process compares the checksums before it uses the indexes.
"""

import contextlib
import hashlib
import io
import json
import math
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from helixband.errors import DataError, StorageError
from helixband.files import CHECKED_BYTES, NewFile, file_facts, locked_file, writing_whole
from helixband.sequence.alphabet import PROTEIN, RNA, UNKNOWN, Alphabet
from helixband.sequence.fasta import BLANKS, REMEDY, RepeatedNames, record_name, scan
from helixband.sequence.reading import BLOCK_BYTES, shown_name

FORMAT = 3
_TRAILER = struct.Struct("<QI")
_unharmed: set[tuple[int, ...]] = set()  # the encoded files that this process has found as they were written


def cache_directory() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("HELIXBAND_CACHE") or os.path.join(home, "helixband"))


def encoded_name(paths: tuple[str, ...], alphabet: Alphabet) -> str:
    """One for each list of files and way to encode them, and so that a person sees what it is."""
    tables = [alphabet.letter_codes] + ([] if alphabet.complement is None else [alphabet.complement])
    key = hashlib.sha256(np.concatenate(tables).tobytes() + b"\0".join(map(os.fsencode, paths))).hexdigest()
    return f"{os.path.basename(paths[0])[:40]}.{key[:16]}.codes"


def is_current(encoded: Path, paths: tuple[str, ...], both_strands: bool, unique: bool) -> bool:
    """Whether the encoded file is of the FASTA files as they are now, with the strands and names wanted."""
    try:
        with open(encoded, "rb") as file:
            document = read_encoded(file)
    except OSError:
        return False  # where it is there, and cannot be read, writing it tells what is wrong
    return (
        document is not None
        and document["source"] == [file_facts(path) for path in paths]
        and (document["both_strands"] or not both_strands)
        and (document.get("unique", True) or not unique)  # names were always unique in earlier versions
    )


def read_encoded(file: io.BufferedReader) -> dict[str, Any] | None:
    """The document of an encoded file, or None where that is not whole, or of another format."""
    end = file.seek(0, os.SEEK_END) - _TRAILER.size
    if end < 0:
        return None
    file.seek(end)
    length, checksum = _TRAILER.unpack(file.read())
    if length > end:
        return None
    start = file.seek(end - length)
    content = file.read(length)
    if zlib.crc32(content) != checksum:
        return None
    try:
        document: dict[str, Any] = json.loads(content)
        n_codes = sum(document["lengths"]) * (1 + document["both_strands"])
        return document if (document["format"], n_codes) == (FORMAT, start) else None
    except (ValueError, TypeError, KeyError):
        return None


def check_indexes(encoded: Path, file: io.BufferedReader, mapped: mmap.mmap, document: Any) -> None:
    """Raise `StorageError` where the indexes are not as they were written; looked at once a process."""
    status = os.fstat(file.fileno())
    key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    if key in _unharmed:
        return
    total = sum(document["lengths"]) * (1 + document["both_strands"])

    def is_as_written(start: int, checksum: int) -> bool:
        end = min(start + CHECKED_BYTES, total)
        with memoryview(mapped) as view, view[start:end] as block:
            found = zlib.crc32(block)
        mapped.madvise(mmap.MADV_DONTNEED, start, end - start)  # the memory that the pages take
        return found == checksum

    starts = range(0, total, CHECKED_BYTES)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        unharmed = list(pool.map(is_as_written, starts, document["checksums"]))
    if not all(unharmed):
        start = starts[unharmed.index(False)]
        end = min(start + CHECKED_BYTES, total)
        raise StorageError(
            f"{encoded} is damaged: its bytes {start} to {end} are not as they were written; delete it, and "
            "it is made again"
        )
    _unharmed.add(key)


@contextlib.contextmanager
def locked(encoded: Path) -> Iterator[None]:
    """Hold the making of an encoded file, so that one process makes it and the others wait."""
    remedy = "set HELIXBAND_CACHE to a folder that can be written, with room for two bytes a base"
    try:
        encoded.parent.mkdir(parents=True, exist_ok=True)
        with locked_file(encoded.with_suffix(".lock"), math.inf):
            yield
    except OSError as error:
        raise StorageError(
            f"cannot write encoded sequences to {encoded.parent} ({error.strerror}); {remedy}"
        ) from error
    except StorageError as error:
        raise StorageError(f"{error}; {remedy}") from error


def encode(
    paths: tuple[str, ...], encoded: Path, alphabet: Alphabet, both_strands: bool, unique: bool
) -> None:
    before = [file_facts(path) for path in paths]
    with writing_whole(encoded) as file:
        records = [_write_file(path, file, alphabet, unique) for path in paths]
        if unique:
            _check_names(paths, records)
        document = {
            "format": FORMAT,
            "source": before,
            "records_of_files": [len(headers) for headers, _ in records],
            "headers": [header for headers, _ in records for header in headers],
            "lengths": [length for _, lengths in records for length in lengths],
            "both_strands": both_strands,
            "unique": unique,
        }
        document["digest"] = _digest(file, [document["headers"], document["lengths"]])
        if both_strands:
            _write_reverse(file, alphabet)
        if [file_facts(path) for path in paths] != before:
            raise DataError(f"{', '.join(paths)}: changed while it was read; start again when it is complete")
        document["checksums"] = file.written.blocks()
        content = json.dumps(document).encode()
        file.write(content + _TRAILER.pack(len(content), zlib.crc32(content)))


def _write_file(path: str, file: NewFile, alphabet: Alphabet, unique: bool) -> tuple[list[str], list[int]]:
    """Write the indexes of the records of one FASTA file; (headers, lengths)."""
    table = alphabet.letter_codes.tobytes()
    headers: list[str] = []
    lengths: list[int] = []
    for header, letters in scan(path, unique):
        if header is not None:
            headers.append(header)
            lengths.append(0)
            continue
        codes = letters.translate(table, BLANKS)
        wrong = codes.find(UNKNOWN)
        if wrong >= 0:
            letter = letters.translate(None, BLANKS)[wrong : wrong + 1].decode("latin-1")
            raise DataError(
                f"{path}, record {record_name(headers[-1])!r}, position {lengths[-1] + wrong} (from 0): "
                f"{letter!r} is not in the alphabet {''.join(alphabet.tokens)!r}{_hint(letter, alphabet)}"
            )
        file.write(codes)
        lengths[-1] += len(codes)
    return headers, lengths


def _hint(letter: str, alphabet: Alphabet) -> str:
    """Which alphabet has a letter that this one lacks."""
    for name, other in {"RNA": RNA, "PROTEIN": PROTEIN}.items():
        if letter.isalpha() and other != alphabet and other.letter_codes[ord(letter)] != UNKNOWN:
            return f"; for {name} pass alphabet={name}, of helixband.sequence.alphabet"
    return ""


def _check_names(paths: tuple[str, ...], records: list[tuple[list[str], list[int]]]) -> None:
    """Names are unique in each file; they have to be over all of them."""
    file_of: dict[str, str] = {}
    for path, (headers, _) in zip(paths, records, strict=True):
        for name in map(record_name, headers):
            if file_of.setdefault(name, path) != path:
                raise RepeatedNames(
                    f"{path} and {file_of[name]} both have a record {shown_name(name)!r}; rename one, or "
                    f"{REMEDY}"
                )


def _digest(file: NewFile, records: Any) -> str:
    digest = hashlib.sha256()
    for start in range(0, file.written.size, CHECKED_BYTES):
        digest.update(file.read(start, CHECKED_BYTES))
    digest.update(json.dumps(records).encode())
    return digest.hexdigest()


def _write_reverse(file: NewFile, alphabet: Alphabet) -> None:
    """Write the reverse complement of what is in the file after it."""
    for end in range(file.written.size, 0, -BLOCK_BYTES):
        start = max(0, end - BLOCK_BYTES)
        codes = np.frombuffer(file.read(start, end - start), dtype=np.uint8)
        file.write(alphabet.reverse_complement(codes).tobytes())
