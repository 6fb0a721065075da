"""Letters to indexes: DNA is A 0, C 1, G 2, T 3, and N, with every other IUPAC code, 4."""

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError


class Alphabet:
    """Letters and their indexes, 0 upwards; `ambiguous` letters share the index after the last.

    Lower case reads as upper case.
    """

    def __init__(self, letters: str, ambiguous: str = "") -> None:
        self.letters = letters
        self.ambiguous_index = len(letters)
        self._table = np.full(256, 255, dtype=np.uint8)
        for index, letter in enumerate(letters):
            self._table[[ord(letter), ord(letter.lower())]] = index
        for letter in ambiguous:
            self._table[[ord(letter), ord(letter.lower())]] = self.ambiguous_index

    def encode(self, sequence: str) -> NDArray[np.uint8]:
        """The indexes of a sequence, uint8 (L,); raises `DataError` at a letter that is not of it.

        >>> DNA.encode("ACgtN").tolist()
        [0, 1, 2, 3, 4]
        """
        letters = np.frombuffer(sequence.encode("latin-1", "replace"), dtype=np.uint8)
        indexes: NDArray[np.uint8] = self._table[letters]
        if indexes.size and indexes.max() == 255:
            place = int(np.argmax(indexes == 255))
            raise DataError(
                f"position {place} (from 0) holds {sequence[place]!r}, "
                f"which is not in the alphabet {self.letters!r}"
            )
        return indexes


DNA = Alphabet("ACGT", ambiguous="NRYSWKMBDHV")
