"""The entries of a bigWig file, block by block in the order of its indexes (Kent et al. 2010).

pybigtools gives them a record at a time, and looks through all records for each. Here a file is read once, so
that a read-back takes a time in proportion to its size.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

SPAN = np.dtype([("start", "<u4"), ("end", "<u4"), ("score", "<f4")])
ZOOMED = np.dtype([("record", "<u4"), ("start", "<u4"), ("end", "<u4"), ("bases", "<u4"), ("sums", "<f4", 4)])

_HEADER = struct.Struct("<I2H3Q2H2QIQ")
_ZOOM = struct.Struct("<2I2Q")
_NAMES = struct.Struct("<4I2Q")
_INDEX = struct.Struct("<2IQ4IQ2I")
_NODE = struct.Struct("<BxH")
_SECTION = struct.Struct("<5IBxH")
_BED_GRAPH = 1
_MAGIC, _NAMES_MAGIC, _INDEX_MAGIC = 0x888FFC26, 0x78CA8C91, 0x2468ACE0

_Place = tuple[int, int, int, int]
"""First record and start, last record and end, of what is below a place of an index."""


class Blocks:
    """The blocks of an open bigWig. What is none, or damaged, raises `ValueError` or `zlib.error`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, file.seek(0, 2)
        header = self._read(0, _HEADER)
        if header[0] != _MAGIC:
            raise ValueError(f"the magic number is {header[0]:#x}")
        _, _, zooms, names, self._data, self._index, _, _, _, summary, self._unpacked, _ = header
        self._zooms = [self._read(_HEADER.size + number * _ZOOM.size, _ZOOM) for number in range(zooms)]
        self._names = names
        self.summary = self._read(summary, struct.Struct("<Q4d"))
        """The bases covered; the lowest and the highest score, their sum and that of their squares."""

    def names(self) -> dict[int, str]:
        """The names of the records by number."""
        magic, _, width, _, _, _ = self._read(self._names, _NAMES)
        if magic != _NAMES_MAGIC:
            raise ValueError("the names of the records are missing")
        found: dict[int, str] = {}
        nodes = [self._names + _NAMES.size]
        while nodes:
            place = nodes.pop()
            is_leaf, count = self._read(place, _NODE)
            items = np.dtype([("name", f"S{width}"), ("number", "<u4"), ("size", "<u4")])
            inner = np.dtype([("name", f"S{width}"), ("below", "<u8")])
            table = self._table(place + _NODE.size, items if is_leaf else inner, count)
            if is_leaf:
                found |= {int(row["number"]): row["name"].decode() for row in table}
            else:
                nodes += table["below"].tolist()[::-1]
        return found

    def entries(self) -> Iterator[tuple[int, NDArray[np.void]]]:
        """(number of the record, entries (N,) of the type `SPAN`) of each block, in order."""
        count = 0
        for content, place in self._leaves(self._index):
            record, start, end, _, _, kind, rows = _SECTION.unpack_from(content)
            spans = np.frombuffer(content, SPAN, rows, _SECTION.size)
            if kind != _BED_GRAPH or place != (record, start, record, end):
                raise ValueError("a block is not as its index has it")
            count += 1
            yield record, spans
        if self._read(self._data, struct.Struct("<Q")) != (count,):
            raise ValueError("the number of blocks is not that of the index")

    def zoomed(self) -> Iterator[int]:
        """The bases that each zoom level covers."""
        for _, _, _, index in self._zooms:
            yield sum(
                int(np.frombuffer(content, ZOOMED)["bases"].sum(dtype=np.int64))
                for content, _ in self._leaves(index)
            )

    def ends_in_magic(self) -> bool:
        """Whether the file was written to its end."""
        return self._read(self._size - 4, struct.Struct("<I")) == (_MAGIC,)

    def _leaves(self, index: int) -> Iterator[tuple[bytes, _Place]]:
        """The blocks of an index in order, unpacked, each with its place there."""
        magic, *_ = self._read(index, _INDEX)
        if magic != _INDEX_MAGIC:
            raise ValueError("an index is missing")
        nodes: list[tuple[int, _Place | None]] = [(index + _INDEX.size, None)]
        while nodes:
            node, within = nodes.pop()
            is_leaf, count = self._read(node, _NODE)
            fields = [("place", "<u4", 4), ("at", "<u8"), *[("size", "<u8")] * is_leaf]
            table = self._table(node + _NODE.size, np.dtype(fields), count)
            places = [tuple(place) for place in table["place"].tolist()]
            if within is not None and places and not _is_within(places, within):
                raise ValueError("a part of an index is not where the index has it")
            if is_leaf:
                for place, at, size in zip(places, table["at"].tolist(), table["size"].tolist(), strict=True):
                    content = self._bytes(at, size)
                    yield (zlib.decompress(content) if self._unpacked else content), place
            else:
                nodes += list(zip(table["at"].tolist(), places, strict=True))[::-1]

    def _bytes(self, place: int, size: int) -> bytes:
        if place + size > self._size:
            raise ValueError("the file is cut short")
        self._file.seek(place)
        return self._file.read(size)

    def _read(self, place: int, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self._bytes(place, form.size))

    def _table(self, place: int, form: np.dtype[np.void], rows: int) -> NDArray[np.void]:
        return np.frombuffer(self._bytes(place, form.itemsize * rows), form)


def _is_within(places: list[_Place], within: _Place) -> bool:
    """Whether places are those that one above has."""
    firsts, lasts = [place[:2] for place in places], [place[2:] for place in places]
    return min(firsts) == within[:2] and max(lasts) == within[2:]
