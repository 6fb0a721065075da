"""FASTA files as indexes in a memory-mapped file: read and encoded once, shared by every process.

The encoded file lies in the cache directory: `$HELIXBAND_CACHE`, or `helixband` in `$XDG_CACHE_HOME`
(default `~/.cache`). It is written whole or not at all, and anew when a FASTA file has changed. It has

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
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError, StorageError
from helixband.files import CHECKED_BYTES, NewFile, file_facts, locked_file, matching_files, writing_whole
from helixband.sequence.alphabet import DNA, PROTEIN, RNA, UNKNOWN, Alphabet, Codes
from helixband.sequence.fasta import BLANKS, record_name, scan
from helixband.sequence.reading import BLOCK_BYTES, near_names, shown_name

FORMAT = 3
_TRAILER = struct.Struct("<QI")
_unharmed: set[tuple[int, ...]] = set()  # the encoded files that this process has found as they were written
Indexes = NDArray[np.int64]
Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class SequenceStore:
    """The records of FASTA files as indexes of an alphabet, memory-mapped.

    `names`, `headers`: of the R records, in the order of the file; `lengths`, `offsets`: int64 (R,), the
    place of each in `codes`, uint8 (T,); `file_of_record`, (R,), its file's index in `paths`; `digest`: a
    SHA-256 of `codes`, `headers` and `lengths`. Make one with `open`.
    """

    def __init__(self, paths: tuple[str, ...], encoded: Path, alphabet: Alphabet) -> None:
        self.paths = paths
        self.alphabet = alphabet
        self._encoded = encoded
        with open(encoded, "rb") as file:
            document = _document(file)
            if document is None:
                raise StorageError(f"{encoded} is damaged; delete it, and it is made again")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            _check_indexes(encoded, file, self._map, document)
        self.headers: list[str] = document["headers"]
        self.names = [record_name(header) for header in self.headers]
        self.lengths = np.array(document["lengths"], dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self.total = int(self.lengths.sum())
        self.file_of_record = np.repeat(np.arange(len(paths)), document["records_of_files"])
        self.digest: str = document["digest"]
        self.both_strands: bool = document["both_strands"]
        self._both = np.frombuffer(self._map, np.uint8, self.total * (1 + self.both_strands))
        self.codes = self._both[: self.total]
        self._record_of = {name: record for record, name in enumerate(self.names)}
        self._views: dict[int, NDArray[np.void]] = {}  # of every window of a length, by place

    @classmethod
    def open(cls, files: Files, alphabet: Alphabet = DNA, both_strands: bool = False) -> "SequenceStore":
        """The store of a FASTA file, of those that a glob matches, in natural order of their names, or of
        several.

        It is encoded where it has not been or has changed since. `both_strands`: windows of the reverse
        strand are wanted too; the encoded file is then twice as long.

        Raises `DataError` for a file that is missing, given twice or no FASTA of this alphabet, for a name
        that is in two files, and for an alphabet whose tokens are not letters; `StorageError` where the
        cache cannot be written.
        """
        patterns = [files] if isinstance(files, str | os.PathLike) else files
        matching = [path for pattern in patterns for path in matching_files(os.fspath(pattern))]
        paths = tuple(os.path.realpath(path) for path in matching)
        _check_request(paths, alphabet)
        encoded = _cache_directory() / _encoded_name(paths, alphabet)
        if not _is_current(encoded, paths, both_strands):
            with _locked(encoded):
                if not _is_current(encoded, paths, both_strands):
                    _encode(paths, encoded, alphabet, both_strands)
        return cls(paths, encoded, alphabet)

    def with_both_strands(self) -> "SequenceStore":
        """This store, or one of the same files that has the reverse strand too."""
        return self if self.both_strands else _reopened(self.paths, self.alphabet, True, self.digest)

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
        return _reopened, (self.paths, self.alphabet, self.both_strands, self.digest)

    def index_of(self, name: str) -> int:
        """The record of a name; raises `DataError` with the names that are near."""
        if name not in self._record_of:
            near = ", ".join(near_names(name, self.names))
            raise DataError(f"{self.path} has no record {shown_name(name)!r}; it has {near}, …")
        return self._record_of[name]

    def sequence(self, record: int, start: int = 0, end: int | None = None, reverse: bool = False) -> Codes:
        """The indexes of [start, end) of a record, uint8 (L,), as `windows` has them."""
        end = int(self.lengths[record]) if end is None else end
        if end < start:
            raise DataError(f"[{start}, {end}) of {self.names[record]!r} ends before it starts")
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
        if inside.all() and len(places):
            return self._gathered(places, length)
        windows = np.empty((len(places), length), dtype=np.uint8)
        if inside.any():
            windows[inside] = self._gathered(places[inside], length)
        outside = np.flatnonzero(~inside)
        if len(outside):
            windows[outside] = self._padded(records[outside], starts[outside], length)
        if reverse is not None:
            turned = outside[reverse[outside]]
            windows[turned] = self.alphabet.reverse_complement(windows[turned])
        return windows

    def forget_pages(self) -> None:
        """Give back the memory that the pages read so far take; they are read anew when they are needed."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def _gathered(self, places: Indexes, length: int) -> Codes:
        """Windows that begin at places of both strands, uint8 (N, length)."""
        if length not in self._views:
            # Every window as one item of so many bytes: NumPy copies items faster than rows of a view.
            shape = (len(self._both) - length + 1,)
            self._views[length] = np.ndarray(shape, f"V{length}", self._both, strides=(1,))
        return self._views[length][places].view(np.uint8).reshape(len(places), length)

    def _padded(self, records: Indexes, starts: Indexes, length: int) -> Codes:
        """Windows of the forward strand that leave their records."""
        if self.alphabet.empty is None:
            raise DataError(
                f"[{starts[0]}, {starts[0] + length}) leaves the record {self.names[records[0]]!r} of "
                f"{self.path}, and the alphabet has no empty token to pad it with"
            )
        windows = np.full((len(records), length), self.alphabet.empty, dtype=np.uint8)
        firsts = np.maximum(starts, 0)
        ends = np.maximum(np.minimum(starts + length, self.lengths[records]), firsts)
        shifts = self.offsets[records] + starts  # from places in the window to places in the codes
        spans = zip((firsts - starts).tolist(), (ends - starts).tolist(), shifts.tolist(), strict=True)
        for window, (first, end, shift) in zip(windows, spans, strict=True):
            window[first:end] = self.codes[shift + first : shift + end]
        return windows

    def _need_both_strands(self) -> None:
        if not self.both_strands:
            raise ValueError("open the store with both_strands=True for windows of the reverse strand")


def _cache_directory() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("HELIXBAND_CACHE") or os.path.join(home, "helixband"))


def _check_request(paths: tuple[str, ...], alphabet: Alphabet) -> None:
    if not paths:
        raise DataError("no FASTA file is given")
    path, times = Counter(paths).most_common(1)[0]
    if times > 1:
        raise DataError(f"{path} is given {times} times, itself or by links to it; name it once")
    if longer := [token for token in alphabet.tokens if len(token) > 1]:
        raise DataError(
            f"{paths[0]} is read letter by letter, and {longer[0]!r} is a token of {len(longer[0])}; read it "
            "with an alphabet of letters, or encode what read_fasta gives"
        )


def _reopened(paths: tuple[str, ...], alphabet: Alphabet, both_strands: bool, digest: str) -> SequenceStore:
    """The store of the same files, of which `digest` says that they have not changed."""
    store = SequenceStore.open(paths, alphabet, both_strands)
    if store.digest != digest:
        raise DataError(f"{store.path}: changed while it was in use; start again when it is complete")
    return store


def _encoded_name(paths: tuple[str, ...], alphabet: Alphabet) -> str:
    """One for each list of files and way to encode them, and so that a person sees what it is."""
    tables = [alphabet.letter_codes] + ([] if alphabet.complement is None else [alphabet.complement])
    key = hashlib.sha256(np.concatenate(tables).tobytes() + b"\0".join(map(os.fsencode, paths))).hexdigest()
    return f"{os.path.basename(paths[0])[:40]}.{key[:16]}.codes"


def _is_current(encoded: Path, paths: tuple[str, ...], both_strands: bool) -> bool:
    """Whether the encoded file is of the FASTA files as they are now, and has the strands wanted."""
    try:
        with open(encoded, "rb") as file:
            document = _document(file)
    except OSError:
        return False  # where it is there, and cannot be read, writing it tells what is wrong
    return (
        document is not None
        and document["source"] == [file_facts(path) for path in paths]
        and (document["both_strands"] or not both_strands)
    )


def _document(file: io.BufferedReader) -> dict[str, Any] | None:
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


def _check_indexes(encoded: Path, file: io.BufferedReader, mapped: mmap.mmap, document: Any) -> None:
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
def _locked(encoded: Path) -> Iterator[None]:
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


def _encode(paths: tuple[str, ...], encoded: Path, alphabet: Alphabet, both_strands: bool) -> None:
    before = [file_facts(path) for path in paths]
    with writing_whole(encoded) as file:
        records = [_write_file(path, file, alphabet) for path in paths]
        _check_names(paths, records)
        document = {
            "format": FORMAT,
            "source": before,
            "records_of_files": [len(headers) for headers, _ in records],
            "headers": [header for headers, _ in records for header in headers],
            "lengths": [length for _, lengths in records for length in lengths],
            "both_strands": both_strands,
        }
        document["digest"] = _digest(file, [document["headers"], document["lengths"]])
        if both_strands:
            _write_reverse(file, alphabet)
        if [file_facts(path) for path in paths] != before:
            raise DataError(f"{', '.join(paths)}: changed while it was read; start again when it is complete")
        document["checksums"] = file.written.blocks()
        content = json.dumps(document).encode()
        file.write(content + _TRAILER.pack(len(content), zlib.crc32(content)))


def _write_file(path: str, file: NewFile, alphabet: Alphabet) -> tuple[list[str], list[int]]:
    """Write the indexes of the records of one FASTA file; (headers, lengths)."""
    table = alphabet.letter_codes.tobytes()
    headers: list[str] = []
    lengths: list[int] = []
    for header, letters in scan(path):
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
                raise DataError(f"{path} and {file_of[name]} both have a record {name!r}; rename one")


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
