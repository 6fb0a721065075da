"""Alphabets: the tokens of sequences and their indexes, uint8.

A token is a letter or a longer text. Ordinary tokens come first, from 0; a one-hot vector has a channel for
each of them. Control tokens follow. DNA is A 0, C 1, G 2, T 3, then N 4 and [MASK] 5.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError

Codes = NDArray[np.uint8]

UNKNOWN = 255
"""An index that no token has."""


class Alphabet:
    """`tokens` and `control_tokens`, with indexes in that order.

    `empty` names the control token for unknown letters and padding. `mask` names the one for tokens that are
    hidden from a masked-token model. `complement` pairs tokens in both directions (A: T and T: A); a token
    that it does not name is its own complement. `synonyms` maps further spellings to the tokens that they
    stand for; a token itself is always read as itself. A lower-case letter is read as the upper-case one,
    unless it is a token. A text is read from the left; of several tokens that match, the longest is taken.
    `letter_codes`, uint8 (256,), contains the index of each ASCII code, or `UNKNOWN` if it is not a token.

    >>> codons = Alphabet(["ATG", "TAA"], ["[END]"])
    >>> codons.encode("ATGTAA[END]").tolist()
    [0, 1, 2]

    Raises `DataError` if a token or synonym is empty, if a token is given twice, if there are no tokens or
    more than 254, or if the complement of a complement is another token.
    """

    def __init__(
        self,
        tokens: Iterable[str],
        control_tokens: Iterable[str] = (),
        *,
        empty: str | None = None,
        mask: str | None = None,
        complement: Mapping[str, str] | None = None,
        synonyms: Mapping[str, str] | None = None,
    ) -> None:
        self.tokens = tuple(tokens)
        self.control_tokens = tuple(control_tokens)
        self.n_tokens = len(self.tokens)
        self._indexes = _indexes(self.tokens + self.control_tokens)
        self._options: dict[str, Any] = {
            "empty": empty,
            "mask": mask,
            "complement": complement,
            "synonyms": synonyms,
        }
        self.empty = None if empty is None else self.index(empty)
        self.mask = None if mask is None else self.index(mask)
        self.complement = self._complement_table(complement) if complement else None
        self._spellings = self._all_spellings(synonyms or {})
        self.letter_codes = np.full(256, UNKNOWN, dtype=np.uint8)
        for text, index in self._spellings.items():
            if len(text) == 1 and ord(text) < 128:
                self.letter_codes[ord(text)] = index
        # Longer ones first, so that the longest match wins.
        by_length = sorted(self._spellings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, by_length)))
        self._texts = [*self.tokens, *self.control_tokens]
        # The ASCII code of each token that is a letter, 0 for any other.
        self._letters = np.array(
            [ord(text) if len(text) == 1 and text.isascii() else 0 for text in self._texts], dtype=np.uint8
        )
        # Where letters alone could spell a longer token, a text has to be read token by token.
        self._by_letter = all(
            len(text) == 1 or any(letter not in self._spellings for letter in text)
            for text in self._spellings
        )

    @property
    def options(self) -> dict[str, Any]:
        """The further arguments that it was made with, by name."""
        return dict(self._options)

    def __len__(self) -> int:
        """The number of tokens, control tokens included."""
        return len(self._indexes)

    def __repr__(self) -> str:
        return f"Alphabet({list(self.tokens)}, {list(self.control_tokens)})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Alphabet)
            and (self.tokens, self.control_tokens) == (other.tokens, other.control_tokens)
            and self._options == other._options
        )

    def __hash__(self) -> int:
        return hash((self.tokens, self.control_tokens))

    def add_control_tokens(self, control_tokens: Iterable[str]) -> "Alphabet":
        """A new alphabet with further control tokens; the indexes of this one hold in it.

        >>> len(DNA), len(DNA.add_control_tokens(["[CLS]"]))
        (6, 7)
        """
        return Alphabet(self.tokens, (*self.control_tokens, *control_tokens), **self._options)

    def index(self, token: str) -> int:
        """The index of a token or control token; raises `DataError` where there is none of that text."""
        if token not in self._indexes:
            raise DataError(f"{token!r} is no token of {self}")
        return self._indexes[token]

    def encode(self, sequence: str | bytes | NDArray[np.uint8] | Sequence[str]) -> Codes:
        """The indexes of a text, of its bytes or of an array of ASCII codes, uint8 (L,); of texts, (N, L).

        >>> DNA.encode("ACgtN").tolist()
        [0, 1, 2, 3, 4]
        >>> DNA.encode(["AC", "GT"]).tolist()
        [[0, 1], [2, 3]]

        Raises `DataError` with the position (from 0) of what is not in the alphabet, and where texts do
        not have as many tokens each.
        """
        if isinstance(sequence, str):
            return self._encode_text(sequence)
        if isinstance(sequence, bytes):
            return self._encode_text(sequence.decode("latin-1"))
        if isinstance(sequence, np.ndarray) and sequence.dtype.kind not in "US":
            return self._encode_array(sequence)
        rows = []
        for number, text in enumerate(sequence):
            try:
                rows.append(self.encode(text))
            except DataError as error:
                raise DataError(f"text {number} (from 0): {error}") from None
        lengths = sorted({len(row) for row in rows})
        if len(lengths) > 1:
            raise DataError(
                f"texts of {lengths[0]} to {lengths[-1]} tokens make no array (N, L); pad them or cut them"
            )
        return np.array(rows, dtype=np.uint8) if rows else np.empty((0, 0), dtype=np.uint8)

    def decode(self, codes: NDArray[np.integer]) -> str | list[str]:
        """The text of indexes (L,), or a list of the texts of (N, L).

        >>> DNA.decode(DNA.encode("acgtr"))
        'ACGTN'

        Raises `DataError` for an index that no token has.
        """
        codes = np.asarray(codes)
        if not codes.size:
            codes = codes.astype(np.uint8)
        if codes.dtype.kind not in "iu" or codes.ndim not in (1, 2):
            raise DataError(f"an array {codes.shape} of {codes.dtype} is no indexes (L,) or (N, L) of tokens")
        if codes.size and not 0 <= codes.min() <= codes.max() < len(self):
            wrong = codes[(codes < 0) | (codes >= len(self))][0]
            raise DataError(f"the index {wrong} has no token: {self} has {len(self)}")
        if codes.ndim == 2:
            return [self._decode_row(row) for row in codes]
        return self._decode_row(codes)

    def reverse_complement(self, codes: Codes) -> Codes:
        """The other strand, 5' to 3', of codes (…, L): the complement of each, last to first.

        >>> DNA.decode(DNA.reverse_complement(DNA.encode("AACGN")))
        'NCGTT'

        Raises `DataError` where the alphabet has no complement.
        """
        if self.complement is None:
            raise DataError(f"{self} has no complement")
        complement: Codes = self.complement[codes[..., ::-1]]
        return complement

    def _encode_text(self, text: str) -> Codes:
        if self._by_letter and text.isascii():
            codes: Codes = self.letter_codes[np.frombuffer(text.encode(), dtype=np.uint8)]
            if not codes.size or codes.max() != UNKNOWN:
                return codes
        found = self._pattern.findall(text)
        if sum(map(len, found)) < len(text):
            place = self._unread(text)
            known = "".join(self.tokens) if max(map(len, self.tokens)) == 1 else list(self.tokens)
            raise DataError(
                f"position {place} (from 0) holds {text[place]!r}, which is not in the alphabet {known!r}"
            )
        return np.array([self._spellings[token] for token in found], dtype=np.uint8)

    def _unread(self, text: str) -> int:
        """The first position that is in no token."""
        place = 0
        for match in self._pattern.finditer(text):
            if match.start() != place:
                break
            place = match.end()
        return place

    def _encode_array(self, letters: NDArray[np.uint8]) -> Codes:
        if letters.dtype != np.uint8 or letters.ndim not in (1, 2):
            raise DataError(
                f"an array {letters.shape} of {letters.dtype} is no text; "
                "that is ASCII codes, uint8 (L,) or (N, L)"
            )
        if self._by_letter:
            codes: Codes = self.letter_codes[letters]
            if not codes.size or codes.max() != UNKNOWN:
                return codes
        return self.encode(letters.tobytes() if letters.ndim == 1 else [row.tobytes() for row in letters])

    def _decode_row(self, codes: NDArray[np.integer]) -> str:
        letters = self._letters[codes]
        if letters.all():
            return bytes(letters).decode("ascii")
        return "".join(map(self._texts.__getitem__, codes.tolist()))

    def _all_spellings(self, synonyms: Mapping[str, str]) -> dict[str, int]:
        if "" in synonyms:
            raise DataError(f"the synonym '' of {synonyms['']!r} is empty")
        upper = {**{text: self.index(token) for text, token in synonyms.items()}, **self._indexes}
        lower = {text.lower(): index for text, index in upper.items() if len(text) == 1}
        return {**lower, **upper}

    def _complement_table(self, complement: Mapping[str, str]) -> Codes:
        table = np.arange(256, dtype=np.uint8)
        for token, partner in complement.items():
            table[self.index(token)] = self.index(partner)
        if unpaired := [token for token, index in self._indexes.items() if table[table[index]] != index]:
            raise DataError(
                f"the complement of the complement of {unpaired[0]!r} is another token; give each pair both "
                f"ways, as in {{'A': 'T', 'T': 'A'}}, and not as in {dict(complement)}"
            )
        return table


def _indexes(tokens: tuple[str, ...]) -> dict[str, int]:
    indexes = {token: index for index, token in enumerate(tokens)}
    if len(indexes) < len(tokens) or "" in indexes or not 0 < len(tokens) < UNKNOWN:
        raise DataError(
            f"the tokens {list(tokens)} make no alphabet: each has to be there once, none empty, "
            f"and from 1 to {UNKNOWN - 1} of them"
        )
    return indexes


DNA = Alphabet(
    "ACGT",
    ["N", "[MASK]"],
    empty="N",
    mask="[MASK]",
    complement={"A": "T", "C": "G", "G": "C", "T": "A"},
    synonyms=dict.fromkeys("RYSWKMBDHV", "N"),
)
"""The ambiguous letters of IUPAC-IUB (Cornish-Bowden 1985) read as N."""

RNA = Alphabet(
    "ACGU",
    ["N", "[MASK]"],
    empty="N",
    mask="[MASK]",
    complement={"A": "U", "C": "G", "G": "C", "U": "A"},
    synonyms=dict.fromkeys("RYSWKMBDHV", "N"),
)

PROTEIN = Alphabet(
    "ACDEFGHIKLMNPQRSTVWY",
    ["X", "[MASK]"],
    empty="X",
    mask="[MASK]",
    synonyms=dict.fromkeys("BJZUO*", "X"),
)
"""The twenty amino acids; ambiguous ones (B, J, Z), the rare U and O, and a stop (*) read as X."""
