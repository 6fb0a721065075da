"""FASTA files as indexes in a memory-mapped file: read and encoded once, shared by every process.

The encoded file lies in the cache directory: `$HELIXBAND_CACHE`, or `helixband` in `$XDG_CACHE_HOME`
(default `~/.cache`). It is written whole or not at all, and anew when a FASTA file has changed. The module
`encoded` says what it has.
"""

import mmap
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError, StorageError
from helixband.files import absolute, matching_files
from helixband.sequence.alphabet import DNA, Alphabet, Codes
from helixband.sequence.encoded import (
    cache_directory,
    check_indexes,
    encode,
    encoded_name,
    is_current,
    locked,
    read_encoded,
)
from helixband.sequence.fasta import check_names, numbered, record_name
from helixband.sequence.reading import near_names, shown_name

Indexes = NDArray[np.int64]
Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class SequenceStore:
    """The records of FASTA files as indexes of an alphabet, memory-mapped.

    `names`, `headers`: of the R records, in the order of the file; `naming`: where the names are from, one of
    `fasta.NAMES`; `lengths`, `offsets`: int64 (R,), the place of each in `codes`, uint8 (T,);
    `file_of_record`, (R,), its file's index in `paths`; `digest`: a SHA-256 of `codes`, `headers` and
    `lengths`. Make one with `open`.
    """

    def __init__(
        self, given: tuple[str, ...], encoded: Path, alphabet: Alphabet, naming: str = "header"
    ) -> None:
        self.paths = tuple(map(os.path.realpath, given))
        self.naming = naming
        self._given = given
        self.alphabet = alphabet
        self._encoded = encoded
        with open(encoded, "rb") as file:
            document = read_encoded(file)
            if document is None:
                raise StorageError(f"{encoded} is damaged; delete it, and it is made again")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            check_indexes(encoded, file, self._map, document)
        self.headers: list[str] = document["headers"]
        counts = document["records_of_files"]
        by_number = naming == "number"
        self.names = numbered(given, counts) if by_number else list(map(record_name, self.headers))
        self.lengths = np.array(document["lengths"], dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self.total = int(self.lengths.sum())
        self.file_of_record = np.repeat(np.arange(len(given)), counts)
        self.digest: str = document["digest"]
        self.both_strands: bool = document["both_strands"]
        self._both = np.frombuffer(self._map, np.uint8, self.total * (1 + self.both_strands))
        self.codes = self._both[: self.total]
        self._record_of = {name: record for record, name in enumerate(self.names)}
        self._views: dict[int, NDArray[np.void]] = {}  # of every window of a length, by place

    @classmethod
    def open(
        cls, files: Files, alphabet: Alphabet = DNA, both_strands: bool = False, names: str = "header"
    ) -> "SequenceStore":
        """The store of a FASTA file, of those that a glob matches, in natural order of their names, or of
        several.

        It is encoded where it has not been or has changed since. `both_strands`: windows of the reverse
        strand are wanted too; the encoded file is then twice as long. `names="number"` names each record by
        its file and its number in it (`fasta.numbered`), for files that have a name more than once.

        Raises `DataError` for a file that is missing, given twice or no FASTA of this alphabet, for a name
        that is in two files, and for an alphabet whose tokens are not letters; `StorageError` where the
        cache cannot be written.
        """
        patterns = [files] if isinstance(files, str | os.PathLike) else files
        check_names(names)
        unique = names == "header"
        given = tuple(absolute(path) for pattern in patterns for path in matching_files(os.fspath(pattern)))
        paths = tuple(map(os.path.realpath, given))
        _check_request(paths, alphabet)
        encoded = cache_directory() / encoded_name(paths, alphabet)
        if not is_current(encoded, paths, both_strands, unique):
            with locked(encoded):
                if not is_current(encoded, paths, both_strands, unique):
                    encode(paths, encoded, alphabet, both_strands, unique)
        return cls(given, encoded, alphabet, names)

    def with_both_strands(self) -> "SequenceStore":
        """This store, or one of the same files that has the reverse strand too."""
        if self.both_strands:
            return self
        return _reopened(self._given, self.alphabet, True, self.naming, self.digest)

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
        return _reopened, (self._given, self.alphabet, self.both_strands, self.naming, self.digest)

    @property
    def told_headers(self) -> list[str]:
        """The headers as no two records have them: with numbers before them, where these are the names."""
        if self.naming == "header":
            return self.headers
        return [f"{name} {header}" for name, header in zip(self.names, self.headers, strict=True)]

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


def _reopened(
    paths: tuple[str, ...], alphabet: Alphabet, both_strands: bool, naming: str, digest: str
) -> SequenceStore:
    """The store of the same files, of which `digest` says that they have not changed."""
    store = SequenceStore.open(paths, alphabet, both_strands, naming)
    if store.digest != digest:
        raise DataError(f"{store.path}: changed while it was in use; start again when it is complete")
    return store
