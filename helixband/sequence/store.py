"""FASTA files as indexes in a memory-mapped file: read and encoded once, shared by every process.

The encoded file lies in the cache directory: `$HELIXBAND_CACHE`, or `helixband` in `$XDG_CACHE_HOME`
(default `~/.cache`). It is written whole or not at all, and anew when a FASTA file has changed. It has

    the indexes of all records, one after another, uint8
    the same of the reverse strand, last to first, where it was asked for
    a JSON document: names, lengths, a SHA-256 of the forward strand, facts of the FASTA files
    the length of that document, 8 bytes, little-endian

so that a window of either strand is one gather.
"""

import contextlib
import difflib
import fcntl
import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from helixband.errors import DataError, StorageError
from helixband.files import matching_files, writing_whole
from helixband.sequence.alphabet import DNA, UNKNOWN, Alphabet, Codes
from helixband.sequence.fasta import BLANKS, BLOCK_BYTES, record_name, scan

FORMAT = 1
Indexes = NDArray[np.int64]


class SequenceStore:
    """The records of FASTA files as indexes of an alphabet, memory-mapped.

    `names`, `headers`: of the R records, in the order of the file; `lengths`, `offsets`: int64 (R,), the
    place of each in `codes`, uint8 (T,); `digest`: a SHA-256 of `codes`. Make one with `open`.
    """

    def __init__(self, paths: tuple[str, ...], encoded: Path, alphabet: Alphabet) -> None:
        self.paths = paths
        self.alphabet = alphabet
        self._encoded = encoded
        with open(encoded, "rb") as file:
            document = _document(file)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.headers: list[str] = document["headers"]
        self.names = [record_name(header) for header in self.headers]
        self.lengths = np.array(document["lengths"], dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self.total = int(self.lengths.sum())
        self.digest: str = document["digest"]
        self.both_strands: bool = document["both_strands"]
        self._both = np.frombuffer(self._map, np.uint8, self.total * (1 + self.both_strands))
        self.codes = self._both[: self.total]
        self._record_of = {name: record for record, name in enumerate(self.names)}
        self._views: dict[int, Codes] = {}  # of every window of a length, (places, length)

    @classmethod
    def open(
        cls, pattern: str | os.PathLike[str], alphabet: Alphabet = DNA, both_strands: bool = False
    ) -> "SequenceStore":
        """The store of a FASTA file, or of those that a glob matches, in natural order of their names.

        It is encoded where it has not been or has changed since. `both_strands`: windows of the reverse
        strand are wanted too; the encoded file is then twice as long.

        Raises `DataError` for a file that is missing, or no FASTA of this alphabet, and for a name that is
        in two files; `StorageError` where the cache cannot be written.
        """
        paths = tuple(os.path.realpath(path) for path in matching_files(os.fspath(pattern)))
        encoded = _cache_directory() / _encoded_name(paths, alphabet)
        if not _is_current(encoded, paths, both_strands):
            with _locked(encoded):
                if not _is_current(encoded, paths, both_strands):
                    _encode(paths, encoded, alphabet, both_strands)
        return cls(paths, encoded, alphabet)

    @property
    def path(self) -> str:
        """The FASTA file, or the first of several and how many more there are."""
        more = len(self.paths) - 1
        return f"{self.paths[0]} (and {more} more)" if more else self.paths[0]

    def __len__(self) -> int:
        """The number of records."""
        return len(self.names)

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker maps the same file, and does not get a copy of what is in it.
        return SequenceStore, (self.paths, self._encoded, self.alphabet)

    def index_of(self, name: str) -> int:
        """The record of a name; raises `DataError` with the names that are near."""
        if name not in self._record_of:
            near = difflib.get_close_matches(name, self.names, 3) or self.names[:3]
            raise DataError(f"{self.path} has no record {name!r}; it has {', '.join(near)}, …")
        return self._record_of[name]

    def sequence(self, record: int, start: int = 0, end: int | None = None, reverse: bool = False) -> Codes:
        """The indexes of [start, end) of a record, uint8 (L,); of the other strand where `reverse`."""
        end = int(self.lengths[record]) if end is None else end
        places = np.array([record]), np.array([start])
        codes: Codes = self.windows(*places, end - start, np.array([reverse]))[0]
        return codes

    def windows(
        self, records: Indexes, starts: Indexes, length: int, reverse: NDArray[np.bool_] | None = None
    ) -> Codes:
        """Windows [start, start + length) of records, uint8 (N, length).

        `reverse`, bool (N,): those whose reverse complement is wanted. What lies outside of its record is
        the alphabet's empty token.
        """
        places = self.offsets[records] + starts
        if reverse is not None and reverse.any():
            self._need_both_strands()
            places = np.where(reverse, 2 * self.total - length - places, places)
        inside = (starts >= 0) & (starts + length <= self.lengths[records])
        if inside.all():
            return self._every_window(length)[places]
        windows = np.empty((len(places), length), dtype=np.uint8)
        if inside.any():
            windows[inside] = self._every_window(length)[places[inside]]
        for row in np.flatnonzero(~inside):
            turned = reverse is not None and bool(reverse[row])
            windows[row] = self._padded(int(records[row]), int(starts[row]), length, turned)
        return windows

    def forget_pages(self) -> None:
        """Give back the memory that the pages read so far take; they are read anew when they are needed."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def _every_window(self, length: int) -> Codes:
        if length not in self._views:
            self._views[length] = sliding_window_view(self._both, length)
        return self._views[length]

    def _padded(self, record: int, start: int, length: int, reverse: bool) -> Codes:
        if self.alphabet.empty is None:
            raise DataError(
                f"[{start}, {start + length}) leaves the record {self.names[record]!r} of {self.path}, and "
                "the alphabet has no empty token to pad it with"
            )
        window = np.full(length, self.alphabet.empty, dtype=np.uint8)
        first, end = max(start, 0), min(start + length, int(self.lengths[record]))
        if first < end:
            offset = int(self.offsets[record])
            window[first - start : end - start] = self.codes[offset + first : offset + end]
        return self.alphabet.reverse_complement(window) if reverse else window

    def _need_both_strands(self) -> None:
        if not self.both_strands:
            raise ValueError("open the store with both_strands=True for windows of the reverse strand")


def _cache_directory() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("HELIXBAND_CACHE") or os.path.join(home, "helixband"))


def _encoded_name(paths: tuple[str, ...], alphabet: Alphabet) -> str:
    """One for each list of files and alphabet, and so that a person sees what it is."""
    key = hashlib.sha256(alphabet.letter_codes.tobytes() + b"\0".join(map(os.fsencode, paths))).hexdigest()
    return f"{os.path.basename(paths[0])}.{key[:16]}.codes"


def _is_current(encoded: Path, paths: tuple[str, ...], both_strands: bool) -> bool:
    """Whether the encoded file is of the FASTA files as they are now, and has the strands wanted."""
    try:
        with open(encoded, "rb") as file:
            document = _document(file)
    except FileNotFoundError:
        return False
    source = _facts(paths)
    return (document["format"], document["source"]) == (FORMAT, source) and (
        document["both_strands"] or not both_strands
    )


def _facts(paths: tuple[str, ...]) -> list[list[int]]:
    """What tells changed files from the same ones."""
    stats = [os.stat(path) for path in paths]
    return [[status.st_size, status.st_mtime_ns] for status in stats]


def _document(file: IO[bytes]) -> dict[str, Any]:
    file.seek(-8, os.SEEK_END)
    end = file.tell()
    size = int.from_bytes(file.read(8), "little")
    file.seek(end - size)
    document: dict[str, Any] = json.loads(file.read(size))
    return document


@contextlib.contextmanager
def _locked(encoded: Path) -> Iterator[None]:
    """Hold the making of an encoded file, so that one process makes it and the others wait."""
    try:
        encoded.parent.mkdir(parents=True, exist_ok=True)
        with open(encoded.with_suffix(".lock"), "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except PermissionError as error:
        raise StorageError(
            f"cannot write encoded sequences to {encoded.parent} ({error.strerror}); "
            "set HELIXBAND_CACHE to a folder that can be written"
        ) from error


def _encode(paths: tuple[str, ...], encoded: Path, alphabet: Alphabet, both_strands: bool) -> None:
    before = _facts(paths)
    with writing_whole(encoded) as file:
        headers, lengths, digest = _write_forward(paths, file, alphabet)
        if both_strands:
            _write_reverse(file, alphabet)
        if _facts(paths) != before:
            raise DataError(f"{', '.join(paths)}: changed while it was read; start again when it is whole")
        document = {
            "format": FORMAT,
            "source": before,
            "headers": headers,
            "lengths": lengths,
            "digest": digest,
            "both_strands": both_strands,
        }
        content = json.dumps(document).encode()
        file.write(content + len(content).to_bytes(8, "little"))


def _write_forward(
    paths: tuple[str, ...], file: IO[bytes], alphabet: Alphabet
) -> tuple[list[str], list[int], str]:
    """Write the indexes of all records; (headers, lengths, SHA-256)."""
    table = alphabet.letter_codes.tobytes()
    digest = hashlib.sha256()
    headers: list[str] = []
    lengths: list[int] = []
    file_of: dict[str, str] = {}
    for path in paths:
        for header, letters in scan(path):
            if header is not None:
                name = record_name(header)
                if file_of.setdefault(name, path) != path:
                    raise DataError(f"{path} and {file_of[name]} both have a record {name!r}; rename one")
                headers.append(header)
                lengths.append(0)
                continue
            codes = letters.translate(table, BLANKS)
            wrong = codes.find(UNKNOWN)
            if wrong >= 0:
                letter = letters.translate(None, BLANKS)[wrong : wrong + 1].decode("latin-1")
                raise DataError(
                    f"{path}, record {name!r}, position {lengths[-1] + wrong} (from 0): "
                    f"{letter!r} is not in the alphabet {''.join(alphabet.tokens)!r}"
                )
            file.write(codes)
            digest.update(codes)
            lengths[-1] += len(codes)
    return headers, lengths, digest.hexdigest()


def _write_reverse(file: IO[bytes], alphabet: Alphabet) -> None:
    """Write the reverse complement of what is in the file after it."""
    total = file.tell()
    for end in range(total, 0, -BLOCK_BYTES):
        start = max(0, end - BLOCK_BYTES)
        file.seek(start)
        codes = np.frombuffer(file.read(end - start), dtype=np.uint8)
        file.seek(2 * total - end)
        file.write(alphabet.reverse_complement(codes).tobytes())
