"""FASTA files, plain or gzipped, read whole.

A record's name is its header up to the first white space, and is unique in the file.
"""

import gzip
import os
import zlib
from collections.abc import Iterator

from helixband.errors import DataError

SUFFIXES = (".fa", ".fasta", ".fna", ".ffn", ".fas")


def is_fasta(path: str | os.PathLike[str]) -> bool:
    """Whether the name of a file says that it is FASTA, gzipped or not."""
    return os.fspath(path).lower().removesuffix(".gz").endswith(SUFFIXES)


def read_fasta(path: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """(names, sequences) of a FASTA file, the letters as they stand.

    Blank lines are passed over. Raises `DataError` naming file and line where the file is empty, does not
    begin with a header, has a name twice or a record without sequence, is cut short or no text.
    """
    names: list[str] = []
    parts: list[list[str]] = []
    seen: dict[str, int] = {}
    for number, line in _lines(path):
        if line.startswith(">"):
            name = (line[1:].split() or [""])[0]
            if not name or name in seen:
                trouble = f"the name {name!r}, as does line {seen[name]}" if name else "no name"
                raise DataError(f"{path}, line {number}: the header has {trouble}; names have to be unique")
            _check_record(path, names, parts)
            seen[name] = number
            names.append(name)
            parts.append([])
        elif line and not names:
            raise DataError(f"{path}, line {number}: {line[:20]!r} before the first header; no FASTA file?")
        elif line:
            parts[-1].append(line)
    if not names:
        raise DataError(f"{path}: the file has no record")
    _check_record(path, names, parts)
    return names, ["".join(lines) for lines in parts]


def _check_record(path: str | os.PathLike[str], names: list[str], parts: list[list[str]]) -> None:
    if names and not parts[-1]:
        raise DataError(f"{path}: the record {names[-1]!r} has no sequence")


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """(number from 1, stripped text) of each line."""
    try:
        opener = gzip.open if os.fspath(path).lower().endswith(".gz") else open
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield number, line.strip()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error
