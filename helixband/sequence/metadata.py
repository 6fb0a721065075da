"""Where a window is from, as numbers: (N, 2) int64 of the header's hash and the 0-based start.

No text goes to a device. The hash is 64 bits of BLAKE2b (RFC 7693), the same on every machine and in every
process.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError

Metadata = NDArray[np.int64]


def header_hash(header: str) -> int:
    """A signed 64-bit hash of a full header (without `>`).

    >>> header_hash("chr1 dna:chromosome")
    -3619087338835304379
    """
    return int.from_bytes(hashlib.blake2b(header.encode(), digest_size=8).digest(), "little", signed=True)


class HeaderTable:
    """The hashes of headers, and the way back.

    `hashes`: int64 (R,), in the order of the headers. Raises `DataError` where two different headers have
    the same hash.
    """

    def __init__(self, headers: Sequence[str]) -> None:
        self.hashes = np.array([header_hash(header) for header in headers], dtype=np.int64)
        self._headers: dict[int, str] = {}
        for code, header in zip(self.hashes.tolist(), headers, strict=True):
            if self._headers.setdefault(code, header) != header:
                raise DataError(
                    f"the headers {self._headers[code]!r} and {header!r} have the same hash; rename one"
                )

    def header(self, code: int) -> str:
        """The header that has a hash; raises `DataError` where none has."""
        if code not in self._headers:
            raise DataError(f"no header has the hash {code}; was it made from another file?")
        return self._headers[code]
